//! NETLINK_ROUTE: what there is of links, addresses and routes, from the network stack.

use std::net::IpAddr;

use netstack::host::Net;
use netstack::network::addr::Cidr;
use netstack::network::route::Route;
use netstack::stack::{Address, InterfaceInfo};
use sentry_abi::Errno;

use super::message::{Answer, Message, Request, attribute};
use crate::net::link::{self, LinkKind, index};
use crate::vfs::Credentials;
use crate::vfs::creds::cap;

/// NLM_F_ACK
const ACK: u16 = 4;
/// NLM_F_DUMP
const DUMP: u16 = 0x300;

/// Size of `struct ifinfomsg`.
const IFINFO: usize = 16;
/// linux/if_addr.h
const IFA_FLAGS: u16 = 8;

/// Size of `struct rtmsg`.
const RTMSG: usize = 12;

const RTA_DST: u16 = 1;
const RTA_UID: u16 = 25;
const RTM_F_CLONED: u32 = 0x200;
const RTCF_LOCAL: u32 = 1 << 31;
const RT_TABLE_MAIN: u8 = 254;
const RT_TABLE_LOCAL: u8 = 255;
const RT_SCOPE_LINK: u8 = 253;
const RT_SCOPE_HOST: u8 = 254;

/// The datagrams that answer `request` of a socket with this port id.
pub(super) fn answer(
    net: &Net,
    creds: &Credentials,
    port: u32,
    request: &Request<'_>,
) -> Vec<Vec<u8>> {
    // Requests below NLMSG_MIN_TYPE are control messages: nothing to do.
    if request.kind < 16 {
        return acknowledge(port, request);
    }
    match serve(net, creds, port, request) {
        Ok(Some(datagrams)) => datagrams,
        Ok(None) => acknowledge(port, request),
        Err(errno) => Answer::new(port, request).error(request, errno.0),
    }
}

fn acknowledge(port: u32, request: &Request<'_>) -> Vec<Vec<u8>> {
    if request.flags & ACK == 0 {
        return Vec::new();
    }
    Answer::new(port, request).error(request, 0)
}

fn serve(
    net: &Net,
    creds: &Credentials,
    port: u32,
    request: &Request<'_>,
) -> Result<Option<Vec<Vec<u8>>>, Errno> {
    // The family is the first byte of every request's fixed part.
    let family = i32::from(*request.body.first().ok_or(Errno::EINVAL)?);
    let of_family = |addr: IpAddr| match addr {
        IpAddr::V4(_) => [libc::AF_UNSPEC, libc::AF_INET].contains(&family),
        IpAddr::V6(_) => [libc::AF_UNSPEC, libc::AF_INET6].contains(&family),
    };
    let dump = request.flags & DUMP != 0;
    let reply = Answer::new(port, request);
    let (interfaces, routes): (Vec<_>, Vec<_>) =
        net.with(|stack| (stack.interfaces().collect(), stack.routes().collect()));
    match (request.kind, dump) {
        (libc::RTM_GETLINK, true) => {
            Ok(Some(reply.dump(interfaces.iter().map(new_link).collect())))
        }
        (libc::RTM_GETLINK, false) => {
            let wanted = wanted_link(&interfaces, request.body)?;
            Ok(Some(reply.single(&new_link(wanted))))
        }
        (libc::RTM_GETADDR, true) => {
            // Linux goes through one family after the other.
            let all = [true, false].into_iter().flat_map(|v4| {
                interfaces.iter().flat_map(move |interface| {
                    let own = interface.addresses.iter();
                    let own = own.filter(move |own| own.ip().is_ipv4() == v4);
                    own.map(move |own| (interface, own))
                })
            });
            let shown = all.filter(|(_, own)| of_family(own.ip()));
            let messages = shown.map(|(interface, own)| address(interface, own));
            Ok(Some(reply.dump(messages.collect())))
        }
        (libc::RTM_GETROUTE, true) => {
            let shown = routes.iter().filter(|entry| of_family(entry.dest.addr()));
            let messages = shown.map(|entry| route(entry, &interfaces, None));
            Ok(Some(reply.dump(messages.collect())))
        }
        (libc::RTM_GETROUTE, false) => {
            let message = route_to(&interfaces, &routes, family, request.body, creds.uid)?;
            Ok(Some(reply.single(&message)))
        }
        // The two low bits say new, delete, get or set; all but get change something.
        (kind, _) if kind & 3 != 2 => {
            creds.require(cap::NET_ADMIN)?;
            Err(Errno::EOPNOTSUPP)
        }
        _ => Err(Errno::EOPNOTSUPP),
    }
}

