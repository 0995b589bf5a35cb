//! A packet as the filter sees it: what its headers say, and a way to change them.

use std::net::IpAddr;

use crate::buf::{Bytes, BytesMut};
use crate::network::proto;
use crate::wire::tcp::TcpFlags;
use crate::wire::{be16, be32, icmpv4, icmpv6, ipv4, ipv6, ipv6_ext};

/// What the headers of a packet say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Summary {
    pub(crate) src: IpAddr,
    pub(crate) dst: IpAddr,
    /// Protocol of the transport.
    pub(crate) proto: u8,
    /// Offset of the transport's header.
    pub(crate) transport: usize,
    /// Length of the whole packet.
    pub(crate) len: usize,
    /// TOS or traffic class.
    pub(crate) tos: u8,
    /// TTL or hop limit.
    pub(crate) ttl: u8,
    /// A fragment that is not the first: it has no transport header.
    pub(crate) is_later_fragment: bool,
    /// What the transport header says.
    pub(crate) inner: Inner,
}

/// What a transport header says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Inner {
    Tcp(TcpInner),
    Udp {
        src: u16,
        dst: u16,
    },
    Icmp {
        kind: u8,
        code: u8,
        ident: u16,
    },
    /// Another protocol.
    Other,
    /// It is not whole, or not there.
    Broken,
}

/// What a TCP header says, as far as tracking needs it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TcpInner {
    pub(crate) src: u16,
    pub(crate) dst: u16,
    pub(crate) flags: TcpFlags,
    pub(crate) seq: u32,
    pub(crate) ack: u32,
    pub(crate) window: u16,
    /// Bytes of the header.
    pub(crate) header_len: usize,
    /// Bytes of data.
    pub(crate) data_len: u32,
}

impl Summary {
    /// Reads the headers in `head`, the beginning of a packet of `len` bytes; `None` if it has no IP header.
    pub(crate) fn parse(head: &[u8], len: usize) -> Option<Self> {
        match head.first()? >> 4 {
            4 => Self::parse_v4(head, len),
            6 => Self::parse_v6(head, len),
            _ => None,
        }
    }

    fn parse_v4(head: &[u8], len: usize) -> Option<Self> {
        let transport = usize::from(head[0] & 15) * 4;
        if transport < ipv4::HEADER_LEN || head.len() < transport {
            return None;
        }
        let addr = |at: usize| IpAddr::V4(be32(head, at).into());
        let is_later_fragment = be16(head, 6) & 0x1fff != 0;
        let proto = head[ipv4::PROTO_OFFSET];
        Some(Self {
            src: addr(12),
            dst: addr(16),
            proto,
            transport,
            len,
            tos: head[1],
            ttl: head[8],
            is_later_fragment,
            inner: match is_later_fragment {
                true => Inner::Broken,
                false => Inner::parse(proto, &head[transport..], len.saturating_sub(transport)),
            },
        })
    }

    fn parse_v6(head: &[u8], len: usize) -> Option<Self> {
        if head.len() < ipv6::HEADER_LEN {
            return None;
        }
        let next = head[ipv6::NEXT_HEADER_OFFSET];
        let found = ipv6_ext::skip(head, next, ipv6::HEADER_LEN);
        let (proto, transport, is_first) = found.unwrap_or((next, head.len(), true));
        Some(Self {
            src: ipv6::addr_at(head, 8).into(),
            dst: ipv6::addr_at(head, 24).into(),
            proto,
            transport,
            len,
            tos: (be16(head, 0) >> 4) as u8,
            ttl: head[7],
            is_later_fragment: !is_first,
            inner: match is_first && found.is_some() {
                true => Inner::parse(proto, &head[transport..], len.saturating_sub(transport)),
                false => Inner::Broken,
            },
        })
    }

