//! Socket options of UDP, echo and raw sockets, between their ABI form and netstack's.

use std::sync::atomic::Ordering;

use netstack::socket::tcp::MtuDiscover;
use netstack::socket::{DatagramOptions, Family};
use sentry_abi::Errno;

use super::ancillary::{SO_TIMESTAMP_NEW, SO_TIMESTAMPNS_NEW};
use super::datagram::{DatagramSocket, Kind};
use super::endpoint::to_errno;
use super::filter;
use super::groups;
use super::options::{
    get_common, int, interface_name, parse_interface, parse_traffic_class, parse_ttl,
    set_oob_inline, set_v6only,
};
use crate::net::{Caller, Socket, option_int};
use crate::vfs::creds::cap;

const SOCKET: i32 = libc::SOL_SOCKET;
const IP: i32 = libc::IPPROTO_IP;
const IPV6: i32 = libc::IPPROTO_IPV6;
const UDP: i32 = libc::IPPROTO_UDP;
/// linux/icmp.h
const ICMP_FILTER: i32 = 1;
/// linux/icmpv6.h
const ICMP6_FILTER: i32 = 1;
const ICMPV6_RAW: Kind = Kind::Raw(libc::IPPROTO_ICMPV6 as u8);

/// An option of IPv4: an `int`, or a single byte.
pub(super) fn number4(value: &[u8]) -> Result<i32, Errno> {
    option_int(value).or_else(|error| value.first().map(|&byte| byte.into()).ok_or(error))
}

/// getsockopt(2)
pub(super) fn get(socket: &DatagramSocket, level: i32, name: i32) -> Result<Vec<u8>, Errno> {
    let endpoint = &socket.endpoint;
    if let Some(answer) = get_common(endpoint, socket.socket_type(), level, name) {
        return answer;
    }
    if let Some(answer) = filter::get(endpoint, level, name) {
        return answer;
    }
    if let Some(answer) = groups::get(endpoint, level, name) {
        return answer;
    }
    if let Some(flag) = socket.wanted.flag(level, name) {
        return int(flag.load(Ordering::Relaxed).into());
    }
    match (level, name) {
        (libc::SOL_RAW, ICMP_FILTER) if is_raw(socket) => {
            let filter = endpoint.call(|stack, id| stack.icmp_filter_mut(id).copied())?;
            return Ok(filter.to_ne_bytes().to_vec());
        }
        (IP, libc::IP_HDRINCL) | (IPV6, libc::IPV6_HDRINCL) if is_raw(socket) => {
            return int(endpoint
                .call(|stack, id| stack.header_included_mut(id).copied())?
                .into());
        }
        (IPV6 | libc::SOL_RAW, libc::IPV6_CHECKSUM) if is_raw(socket) => {
            let at = endpoint.call(|stack, id| stack.checksum_at_mut(id).copied())?;
            return int(at.map_or(-1, i32::from));
        }
        (libc::IPPROTO_ICMPV6, ICMP6_FILTER) if socket.kind == ICMPV6_RAW => {
            let filter = endpoint.call(|stack, id| stack.icmp6_filter_mut(id).copied())?;
            return Ok(filter.iter().flat_map(|word| word.to_ne_bytes()).collect());
        }
        (
            SOCKET,
            libc::SO_TIMESTAMP | libc::SO_TIMESTAMPNS | SO_TIMESTAMP_NEW | SO_TIMESTAMPNS_NEW,
        ) => return int(socket.wanted.timestamp(name).into()),
        (SOCKET, libc::SO_SNDBUF) => return int(socket.send_buffer.load(Ordering::Relaxed)),
        (IP, libc::IP_MTU) | (IPV6, libc::IPV6_MTU) if socket.kind == Kind::Udp => {
            return int(endpoint.call(|stack, id| stack.udp_mtu(id))? as i32);
        }
        (SOCKET, libc::SO_BINDTODEVICE) => {
            let options = endpoint.call(|stack, id| stack.datagram_options(id).copied())?;
            return Ok(interface_name(endpoint, options.iface));
        }
        _ => {}
    }
    let options = endpoint.call(|stack, id| stack.datagram_options(id).copied())?;
    value_of(&options, socket.kind == Kind::Udp, level, name).and_then(int)
}

