//! IP headers of both families on their way up: what is wrong with them, and what follows them.

use std::net::IpAddr;

use super::Stack;
use super::forward::Transit;
use super::fragments::FragmentIn;
use super::ingress::{Inbound, LinkInfo, Way};
use crate::buf::{RxChecksum, RxPacket};
use crate::filter::conntrack::Track;
use crate::network::icmp_error::Problem;
use crate::network::reassembly::FragmentKey;
use crate::network::{IpMeta, proto};
use crate::wire::WireError;
use crate::wire::ipv4::{self, Ipv4Options, Ipv4Repr, Ipv4View};
use crate::wire::ipv6::{self, Ipv6Repr, Ipv6View};
use crate::wire::ipv6_ext::{self, End, ExtError, FragmentRepr};

/// What both headers tell.
#[derive(Clone, Copy, Debug)]
pub(super) struct Header {
    pub(super) src: IpAddr,
    pub(super) dst: IpAddr,
    pub(super) tos: u8,
    pub(super) ttl: u8,
    pub(super) header_len: usize,
    total_len: usize,
    pub(super) proto: u8,
    pub(super) proto_at: usize,
    /// Routers must not cut it.
    pub(super) dont_fragment: bool,
    /// It is a fragment but not the first, and has no transport header.
    pub(super) is_later_fragment: bool,
}

impl Stack {
    /// A packet of whichever family its first four bits name; anything else counts as bad IPv4.
    pub(super) fn ip_in(&mut self, link: LinkInfo, packet: RxPacket) {
        match packet.data.first() {
            Some(first) if first >> 4 == 6 => self.ipv6_in(link, packet),
            _ => self.ipv4_in(link, packet),
        }
    }

    pub(super) fn ipv4_in(&mut self, link: LinkInfo, mut packet: RxPacket) {
        let stats = &mut self.net.stats.ip4;
        if !link.reassembled {
            stats.in_receives += 1;
            stats.in_octets += packet.data.len() as u64;
        }
        let view = match Ipv4View::new(&packet.data) {
            Ok(view) => view,
            Err(error) => {
                match error {
                    WireError::Truncated => stats.in_truncated_pkts += 1,
                    WireError::BadChecksum => stats.in_csum_errors += 1,
                    _ => stats.in_hdr_errors += 1,
                }
                return;
            }
        };
        let repr = Ipv4Repr::parse(&view);
        let header = Header {
            src: repr.src.into(),
            dst: repr.dst.into(),
            tos: repr.tos,
            ttl: repr.ttl,
            header_len: view.header_len(),
            total_len: view.total_len(),
            proto: repr.proto,
            proto_at: ipv4::PROTO_OFFSET,
            dont_fragment: repr.dont_fragment,
            is_later_fragment: repr.fragment_offset > 0,
        };
        if !view.options().is_empty() && !self.options_pass(&view) {
            return;
        }
        let first = repr.is_fragment() && self.net.tracks();
        let inbound = match first {
            // Who tracks connections looks at whole datagrams only.
            true => {
                packet.data.truncate(header.total_len);
                Some(of_header(link, packet, header))
            }
            false => self.inbound(link, packet, header),
        };
        let Some(inbound) = inbound else {
            return;
        };
        if !repr.is_fragment() {
            return self.deliver(inbound);
        }
        let key = FragmentKey {
            src: inbound.meta.src,
            dst: inbound.meta.dst,
            id: u32::from(repr.id),
            proto: repr.proto,
        };
        let fragment = FragmentIn {
            key,
            offset: usize::from(repr.fragment_offset),
            more: repr.more_fragments,
            payload_at: inbound.header_len,
            again: first.then_some(link),
        };
        self.fragment_in(inbound, fragment);
    }

