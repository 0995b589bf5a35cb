//! Who waits for an answer, or for the end of a process: the sandbox's own process stays until they
//! have been told.

use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

/// Longest time that the sandbox stays for somebody to be told.
const PATIENCE: Duration = Duration::from_secs(2);

/// The number of requests that are being answered.
#[derive(Default)]
pub(super) struct Waiters {
    count: Mutex<usize>,
    changed: Condvar,
}

/// One of them, until dropped.
pub(super) struct Waiter(Arc<Waiters>);

impl Waiters {
    /// One more.
    pub(super) fn enter(self: &Arc<Self>) -> Waiter {
        *self.lock() += 1;
        Waiter(Arc::clone(self))
    }

    /// Waits until all have been told, for a while: who does not read does not keep the sandbox.
    pub(super) fn drain(&self) {
        let count = self.lock();
        drop(
            self.changed
                .wait_timeout_while(count, PATIENCE, |count| *count > 0),
        );
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, usize> {
        self.count
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

impl Drop for Waiter {
    fn drop(&mut self) {
        *self.0.lock() -= 1;
        self.0.changed.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn drained_when_the_last_one_leaves() {
        let waiters = Arc::new(Waiters::default());
        let waiter = waiters.enter();
        let leaving = std::thread::spawn(move || drop(waiter));
        waiters.drain();
        leaving.join().unwrap();
        assert_eq!(*waiters.lock(), 0);
    }
}
