//! Entering a sandbox's namespaces from outside, while it waits for its plan and has not confined itself:
//! its mount namespace is still a copy of ours.

use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::process::{Child, Command};

use nix::sched::{CloneFlags, setns, unshare};

use super::sys;

/// The namespaces of a sandbox's process.
pub(crate) struct Entrance {
    own_pid: OwnedFd,
    pid: OwnedFd,
    mount: OwnedFd,
    others: Vec<OwnedFd>,
}

impl Entrance {
    /// Opens those of process `pid`.
    ///
    /// # Errors
    /// The host's; ENOENT if it is gone.
    pub(crate) fn of(pid: i32) -> io::Result<Self> {
        let open = |of: &str, name: &str| -> io::Result<OwnedFd> {
            Ok(File::open(format!("/proc/{of}/ns/{name}"))?.into())
        };
        let theirs = pid.to_string();
        let others = ["net", "ipc", "uts"].map(|name| open(&theirs, name));
        Ok(Self {
            own_pid: open("self", "pid")?,
            pid: open(&theirs, "pid")?,
            mount: open(&theirs, "mnt")?,
            others: others.into_iter().collect::<io::Result<_>>()?,
        })
    }

    /// Starts a program in all of them; its path is looked up there.
    ///
    /// # Errors
    /// The host's.
    pub(crate) fn spawn(&self, command: &mut Command) -> io::Result<Child> {
        let namespaces = self.others.iter().chain([&self.mount]);
        let namespaces: io::Result<_> = namespaces.map(OwnedFd::try_clone).collect();
        sys::enter_on_start(command, namespaces?);
        // A PID namespace is entered by children only.
        setns(&self.pid, CloneFlags::CLONE_NEWPID)?;
        let child = command.spawn();
        setns(&self.own_pid, CloneFlags::CLONE_NEWPID)?;
        child
    }

    /// Does `work` in its mount namespace, on a thread that has no file context in common with us.
    ///
    /// # Errors
    /// The host's, from entering.
    pub(crate) fn in_mount_namespace<T: Send>(
        &self,
        work: impl FnOnce() -> T + Send,
    ) -> io::Result<T> {
        std::thread::scope(|scope| {
            let thread = scope.spawn(|| {
                unshare(CloneFlags::CLONE_FS)?;
                setns(&self.mount, CloneFlags::CLONE_NEWNS)?;
                Ok(work())
            });
            thread
                .join()
                .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        })
    }
}
