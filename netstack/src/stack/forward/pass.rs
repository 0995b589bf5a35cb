//! From a received packet to one that leaves: the hop count, what the link knew of its checksum and size,
//! fragments.

use super::Transit;
use crate::buf::{Bytes, GsoKind, HEAD_MAX, PartialChecksum, TxOffload, TxPacket};
use crate::network::proto;
use crate::stack::net::{Net, Path};
use crate::wire::checksum::{Checksum, checksum, update_u16};
use crate::wire::{be16, ipv4, ipv6, ipv6_ext};

/// Room that a link header may need.
const LINK_ROOM: usize = 18;
const TCP_CHECKSUM: usize = 16;
const UDP_CHECKSUM: usize = 6;
const MORE_FRAGMENTS: u16 = 0x2000;
const OFFSET_BITS: u16 = 0x1fff;

impl Transit {
    /// Protocol of the transport and the offset of its header, if it is here.
    fn transport(&self) -> Option<(u8, usize)> {
        let header = &self.header;
        if header.is_later_fragment {
            return None;
        }
        if header.src.is_ipv4() {
            return Some((header.proto, header.header_len));
        }
        let found = ipv6_ext::skip(&self.packet.data, header.proto, ipv6::HEADER_LEN);
        found
            .filter(|(_, _, is_first)| *is_first)
            .map(|(proto, at, _)| (proto, at))
    }

    /// Protocol and ports, 0 where there are none.
    pub(super) fn ports(&self) -> (u8, (u16, u16)) {
        let Some((proto, at)) = self.transport() else {
            return (self.header.proto, (0, 0));
        };
        let ports = self.packet.data.get(at..at + 4);
        match (proto, ports) {
            (proto::TCP | proto::UDP, Some(ports)) => (proto, (be16(ports, 0), be16(ports, 2))),
            _ => (proto, (0, 0)),
        }
    }

    /// Bytes of all headers up to the payload of TCP or UDP; `None` if they are not whole.
    pub(super) fn headers_len(&self) -> Option<usize> {
        let (proto, at) = self.transport()?;
        let data = &self.packet.data;
        let end = match proto {
            proto::TCP => at + usize::from(*data.get(at + 12)? >> 4) * 4,
            proto::UDP => at + 8,
            _ => return None,
        };
        (end <= data.len()).then_some(end)
    }

    /// Where the transport's checksum is that the link vouched for instead of computing it, or that a
    /// super-packet has none of.
    fn unfinished(&self) -> Option<PartialChecksum> {
        let (proto, at) = self.transport()?;
        let offset = match proto {
            proto::TCP => TCP_CHECKSUM,
            proto::UDP => UDP_CHECKSUM,
            _ => return None,
        };
        let field = self.packet.data.get(at + offset..at + offset + 2)?;
        // A UDP datagram of IPv4 may have none (RFC 768).
        let none = proto == proto::UDP && field == [0, 0] && self.packet.gro_size == 0;
        let vouched = self.packet.checksum == crate::buf::RxChecksum::Valid;
        (!none && (vouched || self.packet.gro_size > 0)).then_some(PartialChecksum {
            start: at as u16,
            offset: offset as u16,
        })
    }

    /// The packet one hop further, its headers in front. `None` if they are longer than there is room for,
    /// and the packet one that cannot do with fewer.
    fn outgoing(&self) -> Option<TxPacket> {
        let data = &self.packet.data;
        let unfinished = self.unfinished();
        let head_len = match unfinished {
            Some(_) => self.headers_len()?,
            None => self.header.header_len,
        };
        if head_len > HEAD_MAX - LINK_ROOM {
            return None;
        }
        let mut packet = TxPacket::default();
        let head = packet.head.push_front(head_len);
        head.copy_from_slice(&data[..head_len]);
        age(head);
        if data.len() > head_len {
            packet.body.push(data.slice(head_len..));
        }
        if let Some(partial) = unfinished {
            let at = usize::from(partial.start + partial.offset);
            let len = (data.len() - usize::from(partial.start)) as u32;
            let proto = match usize::from(partial.offset) {
                TCP_CHECKSUM => proto::TCP,
                _ => proto::UDP,
            };
            let sum = Checksum::pseudo(self.header.src, self.header.dst, proto, len);
            packet.head.as_mut_slice()[at..at + 2].copy_from_slice(&sum.partial().to_be_bytes());
            let is_super = self.packet.gro_size > 0;
            packet.offload = TxOffload {
                checksum: Some(partial),
                gso_size: self.packet.gro_size,
                gso_kind: match (proto, self.header.src.is_ipv4()) {
                    _ if !is_super => GsoKind::None,
                    (proto::UDP, _) => GsoKind::Udp,
                    (_, true) => GsoKind::Tcp4,
                    (_, false) => GsoKind::Tcp6,
                },
            };
        }
        Some(packet)
    }
}

