//! Waiting for a sandbox in the foreground: its end is ours, and our signals are its.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, ExitStatus};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{SigSet, Signal, kill};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use nix::unistd::Pid;

/// Signals that runsc passes on instead of dying of them.
const FORWARDED: [Signal; 8] = [
    Signal::SIGHUP,
    Signal::SIGINT,
    Signal::SIGQUIT,
    Signal::SIGTERM,
    Signal::SIGUSR1,
    Signal::SIGUSR2,
    Signal::SIGCONT,
    Signal::SIGWINCH,
];

/// Blocks the signals that [`wait`] will pass on. To be called before the sandbox is started, so
/// that none is lost; the child starts with an empty mask.
///
/// # Errors
/// The host's.
pub(crate) fn hold_signals() -> io::Result<SigSet> {
    let mut set = SigSet::empty();
    FORWARDED.iter().for_each(|&signal| set.add(signal));
    set.add(Signal::SIGCHLD);
    set.thread_block()?;
    Ok(set)
}

/// Waits for the sandbox's end, passing on signals; the status as a shell sees it.
///
/// # Errors
/// The host's.
pub(crate) fn wait(mut child: Child, held: &SigSet) -> io::Result<i32> {
    let pid = Pid::from_raw(i32::try_from(child.id()).expect("process numbers fit"));
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(shell_status(status));
        }
        match held.wait()? {
            Signal::SIGCHLD => {}
            // It may have ended in between: then there is nobody to tell.
            signal => drop(kill(pid, signal)),
        }
    }
}

/// Waits until `fd` is readable, and hands over each of our signals meanwhile.
///
/// # Errors
/// The host's.
pub(crate) fn until_readable(
    fd: BorrowedFd<'_>,
    held: &SigSet,
    mut pass_on: impl FnMut(i32),
) -> io::Result<()> {
    let signals = SignalFd::with_flags(held, SfdFlags::SFD_CLOEXEC)?;
    loop {
        let mut fds = [
            PollFd::new(fd, PollFlags::POLLIN),
            PollFd::new(signals.as_fd(), PollFlags::POLLIN),
        ];
        match poll(&mut fds, PollTimeout::NONE) {
            Ok(_) => {}
            Err(Errno::EINTR) => continue,
            Err(errno) => return Err(errno.into()),
        }
        let ready = |fd: &PollFd<'_>| fd.revents().is_some_and(|events| !events.is_empty());
        if ready(&fds[0]) {
            return Ok(());
        }
        if ready(&fds[1])
            && let Some(info) = signals.read_signal()?
            && info.ssi_signo != Signal::SIGCHLD as u32
        {
            pass_on(info.ssi_signo.cast_signed());
        }
    }
}

/// An exit status as a shell sees it: 128 + N if signal N ended the process.
pub(crate) fn shell_status(status: ExitStatus) -> i32 {
    status
        .code()
        .unwrap_or_else(|| 128 + status.signal().unwrap_or(0))
}
