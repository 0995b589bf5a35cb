//! The zygote process, and the reaping of stubs (which are this process's children, by CLONE_PARENT).

use std::io::{IoSlice, IoSliceMut};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};

use nix::errno::Errno;
use nix::sys::signal::{Signal, kill};
use nix::sys::socket::{
    AddressFamily, ControlMessage, MsgFlags, SockFlag, SockType, recvmsg, sendmsg, socketpair,
};
use nix::sys::wait::{Id, WaitPidFlag, WaitStatus, waitid, waitpid};
use nix::unistd::Pid;
use parking_lot::Mutex;

use crate::platform::{PlatformError, sys};

static STUB: &[u8] = include_bytes!(env!("SENTRY_STUB"));

/// The zygote. Dropping it ends and reaps it and all stubs that have been killed.
pub(super) struct Zygote {
    /// Requests; one at a time.
    socket: Mutex<OwnedFd>,
    pid: Pid,
    /// Killed stubs that may not have been reaped.
    dying: Mutex<Vec<Pid>>,
}

/// Killed stubs may wait for being reaped up to this number.
const DYING_MAX: usize = 16;

/// A pair of connected sockets, closed on exec.
pub(super) fn socket_pair(kind: SockType) -> Result<(OwnedFd, OwnedFd), PlatformError> {
    socketpair(AddressFamily::Unix, kind, None, SockFlag::SOCK_CLOEXEC).map_err(|errno| match errno
    {
        Errno::EMFILE | Errno::ENFILE => PlatformError::Exhausted("descriptors"),
        errno => PlatformError::host("socketpair", errno),
    })
}

impl Zygote {
    pub(super) fn start(memory: &OwnedFd) -> Result<Self, PlatformError> {
        let exe = sys::executable(STUB).map_err(|e| PlatformError::host("stub memfd", e))?;
        let (ours, theirs) = socket_pair(SockType::SeqPacket)?;
        let pid = sys::start::spawn(exe.as_fd(), memory.as_fd(), theirs.as_fd())
            .map_err(|e| PlatformError::host("starting the zygote", e))?;
        drop(theirs);
        let zygote = Self {
            socket: Mutex::new(ours),
            pid: Pid::from_raw(pid),
            dying: Mutex::new(Vec::new()),
        };
        reply(&zygote.socket.lock())?;
        // When memory runs out, a guest dies and not the Sentry. Stubs inherit it.
        let _ = std::fs::write(format!("/proc/{pid}/oom_score_adj"), "1000");
        Ok(zygote)
    }

    /// Forks a stub that gets these descriptors: shared memory, wake socket, file socket.
    pub(super) fn fork(&self, fds: [&OwnedFd; 3]) -> Result<Pid, PlatformError> {
        self.reap(DYING_MAX);
        let raw = fds.map(AsRawFd::as_raw_fd);
        let socket = self.socket.lock();
        sendmsg::<()>(
            socket.as_raw_fd(),
            &[IoSlice::new(&[0])],
            &[ControlMessage::ScmRights(&raw)],
            MsgFlags::MSG_NOSIGNAL,
            None,
        )
        .map_err(|e| PlatformError::host("asking the zygote", e))?;
        reply(&socket).map(Pid::from_raw)
    }

    /// Kills a stub; it is reaped later.
    pub(super) fn kill(&self, pid: Pid) {
        // It has not been reaped, so the number is still its own.
        let _ = kill(pid, Signal::SIGKILL);
        self.dying.lock().push(pid);
        self.reap(DYING_MAX);
    }

    /// Reaps what is dead; waits until at most `keep` are left.
    fn reap(&self, keep: usize) {
        let mut dying = self.dying.lock();
        dying.retain(|pid| !reaped(*pid, WaitPidFlag::WNOHANG));
        while dying.len() > keep {
            let oldest = dying.remove(0);
            reaped(oldest, WaitPidFlag::empty());
        }
    }
}

impl Drop for Zygote {
    fn drop(&mut self) {
        let _ = kill(self.pid, Signal::SIGKILL);
        self.dying.get_mut().push(self.pid);
        self.reap(0);
    }
}

/// Whether a killed child is gone; waits for that unless told not to.
fn reaped(pid: Pid, flags: WaitPidFlag) -> bool {
    loop {
        match waitpid(pid, Some(flags | WaitPidFlag::__WALL)) {
            Ok(WaitStatus::StillAlive) => return false,
            Err(Errno::EINTR) => {}
            // Ended, or not a child of ours (any more).
            _ => return true,
        }
    }
}

/// Whether a stub has ended, without reaping it.
pub(super) fn has_ended(pid: Pid) -> bool {
    let flags =
        WaitPidFlag::WEXITED | WaitPidFlag::WNOHANG | WaitPidFlag::WNOWAIT | WaitPidFlag::__WALL;
    !matches!(
        waitid(Id::Pid(pid), flags),
        Ok(WaitStatus::StillAlive) | Err(Errno::EINTR)
    )
}

/// The zygote's answer: a process id or an error.
fn reply(socket: &OwnedFd) -> Result<i32, PlatformError> {
    let mut bytes = [0; 4];
    let got = loop {
        let mut iov = [IoSliceMut::new(&mut bytes)];
        match recvmsg::<()>(socket.as_raw_fd(), &mut iov, None, MsgFlags::empty()) {
            Err(Errno::EINTR) => {}
            other => break other.map(|message| message.bytes),
        }
    };
    match got {
        Ok(4) => match i32::from_ne_bytes(bytes) {
            value @ 0.. => Ok(value),
            _ => Err(PlatformError::Exhausted("processes")),
        },
        Ok(_) => Err(PlatformError::Dead("the zygote has ended")),
        Err(e) => Err(PlatformError::host("hearing from the zygote", e)),
    }
}
