//! Taking over the devices of the sandbox's network namespace: their addresses and routes are read
//! and moved into netstack, their frames come and go over AF_PACKET.

use std::io;
use std::net::IpAddr;
use std::os::fd::OwnedFd;

use netstack::link::MacAddr;
use netstack::link::af_packet::AfPacketDevice;
use netstack::link::sys::iface;
use netstack::network::addr::Cidr;
use nix::net::if_::InterfaceFlags;
use nix::sys::socket::SockaddrStorage;
use thiserror::Error;

use super::routes;
use crate::sandbox::plan::RoutePlan;

/// Why a device could not be taken over.
#[derive(Debug, Error)]
pub(crate) enum TakeoverError {
    #[error("cannot list the interfaces of the network namespace")]
    List(#[source] io::Error),
    #[error("cannot read the routes of the network namespace")]
    Routes(#[source] io::Error),
    #[error("cannot take over the interface {name} ({what})")]
    Device {
        name: String,
        what: &'static str,
        #[source]
        source: io::Error,
    },
}

/// A device that is ours now: the kernel has no address on it any more.
pub(crate) struct Taken {
    pub(crate) name: String,
    pub(crate) socket: OwnedFd,
    pub(crate) mac: MacAddr,
    pub(crate) mtu: u32,
    pub(crate) addresses: Vec<(IpAddr, u8)>,
    pub(crate) routes: Vec<RoutePlan>,
}

/// Takes over every Ethernet interface of the caller's network namespace that is up and has an address.
pub(crate) fn take_over() -> Result<Vec<Taken>, TakeoverError> {
    let routes =
        std::fs::read_to_string("/proc/thread-self/net/route").map_err(TakeoverError::Routes)?;
    let mut routes = routes::parse(&routes);
    // A kernel without IPv6 has no such table.
    if let Ok(table) = std::fs::read_to_string("/proc/thread-self/net/ipv6_route") {
        routes.extend(routes::parse_v6(&table));
    }
    interfaces()?
        .into_iter()
        .map(|(name, addresses)| {
            let own = routes
                .iter()
                .filter(|(of, _)| *of == name)
                .map(|(_, route)| *route)
                .filter(|route| !is_connected(route, &addresses))
                .collect();
            take(name, addresses, own)
        })
        .collect()
}

/// True for a route to the network of an address: it comes and goes with that.
fn is_connected(route: &RoutePlan, addresses: &[(IpAddr, u8)]) -> bool {
    let network = Cidr::new(route.destination, route.prefix_len).map(|cidr| cidr.network());
    let own = |(addr, len): &(IpAddr, u8)| Cidr::new(*addr, *len).map(|cidr| cidr.network());
    route.destination.is_ipv6()
        && route.gateway.is_none()
        && addresses.iter().any(|address| own(address) == network)
}

/// An interface's name and its addresses with their prefix lengths.
type Interface = (String, Vec<(IpAddr, u8)>);

/// Names and addresses of the interfaces to take, in the kernel's order.
fn interfaces() -> Result<Vec<Interface>, TakeoverError> {
    let mut found: Vec<Interface> = Vec::new();
    for entry in nix::ifaddrs::getifaddrs().map_err(|errno| TakeoverError::List(errno.into()))? {
        let usable = entry.flags.contains(InterfaceFlags::IFF_UP)
            && !entry.flags.contains(InterfaceFlags::IFF_LOOPBACK);
        let (true, Some(address), Some(mask)) = (usable, ip(entry.address), ip(entry.netmask))
        else {
            continue;
        };
        let ones = match mask {
            IpAddr::V4(mask) => mask.to_bits().count_ones(),
            IpAddr::V6(mask) => mask.to_bits().count_ones(),
        };
        let address = (address, ones as u8);
        match found
            .iter_mut()
            .find(|(name, _)| *name == entry.interface_name)
        {
            Some((_, addresses)) => addresses.push(address),
            None => found.push((entry.interface_name, vec![address])),
        }
    }
    Ok(found)
}

fn ip(storage: Option<SockaddrStorage>) -> Option<IpAddr> {
    let storage = storage?;
    let v4 = storage.as_sockaddr_in().map(|addr| IpAddr::V4(addr.ip()));
    v4.or_else(|| Some(IpAddr::V6(storage.as_sockaddr_in6()?.ip())))
}

fn take(
    name: String,
    addresses: Vec<(IpAddr, u8)>,
    routes: Vec<RoutePlan>,
) -> Result<Taken, TakeoverError> {
    let failed = |what| {
        let name = name.clone();
        move |source| TakeoverError::Device { name, what, source }
    };
    let socket = AfPacketDevice::open_fd(&name).map_err(failed("packet socket"))?;
    let mac = AfPacketDevice::mac_of(&name).map_err(failed("hardware address"))?;
    let mtu = iface::mtu(&name).map_err(failed("MTU"))?;
    // Takes the kernel's IPv6 addresses and routes away at once, and lets it make no new ones.
    let ipv6_is_off =
        std::fs::write(format!("/proc/sys/net/ipv6/conf/{name}/disable_ipv6"), "1").is_ok();
    for (address, len) in &addresses {
        // Of IPv4 the primary address; the kernel's routes through it go with it. From here on only
        // netstack answers on this link.
        let removed = match address {
            IpAddr::V4(_) => iface::clear_ipv4(&name),
            IpAddr::V6(_) if ipv6_is_off => Ok(()),
            IpAddr::V6(address) => iface::remove_ipv6(&name, *address, *len),
        };
        removed.map_err(failed("remove its address"))?;
    }
    Ok(Taken {
        name,
        socket,
        mac,
        mtu,
        addresses,
        routes,
    })
}