    pub(super) fn ipv6_in(&mut self, link: LinkInfo, mut packet: RxPacket) {
        let stats = &mut self.net.stats.ip6;
        if !link.reassembled {
            stats.in_receives += 1;
            stats.in_octets += packet.data.len() as u64;
        }
        let view = match Ipv6View::new(&packet.data) {
            Ok(view) => view,
            Err(WireError::Truncated) => {
                stats.in_truncated_pkts += 1;
                return;
            }
            Err(_) => {
                stats.in_hdr_errors += 1;
                return;
            }
        };
        let repr = Ipv6Repr::parse(&view);
        let header = Header {
            src: repr.src.into(),
            dst: repr.dst.into(),
            tos: repr.traffic_class,
            ttl: repr.hop_limit,
            header_len: ipv6::HEADER_LEN,
            total_len: view.total_len(),
            proto: repr.next_header,
            proto_at: ipv6::NEXT_HEADER_OFFSET,
            dont_fragment: true,
            is_later_fragment: is_later_fragment(&packet.data, repr.next_header),
        };
        if self.net.tracks() && !link.reassembled {
            packet.data.truncate(header.total_len);
            let inbound = of_header(link, packet.clone(), header);
            if self.gathers_first(link, inbound) {
                return;
            }
        }
        if let Some(inbound) = self.inbound(link, packet, header) {
            self.extensions_in(inbound, true);
        }
    }

    /// Checks the addresses and cuts padding of short frames off; `None` if the packet is not for us, in
    /// which case it has been forwarded if it was for others.
    fn inbound(
        &mut self,
        link: LinkInfo,
        mut packet: RxPacket,
        mut header: Header,
    ) -> Option<Inbound> {
        packet.data.truncate(header.total_len);
        let mut track = Track::default();
        if self.net.filter.is_some() {
            track = self.prerouting(link, &mut packet, &mut header)?;
        }
        let way = self.addresses_pass(link, header.src, header.dst)?;
        let not_unicast = match way {
            Way::Up { not_unicast } => not_unicast,
            Way::Through | Way::Group { .. } => {
                let transit = Transit {
                    packet: packet.clone(),
                    header,
                    iface: link.iface,
                    track: track.clone(),
                    reassembled: link.reassembled,
                };
                match way {
                    Way::Group { member } => {
                        self.forward_group(&transit);
                        member.then_some(true)?
                    }
                    _ => {
                        self.forward(transit);
                        return None;
                    }
                }
            }
        };
        let mut inbound = of_header(link, packet, header);
        inbound.track = track;
        inbound.meta.not_unicast = not_unicast;
        Some(inbound)
    }

    fn options_pass(&mut self, view: &Ipv4View<'_>) -> bool {
        match Ipv4Options::parse(view.options()) {
            Ok(options) if options.source_route => {
                self.net.stats.ip4.in_source_route += 1;
                false
            }
            Ok(_) => true,
            Err(_) => {
                self.net.stats.ip4.in_option_errors += 1;
                false
            }
        }
    }

    /// Walks the extension headers of an IPv6 packet, from its fixed header on. A datagram that has
    /// been put together may not be a fragment again (`may_be_fragment`).
    pub(super) fn extensions_in(&mut self, mut inbound: Inbound, may_be_fragment: bool) {
        let (mut first, mut may_be_fragment) = (true, may_be_fragment);
        loop {
            let (proto, proto_at, at) = (inbound.proto, inbound.proto_at, inbound.header_len);
            let walk = match ipv6_ext::walk(&inbound.packet, proto, proto_at, at, first) {
                Ok(walk) => walk,
                Err(error) => return self.refuse_extensions(&inbound, error),
            };
            inbound.router_alert |= walk.router_alert;
            let (unfragmentable_end, repr) = match walk.end {
                End::Fragment { repr, at, .. } => (at, Some(repr)),
                End::Transport => (walk.at, None),
            };
            let fragment_at = unfragmentable_end;
            inbound.header_len = walk.at;
            (inbound.proto, inbound.proto_at) = (walk.proto, walk.proto_at);
            match repr {
                None => return self.deliver(inbound),
                Some(_) if !may_be_fragment => {
                    self.net.stats.ip6.in_hdr_errors += 1;
                    return;
                }
                // RFC 6946: a fragment of one is no fragment, and has nothing to do with others.
                Some(repr) if repr.is_atomic() => (first, may_be_fragment) = (false, false),
                Some(repr) => return self.fragment_in_v6(inbound, repr, fragment_at, None),
            }
        }
    }

    /// Takes a fragment to the others before anybody looks where it goes; false if it is none.
    fn gathers_first(&mut self, link: LinkInfo, mut inbound: Inbound) -> bool {
        let (proto, proto_at, at) = (inbound.proto, inbound.proto_at, inbound.header_len);
        let Ok(walk) = ipv6_ext::walk(&inbound.packet, proto, proto_at, at, true) else {
            return false;
        };
        match walk.end {
            End::Fragment { repr, at, .. } if !repr.is_atomic() => {
                inbound.header_len = walk.at;
                (inbound.proto, inbound.proto_at) = (walk.proto, walk.proto_at);
                self.fragment_in_v6(inbound, repr, at, Some(link));
                true
            }
            _ => false,
        }
    }

