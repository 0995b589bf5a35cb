//! Raw IP and ICMP echo sockets: packets in, and the socket calls.

use std::net::{IpAddr, SocketAddr};

use smallvec::smallvec;

use super::Stack;
use super::egress::ip_header_len;
use super::ingress::Inbound;
use crate::buf::{Bytes, GsoKind};
use crate::error::SocketError;
use crate::network::icmp_error::IcmpError;
use crate::network::{IfaceId, IpMeta, IpOutput, NO_CHECKSUM, TransportOut, proto};
use crate::socket::{
    DatagramOptions, Family, Names, RawKind, RawSocket, ReceivedDatagram, SendTo, SocketId,
};
use crate::wire::icmpv4::{self, Icmpv4Repr};
use crate::wire::icmpv6::{self, Icmpv6Repr};
use crate::wire::{be16, ipv4};

/// A destination, and the interface that leads to it, if that matters.
type To = (IpAddr, Option<IfaceId>);

impl Stack {
    /// Gives every raw socket of the protocol a copy; true if there was one.
    pub(super) fn raw_in(&mut self, inbound: &Inbound) -> bool {
        if self.raw.is_empty() {
            return false;
        }
        let kind = match (inbound.meta.dst, inbound.proto) {
            (IpAddr::V6(_), proto::ICMPV6) => inbound.packet.get(inbound.header_len).copied(),
            _ => None,
        };
        let wanted = |socket: &RawSocket| {
            let passes = kind.is_none_or(|kind| socket.passes(kind));
            socket.kind == RawKind::Ip(inbound.proto) && passes && socket.matches(&inbound.meta)
        };
        // Linux: raw sockets of IPv6 see what follows the headers.
        let data = match inbound.meta.dst {
            IpAddr::V4(_) => inbound.packet.clone(),
            IpAddr::V6(_) => inbound.payload(),
        };
        self.raw_queue(&inbound.meta, &data, wanted)
    }

    /// Gives an echo reply to the socket with its identifier.
    pub(super) fn ping_in(&mut self, meta: &IpMeta, ident: u16, message: &Bytes) {
        let wanted = |socket: &RawSocket| {
            socket.kind == RawKind::Echo && socket.ident == Some(ident) && socket.matches(meta)
        };
        self.raw_queue(meta, message, wanted);
    }

    fn raw_queue(
        &mut self,
        meta: &IpMeta,
        data: &Bytes,
        wanted: impl Fn(&RawSocket) -> bool,
    ) -> bool {
        let mut any = false;
        for (id, socket) in self.raw.iter_mut().filter(|(_, socket)| wanted(socket)) {
            any = true;
            let datagram = ReceivedDatagram {
                from: socket
                    .names
                    .outward(SocketAddr::new(meta.src, 0), Some(meta.iface)),
                to: meta.dst,
                to_port: 0,
                iface: meta.iface,
                tos: meta.tos,
                ttl: meta.ttl,
                arrival: meta.arrival,
                gro_size: 0,
                drops: 0,
                data: data.clone(),
            };
            if socket.queue.push(datagram, socket.options.recv_budget) {
                self.events.mark(id);
            }
        }
        any
    }

    /// An ICMP error about a packet of a raw or echo socket: connected ones are told.
    pub(super) fn raw_error(&mut self, protocol: u8, error: &IcmpError) {
        for (id, socket) in self.raw.iter_mut() {
            let told = sent_by(socket, protocol, error) && socket.remote == Some(error.remote.ip());
            if told {
                socket.queue.set_error(error.cause.error);
                self.events.mark(id);
            }
        }
    }

    /// True if a socket exists that can have sent the packet that `error` is about.
    pub(super) fn raw_owns(&self, protocol: u8, error: &IcmpError) -> bool {
        let mut sockets = self.raw.iter();
        sockets.any(|(_, socket)| sent_by(socket, protocol, error))
    }

    /// Opens a raw or echo socket. One of IPv6 keeps to IPv6.
    ///
    /// # Errors
    /// None yet; the number of sockets may be bounded one day.
    pub fn raw_open(&mut self, family: Family, kind: RawKind) -> Result<SocketId, SocketError> {
        let names = Names {
            v6only: true,
            ..Names::of(family)
        };
        let budget = self.net.config.rmem_default;
        Ok(self.raw.insert(RawSocket::new(kind, names, budget)))
    }

    /// Options of a raw socket, to read or change.
    ///
    /// # Errors
    /// `Invalid` if there is no such raw socket.
    pub fn raw_options_mut(&mut self, id: SocketId) -> Result<&mut DatagramOptions, SocketError> {
        Ok(&mut self.raw_mut(id)?.options)
    }

