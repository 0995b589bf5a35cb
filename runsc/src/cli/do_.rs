//! `runsc do`

use std::io::{self, IsTerminal};
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};

use clap::Args;

use super::{Global, NetworkMode, VerbResult};
use crate::container::create;
use crate::log;
use crate::oci::mounts;
use crate::oci::process::ALL_CAPABILITIES;
use crate::sandbox::attach;
use crate::sandbox::network;
use crate::sandbox::plan::{BootPlan, CapabilitySets, NetworkPlan, ProcessPlan, RootPlan};
use crate::sandbox::rootless;
use crate::sandbox::spawn::{self, Namespaces};
use crate::sandbox::stdio;
use crate::sandbox::transport::Donation;

/// Run one program of this machine in a sandbox
///
/// The machine's files are its read-only root; what it writes goes to memory and is gone
/// afterwards. With `--network=sandbox` it has a network stack of its own behind a TUN device,
/// whose other end is this machine: each can reach the other, see --ip.
///
/// An ordinary user's sandbox lives in a user namespace, where he is root: it sees the files that he
/// may see, and has no network but loopback.
///
/// ^C, SIGTERM and other signals to runsc go to the program. It is the first process in there, but
/// not spared as Linux spares the first one of a PID namespace: a signal that it does not handle,
/// wherever it comes from, ends it, as if it ran outside.
#[derive(Args)]
#[command(verbatim_doc_comment)]
pub(super) struct Do {
    /// Root directory of the sandbox
    #[arg(long, value_name = "DIR", default_value = "/")]
    root_dir: PathBuf,
    /// Working directory in the sandbox [default: the present one]
    #[arg(long, value_name = "DIR")]
    cwd: Option<String>,
    /// Address of the sandbox; the machine's end of the link is the one below it [default: the first
    /// of 192.168.131.2, .6, .10 ... whose /30 this machine does not use]
    #[arg(long, value_name = "ADDRESS")]
    ip: Option<Ipv4Addr>,
    /// Name of the TUN device on this machine
    #[arg(long, value_name = "NAME", default_value = "runsc%d")]
    tun: String,
    /// Most memory of all programs inside, as 64M or 2G; when it is used up, the biggest one is killed
    #[arg(long, value_name = "SIZE", default_value = "0", value_parser = parse_size)]
    memory: u64,
    /// The program and its arguments
    #[arg(value_name = "COMMAND", trailing_var_arg = true, required = true)]
    command: Vec<String>,
}

/// True if a person sits there: with all three streams on a terminal the program gets one of the
/// sandbox's own, with job control; anything redirected stays as it is.
fn at_terminal() -> bool {
    io::stdin().is_terminal() && io::stdout().is_terminal() && io::stderr().is_terminal()
}

/// Bytes, or a number of K, M or G.
fn parse_size(text: &str) -> Result<u64, String> {
    let (number, unit) = match text.char_indices().last() {
        Some((at, 'K' | 'k')) => (&text[..at], 10),
        Some((at, 'M' | 'm')) => (&text[..at], 20),
        Some((at, 'G' | 'g')) => (&text[..at], 30),
        _ => (text, 0),
    };
    let number: u64 = number
        .parse()
        .map_err(|_| "a size is a number of bytes, or of K, M or G".to_owned())?;
    let bytes = number.checked_mul(1 << unit);
    bytes.ok_or_else(|| "a size has to fit into 64 bits".to_owned())
}

impl Do {
    pub(super) fn run(self, global: &Global) -> VerbResult {
        let rootless = rootless::enter()?;
        let held = attach::hold_signals()?;
        let mut donation = Donation::default();
        let terminal = at_terminal();
        let plan = self.plan(global, terminal, rootless, &mut donation)?;
        let new_network = global.network != NetworkMode::Host;
        let mut spawned = spawn::spawn(Namespaces {
            join: Vec::new(),
            new_network,
            rootless,
        })?;
        create::boot(&mut spawned.donor, &plan, donation)?;
        let raw = terminal.then(stdio::RawTerminal::new).transpose()?;
        // The donor socket stays open until the end: its closing tells the sandbox that we are gone.
        let status = attach::wait(spawned.child, &held)?;
        drop((spawned.donor, raw));
        Ok(status)
    }

    fn plan(
        &self,
        global: &Global,
        terminal: bool,
        rootless: bool,
        donation: &mut Donation,
    ) -> Result<BootPlan, Box<dyn std::error::Error>> {
        let tree = mounts::open_tree(&self.root_dir, true, true).map_err(|source| {
            format!(
                "cannot take {} as the root: {source}",
                self.root_dir.display()
            )
        })?;
        let cwd = match &self.cwd {
            Some(cwd) => cwd.clone(),
            None if self.root_dir == Path::new("/") => {
                std::env::current_dir()?.to_string_lossy().into_owned()
            }
            None => "/".into(),
        };
        let all = ALL_CAPABILITIES;
        Ok(BootPlan {
            id: format!("do-{}", std::process::id()),
            options: global.sandbox_options(),
            root: RootPlan {
                tree: donation.add(tree),
                readonly: false,
                write_through: false,
            },
            mounts: Vec::new(),
            process: ProcessPlan {
                program: None,
                args: self.command.clone(),
                env: std::env::vars_os()
                    .filter_map(|(name, value)| {
                        Some(format!("{}={}", name.to_str()?, value.to_str()?))
                    })
                    .collect(),
                cwd,
                uid: 0,
                gid: 0,
                groups: Vec::new(),
                umask: 0o022,
                capabilities: CapabilitySets {
                    bounding: all,
                    effective: all,
                    permitted: all,
                    ..Default::default()
                },
                rlimits: Vec::new(),
                no_new_privs: false,
                terminal,
                stdio: stdio::own(donation)?,
            },
            hostname: "runsc".into(),
            network: self.network(global, rootless, donation)?,
            memory_limit: self.memory,
            control: None,
            foreground: true,
        })
    }

    fn network(
        &self,
        global: &Global,
        rootless: bool,
        donation: &mut Donation,
    ) -> Result<NetworkPlan, Box<dyn std::error::Error>> {
        Ok(match global.network {
            NetworkMode::None => NetworkPlan::Loopback,
            NetworkMode::Host => NetworkPlan::Host,
            NetworkMode::Sandbox if rootless => {
                log::warning(
                    "only root can link a sandbox to this machine's network: this one has only loopback (as with --network=none)",
                );
                NetworkPlan::Loopback
            }
            NetworkMode::Sandbox => {
                let tun = network::open_tun(&self.tun, self.ip, donation)?;
                if self.ip.is_none() {
                    log::note(&format!("the sandbox's address is {}", tun.address));
                }
                NetworkPlan::Tun(tun)
            }
        })
    }
}
