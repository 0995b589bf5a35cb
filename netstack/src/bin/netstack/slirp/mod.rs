//! `netstack slirp`: network access for a namespace without privileges, by sockets of the host. `pasta`
//! is another front end of the same.
//!
//! | file | what happens there |
//! | --- | --- |
//! | `namespace` | entering the namespace, the interface in it |
//! | `engine`, `world` | what a front end asks for, and the loop |
//! | `relays` | TCP connections both ways |
//! | `flows`, `pings` | UDP and echo requests of the namespace's |
//! | `forwards`, `ports`, `follow` | ports of the host that lead into the namespace |
//! | `api` | slirp4netns's control socket |
//! | `dhcp`, `resolver` | what the virtual network offers |
//! | `sandbox` | what the program can still do when it runs |
//! | `plan` | addresses, and what they lead to |
//! | `wire`, `hostsock`, `shared`, `table` | what they are made of |

mod api;
mod dhcp;
pub(crate) mod engine;
mod flows;
pub(crate) mod follow;
pub(crate) mod forwards;
mod hostsock;
pub(crate) mod namespace;
mod pings;
pub(crate) mod plan;
pub(crate) mod ports;
mod relays;
pub(crate) mod resolver;
pub(crate) mod sandbox;
mod shared;
mod table;
mod wire;
pub(crate) mod world;

use std::fs::File;
use std::io::Write;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::os::fd::RawFd;
use std::path::PathBuf;
use std::process::ExitCode;

use netstack::link::sys::donate;
use netstack::link::tun::TunDevice;
use netstack::link::{MacAddr, Medium};
use netstack::network::addr::Cidr;

use crate::Failure;
use engine::Setup;
use forwards::{Proto, Rule};
pub(crate) use namespace::{JoinArgs, join};
use namespace::{Namespaces, Wanted, parse_mac};
use plan::{DNS_PORT, Leases, Plan};
use ports::PortSpec;

/// As slirp4netns: its largest MTU.
pub(crate) const MTU_MAX: u32 = 65_521;

/// What `--help` teaches after the options.
pub(crate) const EXAMPLES: &str = "\
Examples (no privileges needed):
  In one terminal, a namespace without a network:
      unshare -Urn sh          # then, in it: echo $$

  In another, the network for it (123 is the number that was printed):
      netstack slirp --configure 123 tap0

  Now the first one reaches what this machine reaches; this machine's own 127.0.0.1 is 10.0.2.2 there,
  and a name server answers at 10.0.2.3:
      curl http://10.0.2.2:8000/

  This machine's port 8080 leads to the namespace's port 80, and the control socket adds more:
      netstack slirp -c -t 8080:80 --api-socket /tmp/slirp.sock 123
      echo '{\"execute\":\"add_hostfwd\",\"arguments\":{\"proto\":\"tcp\",\"host_port\":2222,\"guest_port\":22}}' \\
          | nc -UN /tmp/slirp.sock
      netstack stats /tmp/slirp.sock

The options are slirp4netns's; under that name (a link called slirp4netns) the verb is left out.
docs/netstack-program.md has all of it.";