fn wanted_link<'a>(
    interfaces: &'a [InterfaceInfo],
    body: &[u8],
) -> Result<&'a InterfaceInfo, Errno> {
    let number = body.get(4..8).and_then(|b| b.first_chunk());
    let number = number
        .map(|b| u32::from_ne_bytes(*b))
        .ok_or(Errno::EINVAL)?;
    let name = attribute(body, IFINFO, libc::IFLA_IFNAME);
    let name = name.map(|name| name.split(|&b| b == 0).next().unwrap_or_default());
    let found = match (number, name) {
        (0, None) => return Err(Errno::EINVAL),
        (0, Some(name)) => interfaces.iter().find(|i| i.name.as_bytes() == name),
        (number, _) => interfaces.iter().find(|i| index(i) == number),
    };
    found.ok_or(Errno::ENODEV)
}

/// RTM_NEWLINK
fn new_link(interface: &InterfaceInfo) -> Message {
    let kind = link::kind(interface);
    let ethernet = kind == LinkKind::Ethernet;
    let fixed = [
        &[0, 0][..],
        &kind.hardware_type().to_ne_bytes(),
        &index(interface).to_ne_bytes(),
        &link::flags(interface).to_ne_bytes(),
        &[0; 4],
    ]
    .concat();
    let mut message = Message::new(libc::RTM_NEWLINK, &fixed);
    message.put_text(libc::IFLA_IFNAME, &interface.name);
    message.put_u32(libc::IFLA_TXQLEN, link::TX_QUEUE);
    // IF_OPER_UNKNOWN for devices that don't tell, IF_OPER_UP else.
    message.put(libc::IFLA_OPERSTATE, &[if ethernet { 6 } else { 0 }]);
    message.put(libc::IFLA_LINKMODE, &[0]);
    message.put_u32(libc::IFLA_MTU, interface.caps.mtu);
    message.put_u32(libc::IFLA_GROUP, 0);
    message.put(libc::IFLA_CARRIER, &[1]);
    message.put_text(libc::IFLA_QDISC, "noqueue");
    if kind != LinkKind::Ip {
        let broadcast = if ethernet { [0xff; 6] } else { [0; 6] };
        message.put(libc::IFLA_ADDRESS, &interface.mac.0);
        message.put(libc::IFLA_BROADCAST, &broadcast);
    }
    message
}

/// An address in network order, as attributes have it.
fn octets(addr: IpAddr) -> Vec<u8> {
    match addr {
        IpAddr::V4(addr) => addr.octets().to_vec(),
        IpAddr::V6(addr) => addr.octets().to_vec(),
    }
}

fn family_of(addr: IpAddr) -> u8 {
    match addr {
        IpAddr::V4(_) => libc::AF_INET as u8,
        IpAddr::V6(_) => libc::AF_INET6 as u8,
    }
}

/// RTM_NEWADDR for an address of an interface.
fn address(interface: &InterfaceInfo, own: &Address) -> Message {
    let addr = own.ip();
    let scope = match addr {
        _ if addr.is_loopback() => RT_SCOPE_HOST,
        IpAddr::V6(v6) if v6.is_unicast_link_local() => RT_SCOPE_LINK,
        _ => 0,
    };
    let flags = link::address_flags(own);
    let head = [family_of(addr), own.cidr.prefix_len(), flags as u8, scope];
    let fixed = [head, index(interface).to_ne_bytes()].concat();
    let mut message = Message::new(libc::RTM_NEWADDR, &fixed);
    message.put(libc::IFA_ADDRESS, &octets(addr));
    if addr.is_ipv4() {
        message.put(libc::IFA_LOCAL, &octets(addr));
        let broadcast = own.cidr.broadcast().filter(|_| !addr.is_loopback());
        if let Some(broadcast) = broadcast {
            message.put(libc::IFA_BROADCAST, &octets(broadcast));
        }
        message.put_text(libc::IFA_LABEL, &interface.name);
    }
    message.put_u32(IFA_FLAGS, flags);
    // struct ifa_cacheinfo: preferred and valid for ever.
    let forever = u32::MAX.to_ne_bytes();
    message.put(
        libc::IFA_CACHEINFO,
        &[forever, forever, [0; 4], [0; 4]].concat(),
    );
    message
}

