//! From the command line and the host's interface to addresses and ports.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use netstack::link::MacAddr;
use netstack::network::addr::Cidr;

use super::args::{Args, Mapped};
use super::host::HostInterface;
use super::log::Log;
use crate::Failure;
use crate::slirp::forwards::{Proto, Rule};
use crate::slirp::plan::{DNS_PORT, Leases, Neighbors, Plan, Transports};
use crate::slirp::ports::Ports;
use crate::slirp::resolver;

/// All that follows.
pub(super) struct Planned {
    pub(super) plan: Plan,
    /// The interface's name in the namespace.
    pub(super) name: String,
    pub(super) router_mac: Option<MacAddr>,
    /// The name server, if not the host's.
    pub(super) dns_host: Option<SocketAddr>,
    pub(super) rules: Vec<Rule>,
    /// TCP ports, and UDP ports, follow those that are bound in the namespace.
    pub(super) follow: (bool, bool),
}

/// Puts it together.
pub(super) fn plan(args: &Args, host: &HostInterface) -> Result<Planned, Failure> {
    let net = &args.network;
    let missing = |what: &str, option: &str| {
        Failure(format!(
            "{} has no {what}: name one with {option}",
            host.name
        ))
    };
    let guest = net.address.or(host.addr);
    let guest = guest.ok_or_else(|| missing("IPv4 address", "-a"))?;
    let gateway = net.gateway.or(host.gateway);
    let gateway = gateway.ok_or_else(|| missing("gateway", "-g"))?;
    let prefix = net.netmask.unwrap_or(match net.address {
        Some(addr) if Some(addr) != host.addr => class_prefix(addr),
        _ => host.prefix_len,
    });
    let network = Cidr::new(guest.into(), prefix).map(|cidr| cidr.network());
    let near = network.filter(|network| network.contains(gateway.into()));
    let network = near.ok_or_else(|| {
        Failure(format!(
            "the gateway {gateway} is not in the network of {guest}/{prefix}: name others with -g, -a and -n"
        ))
    })?;
    if gateway == guest {
        return Err(Failure(format!("{guest} is both address and gateway")));
    }
    let mapped = |asked: Option<Mapped>, default: Option<Ipv4Addr>| {
        asked.map_or(default, |mapped| mapped.0).map(IpAddr::V4)
    };
    let by_default = Some(gateway).filter(|_| !net.no_map_gw);
    let plan = Plan {
        network,
        gateway: gateway.into(),
        loopback_at: mapped(net.map_host_loopback, by_default),
        host_at: mapped(net.map_guest_addr, None),
        dns: args.names.dns_forward.map(IpAddr::V4),
        guest: guest.into(),
        neighbors: Neighbors::TheHosts,
        transports: Transports {
            tcp: !args.off.no_tcp,
            udp: !args.off.no_udp,
            echo: !args.off.no_icmp,
        },
        leases: (!args.off.no_dhcp).then(|| leases(args, guest)),
        outbound: net.outbound.map(IpAddr::V4),
        outbound_iface: net.outbound_if4.clone(),
    };
    let first_dns = args.names.dns.iter().flatten().next().copied();
    Ok(Planned {
        name: net.ns_ifname.clone().unwrap_or_else(|| host.name.clone()),
        router_mac: net.mac_addr.or(host.mac),
        dns_host: args
            .names
            .dns_host
            .or(first_dns)
            .map(|ip| SocketAddr::new(ip, DNS_PORT)),
        rules: rules(args, &plan),
        follow: {
            let (tcp, udp) = args.ports.follow();
            (tcp && plan.transports.tcp, udp && plan.transports.udp)
        },
        plan,
    })
}

/// The prefix of an address without a network of its own, by its class (RFC 4632, 2.1).
fn class_prefix(addr: Ipv4Addr) -> u8 {
    match addr.octets()[0] {
        0..=127 => 8,
        128..=191 => 16,
        _ => 24,
    }
}

fn leases(args: &Args, guest: Ipv4Addr) -> Leases {
    let names = &args.names;
    let found = resolver::Contents::read();
    let servers = match names.dns.is_empty() {
        true => found.servers,
        false => names.dns.iter().flatten().copied().collect(),
    };
    let servers = servers.into_iter().filter_map(|server| match server {
        // The namespace's own loopback interface has none.
        IpAddr::V4(server) if !server.is_loopback() => Some(server),
        _ => None,
    });
    let forwarded = names.dns_forward;
    let search = match names.search.as_deref() {
        None => found.search,
        Some("none") => Vec::new(),
        Some(list) => list.split_whitespace().map(str::to_owned).collect(),
    };
    Leases {
        first: guest,
        last: guest,
        dns: match names.dhcp_dns {
            true => forwarded.into_iter().chain(servers).collect(),
            false => Vec::new(),
        },
        search: match names.dhcp_search {
            true => search,
            false => Vec::new(),
        },
        mtu: u16::try_from(args.network.mtu).ok().filter(|mtu| *mtu != 0),
    }
}

fn rules(args: &Args, plan: &Plan) -> Vec<Rule> {
    let named = |proto, specs: &[Ports]| {
        let lists = specs.iter().filter_map(|spec| match spec {
            Ports::List(pairs) => Some(pairs.clone()),
            _ => None,
        });
        let rules = lists
            .flatten()
            .map(|pair| Rule::new(proto, pair, plan.guest));
        rules.collect::<Vec<_>>()
    };
    let mut rules = Vec::new();
    if plan.transports.tcp {
        rules.extend(named(Proto::Tcp, &args.ports.tcp_ports));
    }
    if plan.transports.udp {
        rules.extend(named(Proto::Udp, &args.ports.udp_ports));
    }
    rules
}

impl Planned {
    /// UDP ports that go with named TCP ports, if UDP's are not said.
    pub(super) fn beside(&self) -> Vec<u16> {
        let tcp = self.rules.iter().filter(|rule| rule.proto == Proto::Tcp);
        tcp.map(|rule| rule.host.port()).collect()
    }

    /// What it has come to.
    pub(super) fn tell(&self, log: &mut Log) {
        let plan = &self.plan;
        log.info(&format!("Namespace interface: {}", self.name));
        log.info(&format!(
            "Address: {}/{}, router: {}",
            plan.guest,
            plan.network.prefix_len(),
            plan.gateway
        ));
        match plan.loopback_at {
            Some(addr) => log.info(&format!("The host's loopback interface: {addr}")),
            None => log.debug("The host's loopback interface: not to be reached"),
        }
        if let Some(dns) = plan.dns {
            log.info(&format!("Name server: {dns}"));
        }
        for rule in &self.rules {
            let on = rule.iface.as_deref().unwrap_or("every interface");
            log.debug(&format!(
                "{:?} port of the host's: {} on {on} leads to {}",
                rule.proto, rule.host, rule.guest
            ));
        }
    }
}
