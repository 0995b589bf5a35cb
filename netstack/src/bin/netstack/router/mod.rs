//! `netstack router`: forwards between interfaces, with translation of addresses.

mod plan;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;
use netstack::filter::NatRange;
use netstack::filter::rules::{
    Base, Chain, ChainKind, Hook, Match, Rule, Ruleset, Statement, States, Table, TableFamily, Test,
};
use netstack::host::{self, Clock, Net};
use netstack::link::af_packet::AfPacketDevice;
use netstack::link::soft::SoftOffload;
use netstack::link::tun::TunDevice;
use netstack::link::{MacAddr, Medium};
use netstack::network::IfaceId;
use netstack::network::addr::Cidr;
use netstack::stack::{InterfaceConfig, Stack, StackConfig};

use crate::Failure;
use crate::device::{BoxedDevice, mac_beside, packet_failure, tun_failure};
use plan::{Kind, Link, Port, PortMap, RouteWords, Setting};

/// What `--help` teaches after the options.
pub(crate) const EXAMPLES: &str = "\
Examples (as root):
  Route between two veth interfaces, hide the first one's network behind the second one's address, and
  lead port 8080 to a server inside:
      netstack router --link packet:lan0,10.1.0.1/24 --link packet:wan0,10.2.0.1/24 \\
          --route 'default via 10.2.0.254' --masquerade wan0 --forward tcp/8080=10.1.0.2:80

  The same from a file, one option a line without its dashes:
      netstack router --config /etc/netstack-router.conf";

/// Options of `router`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Read further options from FILE, one a line: its name without dashes, its value; # begins a comment
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    #[command(flatten)]
    options: Options,
}

/// What may stand in a file too.
#[derive(Debug, Default, clap::Args)]
struct Options {
    /// Take part in a link: tun, tap or packet (AF_PACKET on an Ethernet interface), and our addresses
    #[arg(long, value_name = "KIND:NAME,ADDR/PREFIX[,ADDR/PREFIX...]")]
    link: Vec<Link>,
    /// A route in the words of `ip route`: DEST [via ADDR] [dev NAME] [metric N] [mtu N] [src ADDR], or
    /// blackhole, unreachable or prohibit before DEST
    #[arg(long, value_name = "WORDS")]
    route: Vec<RouteWords>,
    /// Give what leaves over NAME our address there
    #[arg(long, value_name = "NAME")]
    masquerade: Vec<String>,
    /// Lead a port of our addresses to another host, for example tcp/8080=10.1.0.2:80
    #[arg(long, value_name = "PROTO/PORT=ADDR:PORT")]
    forward: Vec<PortMap>,
    /// Lead a port, whoever it is for, to one of ours, for example udp/53=5353
    #[arg(long, value_name = "PROTO/PORT=PORT")]
    redirect: Vec<Port>,
    /// Drop connections that begin at NAME, unless --forward leads them on
    #[arg(long, value_name = "NAME")]
    guard: Vec<String>,
    /// Set a setting of the stack by its sysctl name
    #[arg(long, value_name = "NAME=VALUE")]
    sysctl: Vec<Setting>,
    /// Answer `netstack stats` on a Unix socket at PATH
    #[arg(long, value_name = "PATH")]
    control: Option<PathBuf>,
}

/// The options of a file, as a command line.
#[derive(Debug, Parser)]
#[command(name = "netstack router --config", no_binary_name = true)]
struct File {
    #[command(flatten)]
    options: Options,
}

/// Routes until the process is ended.
pub(crate) fn run(args: Args) -> Result<ExitCode, Failure> {
    let mut options = args.options;
    if let Some(path) = &args.config {
        let text = std::fs::read_to_string(path)
            .map_err(|error| Failure(format!("cannot read {}: {error}", path.display())))?;
        let file = File::try_parse_from(plan::words_of_file(&text))
            .map_err(|error| Failure(format!("{}: {error}", path.display())))?;
        options.extend(file.options);
    }
    if options.link.is_empty() {
        return Err(Failure(
            "no link: name at least one with --link KIND:NAME,ADDR/PREFIX".into(),
        ));
    }
    let net = start(&options)?;
    if let Some(path) = &options.control {
        crate::stats::serve(&net, path)?;
    }
    eprintln!("netstack: ready");
    // The stack's own thread does the work. Nothing notifies this waiter: it sleeps for good.
    let waiter = net.waiter();
    loop {
        net.park(&waiter, None);
    }
}

impl Options {
    fn extend(&mut self, other: Self) {
        self.link.extend(other.link);
        self.route.extend(other.route);
        self.masquerade.extend(other.masquerade);
        self.forward.extend(other.forward);
        self.redirect.extend(other.redirect);
        self.guard.extend(other.guard);
        self.sysctl.extend(other.sysctl);
        self.control = other.control.or(self.control.take());
    }

    /// Refuses names of links that are none.
    fn check_names(&self) -> Result<(), Failure> {
        let known = |name: &str| self.link.iter().any(|link| link.name == name);
        match self
            .masquerade
            .iter()
            .chain(&self.guard)
            .find(|name| !known(name))
        {
            Some(name) => Err(Failure(format!("{name} is not the name of a --link"))),
            None => Ok(()),
        }
    }

    fn own_addrs(&self) -> Vec<Cidr> {
        let all = self.link.iter().flat_map(|link| &link.addrs);
        all.filter_map(|addr| {
            let whole = if addr.addr().is_ipv4() { 32 } else { 128 };
            Cidr::new(addr.addr(), whole)
        })
        .collect()
    }

