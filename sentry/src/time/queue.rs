//! One thread that calls back when moments on the monotonic clock come. It sleeps while nothing is due.

use std::collections::{BTreeSet, HashMap};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{LazyLock, Weak};
use std::time::Duration;

use parking_lot::{Condvar, Mutex};

/// Something with a deadline.
pub trait Expire: Send + Sync {
    /// The deadline has passed (it may have been moved meanwhile: look again). Returns the next one.
    /// Called on the timer thread; must not block.
    fn expire(&self, now_ns: u64) -> Option<u64>;
}

/// Names an entry of the queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TimerId(u64);

impl TimerId {
    /// A name that nobody else has.
    pub fn new() -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        Self(NEXT.fetch_add(1, Ordering::Relaxed))
    }
}

impl Default for TimerId {
    fn default() -> Self {
        Self::new()
    }
}

#[derive(Default)]
struct Inner {
    order: BTreeSet<(u64, TimerId)>,
    entries: HashMap<TimerId, (u64, Weak<dyn Expire>)>,
    started: bool,
}

/// The queue of this process.
#[derive(Default)]
pub struct TimerQueue {
    inner: Mutex<Inner>,
    changed: Condvar,
}

impl TimerQueue {
    /// The one queue.
    pub fn get() -> &'static Self {
        static QUEUE: LazyLock<TimerQueue> = LazyLock::new(TimerQueue::default);
        &QUEUE
    }

    /// `timer` is called at `deadline_ns` (monotonic guest clock), and no longer when it was set to before.
    /// Returns false if the host gives no thread to do it.
    pub fn set(&'static self, id: TimerId, deadline_ns: u64, timer: Weak<dyn Expire>) -> bool {
        let mut inner = self.inner.lock();
        inner.remove(id);
        let first = inner.order.first().is_none_or(|(at, _)| deadline_ns < *at);
        inner.order.insert((deadline_ns, id));
        inner.entries.insert(id, (deadline_ns, timer));
        if !inner.started {
            let thread = std::thread::Builder::new()
                .name("timers".into())
                .stack_size(256 << 10);
            inner.started = thread.spawn(move || self.run()).is_ok();
        }
        if first {
            self.changed.notify_one();
        }
        inner.started
    }

    /// `id` is not called any more (a call that is under way goes on).
    pub fn clear(&self, id: TimerId) {
        self.inner.lock().remove(id);
    }

    fn run(&'static self) {
        let mut inner = self.inner.lock();
        loop {
            let now = super::monotonic_ns();
            let Some((at, id)) = inner.order.first().copied() else {
                self.changed.wait(&mut inner);
                continue;
            };
            if at > now {
                let left = Duration::from_nanos(at - now);
                self.changed.wait_for(&mut inner, left);
                continue;
            }
            let timer = inner.remove(id);
            drop(inner);
            if let Some(timer) = timer.and_then(|timer| timer.upgrade())
                && let Some(next) = timer.expire(now)
            {
                self.set(id, next, std::sync::Arc::downgrade(&timer));
            }
            inner = self.inner.lock();
        }
    }
}

impl Inner {
    fn remove(&mut self, id: TimerId) -> Option<Weak<dyn Expire>> {
        let (at, timer) = self.entries.remove(&id)?;
        self.order.remove(&(at, id));
        Some(timer)
    }
}