    /// Reads a packet as an ICMP error quotes it: of its transport there may be only eight bytes.
    pub(crate) fn of_quote(quote: &[u8]) -> Option<Self> {
        let be = |at: usize| quote.get(at..at + 2).map_or(0, |bytes| be16(bytes, 0));
        let len = match quote.first()? >> 4 {
            4 => usize::from(be(2)),
            _ => ipv6::HEADER_LEN + usize::from(be(4)),
        };
        let summary = Self::parse(quote, len)?;
        let transport = quote.get(summary.transport..).unwrap_or_default();
        let is_short = summary.inner == Inner::Broken
            && summary.proto == proto::TCP
            && !summary.is_later_fragment
            && transport.len() >= 8;
        // The ports are where those of UDP are.
        let inner = match is_short {
            true => Inner::Udp {
                src: be16(transport, 0),
                dst: be16(transport, 2),
            },
            false => summary.inner,
        };
        Some(Self { inner, ..summary })
    }

    /// Ports of TCP and UDP.
    pub(crate) fn ports(&self) -> Option<(u16, u16)> {
        match self.inner {
            Inner::Tcp(tcp) => Some((tcp.src, tcp.dst)),
            Inner::Udp { src, dst } => Some((src, dst)),
            _ => None,
        }
    }

    /// True for an ICMP message that tells of an error.
    pub(crate) fn is_icmp_error(&self) -> bool {
        match (self.inner, self.src) {
            (Inner::Icmp { kind, .. }, IpAddr::V4(_)) => icmpv4::is_error(kind),
            (Inner::Icmp { kind, .. }, IpAddr::V6(_)) => icmpv6::is_error(kind),
            _ => false,
        }
    }
}

impl Inner {
    /// `len`: bytes of the transport packet, of which `bytes` may be only the beginning.
    fn parse(proto: u8, bytes: &[u8], len: usize) -> Self {
        match proto {
            proto::TCP if bytes.len() >= 20 => {
                let header_len = usize::from(bytes[12] >> 4) * 4;
                if header_len < 20 || header_len > len {
                    return Self::Broken;
                }
                Self::Tcp(TcpInner {
                    src: be16(bytes, 0),
                    dst: be16(bytes, 2),
                    flags: TcpFlags::from_bits_truncate(u16::from(bytes[13])),
                    seq: be32(bytes, 4),
                    ack: be32(bytes, 8),
                    window: be16(bytes, 14),
                    header_len,
                    data_len: (len - header_len) as u32,
                })
            }
            proto::UDP if bytes.len() >= 8 => Self::Udp {
                src: be16(bytes, 0),
                dst: be16(bytes, 2),
            },
            proto::ICMP | proto::ICMPV6 if bytes.len() >= 8 => Self::Icmp {
                kind: bytes[0],
                code: bytes[1],
                ident: be16(bytes, 4),
            },
            proto::TCP | proto::UDP | proto::ICMP | proto::ICMPV6 => Self::Broken,
            _ => Self::Other,
        }
    }
}

/// The bytes of a packet from its IP header on: all of them, or at least those of its headers.
pub(crate) enum Packet<'a> {
    /// A whole packet.
    Whole(&'a mut Bytes),
    /// The headers of a packet that is `len` bytes long; `partial`: of its transport's checksum only the
    /// pseudo header is summed yet.
    Head {
        bytes: &'a mut [u8],
        len: usize,
        partial: bool,
    },
}

impl Packet<'_> {
    pub(crate) fn bytes(&self) -> &[u8] {
        match self {
            Self::Whole(bytes) => bytes,
            Self::Head { bytes, .. } => bytes,
        }
    }

    pub(crate) fn summary(&self) -> Option<Summary> {
        match self {
            Self::Whole(bytes) => Summary::parse(bytes, bytes.len()),
            Self::Head { bytes, len, .. } => Summary::parse(bytes, *len),
        }
    }

    /// True if the transport's checksum is only begun.
    pub(crate) fn is_partial(&self) -> bool {
        matches!(self, Self::Head { partial: true, .. })
    }

    /// Changes the bytes; shared ones are copied first.
    pub(crate) fn edit(&mut self, change: impl FnOnce(&mut [u8])) {
        match self {
            Self::Head { bytes, .. } => change(bytes),
            Self::Whole(shared) => {
                let own = std::mem::take(*shared).try_into_mut();
                let mut own = own.unwrap_or_else(|shared| BytesMut::from(&shared[..]));
                change(&mut own);
                **shared = own.freeze();
            }
        }
    }
}