/// Options of `slirp`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The process whose namespaces to enter, or with --netns-type=path a network namespace's file
    #[arg(value_name = "PID|PATH")]
    target: String,
    /// The interface's name in the namespace
    #[arg(value_name = "TAPNAME", default_value = "tap0")]
    tap: String,
    /// Bring the interface up with address + 100 and a default route, and the loopback interface
    #[arg(short, long)]
    configure: bool,
    /// End when anything happens on descriptor FD (a pipe whose other end closes, for example)
    #[arg(short, long, value_name = "FD")]
    exit_fd: Option<RawFd>,
    /// Write "1" to descriptor FD and close it when everything is set up
    #[arg(short, long, value_name = "FD")]
    ready_fd: Option<RawFd>,
    /// The interface's MTU, at most 65521
    #[arg(short, long, default_value_t = 1500)]
    mtu: u32,
    /// Refused: IPv6 is not there yet
    #[arg(short = '6', long, hide = true)]
    enable_ipv6: bool,
    /// Take requests for port forwarding on a Unix socket at PATH
    #[arg(short, long, value_name = "PATH")]
    api_socket: Option<PathBuf>,
    /// The virtual network: router at address + 2, name server + 3, DHCP from + 15, guest + 100
    #[arg(long, value_name = "ADDR/PREFIX", default_value = "10.0.2.0/24")]
    cidr: Cidr,
    /// Let the router's address lead nowhere instead of to 127.0.0.1 of the host
    #[arg(long)]
    disable_host_loopback: bool,
    /// What PID|PATH is
    #[arg(long, value_name = "TYPE", value_parser = ["pid", "path"], default_value = "pid")]
    netns_type: String,
    /// Enter this user namespace first
    #[arg(long, value_name = "PATH")]
    userns_path: Option<PathBuf>,
    /// Leave the host's files behind (but /etc and /run, read-only) and all capabilities, once set up
    #[arg(long)]
    enable_sandbox: bool,
    /// Be killed at any system call that is not needed, once set up
    #[arg(long)]
    enable_seccomp: bool,
    /// Bind the host's sockets to this IPv4 address, or to the first one of this interface
    #[arg(long, value_name = "ADDR|IFACE")]
    outbound_addr: Option<String>,
    /// Refused: IPv6 is not there yet
    #[arg(long, hide = true)]
    outbound_addr6: Option<String>,
    /// No name server at address + 3
    #[arg(long)]
    disable_dns: bool,
    /// Ask this name server instead of the first in /etc/resolv.conf
    #[arg(long, value_name = "ADDR[:PORT]", value_parser = parse_server)]
    dns_host: Option<SocketAddr>,
    /// No DHCP server
    #[arg(long)]
    disable_dhcp: bool,
    /// The Ethernet address of the interface, with --configure
    #[arg(long, value_name = "MAC", value_parser = parse_mac, requires = "configure")]
    macaddress: Option<MacAddr>,
    /// Only "netns" is there
    #[arg(long, value_name = "TYPE", hide = true, default_value = "netns")]
    target_type: String,
    /// Make a TUN interface (without Ethernet) instead of a TAP interface
    #[arg(long)]
    tun: bool,
    /// Let the host's TCP ports lead to the guest: [ADDR/]PORTS[:PORTS],..., as in 8080:80 or 9000-9009,~9005
    #[arg(short = 't', long, value_name = "SPEC")]
    tcp_ports: Vec<PortSpec>,
    /// The same for UDP
    #[arg(short = 'u', long, value_name = "SPEC")]
    udp_ports: Vec<PortSpec>,
    /// Print version
    #[arg(short = 'v', long, action = clap::ArgAction::Version)]
    version: Option<bool>,
    /// Record the interface's packets in FILE (pcapng)
    #[arg(long, value_name = "FILE")]
    pcap: Option<PathBuf>,
}

/// Sets everything up, and runs until told to end.
pub(crate) fn run(args: &Args) -> Result<ExitCode, Failure> {
    refuse_what_is_not_there(args)?;
    let plan = plan(args)?;
    // Before anything can use the numbers.
    let exit = args
        .exit_fd
        .map(|fd| inherited(fd, "--exit-fd"))
        .transpose()?;
    let ready = args
        .ready_fd
        .map(|fd| inherited(fd, "--ready-fd"))
        .transpose()?;
    let setup = Setup {
        program: "slirp",
        device: interface(args, &plan)?,
        name: &args.tap,
        router_mac: None,
        rules: rules(args, &plan),
        follow: None,
        plan,
        dns_host: args.dns_host,
        pcap: args.pcap.as_deref(),
    };
    let mut world = setup.start()?;
    if let Some(path) = &args.api_socket {
        world
            .open_api(path)
            .map_err(|error| Failure(format!("cannot listen on {}: {error}", path.display())))?;
    }
    if let Some(fd) = exit {
        world
            .exit_with(fd)
            .map_err(|error| Failure(format!("--exit-fd: cannot wait on it: {error}")))?;
    }
    world.exit_at_signals()?;
    if args.enable_sandbox {
        sandbox::enter()?;
    }
    if args.enable_seccomp {
        sandbox::filter_calls(&[])?;
    }
    if let (Some(fd), Some(number)) = (ready, args.ready_fd) {
        File::from(fd).write_all(b"1")?;
        // Whoever reads there may wait for the end.
        nix::unistd::close(number)?;
    }
    world
        .run()
        .map_err(|error| Failure(format!("the interface {} is gone: {error}", args.tap)))?;
    Ok(ExitCode::SUCCESS)
}

