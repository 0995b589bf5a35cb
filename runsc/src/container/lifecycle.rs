//! How a container comes and goes: the OCI operations over a store and a sandbox.

use std::fs;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::Child;
use std::time::{Duration, Instant, SystemTime};

use nix::sys::signal::{SigSet, Signal, kill as kill_process};
use nix::unistd::{Pid, User, geteuid};
use oci_spec::runtime::LinuxNamespaceType;
use thiserror::Error;

use super::state::{State, Status, process_start_ticks};
use super::store::{Record, Store, StoreError};
use super::timestamp;
use crate::cgroup::{self, CgroupError};
use crate::cli::NetworkMode;
use crate::oci::bundle::{Bundle, BundleError};
use crate::oci::hooks::{self, HookError};
use crate::oci::mounts::{self, MountError};
use crate::oci::process;
use crate::sandbox::attach;
use crate::sandbox::control::{
    self, Answer, Asked, ControlError, ProcessRow, Request, SignalTarget,
};
use crate::sandbox::plan::{BootAnswer, BootPlan, NetworkPlan, ProcessPlan, SandboxOptions};
use crate::sandbox::rootless::{self, RootlessError};
use crate::sandbox::spawn::{self, Namespaces, SpawnError, Spawned};
use crate::sandbox::stdio::{self, ConsoleError, RawTerminal};
use crate::sandbox::sys;
use crate::sandbox::transport::{self, Donation};

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

fn io_error(what: impl Into<String>) -> impl FnOnce(io::Error) -> LifecycleError {
    let what = what.into();
    move |source| LifecycleError::Io { what, source }
}

/// What `create` is told beside the bundle.
pub(crate) struct CreateOptions {
    pub(crate) sandbox: SandboxOptions,
    pub(crate) network: NetworkMode,
    pub(crate) console_socket: Option<PathBuf>,
    pub(crate) pid_file: Option<PathBuf>,
    /// The sandbox ends with this process.
    pub(crate) foreground: bool,
}

/// A container whose process waits for `start`; its sandbox is our child.
pub(crate) struct Created {
    pub(crate) id: String,
    child: Child,
    held: SigSet,
    /// Its closing tells a sandbox in the foreground that we are gone.
    _donor: UnixStream,
    _raw: Option<RawTerminal>,
}

impl Created {
    /// Waits for the sandbox's end; the status as a shell sees it.
    pub(crate) fn wait(self) -> Result<i32, LifecycleError> {
        attach::wait(self.child, &self.held).map_err(io_error("cannot wait for the sandbox"))
    }
}

/// Creates a container; on failure nothing of it is left.
pub(crate) fn create(
    store: &Store,
    id: &str,
    bundle: &Bundle,
    options: &CreateOptions,
) -> Result<Created, LifecycleError> {
    let owner = owner();
    let rootless = rootless::enter()?;
    if rootless && bundle.spec.hooks().is_some() {
        return Err(RootlessError::Hooks.into());
    }
    let held = attach::hold_signals().map_err(io_error("cannot block signals"))?;
    let record = store.create(id)?;
    let mut state = new_state(id, bundle, owner);
    match build(&record, &mut state, bundle, options, rootless) {
        Ok((Spawned { child, donor }, raw)) => Ok(Created {
            id: id.to_owned(),
            child,
            held,
            _donor: donor,
            _raw: raw,
        }),
        Err(error) => {
            clear_away(record, &state, bundle);
            Err(error)
        }
    }
}

/// The caller's name, or his number if he has none.
fn owner() -> String {
    User::from_uid(geteuid())
        .ok()
        .flatten()
        .map_or_else(|| geteuid().to_string(), |user| user.name)
}

fn new_state(id: &str, bundle: &Bundle, owner: String) -> State {
    State {
        id: id.to_owned(),
        status: Status::Creating,
        pid: 0,
        pid_start_ticks: 0,
        bundle: bundle.dir.clone(),
        rootfs: bundle.rootfs.clone(),
        created: timestamp::rfc3339(SystemTime::now()),
        owner,
        annotations: bundle.spec.annotations().clone().unwrap_or_default(),
        cgroups: Vec::new(),
        host_devices: Vec::new(),
    }
}

