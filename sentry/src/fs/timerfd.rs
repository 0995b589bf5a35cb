//! Timers that are read: timerfd_create(2).

use std::any::Any;
use std::sync::{Arc, Weak};

use parking_lot::Mutex;
use sentry_abi::Errno;

use crate::mm::io::IoDst;
use crate::time::monotonic_ns;
use crate::time::queue::{Expire, TimerId, TimerQueue};
use crate::vfs::file::FileOps;
use crate::wait::{Ready, WaitQueue};

/// A timer that counts its expirations until they are read.
pub struct TimerFd {
    me: Weak<TimerFd>,
    /// `CLOCK_*`.
    pub clock: i32,
    id: TimerId,
    state: Mutex<State>,
    queue: WaitQueue,
}

#[derive(Clone, Copy, Default)]
struct State {
    /// When it expires next (monotonic).
    deadline_ns: Option<u64>,
    /// 0: once.
    interval_ns: u64,
    expired: u64,
}

impl State {
    /// Counts what has expired by now.
    fn advance(&mut self, now_ns: u64) {
        let Some(deadline) = self.deadline_ns.filter(|at| *at <= now_ns) else {
            return;
        };
        let more = match self.interval_ns {
            0 => 1,
            interval => (now_ns - deadline) / interval + 1,
        };
        self.expired = self.expired.saturating_add(more);
        self.deadline_ns = match self.interval_ns {
            0 => None,
            interval => Some(deadline.saturating_add(interval.saturating_mul(more))),
        };
    }
}

impl TimerFd {
    /// A timer that is not armed.
    pub fn new(clock: i32) -> Arc<Self> {
        Arc::new_cyclic(|me| Self {
            me: me.clone(),
            clock,
            id: TimerId::new(),
            state: Mutex::default(),
            queue: WaitQueue::new(),
        })
    }

    /// Arms it for `deadline_ns` (monotonic clock), or disarms it; returns the old (time left, interval).
    ///
    /// # Errors
    /// ENOMEM if the host gives no thread for timers.
    pub fn set(&self, deadline_ns: Option<u64>, interval_ns: u64) -> Result<(u64, u64), Errno> {
        let old = self.left();
        *self.state.lock() = State {
            deadline_ns,
            interval_ns,
            expired: 0,
        };
        let queue = TimerQueue::get();
        match deadline_ns {
            None => queue.clear(self.id),
            Some(at) => {
                let timer: Weak<dyn Expire> = self.me.clone();
                if !queue.set(self.id, at, timer) {
                    return Err(Errno::ENOMEM);
                }
            }
        }
        Ok(old)
    }

    /// Time left and interval, in nanoseconds; (0, _) if it is not armed.
    pub fn left(&self) -> (u64, u64) {
        let now = monotonic_ns();
        let mut state = self.state.lock();
        state.advance(now);
        let left = state.deadline_ns.map_or(0, |at| at.saturating_sub(now));
        (left, state.interval_ns)
    }
}

impl Expire for TimerFd {
    fn expire(&self, now_ns: u64) -> Option<u64> {
        let next = {
            let mut state = self.state.lock();
            state.advance(now_ns);
            state.deadline_ns
        };
        self.queue.notify(Ready::IN | Ready::RDNORM);
        next
    }
}

impl FileOps for TimerFd {
    fn read(&self, dst: &mut dyn IoDst, _: Option<u64>) -> Result<usize, Errno> {
        if dst.remaining() < 8 {
            return Err(Errno::EINVAL);
        }
        let mut state = self.state.lock();
        state.advance(monotonic_ns());
        if state.expired == 0 {
            return Err(Errno::EAGAIN);
        }
        dst.put(&state.expired.to_ne_bytes())?;
        state.expired = 0;
        Ok(8)
    }

    fn readiness(&self) -> Ready {
        let mut state = self.state.lock();
        state.advance(monotonic_ns());
        if state.expired > 0 {
            Ready::IN | Ready::RDNORM
        } else {
            Ready::empty()
        }
    }

    fn wait_queue(&self) -> Option<&WaitQueue> {
        Some(&self.queue)
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}

impl Drop for TimerFd {
    fn drop(&mut self) {
        TimerQueue::get().clear(self.id);
    }
}
