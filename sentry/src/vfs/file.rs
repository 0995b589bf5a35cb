//! What an open file can do. One trait for every kind; a kind answers what it has, the defaults
//! answer as Linux does for a file without the operation.

use std::sync::Arc;

use sentry_abi::Errno;

use crate::mm::Mappable;
use crate::mm::io::{IoDst, IoSrc};
use crate::wait::{Ready, WaitQueue};

/// The operations of an open file's backend. They never block: EAGAIN says that the call would have
/// to wait, and the caller waits on [`FileOps::wait_queue`] if the descriptor is blocking.
///
/// `offset` is `Some` for seekable files (the caller keeps the file position) and for pread/pwrite.
pub trait FileOps: Send + Sync {
    /// Reads into `dst`; 0 is the end of the file.
    ///
    /// # Errors
    /// EAGAIN, EINVAL (not readable), EISDIR, EIO ...
    fn read(&self, dst: &mut dyn IoDst, offset: Option<u64>) -> Result<usize, Errno> {
        let _ = (dst, offset);
        Err(Errno::EINVAL)
    }

    /// Writes from `src`.
    ///
    /// # Errors
    /// EAGAIN, EINVAL (not writable), EPIPE (the caller raises SIGPIPE), ENOSPC ...
    fn write(&self, src: &mut dyn IoSrc, offset: Option<u64>) -> Result<usize, Errno> {
        let _ = (src, offset);
        Err(Errno::EINVAL)
    }

    /// True if the file has a position (regular files, directories, block devices).
    fn seekable(&self) -> bool {
        false
    }

    /// What is ready now.
    fn readiness(&self) -> Ready {
        Ready::IN | Ready::OUT | Ready::RDNORM | Ready::WRNORM
    }

    /// The queue that is notified when readiness changes; `None` if the file is always ready.
    fn wait_queue(&self) -> Option<&WaitQueue> {
        None
    }

    /// What mmap maps; `None`: ENODEV.
    fn mappable(&self) -> Option<Arc<dyn Mappable>> {
        None
    }

    /// The concrete type, for system calls that only one kind of file has (sockets, epoll, eventfd,
    /// timerfd, pipes, ttys, directories).
    fn as_any(&self) -> &dyn std::any::Any;
}
