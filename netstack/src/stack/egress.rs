//! The way down: from a transport's packet to an interface's transmit queue.

use std::net::{IpAddr, Ipv4Addr};

use super::net::{Hop, Net, Path};
use crate::buf::{Bytes, PartialChecksum, SUPER_PACKET_MAX, TxOffload, TxPacket};
use crate::error::SocketError;
use crate::link::channel::received;
use crate::link::{MacAddr, Medium};
use crate::neighbor::Resolution;
use crate::network::{IfaceId, IpOutput, NO_CHECKSUM, RouteInfo, TransportOut, proto};
use crate::wire::checksum::Checksum;
use crate::wire::ethernet::{self, EthernetRepr, ethertype};
use crate::wire::ipv4::{self, Ipv4Repr};

/// Copies of our own broadcasts that wait to be received; more are dropped.
const ECHOES_MAX: usize = 64;

impl IpOutput for Net {
    fn route(
        &self,
        dst: IpAddr,
        src: Option<IpAddr>,
        iface: Option<IfaceId>,
    ) -> Result<RouteInfo, SocketError> {
        let path = self.path(dst, src, iface)?;
        let mtu = self.pmtu.mtu(self.now, dst, path.mtu);
        let gso_max = self.iface(path.iface).map_or(0, |iface| iface.caps.gso_max);
        // Without a device that cuts, the link layer does.
        let gso_max = if gso_max == 0 {
            SUPER_PACKET_MAX as u32
        } else {
            gso_max.min(SUPER_PACKET_MAX as u32)
        };
        Ok(RouteInfo {
            iface: path.iface,
            src: path.src,
            mtu,
            gso_max: gso_max.max(mtu),
        })
    }

    fn output(&mut self, packet: TransportOut<'_>) -> Result<(), SocketError> {
        let (IpAddr::V4(_), IpAddr::V4(dst)) = (packet.src, packet.dst) else {
            return Err(SocketError::AddrFamily);
        };
        let path = self
            .path(packet.dst, Some(packet.src), packet.iface)
            .inspect_err(|_| self.stats.ip_out_no_routes += 1)?;
        let IpAddr::V4(src) = path.src else {
            return Err(SocketError::AddrFamily);
        };
        let body_len: usize = packet.body.iter().map(Bytes::len).sum();
        let total = ipv4::HEADER_LEN + packet.header.len() + body_len;
        let mtu = self.pmtu.mtu(self.now, packet.dst, path.mtu) as usize;
        // Of a super-packet each piece has to fit.
        let longest = match packet.gso_size {
            0 => total,
            size => ipv4::HEADER_LEN + packet.header.len() + usize::from(size),
        };
        let fragment = longest > mtu;
        if total > SUPER_PACKET_MAX || (fragment && (packet.dont_fragment || packet.gso_size != 0))
        {
            self.stats.ip_frag_fails += 1;
            return Err(SocketError::MessageTooLong);
        }
        let pieces = if fragment {
            total.div_ceil(mtu - ipv4::HEADER_LEN - 7)
        } else {
            1
        };
        if !self.ifaces[usize::from(path.iface.0)].has_room(pieces) {
            self.stats.ip_out_discards += 1;
            return Err(SocketError::NoBuffers);
        }
        self.stats.ip_out_requests += 1;
        let repr = self.header_for(&packet, src, dst, body_len);
        let built = self.with_transport(packet, &path, fragment);
        if fragment {
            self.send_fragments(&path, repr, built, mtu);
        } else {
            self.send_whole(&path, repr, built);
        }
        Ok(())
    }

    fn confirm(&mut self, dst: IpAddr) {
        if let Ok(path) = self.path(dst, None, None)
            && let Hop::Neighbor(next) = path.hop
        {
            let config = &self.config.neighbor;
            self.neighbors
                .confirm(self.now, path.iface, next, config, &mut self.rng);
        }
    }
}

impl Net {
    fn header_for(
        &mut self,
        packet: &TransportOut<'_>,
        src: Ipv4Addr,
        dst: Ipv4Addr,
        body_len: usize,
    ) -> Ipv4Repr {
        // RFC 6864: a datagram that cannot be fragmented needs no identifier of its own.
        let id = match packet.dont_fragment {
            true => 0,
            false => self.idents.next(src, dst, packet.proto),
        };
        Ipv4Repr {
            src,
            dst,
            proto: packet.proto,
            tos: packet.tos,
            ttl: match packet.ttl {
                0 => self.config.ip_default_ttl,
                ttl => ttl,
            },
            id,
            dont_fragment: packet.dont_fragment,
            more_fragments: false,
            fragment_offset: 0,
            payload_len: (packet.header.len() + body_len) as u16,
        }
    }