impl Net {
    /// Queues a packet for the next hop, in fragments if it is too long; false if that was not possible.
    pub(in crate::stack) fn pass_on(
        &mut self,
        transit: Transit,
        path: &Path,
        fragment: bool,
    ) -> bool {
        let Some(mut packet) = transit.outgoing() else {
            return false;
        };
        let by_device = self
            .iface(path.iface)
            .is_some_and(|link| link.caps.tx_checksum);
        if packet.offload.gso_size == 0 && (fragment || !by_device) {
            finish_checksum(&mut packet);
        }
        let pieces = match fragment {
            true if transit.header.dst.is_ipv6() => {
                let (src, dst) = (transit.header.src, transit.header.dst);
                let id = self.idents.next(src, dst, transit.header.proto);
                cut_v6(&packet, path.mtu as usize, id)
            }
            true => cut(&packet, path.mtu as usize),
            false => vec![packet],
        };
        let Some(link) = self.iface_mut(path.iface) else {
            return false;
        };
        if pieces.is_empty() || !link.has_room(pieces.len()) {
            return false;
        }
        if fragment {
            let stats = self.stats.ip(transit.header.dst);
            stats.frag_oks += 1;
            stats.frag_creates += pieces.len() as u64;
        }
        for piece in pieces {
            self.send_on_link(path, piece);
        }
        true
    }
}

/// Takes one from the TTL or hop limit, which is not 0.
fn age(head: &mut [u8]) {
    if head[0] >> 4 == 6 {
        head[7] -= 1;
        return;
    }
    let before = be16(head, 8);
    head[8] -= 1;
    let sum = update_u16(be16(head, ipv4::CHECKSUM_OFFSET), before, be16(head, 8));
    head[ipv4::CHECKSUM_OFFSET..ipv4::CHECKSUM_OFFSET + 2].copy_from_slice(&sum.to_be_bytes());
}

/// Computes the checksum that was left to the device.
fn finish_checksum(packet: &mut TxPacket) {
    let Some(partial) = packet.offload.checksum.take() else {
        return;
    };
    let start = usize::from(partial.start);
    let at = start + usize::from(partial.offset);
    let mut sum = Checksum::new();
    sum.add_bytes(&packet.head.as_slice()[start..]);
    packet.body.iter().for_each(|range| sum.add_bytes(range));
    let value = match sum.finish() {
        0 if usize::from(partial.offset) == UDP_CHECKSUM => 0xffff,
        value => value,
    };
    packet.head.as_mut_slice()[at..at + 2].copy_from_slice(&value.to_be_bytes());
}

/// Cuts an IPv4 packet, which may be a fragment already, into pieces of at most `mtu` bytes (RFC 791
/// section 3.2). None if nothing fits.
fn cut(packet: &TxPacket, mtu: usize) -> Vec<TxPacket> {
    let bytes = Bytes::from(packet.to_vec());
    let header_len = usize::from(bytes[0] & 15) * 4;
    let (header, payload) = (&bytes[..header_len], bytes.slice(header_len..));
    let step = mtu.saturating_sub(header_len) & !7;
    if step == 0 {
        return Vec::new();
    }
    let flags = be16(header, 6);
    let (first, more) = (flags & OFFSET_BITS, flags & MORE_FRAGMENTS != 0);
    let later = without_single_options(header);
    let starts = (0..payload.len()).step_by(step);
    starts
        .map(|at| {
            let end = (at + step).min(payload.len());
            let mut piece = TxPacket::default();
            let head = piece.head.push_front(header_len);
            head.copy_from_slice(if at == 0 { header } else { &later });
            let total = (header_len + end - at) as u16;
            let is_last = end == payload.len() && !more;
            let offset = (first + (at / 8) as u16) & OFFSET_BITS;
            let field = offset | if is_last { 0 } else { MORE_FRAGMENTS };
            head[2..4].copy_from_slice(&total.to_be_bytes());
            head[6..8].copy_from_slice(&field.to_be_bytes());
            head[ipv4::CHECKSUM_OFFSET..ipv4::CHECKSUM_OFFSET + 2].fill(0);
            let sum = checksum(head);
            head[ipv4::CHECKSUM_OFFSET..ipv4::CHECKSUM_OFFSET + 2]
                .copy_from_slice(&sum.to_be_bytes());
            piece.body.push(payload.slice(at..end));
            piece
        })
        .collect()
}

