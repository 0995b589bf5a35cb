//! `netstack pasta`: pasta's command line over the engine of `slirp`. The namespace has the host's own
//! address, in the host's own network.
//!
//! | file | what happens there |
//! | --- | --- |
//! | `args` | the command line |
//! | `host` | the interface of the host's that all is taken from |
//! | `plan` | addresses and ports |
//! | `spawn` | a command in namespaces of its own |
//! | `background`, `log` | users, the background, messages |

mod args;
mod background;
mod host;
mod log;
mod plan;
mod spawn;

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use netstack::link::Medium;
use netstack::network::addr::Cidr;

use crate::Failure;
use crate::slirp::engine::Setup;
use crate::slirp::follow::Follow;
use crate::slirp::namespace::{Namespaces, Wanted};
use crate::slirp::sandbox;
use crate::slirp::world::{Ended, World};
pub(crate) use args::{Args, EXAMPLES};
use background::{Nowhere, PidFile};
use host::HostInterface;
use log::Log;
use plan::Planned;
use spawn::Spawned;
pub(crate) use spawn::{ExecArgs, SpawnArgs, exec, spawn};

/// Where names of network namespaces are, as ip-netns(8) has it.
const NAMED: &str = "/run/netns";

/// What [`sandbox::filter_calls`] does not allow by itself: the end of a command, a log file's older half,
/// and standard streams that lead nowhere.
const CALLS: &[i64] = &[
    libc::SYS_wait4,
    libc::SYS_ftruncate,
    libc::SYS_dup3,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_dup2,
];

/// Which namespaces the network is for.
enum Subject {
    /// Of a process or at a path; and what has to be there as long as this program runs.
    Existing(Namespaces, Option<(File, PathBuf)>),
    /// New ones, with a command.
    New(Spawned),
}

/// Sets everything up, and runs until the namespace is gone.
pub(crate) fn run(args: &Args) -> Result<ExitCode, Failure> {
    args.check()?;
    let running = &args.running;
    let existing = args.target.netns.is_some() || args.pid().is_some();
    if existing && !running.foreground && !running.in_background {
        return background::launch();
    }
    if running.in_background {
        background::leave_session()?;
    }
    let levels = (running.quiet, running.debug);
    let mut log = Log::open(levels, running.log_file.as_deref(), running.log_size)?;
    let done = run_logged(args, existing, &mut log);
    if let Err(Failure(sentence)) = &done {
        // Standard error gets it from `main`.
        log.leave_stderr();
        log.warn(sentence);
    }
    done
}

fn run_logged(args: &Args, existing: bool, log: &mut Log) -> Result<ExitCode, Failure> {
    let network = &args.network;
    let from = network.interface.as_deref();
    let host = HostInterface::find(from.or(network.outbound_if4.as_deref()))?;
    let planned = plan::plan(args, &host)?;
    planned.tell(log);
    let pid_file = args.running.pid.as_deref().map(PidFile::open).transpose()?;
    let user = match background::is_real_root() {
        true => Some(background::user(args.running.runas.as_deref())?),
        false => None,
    };
    // A command belongs to the user that this program becomes.
    if let Some(user) = user.filter(|_| !existing) {
        background::become_user(user)?;
    }
    let mut subject = subject(args)?;
    let mut world = start(args, &planned, &subject)?;
    if let Some(user) = user.filter(|_| existing) {
        background::become_user(user)?;
    }
    match &mut subject {
        Subject::New(spawned) => world.exit_with(spawned.end()?.into())?,
        Subject::Existing(_, Some((directory, name))) => {
            world.exit_without(directory.try_clone()?.into(), name);
        }
        Subject::Existing(_, None) => {}
    }
    world.exit_at_signals()?;
    if let Some(file) = pid_file {
        file.write()?;
    }
    let nowhere = args.running.in_background.then(Nowhere::open).transpose()?;
    sandbox::enter()?;
    sandbox::filter_calls(CALLS)?;
    if let Some(nowhere) = nowhere {
        log.leave_stderr();
        nowhere.ready()?;
    }
    if let Subject::New(spawned) = &mut subject {
        spawned.go()?;
    }
    let ended = world.run();
    log.debug(&format!("what has passed: {}", world.counters()));
    finish(ended, subject, &planned.name)
}

fn finish(
    ended: std::io::Result<Ended>,
    subject: Subject,
    name: &str,
) -> Result<ExitCode, Failure> {
    let ended = ended.map_err(|error| Failure(format!("the interface {name} is gone: {error}")));
    match (ended?, subject) {
        (Ended::Told, Subject::New(spawned)) => spawned.wait(),
        // The kernel ends the command with this program.
        _ => Ok(ExitCode::SUCCESS),
    }
}

/// The namespaces that the command line names.
fn subject(args: &Args) -> Result<Subject, Failure> {
    let target = &args.target;
    let user = target.userns.as_deref();
    if let Some(named) = &target.netns {
        let path = match named.components().count() {
            1 if !named.is_absolute() => Path::new(NAMED).join(named),
            _ => named.clone(),
        };
        let namespaces = Namespaces::open(&path, user)?;
        return Ok(Subject::Existing(namespaces, needed(target, &path)?));
    }
    let Some(pid) = args.pid() else {
        return Ok(Subject::New(Spawned::start(&args.what)?));
    };
    let path = PathBuf::from(format!("/proc/{pid}/ns/net"));
    let namespaces = match target.netns_only {
        true => Namespaces::open(&path, None)?,
        false => Namespaces::of_process(pid, user)?,
    };
    Ok(Subject::Existing(namespaces, needed(target, &path)?))
}

/// The directory and the name that have to be there.
fn needed(target: &args::Target, path: &Path) -> Result<Option<(File, PathBuf)>, Failure> {
    let (Some(directory), Some(name)) = (path.parent(), path.file_name()) else {
        return Ok(None);
    };
    if target.no_netns_quit {
        return Ok(None);
    }
    // A name alone is in the working directory.
    let directory = match directory.as_os_str().is_empty() {
        true => Path::new("."),
        false => directory,
    };
    Ok(Some((File::open(directory)?, PathBuf::from(name))))
}

/// The interface, and the stack behind it.
fn start(args: &Args, planned: &Planned, subject: &Subject) -> Result<World, Failure> {
    let network = &args.network;
    let of_command;
    let namespaces = match subject {
        Subject::Existing(namespaces, _) => namespaces,
        Subject::New(spawned) => {
            of_command = Namespaces::of_process(spawned.id(), None)?;
            &of_command
        }
    };
    let plan = &planned.plan;
    let guest = Cidr::new(plan.guest, plan.network.prefix_len());
    let made = namespaces.make_interface(&Wanted {
        name: &planned.name,
        mtu: match network.mtu {
            0 => 1500,
            mtu => mtu,
        },
        medium: Medium::Ethernet,
        loopback: true,
        configure: guest
            .filter(|_| network.config_net)
            .map(|guest| (guest, plan.gateway)),
        mac: network.ns_mac_addr,
        tables: planned.follow != (false, false),
    })?;
    let setup = Setup {
        program: "pasta",
        device: made.device,
        name: &planned.name,
        router_mac: planned.router_mac,
        plan: plan.clone(),
        dns_host: planned.dns_host,
        rules: planned.rules.clone(),
        follow: made
            .bound
            .map(|bound| Follow::new(bound, planned.follow, planned.beside())),
        pcap: args.running.pcap.as_deref(),
    };
    setup.start()
}
