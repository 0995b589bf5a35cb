//! Donated descriptors of the host (stdin, stdout, stderr): pipes, terminals, sockets and files.
//!
//! The descriptor's own O_NONBLOCK flag is shared with whoever donated it, so it is not touched: each
//! read or write first asks poll(2) without waiting. Readiness comes from one host epoll thread for the
//! whole Sentry, which only watches while somebody waits.

use std::any::Any;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;

use nix::poll::{PollFd, PollFlags, PollTimeout};
use sentry_abi::Errno;
use sentry_abi::file::{Termios, Winsize};
use zerocopy::{FromBytes, Immutable, IntoBytes};

use super::inode::errno;
use super::{poller, sys};
use crate::mm::io::{IoDst, IoSrc};
use crate::vfs::attr::FileType;
use crate::vfs::file::{FileOps, IoctlCall};
use crate::vfs::open::OpenFile;
use crate::wait::{Ready, WaitQueue};

/// The size of the window of a terminal outside; `None` if `fd` is none.
pub(crate) fn window_size(fd: BorrowedFd<'_>) -> Option<Winsize> {
    let mut size = Winsize::default();
    let request = u32::try_from(libc::TIOCGWINSZ).ok()?;
    sys::ioctl(fd, request, &mut size).ok()?;
    Some(size)
}

/// A donated descriptor.
pub struct HostStream {
    fd: OwnedFd,
    kind: FileType,
    terminal: bool,
    queue: Arc<WaitQueue>,
    watch: Option<poller::Watch>,
}

impl HostStream {
    /// Serves `fd`.
    ///
    /// # Errors
    /// What fstat or epoll say.
    pub fn new(fd: OwnedFd) -> Result<Arc<Self>, Errno> {
        let stat = nix::sys::stat::fstat(&fd).map_err(errno)?;
        let kind = FileType::from_mode(stat.st_mode).ok_or(Errno::EIO)?;
        let queue = Arc::new(WaitQueue::new());
        let pollable = !matches!(kind, FileType::Regular | FileType::Directory);
        let watch = if pollable {
            poller::watch(fd.as_fd(), &queue)?
        } else {
            None
        };
        Ok(Arc::new(Self {
            terminal: nix::unistd::isatty(&fd).unwrap_or(false),
            fd,
            kind,
            queue,
            watch,
        }))
    }

    /// The open file that descriptor 0, 1 or 2 refers to: `fd` with its own access mode.
    ///
    /// # Errors
    /// As [`HostStream::new`].
    pub fn open(fd: OwnedFd, uid: u32, gid: u32) -> Result<Arc<OpenFile>, Errno> {
        use crate::vfs::anon::{AnonInode, AnonName, open_anonymous};
        let flags = nix::fcntl::fcntl(&fd, nix::fcntl::FcntlArg::F_GETFL).map_err(errno)?;
        let stream = Self::new(fd)?;
        let kind = stream.kind;
        let name = match kind {
            FileType::Fifo => "pipe",
            FileType::Socket => "socket",
            FileType::CharDevice => "host-tty",
            _ => "host",
        };
        let flags = flags & (libc::O_ACCMODE | libc::O_APPEND);
        let again = Arc::downgrade(&stream);
        let file = open_anonymous(stream, AnonName::Numbered(name), kind, flags, (uid, gid));
        if let Some(inode) = file.path().inode().as_any().downcast_ref::<AnonInode>() {
            inode.set_reopen(Box::new(move |_| {
                let stream = again.upgrade().ok_or(Errno::ENXIO)?;
                Ok(stream as Arc<dyn FileOps>)
            }));
        }
        Ok(file)
    }

    fn poll(&self) -> Ready {
        let wanted = PollFlags::POLLIN | PollFlags::POLLOUT | PollFlags::POLLPRI;
        let mut fds = [PollFd::new(self.fd.as_fd(), wanted)];
        if nix::poll::poll(&mut fds, PollTimeout::ZERO).is_err() {
            return Ready::ERR;
        }
        let found = fds[0].revents().unwrap_or(PollFlags::empty());
        poller::to_ready(found.bits() as u32)
    }

    fn regular(&self) -> bool {
        self.watch.is_none()
    }

