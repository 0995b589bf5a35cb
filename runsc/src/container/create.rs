//! How a container is made: its folder, its sandbox, and what the sandbox is given.

use std::fs;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::Child;
use std::time::SystemTime;

use nix::sys::signal::SigSet;
use nix::unistd::{User, geteuid};
use oci_spec::runtime::LinuxNamespaceType;

use super::hooks;
use super::lifecycle::{LifecycleError, end_sandbox, io_error};
use super::state::{State, Status, process_start_ticks};
use super::store::{Record, Store};
use super::timestamp;
use crate::cgroup;
use crate::cli::NetworkMode;
use crate::oci::bundle::Bundle;
use crate::oci::mounts::{self, MountError};
use crate::oci::process;
use crate::sandbox::attach;
use crate::sandbox::control;
use crate::sandbox::entrance::Entrance;
use crate::sandbox::plan::{
    BootAnswer, BootPlan, MountPlan, NetworkPlan, ProcessPlan, RootPlan, SandboxOptions,
};
use crate::sandbox::rootless::{self, RootlessError};
use crate::sandbox::spawn::{self, Namespaces, Spawned};
use crate::sandbox::stdio::{self, RawTerminal};
use crate::sandbox::sys;
use crate::sandbox::transport::{self, Donation};

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
    let (process, mut donation, raw) = streams(bundle, options)?;
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
    let inside = hooks::at_create(bundle, state)?;
    let (root, mounts) = trees(bundle, inside.as_ref(), &mut donation)?;
    let plan = plan(
        record,
        bundle,
        options,
        (root, mounts, process),
        &mut donation,
    )?;
    boot(&mut spawned.donor, &plan, donation)?;
    state.status = Status::Created;
    record.save(state)?;
    if let Some(path) = &options.pid_file {
        write_pid_file(path, state.pid)?;
    }
    Ok((spawned, raw))
}

/// The process with its standard streams.
fn streams(
    bundle: &Bundle,
    options: &CreateOptions,
) -> Result<(ProcessPlan, Donation, Option<RawTerminal>), LifecycleError> {
    let mut donation = Donation::default();
    let mut process = process::plan(bundle.process())?;
    let streams = stdio::for_process(
        process.terminal,
        options.console_socket.as_deref(),
        options.foreground,
        &mut donation,
    )?;
    process.stdio = streams.stdio;
    Ok((process, donation, streams.raw))
}

/// The root and the mounts as detached trees, with what createContainer hooks have mounted in the
/// container's mount namespace.
fn trees(
    bundle: &Bundle,
    inside: Option<&Entrance>,
    donation: &mut Donation,
) -> Result<(RootPlan, Vec<MountPlan>), LifecycleError> {
    let open = |donation: &mut Donation| -> Result<_, MountError> {
        let root = mounts::root(bundle, donation)?;
        Ok((root, mounts::plan(bundle, donation)?))
    };
    let opened = match inside {
        Some(entrance) => entrance
            .in_mount_namespace(|| open(donation))
            .map_err(io_error("cannot enter the container's mount namespace"))?,
        None => open(donation),
    };
    Ok(opened?)
}

fn plan(
    record: &Record,
    bundle: &Bundle,
    options: &CreateOptions,
    (root, mounts, process): (RootPlan, Vec<MountPlan>, ProcessPlan),
    donation: &mut Donation,
) -> Result<BootPlan, LifecycleError> {
    let control =
        control::listen(record.dir()).map_err(io_error("cannot make the control socket"))?;
    Ok(BootPlan {
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
    })
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

/// Removes what a failed `create` has made; its own failures are only logged, as the first one counts.
fn clear_away(record: Record, state: &State, bundle: &Bundle) {
    let result = end_sandbox(state).and_then(|()| Ok(cgroup::remove(&state.cgroups)?));
    if let Err(error) = result.and_then(|()| Ok(record.remove()?)) {
        crate::log::warning(&format!("after a failed create: {error}"));
    }
    // Its process was there, so its create hooks may have run.
    if state.pid != 0 {
        hooks::at_stop(bundle, state);
    }
}
