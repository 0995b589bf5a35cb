//! Raw IP and ICMP echo sockets: packets in, and the socket calls but sending.

use std::net::{IpAddr, SocketAddr};

use super::Stack;
use super::ingress::Inbound;

use crate::error::SocketError;
use crate::network::icmp_error::IcmpError;
use crate::network::{IfaceId, proto};
use crate::socket::{
    DatagramOptions, Family, Names, RawKind, RawSocket, ReceivedDatagram, SendTo, SocketId,
};
use crate::wire::checksum::Checksum;

impl Stack {
    /// Gives every raw socket of the protocol a copy; true if there was one.
    pub(super) fn raw_in(&mut self, inbound: &Inbound) -> bool {
        if self.raw.is_empty() {
            return false;
        }
        let kind = match (inbound.meta.dst, inbound.proto) {
            (IpAddr::V4(_), proto::ICMP) | (IpAddr::V6(_), proto::ICMPV6) => {
                inbound.packet.get(inbound.header_len).copied()
            }
            _ => None,
        };
        let sum_is_right = inbound.meta.checksum_valid || inbound.meta.dst.is_ipv4();
        let sum_is_right = sum_is_right || whole_sum_is_right(inbound);
        let wanted = |socket: &RawSocket| {
            let passes = kind.is_none_or(|kind| socket.passes(kind));
            let sum = sum_is_right || socket.checksum_at.is_none();
            socket.kind == RawKind::Ip(inbound.proto)
                && passes
                && sum
                && socket.matches(&inbound.meta)
        };
        // Linux: raw sockets of IPv6 see what follows the headers.
        let start = match inbound.meta.dst {
            IpAddr::V4(_) => 0,
            IpAddr::V6(_) => inbound.header_len,
        };
        self.raw_queue(inbound, start, wanted)
    }

    /// Gives an echo reply to the socket with its identifier.
    pub(super) fn ping_in(&mut self, inbound: &Inbound, ident: u16) {
        let wanted = |socket: &RawSocket| {
            let ours = socket.kind == RawKind::Echo && socket.ident == Some(ident);
            ours && socket.matches(&inbound.meta)
        };
        self.raw_queue(inbound, inbound.header_len, wanted);
    }

    fn raw_queue(
        &mut self,
        inbound: &Inbound,
        start: usize,
        wanted: impl Fn(&RawSocket) -> bool,
    ) -> bool {
        let mut any = false;
        let meta = &inbound.meta;
        let view = inbound.filter_view(start, self.hardware_of(meta.iface));
        let data = inbound.packet.slice(start..);
        for (id, socket) in self.raw.iter_mut().filter(|(_, socket)| wanted(socket)) {
            any = true;
            let Some(kept) = socket.filter.keep(&view, data.len()) else {
                continue;
            };
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
                data: data.slice(..kept),
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
            let peer = socket.remote.map_or(socket.options.recv_errors, |remote| {
                remote == error.remote.ip()
            });
            let told = sent_by(socket, protocol, error) && peer;
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

    /// ICMP_FILTER of a raw socket: a bit for each of the first 32 types that it does not see.
    ///
    /// # Errors
    /// `NotSupported` if it is not one for ICMP.
    pub fn icmp_filter_mut(&mut self, id: SocketId) -> Result<&mut u32, SocketError> {
        let socket = self.raw_mut(id)?;
        match (socket.kind, socket.names.family) {
            (RawKind::Ip(proto::ICMP), Family::V4) => Ok(&mut socket.icmp4_filter),
            _ => Err(SocketError::NotSupported),
        }
    }

    /// IP_HDRINCL, IPV6_HDRINCL of a raw socket.
    ///
    /// # Errors
    /// `NoProtocol` if it is none.
    pub fn header_included_mut(&mut self, id: SocketId) -> Result<&mut bool, SocketError> {
        let socket = self.raw_mut(id)?;
        match socket.kind {
            RawKind::Ip(_) => Ok(&mut socket.header_included),
            RawKind::Echo => Err(SocketError::NoProtocol),
        }
    }

    /// IPV6_CHECKSUM of a raw socket: where the stack fills in and verifies a checksum.
    ///
    /// # Errors
    /// `NoProtocol` if it is none of IPv6.
    pub fn checksum_at_mut(&mut self, id: SocketId) -> Result<&mut Option<u16>, SocketError> {
        let socket = self.raw_mut(id)?;
        match (socket.kind, socket.names.family) {
            (RawKind::Ip(_), Family::V6) => Ok(&mut socket.checksum_at),
            _ => Err(SocketError::NoProtocol),
        }
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
                ident if !self.may_share(id, ident) => return Err(SocketError::AddrInUse),
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
            let socket = self.raw_mut(id)?;
            socket.remote = None;
            if core::mem::take(&mut socket.local_by_connect) {
                socket.local = socket.names.unspecified();
            }
            return Ok(());
        };
        let port = remote.port();
        let (remote, iface) = self.raw_destination(id, remote)?;
        let socket = self.raw.get(id).ok_or(SocketError::Invalid)?;
        let chosen = Some(socket.local).filter(|_| !socket.local_by_connect);
        let way = self.datagram_way(&socket.options, chosen, (remote, iface), &SendTo::default());
        let route = self.datagram_route(remote, &way)?;
        let socket = self.raw_mut(id)?;
        (socket.remote, socket.options.iface) = (Some(remote), iface);
        socket.remote_port = port;
        if socket.local.is_unspecified() || socket.local_by_connect {
            (socket.local, socket.local_by_connect) = (route.src, true);
        }
        Ok(())
    }

    /// A destination, and the interface that leads to it, if that matters.
    pub(super) fn raw_destination(
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

    pub(super) fn raw_mut(&mut self, id: SocketId) -> Result<&mut RawSocket, SocketError> {
        self.raw.get_mut(id).ok_or(SocketError::Invalid)
    }

    fn ident_taken(&self, ident: u16) -> bool {
        self.raw
            .iter()
            .any(|(_, socket)| socket.ident == Some(ident))
    }

    /// True if nobody has the identifier who does not want to share it (SO_REUSEADDR).
    fn may_share(&self, id: SocketId, ident: u16) -> bool {
        let reuses = self
            .raw
            .get(id)
            .is_some_and(|socket| socket.options.reuse_addr);
        let mut holders = self
            .raw
            .iter()
            .filter(|(_, socket)| socket.ident == Some(ident));
        holders.all(|(_, socket)| reuses && socket.options.reuse_addr)
    }

    /// An identifier that no echo socket has.
    pub(super) fn free_ident(&mut self) -> Option<u16> {
        let start = self.rng.next_u32() as u16;
        (0..=u16::MAX)
            .map(|step| start.wrapping_add(step))
            .find(|ident| *ident != 0 && !self.ident_taken(*ident))
    }
}

/// True if the pseudo-header and what follows sum up as they should (RFC 3542 section 3.1).
fn whole_sum_is_right(inbound: &Inbound) -> bool {
    let payload = inbound.payload();
    let meta = &inbound.meta;
    let mut sum = Checksum::pseudo(meta.src, meta.dst, inbound.proto, payload.len() as u32);
    sum.add_bytes(&payload);
    sum.is_valid()
}

/// True if the socket can have sent the packet that `error` is about.
pub(super) fn sent_by(socket: &RawSocket, protocol: u8, error: &IcmpError) -> bool {
    match socket.kind {
        RawKind::Ip(proto) => proto == protocol,
        RawKind::Echo => protocol == socket.proto() && socket.ident == Some(error.local.port()),
    }
}
