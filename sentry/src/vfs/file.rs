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

    /// Writes at the end of the file, atomically with finding the end; returns the count and the
    /// position after it.
    ///
    /// # Errors
    /// As [`FileOps::write`].
    fn append(&self, src: &mut dyn IoSrc) -> Result<(usize, u64), Errno> {
        self.write(src, None).map(|count| (count, 0))
    }

    /// True if the file has a position (regular files, directories, block devices).
    fn seekable(&self) -> bool {
        false
    }

    /// The position that SEEK_END, SEEK_DATA and SEEK_HOLE name, from `offset`.
    ///
    /// # Errors
    /// EINVAL if the file has none of it; ENXIO past the end.
    fn seek_from(&self, whence: i32, offset: i64) -> Result<u64, Errno> {
        let _ = (whence, offset);
        Err(Errno::EINVAL)
    }

    /// What is ready now.
    fn readiness(&self) -> Ready {
        Ready::IN | Ready::OUT | Ready::RDNORM | Ready::WRNORM
    }

    /// The queue that is notified when readiness changes; `None` if the file is always ready.
    fn wait_queue(&self) -> Option<&WaitQueue> {
        None
    }

    /// True if signals can tell of its readiness (O_ASYNC).
    fn signals_readiness(&self) -> bool {
        false
    }

    /// What mmap maps; `None`: ENODEV.
    fn mappable(&self) -> Option<Arc<dyn Mappable>> {
        None
    }

    /// Makes written data durable.
    ///
    /// # Errors
    /// EINVAL for files that have no storage, EIO.
    fn sync(&self, data_only: bool) -> Result<(), Errno> {
        let _ = data_only;
        Err(Errno::EINVAL)
    }

    /// fallocate(2).
    ///
    /// # Errors
    /// ENODEV, EOPNOTSUPP, ENOSPC.
    fn allocate(&self, mode: i32, offset: u64, len: u64) -> Result<(), Errno> {
        let _ = (mode, offset, len);
        Err(Errno::ENODEV)
    }

    /// ioctl(2). `memory` reads and writes the caller's memory.
    ///
    /// # Errors
    /// ENOTTY for an unknown request.
    fn ioctl(&self, call: &mut IoctlCall<'_>) -> Result<u64, Errno> {
        let _ = call;
        Err(Errno::ENOTTY)
    }

    /// The next directory entries, from `position`; `sink` answers false if the entry did not fit.
    /// Returns the new position.
    ///
    /// # Errors
    /// ENOTDIR.
    fn read_dir(&self, position: u64, sink: &mut DirSink<'_>) -> Result<u64, Errno> {
        let _ = (position, sink);
        Err(Errno::ENOTDIR)
    }

    /// A descriptor that refers to this file was closed by process `pid` (flush).
    fn flush(&self) {}

    /// How long a blocking read (or write) waits at most, in nanoseconds (SO_RCVTIMEO, SO_SNDTIMEO);
    /// then it fails with EAGAIN.
    fn io_timeout_ns(&self, write: bool) -> Option<u64> {
        let _ = write;
        None
    }

    /// Device number and foreground process group, if this is a terminal.
    fn terminal_ids(&self) -> Option<(i32, i32)> {
        None
    }

    /// It was opened without O_NOCTTY: a terminal may become the controlling one. `me` is the file itself.
    fn opened_by(&self, session: &dyn SessionSource, me: &Arc<dyn FileOps>) {
        let _ = (session, me);
    }

    /// Asked before a read or write: a terminal stops a background process here.
    ///
    /// # Errors
    /// EIO; EAGAIN after a signal was raised that makes the call be tried again.
    fn job_control(&self, session: &dyn SessionSource, write: bool) -> Result<(), Errno> {
        let _ = (session, write);
        Ok(())
    }

    /// Whether O_DIRECT, O_NONBLOCK and O_APPEND changed; told after fcntl(F_SETFL).
    ///
    /// # Errors
    /// EINVAL if a flag cannot be had.
    fn flags_changed(&self, flags: i32) -> Result<(), Errno> {
        let _ = flags;
        Ok(())
    }

    /// The concrete type, for system calls that only one kind of file has (sockets, epoll, eventfd,
    /// timerfd, pipes, ttys, directories).
    fn as_any(&self) -> &dyn std::any::Any;
}

/// Takes one directory entry: inode, position after it, kind, name.
pub type DirSink<'a> = dyn FnMut(u64, u64, crate::vfs::attr::FileType, &[u8]) -> bool + 'a;

/// One ioctl call.
pub struct IoctlCall<'a> {
    /// Request number.
    pub request: u32,
    /// The argument: an address or a plain value.
    pub arg: u64,
    /// The caller's memory.
    pub memory: &'a dyn GuestMemory,
    /// Thread id of the caller.
    pub tid: i32,
    /// What the caller's session and process group are.
    pub session: &'a dyn SessionSource,
    /// The file itself.
    pub file: &'a Arc<dyn FileOps>,
}

/// Reads and writes the memory of the calling process.
pub trait GuestMemory {
    /// Fills `dst` from `addr`.
    ///
    /// # Errors
    /// EFAULT.
    fn read(&self, addr: u64, dst: &mut [u8]) -> Result<(), Errno>;

    /// Writes `src` to `addr`.
    ///
    /// # Errors
    /// EFAULT.
    fn write(&self, addr: u64, src: &[u8]) -> Result<(), Errno>;
}

/// What a terminal needs to know of, and do to, the processes around it. Implemented by the task layer.
pub trait SessionSource {
    /// Process id, process group and session of the caller.
    fn ids(&self) -> CallerIds;

    /// True if process group `pgid` has a member in session `sid`.
    fn group_in_session(&self, pgid: i32, sid: i32) -> bool;

    /// Raises `signo` in every process of group `pgid`.
    fn signal_group(&self, pgid: i32, signo: i32);

    /// Raises `signo` in the caller's own group, if it does not block or ignore it: true if it was raised
    /// (job control stops a background process that touches its terminal).
    fn stop_background(&self, signo: i32) -> bool;

    /// Makes the terminal the caller's controlling one, or (`None`) takes it away.
    fn set_controlling(&self, tty: Option<Arc<dyn FileOps>>);

    /// True if the caller has a controlling terminal.
    fn has_controlling(&self) -> bool;

    /// Takes the controlling terminal away from all of session `sid`.
    fn detach_session(&self, sid: i32);

    /// True if the caller may take a terminal away from another session (CAP_SYS_ADMIN).
    fn may_steal_terminals(&self) -> bool;
}

/// Ids of a process.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[allow(missing_docs)] // self-explanatory
pub struct CallerIds {
    pub pid: i32,
    pub pgid: i32,
    pub sid: i32,
}
