//! The zygote process, and the reaping of stubs (which are this process's children, by CLONE_PARENT).

use std::io::{IoSlice, IoSliceMut};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};

use nix::errno::Errno;
use nix::sys::memfd::{MFdFlags, memfd_create};
use nix::sys::signal::{Signal, kill};
use nix::sys::socket::{
    AddressFamily, ControlMessage, MsgFlags, SockFlag, SockType, recvmsg, sendmsg, socketpair,
};
use nix::sys::wait::{Id, WaitPidFlag, WaitStatus, waitid, waitpid};
use nix::unistd::{Pid, ftruncate};
use parking_lot::Mutex;

use super::layout::{SLOTS_AT, SLOTS_LEN};
use super::slots::file_len;
use crate::platform::sys::shared::Shared;
use crate::platform::{PlatformError, sys};

static STUB: &[u8] = include_bytes!(env!("SENTRY_STUB"));

/// The zygote. Dropping it ends and reaps it and all stubs that have been killed.
pub(super) struct Zygote {
    desk: Mutex<Desk>,
    pid: Pid,
    /// Killed stubs that may not have been reaped.
    dying: Mutex<Vec<Pid>>,
}

/// Where stubs are asked for.
struct Desk {
    socket: OwnedFd,
    /// What the stub has that was asked for and not fetched.
    asked: Option<Seed>,
}

/// What a stub shares with the Sentry.
pub(super) struct Seed {
    /// Orders, gates and slots, and their mapping.
    pub(super) file: OwnedFd,
    pub(super) shared: Shared,
    /// Wakes the command thread; its closing ends the stub.
    pub(super) wake: OwnedFd,
    /// Files to map go here.
    pub(super) files: OwnedFd,
}

/// A stub that takes orders.
pub(super) struct Newborn {
    pub(super) pid: Pid,
    pub(super) seed: Seed,
}

impl Desk {
    /// Asks the zygote for a stub.
    fn ask(&mut self) -> Result<Seed, PlatformError> {
        let file = memfd_create("context", MFdFlags::MFD_CLOEXEC)
            .map_err(|_| PlatformError::Exhausted("descriptors"))?;
        ftruncate(&file, file_len(1).cast_signed())
            .map_err(|e| PlatformError::host("a stub's memory", e))?;
        let shared = Shared::map(file.as_fd(), (SLOTS_AT + SLOTS_LEN) as usize)
            .map_err(|_| PlatformError::Exhausted("address space"))?;
        let (wake, their_wake) = socket_pair(SockType::Stream)?;
        let (files, their_files) = socket_pair(SockType::SeqPacket)?;
        let fds = [&file, &their_wake, &their_files].map(AsRawFd::as_raw_fd);
        sendmsg::<()>(
            self.socket.as_raw_fd(),
            &[IoSlice::new(&[0])],
            &[ControlMessage::ScmRights(&fds)],
            MsgFlags::MSG_NOSIGNAL,
            None,
        )
        .map_err(|e| PlatformError::host("asking the zygote", e))?;
        Ok(Seed {
            file,
            shared,
            wake,
            files,
        })
    }
}

/// Killed stubs may wait for being reaped up to this number.
const DYING_MAX: usize = 16;

/// A pair of connected sockets, closed on exec.
fn socket_pair(kind: SockType) -> Result<(OwnedFd, OwnedFd), PlatformError> {
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
            desk: Mutex::new(Desk {
                socket: ours,
                asked: None,
            }),
            pid: Pid::from_raw(pid),
            dying: Mutex::new(Vec::new()),
        };
        let mut desk = zygote.desk.lock();
        reply(&desk.socket)?;
        desk.asked = Some(desk.ask()?);
        drop(desk);
        // When memory runs out, a guest dies and not the Sentry. Stubs inherit it.
        let _ = std::fs::write(format!("/proc/{pid}/oom_score_adj"), "1000");
        Ok(zygote)
    }

    /// A new stub. The next one is asked for at once, so that it is ready when it is needed.
    pub(super) fn fork(&self) -> Result<Newborn, PlatformError> {
        self.reap(DYING_MAX);
        let mut desk = self.desk.lock();
        let seed = match desk.asked.take() {
            Some(seed) => seed,
            None => desk.ask()?,
        };
        let pid = Pid::from_raw(reply(&desk.socket)?);
        // If there is no room for another one, the next caller will hear of it.
        desk.asked = desk.ask().ok();
        Ok(Newborn { pid, seed })
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
        let desk = self.desk.get_mut();
        if desk.asked.take().is_some()
            && let Ok(pid) = reply(&desk.socket)
        {
            // It ends with its sockets, but is to be gone when this returns.
            let pid = Pid::from_raw(pid);
            let _ = kill(pid, Signal::SIGKILL);
            self.dying.get_mut().push(pid);
        }
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
