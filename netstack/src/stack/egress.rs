//! The way down: from a transport's packet to an interface's transmit queue.

use std::net::{IpAddr, Ipv4Addr};

use super::net::{Hop, LOOPBACK, Net, Path};
use crate::buf::{Bytes, PartialChecksum, SUPER_PACKET_MAX, TxOffload, TxPacket};
use crate::error::SocketError;
use crate::link::channel::received;
use crate::link::{MacAddr, Medium};
use crate::neighbor::Resolution;
use crate::network::route::Flow;
use crate::network::{IfaceId, IpOutput, NO_CHECKSUM, RouteInfo, TransportOut, proto};
use crate::wire::checksum::Checksum;
use crate::wire::ethernet::{self, EthernetRepr, ethertype};
use crate::wire::ipv4::{self, Ipv4Repr};
use crate::wire::ipv6::{self, Ipv6Repr};
use crate::wire::ipv6_ext::{self, FragmentRepr};
use crate::wire::{be16, be32};

/// Copies of our own broadcasts that wait to be received; more are dropped.
const ECHOES_MAX: usize = 64;

/// What datagrams ask for beside a route.
#[derive(Clone, Copy, Debug)]
pub(super) struct DatagramOut {
    /// Members on this host hear what is sent to a group.
    pub(super) loop_back: bool,
    /// It leaves the host.
    pub(super) leaves: bool,
    /// What routers have said of the MTU does not count.
    pub(super) ignore_pmtu: bool,
    /// The source address need not be ours.
    pub(super) any_source: bool,
}

impl Default for DatagramOut {
    fn default() -> Self {
        Self {
            loop_back: true,
            leaves: true,
            ignore_pmtu: false,
            any_source: false,
        }
    }
}

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
            metrics: path.metrics,
        })
    }

    fn output(&mut self, packet: TransportOut<'_>) -> Result<(), SocketError> {
        self.output_datagram(packet, DatagramOut::default())
    }

    fn confirm(&mut self, dst: IpAddr) {
        if let Ok(path) = self.path(dst, None, None)
            && let Hop::Neighbor(next) = path.hop
        {
            let config = self.neighbor_config(path.iface, next);
            self.neighbors
                .confirm(self.now, path.iface, next, &config, &mut self.rng);
        }
    }
}

impl Net {
    /// [`IpOutput::output`] with what only datagrams ask for.
    pub(super) fn output_datagram(
        &mut self,
        packet: TransportOut<'_>,
        how: DatagramOut,
    ) -> Result<(), SocketError> {
        let dst = packet.dst;
        let ours = Some(packet.src).filter(|_| !how.any_source);
        let mut path = self
            .path_of(&Flow {
                src: ours,
                ..flow_of(&packet)
            })
            .inspect_err(|_| self.stats.ip(dst).out_no_routes += 1)?;
        if how.any_source {
            path.src = packet.src;
        }
        let body_len: usize = packet.body.iter().map(Bytes::len).sum();
        let header_len = ip_header_len(dst);
        let total = header_len + packet.header.len() + body_len;
        let mtu = match how.ignore_pmtu {
            true => path.mtu as usize,
            false => self.pmtu.mtu(self.now, dst, path.mtu) as usize,
        };
        // Of a super-packet each piece has to fit.
        let longest = match packet.gso_size {
            0 => total,
            size => header_len + packet.header.len() + usize::from(size),
        };
        let fragment = longest > mtu;
        if total > SUPER_PACKET_MAX || (fragment && (packet.dont_fragment || packet.gso_size != 0))
        {
            self.stats.ip(dst).frag_fails += 1;
            return Err(SocketError::MessageTooLong);
        }
        let pieces = if fragment {
            total.div_ceil(fragment_step(dst, mtu))
        } else {
            1
        };
        if !self.ifaces[usize::from(path.iface.0)].has_room(pieces) {
            self.stats.ip(dst).out_discards += 1;
            return Err(SocketError::NoBuffers);
        }
        let mut header = self.header_for(&packet, &path)?;
        if !how.leaves {
            header.set_ttl(0);
        }
        self.stats.ip(dst).out_requests += 1;
        if self.filter.is_some() {
            return self.output_filtered(packet, path, header, how);
        }
        let built = self.with_transport(packet, &path, fragment);
        if fragment {
            self.send_fragments(&path, header, (built, how), mtu);
        } else {
            self.send_whole(&path, header, built, how);
        }
        Ok(())
    }

