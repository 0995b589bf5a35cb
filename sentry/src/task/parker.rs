//! Putting a Sentry thread to sleep until somebody has something for it.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::Thread;
use std::time::Duration;

use crate::wait::{Ready, Wake};

/// Sleep and wake of one thread. A wake that comes before the sleep is not lost.
#[derive(Default)]
pub struct Parker {
    woken: AtomicBool,
    thread: OnceLock<Thread>,
}

impl Parker {
    /// Names the thread that will park: the present one.
    pub fn attach(&self) {
        let _ = self.thread.set(std::thread::current());
    }

    /// Forgets wakes that came so far. To be called before looking at what one waits for.
    pub fn reset(&self) {
        self.woken.store(false, Ordering::SeqCst);
    }

    /// True if there was a wake since the last reset.
    pub fn woken(&self) -> bool {
        self.woken.load(Ordering::SeqCst)
    }

    /// Sleeps until there is a wake, or for `timeout`. True if woken.
    pub fn park(&self, timeout: Option<Duration>) -> bool {
        let end = timeout.map(|timeout| std::time::Instant::now() + timeout);
        while !self.woken() {
            match end {
                None => std::thread::park(),
                Some(end) => {
                    let left = end.saturating_duration_since(std::time::Instant::now());
                    if left.is_zero() {
                        return false;
                    }
                    std::thread::park_timeout(left);
                }
            }
        }
        true
    }

    /// Wakes the thread, or lets its next sleep end at once.
    pub fn unpark(&self) {
        if !self.woken.swap(true, Ordering::SeqCst)
            && let Some(thread) = self.thread.get()
        {
            thread.unpark();
        }
    }
}

impl Wake for Parker {
    fn wake(&self, _: Ready) {
        self.unpark();
    }
}
