//! `runsc boot`: the sandbox's process, from its plan to its exit status.

mod config;
mod confine;
mod serve;
mod waiters;

use std::os::fd::{AsFd, RawFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::sync::Arc;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::sys::signal::{SigSet, Signal};
use sentry::kernel::Kernel;
use thiserror::Error;

use super::plan::{BootAnswer, BootPlan};
use super::sys;
use super::transport::{self, Donation, Received};
use waiters::Waiters;

/// Linux's own bound to a process's descriptors (`fs.nr_open`).
const DESCRIPTORS_MAX: u64 = 1 << 20;

/// Why the sandbox's process cannot even answer.
#[derive(Debug, Error)]
pub(crate) enum BootFailure {
    #[error("`runsc boot` is started by the other verbs; --donor-fd {0} is not an open descriptor")]
    NoDonor(RawFd),
    #[error("the plan did not arrive")]
    NoPlan(#[source] std::io::Error),
}

/// Boots from the plan on `donor_fd` and runs to the guest's end; its exit status.
pub(crate) fn run(donor_fd: RawFd) -> Result<i32, BootFailure> {
    let donor = sys::own_inherited(donor_fd).map_err(|_| BootFailure::NoDonor(donor_fd))?;
    let mut donor = UnixStream::from(donor);
    let signals = hold_signals();
    let (plan, received) = match transport::receive::<BootPlan>(&mut donor) {
        Ok(Some(message)) => message,
        // Who started us has failed, and tells why.
        Ok(None) => return Ok(crate::EXIT_OWN_FAILURE),
        Err(error) => return Err(BootFailure::NoPlan(error)),
    };
    let answer = |donor: &mut UnixStream, answer| {
        // Nobody there to hear it any more: the status still tells.
        let _ = transport::send(donor, &answer, Donation::default());
    };
    match boot(plan, received) {
        Ok(booted) => {
            answer(&mut donor, BootAnswer::Ready);
            Ok(live(booted, donor, signals))
        }
        Err(error) => {
            answer(&mut donor, BootAnswer::Failed(error.to_string()));
            Ok(crate::EXIT_OWN_FAILURE)
        }
    }
}

/// A sandbox whose init process is loaded.
struct Booted {
    kernel: Arc<Kernel>,
    foreground: bool,
    control: Option<UnixListener>,
}

/// All guests' descriptors of host files are ours: as many as the host lets us have.
fn raise_descriptor_limit() {
    let Ok((_, hard)) = getrlimit(Resource::RLIMIT_NOFILE) else {
        return;
    };
    let most = DESCRIPTORS_MAX.max(hard);
    if setrlimit(Resource::RLIMIT_NOFILE, most, most).is_err() {
        // Only root may have more than the hard limit.
        let _ = setrlimit(Resource::RLIMIT_NOFILE, hard, hard);
    }
}

fn boot(plan: BootPlan, mut received: Received) -> Result<Booted, Box<dyn std::error::Error>> {
    raise_descriptor_limit();
    let control = plan
        .control
        .map(|index| received.take(index))
        .transpose()?
        .map(UnixListener::from);
    let foreground = plan.foreground;
    let needs = config::needs_of(&plan);
    if plan.process.terminal
        && let Some(terminal) = plan.process.stdio[0].and_then(|index| received.get(index))
    {
        // For the SIGWINCH and SIGHUP of a terminal that came through a console socket. One that is
        // the terminal of another session already stays so: `runsc` there passes its signals on.
        let _ = sys::make_controlling(terminal);
    }
    let config = config::from_plan(plan, &mut received)?;
    let kernel = Kernel::boot(config)?;
    confine::confine()?;
    sentry::seccomp::confine(needs)?;
    Ok(Booted {
        kernel,
        foreground,
        control,
    })
}

/// Serves requests, passes on signals, and waits for the end.
fn live(booted: Booted, donor: UnixStream, signals: SigSet) -> i32 {
    let Booted {
        kernel,
        foreground,
        control,
    } = booted;
    let for_signals = Arc::clone(&kernel);
    spawn("signals", move || pass_signals(&for_signals, &signals));
    if foreground {
        spawn("donor", move || end_with_donor(&donor));
    } else {
        drop(donor);
    }
    let waiters = Arc::new(Waiters::default());
    match control {
        Some(listener) => {
            serve::until_started(&kernel, &listener, &waiters);
            let (kernel, waiters) = (Arc::clone(&kernel), Arc::clone(&waiters));
            spawn("control", move || {
                serve::requests(&kernel, &listener, &waiters);
            });
        }
        // `runsc do`: a program that somebody would otherwise have run outside.
        None => {
            kernel.make_first_ordinary();
            kernel.start();
        }
    }
    let status = kernel.wait_exit().code();
    waiters.drain();
    status
}

fn spawn(name: &str, work: impl FnOnce() + Send + 'static) {
    let thread = std::thread::Builder::new()
        .name(name.into())
        .stack_size(128 << 10)
        .spawn(work);
    if let Err(error) = thread {
        eprintln!("runsc: cannot start the {name} thread: {error}");
        std::process::exit(crate::EXIT_OWN_FAILURE);
    }
}

/// PID 1 of a namespace gets no signal that it has no handler for, except what it waits for: these
/// are held from the start and passed on to the guest's init.
fn hold_signals() -> SigSet {
    let mut set = SigSet::empty();
    for signal in [
        Signal::SIGHUP,
        Signal::SIGINT,
        Signal::SIGQUIT,
        Signal::SIGTERM,
        Signal::SIGUSR1,
        Signal::SIGUSR2,
        Signal::SIGCONT,
        Signal::SIGWINCH,
    ] {
        set.add(signal);
    }
    // A process that has just begun can block any signal.
    let _ = set.thread_block();
    set
}

fn pass_signals(kernel: &Kernel, signals: &SigSet) {
    while let Ok(signal) = signals.wait() {
        if signal == Signal::SIGWINCH && kernel.window_changed() {
            continue;
        }
        // The guest's init may have ended in between.
        let _ = kernel.kill(1, signal as i32, false);
    }
}

/// A sandbox in the foreground ends with the `runsc` that started it: we are PID 1 of its namespace, so
/// nothing of it outlives us.
fn end_with_donor(donor: &UnixStream) {
    let mut fds = [PollFd::new(donor.as_fd(), PollFlags::empty())];
    while poll(&mut fds, PollTimeout::NONE).is_err() {}
    std::process::exit(128 + libc::SIGKILL);
}
