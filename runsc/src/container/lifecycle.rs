//! How a container comes and goes: the OCI operations over a store and a sandbox.

use std::io;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill as kill_process};
use nix::unistd::Pid;
use thiserror::Error;

use super::hooks;
use super::state::{State, Status};
use super::store::{Store, StoreError};
use crate::cgroup::{self, CgroupError};
use crate::oci::bundle::{Bundle, BundleError};
use crate::oci::hooks::HookError;
use crate::oci::mounts::MountError;
use crate::sandbox::control::{self, Answer, ControlError, ProcessRow, Request, SignalTarget};
use crate::sandbox::rootless::RootlessError;
use crate::sandbox::spawn::SpawnError;
use crate::sandbox::stdio::ConsoleError;
use crate::sandbox::transport::Donation;

/// Why an operation on a container failed.
#[derive(Debug, Error)]
pub(crate) enum LifecycleError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Bundle(#[from] BundleError),
    #[error(transparent)]
    Mount(#[from] MountError),
    #[error(transparent)]
    Hook(#[from] HookError),
    #[error(transparent)]
    Rootless(#[from] RootlessError),
    #[error(transparent)]
    Spawn(#[from] SpawnError),
    #[error(transparent)]
    Control(#[from] ControlError),
    #[error(transparent)]
    Cgroup(#[from] CgroupError),
    #[error(transparent)]
    Console(#[from] ConsoleError),
    #[error("the sandbox could not boot: {0}")]
    Boot(String),
    #[error("container {id:?} is {}, and has to be {wanted} for this", .status.word())]
    WrongStatus {
        id: String,
        status: Status,
        wanted: &'static str,
    },
    #[error(
        "container {0:?} is still running; stop it first (`runsc kill {0}`), or `runsc delete --force {0}`"
    )]
    StillRunning(String),
    #[error("the process of container {0:?} did not end within 10 s of SIGKILL")]
    Unkillable(String),
    #[error("{what}")]
    Io {
        what: String,
        #[source]
        source: io::Error,
    },
}

pub(super) fn io_error(what: impl Into<String>) -> impl FnOnce(io::Error) -> LifecycleError {
    let what = what.into();
    move |source| LifecycleError::Io { what, source }
}

/// Lets a created container's process run.
pub(crate) fn start(store: &Store, id: &str) -> Result<(), LifecycleError> {
    let record = store.find(id)?;
    let mut state = record.load()?;
    if state.status != Status::Created {
        return Err(LifecycleError::WrongStatus {
            id: id.into(),
            status: state.status,
            wanted: "created",
        });
    }
    let bundle = Bundle::load(&state.bundle)?;
    if let Err(error) = hooks::at_start(&bundle, &state, record.dir()) {
        // The specification has the container stopped, and then as after its own end.
        end_sandbox(&state)?;
        return Err(error);
    }
    control::ask(record.dir(), &Request::Start, Donation::default())?;
    state.status = Status::Running;
    record.save(&state)?;
    hooks::after_start(&bundle, &state);
    Ok(())
}

/// The folder of a container whose sandbox runs.
pub(super) fn running_dir(store: &Store, id: &str) -> Result<PathBuf, LifecycleError> {
    let record = store.find(id)?;
    let state = record.load()?;
    match state.status {
        Status::Created | Status::Running => Ok(record.dir().to_owned()),
        status => Err(LifecycleError::WrongStatus {
            id: id.into(),
            status,
            wanted: "running",
        }),
    }
}

/// Sends a signal. SIGKILL to a container that was never started, or whose sandbox does not answer,
/// ends the sandbox itself.
pub(crate) fn signal(
    store: &Store,
    id: &str,
    signo: i32,
    target: SignalTarget,
) -> Result<(), LifecycleError> {
    let record = store.find(id)?;
    let state = record.load()?;
    if state.status == Status::Stopped && target == SignalTarget::All {
        return Ok(());
    }
    drop(record);
    let dir = running_dir(store, id)?;
    let whole = signo == libc::SIGKILL && !matches!(target, SignalTarget::Process(_));
    if whole && state.status == Status::Created {
        return kill_sandbox(&state);
    }
    match control::ask(
        &dir,
        &Request::Signal { signo, target },
        Donation::default(),
    ) {
        Err(ControlError::Connect(_) | ControlError::Closed) if whole => kill_sandbox(&state),
        result => Ok(result.map(drop)?),
    }
}

fn kill_sandbox(state: &State) -> Result<(), LifecycleError> {
    if state.is_alive() {
        kill_process(Pid::from_raw(state.pid), Signal::SIGKILL).map_err(|errno| {
            LifecycleError::Io {
                what: "cannot kill the sandbox".into(),
                source: errno.into(),
            }
        })?;
    }
    Ok(())
}

/// The processes of a container.
pub(crate) fn processes(store: &Store, id: &str) -> Result<Vec<ProcessRow>, LifecycleError> {
    match control::ask(
        &running_dir(store, id)?,
        &Request::Processes,
        Donation::default(),
    )? {
        Answer::Processes(rows) => Ok(rows),
        other => Err(unexpected(&other)),
    }
}

/// Waits for the end of a process (the init process without `pid`).
pub(crate) fn wait(store: &Store, id: &str, pid: Option<i32>) -> Result<i32, LifecycleError> {
    let request = Request::Wait {
        pid: pid.unwrap_or(1),
    };
    match control::ask(&running_dir(store, id)?, &request, Donation::default())? {
        Answer::Exited { status } => Ok(status),
        other => Err(unexpected(&other)),
    }
}

pub(super) fn unexpected(answer: &Answer) -> LifecycleError {
    ControlError::Refused(format!(
        "the sandbox gave an answer to another question: {answer:?}"
    ))
    .into()
}

/// Removes a stopped container; with `force` a running one too, and one that is not there is no error.
pub(crate) fn delete(store: &Store, id: &str, force: bool) -> Result<(), LifecycleError> {
    let record = match store.find(id) {
        Err(StoreError::Unknown(_)) if force => return Ok(()),
        found => found?,
    };
    let state = match record.load() {
        Ok(state) => state,
        // A record that is damaged or was never written names no process: only its folder is left.
        Err(StoreError::Unknown(_) | StoreError::Damaged { .. }) if force => {
            return Ok(record.remove()?);
        }
        Err(error) => return Err(error.into()),
    };
    match state.status {
        Status::Stopped => {}
        // A container that was never started has nothing to lose: runc needs no force either.
        Status::Created => end_sandbox(&state)?,
        _ if !force => return Err(LifecycleError::StillRunning(id.into())),
        _ => end_sandbox(&state)?,
    }
    let after = Bundle::load(&state.bundle).ok();
    cgroup::remove(&state.cgroups)?;
    record.remove()?;
    if let Some(bundle) = after {
        hooks::at_stop(&bundle, &state);
    }
    Ok(())
}

/// Kills the sandbox and waits until it is gone.
pub(super) fn end_sandbox(state: &State) -> Result<(), LifecycleError> {
    kill_sandbox(state)?;
    wait_gone(state)
}

fn wait_gone(state: &State) -> Result<(), LifecycleError> {
    let deadline = Instant::now() + Duration::from_secs(10);
    while state.is_alive() {
        if Instant::now() > deadline {
            return Err(LifecycleError::Unkillable(state.id.clone()));
        }
        std::thread::sleep(Duration::from_millis(2));
    }
    Ok(())
}
