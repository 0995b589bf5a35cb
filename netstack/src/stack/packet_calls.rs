//! Packet sockets: what passes the links is shown to them, and what they send leaves as it is.

use bytes::Buf;

use super::Stack;
use super::net::LOOPBACK;
use crate::bpf::Packet;
use crate::buf::{Bytes, RxChecksum, RxPacket, TxPacket};
use crate::error::SocketError;
use crate::link::{MacAddr, Medium};
use crate::network::IfaceId;
use crate::socket::packet::{
    PacketChecksum, PacketCounts, PacketKind, PacketOptions, PacketSocket, PassedPacket,
};
use crate::socket::{FilterError, SocketFilter, SocketId, SocketKind};
use crate::wire::ethernet::{self, EthernetRepr, ethertype};

/// ARPHRD_ETHER, ARPHRD_LOOPBACK, ARPHRD_NONE.
const HARDWARE_ETHERNET: u16 = 1;
const HARDWARE_LOOPBACK: u16 = 772;
const HARDWARE_NONE: u16 = 0xfffe;

/// A packet with its link header (made up for the loopback interface, which has none here but in Linux).
struct Seen {
    frame: Bytes,
    link_len: usize,
    protocol: u16,
    kind: PacketKind,
    from: Option<MacAddr>,
    checksum: PacketChecksum,
}

impl Stack {
    /// Opens a packet socket that hears `protocol` (0: nothing until it is bound); `cooked`: without link
    /// headers.
    pub fn packet_open(&mut self, cooked: bool, protocol: u16) -> SocketId {
        let budget = self.net.config.rmem_default;
        self.packets
            .insert(PacketSocket::new(cooked, protocol, budget))
    }

    /// Hears one link only, and another protocol if that is not 0.
    ///
    /// # Errors
    /// `NoDevice`.
    pub fn packet_bind(
        &mut self,
        id: SocketId,
        iface: Option<IfaceId>,
        protocol: u16,
    ) -> Result<(), SocketError> {
        if iface.is_some_and(|iface| self.net.iface(iface).is_none()) {
            return Err(SocketError::NoDevice);
        }
        let socket = self.packet_mut(id)?;
        socket.iface = iface;
        if protocol != 0 {
            socket.protocol = protocol;
        }
        Ok(())
    }

    /// Link and protocol that the socket hears.
    ///
    /// # Errors
    /// `Invalid` if there is no such socket.
    pub fn packet_bound(&self, id: SocketId) -> Result<(Option<IfaceId>, u16), SocketError> {
        let socket = self.packets.get(id).ok_or(SocketError::Invalid)?;
        Ok((socket.iface, socket.protocol))
    }

    /// Options of a packet socket, to read or change.
    ///
    /// # Errors
    /// `Invalid` if there is no such socket.
    pub fn packet_options_mut(&mut self, id: SocketId) -> Result<&mut PacketOptions, SocketError> {
        Ok(&mut self.packet_mut(id)?.options)
    }

    /// Takes the counts since the last call (PACKET_STATISTICS).
    ///
    /// # Errors
    /// `Invalid` if there is no such socket.
    pub fn packet_counts(&mut self, id: SocketId) -> Result<PacketCounts, SocketError> {
        Ok(core::mem::take(&mut self.packet_mut(id)?.counts))
    }

    /// Takes the oldest packet.
    ///
    /// # Errors
    /// `WouldBlock` if nothing waits.
    pub fn packet_recv(&mut self, id: SocketId) -> Result<PassedPacket, SocketError> {
        self.packet_mut(id)?.pop().ok_or(SocketError::WouldBlock)
    }

    /// The oldest packet, which stays (MSG_PEEK).
    ///
    /// # Errors
    /// `WouldBlock` if nothing waits.
    pub fn packet_peek(&self, id: SocketId) -> Result<&PassedPacket, SocketError> {
        let socket = self.packets.get(id).ok_or(SocketError::Invalid)?;
        socket.peek().ok_or(SocketError::WouldBlock)
    }

    /// The filter of a UDP, raw, echo or packet socket.
    ///
    /// # Errors
    /// `NotSupported` for others.
    pub fn filter_mut(&mut self, id: SocketId) -> Result<&mut SocketFilter, FilterError> {
        let found = match id.kind() {
            SocketKind::Udp => self
                .udp
                .sockets
                .get_mut(id)
                .map(|socket| &mut socket.filter),
            SocketKind::Raw => self.raw.get_mut(id).map(|socket| &mut socket.filter),
            SocketKind::Packet => self.packets.get_mut(id).map(|socket| &mut socket.filter),
            SocketKind::Tcp | SocketKind::Intercept => return Err(FilterError::NotSupported),
        };
        found.ok_or(FilterError::BadProgram)
    }

