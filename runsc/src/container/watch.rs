//! Window sizes of a terminal that `exec` was given over a console socket.
//!
//! The kernel tells of a new size with SIGWINCH to the session whose controlling terminal it is. The
//! sandbox's process leads one session already, so a small process leads this one; it ends with the
//! process inside whose terminal it is.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};

use nix::sys::signal::{SigSet, Signal};
use nix::unistd::setsid;

use super::lifecycle::{LifecycleError, io_error};
use crate::sandbox::attach;
use crate::sandbox::control::{self, Asked, Request, SignalTarget};
use crate::sandbox::sys;
use crate::sandbox::transport::Donation;

/// Starts it for process `pid` of the container whose folder is `dir`.
///
/// # Errors
/// The host's.
pub(super) fn start(dir: &Path, pid: i32, slave: OwnedFd) -> io::Result<()> {
    let mut command = Command::new("/proc/self/exe");
    command
        .arg0("runsc-terminal")
        .arg("watch-terminal")
        .arg(std::fs::canonicalize(dir)?)
        .arg(pid.to_string());
    command
        .stdin(slave)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .env_clear()
        .current_dir("/");
    // Nobody waits for it: when we are gone, whoever reaps our orphans does.
    command.spawn().map(drop)
}

/// Leads a session with the terminal on standard input until process `pid` has ended.
pub(crate) fn run(dir: &Path, pid: i32) -> Result<(), LifecycleError> {
    let mut held = SigSet::empty();
    // A hang-up of the terminal is the sandbox's to notice.
    for signal in [Signal::SIGWINCH, Signal::SIGHUP, Signal::SIGCONT] {
        held.add(signal);
    }
    held.thread_block()
        .map_err(|errno| io_error("cannot block signals")(errno.into()))?;
    lead_session().map_err(io_error("cannot make the terminal our session's"))?;
    let asked = Asked::new(dir, &Request::Wait { pid }, Donation::default())?;
    let tell = |signo: i32| {
        if signo == libc::SIGWINCH {
            let target = SignalTarget::Process(pid);
            let request = Request::Signal { signo, target };
            // It may have ended in between.
            drop(control::ask(dir, &request, Donation::default()));
        }
    };
    // It may have changed before it was ours.
    tell(libc::SIGWINCH);
    let ended = attach::until_readable(asked.as_fd(), &held, tell);
    // Its leader's end would throw away what the terminal has not shown yet.
    sys::give_up_controlling();
    ended.map_err(io_error("cannot wait for the process"))
}

/// Makes standard input our session's terminal and leaves /dev/null in its place: its master's reader
/// waits for the last slave to be closed.
fn lead_session() -> io::Result<()> {
    setsid()?;
    sys::make_controlling(io::stdin().as_fd())?;
    nix::unistd::dup2_stdin(File::open("/dev/null")?)?;
    Ok(())
}
