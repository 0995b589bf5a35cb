//! Control messages of datagrams, both ways (ip(7), ipv6(7), udp(7), RFC 3542).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use netstack::host::Net;
use netstack::network::IfaceId;
use netstack::socket::{Family, ReceivedDatagram, SendTo};
use sentry_abi::Errno;

use crate::net::addr::emit_inet;
use crate::net::control::Control;
use crate::net::option_int;

const IP: i32 = libc::IPPROTO_IP;
const IPV6: i32 = libc::IPPROTO_IPV6;
const SOCKET: i32 = libc::SOL_SOCKET;
const UDP: i32 = libc::IPPROTO_UDP;

/// Which control messages were asked for.
#[derive(Default)]
pub(super) struct Wanted {
    /// IP_PKTINFO
    packet_info: AtomicBool,
    /// IP_RECVTTL
    ttl: AtomicBool,
    /// IP_RECVTOS
    tos: AtomicBool,
    /// IP_RECVORIGDSTADDR
    original: AtomicBool,
    /// IPV6_RECVPKTINFO
    packet_info6: AtomicBool,
    /// IPV6_RECVHOPLIMIT
    hop_limit: AtomicBool,
    /// IPV6_RECVTCLASS
    traffic_class: AtomicBool,
    /// IPV6_RECVORIGDSTADDR
    original6: AtomicBool,
    /// SO_RXQ_OVFL
    drops: AtomicBool,
    /// 0, or the option (SO_TIMESTAMP, SO_TIMESTAMPNS, and their "new" forms) that is on.
    timestamp: AtomicU8,
}

impl Wanted {
    /// The switch that an option is.
    pub(super) fn flag(&self, level: i32, name: i32) -> Option<&AtomicBool> {
        match (level, name) {
            (IP, libc::IP_PKTINFO) => Some(&self.packet_info),
            (IP, libc::IP_RECVTTL) => Some(&self.ttl),
            (IP, libc::IP_RECVTOS) => Some(&self.tos),
            (IP, libc::IP_RECVORIGDSTADDR) => Some(&self.original),
            (IPV6, libc::IPV6_RECVPKTINFO) => Some(&self.packet_info6),
            (IPV6, libc::IPV6_RECVHOPLIMIT) => Some(&self.hop_limit),
            (IPV6, libc::IPV6_RECVTCLASS) => Some(&self.traffic_class),
            (IPV6, libc::IPV6_RECVORIGDSTADDR) => Some(&self.original6),
            (SOCKET, libc::SO_RXQ_OVFL) => Some(&self.drops),
            _ => None,
        }
    }

    /// True if the timestamps that option `name` stands for are on.
    pub(super) fn timestamp(&self, name: i32) -> bool {
        match (name, i32::from(self.timestamp.load(Ordering::Relaxed))) {
            // Linux looks only whether there are timestamps in a new form.
            (SO_TIMESTAMP_NEW, SO_TIMESTAMPNS_NEW) => true,
            (name, form) => name == form,
        }
    }

    /// Turns timestamps on in the form of option `name`, or off (`sock_set_timestamp`).
    pub(super) fn set_timestamp(&self, name: i32, on: bool) {
        let value = if on { name as u8 } else { 0 };
        self.timestamp.store(value, Ordering::Relaxed);
    }

    /// What goes with a received datagram, in Linux's order.
    pub(super) fn control_of(
        &self,
        family: Family,
        net: &Net,
        datagram: &ReceivedDatagram,
    ) -> Control {
        let mut control = Control::default();
        let other = &mut control.other;
        self.put_socket(net, datagram, other);
        if datagram.gro_size > 0 {
            other.push((UDP, libc::UDP_GRO, int(datagram.gro_size.into())));
        }
        if family == Family::V6 {
            self.put6(datagram, other);
        }
        if let IpAddr::V4(to) = datagram.to {
            self.put4(net, datagram, to, other);
        }
        control
    }

