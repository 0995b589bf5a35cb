//! AF_INET and AF_INET6 on netstack: one stack for the whole sandbox, served by its own driver threads.

mod ancillary;
mod datagram;
mod datagram_options;
mod endpoint;
mod errors;
mod filter;
pub(crate) mod groups;
mod options;
mod packet;
mod reports;
mod stream;

use std::io;
use std::net::IpAddr;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use netstack::host::{Clock, Net};
use netstack::link::af_packet::AfPacketDevice;
use netstack::link::tun::{TunConfig, TunDevice};
use netstack::link::{Device, MacAddr, Medium};
use netstack::network::IfaceId;
use netstack::network::addr::Cidr;
use netstack::network::route::Route;
use netstack::socket::Family;
use netstack::stack::{InterfaceConfig, Stack, StackConfig};
use sentry_abi::Errno;
use thiserror::Error;

use super::{Caller, Socket, SocketType};
use crate::vfs::creds::cap;

/// Why the stack could not be set up.
#[derive(Debug, Error)]
pub enum NetworkError {
    /// A device or a thread could not be had.
    #[error("network: {what}")]
    Host {
        /// What was being done.
        what: &'static str,
        /// The host's error.
        #[source]
        source: io::Error,
    },
    /// An interface, address or route that the stack refuses.
    #[error("network: interface {name}: {problem}")]
    Config {
        /// The interface.
        name: String,
        /// What is wrong.
        problem: String,
    },
}

/// An interface of the sandbox: a donated device and what is on it.
pub struct LinkConfig {
    /// Its name inside.
    pub name: String,
    /// The device.
    pub device: LinkDevice,
    /// Largest packet in bytes.
    pub mtu: u32,
    /// Its addresses with their prefix lengths.
    pub addresses: Vec<(IpAddr, u8)>,
    /// Routes over it.
    pub routes: Vec<RouteConfig>,
}

/// A donated descriptor, opened with virtio headers.
pub enum LinkDevice {
    /// A TUN device.
    Tun(OwnedFd),
    /// A packet socket on an interface with this hardware address.
    Packet(OwnedFd, MacAddr),
}

/// A route over an interface.
#[derive(Clone, Copy, Debug)]
pub struct RouteConfig {
    /// Network, host bits zero.
    pub destination: IpAddr,
    /// Its prefix length.
    pub prefix_len: u8,
    /// The router, unless the network is on the link.
    pub gateway: Option<IpAddr>,
    /// Lower is preferred.
    pub metric: u32,
}

/// The provider: sockets of one running stack.
pub struct Inet {
    net: Net,
}

impl Inet {
    /// A stack with a loopback interface and `links`, running.
    ///
    /// # Errors
    /// [`NetworkError`].
    pub fn start(links: Vec<LinkConfig>) -> Result<Self, NetworkError> {
        let host = |what| move |source| NetworkError::Host { what, source };
        let clock = Clock::start();
        let seed = netstack::host::seed().map_err(host("no randomness"))?;
        let mut stack = Stack::new(StackConfig::default(), seed);
        stack.set_now(clock.now());
        let mut devices = Vec::new();
        for link in links {
            let (id, device) = add_link(&mut stack, link)?;
            devices.push((id, device));
        }
        let net = Net::start(stack, clock, devices).map_err(host("cannot serve the devices"))?;
        Ok(Self { net })
    }