fn refuse_what_is_not_there(args: &Args) -> Result<(), Failure> {
    let refused = [
        (args.enable_ipv6, "--enable-ipv6: IPv6 is not there yet"),
        (
            args.outbound_addr6.is_some(),
            "--outbound-addr6: IPv6 is not there yet",
        ),
        (
            args.target_type != "netns",
            "--target-type: only \"netns\" is there",
        ),
    ];
    match refused.iter().find(|(asked, _)| *asked) {
        Some((_, sentence)) => Err(Failure((*sentence).to_owned())),
        None => Ok(()),
    }
}

fn plan(args: &Args) -> Result<Plan, Failure> {
    if !(68..=MTU_MAX).contains(&args.mtu) {
        return Err(Failure(format!(
            "--mtu {}: 68 to {MTU_MAX} bytes",
            args.mtu
        )));
    }
    let mut plan = Plan::new(args.cidr).map_err(Failure)?;
    plan.loopback_at = plan.loopback_at.filter(|_| !args.disable_host_loopback);
    plan.dns = plan.dns.filter(|_| !args.disable_dns);
    plan.outbound = args.outbound_addr.as_deref().map(outbound).transpose()?;
    plan.leases = (!args.disable_dhcp)
        .then(|| leases(&plan, args.mtu))
        .flatten();
    Ok(plan)
}

/// As slirp4netns counts them: network + 15 to + 30. None for a network that is not IPv4.
fn leases(plan: &Plan, mtu: u32) -> Option<Leases> {
    let IpAddr::V4(base) = plan.network.addr() else {
        return None;
    };
    let at = |n: u32| Ipv4Addr::from(u32::from(base) + n);
    let dns = plan.dns.and_then(|dns| match dns {
        IpAddr::V4(dns) => Some(dns),
        IpAddr::V6(_) => None,
    });
    Some(Leases {
        first: at(15),
        last: at(30),
        dns: dns.into_iter().collect(),
        search: Vec::new(),
        mtu: u16::try_from(mtu).ok(),
    })
}

/// An address, or the first IPv4 address of an interface.
fn outbound(text: &str) -> Result<IpAddr, Failure> {
    if let Ok(addr) = text.parse::<Ipv4Addr>() {
        return Ok(addr.into());
    }
    let of_interface = nix::ifaddrs::getifaddrs()?
        .filter(|entry| entry.interface_name == text)
        .find_map(|entry| Some(entry.address?.as_sockaddr_in()?.ip()));
    of_interface.map(IpAddr::V4).ok_or_else(|| {
        Failure(format!(
            "--outbound-addr {text}: no IPv4 address, and no interface that has one"
        ))
    })
}

fn parse_server(text: &str) -> Result<SocketAddr, String> {
    let with_port = text.parse::<SocketAddr>().ok();
    let without = || text.parse().ok().map(|ip| SocketAddr::new(ip, DNS_PORT));
    with_port
        .or_else(without)
        .ok_or_else(|| format!("{text:?} is no IP address"))
}

fn inherited(number: RawFd, option: &str) -> Result<std::os::fd::OwnedFd, Failure> {
    donate::inherited(number).map_err(|error| {
        Failure(format!(
            "{option}={number}: this descriptor is not open: {error}"
        ))
    })
}

fn interface(args: &Args, plan: &Plan) -> Result<TunDevice, Failure> {
    let user = args.userns_path.as_deref();
    let namespaces = if args.netns_type == "path" {
        Namespaces::open(args.target.as_ref(), user)?
    } else {
        let pid = args.target.parse().map_err(|_| {
            Failure(format!(
                "{:?} is no process number; for a file say --netns-type=path",
                args.target
            ))
        })?;
        Namespaces::of_process(pid, user)?
    };
    let guest = Cidr::new(plan.guest, plan.network.prefix_len());
    let made = namespaces.make_interface(&Wanted {
        name: &args.tap,
        mtu: args.mtu,
        medium: match args.tun {
            true => Medium::Ip,
            false => Medium::Ethernet,
        },
        loopback: args.configure,
        configure: guest
            .filter(|_| args.configure)
            .map(|guest| (guest, plan.gateway)),
        mac: args.macaddress,
        tables: false,
    })?;
    Ok(made.device)
}

fn rules(args: &Args, plan: &Plan) -> Vec<Rule> {
    let of = |proto: Proto, specs: &[PortSpec]| {
        let pairs: Vec<_> = specs.iter().flat_map(|spec| spec.0.clone()).collect();
        pairs
            .into_iter()
            .map(move |pair| Rule::new(proto, pair, plan.guest))
    };
    of(Proto::Tcp, &args.tcp_ports)
        .chain(of(Proto::Udp, &args.udp_ports))
        .collect()
}
