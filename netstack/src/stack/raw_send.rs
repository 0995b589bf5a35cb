//! Raw IP and ICMP echo sockets: sending.

use std::net::IpAddr;

use smallvec::{SmallVec, smallvec};

use super::Stack;
use super::egress::ip_header_len;
use crate::buf::{Bytes, GsoKind, TxPacket};
use crate::error::SocketError;
use crate::network::{IfaceId, NO_CHECKSUM, TransportOut};
use crate::socket::{RawKind, SendTo, SocketId};
use crate::wire::checksum::Checksum;
use crate::wire::icmpv4::{self, Icmpv4Repr};
use crate::wire::icmpv6::{self, Icmpv6Repr};
use crate::wire::{be16, ipv4, ipv6};

/// A destination, and the interface that leads to it, if that matters.
type To = (IpAddr, Option<IfaceId>);

/// The longest transport header that is handed over apart from the payload.
const HEADER_MAX: usize = 60;

impl Stack {
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
            RawKind::Ip(_) if self.raw_mut(id)?.header_included => {
                self.raw_send_whole(id, &data, (to, iface), &how)
            }
            RawKind::Ip(_) => self.raw_send_payload(id, &data, (to, iface), &how),
            RawKind::Echo => self.send_echo(id, &data, (to, iface), &how),
        };
        if sent == Err(SocketError::NoBuffers) {
            self.raw_mut(id)?.blocked = true;
            return Err(SocketError::WouldBlock);
        }
        self.settle();
        sent.map(|()| data.len())
    }

    /// What follows the IP header, with a checksum where the socket wants one (RFC 3542 section 3.1).
    fn raw_send_payload(
        &mut self,
        id: SocketId,
        data: &Bytes,
        to: To,
        how: &SendTo,
    ) -> Result<(), SocketError> {
        let at = match self.raw_mut(id)?.checksum_at {
            Some(at) if to.0.is_ipv6() => usize::from(at),
            _ => return self.raw_output(id, &[], NO_CHECKSUM, data.clone(), to, how),
        };
        if at + 2 > data.len() {
            return Err(SocketError::Invalid);
        }
        // The field has to be in what is handed over as the transport's header.
        if at + 2 <= HEADER_MAX {
            let mut header: SmallVec<[u8; HEADER_MAX]> = SmallVec::from_slice(&data[..at + 2]);
            header[at..].fill(0);
            let body = data.slice(at + 2..);
            return self.raw_output(id, &header, at as u16, body, to, how);
        }
        let whole = self.with_checksum(id, data, at, to, how)?;
        self.raw_output(id, &[], NO_CHECKSUM, whole, to, how)
    }

    /// The same for a field so far back that it is filled in by hand.
    fn with_checksum(
        &mut self,
        id: SocketId,
        data: &Bytes,
        at: usize,
        (to, iface): To,
        how: &SendTo,
    ) -> Result<Bytes, SocketError> {
        let socket = self.raw.get(id).ok_or(SocketError::Invalid)?;
        let way = self.datagram_way(&socket.options, Some(socket.local), (to, iface), how);
        let src = self.datagram_route(to, &way)?.src;
        let mut data = data.to_vec();
        data[at..at + 2].fill(0);
        let mut sum = Checksum::pseudo(src, to, socket.proto(), data.len() as u32);
        sum.add_bytes(&data);
        data[at..at + 2].copy_from_slice(&sum.finish().to_be_bytes());
        Ok(data.into())
    }

    /// A packet with its IP header (IP_HDRINCL, IPV6_HDRINCL). Of IPv4 the stack fills in the length, the
    /// checksum, and where they are zero the source and the identifier (raw(7)).
    fn raw_send_whole(
        &mut self,
        id: SocketId,
        data: &Bytes,
        (to, iface): To,
        how: &SendTo,
    ) -> Result<(), SocketError> {
        let socket = self.raw.get(id).ok_or(SocketError::Invalid)?;
        let way = self.datagram_way(&socket.options, None, (to, iface), how);
        let mut path = self.net.path(to, None, way.iface)?;
        path.src = way.src.unwrap_or(path.src);
        if data.len() > path.mtu as usize {
            return Err(SocketError::MessageTooLong);
        }
        let header_len = match to {
            IpAddr::V4(_) => usize::from(data.first().unwrap_or(&0) & 0xf) * 4,
            IpAddr::V6(_) => ipv6::HEADER_LEN,
        };
        if data.len() < header_len.max(ip_header_len(to)) {
            return Err(SocketError::Invalid);
        }
        if !self.net.has_room(path.iface) {
            self.net.stats.ip(to).out_discards += 1;
            return Err(SocketError::NoBuffers);
        }
        let mut packet = TxPacket::default();
        let header = packet.head.push_front(header_len);
        header.copy_from_slice(&data[..header_len]);
        if let (IpAddr::V4(dst), IpAddr::V4(src)) = (to, path.src) {
            let ident = self.net.idents.next(src.into(), dst.into(), header[9]) as u16;
            ipv4::complete(header, data.len() as u16, src, ident);
        }
        packet.body.push(data.slice(header_len..));
        self.net.stats.ip(to).out_requests += 1;
        self.net.send_with_header(&path, to, packet, way.out);
        Ok(())
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
}