/// Everything of `create` that may fail after the container's folder is there.
fn build(
    record: &Record,
    state: &mut State,
    bundle: &Bundle,
    options: &CreateOptions,
    rootless: bool,
) -> Result<(Spawned, Option<RawTerminal>), LifecycleError> {
    let (plan, donation, raw) = plan(record, bundle, options)?;
    let namespaces = Namespaces {
        rootless,
        ..namespaces(bundle, options.network)?
    };
    let mut spawned = spawn::spawn(namespaces)?;
    state.pid = i32::try_from(spawned.child.id()).expect("process numbers fit");
    state.pid_start_ticks = process_start_ticks(state.pid).unwrap_or(0);
    // On disk before they are made: whoever kills us in between can still have them removed.
    state.cgroups = cgroup::planned(bundle)?;
    record.save(state)?;
    cgroup::create(bundle, state.pid)?;
    run_create_hooks(bundle, state)?;
    boot(&mut spawned.donor, &plan, donation)?;
    state.status = Status::Created;
    record.save(state)?;
    if let Some(path) = &options.pid_file {
        write_pid_file(path, state.pid)?;
    }
    Ok((spawned, raw))
}

#[allow(deprecated)] // prestart hooks are deprecated in the specification, and what Docker uses
fn run_create_hooks(bundle: &Bundle, state: &State) -> Result<(), LifecycleError> {
    let Some(all) = bundle.spec.hooks() else {
        return Ok(());
    };
    let oci_state = state.to_oci();
    hooks::run("prestart", all.prestart().as_ref(), &oci_state)?;
    hooks::run("createRuntime", all.create_runtime().as_ref(), &oci_state)?;
    hooks::run(
        "createContainer",
        all.create_container().as_ref(),
        &oci_state,
    )?;
    Ok(())
}

fn plan(
    record: &Record,
    bundle: &Bundle,
    options: &CreateOptions,
) -> Result<(BootPlan, Donation, Option<RawTerminal>), LifecycleError> {
    let mut donation = Donation::default();
    let root = mounts::root(bundle, &mut donation)?;
    let mounts = mounts::plan(bundle, &mut donation)?;
    let mut process = process::plan(bundle.process())?;
    let streams = stdio::for_process(
        process.terminal,
        options.console_socket.as_deref(),
        options.foreground,
        &mut donation,
    )?;
    process.stdio = streams.stdio;
    let control =
        control::listen(record.dir()).map_err(io_error("cannot make the control socket"))?;
    let plan = BootPlan {
        id: record.id(),
        options: options.sandbox.clone(),
        root,
        mounts,
        process,
        hostname: bundle
            .spec
            .hostname()
            .clone()
            .unwrap_or_else(|| "runsc".into()),
        network: match options.network {
            NetworkMode::None => NetworkPlan::Loopback,
            NetworkMode::Sandbox => NetworkPlan::Namespace,
            NetworkMode::Host => NetworkPlan::Host,
        },
        memory_limit: memory_limit(bundle),
        control: Some(donation.add(control)),
        foreground: options.foreground,
    };
    Ok((plan, donation, streams.raw))
}

/// linux.resources.memory.limit: the cgroup has it too, but the host would kill whatever it finds.
fn memory_limit(bundle: &Bundle) -> u64 {
    let linux = bundle.spec.linux().as_ref();
    let memory = linux
        .and_then(|linux| linux.resources().as_ref())
        .and_then(|resources| resources.memory().as_ref());
    let limit = memory.and_then(|memory| memory.limit());
    limit
        .and_then(|limit| u64::try_from(limit).ok())
        .unwrap_or(0)
}

/// The sandbox joins the network namespace that the bundle names, or gets one; with `--network=host`
/// it stays in the caller's.
fn namespaces(bundle: &Bundle, network: NetworkMode) -> Result<Namespaces, LifecycleError> {
    let mut namespaces = Namespaces::default();
    let configured = bundle
        .spec
        .linux()
        .as_ref()
        .and_then(|linux| linux.namespaces().as_ref());
    let network_namespace = configured
        .into_iter()
        .flatten()
        .find(|ns| ns.typ() == LinuxNamespaceType::Network);
    match network_namespace.map(|ns| ns.path().as_deref()) {
        Some(Some(path)) => {
            let failed = |what: &str| io_error(format!("{what} {}", path.display()));
            let file = fs::File::open(path).map_err(failed("cannot open the network namespace"))?;
            sys::check_network_namespace(file.as_fd())
                .map_err(failed("this is no network namespace:"))?;
            namespaces.join.push(OwnedFd::from(file));
        }
        Some(None) => namespaces.new_network = true,
        // Without a network namespace the bundle asks for the caller's network: only `host` means that.
        None => namespaces.new_network = network != NetworkMode::Host,
    }
    Ok(namespaces)
}