    /// Shows a received packet to the sockets that hear it.
    pub(super) fn tap_in(&mut self, id: IfaceId, packet: &RxPacket) {
        if self.packets.is_empty() {
            return;
        }
        let checksum = match packet.checksum {
            // What never leaves is never summed up.
            RxChecksum::Valid if id == LOOPBACK => PacketChecksum::Pending,
            RxChecksum::Valid => PacketChecksum::Valid,
            RxChecksum::Unverified => PacketChecksum::Unknown,
        };
        let at = packet.arrival;
        if let Some(mut seen) = self.seen(id, packet.data.clone()) {
            seen.checksum = checksum;
            self.show(id, &seen, at);
        }
    }

    /// Shows packets that leave.
    pub(super) fn tap_out(&mut self, id: IfaceId, packets: &[TxPacket]) {
        if self.packets.is_empty() {
            return;
        }
        for packet in packets {
            if let Some(mut seen) = self.seen(id, packet.to_vec().into()) {
                seen.kind = PacketKind::Outgoing;
                if packet.offload.checksum.is_some() {
                    seen.checksum = PacketChecksum::Pending;
                }
                self.show(id, &seen, self.net.now);
            }
        }
    }

    /// What the link header says; `None` if there is none.
    fn seen(&self, id: IfaceId, frame: Bytes) -> Option<Seen> {
        let iface = self.net.iface(id)?;
        let (kind, checksum) = (PacketKind::Host, PacketChecksum::Unknown);
        if iface.caps.medium == Medium::Ethernet {
            if frame.len() < ethernet::HEADER_LEN {
                return None;
            }
            let dst = MacAddr(core::array::from_fn(|at| frame[at]));
            let kind = match () {
                () if dst == ethernet::BROADCAST => PacketKind::Broadcast,
                () if dst.is_group() => PacketKind::Multicast,
                () if dst != iface.mac => PacketKind::OtherHost,
                () => kind,
            };
            let from = Some(MacAddr(core::array::from_fn(|at| frame[6 + at])));
            let protocol = u16::from_be_bytes([frame[12], frame[13]]);
            let link_len = ethernet::HEADER_LEN;
            return Some(Seen {
                frame,
                link_len,
                protocol,
                kind,
                from,
                checksum,
            });
        }
        let protocol = match frame.first()? >> 4 {
            6 => ethertype::IPV6,
            _ => ethertype::IPV4,
        };
        if !iface.is_loopback {
            return Some(Seen {
                frame,
                link_len: 0,
                protocol,
                kind,
                from: None,
                checksum,
            });
        }
        Some(loopback_frame(protocol, &frame))
    }

    fn show(&mut self, id: IfaceId, seen: &Seen, at: crate::time::Instant) {
        let hardware = self.hardware_of(id);
        for (socket_id, socket) in self.packets.iter_mut() {
            if !socket.hears(id, seen.protocol, seen.kind) {
                continue;
            }
            let start = if socket.cooked { seen.link_len } else { 0 };
            let view = Packet {
                bytes: &seen.frame,
                start,
                network: seen.link_len,
                has_link: seen.link_len > 0,
                protocol: seen.protocol,
                packet_type: seen.kind as u8,
                ifindex: id.index(),
                hardware,
            };
            let len = seen.frame.len() - start;
            let Some(kept) = socket.filter.keep(&view, len) else {
                continue;
            };
            let packet = PassedPacket {
                // A copy: a socket that does not read must not pin what the link needs.
                data: Bytes::copy_from_slice(&seen.frame[start..start + kept]),
                len,
                network: seen.link_len - start,
                protocol: seen.protocol,
                iface: id,
                kind: seen.kind,
                from: seen.from,
                at,
                checksum: seen.checksum,
            };
            if socket.push(packet) {
                self.events.mark(socket_id);
            }
        }
    }

    /// `ARPHRD_*` of an interface.
    pub(super) fn hardware_of(&self, id: IfaceId) -> u16 {
        match self.net.iface(id) {
            Some(iface) if iface.is_loopback => HARDWARE_LOOPBACK,
            Some(iface) if iface.caps.medium == Medium::Ethernet => HARDWARE_ETHERNET,
            _ => HARDWARE_NONE,
        }
    }