    /// A socket (socket(2)).
    ///
    /// # Errors
    /// ESOCKTNOSUPPORT, EPROTONOSUPPORT, EPERM without CAP_NET_RAW.
    pub(super) fn socket(
        &self,
        caller: &Caller<'_>,
        wanted: SocketType,
    ) -> Result<Arc<dyn Socket>, Errno> {
        let (family, icmp) = match wanted.family {
            libc::AF_INET6 => (Family::V6, libc::IPPROTO_ICMPV6),
            _ => (Family::V4, libc::IPPROTO_ICMP),
        };
        match (wanted.kind, wanted.protocol) {
            (libc::SOCK_STREAM, 0 | libc::IPPROTO_TCP) => Ok(stream::open(&self.net, family)),
            (libc::SOCK_DGRAM, 0 | libc::IPPROTO_UDP) => Ok(datagram::open_udp(&self.net, family)),
            (libc::SOCK_DGRAM, protocol) if protocol == icmp => {
                self.may_ping(caller)?;
                datagram::open_echo(&self.net, family)
            }
            (libc::SOCK_RAW, 0) => Err(Errno::EPROTONOSUPPORT),
            (libc::SOCK_RAW, protocol) => {
                let protocol = u8::try_from(protocol).map_err(|_| Errno::EPROTONOSUPPORT)?;
                caller.path.creds.require(cap::NET_RAW)?;
                datagram::open_raw(&self.net, family, protocol)
            }
            (libc::SOCK_STREAM | libc::SOCK_DGRAM, _) => Err(Errno::EPROTONOSUPPORT),
            _ => Err(Errno::ESOCKTNOSUPPORT),
        }
    }

    /// A packet socket.
    ///
    /// # Errors
    /// EPERM, ESOCKTNOSUPPORT.
    pub(super) fn packet_socket(
        &self,
        caller: &Caller<'_>,
        wanted: SocketType,
    ) -> Result<Arc<dyn Socket>, Errno> {
        packet::open(&self.net, caller, wanted)
    }

    /// Echo sockets are for groups of users (`net.ipv4.ping_group_range`, `ping_init_sock`).
    fn may_ping(&self, caller: &Caller<'_>) -> Result<(), Errno> {
        let text = self.net.with(|stack| stack.setting("ping_group_range"));
        let text = text.unwrap_or_default();
        let mut ends = text
            .split_whitespace()
            .filter_map(|end| end.parse::<u32>().ok());
        let (Some(from), Some(to)) = (ends.next(), ends.next()) else {
            return Err(Errno::EACCES);
        };
        let creds = &caller.path.creds;
        let mut groups = std::iter::once(creds.egid).chain(creds.groups.iter().copied());
        match groups.any(|group| (from..=to).contains(&group)) {
            true => Ok(()),
            false => Err(Errno::EACCES),
        }
    }

    /// The running stack (statistics, /proc/net).
    pub fn net(&self) -> &Net {
        &self.net
    }
}

type Served = (IfaceId, Box<dyn Device + Send>);

fn add_link(stack: &mut Stack, link: LinkConfig) -> Result<Served, NetworkError> {
    let LinkConfig {
        name,
        device,
        mtu,
        addresses,
        routes,
    } = link;
    let opened = |source| NetworkError::Host {
        what: "cannot take over a device",
        source,
    };
    let (device, mac): (Box<dyn Device + Send>, MacAddr) = match device {
        LinkDevice::Tun(fd) => {
            let config = TunConfig {
                medium: Medium::Ip,
                vnet: true,
                mtu,
            };
            (
                Box::new(TunDevice::from_fd(fd, config).map_err(opened)?),
                MacAddr::default(),
            )
        }
        LinkDevice::Packet(fd, mac) => (
            Box::new(AfPacketDevice::from_fd(fd, mtu).map_err(opened)?),
            mac,
        ),
    };
    let refused = |problem: String| NetworkError::Config {
        name: name.clone(),
        problem,
    };
    let config = InterfaceConfig {
        name: name.clone(),
        mac,
        caps: device.caps(),
    };
    let id = stack
        .add_interface(config)
        .map_err(|e| refused(e.to_string()))?;
    let cidr = |addr: IpAddr, len: u8| {
        Cidr::new(addr, len).ok_or_else(|| refused(format!("{addr}/{len} is no network")))
    };
    for (addr, len) in addresses {
        // The address was given to us alone: nobody on the link is to be asked for it.
        stack
            .add_unique_address(id, cidr(addr, len)?)
            .map_err(|e| refused(format!("{addr}/{len}: {e}")))?;
    }
    for route in routes {
        let dest = cidr(route.destination, route.prefix_len)?;
        let route = Route {
            gateway: route.gateway,
            metric: route.metric,
            ..Route::new(dest, id)
        };
        stack
            .add_route(route)
            .map_err(|e| refused(format!("route {dest:?}: {e}")))?;
    }
    Ok((id, device))
}
