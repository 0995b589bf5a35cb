//! Where everything is: the addresses that the namespace sees, and what they lead to on the host.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use netstack::network::addr::Cidr;
use netstack::socket::intercept::Unreachable;

/// DNS servers listen there.
pub(crate) const DNS_PORT: u16 = 53;

/// What addresses of the virtual network lead to that have no other meaning.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Neighbors {
    /// Nobody: the network is this program's own.
    Nobody,
    /// The same addresses of the host's world: the network is one of the host's.
    TheHosts,
}

/// What the DHCP server gives out.
#[derive(Clone, Debug)]
pub(crate) struct Leases {
    pub(crate) first: Ipv4Addr,
    pub(crate) last: Ipv4Addr,
    pub(crate) dns: Vec<Ipv4Addr>,
    /// Domains that names are looked up in.
    pub(crate) search: Vec<String>,
    pub(crate) mtu: Option<u16>,
}

/// What of the namespace's packets is looked at; others are dropped without a word.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Transports {
    pub(crate) tcp: bool,
    pub(crate) udp: bool,
    pub(crate) echo: bool,
}

/// The addresses of the virtual network, and what is allowed.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    pub(crate) network: Cidr,
    pub(crate) gateway: IpAddr,
    /// The address that leads to the host's loopback interface.
    pub(crate) loopback_at: Option<IpAddr>,
    /// The address that leads to the host's own one, for a namespace that has the same.
    pub(crate) host_at: Option<IpAddr>,
    /// The name server, unless it is off.
    pub(crate) dns: Option<IpAddr>,
    /// Where `--configure` puts the namespace, and where forwarded ports lead by default.
    pub(crate) guest: IpAddr,
    pub(crate) neighbors: Neighbors,
    pub(crate) transports: Transports,
    /// None: no DHCP server.
    pub(crate) leases: Option<Leases>,
    /// Host sockets are bound to this address and to this interface.
    pub(crate) outbound: Option<IpAddr>,
    pub(crate) outbound_iface: Option<String>,
}

/// What a host socket is bound to before it connects.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Origin<'a> {
    pub(crate) addr: Option<SocketAddr>,
    pub(crate) iface: Option<&'a str>,
}

/// What the namespace's packets to some address lead to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Target {
    /// To this socket address of the host's world.
    Host(SocketAddr),
    /// Nowhere.
    Nowhere(Unreachable),
}

impl Plan {
    /// The addresses that follow from the network's, as slirp4netns counts them: router + 2, name
    /// server + 3, guest + 100.
    pub(crate) fn new(network: Cidr) -> Result<Self, String> {
        let IpAddr::V4(base) = network.addr() else {
            return Err(format!("--cidr {network}: IPv6 is not there yet"));
        };
        let prefix = network.prefix_len();
        if !(1..=25).contains(&prefix) {
            return Err(format!(
                "--cidr {network}: the prefix has to be 1 to 25 bits, so that address + 100 is in it"
            ));
        }
        if network.network().addr() != network.addr() {
            let right = network.network();
            return Err(format!(
                "--cidr {network} is an address within a network: write {right}"
            ));
        }
        let at = |n: u32| IpAddr::V4(Ipv4Addr::from(u32::from(base).wrapping_add(n)));
        let first = base.octets()[0];
        if first == 0 || first == 127 || first >= 224 {
            return Err(format!("--cidr {network}: hosts have no such addresses"));
        }
        Ok(Self {
            network,
            gateway: at(2),
            loopback_at: Some(at(2)),
            host_at: None,
            dns: Some(at(3)),
            guest: at(100),
            neighbors: Neighbors::Nobody,
            transports: Transports {
                tcp: true,
                udp: true,
                echo: true,
            },
            leases: None,
            outbound: None,
            outbound_iface: None,
        })
    }

    /// What `to` leads to. `server` is the host's name server.
    pub(super) fn target(&self, to: SocketAddr, server: Option<SocketAddr>) -> Target {
        let ip = to.ip();
        if Some(ip) == self.dns && to.port() == DNS_PORT {
            return server.map_or(Target::Nowhere(Unreachable::Port), Target::Host);
        }
        if Some(ip) == self.loopback_at {
            return Target::Host(SocketAddr::new(loopback_like(ip), to.port()));
        }
        if Some(ip) == self.host_at {
            return Target::Host(SocketAddr::new(self.guest, to.port()));
        }
        if self.neighbors == Neighbors::Nobody && self.network.contains(ip) {
            return Target::Nowhere(match ip {
                _ if Some(ip) == self.dns => Unreachable::Port,
                // As slirp4netns with its way to the loopback interface closed.
                _ if ip == self.gateway => Unreachable::Network,
                _ => Unreachable::Host,
            });
        }
        // The stack takes no such packets; here they would open the host's loopback interface. And only the
        // virtual network's own family leads outside.
        let other_family = ip.is_ipv4() != self.gateway.is_ipv4();
        if other_family || ip.is_unspecified() || ip.is_loopback() || ip.is_multicast() {
            return Target::Nowhere(Unreachable::Network);
        }
        Target::Host(to)
    }

