//! UDP, ICMP echo and raw sockets.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use netstack::error::SocketError;
use netstack::host::Net;
use netstack::socket::{Family, RawKind, ReceivedDatagram, SocketId};
use netstack::stack::Stack;
use sentry_abi::Errno;

use super::endpoint::{Endpoint, PIECE_MAX, destination, domain, guest_addr, to_errno};
use super::options;
use super::stream::UNPRIVILEGED_PORT_START;
use crate::mm::io::{IoDst, IoSrc};
use crate::net::addr::{emit_inet, family};
use crate::net::control::Control;
use crate::net::{Caller, Received, SendMeta, Shutdown, Socket, SocketType};
use crate::vfs::creds::cap;
use crate::wait::{Ready, WaitQueue};

/// A new UDP socket.
pub(super) fn open_udp(net: &Net, family: Family) -> Arc<dyn Socket> {
    let id = net.with(|stack| stack.udp_open(family));
    own(net, id, family, Kind::Udp)
}

/// A new ICMP echo socket (a ping socket).
pub(super) fn open_echo(net: &Net, family: Family) -> Result<Arc<dyn Socket>, Errno> {
    let id = net
        .with(|stack| stack.raw_open(family, RawKind::Echo))
        .map_err(to_errno)?;
    Ok(own(net, id, family, Kind::Echo))
}

/// A new raw socket.
pub(super) fn open_raw(net: &Net, family: Family, protocol: u8) -> Result<Arc<dyn Socket>, Errno> {
    let id = net
        .with(|stack| stack.raw_open(family, RawKind::Ip(protocol)))
        .map_err(to_errno)?;
    Ok(own(net, id, family, Kind::Raw(protocol)))
}

fn own(net: &Net, id: SocketId, family: Family, kind: Kind) -> Arc<dyn Socket> {
    Arc::new(DatagramSocket {
        endpoint: Endpoint::new(net, id),
        family,
        kind,
        flags: ControlFlags::default(),
    })
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Udp,
    Echo,
    Raw(u8),
}

/// Which control messages were asked for.
#[derive(Default)]
pub(super) struct ControlFlags {
    /// IP_PKTINFO
    pub(super) packet_info: AtomicBool,
    /// IP_RECVTTL
    pub(super) ttl: AtomicBool,
    /// IP_RECVTOS
    pub(super) tos: AtomicBool,
    /// IPV6_RECVPKTINFO
    pub(super) packet_info6: AtomicBool,
    /// IPV6_RECVHOPLIMIT
    pub(super) hop_limit: AtomicBool,
    /// IPV6_RECVTCLASS
    pub(super) traffic_class: AtomicBool,
}

struct DatagramSocket {
    endpoint: Endpoint,
    family: Family,
    kind: Kind,
    flags: ControlFlags,
}

impl DatagramSocket {
    fn take(
        &self,
        stack: &mut Stack,
        id: SocketId,
        peek: bool,
    ) -> Result<ReceivedDatagram, SocketError> {
        match (self.kind, peek) {
            (Kind::Udp, true) => stack.udp_peek(id).cloned(),
            (Kind::Udp, false) => stack.udp_recv(id),
            (_, true) => stack.raw_peek(id).cloned(),
            (_, false) => stack.raw_recv(id),
        }
    }

    fn control_of(&self, datagram: &ReceivedDatagram) -> Control {
        let mut control = Control::default();
        if self.family == Family::V6 {
            self.control6_of(datagram, &mut control);
        }
        let mut put = |kind, data: Vec<u8>| control.other.push((libc::IPPROTO_IP, kind, data));
        let asked = |flag: &AtomicBool| flag.load(Ordering::Relaxed);
        if asked(&self.flags.packet_info)
            && let IpAddr::V4(to) = datagram.to
        {
            // struct in_pktinfo: interface index (from 1), local address, destination.
            let index = i32::from(datagram.iface.0) + 1;
            put(
                libc::IP_PKTINFO,
                [index.to_ne_bytes(), to.octets(), to.octets()].concat(),
            );
        }
        let v4 = datagram.to.is_ipv4();
        if v4 && asked(&self.flags.ttl) {
            put(libc::IP_TTL, i32::from(datagram.ttl).to_ne_bytes().to_vec());
        }
        if v4 && asked(&self.flags.tos) {
            put(libc::IP_TOS, vec![datagram.tos]);
        }
        control
    }

    /// The messages of RFC 3542 (`ip6_datagram_recv_common_ctl`).
    fn control6_of(&self, datagram: &ReceivedDatagram, control: &mut Control) {
        let mut put = |kind, data: Vec<u8>| control.other.push((libc::IPPROTO_IPV6, kind, data));
        let asked = |flag: &AtomicBool| flag.load(Ordering::Relaxed);
        if asked(&self.flags.packet_info6) {
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
        let int = |value: u8| i32::from(value).to_ne_bytes().to_vec();
        if asked(&self.flags.hop_limit) {
            put(libc::IPV6_HOPLIMIT, int(datagram.ttl));
        }
        if asked(&self.flags.traffic_class) {
            put(libc::IPV6_TCLASS, int(datagram.tos));
        }
    }

    /// Length of the first datagram that waits.
    fn first_len(&self) -> Option<usize> {
        let peek = |stack: &mut Stack, id| {
            self.take(stack, id, true)
                .map(|datagram| datagram.data.len())
        };
        self.endpoint.call(peek).ok()
    }
}

/// sizeof(struct sockaddr_in).
const SOCKADDR_IN: usize = 16;

/// Where a datagram goes to: AF_UNSPEC is taken for AF_INET (`udp_sendmsg`), port 0 is none.
fn datagram_destination(own: Family, addr: &[u8]) -> Result<SocketAddr, Errno> {
    if addr.len() < SOCKADDR_IN {
        return Err(Errno::EINVAL);
    }
    match family(addr)? {
        // A socket of IPv6 takes IPv4 addresses plainly too (`udpv6_sendmsg`).
        libc::AF_INET => destination(Family::V4, addr),
        libc::AF_UNSPEC if own == Family::V4 => {
            let as_inet = [&(libc::AF_INET as u16).to_ne_bytes(), &addr[2..]].concat();
            destination(own, &as_inet)
        }
        _ => destination(own, addr),
    }
}

impl Socket for DatagramSocket {
    fn socket_type(&self) -> SocketType {
        let (kind, protocol) = match self.kind {
            Kind::Udp => (libc::SOCK_DGRAM, libc::IPPROTO_UDP),
            Kind::Echo if self.family == Family::V6 => (libc::SOCK_DGRAM, libc::IPPROTO_ICMPV6),
            Kind::Echo => (libc::SOCK_DGRAM, libc::IPPROTO_ICMP),
            Kind::Raw(protocol) => (libc::SOCK_RAW, protocol.into()),
        };
        SocketType {
            family: domain(self.family),
            kind,
            protocol,
        }
    }