/// Hands the plan over and waits until the sandbox is ready.
pub(crate) fn boot(
    donor: &mut UnixStream,
    plan: &BootPlan,
    donation: Donation,
) -> Result<(), LifecycleError> {
    transport::send(donor, plan, donation)
        .map_err(io_error("cannot hand the plan to the sandbox"))?;
    match transport::receive::<BootAnswer>(donor) {
        Ok(Some((BootAnswer::Ready, _))) => Ok(()),
        Ok(Some((BootAnswer::Failed(why), _))) => Err(LifecycleError::Boot(why)),
        Ok(None) => Err(LifecycleError::Boot("its process ended".into())),
        Err(source) => Err(LifecycleError::Io {
            what: "the sandbox gave no answer".into(),
            source,
        }),
    }
}

/// Writes a process number: a reader sees all of it or no file.
pub(crate) fn write_pid_file(path: &Path, pid: i32) -> Result<(), LifecycleError> {
    let temporary = path.with_extension("runsc-new");
    fs::write(&temporary, pid.to_string())
        .and_then(|()| fs::rename(&temporary, path))
        .map_err(io_error(format!("cannot write {}", path.display())))
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
    let all = bundle.spec.hooks().as_ref();
    hooks::run(
        "startContainer",
        all.and_then(|h| h.start_container().as_ref()),
        &state.to_oci(),
    )?;
    control::ask(record.dir(), &Request::Start, Donation::default())?;
    state.status = Status::Running;
    record.save(&state)?;
    // The specification has the runtime log a failing poststart hook and go on.
    if let Err(error) = hooks::run(
        "poststart",
        all.and_then(|h| h.poststart().as_ref()),
        &state.to_oci(),
    ) {
        crate::log::warning(&error.to_string());
    }
    Ok(())
}

/// The folder of a container whose sandbox runs.
fn running_dir(store: &Store, id: &str) -> Result<PathBuf, LifecycleError> {
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
    let dir = running_dir(store, id)?;
    let process = Box::new(process);
    let mut asked = Asked::new(&dir, &Request::Exec { process, wait }, donation)?;
    match asked.answer()? {
        Answer::Started { pid } => Ok(Executed { pid, dir, asked }),
        other => Err(unexpected(&other)),
    }
}

impl Executed {
    /// Waits for its end, passing on the signals that are held; its status.
    pub(crate) fn wait(mut self, held: &SigSet) -> Result<i32, LifecycleError> {
        let waiting = attach::until_readable(self.asked.as_fd(), held, |signo| {
            let target = SignalTarget::Process(self.pid);
            // It may have ended in between: then there is nobody to tell.
            let request = Request::Signal { signo, target };
            drop(control::ask(&self.dir, &request, Donation::default()));
        });
        waiting.map_err(io_error("cannot wait for the process"))?;
        match self.asked.answer() {
            Ok(Answer::Exited { status }) => Ok(status),
            Ok(other) => Err(unexpected(&other)),
            // The sandbox was killed, and its processes with it.
            Err(ControlError::Closed) => Ok(128 + libc::SIGKILL),
            Err(error) => Err(error.into()),
        }
    }
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

fn unexpected(answer: &Answer) -> LifecycleError {
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
        run_poststop_hooks(&bundle, &state);
    }
    Ok(())
}

/// The specification has the runtime log a failing poststop hook and go on.
fn run_poststop_hooks(bundle: &Bundle, state: &State) {
    let all = bundle.spec.hooks().as_ref();
    let stopped = State {
        status: Status::Stopped,
        ..state.clone()
    };
    let poststop = all.and_then(|hooks| hooks.poststop().as_ref());
    if let Err(error) = hooks::run("poststop", poststop, &stopped.to_oci()) {
        crate::log::warning(&error.to_string());
    }
}

/// Kills the sandbox and waits until it is gone.
fn end_sandbox(state: &State) -> Result<(), LifecycleError> {
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

/// Removes what a failed `create` has made; its own failures are only logged, as the first one counts.
fn clear_away(record: Record, state: &State, bundle: &Bundle) {
    let result = end_sandbox(state).and_then(|()| Ok(cgroup::remove(&state.cgroups)?));
    if let Err(error) = result.and_then(|()| Ok(record.remove()?)) {
        crate::log::warning(&format!("after a failed create: {error}"));
    }
    // Its process was there, so its create hooks may have run.
    if state.pid != 0 {
        run_poststop_hooks(bundle, state);
    }
}