    /// Sends a packet over a link: a whole frame, or of a cooked socket what follows the link header, for
    /// station `to`. Returns its length.
    ///
    /// # Errors
    /// `NoDevice` if no link is named or bound; `Invalid` for a frame without header; `MessageTooLong`;
    /// `WouldBlock` if the transmit queue is full.
    pub fn packet_send(
        &mut self,
        id: SocketId,
        data: impl Into<Bytes>,
        iface: Option<IfaceId>,
        protocol: u16,
        to: Option<MacAddr>,
    ) -> Result<usize, SocketError> {
        let data: Bytes = data.into();
        let socket = self.packets.get(id).ok_or(SocketError::Invalid)?;
        let cooked = socket.cooked;
        let protocol = if protocol == 0 {
            socket.protocol
        } else {
            protocol
        };
        let link = iface.or(socket.iface).ok_or(SocketError::NoDevice)?;
        let state = self.net.iface_mut(link).ok_or(SocketError::NoDevice)?;
        let (mac, mtu, loopback) = (state.mac, state.caps.mtu as usize, state.is_loopback);
        let header = match state.caps.medium {
            Medium::Ethernet => ethernet::HEADER_LEN,
            Medium::Ip if loopback => ethernet::HEADER_LEN,
            Medium::Ip => 0,
        };
        let own_header = if cooked { 0 } else { header };
        if data.len() < own_header.max(1) {
            return Err(SocketError::Invalid);
        }
        if data.len() - own_header > mtu {
            return Err(SocketError::MessageTooLong);
        }
        if !state.has_room(1) {
            self.packet_mut(id)?.blocked = true;
            return Err(SocketError::WouldBlock);
        }
        let len = data.len();
        let mut payload = data.clone();
        payload.advance(own_header);
        if loopback {
            let protocol = match cooked {
                true => protocol,
                false => u16::from_be_bytes([data[12], data[13]]),
            };
            self.packet_loop(payload, protocol);
        } else {
            let mut packet = TxPacket::default();
            let room = packet.head.push_front(header);
            match cooked {
                false => room.copy_from_slice(&data[..header]),
                true if header > 0 => EthernetRepr {
                    dst: to.unwrap_or(ethernet::BROADCAST),
                    src: mac,
                    ethertype: protocol,
                }
                .emit(room),
                true => {}
            }
            packet.body.push(payload);
            packet.link_header_len = header as u8;
            if let Some(state) = self.net.iface_mut(link) {
                state.push(packet);
            }
        }
        self.settle();
        Ok(len)
    }

    /// What is sent over the loopback interface comes back; what is not IP only to packet sockets.
    fn packet_loop(&mut self, payload: Bytes, protocol: u16) {
        if matches!(protocol, ethertype::IPV4 | ethertype::IPV6) {
            let mut packet = TxPacket::default();
            packet.body.push(payload);
            if let Some(state) = self.net.iface_mut(LOOPBACK) {
                state.push(packet);
            }
            return;
        }
        let mut seen = loopback_frame(protocol, &payload);
        for kind in [PacketKind::Outgoing, PacketKind::Host] {
            seen.kind = kind;
            self.show(LOOPBACK, &seen, self.net.now);
        }
    }

    /// There is room in a transmit queue again.
    pub(super) fn packet_room(&mut self) {
        for (id, socket) in self.packets.iter_mut() {
            if core::mem::take(&mut socket.blocked) {
                self.events.mark(id);
            }
        }
    }

    fn packet_mut(&mut self, id: SocketId) -> Result<&mut PacketSocket, SocketError> {
        self.packets.get_mut(id).ok_or(SocketError::Invalid)
    }
}

/// A packet of the loopback interface with the empty Ethernet header that Linux shows.
fn loopback_frame(protocol: u16, payload: &[u8]) -> Seen {
    let mut frame = vec![0; ethernet::HEADER_LEN];
    frame[12..].copy_from_slice(&protocol.to_be_bytes());
    frame.extend_from_slice(payload);
    Seen {
        frame: frame.into(),
        link_len: ethernet::HEADER_LEN,
        protocol,
        kind: PacketKind::Host,
        from: Some(MacAddr::default()),
        checksum: PacketChecksum::Unknown,
    }
}