    fn bind(&self, caller: &Caller<'_>, addr: &[u8]) -> Result<(), Errno> {
        let addr = guest_addr(self.family, addr)?;
        if self.kind != Kind::Udp {
            return self.endpoint.call(|stack, id| stack.raw_bind(id, addr));
        }
        if addr.port() != 0
            && addr.port() < UNPRIVILEGED_PORT_START
            && !caller.path.creds.has(cap::NET_BIND_SERVICE)
        {
            return Err(Errno::EACCES);
        }
        self.endpoint.call(|stack, id| stack.udp_bind(id, addr))
    }

    fn listen(&self, _: &Caller<'_>, _: i32) -> Result<(), Errno> {
        Err(Errno::EOPNOTSUPP)
    }

    fn accept(&self) -> Result<Arc<dyn Socket>, Errno> {
        Err(Errno::EOPNOTSUPP)
    }

    fn connect(&self, _: &Caller<'_>, addr: &[u8]) -> Result<(), Errno> {
        let unspec = family(addr)? == libc::AF_UNSPEC;
        if !unspec && addr.len() < SOCKADDR_IN {
            return Err(Errno::EINVAL);
        }
        let addr = match unspec {
            true => None,
            false => Some(datagram_destination(self.family, addr)?),
        };
        self.endpoint.call(|stack, id| match (self.kind, addr) {
            (Kind::Udp, None) => stack.udp_disconnect(id),
            (Kind::Udp, Some(addr)) => stack.udp_connect(id, addr),
            (_, addr) => stack.raw_connect(id, addr),
        })
    }

    fn send(
        &self,
        _: &Caller<'_>,
        src: &mut dyn IoSrc,
        meta: SendMeta<'_>,
    ) -> Result<usize, Errno> {
        if meta.flags & libc::MSG_OOB != 0 {
            return Err(Errno::EOPNOTSUPP);
        }
        let to = meta.to.map(|to| datagram_destination(self.family, to));
        let to: Option<SocketAddr> = to.transpose()?;
        if src.remaining() > PIECE_MAX {
            return Err(Errno::EMSGSIZE);
        }
        let mut data = vec![0; src.remaining()];
        // A datagram goes out whole or not at all.
        if !data.is_empty() && src.take(&mut data)? < data.len() {
            return Err(Errno::EFAULT);
        }
        self.endpoint.call(|stack, id| match self.kind {
            Kind::Udp => stack.udp_send(id, data, to),
            _ => stack.raw_send(id, data, to),
        })
    }

    fn recv(&self, dst: &mut dyn IoDst, flags: i32) -> Result<Received, Errno> {
        if flags & libc::MSG_ERRQUEUE != 0 {
            return Err(Errno::EAGAIN);
        }
        let peek = flags & libc::MSG_PEEK != 0;
        let datagram = self.endpoint.call(|stack, id| self.take(stack, id, peek))?;
        let full = datagram.data.len();
        let copied = if full == 0 {
            0
        } else {
            dst.put(&datagram.data)?
        };
        Ok(Received {
            len: if flags & libc::MSG_TRUNC != 0 {
                full
            } else {
                copied
            },
            from: emit_inet(datagram.from),
            flags: if copied < full { libc::MSG_TRUNC } else { 0 },
            control: self.control_of(&datagram),
        })
    }

    fn shutdown(&self, how: Shutdown) -> Result<(), Errno> {
        self.endpoint.shutdown(how)
    }

    fn local_addr(&self) -> Result<Vec<u8>, Errno> {
        self.endpoint.local_addr()
    }

    fn peer_addr(&self) -> Result<Vec<u8>, Errno> {
        self.endpoint.peer_addr()
    }

    fn get_option(&self, level: i32, name: i32) -> Result<Vec<u8>, Errno> {
        options::get_datagram(
            &self.endpoint,
            self.socket_type(),
            self.kind,
            &self.flags,
            level,
            name,
        )
    }

    fn set_option(&self, _: &Caller<'_>, level: i32, name: i32, value: &[u8]) -> Result<(), Errno> {
        options::set_datagram(
            &self.endpoint,
            (self.family, self.kind),
            &self.flags,
            level,
            name,
            value,
        )
    }

    fn readable_bytes(&self) -> usize {
        self.first_len().unwrap_or(0)
    }

    fn readiness(&self) -> Ready {
        self.endpoint.readiness()
    }

    fn wait_queue(&self) -> &WaitQueue {
        self.endpoint.queue()
    }
}
