//! The command line: one file a verb, each thin over the library modules.

mod boot;
mod create;
mod delete;
mod do_;
mod exec;
mod kill;
mod list;
mod ps;
mod run;
mod spec;
mod start;
mod state;
mod syscalls;
mod wait;
mod watch;

use std::error::Error;
use std::path::PathBuf;

use clap::error::ErrorKind;
use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::container::store::{Store, StoreError};
use crate::log::{self, LogFormat};
use crate::sandbox::plan::{PlatformName, SandboxOptions};

/// What a verb ends with: an exit status, or why it failed.
type VerbResult = Result<i32, Box<dyn Error>>;

/// Runs untrusted programs on a user-space kernel with a network stack of its own.
///
/// By hand:      runsc do /bin/sh -c 'echo hello from the sandbox'
/// As a runtime: docker run --runtime=runsc ..., or the OCI verbs below on a bundle.
///
/// A failure of runsc itself exits with 128 and one sentence on standard error; otherwise the
/// status is the guest's (128 + N if signal N ended it).
#[derive(Parser)]
#[command(
    name = "runsc",
    version,
    verbatim_doc_comment,
    max_term_width = 100,
    subcommand_required = true
)]
struct Cli {
    #[command(flatten)]
    global: Global,
    #[command(subcommand)]
    verb: Verb,
}

/// Options before or after the verb.
#[derive(Args, Clone, Debug)]
pub(crate) struct Global {
    /// Directory for the state of containers [default: /run/runsc, or $XDG_RUNTIME_DIR/runsc]
    #[arg(long, global = true, value_name = "DIR")]
    root: Option<PathBuf>,
    /// Also write messages to this file
    #[arg(long, global = true, value_name = "FILE")]
    log: Option<PathBuf>,
    /// Shape of the log file
    #[arg(long, global = true, value_enum, default_value_t)]
    log_format: LogFormat,
    /// Say more in the log
    #[arg(long, global = true)]
    debug: bool,
    /// How guest code is run
    #[arg(long, global = true, value_enum, default_value_t)]
    platform: PlatformName,
    /// What the guest's sockets are
    #[arg(long, global = true, value_enum, default_value_t)]
    network: NetworkMode,
    /// Which Unix sockets of the host a guest may use through a bind mount (only none is supported)
    #[arg(long, global = true, value_enum, default_value_t, value_name = "WHICH")]
    host_uds: HostUds,
    /// Whether a guest may open FIFOs of the host in a bind mount (only none is supported)
    #[arg(long, global = true, value_enum, default_value_t, value_name = "WHICH")]
    host_fifo: HostFifo,
    /// Log every system call of the guest to standard error
    #[arg(long, global = true)]
    strace: bool,
    /// Accepted for compatibility with runc; cgroups are always made directly
    #[arg(long, global = true, hide = true)]
    systemd_cgroup: bool,
}

/// `--network`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum NetworkMode {
    /// Loopback only
    None,
    /// Our own network stack, in the sandbox
    #[default]
    Sandbox,
    /// The host's sockets (weaker isolation)
    Host,
}

/// `--host-uds`, with the reference runtime's words.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
enum HostUds {
    /// connect(2) answers ECONNREFUSED
    #[default]
    None,
    Open,
    Create,
    All,
}

/// `--host-fifo`, with the reference runtime's words.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
enum HostFifo {
    /// open(2) answers EPERM
    #[default]
    None,
    Open,
}

#[derive(Subcommand)]
enum Verb {
    Do(do_::Do),
    Run(run::Run),
    Create(create::Create),
    Start(start::Start),
    State(state::StateVerb),
    Kill(kill::Kill),
    Delete(delete::Delete),
    List(list::List),
    Exec(exec::Exec),
    Ps(ps::Ps),
    Wait(wait::Wait),
    Spec(spec::SpecVerb),
    Syscalls(syscalls::Syscalls),
    #[command(hide = true)]
    Boot(boot::Boot),
    #[command(hide = true)]
    WatchTerminal(watch::Watch),
}

impl Global {
    /// Opens the store of containers.
    fn store(&self) -> Result<Store, StoreError> {
        match &self.root {
            Some(root) => Store::open(root),
            None => Err(StoreError::NoDirectory),
        }
    }

    /// Refuses what is not there yet, rather than have a guest wonder why nobody answers.
    fn check(&self) -> Result<(), Box<dyn Error>> {
        if self.host_uds != HostUds::None {
            return Err(
                "only --host-uds=none is supported: a guest can't use Unix sockets of the host"
                    .into(),
            );
        }
        if self.host_fifo != HostFifo::None {
            return Err(
                "only --host-fifo=none is supported: a guest can't open FIFOs of the host".into(),
            );
        }
        Ok(())
    }

    /// What the sandbox needs to know of these options.
    fn sandbox_options(&self) -> SandboxOptions {
        SandboxOptions {
            platform: self.platform,
            strace: self.strace,
            debug: self.debug,
        }
    }
}

fn default_root() -> Result<PathBuf, StoreError> {
    if nix::unistd::geteuid().is_root() {
        return Ok(PathBuf::from("/run/runsc"));
    }
    match std::env::var_os("XDG_RUNTIME_DIR") {
        Some(dir) => Ok(PathBuf::from(dir).join("runsc")),
        None => Err(StoreError::NoDirectory),
    }
}

/// Parses the command line and runs the verb.
///
/// # Errors
/// Any failure of runsc itself; the caller reports it and exits with 128.
pub(crate) fn run() -> VerbResult {
    let mut cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return usage(&error),
    };
    if cli.global.root.is_none() {
        // Now: an ordinary user may become root of a user namespace on the way.
        cli.global.root = default_root().ok();
    }
    if let Some(path) = &cli.global.log {
        log::open(path, cli.global.log_format)
            .map_err(|source| format!("cannot open the log file {}: {source}", path.display()))?;
    }
    let global = &cli.global;
    global.check()?;
    match cli.verb {
        Verb::Do(verb) => verb.run(global),
        Verb::Run(verb) => verb.run(global),
        Verb::Create(verb) => verb.run(global),
        Verb::Start(verb) => verb.run(global),
        Verb::State(verb) => verb.run(global),
        Verb::Kill(verb) => verb.run(global),
        Verb::Delete(verb) => verb.run(global),
        Verb::List(verb) => verb.run(global),
        Verb::Exec(verb) => verb.run(global),
        Verb::Ps(verb) => verb.run(global),
        Verb::Wait(verb) => verb.run(global),
        Verb::Spec(verb) => verb.run(),
        Verb::Syscalls(verb) => verb.run(),
        Verb::Boot(verb) => verb.run(),
        Verb::WatchTerminal(verb) => verb.run(),
    }
}

/// Prints clap's help; a bad flag is a failure of the caller's, told in one sentence as any other of ours.
fn usage(error: &clap::Error) -> VerbResult {
    if error.kind() == ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand {
        error.print()?;
        return Ok(crate::EXIT_OWN_FAILURE);
    }
    if !error.use_stderr() {
        error.print()?;
        return Ok(0);
    }
    let text = error.to_string();
    let complaint = text.lines().take_while(|line| !line.is_empty());
    let complaint: Vec<&str> = complaint.map(str::trim).collect();
    let complaint = complaint.join(" ");
    let complaint = complaint.strip_prefix("error: ").unwrap_or(&complaint);
    Err(format!("{complaint}; --help tells what there is").into())
}