    /// What is ready now. The poller is told to watch for what somebody waits for and is not: whoever
    /// waits has registered before he asks the last time.
    fn poll_and_arm(&self) -> Ready {
        let ready = self.poll();
        let interest = Ready::IN | Ready::OUT | Ready::PRI;
        let missing = self.queue.interest() & interest & !ready;
        if let Some(watch) = self.watch.as_ref().filter(|_| !missing.is_empty()) {
            watch.arm(missing);
        }
        ready
    }

    /// EAGAIN unless one of `wanted` is ready.
    fn ready_for(&self, wanted: Ready) -> Result<(), Errno> {
        let decided = wanted | Ready::HUP | Ready::ERR;
        if self.regular() || self.poll_and_arm().intersects(decided) {
            return Ok(());
        }
        Err(Errno::EAGAIN)
    }

    fn terminal_call<T: FromBytes + IntoBytes + Immutable + Default>(
        &self,
        call: &IoctlCall<'_>,
        set: bool,
    ) -> Result<u64, Errno> {
        let mut value = T::default();
        if set {
            call.memory.read(call.arg, value.as_mut_bytes())?;
        }
        sys::ioctl(self.fd.as_fd(), call.request, &mut value)?;
        if !set {
            call.memory.write(call.arg, value.as_bytes())?;
        }
        Ok(0)
    }
}

impl FileOps for HostStream {
    fn read(&self, dst: &mut dyn IoDst, offset: Option<u64>) -> Result<usize, Errno> {
        self.ready_for(Ready::IN)?;
        let fd = self.fd.as_fd();
        let count = dst.fill_with(dst.remaining(), &mut |iovs| sys::read(fd, iovs, offset))?;
        if !self.queue.interest().is_empty() {
            // Somebody (SIGIO) waits for more without asking again.
            self.poll_and_arm();
        }
        Ok(count)
    }

    fn write(&self, src: &mut dyn IoSrc, offset: Option<u64>) -> Result<usize, Errno> {
        self.ready_for(Ready::OUT)?;
        let fd = self.fd.as_fd();
        // A pipe that polls writable takes PIPE_BUF bytes without blocking; more could block us.
        let max = if self.regular() {
            src.remaining()
        } else {
            src.remaining().min(libc::PIPE_BUF)
        };
        let mut total = 0;
        loop {
            match src.drain_with(max, &mut |iovs| sys::write(fd, iovs, offset)) {
                Ok(count) => total += count,
                Err(_) if total > 0 => return Ok(total),
                Err(error) => return Err(error),
            }
            if self.regular() || src.remaining() == 0 || self.ready_for(Ready::OUT).is_err() {
                return Ok(total);
            }
        }
    }

    fn readiness(&self) -> Ready {
        if self.regular() {
            return Ready::IN | Ready::OUT | Ready::RDNORM | Ready::WRNORM;
        }
        self.poll_and_arm()
    }

    fn wait_queue(&self) -> Option<&WaitQueue> {
        self.watch.is_some().then_some(&*self.queue)
    }

    /// As of pipes, terminals and sockets; what each is outside.
    fn signals_readiness(&self) -> bool {
        self.watch.is_some()
    }

    fn ioctl(&self, call: &mut IoctlCall<'_>) -> Result<u64, Errno> {
        match u64::from(call.request) {
            libc::FIONREAD => {
                let mut count = 0i32;
                sys::ioctl(self.fd.as_fd(), call.request, &mut count)?;
                call.memory.write(call.arg, count.as_bytes())?;
                Ok(0)
            }
            _ if !self.terminal => Err(Errno::ENOTTY),
            libc::TCGETS => self.terminal_call::<Termios>(call, false),
            libc::TCSETS | libc::TCSETSW | libc::TCSETSF => {
                self.terminal_call::<Termios>(call, true)
            }
            libc::TIOCGWINSZ => self.terminal_call::<Winsize>(call, false),
            libc::TIOCSWINSZ => self.terminal_call::<Winsize>(call, true),
            // It is nobody's controlling terminal in here (TIOCGPGRP ...): see `kernel::console`.
            _ => Err(Errno::ENOTTY),
        }
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}