    /// The packet with its transport header, whose checksum is left to the device if that completes
    /// it (`whole`: fragments cannot be completed by the device).
    fn with_transport(&self, packet: TransportOut<'_>, path: &Path, whole: bool) -> TxPacket {
        let mut built = TxPacket {
            body: packet.body,
            offload: TxOffload {
                checksum: None,
                gso_size: packet.gso_size,
                gso_kind: packet.gso_kind,
            },
            ..TxPacket::default()
        };
        let header = built.head.push_front(packet.header.len());
        header.copy_from_slice(packet.header);
        if packet.checksum_offset == NO_CHECKSUM {
            return built;
        }
        let at = usize::from(packet.checksum_offset);
        let len = built.len() as u32;
        let mut sum = match packet.proto {
            proto::ICMP => Checksum::new(),
            proto => Checksum::pseudo(path.src, packet.dst, proto, len),
        };
        let by_device = self.ifaces[usize::from(path.iface.0)].caps.tx_checksum;
        let value = if !whole && (by_device || packet.gso_size != 0) {
            built.offload.checksum = Some(PartialChecksum {
                start: ipv4::HEADER_LEN as u16,
                offset: packet.checksum_offset,
            });
            sum.partial()
        } else {
            sum.add_bytes(built.head.as_slice());
            built.body.iter().for_each(|range| sum.add_bytes(range));
            match sum.finish() {
                // Zero means "none" in UDP (RFC 768).
                0 if packet.proto == proto::UDP => 0xffff,
                value => value,
            }
        };
        built.head.as_mut_slice()[at..at + 2].copy_from_slice(&value.to_be_bytes());
        built
    }

    /// Puts the IP header in front and sends.
    pub(super) fn send_whole(&mut self, path: &Path, repr: Ipv4Repr, mut packet: TxPacket) {
        repr.emit(packet.head.push_front(ipv4::HEADER_LEN));
        if matches!(path.hop, Hop::Broadcast | Hop::Multicast) {
            self.echo(path.iface, &packet);
        }
        self.send_on_link(path, packet);
    }

    /// We are one of those that a broadcast is for.
    fn echo(&mut self, iface: IfaceId, packet: &TxPacket) {
        if self.echoes.len() < ECHOES_MAX {
            let copy = received(&mut self.pool, Medium::Ip, packet, self.now);
            self.echoes.push_back((iface, copy));
        }
    }

    /// Cuts a datagram that may be fragmented (RFC 791 section 3.2) and sends the fragments.
    fn send_fragments(&mut self, path: &Path, repr: Ipv4Repr, packet: TxPacket, mtu: usize) {
        let datagram = Bytes::from(packet.to_vec());
        let step = (mtu - ipv4::HEADER_LEN) & !7;
        let mut at = 0;
        while at < datagram.len() {
            let end = (at + step).min(datagram.len());
            let mut fragment = TxPacket::default();
            fragment.body.push(datagram.slice(at..end));
            let header = Ipv4Repr {
                more_fragments: end < datagram.len(),
                fragment_offset: at as u16,
                payload_len: (end - at) as u16,
                ..repr
            };
            self.send_whole(path, header, fragment);
            self.stats.ip_frag_creates += 1;
            at = end;
        }
        self.stats.ip_frag_oks += 1;
    }

    /// Finds the link address, puts the link header in front and queues the packet.
    fn send_on_link(&mut self, path: &Path, packet: TxPacket) {
        let iface = &mut self.ifaces[usize::from(path.iface.0)];
        if iface.caps.medium == Medium::Ip {
            iface.push(packet);
            return;
        }
        match path.hop {
            Hop::Local => iface.push(packet),
            Hop::Broadcast => self.send_framed(path.iface, ethernet::BROADCAST, packet),
            Hop::Multicast => {
                let mac = multicast_mac(&packet);
                self.send_framed(path.iface, mac, packet);
            }
            Hop::Neighbor(next) => self.send_to_neighbor(path.iface, next, packet),
        }
    }

    fn send_to_neighbor(&mut self, iface: IfaceId, next: IpAddr, packet: TxPacket) {
        let config = self.config.neighbor;
        match self.neighbors.resolve(self.now, iface, next, &config) {
            Resolution::Known(mac) => self.send_framed(iface, mac, packet),
            Resolution::Hold { solicit } => {
                let dropped = self.neighbors.hold(iface, next, packet, &config);
                self.stats.neigh_out_discards += dropped as u64;
                if solicit {
                    self.solicit(iface, next, None);
                }
            }
            Resolution::Full => self.stats.neigh_out_discards += 1,
        }
    }

    /// Queues an IP packet in an Ethernet frame.
    pub(super) fn send_framed(&mut self, id: IfaceId, dst: MacAddr, mut packet: TxPacket) {
        let Some(iface) = self.ifaces.get_mut(usize::from(id.0)) else {
            return;
        };
        let repr = EthernetRepr {
            dst,
            src: iface.mac,
            ethertype: ethertype::IPV4,
        };
        repr.emit(packet.head.push_front(ethernet::HEADER_LEN));
        packet.link_header_len = ethernet::HEADER_LEN as u8;
        iface.push(packet);
    }
}

/// The group address for the destination of an IPv4 packet.
fn multicast_mac(packet: &TxPacket) -> MacAddr {
    let dst = packet.head.as_slice().get(16..20);
    let octets: [u8; 4] = dst
        .and_then(|dst| dst.try_into().ok())
        .unwrap_or([224, 0, 0, 0]);
    MacAddr::of_ipv4_multicast(Ipv4Addr::from(octets))
}
