//! `runsc exec`

use std::fs;
use std::path::PathBuf;

use clap::Args;
use oci_spec::runtime::Process;

use super::{Global, VerbResult};
use crate::container::store::Store;
use crate::container::{create, exec};
use crate::oci::bundle::Bundle;
use crate::oci::process;
use crate::sandbox::attach;
use crate::sandbox::plan::ProcessPlan;
use crate::sandbox::stdio;
use crate::sandbox::transport::Donation;

/// Run another process in a container
#[derive(Args)]
pub(super) struct Exec {
    /// Read the process from this JSON file instead of the command line
    #[arg(long, short, value_name = "FILE")]
    process: Option<PathBuf>,
    /// Do not wait: leave the process running
    #[arg(long, short)]
    detach: bool,
    /// Give it a terminal
    #[arg(long, short)]
    tty: bool,
    /// Working directory [default: the container's]
    #[arg(long, value_name = "DIR")]
    cwd: Option<String>,
    /// Add an environment variable (NAME=value)
    #[arg(long, short, value_name = "VAR")]
    env: Vec<String>,
    /// User, as UID[:GID]
    #[arg(long, short, value_name = "USER", value_parser = parse_user)]
    user: Option<(u32, Option<u32>)>,
    /// Supplementary groups
    #[arg(long, short = 'g', value_name = "GID")]
    additional_gids: Vec<u32>,
    /// Give it a capability (CAP_NET_RAW ...)
    #[arg(long, short = 'c', value_name = "CAP")]
    cap: Vec<String>,
    /// Socket that is sent the terminal's master side
    #[arg(long, value_name = "SOCKET")]
    console_socket: Option<PathBuf>,
    /// File to write the process number (inside the container) to
    #[arg(long, value_name = "FILE")]
    pid_file: Option<PathBuf>,
    /// The same, under the reference runtime's name
    #[arg(long, value_name = "FILE")]
    internal_pid_file: Option<PathBuf>,
    /// The container
    #[arg(value_name = "ID")]
    id: String,
    /// The program and its arguments
    #[arg(
        value_name = "COMMAND",
        trailing_var_arg = true,
        required_unless_present = "process"
    )]
    command: Vec<String>,
}

impl Exec {
    pub(super) fn run(self, global: &Global) -> VerbResult {
        let store = global.store()?;
        let mut plan = self.plan(&store)?;
        let mut donation = Donation::default();
        let streams = stdio::for_process(
            plan.terminal,
            self.console_socket.as_deref(),
            !self.detach,
            &mut donation,
        )?;
        plan.stdio = streams.stdio;
        // Before the process is there, so that none of them is lost.
        let held = attach::hold_signals()?;
        let executed = exec::exec(&store, &self.id, plan, !self.detach, donation)?;
        for path in self.pid_file.iter().chain(&self.internal_pid_file) {
            create::write_pid_file(path, executed.pid)?;
        }
        if let Some(slave) = streams.slave {
            executed.watch_terminal(slave)?;
        }
        if self.detach {
            Ok(0)
        } else {
            let status = executed.wait(&held)?;
            drop(streams.raw);
            Ok(status)
        }
    }

    /// The process: read from `--process`, or the container's own with the command line's changes.
    fn plan(&self, store: &Store) -> Result<ProcessPlan, Box<dyn std::error::Error>> {
        if let Some(path) = &self.process {
            let text = fs::read(path)
                .map_err(|source| format!("cannot read {}: {source}", path.display()))?;
            let process: Process = serde_json::from_slice(&text)
                .map_err(|source| format!("{} is not an OCI process: {source}", path.display()))?;
            return Ok(process::plan(&process)?);
        }
        let state = store.find(&self.id)?.load()?;
        let mut plan = process::plan(Bundle::load(&state.bundle)?.process())?;
        plan.args.clone_from(&self.command);
        plan.env = process::last_of_each_name(plan.env.into_iter().chain(self.env.iter().cloned()));
        plan.terminal = self.tty;
        if let Some(cwd) = &self.cwd {
            plan.cwd.clone_from(cwd);
        }
        if let Some((uid, gid)) = self.user {
            plan.uid = uid;
            plan.gid = gid.unwrap_or(plan.gid);
        }
        plan.groups.extend(&self.additional_gids);
        for name in &self.cap {
            let bit = process::bit_of(name)
                .ok_or_else(|| format!("{name} is not a capability of Linux"))?;
            let sets = &mut plan.capabilities;
            sets.bounding |= bit;
            sets.permitted |= bit;
            sets.effective |= bit;
        }
        Ok(plan)
    }
}

fn parse_user(text: &str) -> Result<(u32, Option<u32>), String> {
    let number = |part: &str| {
        part.parse::<u32>()
            .map_err(|_| format!("{part:?} is not a number"))
    };
    match text.split_once(':') {
        Some((uid, gid)) => Ok((number(uid)?, Some(number(gid)?))),
        None => Ok((number(text)?, None)),
    }
}
