//! The command line: pasta's.

use std::ffi::OsString;
use std::net::{IpAddr, Ipv4Addr};
use std::path::PathBuf;

use netstack::link::MacAddr;

use super::host::{parse_mask, parse_v4};
use crate::Failure;
use crate::slirp::namespace::parse_mac;
use crate::slirp::ports::Ports;

/// What `--help` teaches after the options.
pub(crate) const EXAMPLES: &str = "\
Examples (no privileges needed):
  A shell in a namespace of its own, with this machine's own address there:
      netstack pasta --config-net

  One command; its exit status is pasta's:
      netstack pasta --config-net -- curl -sS http://192.0.2.1/

  A network for a namespace that is there (123 is a process in it), in the background; this machine's
  port 8080 leads to its port 80:
      netstack pasta --config-net -t 8080:80 123

The options are pasta's; under that name (a link called pasta) the verb is left out.
docs/netstack-program.md has all of it.";

/// Options of `pasta`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// A process whose namespaces to enter (its number alone), or a command for new ones; a shell by default
    #[arg(
        value_name = "PID|COMMAND",
        trailing_var_arg = true,
        allow_hyphen_values = true
    )]
    pub(super) what: Vec<OsString>,
    #[command(flatten)]
    pub(super) running: Running,
    #[command(flatten)]
    pub(super) target: Target,
    #[command(flatten)]
    pub(super) network: Network,
    #[command(flatten)]
    pub(super) names: Names,
    #[command(flatten)]
    pub(super) off: Off,
    #[command(flatten)]
    pub(super) ports: PortArgs,
    #[command(flatten)]
    not_there: NotThere,
}

/// How the program itself runs.
#[derive(Debug, clap::Args)]
pub(super) struct Running {
    /// Stay in the foreground, with PID or --netns
    #[arg(short, long)]
    pub(super) foreground: bool,
    /// Say more
    #[arg(short, long)]
    pub(super) debug: bool,
    /// Say only what goes wrong
    #[arg(short, long)]
    pub(super) quiet: bool,
    /// Log to standard error (as long as it is there) and to the system's log: always so
    #[arg(short = 'e', long)]
    pub(super) stderr: bool,
    /// Log to FILE only
    #[arg(short, long, value_name = "FILE")]
    pub(super) log_file: Option<PathBuf>,
    /// When the log file is longer than this, its older half is left out
    #[arg(long, value_name = "BYTES", default_value_t = 1 << 20)]
    pub(super) log_size: u64,
    /// Started by root: become this user, by numbers or names [default: nobody]
    #[arg(long, value_name = "UID[:GID]")]
    pub(super) runas: Option<String>,
    /// Record the interface's packets in FILE (pcapng)
    #[arg(short, long, value_name = "FILE")]
    pub(super) pcap: Option<PathBuf>,
    /// Write the number of this process to FILE
    #[arg(short = 'P', long, value_name = "FILE")]
    pub(super) pid: Option<PathBuf>,
    /// Started by itself, to go on in the background
    #[arg(long, hide = true)]
    pub(super) in_background: bool,
    /// Print version
    #[arg(long, action = clap::ArgAction::Version)]
    version: Option<bool>,
}

/// Which namespaces.
#[derive(Debug, clap::Args)]
pub(super) struct Target {
    /// Enter this user namespace first
    #[arg(long, value_name = "PATH")]
    pub(super) userns: Option<PathBuf>,
    /// The network namespace to enter: a path, or a name in /run/netns
    #[arg(long, value_name = "PATH|NAME")]
    pub(super) netns: Option<PathBuf>,
    /// Enter no user namespace
    #[arg(long, conflicts_with = "userns")]
    pub(super) netns_only: bool,
    /// Do not end when the namespace's path is gone
    #[arg(long)]
    pub(super) no_netns_quit: bool,
}