    /// ICMP6_FILTER of a raw socket: a bit for each type that it does not see.
    ///
    /// # Errors
    /// `Invalid` if there is no such raw socket.
    pub fn icmp6_filter_mut(&mut self, id: SocketId) -> Result<&mut [u32; 8], SocketError> {
        Ok(&mut self.raw_mut(id)?.icmp6_filter)
    }

    /// Binds to an address; the port is the identifier of an echo socket (0: any).
    ///
    /// # Errors
    /// `AddrFamily`, `AddrNotAvailable`; `AddrInUse` if another echo socket has the identifier.
    pub fn raw_bind(&mut self, id: SocketId, addr: SocketAddr) -> Result<(), SocketError> {
        let socket = self.raw.get(id).ok_or(SocketError::Invalid)?;
        let inward = socket.names.inward(addr)?;
        let iface = inward.link(socket.options.iface)?;
        let ip = inward.addr.ip();
        if !socket.names.speaks(ip)
            || !(ip.is_unspecified() || self.net.is_local(ip) || self.is_group(ip))
        {
            return Err(SocketError::AddrNotAvailable);
        }
        if socket.kind == RawKind::Echo {
            let ident = match addr.port() {
                0 => self.free_ident().ok_or(SocketError::AddrInUse)?,
                ident if self.ident_taken(ident) => return Err(SocketError::AddrInUse),
                ident => ident,
            };
            self.raw_mut(id)?.ident = Some(ident);
        }
        let socket = self.raw_mut(id)?;
        (socket.local, socket.options.iface) = (ip, iface);
        Ok(())
    }

    /// Sets the peer (`None`: any). Its port is ignored.
    ///
    /// # Errors
    /// `NetUnreachable`, `AddrFamily`.
    pub fn raw_connect(
        &mut self,
        id: SocketId,
        remote: Option<SocketAddr>,
    ) -> Result<(), SocketError> {
        let Some(remote) = remote else {
            self.raw_mut(id)?.remote = None;
            return Ok(());
        };
        let (remote, iface) = self.raw_destination(id, remote)?;
        let local = self.raw_mut(id)?.local;
        self.net.route(remote, Some(local), iface)?;
        let socket = self.raw_mut(id)?;
        (socket.remote, socket.options.iface) = (Some(remote), iface);
        Ok(())
    }

    /// A destination, and the interface that leads to it, if that matters.
    fn raw_destination(
        &self,
        id: SocketId,
        to: SocketAddr,
    ) -> Result<(IpAddr, Option<IfaceId>), SocketError> {
        let socket = self.raw.get(id).ok_or(SocketError::Invalid)?;
        let inward = socket.names.inward(to)?;
        if !socket.names.speaks(inward.addr.ip()) {
            return Err(SocketError::AddrFamily);
        }
        Ok((inward.addr.ip(), inward.link(socket.options.iface)?))
    }

    /// Sends a packet: for an echo socket an ICMP echo request, whose identifier and checksum are
    /// filled in; for a raw socket what follows the IP header. Returns its length.
    ///
    /// # Errors
    /// A pending error first; `DestinationRequired`, `Access` for a broadcast without the option,
    /// `Invalid` if an echo socket is given anything but an echo request, `NetUnreachable`,
    /// `MessageTooLong`; `WouldBlock` if the transmit queue is full.
    pub fn raw_send(
        &mut self,
        id: SocketId,
        data: impl Into<Bytes>,
        to: impl Into<SendTo>,
    ) -> Result<usize, SocketError> {
        let (data, how) = (data.into(), to.into());
        let socket = self.raw_mut(id)?;
        if let Some(error) = socket.queue.take_error() {
            return Err(error);
        }
        let (kind, broadcast) = (socket.kind, socket.options.broadcast);
        let peer = socket.remote.map(|remote| (remote, socket.options.iface));
        let (to, iface) = match (how.to, peer) {
            (Some(to), _) => self.raw_destination(id, to)?,
            (None, peer) => peer.ok_or(SocketError::DestinationRequired)?,
        };
        if self.net.is_broadcast(to) && !broadcast {
            return Err(SocketError::Access);
        }
        if data.len() > usize::from(u16::MAX) - ipv4::HEADER_LEN {
            return Err(SocketError::MessageTooLong);
        }
        let sent = match kind {
            RawKind::Ip(proto::ICMPV6) if to.is_ipv6() => {
                self.send_icmpv6(id, &data, (to, iface), &how)
            }
            RawKind::Ip(_) => {
                self.raw_output(id, &[], NO_CHECKSUM, data.clone(), (to, iface), &how)
            }
            RawKind::Echo => self.send_echo(id, &data, (to, iface), &how),
        };
        if sent == Err(SocketError::NoBuffers) {
            self.raw_mut(id)?.blocked = true;
            return Err(SocketError::WouldBlock);
        }
        self.settle();
        sent.map(|()| data.len())
    }

