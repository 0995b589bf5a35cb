//! Where everything is: the addresses that the namespace sees, and what they lead to on the host.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use netstack::network::addr::Cidr;
use netstack::socket::intercept::Unreachable;

/// DNS servers listen there.
pub(super) const DNS_PORT: u16 = 53;

/// The addresses of the virtual network, and what is allowed.
#[derive(Clone, Debug)]
pub(super) struct Plan {
    pub(super) network: Cidr,
    /// The router: leads to the host's loopback interface.
    pub(super) gateway: IpAddr,
    /// The name server, unless it is off.
    pub(super) dns: Option<IpAddr>,
    /// Where `--configure` puts the namespace, and where forwarded ports lead by default.
    pub(super) guest: IpAddr,
    pub(super) mtu: u32,
    pub(super) host_loopback: bool,
    /// Host sockets are bound to this.
    pub(super) outbound: Option<IpAddr>,
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
    pub(super) fn new(network: Cidr) -> Result<Self, String> {
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
            dns: Some(at(3)),
            guest: at(100),
            mtu: 1500,
            host_loopback: true,
            outbound: None,
        })
    }

    /// What `to` leads to. `server` is the host's name server.
    pub(super) fn target(&self, to: SocketAddr, server: Option<SocketAddr>) -> Target {
        let ip = to.ip();
        if ip == self.gateway {
            // slirp4netns says "network unreachable" too.
            return match self.host_loopback {
                true => Target::Host(SocketAddr::new(loopback_like(ip), to.port())),
                false => Target::Nowhere(Unreachable::Network),
            };
        }
        if Some(ip) == self.dns {
            return match server.filter(|_| to.port() == DNS_PORT) {
                Some(server) => Target::Host(server),
                None => Target::Nowhere(Unreachable::Port),
            };
        }
        if self.network.contains(ip) {
            return Target::Nowhere(Unreachable::Host);
        }
        // The stack takes no such packets; here they would open the host's loopback interface. And only the
        // virtual network's own family leads outside.
        let other_family = ip.is_ipv4() != self.gateway.is_ipv4();
        if other_family || ip.is_unspecified() || ip.is_loopback() || ip.is_multicast() {
            return Target::Nowhere(Unreachable::Network);
        }
        Target::Host(to)
    }

    /// The address that a host socket for `target` is bound to.
    pub(super) fn source_for(&self, target: SocketAddr) -> Option<SocketAddr> {
        let outbound = self.outbound.filter(|_| !target.ip().is_loopback())?;
        (outbound.is_ipv4() == target.is_ipv4()).then(|| SocketAddr::new(outbound, 0))
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
        plan.host_loopback = false;
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
        assert_eq!(plan.source_for(at("192.0.2.1:80")), None);
        plan.outbound = Some("192.0.2.9".parse().unwrap());
        assert_eq!(plan.source_for(at("192.0.2.1:80")), Some(at("192.0.2.9:0")));
        assert_eq!(plan.source_for(at("127.0.0.1:80")), None);
        assert_eq!(plan.source_for(at("[2001:db8::1]:80")), None);
    }
}