    fn put_socket(&self, net: &Net, datagram: &ReceivedDatagram, other: &mut Vec<Message>) {
        let form = i32::from(self.timestamp.load(Ordering::Relaxed));
        if form != 0 {
            let since = arrival(net, datagram);
            let part = match form {
                libc::SO_TIMESTAMP | SO_TIMESTAMP_NEW => since.subsec_micros(),
                _ => since.subsec_nanos(),
            };
            let data = [since.as_secs().to_ne_bytes(), u64::from(part).to_ne_bytes()];
            other.push((SOCKET, form, data.concat()));
        }
        if is_on(&self.drops) && datagram.drops > 0 {
            other.push((
                SOCKET,
                libc::SO_RXQ_OVFL,
                (datagram.drops as u32).to_ne_bytes().to_vec(),
            ));
        }
    }

    fn put4(&self, net: &Net, datagram: &ReceivedDatagram, to: Ipv4Addr, other: &mut Vec<Message>) {
        let mut put = |kind, data: Vec<u8>| other.push((IP, kind, data));
        if is_on(&self.packet_info) {
            // struct in_pktinfo: interface index, local address, destination.
            let index = datagram.iface.index() as i32;
            let local = local_address(net, datagram.iface, to);
            put(
                libc::IP_PKTINFO,
                [index.to_ne_bytes(), local.octets(), to.octets()].concat(),
            );
        }
        if is_on(&self.ttl) {
            put(libc::IP_TTL, int(datagram.ttl.into()));
        }
        if is_on(&self.tos) {
            put(libc::IP_TOS, vec![datagram.tos]);
        }
        if is_on(&self.original) {
            let original = SocketAddr::new(datagram.to, datagram.to_port);
            put(libc::IP_ORIGDSTADDR, emit_inet(original));
        }
    }

    /// The messages of RFC 3542 (`ip6_datagram_recv_common_ctl`, `ip6_datagram_recv_specific_ctl`).
    fn put6(&self, datagram: &ReceivedDatagram, other: &mut Vec<Message>) {
        let mut put = |kind, data: Vec<u8>| other.push((IPV6, kind, data));
        if is_on(&self.packet_info6) {
            let to = match datagram.to {
                IpAddr::V4(to) => to.to_ipv6_mapped(),
                IpAddr::V6(to) => to,
            };
            // struct in6_pktinfo: destination, interface index.
            let index = datagram.iface.index().to_ne_bytes();
            put(libc::IPV6_PKTINFO, [&to.octets()[..], &index].concat());
        }
        if datagram.to.is_ipv4() {
            return;
        }
        if is_on(&self.hop_limit) {
            put(libc::IPV6_HOPLIMIT, int(datagram.ttl.into()));
        }
        if is_on(&self.traffic_class) {
            put(libc::IPV6_TCLASS, int(datagram.tos.into()));
        }
        if is_on(&self.original6) {
            let original = SocketAddr::new(datagram.to, datagram.to_port);
            put(libc::IPV6_ORIGDSTADDR, emit_inet(original));
        }
    }
}

/// The "new" forms of the timestamp options (asm-generic/socket.h), the same as the old ones in 64 bits.
pub(super) const SO_TIMESTAMP_NEW: i32 = 63;
pub(super) const SO_TIMESTAMPNS_NEW: i32 = 64;

/// Level, type, data.
type Message = (i32, i32, Vec<u8>);

fn is_on(flag: &AtomicBool) -> bool {
    flag.load(Ordering::Relaxed)
}

fn int(value: i32) -> Vec<u8> {
    value.to_ne_bytes().to_vec()
}

/// When the datagram arrived, since 1970.
fn arrival(net: &Net, datagram: &ReceivedDatagram) -> Duration {
    let age = net.now().since(datagram.arrival);
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    now.saturating_sub(age)
}

