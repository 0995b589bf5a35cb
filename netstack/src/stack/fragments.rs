//! Fragments in: from the wire to the reassembly queue, and what comes out of it.

use super::Stack;
use super::ingress::{Inbound, LinkInfo};
use crate::buf::{Bytes, BytesMut, RxPacket};
use crate::network::IpMeta;
use crate::network::icmp_error::Problem;
use crate::network::quote::Quoted;
use crate::network::reassembly::{Fragment, FragmentKey, Reassembled, Whole};
use crate::wire::checksum::checksum;
use crate::wire::ipv6_ext::{self, End, FRAGMENT_LEN};
use crate::wire::{ipv4, ipv6};

/// What a fragment says of itself.
pub(super) struct FragmentIn {
    pub(super) key: FragmentKey,
    /// Offset in the datagram's payload, in bytes.
    pub(super) offset: usize,
    pub(super) more: bool,
    /// Where its payload begins.
    pub(super) payload_at: usize,
    /// The datagram then comes in here, as if it had been whole.
    pub(super) again: Option<LinkInfo>,
}

impl Stack {
    pub(super) fn fragment_in(&mut self, inbound: Inbound, about: FragmentIn) {
        let (now, src) = (self.net.now, inbound.meta.src);
        self.net.stats.ip(src).reasm_reqds += 1;
        let fragment = Fragment {
            offset: about.offset,
            more: about.more,
            header: inbound.packet.slice(..about.payload_at),
            payload: inbound.packet.slice(about.payload_at..),
        };
        let config = &self.net.config;
        let (time, budget) = match src.is_ipv4() {
            true => (config.ipfrag_time, config.ipfrag_high_thresh),
            false => (config.ip6frag_time, config.ip6frag_high_thresh),
        };
        let key = about.key;
        match self.reassembly.insert(now, key, fragment, time, budget) {
            Reassembled::Waiting => {}
            Reassembled::Whole(whole) => self.datagram_in(inbound, &whole, about.again),
            Reassembled::Overlap => {
                self.net.stats.ip(src).reasm_overlaps += 1;
                self.net.stats.ip(src).reasm_fails += 1;
            }
            Reassembled::Refused => self.net.stats.ip(src).reasm_fails += 1,
        }
        while let Some(evicted) = self.reassembly.next_evicted() {
            self.net.stats.ip(evicted).reasm_fails += 1;
        }
    }

    /// A datagram is whole: it goes on as if it had come in one piece. `last` is the fragment that was
    /// missing.
    fn datagram_in(&mut self, last: Inbound, whole: &Whole, again: Option<LinkInfo>) {
        let src = last.meta.src;
        let packet = match src.is_ipv4() {
            true => join_v4(whole),
            false => join_v6(whole),
        };
        let Some(packet) = packet else {
            self.net.stats.ip(src).reasm_fails += 1;
            return;
        };
        self.net.stats.ip(src).reasm_oks += 1;
        if let Some(link) = again {
            let link = LinkInfo {
                reassembled: true,
                ..link
            };
            return self.ip_in(link, RxPacket::new(packet, last.meta.arrival));
        }
        let meta = IpMeta {
            // What the link knew of a fragment says nothing of the datagram.
            checksum_valid: false,
            gro_size: 0,
            ..last.meta
        };
        if src.is_ipv4() {
            let header_len = whole.header.len();
            self.deliver(Inbound {
                packet,
                header_len,
                meta,
                ..last
            });
        } else {
            let inbound = Inbound {
                proto: packet[ipv6::NEXT_HEADER_OFFSET],
                proto_at: ipv6::NEXT_HEADER_OFFSET,
                header_len: ipv6::HEADER_LEN,
                packet,
                meta,
                ..last
            };
            self.extensions_in(inbound, false);
        }
    }

    /// Drops datagrams whose time has ended, and says so to those who sent the first fragment
    /// (RFC 1122 section 3.3.2, RFC 8200 section 4.5).
    pub(super) fn reassembly_timers(&mut self) {
        while let Some((key, first)) = self.reassembly.expire_one(self.net.now) {
            self.net.stats.ip(key.src).reasm_timeout += 1;
            self.net.stats.ip(key.src).reasm_fails += 1;
            if let Some((header, payload)) = first {
                self.time_exceeded(&header, &payload);
            }
        }
    }

    fn time_exceeded(&mut self, header: &[u8], payload: &[u8]) {
        let mut packet = BytesMut::with_capacity(header.len() + payload.len());
        packet.extend_from_slice(header);
        packet.extend_from_slice(payload);
        let packet: Bytes = packet.freeze();
        let Some(quoted) = Quoted::parse(&packet) else {
            return;
        };
        let about = Inbound::of_quoted(&quoted, packet.clone(), self.net.now);
        self.send_icmp_error(&about, Problem::ReassemblyTime);
    }
}

/// The datagram with the header of its first fragment, which now says that it is whole. `None` if it is
/// longer than IPv4 can say.
fn join_v4(whole: &Whole) -> Option<Bytes> {
    let mut packet = whole.join(&whole.header);
    let total = u16::try_from(packet.len()).ok()?;
    packet[2..4].copy_from_slice(&total.to_be_bytes());
    packet[6..8].fill(0);
    packet[ipv4::CHECKSUM_OFFSET..ipv4::CHECKSUM_OFFSET + 2].fill(0);
    let sum = checksum(&packet[..whole.header.len()]);
    packet[ipv4::CHECKSUM_OFFSET..ipv4::CHECKSUM_OFFSET + 2].copy_from_slice(&sum.to_be_bytes());
    Some(packet.freeze())
}

/// The same in IPv6: the fragment header goes, and what named it names what it named.
fn join_v6(whole: &Whole) -> Option<Bytes> {
    let header = &whole.header;
    let (proto_at, at) = (ipv6::NEXT_HEADER_OFFSET, ipv6::HEADER_LEN);
    let walk = ipv6_ext::walk(header, header[proto_at], proto_at, at, true).ok()?;
    let End::Fragment { repr, at, named_at } = walk.end else {
        return None;
    };
    debug_assert_eq!(at + FRAGMENT_LEN, header.len());
    let mut packet = whole.join(&header[..at]);
    let payload = u16::try_from(packet.len() - ipv6::HEADER_LEN).ok()?;
    packet[named_at] = repr.next_header;
    packet[4..6].copy_from_slice(&payload.to_be_bytes());
    Some(packet.freeze())
}
