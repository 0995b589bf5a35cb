//! The command line.

use std::path::PathBuf;
use std::str::FromStr;

use clap::Parser;
use packetdrill_tests::Against;
use packetdrill_tests::ast::{OptionLine, Pos};
use packetdrill_tests::run::{Config, IpVersion};

/// Runs packetdrill scripts against netstack in virtual time, or against this machine's kernel.
///
/// A script is a list of timed events: system calls with their results, packets that come in (<) and
/// packets that must go out (>). A script passes if everything happens as it says, when it says, and
/// nothing else does.
#[derive(Debug, Parser)]
#[command(name = "packetdrill", version, after_help = EXAMPLES)]
pub(crate) struct Args {
    /// Scripts, or directories whose *.pkt files are run (those below them too).
    #[arg(required = true, value_name = "FILE|DIR")]
    pub(crate) paths: Vec<PathBuf>,

    /// Run against this machine's kernel, in real time, over a TUN device in a fresh network
    /// namespace (needs root). A difference from netstack is thus a difference from Linux.
    #[arg(long)]
    pub(crate) kernel: bool,

    /// Run over netstack and over this machine's kernel, and show only what differs between the two,
    /// whatever the script expects (needs root, as --kernel).
    #[arg(long, conflicts_with_all = ["kernel", "dry_run"])]
    pub(crate) diff: bool,

    /// Only parse the scripts.
    #[arg(long, alias = "dry_run", conflicts_with = "kernel")]
    pub(crate) dry_run: bool,

    /// How many microseconds an event may lie from its time [default: 4000; 150000 with --kernel].
    #[arg(long, alias = "tolerance_usecs", value_name = "N")]
    pub(crate) tolerance_usecs: Option<i64>,

    /// The same as a share of the time since the event before, if that is more [default: 0; 12.5
    /// with --kernel].
    #[arg(long, alias = "tolerance_percent", value_name = "PERCENT")]
    pub(crate) tolerance_percent: Option<f64>,

    /// Run over ipv4, ipv6, or ipv4-mapped-ipv6 (sockets of IPv6 with IPv4 on the wire); several with
    /// commas, or all. A script whose name ends in v4 or v6 is left out of the other family.
    #[arg(
        long,
        alias = "ip_version",
        value_name = "VERSIONS",
        default_value = "ipv4"
    )]
    pub(crate) ip_version: Versions,

    /// Let NAME stand for TEXT in scripts, as --define=NAME=TEXT lines do in a script itself.
    #[arg(short = 'D', long = "define", value_name = "NAME=TEXT", value_parser = define)]
    pub(crate) defines: Vec<(String, String)>,

    /// Run scripts written for the classic tool as it does, with the addresses and the names that the
    /// public collections' own wrappers give: packets that no line looks for and outgoing TS echoes do
    /// not matter, and times may be off by 12.5%.
    #[arg(long)]
    pub(crate) classic: bool,

    /// Name every script, not only those that fail.
    #[arg(short, long)]
    pub(crate) verbose: bool,

    /// Print results in TAP (Test Anything Protocol, version 14).
    #[arg(long)]
    pub(crate) tap: bool,

    /// Write results as JUnit XML too.
    #[arg(long, value_name = "FILE")]
    pub(crate) junit: Option<PathBuf>,

    /// How many scripts run at a time [default: one for each CPU; 1 with --kernel and
    /// --diff, where time is real].
    #[arg(short, long, value_name = "N")]
    pub(crate) jobs: Option<usize>,

    #[command(flatten)]
    options: Options,
}

/// Options of the classic tool that scripts may give themselves.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "As in a script's own option lines")]
struct Options {
    /// Address of the stack under test.
    #[arg(long, alias = "local_ip", value_name = "ADDRESS")]
    local_ip: Option<String>,
    /// Address of the peer.
    #[arg(long, alias = "remote_ip", value_name = "ADDRESS")]
    remote_ip: Option<String>,
    /// Port of the stack under test.
    #[arg(long, alias = "bind_port", value_name = "PORT")]
    bind_port: Option<String>,
    /// Port of the peer.
    #[arg(long, alias = "connect_port", value_name = "PORT")]
    connect_port: Option<String>,
    /// MTU of the link [default: 1500; 1520 over IPv6].
    #[arg(long, value_name = "BYTES")]
    mtu: Option<String>,
    /// Microseconds per tick of outgoing TS values; 0: they are not compared.
    #[arg(long, alias = "tcp_ts_tick_usecs", value_name = "N")]
    tcp_ts_tick_usecs: Option<String>,
    /// TS echoes that a script made up are scaled, and not refused.
    #[arg(long, alias = "tcp_ts_ecr_scaled")]
    tcp_ts_ecr_scaled: bool,
    /// Never put segments together to make up what a line expects.
    #[arg(long, alias = "strict_segments")]
    strict_segments: bool,
    /// Given to the classic tool; makes no difference here.
    #[arg(long, alias = "gateway_ip", hide = true)]
    gateway_ip: Option<String>,
    /// Given to the classic tool; makes no difference here.
    #[arg(long, alias = "netmask_ip", hide = true)]
    netmask_ip: Option<String>,
    /// Given to the classic tool; makes no difference here.
    #[arg(long, hide = true)]
    speed: Option<String>,
    /// Given to the classic tool; makes no difference here.
    #[arg(long, hide = true)]
    mss: Option<String>,
    /// Given to the classic tool; makes no difference here.
    #[arg(long, alias = "send_omit_free", hide = true)]
    send_omit_free: bool,
    /// Given to the classic tool; makes no difference here.
    #[arg(long, alias = "is_anyip", hide = true)]
    is_anyip: bool,
}

