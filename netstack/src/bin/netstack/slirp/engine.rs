//! What a front end (`slirp`, `pasta`) has found out from its command line, and the running of it.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::path::Path;

use netstack::host::{self, Clock};
use netstack::link::tun::TunDevice;
use netstack::link::{Device, MacAddr};
use netstack::network::IfaceId;
use netstack::network::addr::Cidr;
use netstack::socket::SocketId;
use netstack::socket::intercept::InterceptConfig;
use netstack::stack::{InterfaceConfig, Stack, StackConfig};
use nix::sys::epoll::{Epoll, EpollCreateFlags};
use nix::sys::resource::{Resource, getrlimit, setrlimit};

use super::follow::Follow;
use super::forwards::Rule;
use super::plan::{Neighbors, Plan};
use super::resolver::Resolver;
use super::shared::{Counters, Limits, SCRATCH, Shared};
use super::wire::Wire;
use super::world::World;
use crate::Failure;

/// One virtual network, whoever asks for it.
pub(crate) struct Setup<'a> {
    /// Who asks, as `netstack stats` shows it.
    pub(crate) program: &'static str,
    /// The interface in the namespace, and its name there.
    pub(crate) device: TunDevice,
    pub(crate) name: &'a str,
    /// The router's Ethernet address; one that follows from its IP address by default.
    pub(crate) router_mac: Option<MacAddr>,
    pub(crate) plan: Plan,
    /// The name server, instead of the host's.
    pub(crate) dns_host: Option<SocketAddr>,
    pub(crate) rules: Vec<Rule>,
    /// Ports beside those, as they are bound in the namespace.
    pub(crate) follow: Option<Follow>,
    pub(crate) pcap: Option<&'a Path>,
}

impl Setup<'_> {
    /// The stack and all that listens.
    pub(crate) fn start(self) -> Result<World, Failure> {
        let clock = Clock::start();
        let mut device: Box<dyn Device + Send> = Box::new(self.device);
        if let Some(path) = self.pcap {
            device = crate::device::capture(device, path, clock).map_err(|error| {
                Failure(format!("cannot record to {}: {error}", path.display()))
            })?;
        }
        let limits = limits()?;
        let router = InterfaceConfig {
            name: self.name.to_owned(),
            mac: self.router_mac.unwrap_or(router_mac(self.plan.gateway)),
            caps: device.caps(),
        };
        let (stack, iface, interceptor) = stack(&self.plan, router, limits.flows)?;
        let mut cx = Shared {
            program: self.program,
            stack,
            clock,
            epoll: Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?,
            plan: self.plan,
            resolver: Resolver::new(self.dns_host),
            counters: Counters::default(),
            owners: HashMap::new(),
            scratch: vec![0; SCRATCH],
            limits,
        };
        cx.size_buffers(0);
        let mut world = World::new(cx, Wire::new(device, iface), interceptor)?;
        world.serve_dhcp(iface);
        for rule in self.rules {
            let to = rule.host;
            world.forward(rule).map_err(|error| {
                Failure(format!("cannot listen on {to} for forwarding: {error}"))
            })?;
        }
        if let Some(follow) = self.follow {
            world.follow(follow);
        }
        Ok(world)
    }
}

/// As many descriptors as are allowed.
fn limits() -> Result<Limits, Failure> {
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE)?;
    setrlimit(Resource::RLIMIT_NOFILE, hard, hard)?;
    let limits = Limits::new(usize::try_from(hard).unwrap_or(usize::MAX));
    match limits.forwards {
        0 => Err(Failure(format!(
            "a limit of {hard} descriptors is too low (ulimit -n)"
        ))),
        _ => Ok(limits),
    }
}

fn stack(
    plan: &Plan,
    router: InterfaceConfig,
    flows_max: usize,
) -> Result<(Stack, IfaceId, SocketId), Failure> {
    let mut config = StackConfig::default();
    // The namespace is the only one who could be flooded, and by itself.
    config.net.icmp_limits.icmp_ratelimit = 0;
    let mut stack = Stack::new(config, host::seed()?);
    let iface = stack.add_interface(router)?;
    // Where the network is the host's, a name server's address is one that leads there as any other.
    let shared = plan.neighbors == Neighbors::TheHosts;
    let dns = plan.dns.filter(|_| !shared);
    for addr in [Some(plan.gateway), dns].into_iter().flatten() {
        if let Some(cidr) = Cidr::new(addr, plan.network.prefix_len()) {
            stack.add_address(iface, cidr)?;
        }
    }
    let config = InterceptConfig {
        udp_flows_max: flows_max,
        proxy_arp_except: match plan.guest {
            IpAddr::V4(guest) if shared => Some(guest),
            _ => None,
        },
        ..InterceptConfig::default()
    };
    let interceptor = stack.intercept(iface, config)?;
    Ok((stack, iface, interceptor))
}

/// A local address that follows from the router's.
fn router_mac(gateway: IpAddr) -> MacAddr {
    let mut mac = [0x52, 0x55, 0, 0, 0, 0];
    match gateway {
        IpAddr::V4(addr) => mac[2..].copy_from_slice(&addr.octets()),
        IpAddr::V6(addr) => mac[2..].copy_from_slice(&addr.octets()[12..]),
    }
    MacAddr(mac)
}
