//! Starting the sandbox's process.

use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};

use nix::sched::{CloneFlags, setns, unshare};
use thiserror::Error;

use super::sys::{self, ChildSetup};

/// Why the sandbox's process could not be started.
#[derive(Debug, Error)]
pub(crate) enum SpawnError {
    #[error("cannot make a PID namespace for the sandbox (run as root, or allow user namespaces)")]
    PidNamespace(#[source] io::Error),
    #[error("cannot start the sandbox's process in its namespaces")]
    Start(#[source] io::Error),
}

/// Namespaces of the sandbox's process.
#[derive(Default)]
pub(crate) struct Namespaces {
    /// Namespaces to join, opened by the caller.
    pub(crate) join: Vec<OwnedFd>,
    /// Make a network namespace.
    pub(crate) new_network: bool,
    /// The caller has made himself root with [`rootless::enter`](super::rootless::enter).
    pub(crate) rootless: bool,
}

/// A sandbox's process, waiting for its plan.
pub(crate) struct Spawned {
    /// The process: PID 1 of its PID namespace.
    pub(crate) child: Child,
    /// Where the plan goes, and what the sandbox answers.
    pub(crate) donor: UnixStream,
}

/// Starts `runsc boot` as PID 1 of a new PID namespace, in the given namespaces. The caller stays in
/// its own, and so do its later children (hooks), unless he is the root of a user namespace: that does
/// not own the PID namespace that he is in, so his later children can't return to it.
pub(crate) fn spawn(namespaces: Namespaces) -> Result<Spawned, SpawnError> {
    let (donor, theirs) = UnixStream::pair().map_err(SpawnError::Start)?;
    let own_pid_namespace = File::open("/proc/self/ns/pid").map_err(SpawnError::PidNamespace)?;
    unshare(CloneFlags::CLONE_NEWPID).map_err(|errno| SpawnError::PidNamespace(errno.into()))?;
    let mut flags = CloneFlags::CLONE_NEWNS | CloneFlags::CLONE_NEWIPC | CloneFlags::CLONE_NEWUTS;
    flags.set(CloneFlags::CLONE_NEWNET, namespaces.new_network);
    let mut command = Command::new("/proc/self/exe");
    command
        .arg0("runsc-sandbox")
        .arg("boot")
        .arg("--donor-fd")
        .arg(theirs.as_raw_fd().to_string());
    command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .env_clear();
    let setup = ChildSetup {
        unshare: flags,
        join: namespaces.join,
        keep: theirs.as_raw_fd(),
    };
    sys::set_up_child(&mut command, setup);
    let child = command.spawn().map_err(SpawnError::Start);
    if !namespaces.rootless {
        setns(own_pid_namespace, CloneFlags::CLONE_NEWPID)
            .map_err(|errno| SpawnError::PidNamespace(errno.into()))?;
    }
    Ok(Spawned {
        child: child?,
        donor,
    })
}