/// The address of ours that a packet to `to` is for: of a group or broadcast, the interface's
/// (`fib_compute_spec_dst`).
fn local_address(net: &Net, iface: IfaceId, to: Ipv4Addr) -> Ipv4Addr {
    net.with(|stack| {
        if stack.is_local(to.into()) {
            return to;
        }
        let found = stack.interfaces().find(|info| info.id == iface);
        let addrs = found.into_iter().flat_map(|info| info.addrs);
        let mut v4 = addrs.filter_map(|cidr| match cidr.addr() {
            IpAddr::V4(addr) => Some(addr),
            IpAddr::V6(_) => None,
        });
        v4.next().unwrap_or(Ipv4Addr::UNSPECIFIED)
    })
}

/// Reads what sendmsg(2) gave (`ip_cmsg_send`, `ip6_datagram_send_ctl`, `udp_cmsg_send`).
///
/// # Errors
/// EINVAL for messages of these levels that are unknown or malformed.
pub(super) fn parse(family: Family, udp: bool, control: &Control) -> Result<SendTo, Errno> {
    let mut how = SendTo::default();
    for (level, kind, data) in &control.other {
        match *level {
            UDP if udp => {
                let size: [u8; 2] = match (*kind, data[..].try_into()) {
                    (libc::UDP_SEGMENT, Ok(size)) => size,
                    _ => return Err(Errno::EINVAL),
                };
                how.segment = Some(u16::from_ne_bytes(size));
            }
            IP if family == Family::V4 => parse4(*kind, data, &mut how)?,
            IPV6 if family == Family::V6 => parse6(*kind, data, &mut how)?,
            _ => {}
        }
    }
    Ok(how)
}

fn parse4(kind: i32, data: &[u8], how: &mut SendTo) -> Result<(), Errno> {
    match (kind, data.len()) {
        (libc::IP_PKTINFO, 12) => {
            let index = option_int(data)? as u32;
            how.iface = iface(index)?;
            let source = Ipv4Addr::new(data[4], data[5], data[6], data[7]);
            how.source = Some(source)
                .filter(|addr| !addr.is_unspecified())
                .map(IpAddr::V4);
        }
        (libc::IP_TTL, 4) => {
            let ttl = u8::try_from(option_int(data)?).ok().filter(|ttl| *ttl > 0);
            how.ttl = Some(ttl.ok_or(Errno::EINVAL)?);
        }
        (libc::IP_TOS, 1) => how.tos = Some(data[0]),
        (libc::IP_TOS, 4) => {
            how.tos = Some(u8::try_from(option_int(data)?).map_err(|_| Errno::EINVAL)?);
        }
        _ => return Err(Errno::EINVAL),
    }
    Ok(())
}

fn parse6(kind: i32, data: &[u8], how: &mut SendTo) -> Result<(), Errno> {
    let number = || match (data.len(), option_int(data)?) {
        (4, number @ -1..=255) => Ok(u8::try_from(number).ok()),
        _ => Err(Errno::EINVAL),
    };
    match kind {
        libc::IPV6_PKTINFO => {
            let octets = data.first_chunk::<16>().ok_or(Errno::EINVAL)?;
            let index = data.get(16..20).ok_or(Errno::EINVAL)?;
            how.iface = iface(option_int(index)? as u32)?;
            let source = Some(Ipv6Addr::from(*octets)).filter(|addr| !addr.is_unspecified());
            how.source = source.map(|addr| addr.to_canonical());
        }
        libc::IPV6_HOPLIMIT => how.ttl = number()?,
        libc::IPV6_TCLASS => how.tos = number()?,
        _ => return Err(Errno::EINVAL),
    }
    Ok(())
}

fn iface(index: u32) -> Result<Option<IfaceId>, Errno> {
    match index {
        0 => Ok(None),
        index => Ok(Some(IfaceId::from_index(index).ok_or(Errno::ENODEV)?)),
    }
}