    /// The IP header; its payload length is set when the packet is sent.
    fn header_for(
        &mut self,
        packet: &TransportOut<'_>,
        path: &Path,
    ) -> Result<IpRepr, SocketError> {
        let default_ttl = match packet.dst {
            IpAddr::V4(_) => self.config.ip_default_ttl,
            IpAddr::V6(_) => {
                let said = self.iface(path.iface).and_then(|iface| iface.nd.hop_limit);
                said.unwrap_or(self.config.hop_limit)
            }
        };
        let ttl = match packet.ttl {
            0 => default_ttl,
            ttl => ttl,
        };
        match (path.src, packet.dst) {
            (IpAddr::V4(src), IpAddr::V4(dst)) => Ok(IpRepr::V4(Ipv4Repr {
                src,
                dst,
                proto: packet.proto,
                tos: packet.tos,
                ttl,
                // RFC 6864: a datagram that cannot be fragmented needs no identifier of its own.
                id: match packet.dont_fragment {
                    true => 0,
                    false => self.idents.next(src.into(), dst.into(), packet.proto) as u16,
                },
                dont_fragment: packet.dont_fragment,
                more_fragments: false,
                fragment_offset: 0,
                payload_len: 0,
            })),
            (IpAddr::V6(src), IpAddr::V6(dst)) => {
                // What has no ports has one flow with each peer.
                let ports = match packet.proto {
                    proto::TCP | proto::UDP => packet.header.get(..4).unwrap_or(&[]),
                    _ => &[],
                };
                let label = self.idents.flow_label(src, dst, packet.proto, ports);
                Ok(IpRepr::V6(Ipv6Repr {
                    src,
                    dst,
                    next_header: packet.proto,
                    traffic_class: packet.tos,
                    flow_label: label,
                    hop_limit: ttl,
                    payload_len: 0,
                }))
            }
            _ => Err(SocketError::AddrFamily),
        }
    }