    fn fragment_in_v6(
        &mut self,
        inbound: Inbound,
        repr: FragmentRepr,
        fragment_at: usize,
        again: Option<LinkInfo>,
    ) {
        let payload_at = inbound.header_len;
        let payload = &inbound.packet[payload_at..];
        let end = usize::from(repr.offset) + payload.len();
        let problem = match () {
            // RFC 8200 section 4.5: the payload length field, the fragment offset field.
            () if repr.more && !payload.len().is_multiple_of(8) => Some(Problem::Field { at: 4 }),
            () if end > usize::from(u16::MAX) => Some(Problem::Field {
                at: fragment_at + 2,
            }),
            () if repr.offset == 0 && !has_transport(&inbound) => Some(Problem::HeaderChain),
            () => None,
        };
        if let Some(problem) = problem {
            self.net.stats.ip6.reasm_reqds += 1;
            self.net.stats.ip6.reasm_fails += 1;
            self.net.stats.ip6.in_hdr_errors += 1;
            return self.send_icmp_error(&inbound, problem);
        }
        let key = FragmentKey {
            src: inbound.meta.src,
            dst: inbound.meta.dst,
            id: repr.id,
            proto: 0,
        };
        let fragment = FragmentIn {
            key,
            offset: usize::from(repr.offset),
            more: repr.more,
            payload_at,
            again,
        };
        self.fragment_in(inbound, fragment);
    }

    fn refuse_extensions(&mut self, inbound: &Inbound, error: ExtError) {
        let stats = &mut self.net.stats.ip6;
        let problem = match error {
            ExtError::Truncated => {
                stats.in_truncated_pkts += 1;
                return;
            }
            ExtError::TooMany | ExtError::Option => {
                stats.in_option_errors += 1;
                return;
            }
            ExtError::Unknown { pointer, multicast } => {
                stats.in_option_errors += 1;
                Problem::Option {
                    at: pointer,
                    multicast,
                }
            }
            ExtError::Routing { pointer } => {
                stats.in_source_route += 1;
                Problem::Field { at: pointer }
            }
            ExtError::Misplaced { pointer } => {
                stats.in_unknown_protos += 1;
                Problem::Protocol { at: pointer }
            }
        };
        self.send_icmp_error(inbound, problem);
    }
}

/// A packet as its header tells of it, whoever it is for.
fn of_header(link: LinkInfo, packet: RxPacket, header: Header) -> Inbound {
    Inbound {
        packet: packet.data,
        header_len: header.header_len,
        proto: header.proto,
        proto_at: header.proto_at,
        router_alert: false,
        track: Track::default(),
        meta: IpMeta {
            src: header.src,
            dst: header.dst,
            iface: link.iface,
            tos: header.tos,
            ttl: header.ttl,
            not_unicast: false,
            arrival: packet.arrival,
            checksum_valid: packet.checksum == RxChecksum::Valid,
            gro_size: packet.gro_size,
        },
    }
}

/// True for a fragment that is not the first.
fn is_later_fragment(packet: &[u8], next_header: u8) -> bool {
    let found = match next_header {
        // Nearly all packets, without a look at the rest.
        proto::TCP | proto::UDP | proto::ICMPV6 => return false,
        next_header => ipv6_ext::skip(packet, next_header, ipv6::HEADER_LEN),
    };
    found.is_some_and(|(_, _, is_first)| !is_first)
}

/// True if a first fragment has all headers up to the transport's (RFC 7112).
fn has_transport(inbound: &Inbound) -> bool {
    let (proto, at) = (inbound.proto, inbound.header_len);
    let found = ipv6_ext::skip(&inbound.packet, proto, at);
    found.is_some_and(|(proto, at, _)| {
        let need = match proto {
            proto::TCP => 20,
            proto::UDP | proto::ICMPV6 => 8,
            ipv6_ext::next_header::NONE => 0,
            _ => 1,
        };
        inbound.packet.len() - at >= need
    })
}
