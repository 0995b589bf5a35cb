//! Packets of either family as an ICMP error quotes them: perhaps cut short, perhaps not right.

use std::net::{IpAddr, SocketAddr};

use super::icmp_error::{IcmpCause, IcmpError};
use super::proto;
use crate::wire::ipv4::{Ipv4Repr, Ipv4View};
use crate::wire::ipv6::{self, Ipv6Repr, Ipv6View};
use crate::wire::{be16, be32, ipv6_ext};

/// What can be told of a packet.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Quoted<'a> {
    pub(crate) src: IpAddr,
    pub(crate) dst: IpAddr,
    /// Protocol of the transport.
    pub(crate) proto: u8,
    /// TOS or traffic class.
    pub(crate) tos: u8,
    /// TTL or hop limit.
    pub(crate) ttl: u8,
    /// Length of the whole packet by its length field.
    pub(crate) total_len: u32,
    /// Where the transport header begins.
    pub(crate) header_len: usize,
    /// The transport header and what follows it, as far as it is there; none in later fragments.
    payload: Option<&'a [u8]>,
}

impl<'a> Quoted<'a> {
    /// Reads a packet; `None` if it is none.
    pub(crate) fn parse(bytes: &'a [u8]) -> Option<Self> {
        if bytes.first()? >> 4 == 6 {
            return Self::parse_v6(bytes);
        }
        let view = Ipv4View::new_quoted(bytes).ok()?;
        let repr = Ipv4Repr::parse(&view);
        Some(Self {
            src: repr.src.into(),
            dst: repr.dst.into(),
            proto: repr.proto,
            tos: repr.tos,
            ttl: repr.ttl,
            total_len: u32::from(be16(bytes, 2)),
            header_len: view.header_len(),
            payload: (repr.fragment_offset == 0).then_some(view.payload()),
        })
    }

    fn parse_v6(bytes: &'a [u8]) -> Option<Self> {
        let view = Ipv6View::new_quoted(bytes).ok()?;
        let repr = Ipv6Repr::parse(&view);
        let found = ipv6_ext::skip(view.packet(), repr.next_header, ipv6::HEADER_LEN);
        let (proto, header_len, is_first) =
            found.unwrap_or((repr.next_header, ipv6::HEADER_LEN, false));
        Some(Self {
            src: repr.src.into(),
            dst: repr.dst.into(),
            proto,
            tos: repr.traffic_class,
            ttl: repr.hop_limit,
            total_len: ipv6::HEADER_LEN as u32 + u32::from(be16(bytes, 4)),
            header_len,
            payload: is_first.then(|| &view.packet()[header_len..]),
        })
    }

    /// Type of an ICMP message of either family.
    pub(crate) fn icmp_type(&self) -> Option<u8> {
        let icmp = matches!(self.proto, proto::ICMP | proto::ICMPV6);
        self.payload?.first().copied().filter(|_| icmp)
    }

    /// The flow of a packet of ours, and what has become of it; ports are zero for protocols without.
    /// `None` if the quote does not reach that far.
    pub(crate) fn error(&self, cause: IcmpCause) -> Option<IcmpError> {
        let payload = self.payload?;
        let (ports, seq) = match self.proto {
            proto::TCP | proto::UDP if payload.len() < 8 => return None,
            proto::TCP | proto::UDP => ((be16(payload, 0), be16(payload, 2)), be32(payload, 4)),
            proto::ICMP | proto::ICMPV6 if payload.len() >= 8 => ((be16(payload, 4), 0), 0),
            _ => ((0, 0), 0),
        };
        Some(IcmpError {
            local: SocketAddr::new(self.src, ports.0),
            remote: SocketAddr::new(self.dst, ports.1),
            seq,
            cause,
        })
    }
}
