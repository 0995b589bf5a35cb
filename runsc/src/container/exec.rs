//! Further processes of a running container.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use nix::sys::signal::SigSet;

use super::lifecycle::{LifecycleError, io_error, running_dir, unexpected};
use super::store::Store;
use super::watch;
use crate::sandbox::attach;
use crate::sandbox::control::{self, Answer, Asked, ControlError, Request, SignalTarget};
use crate::sandbox::plan::ProcessPlan;
use crate::sandbox::transport::Donation;

/// A process that `exec` has started.
pub(crate) struct Executed {
    /// Its number inside.
    pub(crate) pid: i32,
    dir: PathBuf,
    asked: Asked,
}

/// Starts another process. Only who asked for it here can [`Executed::wait`] for it.
pub(crate) fn exec(
    store: &Store,
    id: &str,
    process: ProcessPlan,
    wait: bool,
    donation: Donation,
) -> Result<Executed, LifecycleError> {
    Executed::start(&running_dir(store, id)?, process, wait, donation)
}

impl Executed {
    /// Starts a process in the sandbox whose folder is `dir`.
    pub(super) fn start(
        dir: &Path,
        process: ProcessPlan,
        wait: bool,
        donation: Donation,
    ) -> Result<Self, LifecycleError> {
        let process = Box::new(process);
        let mut asked = Asked::new(dir, &Request::Exec { process, wait }, donation)?;
        match asked.answer()? {
            Answer::Started { pid } => Ok(Self {
                pid,
                dir: dir.to_owned(),
                asked,
            }),
            other => Err(unexpected(&other)),
        }
    }

    /// Has the sandbox told when the terminal whose slave is `slave`, this process's, has a new size.
    pub(crate) fn watch_terminal(&self, slave: OwnedFd) -> Result<(), LifecycleError> {
        watch::start(&self.dir, self.pid, slave).map_err(io_error("cannot watch the terminal"))
    }

    /// Sends a signal. It may have ended in between: then there is nobody to tell.
    pub(super) fn signal(&self, signo: i32) {
        let target = SignalTarget::Process(self.pid);
        let request = Request::Signal { signo, target };
        drop(control::ask(&self.dir, &request, Donation::default()));
    }

    /// Waits for its end, passing on the signals that are held; its status.
    pub(crate) fn wait(mut self, held: &SigSet) -> Result<i32, LifecycleError> {
        let waiting = attach::until_readable(self.asked.as_fd(), held, |signo| self.signal(signo));
        waiting.map_err(io_error("cannot wait for the process"))?;
        self.status()
    }

    /// Waits for its end; its status.
    pub(super) fn status(&mut self) -> Result<i32, LifecycleError> {
        match self.asked.answer() {
            Ok(Answer::Exited { status }) => Ok(status),
            Ok(other) => Err(unexpected(&other)),
            // The sandbox was killed, and its processes with it.
            Err(ControlError::Closed) => Ok(128 + libc::SIGKILL),
            Err(error) => Err(error.into()),
        }
    }
}

impl AsFd for Executed {
    /// Readable when it has ended.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.asked.as_fd()
    }
}