    fn ruleset(&self) -> Ruleset {
        let nat = |hook: Hook, rules: Vec<Rule>| Chain {
            name: format!("nat-{hook:?}").to_lowercase(),
            base: Some(Base {
                hook,
                priority: 0,
                kind: ChainKind::Nat,
                accept: true,
            }),
            rules,
        };
        let mut chains = Vec::new();
        let masquerade = self.masquerade.iter().map(|name| {
            let ports = None;
            Rule::new([Test::Out(name.clone())], Statement::Masquerade { ports })
        });
        let masquerade: Vec<Rule> = masquerade.collect();
        if !masquerade.is_empty() {
            chains.push(nat(Hook::Postrouting, masquerade));
        }
        let own = Test::Destination(self.own_addrs());
        let forwards = self.forward.iter().map(|map| {
            let to = NatRange::to_port(map.to.ip(), map.to.port());
            let family = match map.to.ip().is_ipv4() {
                true => Test::Destination(vec![Cidr::all_v4()]),
                false => Test::Destination(vec![Cidr::all_of(map.to.ip())]),
            };
            let [proto, port] = map.from.tests();
            Rule::new([own.clone(), family, proto, port], Statement::Dnat(to))
        });
        let redirects = self.redirect.iter().map(|map| {
            let ports = Some((map.to, map.to));
            Rule::new(map.from.tests(), Statement::Redirect { ports })
        });
        let rules: Vec<Rule> = forwards.chain(redirects).collect();
        if !rules.is_empty() {
            chains.push(nat(Hook::Prerouting, rules));
        }
        if !self.guard.is_empty() {
            chains.extend([self.guards(Hook::Forward), self.guards(Hook::Input)]);
        }
        let tables = match chains.is_empty() {
            true => Vec::new(),
            false => vec![Table {
                name: "router".to_owned(),
                family: TableFamily::Both,
                chains,
            }],
        };
        Ruleset {
            tables,
            track: false,
        }
    }

    fn guards(&self, hook: Hook) -> Chain {
        let known = Test::State(States::ESTABLISHED | States::RELATED);
        let led_on = Test::Translated { source: false };
        // The link has to go on working.
        let neighbors = Rule {
            matches: vec![
                Match::is(Test::Protocol(58)),
                Match::is(Test::State(States::UNTRACKED)),
            ],
            statements: vec![Statement::Accept],
        };
        let mut rules = vec![
            neighbors,
            Rule::new([known], Statement::Accept),
            Rule::new([led_on], Statement::Accept),
        ];
        let guards = self.guard.iter();
        rules.extend(guards.map(|name| Rule::new([Test::In(name.clone())], Statement::Drop)));
        Chain {
            name: format!("guard-{hook:?}").to_lowercase(),
            base: Some(Base {
                hook,
                priority: 0,
                kind: ChainKind::Filter,
                accept: true,
            }),
            rules,
        }
    }
}

fn start(options: &Options) -> Result<Net, Failure> {
    options.check_names()?;
    let clock = Clock::start();
    let mut stack = Stack::new(StackConfig::default(), host::seed()?);
    for name in ["net.ipv4.ip_forward", "net.ipv6.conf.all.forwarding"] {
        stack.set_setting(name, "1")?;
    }
    let mut devices = Vec::new();
    for link in &options.link {
        devices.push(add_link(&mut stack, link)?);
    }
    for route in &options.route {
        let route = route
            .resolve(&stack)
            .map_err(|why| Failure(format!("--route {route}: {why}")))?;
        stack.add_route(route)?;
    }
    for setting in &options.sysctl {
        let set = stack.set_setting(&setting.name, &setting.value);
        set.map_err(|error| Failure(format!("--sysctl {}: {error}", setting.name)))?;
    }
    stack.set_ruleset(options.ruleset())?;
    Net::start(stack, clock, devices)
        .map_err(|error| Failure(format!("cannot start the stack: {error}")))
}

fn add_link(stack: &mut Stack, link: &Link) -> Result<(IfaceId, BoxedDevice), Failure> {
    let name = &link.name;
    let (device, mac): (BoxedDevice, MacAddr) = match link.kind {
        Kind::Packet => {
            let explain = |error| packet_failure(name, &error);
            let device = AfPacketDevice::open(name).map_err(explain)?;
            let mac = AfPacketDevice::mac_of(name).map_err(explain)?;
            (Box::new(device), mac)
        }
        Kind::Tun | Kind::Tap => {
            let medium = match link.kind {
                Kind::Tun => Medium::Ip,
                _ => Medium::Ethernet,
            };
            let device = TunDevice::open(name, medium, true);
            let device = device.map_err(|error| tun_failure(name, &error))?;
            netstack::link::sys::iface::set_up(name)?;
            (Box::new(device), mac_beside(name, medium)?)
        }
    };
    let device: BoxedDevice = match device.caps().gso_max {
        0 => Box::new(SoftOffload::new(device)),
        _ => device,
    };
    let iface = stack.add_interface(InterfaceConfig {
        name: name.clone(),
        mac,
        caps: device.caps(),
    })?;
    for addr in &link.addrs {
        stack
            .add_address(iface, *addr)
            .map_err(|error| Failure(format!("--link {name}: {addr}: {error}")))?;
    }
    Ok((iface, device))
}