    /// A raw ICMPv6 message, whose checksum is ours to fill in (RFC 3542 section 3.1).
    fn send_icmpv6(
        &mut self,
        id: SocketId,
        data: &Bytes,
        to: To,
        how: &SendTo,
    ) -> Result<(), SocketError> {
        if data.len() < 4 {
            return Err(SocketError::Invalid);
        }
        let mut header: [u8; 4] = core::array::from_fn(|at| data[at]);
        header[2..].fill(0);
        let body = data.slice(4..);
        self.raw_output(id, &header, icmpv6::CHECKSUM_OFFSET, body, to, how)
    }

    fn send_echo(
        &mut self,
        id: SocketId,
        data: &Bytes,
        to: To,
        how: &SendTo,
    ) -> Result<(), SocketError> {
        let request = match to.0 {
            IpAddr::V4(_) => icmpv4::kind::ECHO_REQUEST,
            IpAddr::V6(_) => icmpv6::kind::ECHO_REQUEST,
        };
        if data.len() < icmpv4::HEADER_LEN || data[0] != request || data[1] != 0 {
            return Err(SocketError::Invalid);
        }
        let ident = match self.raw_mut(id)?.ident {
            Some(ident) => ident,
            None => self.free_ident().ok_or(SocketError::NoBuffers)?,
        };
        self.raw_mut(id)?.ident = Some(ident);
        let seq = be16(data, 6);
        let mut header = [0; icmpv4::HEADER_LEN];
        match to.0 {
            IpAddr::V4(_) => Icmpv4Repr::EchoRequest { ident, seq }.emit(&mut header),
            IpAddr::V6(_) => Icmpv6Repr::EchoRequest { ident, seq }.emit(&mut header),
        }
        let body = data.slice(icmpv4::HEADER_LEN..);
        self.raw_output(id, &header, icmpv4::CHECKSUM_OFFSET, body, to, how)
    }

    fn raw_output(
        &mut self,
        id: SocketId,
        header: &[u8],
        checksum_offset: u16,
        body: Bytes,
        (to, iface): To,
        how: &SendTo,
    ) -> Result<(), SocketError> {
        let socket = self.raw.get(id).ok_or(SocketError::Invalid)?;
        let way = self.datagram_way(&socket.options, Some(socket.local), (to, iface), how);
        let route = self.datagram_route(to, &way)?;
        let total = ip_header_len(to) + header.len() + body.len();
        let packet = TransportOut {
            src: route.src,
            dst: to,
            iface: way.iface,
            proto: socket.proto(),
            tos: way.tos,
            ttl: way.ttl,
            dont_fragment: way.dont_fragment(total <= route.mtu as usize),
            header,
            checksum_offset,
            body: smallvec![body],
            gso_size: 0,
            gso_kind: GsoKind::None,
        };
        self.net.output_datagram(packet, way.out)
    }

    /// Takes the oldest packet.
    ///
    /// # Errors
    /// A pending error; `WouldBlock` if nothing waits.
    pub fn raw_recv(&mut self, id: SocketId) -> Result<ReceivedDatagram, SocketError> {
        self.raw_mut(id)?.queue.pop()
    }

    /// The oldest packet, which stays (MSG_PEEK).
    ///
    /// # Errors
    /// `WouldBlock` if nothing waits.
    pub fn raw_peek(&self, id: SocketId) -> Result<&ReceivedDatagram, SocketError> {
        let socket = self.raw.get(id).ok_or(SocketError::Invalid)?;
        socket.queue.peek().ok_or(SocketError::WouldBlock)
    }

    /// There is room in a transmit queue again.
    pub(super) fn raw_room(&mut self) {
        for (id, socket) in self.raw.iter_mut() {
            if core::mem::take(&mut socket.blocked) {
                self.events.mark(id);
            }
        }
    }

    fn raw_mut(&mut self, id: SocketId) -> Result<&mut RawSocket, SocketError> {
        self.raw.get_mut(id).ok_or(SocketError::Invalid)
    }

    fn ident_taken(&self, ident: u16) -> bool {
        self.raw
            .iter()
            .any(|(_, socket)| socket.ident == Some(ident))
    }

    /// An identifier that no echo socket has.
    fn free_ident(&mut self) -> Option<u16> {
        let start = self.rng.next_u32() as u16;
        (0..=u16::MAX)
            .map(|step| start.wrapping_add(step))
            .find(|ident| *ident != 0 && !self.ident_taken(*ident))
    }
}

/// True if the socket can have sent the packet that `error` is about.
fn sent_by(socket: &RawSocket, protocol: u8, error: &IcmpError) -> bool {
    match socket.kind {
        RawKind::Ip(proto) => proto == protocol,
        RawKind::Echo => protocol == socket.proto() && socket.ident == Some(error.local.port()),
    }
}
