//! Taking over the devices of the sandbox's network namespace: their addresses and routes are read
//! and moved into netstack, their frames come and go over AF_PACKET.

use std::io;
use std::net::IpAddr;
use std::os::fd::OwnedFd;

use netstack::link::MacAddr;
use netstack::link::af_packet::AfPacketDevice;
use netstack::link::sys::iface;
use nix::net::if_::InterfaceFlags;
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
    let routes = routes::parse(&routes);
    interfaces()?
        .into_iter()
        .map(|(name, addresses)| {
            let own = routes
                .iter()
                .filter(|(of, _)| *of == name)
                .map(|(_, route)| *route)
                .collect();
            take(name, addresses, own)
        })
        .collect()
}

/// An interface's name and its addresses with their prefix lengths.
type Interface = (String, Vec<(IpAddr, u8)>);

/// Names and IPv4 addresses of the interfaces to take, in the kernel's order.
fn interfaces() -> Result<Vec<Interface>, TakeoverError> {
    let mut found: Vec<Interface> = Vec::new();
    for entry in nix::ifaddrs::getifaddrs().map_err(|errno| TakeoverError::List(errno.into()))? {
        let usable = entry.flags.contains(InterfaceFlags::IFF_UP)
            && !entry.flags.contains(InterfaceFlags::IFF_LOOPBACK);
        let ipv4 = |storage: Option<nix::sys::socket::SockaddrStorage>| {
            storage?.as_sockaddr_in().map(|a| a.ip())
        };
        let (true, Some(address), Some(mask)) = (usable, ipv4(entry.address), ipv4(entry.netmask))
        else {
            continue;
        };
        let address = (IpAddr::V4(address), mask.to_bits().count_ones() as u8);
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
    for _ in &addresses {
        // Deletes the primary address; the kernel's routes through it go with it. From here on only
        // netstack answers on this link.
        iface::clear_ipv4(&name).map_err(failed("remove its address"))?;
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