fn value_of(options: &DatagramOptions, udp: bool, level: i32, name: i32) -> Result<i32, Errno> {
    Ok(match (level, name) {
        (SOCKET, libc::SO_REUSEADDR) => options.reuse_addr.into(),
        (SOCKET, libc::SO_REUSEPORT) => options.reuse_port.into(),
        (SOCKET, libc::SO_BROADCAST) => options.broadcast.into(),
        (SOCKET, libc::SO_RCVBUF) => options.recv_budget as i32,
        (SOCKET, libc::SO_ACCEPTCONN) => 0,
        (IP, libc::IP_TTL) | (IPV6, libc::IPV6_UNICAST_HOPS) => match options.ttl {
            0 => 64,
            ttl => ttl.into(),
        },
        (IP, libc::IP_TOS) | (IPV6, libc::IPV6_TCLASS) => options.tos.into(),
        (IP, libc::IP_RECVERR) | (IPV6, libc::IPV6_RECVERR) => options.recv_errors.into(),
        (IP, libc::IP_MTU_DISCOVER) | (IPV6, libc::IPV6_MTU_DISCOVER) => {
            options.mtu_discover as i32
        }
        (IP, libc::IP_FREEBIND) | (IPV6, libc::IPV6_FREEBIND) => options.freebind.into(),
        (IP, libc::IP_TRANSPARENT) | (IPV6, libc::IPV6_TRANSPARENT) => options.transparent.into(),
        (IP, libc::IP_BIND_ADDRESS_NO_PORT) => options.bind_no_port.into(),
        (UDP, libc::UDP_CORK) if udp => options.cork.into(),
        (UDP, libc::UDP_SEGMENT) if udp => options.gso_size.into(),
        (UDP, libc::UDP_GRO) if udp => options.gro.into(),
        _ => return Err(Errno::ENOPROTOOPT),
    })
}

/// setsockopt(2)
pub(super) fn set(
    socket: &DatagramSocket,
    caller: &Caller<'_>,
    level: i32,
    name: i32,
    value: &[u8],
) -> Result<(), Errno> {
    let endpoint = &socket.endpoint;
    if level == IPV6 && socket.family == Family::V4 {
        return Err(Errno::ENOPROTOOPT);
    }
    if let Some(done) = filter::set(endpoint, level, name, value) {
        return done;
    }
    if let Some(done) = groups::set(endpoint, level, name, value) {
        return done;
    }
    match (level, name) {
        (IPV6, libc::IPV6_V6ONLY) => return set_v6only(endpoint, value),
        (SOCKET, libc::SO_OOBINLINE) => return set_oob_inline(endpoint, value),
        (SOCKET, libc::SO_BINDTODEVICE) => return bind_to_device(socket, caller, value),
        (libc::IPPROTO_ICMPV6, ICMP6_FILTER)
            if (socket.family, socket.kind) == (Family::V6, ICMPV6_RAW) =>
        {
            return set_icmp6_filter(socket, value);
        }
        (libc::SOL_RAW, ICMP_FILTER) if is_raw(socket) && socket.family == Family::V4 => {
            let mask = option_int(value).map(|mask| mask as u32)?;
            return endpoint
                .call(|stack, id| stack.icmp_filter_mut(id).map(|filter| *filter = mask));
        }
        _ => {}
    }
    let number = if level == IP {
        number4(value)?
    } else {
        option_int(value)?
    };
    if let Some(flag) = socket.wanted.flag(level, name) {
        flag.store(number != 0, Ordering::Relaxed);
        return Ok(());
    }
    match (level, name) {
        (SOCKET, _) => return set_of_socket(socket, caller, name, number),
        (IP, libc::IP_HDRINCL) | (IPV6, libc::IPV6_HDRINCL) if is_raw(socket) => {
            let on = number != 0;
            return endpoint.call(|stack, id| stack.header_included_mut(id).map(|it| *it = on));
        }
        (IPV6 | libc::SOL_RAW, libc::IPV6_CHECKSUM) if is_raw(socket) => {
            return set_checksum(socket, level, number);
        }
        (UDP, _) if socket.kind == Kind::Udp => return set_of_udp(socket, name, number),
        (IP, libc::IP_TRANSPARENT) | (IPV6, libc::IPV6_TRANSPARENT) if number != 0 => {
            let creds = &caller.path.creds;
            if !creds.has(cap::NET_RAW) && !creds.has(cap::NET_ADMIN) {
                return Err(Errno::EPERM);
            }
        }
        _ => {}
    }
    change(socket, |options| set_of_ip(options, level, name, number))?;
    let errors = [(IP, libc::IP_RECVERR), (IPV6, libc::IPV6_RECVERR)];
    if number == 0 && errors.contains(&(level, name)) {
        return endpoint.call(|stack, id| stack.clear_reports(id));
    }
    Ok(())
}

fn change(
    socket: &DatagramSocket,
    change: impl FnOnce(&mut DatagramOptions) -> Result<(), Errno>,
) -> Result<(), Errno> {
    let done = |stack: &mut netstack::stack::Stack, id| {
        change(stack.datagram_options_mut(id).map_err(to_errno)?)
    };
    socket.endpoint.look(done)
}