/// RTM_NEWROUTE; with `to`, the answer to the user who asked for the way there.
fn route(route: &Route, interfaces: &[InterfaceInfo], to: Option<(IpAddr, u32)>) -> Message {
    let interface = interfaces.iter().find(|i| i.id == route.iface);
    let loopback = interface.is_some_and(|i| i.is_loopback);
    let (table, scope, kind) = match (loopback, route.gateway) {
        (true, _) => (RT_TABLE_LOCAL, RT_SCOPE_HOST, libc::RTN_LOCAL),
        (false, None) => (RT_TABLE_MAIN, RT_SCOPE_LINK, libc::RTN_UNICAST),
        (false, Some(_)) => (RT_TABLE_MAIN, 0, libc::RTN_UNICAST),
    };
    // The way to one destination is a thing of its own, made from the table (`rt_fill_info`).
    let (table, scope, flags) = match (to, loopback) {
        (None, _) => (table, scope, 0),
        (Some(_), false) => (RT_TABLE_MAIN, 0, RTM_F_CLONED),
        (Some(_), true) => (RT_TABLE_MAIN, 0, RTM_F_CLONED | RTCF_LOCAL),
    };
    let own = |cidr: &&Cidr| cidr.network() == route.dest.network();
    let connected = interface.and_then(|i| i.addrs.iter().find(own));
    let protocol = if to.is_some() {
        libc::RTPROT_UNSPEC
    } else if connected.is_some() {
        libc::RTPROT_KERNEL
    } else {
        libc::RTPROT_BOOT
    };
    let dest = route.dest.network().addr();
    let len = match (to, dest) {
        (None, _) => route.dest.prefix_len(),
        (Some(_), IpAddr::V4(_)) => 32,
        (Some(_), IpAddr::V6(_)) => 128,
    };
    let head = [family_of(dest), len, 0, 0];
    let fixed = [head, [table, protocol, scope, kind], flags.to_ne_bytes()].concat();
    let mut message = Message::new(libc::RTM_NEWROUTE, &fixed);
    message.put_u32(libc::RTA_TABLE, table.into());
    match to {
        Some((to, _)) => message.put(RTA_DST, &octets(to)),
        None if len > 0 => message.put(RTA_DST, &octets(dest)),
        None => {}
    }
    if route.metric > 0 {
        message.put_u32(libc::RTA_PRIORITY, route.metric);
    }
    let source = connected.map(Cidr::addr).or(route.src);
    let same = |cidr: &&Cidr| cidr.addr().is_ipv4() == dest.is_ipv4();
    let asked = to.and_then(|_| interface?.addrs.iter().find(same).map(Cidr::addr));
    // A route of IPv6 names no source: it is chosen for each destination.
    let source = source.filter(|source| source.is_ipv4());
    if let Some(source) = source.or(asked) {
        message.put(libc::RTA_PREFSRC, &octets(source));
    }
    if let Some(gateway) = route.gateway {
        message.put(libc::RTA_GATEWAY, &octets(gateway));
    }
    message.put_u32(libc::RTA_OIF, u32::from(route.iface.0) + 1);
    if let Some((_, uid)) = to {
        message.put_u32(RTA_UID, uid);
    }
    message
}

/// `ip route get`
fn route_to(
    interfaces: &[InterfaceInfo],
    routes: &[Route],
    family: i32,
    body: &[u8],
    uid: u32,
) -> Result<Message, Errno> {
    let bytes = attribute(body, RTMSG, RTA_DST).ok_or(Errno::EINVAL)?;
    let v4 = bytes.first_chunk::<4>().map(|bytes| IpAddr::from(*bytes));
    let v6 = bytes.first_chunk::<16>().map(|bytes| IpAddr::from(*bytes));
    let to = match family {
        libc::AF_INET6 => v6,
        _ => v4,
    };
    let to = to.ok_or(Errno::EINVAL)?;
    let local = |interface: &&InterfaceInfo| {
        let mut addrs = interface.addrs.iter();
        addrs.any(|cidr| cidr.addr() == to)
    };
    // To an own address the way is the loopback interface, whatever the routes say.
    if let (Some(_), Some(lo)) = (
        interfaces.iter().find(local),
        interfaces.iter().find(|i| i.is_loopback),
    ) {
        let host = Cidr::new(to, if to.is_ipv4() { 32 } else { 128 }).ok_or(Errno::EINVAL)?;
        let own = Route {
            src: Some(to),
            ..Route::new(host, lo.id)
        };
        return Ok(route(&own, interfaces, Some((to, uid))));
    }
    let best = routes.iter().find(|entry| entry.dest.contains(to));
    let best = best.ok_or(Errno::ENETUNREACH)?;
    Ok(route(best, interfaces, Some((to, uid))))
}
