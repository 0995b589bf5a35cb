//! When a container's hooks run, and where (OCI runtime specification, "POSIX-platform Hooks").
//!
//! | hooks | where |
//! | --- | --- |
//! | prestart, createRuntime, poststart, poststop | the caller's namespaces |
//! | createContainer | programs of this machine in the namespaces of the sandbox's process, before it has its root: what they mount under the bundle's root is in the container's |
//! | startContainer | programs of the container: processes of the Sentry, as the container's user |

use std::fs::File;
use std::io::{self, Read, Seek};
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::time::{Duration, Instant};

use nix::fcntl::{FcntlArg, SealFlag, fcntl};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::memfd::{MFdFlags, memfd_create};
use oci_spec::runtime::Hook;

use super::exec::Executed;
use super::lifecycle::{LifecycleError, io_error};
use super::state::{State, Status};
use crate::oci::bundle::Bundle;
use crate::oci::hooks::{self, HookError, HookProblem};
use crate::oci::process;
use crate::sandbox::entrance::Entrance;
use crate::sandbox::transport::Donation;

/// What a hook inside may write to its standard error.
const OUTPUT_MAX: usize = 64 << 10;

/// Those of `create`. If some have run in the container's mount namespace, the way into it, where the
/// root is to be taken from.
#[allow(deprecated)] // prestart hooks are deprecated in the specification, and what Docker uses
pub(super) fn at_create(
    bundle: &Bundle,
    state: &State,
) -> Result<Option<Entrance>, LifecycleError> {
    let Some(all) = bundle.spec.hooks() else {
        return Ok(None);
    };
    let oci_state = state.to_oci();
    hooks::run("prestart", all.prestart().as_ref(), &oci_state, None)?;
    hooks::run(
        "createRuntime",
        all.create_runtime().as_ref(),
        &oci_state,
        None,
    )?;
    let Some(inside) = all.create_container() else {
        return Ok(None);
    };
    let entrance =
        Entrance::of(state.pid).map_err(io_error("cannot open the sandbox's namespaces"))?;
    hooks::run(
        "createContainer",
        Some(inside),
        &state.to_oci_inside(),
        Some(&entrance),
    )?;
    Ok(Some(entrance))
}

/// The startContainer hooks, one after the other, in the sandbox whose folder is `dir`.
pub(super) fn at_start(bundle: &Bundle, state: &State, dir: &Path) -> Result<(), LifecycleError> {
    let all = bundle.spec.hooks().as_ref();
    let Some(all) = all.and_then(|hooks| hooks.start_container().as_ref()) else {
        return Ok(());
    };
    for hook in all {
        run_inside(bundle, state, dir, hook).map_err(|problem| HookError {
            phase: "startContainer",
            path: hook.path().display().to_string(),
            problem,
        })?;
    }
    Ok(())
}

/// The specification has the runtime log a failing poststart hook and go on.
pub(super) fn after_start(bundle: &Bundle, state: &State) {
    let all = bundle.spec.hooks().as_ref();
    let poststart = all.and_then(|hooks| hooks.poststart().as_ref());
    if let Err(error) = hooks::run("poststart", poststart, &state.to_oci(), None) {
        crate::log::warning(&error.to_string());
    }
}

/// The specification has the runtime log a failing poststop hook and go on.
pub(super) fn at_stop(bundle: &Bundle, state: &State) {
    let all = bundle.spec.hooks().as_ref();
    let stopped = State {
        status: Status::Stopped,
        ..state.clone()
    };
    let poststop = all.and_then(|hooks| hooks.poststop().as_ref());
    if let Err(error) = hooks::run("poststop", poststop, &stopped.to_oci(), None) {
        crate::log::warning(&error.to_string());
    }
}

/// Runs one hook as a process inside, like the container's own but for its program and environment.
fn run_inside(bundle: &Bundle, state: &State, dir: &Path, hook: &Hook) -> Result<(), HookProblem> {
    let start = |error: LifecycleError| HookProblem::Start(io::Error::other(error.to_string()));
    let mut donation = Donation::default();
    let stderr = bounded_file().map_err(HookProblem::Start)?;
    let stdin = hooks::input(&state.to_oci_inside()).map_err(HookProblem::Start)?;
    let null = File::options().write(true).open("/dev/null");
    let null = null.map_err(HookProblem::Start)?;
    let mut plan = process::plan(bundle.process()).map_err(|error| start(error.into()))?;
    let path = hook.path().to_string_lossy().into_owned();
    plan.args = match hook.args() {
        Some(args) if !args.is_empty() => args.clone(),
        _ => vec![path.clone()],
    };
    plan.program = Some(path);
    plan.env = hook.env().clone().unwrap_or_default();
    plan.terminal = false;
    let copy = donation
        .add_copy(stderr.as_fd())
        .map_err(HookProblem::Start)?;
    let files = [donation.add(stdin.into()), donation.add(null.into()), copy];
    plan.stdio = files.map(Some);
    let mut executed = Executed::start(dir, plan, true, donation).map_err(start)?;
    let timeout = hooks::timeout_of(hook);
    if let Some(timeout) = timeout
        && !ends_within(&executed, timeout).map_err(HookProblem::Start)?
    {
        // It may have ended in between.
        executed.signal(libc::SIGKILL);
        executed.status().map_err(start)?;
        return Err(HookProblem::TimedOut(timeout.as_secs()));
    }
    match executed.status().map_err(start)? {
        0 => Ok(()),
        status => Err(HookProblem::Failed {
            status: format!("status {status}"),
            output: written(stderr.into()),
        }),
    }
}

/// Waits for the end of a process for so long; false if it came to nothing.
fn ends_within(executed: &Executed, timeout: Duration) -> io::Result<bool> {
    let deadline = Instant::now() + timeout;
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        let mut fds = [PollFd::new(executed.as_fd(), PollFlags::POLLIN)];
        match poll(
            &mut fds,
            PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX),
        ) {
            Ok(0) if left.is_zero() => return Ok(false),
            Ok(0) | Err(nix::errno::Errno::EINTR) => {}
            Ok(_) => return Ok(true),
            Err(errno) => return Err(errno.into()),
        }
    }
}

/// A file in memory that a guest can't make grow.
fn bounded_file() -> io::Result<OwnedFd> {
    let flags = MFdFlags::MFD_CLOEXEC | MFdFlags::MFD_ALLOW_SEALING;
    let fd = memfd_create("hook-stderr", flags)?;
    nix::unistd::ftruncate(&fd, OUTPUT_MAX as i64)?;
    let seals = SealFlag::F_SEAL_GROW | SealFlag::F_SEAL_SHRINK | SealFlag::F_SEAL_SEAL;
    fcntl(&fd, FcntlArg::F_ADD_SEALS(seals))?;
    Ok(fd)
}

/// What a hook inside has written, as the end of a sentence.
fn written(mut file: File) -> String {
    let mut bytes = Vec::new();
    // Without it the sentence is shorter, and still true.
    let _ = file.rewind().and_then(|()| file.read_to_end(&mut bytes));
    let end = bytes.iter().position(|&byte| byte == 0);
    hooks::as_output(&bytes[..end.unwrap_or(bytes.len())])
}
