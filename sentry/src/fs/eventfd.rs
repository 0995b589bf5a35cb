//! Event counters: eventfd(2).

use std::any::Any;
use std::sync::Arc;

use parking_lot::Mutex;
use sentry_abi::Errno;

use crate::mm::io::{IoDst, IoSrc};
use crate::vfs::file::FileOps;
use crate::wait::{Ready, WaitQueue};

/// The highest value of a counter.
const MAX: u64 = u64::MAX - 1;

/// An event counter.
pub struct EventFd {
    count: Mutex<u64>,
    semaphore: bool,
    queue: WaitQueue,
}

impl EventFd {
    /// A counter at `count`; a `semaphore` gives 1 at a time.
    pub fn new(count: u64, semaphore: bool) -> Arc<Self> {
        Arc::new(Self {
            count: Mutex::new(count),
            semaphore,
            queue: WaitQueue::new(),
        })
    }
}

impl FileOps for EventFd {
    fn read(&self, dst: &mut dyn IoDst, _: Option<u64>) -> Result<usize, Errno> {
        if dst.remaining() < 8 {
            return Err(Errno::EINVAL);
        }
        let mut count = self.count.lock();
        if *count == 0 {
            return Err(Errno::EAGAIN);
        }
        let taken = if self.semaphore { 1 } else { *count };
        *count -= taken;
        drop(count);
        self.queue.notify(Ready::OUT | Ready::WRNORM);
        // What cannot be handed over is lost, as in Linux (`eventfd_read`).
        match dst.put(&taken.to_ne_bytes())? {
            8 => Ok(8),
            _ => Err(Errno::EFAULT),
        }
    }

    fn write(&self, src: &mut dyn IoSrc, _: Option<u64>) -> Result<usize, Errno> {
        if src.remaining() < 8 {
            return Err(Errno::EINVAL);
        }
        let mut bytes = [0; 8];
        if src.take(&mut bytes)? < 8 {
            return Err(Errno::EFAULT);
        }
        let more = u64::from_ne_bytes(bytes);
        if more == u64::MAX {
            return Err(Errno::EINVAL);
        }
        let mut count = self.count.lock();
        *count = match count.checked_add(more) {
            Some(sum) if sum <= MAX => sum,
            _ => return Err(Errno::EAGAIN),
        };
        drop(count);
        self.queue.notify(Ready::IN | Ready::RDNORM);
        Ok(8)
    }

    fn readiness(&self) -> Ready {
        let count = *self.count.lock();
        let mut ready = Ready::empty();
        ready.set(Ready::IN | Ready::RDNORM, count > 0);
        ready.set(Ready::OUT | Ready::WRNORM, count < MAX);
        ready
    }

    fn wait_queue(&self) -> Option<&WaitQueue> {
        Some(&self.queue)
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}
