//! ICMP for IPv6 (RFC 4443).

use std::net::Ipv6Addr;

use super::checksum::Checksum;
use super::{WireError, be16, be32};

/// Bytes of the header.
pub const HEADER_LEN: usize = 8;
/// Offset of the checksum field.
pub const CHECKSUM_OFFSET: u16 = 2;

/// The protocol number, which the checksum covers.
const PROTO: u8 = 58;

/// Values of the type field.
pub mod kind {
    /// Destination unreachable.
    pub const UNREACHABLE: u8 = 1;
    /// Packet too big.
    pub const PACKET_TOO_BIG: u8 = 2;
    /// Time exceeded.
    pub const TIME_EXCEEDED: u8 = 3;
    /// Parameter problem.
    pub const PARAMETER_PROBLEM: u8 = 4;
    /// Echo request.
    pub const ECHO_REQUEST: u8 = 128;
    /// Echo reply.
    pub const ECHO_REPLY: u8 = 129;
    /// Multicast listener query.
    pub const MLD_QUERY: u8 = 130;
    /// Multicast listener report, version 1.
    pub const MLD_REPORT: u8 = 131;
    /// Multicast listener done, version 1.
    pub const MLD_DONE: u8 = 132;
    /// Router solicitation.
    pub const ROUTER_SOLICIT: u8 = 133;
    /// Router advertisement.
    pub const ROUTER_ADVERT: u8 = 134;
    /// Neighbour solicitation.
    pub const NEIGHBOR_SOLICIT: u8 = 135;
    /// Neighbour advertisement.
    pub const NEIGHBOR_ADVERT: u8 = 136;
    /// Redirect.
    pub const REDIRECT: u8 = 137;
    /// Multicast listener report, version 2.
    pub const MLD2_REPORT: u8 = 143;
}

/// Codes of destination unreachable.
pub mod unreachable {
    /// No route.
    pub const NO_ROUTE: u8 = 0;
    /// Communication administratively prohibited.
    pub const PROHIBITED: u8 = 1;
    /// Beyond the scope of the source address.
    pub const SCOPE: u8 = 2;
    /// The address does not answer.
    pub const ADDRESS: u8 = 3;
    /// Port.
    pub const PORT: u8 = 4;
}

/// Codes of parameter problem.
pub mod parameter {
    /// A header field has a bad value.
    pub const FIELD: u8 = 0;
    /// An unknown next header.
    pub const NEXT_HEADER: u8 = 1;
    /// An unknown option.
    pub const OPTION: u8 = 2;
    /// A first fragment without the whole header chain (RFC 7112).
    pub const HEADER_CHAIN: u8 = 3;
}

/// The meaning of a message's header; what follows it is the payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Icmpv6Repr {
    /// An echo request.
    EchoRequest {
        /// Identifier.
        ident: u16,
        /// Sequence number.
        seq: u16,
    },
    /// An echo reply.
    EchoReply {
        /// Identifier.
        ident: u16,
        /// Sequence number.
        seq: u16,
    },
    /// Destination unreachable; the payload quotes the packet.
    Unreachable {
        /// See [`mod@unreachable`].
        code: u8,
    },
    /// Packet too big; the payload quotes the packet.
    PacketTooBig {
        /// MTU of the next link.
        mtu: u32,
    },
    /// Time exceeded; the payload quotes the packet.
    TimeExceeded {
        /// 0: in transit, 1: in reassembly.
        code: u8,
    },
    /// Parameter problem; the payload quotes the packet.
    ParameterProblem {
        /// See [`parameter`].
        code: u8,
        /// Offset of the offending byte.
        pointer: u32,
    },
    /// Anything else, not interpreted here.
    Other {
        /// Type field.
        kind: u8,
        /// Code field.
        code: u8,
        /// The other four bytes.
        rest: u32,
    },
}

