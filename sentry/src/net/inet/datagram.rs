//! UDP, ICMP echo and raw sockets.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::AtomicI32;

use netstack::error::SocketError;
use netstack::host::Net;
use netstack::socket::{Family, RawKind, ReceivedDatagram, SocketId};
use netstack::stack::Stack;
use sentry_abi::Errno;

use super::ancillary::Wanted;
use super::endpoint::{Endpoint, PIECE_MAX, destination, domain, guest_addr, to_errno};
use super::stream::UNPRIVILEGED_PORT_START;
use super::{ancillary, datagram_options, errors, groups};
use crate::mm::io::{IoDst, IoSrc};
use crate::net::addr::{emit_inet, family};
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
        wanted: Wanted::default(),
        send_buffer: AtomicI32::new(212_992),
    })
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Udp,
    Echo,
    Raw(u8),
}

pub(super) struct DatagramSocket {
    pub(super) endpoint: Endpoint,
    pub(super) family: Family,
    pub(super) kind: Kind,
    pub(super) wanted: Wanted,
    /// SO_SNDBUF, kept to be shown.
    pub(super) send_buffer: AtomicI32,
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
        let mut how = ancillary::parse(self.family, self.kind == Kind::Udp, &meta.control)?;
        how.to = to.transpose()?;
        how.more = meta.flags & libc::MSG_MORE != 0;
        if src.remaining() > PIECE_MAX {
            return Err(Errno::EMSGSIZE);
        }
        let mut data = vec![0; src.remaining()];
        // A datagram goes out whole or not at all.
        if !data.is_empty() && src.take(&mut data)? < data.len() {
            return Err(Errno::EFAULT);
        }
        self.endpoint.call(|stack, id| match self.kind {
            Kind::Udp => stack.udp_send(id, data, how),
            _ => stack.raw_send(id, data, how),
        })
    }

    fn recv(&self, dst: &mut dyn IoDst, flags: i32) -> Result<Received, Errno> {
        if flags & libc::MSG_ERRQUEUE != 0 {
            return errors::receive(self, dst);
        }
        let peek = flags & libc::MSG_PEEK != 0;
        let datagram = match self.endpoint.call(|stack, id| self.take(stack, id, peek)) {
            // Nothing will come any more.
            Err(Errno::EAGAIN) if self.readiness().contains(Ready::RDHUP) => {
                return Ok(Received::default());
            }
            result => result?,
        };
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
            control: self
                .wanted
                .control_of(self.family, self.endpoint.net(), &datagram),
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
        datagram_options::get(self, level, name)
    }

    fn ask_option(&self, level: i32, name: i32, asked: &[u8]) -> Result<Vec<u8>, Errno> {
        groups::ask(&self.endpoint, level, name, asked)
    }

    fn set_option(
        &self,
        caller: &Caller<'_>,
        level: i32,
        name: i32,
        value: &[u8],
    ) -> Result<(), Errno> {
        datagram_options::set(self, caller, level, name, value)
    }

    fn readable_bytes(&self) -> usize {
        self.first_len().unwrap_or(0)
    }

    fn readiness(&self) -> Ready {
        let ready = self.endpoint.readiness();
        // An error alone is nothing to read (`datagram_poll`).
        match ready.contains(Ready::ERR) && !ready.contains(Ready::RDHUP) {
            true if self.first_len().is_none() => ready - (Ready::IN | Ready::RDNORM),
            _ => ready,
        }
    }

    fn wait_queue(&self) -> &WaitQueue {
        self.endpoint.queue()
    }
}