/// Cuts an IPv6 packet that has come in fragments into fragments again (RFC 8200 section 4.5).
fn cut_v6(packet: &TxPacket, mtu: usize, id: u32) -> Vec<TxPacket> {
    let bytes = Bytes::from(packet.to_vec());
    let Some((named_at, at)) = unfragmentable(&bytes) else {
        return Vec::new();
    };
    let front = at + ipv6_ext::FRAGMENT_LEN;
    let step = mtu.saturating_sub(front) & !7;
    if step == 0 || front > HEAD_MAX - LINK_ROOM {
        return Vec::new();
    }
    let payload = bytes.slice(at..);
    let starts = (0..payload.len()).step_by(step);
    starts
        .map(|start| {
            let end = (start + step).min(payload.len());
            let mut piece = TxPacket::default();
            let repr = ipv6_ext::FragmentRepr {
                next_header: bytes[named_at],
                offset: start as u16,
                more: end < payload.len(),
                id,
            };
            let head = piece.head.push_front(front);
            head[..at].copy_from_slice(&bytes[..at]);
            repr.emit(&mut head[at..]);
            head[named_at] = ipv6_ext::next_header::FRAGMENT;
            let len = (front - ipv6::HEADER_LEN + end - start) as u16;
            head[4..6].copy_from_slice(&len.to_be_bytes());
            piece.body.push(payload.slice(start..end));
            piece
        })
        .collect()
}

/// The headers that every fragment has: where their last next header field is, and their end.
fn unfragmentable(bytes: &[u8]) -> Option<(usize, usize)> {
    let (mut named_at, mut at) = (ipv6::NEXT_HEADER_OFFSET, ipv6::HEADER_LEN);
    while matches!(
        bytes[named_at],
        ipv6_ext::next_header::HOP_BY_HOP | ipv6_ext::next_header::ROUTING
    ) {
        named_at = at;
        at += 8 + usize::from(*bytes.get(at + 1)?) * 8;
    }
    (at < bytes.len()).then_some((named_at, at))
}

/// The header of the second and later fragments: options that are not to be copied into them become
/// no-operations (RFC 791 section 3.1).
fn without_single_options(header: &[u8]) -> Vec<u8> {
    const END: u8 = 0;
    const NOP: u8 = 1;
    const COPIED: u8 = 0x80;
    let mut header = header.to_vec();
    let mut at = ipv4::HEADER_LEN;
    while at < header.len() && header[at] != END {
        if header[at] == NOP {
            at += 1;
            continue;
        }
        let len = header.get(at + 1).map_or(0, |len| usize::from(*len));
        // What passed the parser has no such lengths.
        if len < 2 || at + len > header.len() {
            break;
        }
        if header[at] & COPIED == 0 {
            header[at..at + len].fill(NOP);
        }
        at += len;
    }
    header
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fragments_of_a_fragment_keep_its_place() {
        let mut packet = TxPacket::default();
        let head = packet.head.push_front(28);
        head[0] = 0x47;
        head[6..8].copy_from_slice(&(MORE_FRAGMENTS | 10).to_be_bytes());
        // Router alert is copied, record route is not.
        head[20..24].copy_from_slice(&[148, 4, 0, 0]);
        head[24..28].copy_from_slice(&[7, 3, 4, 0]);
        packet.body.push(Bytes::from(vec![7; 50]));
        let pieces = cut(&packet, 52);
        let fields: Vec<u16> = pieces.iter().map(|p| be16(p.head.as_slice(), 6)).collect();
        let more = MORE_FRAGMENTS;
        assert_eq!(fields, [more | 10, more | 13, more | 16]);
        let lens: Vec<usize> = pieces.iter().map(TxPacket::len).collect();
        assert_eq!(lens, [52, 52, 30]);
        let options: Vec<&[u8]> = pieces.iter().map(|p| &p.head.as_slice()[20..]).collect();
        assert_eq!(options[0], [148, 4, 0, 0, 7, 3, 4, 0]);
        assert_eq!(options[1], [148, 4, 0, 0, 1, 1, 1, 0]);
        assert!(pieces.iter().all(|p| checksum(p.head.as_slice()) == 0));
        assert!(cut(&packet, 30).is_empty());
    }

    #[test]
    fn a_hop_less_keeps_the_checksum_right() {
        for ttl in 1..=255 {
            let mut head = [0_u8; 20];
            (head[0], head[8], head[9]) = (0x45, ttl, 17);
            let sum = checksum(&head);
            head[10..12].copy_from_slice(&sum.to_be_bytes());
            age(&mut head);
            assert_eq!((checksum(&head), head[8]), (0, ttl - 1));
        }
    }
}
