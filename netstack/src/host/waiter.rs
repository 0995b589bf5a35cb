//! What a blocked thread is told through.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};

use nix::sys::eventfd::EventFd;
use parking_lot::{Condvar, Mutex};

/// Nobody has notified, nobody sleeps.
const IDLE: u8 = 0;
/// Notified, and not looked at since.
const NOTIFIED: u8 = 1;
/// The owner sleeps on the condition variable.
const SLEEPING: u8 = 2;
/// The owner waits for the devices, as the leader.
const POLLING: u8 = 3;

/// Wakes one thread that is blocked in [`super::Net::park`]. Clones are the same waiter. A
/// notification that comes while nobody is parked is kept for the next park.
#[derive(Clone, Debug)]
pub struct Waiter {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    state: AtomicU8,
    lock: Mutex<()>,
    condition: Condvar,
    /// Ends the leader's wait for the devices.
    poke: Arc<Poke>,
}

/// The event that interrupts the leader, and how often threads had to be woken.
#[derive(Debug)]
pub(super) struct Poke {
    event: EventFd,
    /// Wakes of threads on a condition variable.
    pub(super) thread_wakes: AtomicU64,
    /// Wakes of the leader that somebody else asked for.
    pub(super) leader_wakes: AtomicU64,
}

impl Poke {
    pub(super) fn new(event: EventFd) -> Self {
        Self {
            event,
            thread_wakes: AtomicU64::new(0),
            leader_wakes: AtomicU64::new(0),
        }
    }

    /// Makes one thread return from waiting for the devices.
    pub(super) fn poke(&self) {
        // The descriptor is edge-triggered: each write wakes, and the count is never near its end.
        let _ = self.event.write(1);
    }
}

impl Waiter {
    pub(super) fn new(poke: Arc<Poke>) -> Self {
        Self {
            shared: Arc::new(Shared {
                state: AtomicU8::new(IDLE),
                lock: Mutex::new(()),
                condition: Condvar::new(),
                poke,
            }),
        }
    }

    /// Wakes the thread that is parked here, or lets its next park return at once. From any thread,
    /// under any lock; never blocks.
    pub fn notify(&self) {
        let shared = &*self.shared;
        match shared.state.swap(NOTIFIED, Ordering::AcqRel) {
            SLEEPING => {
                // The sleeper is between its last look and its sleep for as long as it has the lock.
                drop(shared.lock.lock());
                shared.condition.notify_one();
                shared.poke.thread_wakes.fetch_add(1, Ordering::Relaxed);
            }
            POLLING => {
                shared.poke.leader_wakes.fetch_add(1, Ordering::Relaxed);
                shared.poke.poke();
            }
            _ => {}
        }
    }

    /// True if both are the same waiter.
    pub(super) fn is(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.shared, &other.shared)
    }

    /// True if notified; does not consume the notification.
    pub(super) fn is_notified(&self) -> bool {
        self.shared.state.load(Ordering::Acquire) == NOTIFIED
    }

    /// Consumes a notification.
    pub(super) fn take(&self) -> bool {
        self.change(NOTIFIED, IDLE)
    }

    /// Announces that the owner is about to wait for the devices; false if it is notified already.
    pub(super) fn begin_polling(&self) -> bool {
        self.change(IDLE, POLLING)
    }

    /// The owner is back from waiting for the devices.
    pub(super) fn end_polling(&self) {
        self.change(POLLING, IDLE);
    }

    /// Sleeps until notified (true) or `deadline` (false), and consumes the notification.
    pub(super) fn sleep(&self, deadline: Option<std::time::Instant>) -> bool {
        let shared = &*self.shared;
        let mut guard = shared.lock.lock();
        while self.change(IDLE, SLEEPING) {
            let timed_out = match deadline {
                Some(at) => shared.condition.wait_until(&mut guard, at).timed_out(),
                None => {
                    shared.condition.wait(&mut guard);
                    false
                }
            };
            self.change(SLEEPING, IDLE);
            if timed_out {
                break;
            }
        }
        self.take()
    }

    fn change(&self, from: u8, to: u8) -> bool {
        self.shared
            .state
            .compare_exchange(from, to, Ordering::AcqRel, Ordering::Acquire)
            .is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn waiter() -> Waiter {
        Waiter::new(Arc::new(Poke::new(EventFd::new().unwrap())))
    }

    #[test]
    fn a_notification_is_kept_until_somebody_sleeps() {
        let waiter = waiter();
        waiter.notify();
        waiter.notify();
        assert!(waiter.sleep(None));
        assert!(!waiter.sleep(Some(std::time::Instant::now())));
    }

    #[test]
    fn a_sleeper_is_woken_by_another_thread() {
        let (ping, pong) = (waiter(), waiter());
        let theirs = (ping.clone(), pong.clone());
        let thread = std::thread::spawn(move || {
            for _ in 0..100 {
                assert!(theirs.0.sleep(None));
                theirs.1.notify();
            }
        });
        for _ in 0..100 {
            ping.notify();
            assert!(pong.sleep(None));
        }
        thread.join().unwrap();
    }
}
