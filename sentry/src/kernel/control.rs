//! What `runsc` asks of a running sandbox.

use std::sync::Arc;

use sentry_abi::Errno;

use super::{BootConfig, BootError, ExitStatus, Kernel, ProcessConfig};

/// One line of `runsc ps`.
#[derive(Clone, Debug, Default)]
pub struct ProcessInfo {
    /// Process id.
    pub pid: i32,
    /// Parent's.
    pub ppid: i32,
    /// Real user id.
    pub uid: u32,
    /// Number of threads.
    pub threads: usize,
    /// When it started, nanoseconds after boot.
    pub start_ns: u64,
    /// CPU time so far, nanoseconds.
    pub cpu_ns: u64,
    /// Name.
    pub command: String,
}

impl Kernel {
    /// Makes a sandbox and loads its first process, which waits for [`Kernel::start`].
    ///
    /// # Errors
    /// [`BootError`] says in a sentence what is wrong.
    pub fn boot(config: BootConfig) -> Result<Arc<Self>, BootError> {
        let _ = config;
        Err(BootError::Unsupported("running a guest"))
    }

    /// Lets the first process run.
    pub fn start(self: &Arc<Self>) {}

    /// Starts another process (`runsc exec`), whose parent is the first one of the sandbox's pid
    /// namespace in name only; returns its pid.
    ///
    /// # Errors
    /// As [`Kernel::boot`].
    pub fn exec(self: &Arc<Self>, process: ProcessConfig) -> Result<i32, BootError> {
        let _ = process;
        Err(BootError::Unsupported("exec"))
    }

    /// Waits until the first process has ended: the sandbox's exit status.
    pub fn wait_exit(&self) -> ExitStatus {
        self.wait_pid(1)
    }

    /// Waits until a process that was started from outside has ended.
    pub fn wait_pid(&self, pid: i32) -> ExitStatus {
        let mut ended = self.ended.lock();
        loop {
            if let Some(status) = ended.get(&pid) {
                return *status;
            }
            self.ended_changed.wait(&mut ended);
        }
    }

    /// Sends `signo` to process `pid`; with `all`, to every process.
    ///
    /// # Errors
    /// ESRCH, EINVAL.
    pub fn kill(&self, pid: i32, signo: i32, all: bool) -> Result<(), Errno> {
        let _ = (pid, signo, all);
        Err(Errno::ESRCH)
    }

    /// The processes that live.
    pub fn ps(&self) -> Vec<ProcessInfo> {
        Vec::new()
    }
}