/// The interface in the namespace, and addresses.
#[derive(Debug, clap::Args)]
pub(super) struct Network {
    /// Give the interface its address and routes, and bring it up
    #[arg(long)]
    pub(super) config_net: bool,
    /// The interface's name there [default: that of the host's interface]
    #[arg(short = 'I', long, value_name = "NAME")]
    pub(super) ns_ifname: Option<String>,
    /// The interface's Ethernet address
    #[arg(long, value_name = "MAC", value_parser = parse_mac)]
    pub(super) ns_mac_addr: Option<MacAddr>,
    /// The interface's MTU, 0 to leave it as it is
    #[arg(short, long, default_value_t = 65_520)]
    pub(super) mtu: u32,
    /// The namespace's address [default: that of the host's interface]
    #[arg(short, long, value_name = "ADDR", value_parser = parse_v4)]
    pub(super) address: Option<Ipv4Addr>,
    /// Its netmask, dotted or in bits [default: that of the host's interface]
    #[arg(short, long, value_name = "MASK", value_parser = parse_mask)]
    pub(super) netmask: Option<u8>,
    /// The router's Ethernet address [default: that of the host's interface]
    #[arg(short = 'M', long, value_name = "MAC", value_parser = parse_mac)]
    pub(super) mac_addr: Option<MacAddr>,
    /// The router's address [default: that of the host's default route]
    #[arg(short, long, value_name = "ADDR", value_parser = parse_v4)]
    pub(super) gateway: Option<Ipv4Addr>,
    /// The host's interface to take all this from [default: --outbound-if4, or that of the default route]
    #[arg(short, long, value_name = "NAME")]
    pub(super) interface: Option<String>,
    /// Bind the host's sockets to this address
    #[arg(short, long, value_name = "ADDR", value_parser = parse_v4)]
    pub(super) outbound: Option<Ipv4Addr>,
    /// Bind the host's sockets to this interface
    #[arg(long, value_name = "NAME")]
    pub(super) outbound_if4: Option<String>,
    /// The router's address does not lead to the host's loopback interface
    #[arg(long)]
    pub(super) no_map_gw: bool,
    /// The address that leads to the host's loopback interface, or none [default: the router's]
    #[arg(long, value_name = "ADDR|none", value_parser = parse_mapped)]
    pub(super) map_host_loopback: Option<Mapped>,
    /// An address that leads to the host's own, which the namespace has too
    #[arg(long, value_name = "ADDR|none", value_parser = parse_mapped)]
    pub(super) map_guest_addr: Option<Mapped>,
    /// IPv4 only: always so
    #[arg(short = '4', long)]
    ipv4_only: bool,
    #[arg(long, hide = true)]
    no_copy_routes: bool,
    #[arg(long, hide = true)]
    no_copy_addrs: bool,
}

/// Name servers.
#[derive(Debug, clap::Args)]
pub(super) struct Names {
    /// A name server, instead of the host's: for --dhcp-dns and --dns-forward. "none" or "": none
    #[arg(short = 'D', long, value_name = "ADDR", value_parser = parse_dns)]
    pub(super) dns: Vec<Option<IpAddr>>,
    /// Port 53 of ADDR, UDP and TCP, leads to the first name server
    #[arg(long, value_name = "ADDR", value_parser = parse_v4)]
    pub(super) dns_forward: Option<Ipv4Addr>,
    /// The name server that --dns-forward leads to
    #[arg(long, value_name = "ADDR")]
    pub(super) dns_host: Option<IpAddr>,
    /// Domains to search, instead of the host's, space-separated. "none" or "": none
    #[arg(short = 'S', long, value_name = "LIST")]
    pub(super) search: Option<String>,
    /// Give name servers out by DHCP
    #[arg(long)]
    pub(super) dhcp_dns: bool,
    /// Give domains to search out by DHCP
    #[arg(long)]
    pub(super) dhcp_search: bool,
    #[arg(long, hide = true, conflicts_with = "dhcp_dns")]
    no_dhcp_dns: bool,
    #[arg(long, hide = true, conflicts_with = "dhcp_search")]
    no_dhcp_search: bool,
}

/// What is not to be there.
#[derive(Debug, clap::Args)]
pub(super) struct Off {
    /// No TCP: the namespace's is dropped, and no port of the host's leads there
    #[arg(long)]
    pub(super) no_tcp: bool,
    /// No UDP
    #[arg(long)]
    pub(super) no_udp: bool,
    /// No pings
    #[arg(long)]
    pub(super) no_icmp: bool,
    /// No DHCP server
    #[arg(long)]
    pub(super) no_dhcp: bool,
    /// There is none
    #[arg(long, hide = true)]
    no_ndp: bool,
    #[arg(long, hide = true)]
    no_dhcpv6: bool,
    #[arg(long, hide = true)]
    no_ra: bool,
}

/// Ports that lead from one side to the other.
#[derive(Debug, clap::Args)]
pub(super) struct PortArgs {
    /// Let the host's TCP ports lead into the namespace: none, [ADDR][%IFACE]/PORTS[:PORTS],..., or auto (those that
    /// are bound there), the default
    #[arg(short = 't', long, value_name = "SPEC")]
    pub(super) tcp_ports: Vec<Ports>,
    /// The same for UDP
    #[arg(short = 'u', long, value_name = "SPEC")]
    pub(super) udp_ports: Vec<Ports>,
    /// Ports of the namespace's that lead to the host: none, and nothing else
    #[arg(short = 'T', long, value_name = "none")]
    tcp_ns: Vec<Ports>,
    /// The same for UDP
    #[arg(short = 'U', long, value_name = "none")]
    udp_ns: Vec<Ports>,
    #[arg(long, hide = true)]
    no_splice: bool,
}