    /// What a host socket for `target` is bound to.
    pub(super) fn source_for(&self, target: SocketAddr) -> Origin<'_> {
        if target.ip().is_loopback() {
            return Origin::default();
        }
        let same_family = |addr: &IpAddr| addr.is_ipv4() == target.is_ipv4();
        let outbound = self.outbound.filter(same_family);
        Origin {
            addr: outbound.map(|addr| SocketAddr::new(addr, 0)),
            iface: self.outbound_iface.as_deref(),
        }
    }

    /// The address that the namespace sees a client of a forwarded port at: its own, if the network is one
    /// of the host's and the address cannot be taken for another; else the router's.
    pub(super) fn source_of_client(&self, client: IpAddr) -> IpAddr {
        let own = self.neighbors == Neighbors::TheHosts
            && client.is_ipv4() == self.gateway.is_ipv4()
            && client != self.guest
            && !client.is_loopback();
        match own {
            true => client,
            false => self.gateway,
        }
    }
}

fn loopback_like(ip: IpAddr) -> IpAddr {
    match ip {
        IpAddr::V4(_) => IpAddr::V4(Ipv4Addr::LOCALHOST),
        IpAddr::V6(_) => IpAddr::V6(std::net::Ipv6Addr::LOCALHOST),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan() -> Plan {
        Plan::new("10.0.2.0/24".parse().unwrap()).unwrap()
    }

    fn at(text: &str) -> SocketAddr {
        text.parse().unwrap()
    }

    #[test]
    fn addresses_follow_from_the_network() {
        let plan = Plan::new("192.168.128.0/25".parse().unwrap()).unwrap();
        let all = [plan.gateway, plan.dns.unwrap(), plan.guest].map(|ip| ip.to_string());
        assert_eq!(all, ["192.168.128.2", "192.168.128.3", "192.168.128.100"]);
        for (bad, why) in [
            ("10.0.2.0/26", "1 to 25"),
            ("10.0.2.100/24", "write 10.0.2.0/24"),
            ("fd00::/64", "IPv6"),
            ("127.0.0.0/8", "no such"),
        ] {
            let error = Plan::new(bad.parse().unwrap()).unwrap_err();
            assert!(error.contains(why), "{error}");
        }
    }

    #[test]
    fn what_each_address_leads_to() {
        let mut plan = plan();
        let server = Some(at("[::1]:53"));
        let lead = |plan: &Plan, to| plan.target(at(to), server);
        assert_eq!(lead(&plan, "10.0.2.2:80"), Target::Host(at("127.0.0.1:80")));
        assert_eq!(lead(&plan, "10.0.2.3:53"), Target::Host(at("[::1]:53")));
        let nowhere = Target::Nowhere;
        assert_eq!(lead(&plan, "10.0.2.3:80"), nowhere(Unreachable::Port));
        assert_eq!(lead(&plan, "10.0.2.77:80"), nowhere(Unreachable::Host));
        assert_eq!(
            lead(&plan, "192.0.2.1:80"),
            Target::Host(at("192.0.2.1:80"))
        );
        plan.loopback_at = None;
        for to in [
            "10.0.2.2:80",
            "127.0.0.1:80",
            "0.0.0.0:80",
            "[::]:80",
            "[::1]:80",
            "[::ffff:127.0.0.1]:80",
            "[2001:db8::1]:80",
        ] {
            assert_eq!(lead(&plan, to), nowhere(Unreachable::Network), "{to}");
        }
        plan.dns = None;
        assert_eq!(lead(&plan, "10.0.2.3:53"), nowhere(Unreachable::Host));
    }

    #[test]
    fn the_loopback_interface_needs_no_outbound_address() {
        let mut plan = plan();
        let source = |plan: &Plan, to| plan.source_for(at(to)).addr;
        assert_eq!(source(&plan, "192.0.2.1:80"), None);
        plan.outbound = Some("192.0.2.9".parse().unwrap());
        plan.outbound_iface = Some("eth0".into());
        assert_eq!(source(&plan, "192.0.2.1:80"), Some(at("192.0.2.9:0")));
        assert_eq!(source(&plan, "[2001:db8::1]:80"), None);
        assert_eq!(plan.source_for(at("127.0.0.1:80")), Origin::default());
        assert_eq!(plan.source_for(at("192.0.2.1:80")).iface, Some("eth0"));
    }

    /// pasta's: the namespace has the host's own address in the host's own network.
    #[test]
    fn a_network_of_the_hosts() {
        let mut plan = plan();
        let server = Some(at("9.9.9.9:53"));
        plan.neighbors = Neighbors::TheHosts;
        plan.dns = Some("169.254.1.1".parse().unwrap());
        plan.host_at = Some("169.254.1.2".parse().unwrap());
        for (to, expected) in [
            ("10.0.2.2:80", "127.0.0.1:80"),
            ("10.0.2.77:80", "10.0.2.77:80"),
            ("169.254.1.1:53", "9.9.9.9:53"),
            ("169.254.1.1:80", "169.254.1.1:80"),
            ("169.254.1.2:80", "10.0.2.100:80"),
        ] {
            assert_eq!(plan.target(at(to), server), Target::Host(at(expected)));
        }
        plan.loopback_at = None;
        let gateway = plan.target(at("10.0.2.2:80"), server);
        assert_eq!(gateway, Target::Host(at("10.0.2.2:80")));
        let source = |plan: &Plan, client: &str| plan.source_of_client(client.parse().unwrap());
        assert_eq!(source(&plan, "192.0.2.1").to_string(), "192.0.2.1");
        for hidden in ["127.0.0.1", "10.0.2.100", "2001:db8::1"] {
            assert_eq!(source(&plan, hidden), plan.gateway, "{hidden}");
        }
        plan.neighbors = Neighbors::Nobody;
        assert_eq!(source(&plan, "192.0.2.1"), plan.gateway);
    }
}