impl Icmpv6Repr {
    /// Reads a message; the payload starts at [`HEADER_LEN`]. The checksum is not looked at: see [`is_valid`].
    ///
    /// # Errors
    /// `Truncated`.
    pub fn parse(bytes: &[u8]) -> Result<Self, WireError> {
        if bytes.len() < HEADER_LEN {
            return Err(WireError::Truncated);
        }
        let (code, rest) = (bytes[1], be32(bytes, 4));
        let (ident, seq) = (be16(bytes, 4), be16(bytes, 6));
        Ok(match (bytes[0], code) {
            (kind::ECHO_REQUEST, 0) => Self::EchoRequest { ident, seq },
            (kind::ECHO_REPLY, 0) => Self::EchoReply { ident, seq },
            (kind::UNREACHABLE, _) => Self::Unreachable { code },
            (kind::PACKET_TOO_BIG, _) => Self::PacketTooBig { mtu: rest },
            (kind::TIME_EXCEEDED, _) => Self::TimeExceeded { code },
            (kind::PARAMETER_PROBLEM, _) => Self::ParameterProblem {
                code,
                pointer: rest,
            },
            (kind, _) => Self::Other { kind, code, rest },
        })
    }

    /// Writes the header into the first [`HEADER_LEN`] bytes of `out`; the checksum field is left zero.
    ///
    /// # Panics
    /// If `out` is shorter.
    pub fn emit(&self, out: &mut [u8]) {
        let echo = |ident: u16, seq: u16| (u32::from(ident) << 16) | u32::from(seq);
        let (kind, code, rest) = match *self {
            Self::EchoRequest { ident, seq } => (kind::ECHO_REQUEST, 0, echo(ident, seq)),
            Self::EchoReply { ident, seq } => (kind::ECHO_REPLY, 0, echo(ident, seq)),
            Self::Unreachable { code } => (kind::UNREACHABLE, code, 0),
            Self::PacketTooBig { mtu } => (kind::PACKET_TOO_BIG, 0, mtu),
            Self::TimeExceeded { code } => (kind::TIME_EXCEEDED, code, 0),
            Self::ParameterProblem { code, pointer } => (kind::PARAMETER_PROBLEM, code, pointer),
            Self::Other { kind, code, rest } => (kind, code, rest),
        };
        out[0] = kind;
        out[1] = code;
        out[2..4].fill(0);
        out[4..8].copy_from_slice(&rest.to_be_bytes());
    }
}

/// True for types that report an error and so are never answered by one (RFC 4443 section 2.1). Redirects
/// are not answered either.
pub fn is_error(kind: u8) -> bool {
    kind < 128 || kind == kind::REDIRECT
}

/// True if the checksum of a whole message is right.
pub fn is_valid(src: Ipv6Addr, dst: Ipv6Addr, message: &[u8]) -> bool {
    let len = message.len() as u32;
    let mut sum = Checksum::pseudo(src.into(), dst.into(), PROTO, len);
    sum.add_bytes(message);
    sum.is_valid()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn agrees_with_etherparse() {
        let (src, dst): (Ipv6Addr, Ipv6Addr) =
            ("2001:db8::1".parse().unwrap(), "ff02::1".parse().unwrap());
        let builder = etherparse::PacketBuilder::ipv6(src.octets(), dst.octets(), 64);
        let mut packet = Vec::new();
        let echo = builder.icmpv6_echo_request(0x1234, 0x5678);
        echo.write(&mut packet, b"odd").unwrap();
        let message = &packet[40..];
        assert!(
            is_valid(src, dst, message)
                && !is_valid(dst, src.to_bits().wrapping_add(1).into(), message)
        );
        let repr = Icmpv6Repr::parse(message).unwrap();
        let expected = Icmpv6Repr::EchoRequest {
            ident: 0x1234,
            seq: 0x5678,
        };
        assert_eq!(repr, expected);
        assert_eq!(Icmpv6Repr::parse(&message[..7]), Err(WireError::Truncated));
    }

    proptest! {
        #[test]
        fn what_is_understood_is_written_back(bytes in proptest::collection::vec(any::<u8>(), 8..16)) {
            let repr = Icmpv6Repr::parse(&bytes).unwrap();
            let mut out = [0; HEADER_LEN];
            repr.emit(&mut out);
            prop_assert_eq!(Icmpv6Repr::parse(&out).unwrap(), repr);
        }
    }
}