/// What pasta has and this program has not.
#[derive(Debug, clap::Args)]
struct NotThere {
    #[arg(short = '6', long, hide = true)]
    ipv6_only: bool,
    #[arg(long, value_name = "NAME", hide = true)]
    outbound_if6: Option<String>,
    #[arg(long, hide = true)]
    trace: bool,
    #[arg(short = 'F', long, value_name = "FD", hide = true)]
    fd: Option<String>,
    #[arg(short = 's', long, value_name = "PATH", hide = true)]
    socket: Option<String>,
    #[arg(short = '1', long, hide = true)]
    one_off: bool,
    #[arg(long, hide = true)]
    splice_only: bool,
}

/// An address with a meaning, or none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Mapped(pub(super) Option<Ipv4Addr>);

fn parse_mapped(text: &str) -> Result<Mapped, String> {
    match text {
        "none" => Ok(Mapped(None)),
        addr => parse_v4(addr).map(|addr| Mapped(Some(addr))),
    }
}

fn parse_dns(text: &str) -> Result<Option<IpAddr>, String> {
    match text {
        "" | "none" => Ok(None),
        addr => addr
            .parse()
            .map(Some)
            .map_err(|_| format!("{text:?} is no IP address")),
    }
}

impl PortArgs {
    /// True if the host's ports are to follow those of the namespace: of TCP, of UDP.
    pub(super) fn follow(&self) -> (bool, bool) {
        let auto = |specs: &[Ports]| matches!(specs, [] | [Ports::Auto]);
        (auto(&self.tcp_ports), auto(&self.udp_ports))
    }

    fn check(&self) -> Result<(), Failure> {
        let no = |sentence: &str| Err(Failure(sentence.into()));
        for specs in [&self.tcp_ports, &self.udp_ports] {
            for spec in specs {
                match spec {
                    Ports::Auto if specs.len() > 1 => return no("ports: auto, or some?"),
                    Ports::AllBut(..) => {
                        return no("ports: all, or all but some, is not there: name them");
                    }
                    Ports::None if specs.len() > 1 => return no("ports: some, or none?"),
                    Ports::None | Ports::Auto | Ports::List(_) => {}
                }
            }
        }
        let inner = [&self.tcp_ns, &self.udp_ns];
        match inner.into_iter().flatten().all(|spec| *spec == Ports::None) {
            true => Ok(()),
            false => no(
                "--tcp-ns and --udp-ns: only \"none\" is there; the host's loopback interface is at the router's address",
            ),
        }
    }
}

impl Args {
    /// Refuses what is not there, and what contradicts itself.
    pub(super) fn check(&self) -> Result<(), Failure> {
        let no = &self.not_there;
        let refused = [
            (no.ipv6_only, "--ipv6-only: IPv6 is not there yet"),
            (
                no.outbound_if6.is_some(),
                "--outbound-if6: IPv6 is not there yet",
            ),
            (no.trace, "--trace is not there; --pcap records packets"),
            (no.fd.is_some(), "--fd is of passt, which this is not"),
            (
                no.socket.is_some(),
                "--socket is of passt, which this is not",
            ),
            (no.one_off, "--one-off is of passt, which this is not"),
            (no.splice_only, "--splice-only is not there"),
            (
                self.running.debug && self.running.quiet,
                "--debug and --quiet: one of them",
            ),
            (
                self.target.netns.is_some() && !self.what.is_empty(),
                "--netns and a PID or command: one of them",
            ),
        ];
        if let Some((_, sentence)) = refused.iter().find(|(asked, _)| *asked) {
            return Err(Failure((*sentence).to_owned()));
        }
        let mtu = self.network.mtu;
        if mtu != 0 && !(68..=crate::slirp::MTU_MAX).contains(&mtu) {
            let most = crate::slirp::MTU_MAX;
            return Err(Failure(format!("--mtu {mtu}: 68 to {most} bytes, or 0")));
        }
        self.ports.check()
    }

    /// The process that is named, if it is one: a number alone.
    pub(super) fn pid(&self) -> Option<u32> {
        match &self.what[..] {
            [one] => one.to_str()?.parse().ok(),
            _ => None,
        }
    }
}
