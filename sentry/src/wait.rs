//! Wait queues: who wants to know when something may have become ready.
//!
//! No operation of the Sentry blocks on a stack: it says that it would block and names the queues to
//! wait on; the task's run loop parks the thread, and tries the operation again (`task::block`).

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bitflags::bitflags;
use parking_lot::Mutex;

bitflags! {
    /// Readiness of a file, with poll(2)'s values.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
    pub struct Ready: u32 {
        /// POLLIN
        const IN = 0x001;
        /// POLLPRI
        const PRI = 0x002;
        /// POLLOUT
        const OUT = 0x004;
        /// POLLERR
        const ERR = 0x008;
        /// POLLHUP
        const HUP = 0x010;
        /// POLLNVAL
        const NVAL = 0x020;
        /// POLLRDNORM
        const RDNORM = 0x040;
        /// POLLWRNORM
        const WRNORM = 0x100;
        /// POLLRDHUP
        const RDHUP = 0x2000;
        /// Not one of poll(2)'s: urgent data has been announced, which SIGURG tells of.
        const URGENT = 0x1_0000;
    }
}

/// Somebody who is told that a queue's state may have changed. Called with no lock of the queue's
/// owner held that the callee could need; must not block.
pub trait Wake: Send + Sync {
    /// `ready` is what may have become true.
    fn wake(&self, ready: Ready);
}

/// Those who wait for one thing. Lock order: a queue's lock is innermost; wakers are called after it
/// has been released.
#[derive(Default)]
pub struct WaitQueue {
    entries: Mutex<Vec<Entry>>,
    next_id: AtomicU64,
}

struct Entry {
    id: u64,
    mask: Ready,
    waker: Arc<dyn Wake>,
}

/// Names one registration on one queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WaitId(u64);

impl WaitId {
    /// No registration.
    pub const NONE: Self = Self(u64::MAX);
}

impl WaitQueue {
    /// A queue nobody waits on.
    pub fn new() -> Self {
        Self::default()
    }

    /// `waker` is told of every [`WaitQueue::notify`] that shares a bit with `mask` (errors and
    /// hang-ups always) until it is removed.
    pub fn add(&self, mask: Ready, waker: Arc<dyn Wake>) -> WaitId {
        let id = self.next_id.fetch_add(1, Ordering::Relaxed);
        self.entries.lock().push(Entry {
            id,
            mask: mask | Ready::ERR | Ready::HUP,
            waker,
        });
        WaitId(id)
    }

    /// Takes a registration back; harmless if it is gone already.
    pub fn remove(&self, id: WaitId) {
        self.entries.lock().retain(|entry| entry.id != id.0);
    }

    /// Tells everybody who waits for one of `ready`.
    pub fn notify(&self, ready: Ready) {
        let wakers: smallvec::SmallVec<[Arc<dyn Wake>; 4]> = {
            let entries = self.entries.lock();
            entries
                .iter()
                .filter(|e| e.mask.intersects(ready))
                .map(|e| Arc::clone(&e.waker))
                .collect()
        };
        wakers.iter().for_each(|waker| waker.wake(ready));
    }

    /// Everything that somebody waits for.
    pub fn interest(&self) -> Ready {
        let entries = self.entries.lock();
        entries
            .iter()
            .fold(Ready::empty(), |all, entry| all | entry.mask)
    }

    /// True if nobody waits (a cheap test before work that only serves waiters).
    pub fn is_empty(&self) -> bool {
        self.entries.lock().is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Count(AtomicU64);

    impl Wake for Count {
        fn wake(&self, _: Ready) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    #[test]
    fn only_matching_waiters_are_told_until_removed() {
        let queue = WaitQueue::new();
        let count = Arc::new(Count(AtomicU64::new(0)));
        let id = queue.add(Ready::IN, count.clone());
        queue.notify(Ready::OUT);
        assert_eq!(count.0.load(Ordering::Relaxed), 0);
        queue.notify(Ready::IN);
        queue.notify(Ready::HUP);
        assert_eq!(count.0.load(Ordering::Relaxed), 2);
        queue.remove(id);
        queue.notify(Ready::IN);
        assert_eq!(count.0.load(Ordering::Relaxed), 2);
        assert!(queue.is_empty());
    }
}