fn set_of_socket(
    socket: &DatagramSocket,
    caller: &Caller<'_>,
    name: i32,
    number: i32,
) -> Result<(), Errno> {
    let on = number != 0;
    // Linux doubles what is asked for, within rmem_max, to account for its own overhead.
    let twice = |least: i32| number.clamp(0, 212_992).max(least / 2) * 2;
    match name {
        libc::SO_TIMESTAMP | libc::SO_TIMESTAMPNS | SO_TIMESTAMP_NEW | SO_TIMESTAMPNS_NEW => {
            socket.wanted.set_timestamp(name, on);
            return Ok(());
        }
        libc::SO_SNDBUFFORCE | libc::SO_RCVBUFFORCE => caller.path.creds.require(cap::NET_ADMIN)?,
        _ => {}
    }
    match name {
        // What is sent waits in the interface's queue, whose length is its own.
        libc::SO_SNDBUF | libc::SO_SNDBUFFORCE => {
            socket.send_buffer.store(twice(4608), Ordering::Relaxed);
            Ok(())
        }
        libc::SO_PRIORITY | libc::SO_MARK => Ok(()),
        _ => change(socket, |options| {
            match name {
                libc::SO_REUSEADDR => options.reuse_addr = on,
                libc::SO_REUSEPORT => options.reuse_port = on,
                libc::SO_BROADCAST => options.broadcast = on,
                libc::SO_RCVBUF | libc::SO_RCVBUFFORCE => {
                    options.recv_budget = twice(2304) as usize
                }
                _ => return Err(Errno::ENOPROTOOPT),
            }
            Ok(())
        }),
    }
}

fn set_of_udp(socket: &DatagramSocket, name: i32, number: i32) -> Result<(), Errno> {
    change(socket, |options| {
        match name {
            libc::UDP_CORK => options.cork = number != 0,
            libc::UDP_SEGMENT => {
                options.gso_size = u16::try_from(number).map_err(|_| Errno::EINVAL)?;
            }
            libc::UDP_GRO => options.gro = number != 0,
            _ => return Err(Errno::ENOPROTOOPT),
        }
        Ok(())
    })?;
    if name == libc::UDP_CORK && number == 0 {
        return socket.endpoint.call(|stack, id| stack.udp_push(id));
    }
    Ok(())
}

fn set_of_ip(
    options: &mut DatagramOptions,
    level: i32,
    name: i32,
    number: i32,
) -> Result<(), Errno> {
    let on = number != 0;
    match (level, name) {
        (IP, libc::IP_TTL) | (IPV6, libc::IPV6_UNICAST_HOPS) => options.ttl = parse_ttl(number)?,
        (IP, libc::IP_TOS) => options.tos = u8::try_from(number).map_err(|_| Errno::EINVAL)?,
        (IPV6, libc::IPV6_TCLASS) => options.tos = parse_traffic_class(number)?,
        (IP, libc::IP_RECVERR) | (IPV6, libc::IPV6_RECVERR) => options.recv_errors = on,
        (IP, libc::IP_MTU_DISCOVER) | (IPV6, libc::IPV6_MTU_DISCOVER) => {
            options.mtu_discover = MtuDiscover::from_number(number).ok_or(Errno::EINVAL)?;
        }
        (IP, libc::IP_FREEBIND) | (IPV6, libc::IPV6_FREEBIND) => options.freebind = on,
        (IP, libc::IP_TRANSPARENT) | (IPV6, libc::IPV6_TRANSPARENT) => options.transparent = on,
        (IP, libc::IP_BIND_ADDRESS_NO_PORT) => options.bind_no_port = on,
        _ => return Err(Errno::ENOPROTOOPT),
    }
    Ok(())
}

/// Who may not use raw sockets chooses once (`sock_bindtoindex_locked`).
fn bind_to_device(socket: &DatagramSocket, caller: &Caller<'_>, value: &[u8]) -> Result<(), Errno> {
    let iface = parse_interface(&socket.endpoint, value)?;
    let privileged = caller.path.creds.has(cap::NET_RAW);
    change(socket, |options| {
        if options.iface.is_some() && !privileged {
            return Err(Errno::EPERM);
        }
        options.iface = iface;
        Ok(())
    })
}

fn is_raw(socket: &DatagramSocket) -> bool {
    matches!(socket.kind, Kind::Raw(_))
}

/// IPV6_CHECKSUM (`do_rawv6_setsockopt`).
fn set_checksum(socket: &DatagramSocket, level: i32, at: i32) -> Result<(), Errno> {
    // That of ICMPv6 is where it is.
    if (socket.kind == ICMPV6_RAW && level == IPV6) || (at > 0 && at % 2 == 1) {
        return Err(Errno::EINVAL);
    }
    let at = u16::try_from(at).ok();
    socket
        .endpoint
        .call(|stack, id| stack.checksum_at_mut(id).map(|it| *it = at))
}

/// `struct icmp6_filter`; what is not given stays (`rawv6_seticmpfilter`).
fn set_icmp6_filter(socket: &DatagramSocket, value: &[u8]) -> Result<(), Errno> {
    socket.endpoint.call(|stack, id| {
        let filter = stack.icmp6_filter_mut(id)?;
        for (word, bytes) in filter.iter_mut().zip(value.chunks_exact(4)) {
            *word = u32::from_ne_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]);
        }
        Ok(())
    })
}