    /// The packet with its transport header, whose checksum is left to the device if that completes
    /// it (`whole`: fragments cannot be completed by the device).
    pub(super) fn with_transport(
        &self,
        packet: TransportOut<'_>,
        path: &Path,
        whole: bool,
    ) -> TxPacket {
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
        // Only of these: what reads others on this host sees their checksums.
        let known = matches!(packet.proto, proto::TCP | proto::UDP);
        let by_device = known && self.ifaces[usize::from(path.iface.0)].caps.tx_checksum;
        let value = if !whole && (by_device || packet.gso_size != 0) {
            built.offload.checksum = Some(PartialChecksum {
                start: ip_header_len(packet.dst) as u16,
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
    pub(super) fn send_whole(
        &mut self,
        path: &Path,
        header: IpRepr,
        mut packet: TxPacket,
        how: DatagramOut,
    ) {
        header.push(&mut packet);
        self.send_with_header(path, header.dst(), packet, how);
    }

    /// Sends a packet that has its IP header, to `dst`.
    pub(super) fn send_with_header(
        &mut self,
        path: &Path,
        dst: IpAddr,
        packet: TxPacket,
        how: DatagramOut,
    ) {
        // What is sent over the loopback interface comes back anyway.
        let on_link = path.iface != LOOPBACK;
        let heard = match path.hop {
            Hop::Broadcast => true,
            Hop::Multicast => how.loop_back && self.has_members(path.iface, dst),
            _ => false,
        };
        if heard && on_link {
            self.echo(path.iface, &packet);
        }
        if how.leaves || !on_link {
            self.send_on_link(path, packet);
        }
    }

    /// True if the interface takes another packet; if not, room will be signalled.
    pub(super) fn has_room(&mut self, id: IfaceId) -> bool {
        self.iface_mut(id).is_some_and(|iface| iface.has_room(1))
    }

    /// We are one of those that a broadcast is for.
    fn echo(&mut self, iface: IfaceId, packet: &TxPacket) {
        if self.echoes.len() < ECHOES_MAX {
            let copy = received(&mut self.pool, Medium::Ip, packet, self.now);
            self.echoes.push_back((iface, copy));
        }
    }

    /// Cuts a datagram that may be fragmented (RFC 791 section 3.2, RFC 8200 section 4.5) and sends the
    /// fragments.
    pub(super) fn send_fragments(
        &mut self,
        path: &Path,
        header: IpRepr,
        (packet, how): (TxPacket, DatagramOut),
        mtu: usize,
    ) {
        let datagram = Bytes::from(packet.to_vec());
        let dst = header.dst();
        let id = match header {
            IpRepr::V4(repr) => u32::from(repr.id),
            IpRepr::V6(repr) => {
                self.idents
                    .next(repr.src.into(), repr.dst.into(), repr.next_header)
            }
        };
        let step = fragment_step(dst, mtu);
        let mut at = 0;
        while at < datagram.len() {
            let end = (at + step).min(datagram.len());
            let mut fragment = TxPacket::default();
            fragment.body.push(datagram.slice(at..end));
            let more = end < datagram.len();
            let header = header.of_fragment(&mut fragment, at as u16, more, id);
            self.send_whole(path, header, fragment, how);
            self.stats.ip(dst).frag_creates += 1;
            at = end;
        }
        self.stats.ip(dst).frag_oks += 1;
    }

    /// Finds the link address, puts the link header in front and queues the packet.
    pub(super) fn send_on_link(&mut self, path: &Path, packet: TxPacket) {
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

    pub(super) fn send_to_neighbor(&mut self, iface: IfaceId, next: IpAddr, packet: TxPacket) {
        let config = self.neighbor_config(iface, next);
        match self.neighbors.resolve(self.now, iface, next, &config) {
            Resolution::Known(mac) => self.send_framed(iface, mac, packet),
            Resolution::Hold { solicit } => {
                let dropped = self.neighbors.hold(iface, next, packet, &config);
                self.stats.link.neigh_out_discards += dropped as u64;
                if solicit {
                    self.solicit(iface, next, None);
                }
            }
            Resolution::Full => self.stats.link.neigh_out_discards += 1,
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
            ethertype: match is_ipv6(&packet) {
                true => ethertype::IPV6,
                false => ethertype::IPV4,
            },
        };
        repr.emit(packet.head.push_front(ethernet::HEADER_LEN));
        packet.link_header_len = ethernet::HEADER_LEN as u8;
        iface.push(packet);
    }
}

/// What the route of a packet is looked for by.
fn flow_of(packet: &TransportOut<'_>) -> Flow {
    Flow {
        tos: packet.tos,
        proto: packet.proto,
        ports: match packet.proto {
            proto::TCP | proto::UDP if packet.header.len() >= 4 => {
                (be16(packet.header, 0), be16(packet.header, 2))
            }
            _ => (0, 0),
        },
        ..Flow::to(packet.dst, Some(packet.src), packet.iface)
    }
}

/// The IP header of a packet on its way down.
#[derive(Clone, Copy, Debug)]
pub(super) enum IpRepr {
    V4(Ipv4Repr),
    V6(Ipv6Repr),
}

impl IpRepr {
    /// A header that says no more than it must.
    pub(super) fn plain(src: IpAddr, dst: IpAddr, proto: u8, ttl: u8) -> Option<Self> {
        match (src, dst) {
            (IpAddr::V4(src), IpAddr::V4(dst)) => Some(Self::V4(Ipv4Repr {
                src,
                dst,
                proto,
                tos: 0,
                ttl,
                id: 0,
                dont_fragment: true,
                more_fragments: false,
                fragment_offset: 0,
                payload_len: 0,
            })),
            (IpAddr::V6(src), IpAddr::V6(dst)) => Some(Self::V6(Ipv6Repr {
                src,
                dst,
                next_header: proto,
                traffic_class: 0,
                flow_label: 0,
                hop_limit: ttl,
                payload_len: 0,
            })),
            _ => None,
        }
    }

    /// The same with the addresses that somebody has written into its bytes.
    pub(super) fn read_again(self, bytes: &[u8]) -> Option<Self> {
        Some(match self {
            Self::V4(repr) if bytes.len() >= ipv4::HEADER_LEN => Self::V4(Ipv4Repr {
                src: Ipv4Addr::from(be32(bytes, 12)),
                dst: Ipv4Addr::from(be32(bytes, 16)),
                ..repr
            }),
            Self::V6(repr) if bytes.len() >= ipv6::HEADER_LEN => Self::V6(Ipv6Repr {
                src: ipv6::addr_at(bytes, 8),
                dst: ipv6::addr_at(bytes, 24),
                ..repr
            }),
            _ => return None,
        })
    }

    /// Bytes of the header.
    pub(super) fn len(&self) -> usize {
        ip_header_len(self.dst())
    }

    pub(super) fn proto(&self) -> u8 {
        match self {
            Self::V4(repr) => repr.proto,
            Self::V6(repr) => repr.next_header,
        }
    }

    pub(super) fn dst(&self) -> IpAddr {
        match self {
            Self::V4(repr) => repr.dst.into(),
            Self::V6(repr) => repr.dst.into(),
        }
    }

    fn set_ttl(&mut self, ttl: u8) {
        match self {
            Self::V4(repr) => repr.ttl = ttl,
            Self::V6(repr) => repr.hop_limit = ttl,
        }
    }

    /// Writes the header in front of a packet, with its length.
    pub(super) fn push(self, packet: &mut TxPacket) {
        let payload_len = packet.len() as u16;
        match self {
            Self::V4(repr) => Ipv4Repr {
                payload_len,
                ..repr
            }
            .emit(packet.head.push_front(ipv4::HEADER_LEN)),
            Self::V6(repr) => Ipv6Repr {
                payload_len,
                ..repr
            }
            .emit(packet.head.push_front(ipv6::HEADER_LEN)),
        }
    }

    /// The header of a fragment; in IPv6 that is another header, which goes in front of it here.
    fn of_fragment(self, fragment: &mut TxPacket, offset: u16, more: bool, id: u32) -> Self {
        match self {
            Self::V4(repr) => Self::V4(Ipv4Repr {
                more_fragments: more,
                fragment_offset: offset,
                ..repr
            }),
            Self::V6(repr) => {
                let header = FragmentRepr {
                    next_header: repr.next_header,
                    offset,
                    more,
                    id,
                };
                header.emit(fragment.head.push_front(ipv6_ext::FRAGMENT_LEN));
                Self::V6(Ipv6Repr {
                    next_header: ipv6_ext::next_header::FRAGMENT,
                    ..repr
                })
            }
        }
    }
}

/// Bytes of the IP header of packets to `dst`.
pub(super) fn ip_header_len(dst: IpAddr) -> usize {
    match dst {
        IpAddr::V4(_) => ipv4::HEADER_LEN,
        IpAddr::V6(_) => ipv6::HEADER_LEN,
    }
}

/// Payload bytes of each fragment but the last.
pub(super) fn fragment_step(dst: IpAddr, mtu: usize) -> usize {
    let headers = match dst {
        IpAddr::V4(_) => ipv4::HEADER_LEN,
        IpAddr::V6(_) => ipv6::HEADER_LEN + ipv6_ext::FRAGMENT_LEN,
    };
    (mtu - headers) & !7
}

/// The link address of the group that a packet is for.
fn multicast_mac(packet: &TxPacket) -> MacAddr {
    let head = packet.head.as_slice();
    if is_ipv6(packet) && head.len() >= ipv6::HEADER_LEN {
        return MacAddr::of_ipv6_multicast(ipv6::addr_at(head, 24));
    }
    let octets: [u8; 4] = head
        .get(16..20)
        .and_then(|dst| dst.try_into().ok())
        .unwrap_or([224, 0, 0, 0]);
    MacAddr::of_ipv4_multicast(Ipv4Addr::from(octets))
}

/// The family of a packet that has its IP header.
fn is_ipv6(packet: &TxPacket) -> bool {
    packet
        .head
        .as_slice()
        .first()
        .is_some_and(|first| first >> 4 == 6)
}