impl Options {
    /// As option lines.
    fn lines(&self) -> Vec<OptionLine> {
        let valued = [
            ("local_ip", &self.local_ip),
            ("remote_ip", &self.remote_ip),
            ("bind_port", &self.bind_port),
            ("connect_port", &self.connect_port),
            ("mtu", &self.mtu),
            ("tcp_ts_tick_usecs", &self.tcp_ts_tick_usecs),
        ];
        let plain = [
            ("tcp_ts_ecr_scaled", self.tcp_ts_ecr_scaled),
            ("strict_segments", self.strict_segments),
        ];
        let line = |name: &str, value: Option<String>| OptionLine {
            name: name.to_owned(),
            value,
            pos: Pos::default(),
        };
        let valued = valued
            .into_iter()
            .filter(|(_, value)| value.is_some())
            .map(|(name, value)| line(name, value.clone()));
        let plain = plain.into_iter().filter(|(_, on)| *on);
        valued
            .chain(plain.map(|(name, _)| line(name, None)))
            .collect()
    }
}

/// Versions with commas, or `all`.
#[derive(Clone, Debug)]
pub(crate) struct Versions(pub(crate) Vec<IpVersion>);

impl FromStr for Versions {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text == "all" {
            return Ok(Self(IpVersion::ALL.to_vec()));
        }
        let versions: Vec<IpVersion> = text.split(',').map(str::parse).collect::<Result<_, _>>()?;
        Ok(Self(versions))
    }
}

const EXAMPLES: &str = "\
Examples:
  packetdrill packetdrill-tests/scripts          all of our own scripts, with totals by topic
  packetdrill --kernel scripts/listen/row01.pkt  what does Linux do?
  packetdrill --diff DIR                         where do netstack and Linux differ?
  packetdrill --ip-version all DIR               over IPv4, IPv6, and mapped addresses
  packetdrill --classic --ip-version all DIR     a collection written for the classic tool
  packetdrill --tap DIR                          for a harness; --junit FILE for a build server

A script in short:
  0   socket(..., SOCK_STREAM, IPPROTO_TCP) = 3
  +0  bind(3, ..., ...) = 0
  +0  listen(3, 1) = 0
  +0  < S 0:0(0) win 32792 <mss 1000,sackOK,nop,nop,nop,wscale 7>
  +0  > S. 0:0(0) ack 1 <...>
  +.1 < . 1:1(0) ack 1 win 257
  +0  accept(3, ..., ...) = 4

Times: 0.5 since the start, +0.5 after the event before, +0.1~+0.3 within a range, * whenever. A call
that blocks has the time of its return: +0...0.2 read(4, ..., 10) = 10.
%{ assert tcpi_snd_cwnd == 10 }% looks at TCP_INFO of the socket made or accepted last.
recvmsg may say what comes beside the data: {msg_name(...)=..., msg_iov(1)=[{..., 10}], msg_flags=0,
msg_control=[{cmsg_level=SOL_TCP, cmsg_type=TCP_CM_INQ, cmsg_data=9000}]}. CMSG_LEVEL_IP and
CMSG_TYPE_RECVERR stand for SOL_IP and IP_RECVERR, or for those of IPv6.
Ports before the flags (< 1001 > 8080 S 0:0(0), > 8080 > 1001 S. 0:0(0)) name a flow of its own, so
that one script can hold several peers. A line in backticks (`sysctl -q net.ipv4.tcp_syncookies=0`)
sets the setting of that name in the stack under test; nothing is given to a shell.

A line that does not hold is shown with what it expects and what was seen, side by side. A script that
is malformed, or that asks for what the stack does not have, \"cannot be run\": that is counted apart,
with the reason, and is no pass.

Exit status: 0 if every script passes, 1 if not, 2 for wrong usage.";

fn define(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once('=').ok_or("NAME=TEXT is needed")?;
    Ok((name.to_owned(), value.to_owned()))
}

impl Args {
    /// What scripts are run against.
    pub(crate) fn against(&self) -> Against {
        match (self.kernel, self.dry_run) {
            (true, _) => Against::Kernel,
            (_, true) => Against::Nothing,
            _ => Against::Netstack,
        }
    }

    /// How many run at a time.
    pub(crate) fn jobs(&self) -> usize {
        let cpus = || std::thread::available_parallelism().map_or(1, usize::from);
        self.jobs
            .unwrap_or_else(|| if self.kernel || self.diff { 1 } else { cpus() })
    }

    /// How scripts are run over `version`, by netstack or by the host's kernel.
    ///
    /// # Errors
    /// An option whose value makes no sense.
    pub(crate) fn config(&self, version: IpVersion, kernel: bool) -> Result<Config, String> {
        let mut config = Config::default();
        config.defines.clone_from(&self.defines);
        config.set_ip_version(version);
        if self.classic {
            config.be_classic();
        }
        if kernel {
            config.tolerance = 150_000;
            config.tolerance_percent = 12.5;
        }
        config.tolerance = self.tolerance_usecs.unwrap_or(config.tolerance);
        config.tolerance_percent = self.tolerance_percent.unwrap_or(config.tolerance_percent);
        let applied = config.apply(&self.options.lines());
        applied.map_err(|failure| failure.summary)?;
        Ok(config)
    }
}
