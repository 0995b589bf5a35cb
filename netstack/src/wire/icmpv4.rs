//! ICMP for IPv4 (RFC 792, RFC 1191).

use super::checksum::Checksum;
use super::{WireError, be16, be32};

/// Bytes of the header.
pub const HEADER_LEN: usize = 8;
/// Offset of the checksum field.
pub const CHECKSUM_OFFSET: u16 = 2;

/// Values of the type field.
pub mod kind {
    /// Echo reply.
    pub const ECHO_REPLY: u8 = 0;
    /// Destination unreachable.
    pub const UNREACHABLE: u8 = 3;
    /// Source quench (obsolete, RFC 6633).
    pub const SOURCE_QUENCH: u8 = 4;
    /// Redirect.
    pub const REDIRECT: u8 = 5;
    /// Echo request.
    pub const ECHO_REQUEST: u8 = 8;
    /// Time exceeded.
    pub const TIME_EXCEEDED: u8 = 11;
    /// Parameter problem.
    pub const PARAMETER_PROBLEM: u8 = 12;
}

/// Codes of destination unreachable.
pub mod unreachable {
    /// Network.
    pub const NET: u8 = 0;
    /// Host.
    pub const HOST: u8 = 1;
    /// Protocol.
    pub const PROTOCOL: u8 = 2;
    /// Port.
    pub const PORT: u8 = 3;
    /// Fragmentation needed and DF set.
    pub const FRAGMENTATION_NEEDED: u8 = 4;
    /// Source route failed.
    pub const SOURCE_ROUTE: u8 = 5;
    /// Network unknown.
    pub const NET_UNKNOWN: u8 = 6;
    /// Communication administratively prohibited.
    pub const PROHIBITED: u8 = 13;
}

/// The meaning of a message's header; what follows it is the payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Icmpv4Repr {
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
        /// Next-hop MTU with code 4, 0 from routers older than RFC 1191.
        mtu: u16,
    },
    /// Time exceeded; the payload quotes the packet.
    TimeExceeded {
        /// 0: in transit, 1: in reassembly.
        code: u8,
    },
    /// Parameter problem; the payload quotes the packet.
    ParameterProblem {
        /// 0: the pointer says where.
        code: u8,
        /// Offset of the offending byte.
        pointer: u8,
    },
    /// Anything else, not interpreted.
    Other {
        /// Type field.
        kind: u8,
        /// Code field.
        code: u8,
        /// The other four bytes.
        rest: u32,
    },
}

impl Icmpv4Repr {
    /// Reads a message; the payload starts at [`HEADER_LEN`]. The checksum is not looked at: see [`is_valid`].
    ///
    /// # Errors
    /// `Truncated`.
    pub fn parse(bytes: &[u8]) -> Result<Self, WireError> {
        if bytes.len() < HEADER_LEN {
            return Err(WireError::Truncated);
        }
        let code = bytes[1];
        let (ident, seq) = (be16(bytes, 4), be16(bytes, 6));
        Ok(match (bytes[0], code) {
            (kind::ECHO_REQUEST, 0) => Self::EchoRequest { ident, seq },
            (kind::ECHO_REPLY, 0) => Self::EchoReply { ident, seq },
            (kind::UNREACHABLE, _) => Self::Unreachable { code, mtu: seq },
            (kind::TIME_EXCEEDED, _) => Self::TimeExceeded { code },
            (kind::PARAMETER_PROBLEM, _) => Self::ParameterProblem {
                code,
                pointer: bytes[4],
            },
            (kind, _) => Self::Other {
                kind,
                code,
                rest: be32(bytes, 4),
            },
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
            Self::Unreachable { code, mtu } => (kind::UNREACHABLE, code, u32::from(mtu)),
            Self::TimeExceeded { code } => (kind::TIME_EXCEEDED, code, 0),
            Self::ParameterProblem { code, pointer } => {
                (kind::PARAMETER_PROBLEM, code, u32::from(pointer) << 24)
            }
            Self::Other { kind, code, rest } => (kind, code, rest),
        };
        out[0] = kind;
        out[1] = code;
        out[2..4].fill(0);
        out[4..8].copy_from_slice(&rest.to_be_bytes());
    }
}

/// True for types that report an error and so are never answered by one (RFC 1122, 3.2.2).
pub fn is_error(kind: u8) -> bool {
    matches!(
        kind,
        kind::UNREACHABLE
            | kind::SOURCE_QUENCH
            | kind::REDIRECT
            | kind::TIME_EXCEEDED
            | kind::PARAMETER_PROBLEM
    )
}

/// True if the checksum of a whole message is right.
pub fn is_valid(message: &[u8]) -> bool {
    let mut sum = Checksum::new();
    sum.add_bytes(message);
    sum.is_valid()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::checksum::checksum;
    use etherparse::{IcmpEchoHeader, Icmpv4Header, Icmpv4Type, icmpv4};
    use proptest::prelude::*;

    fn bytes_of(repr: Icmpv4Repr, payload: &[u8]) -> Vec<u8> {
        let mut bytes = vec![0; HEADER_LEN];
        repr.emit(&mut bytes);
        bytes.extend_from_slice(payload);
        let sum = checksum(&bytes);
        bytes[2..4].copy_from_slice(&sum.to_be_bytes());
        bytes
    }

    #[test]
    fn agrees_with_etherparse() {
        let cases = [
            (
                Icmpv4Repr::EchoRequest { ident: 7, seq: 9 },
                Icmpv4Type::EchoRequest(IcmpEchoHeader { id: 7, seq: 9 }),
            ),
            (
                Icmpv4Repr::EchoReply { ident: 1, seq: 2 },
                Icmpv4Type::EchoReply(IcmpEchoHeader { id: 1, seq: 2 }),
            ),
            (
                Icmpv4Repr::Unreachable { code: 4, mtu: 1400 },
                Icmpv4Type::DestinationUnreachable(
                    icmpv4::DestUnreachableHeader::FragmentationNeeded { next_hop_mtu: 1400 },
                ),
            ),
            (
                Icmpv4Repr::Unreachable { code: 3, mtu: 0 },
                Icmpv4Type::DestinationUnreachable(icmpv4::DestUnreachableHeader::Port),
            ),
            (
                Icmpv4Repr::TimeExceeded { code: 0 },
                Icmpv4Type::TimeExceeded(icmpv4::TimeExceededCode::TtlExceededInTransit),
            ),
            (
                Icmpv4Repr::ParameterProblem {
                    code: 0,
                    pointer: 20,
                },
                Icmpv4Type::ParameterProblem(
                    icmpv4::ParameterProblemHeader::PointerIndicatesError(20),
                ),
            ),
        ];
        for (ours, theirs) in cases {
            let header = Icmpv4Header::with_checksum(theirs, b"payload");
            let mut bytes = header.to_bytes().to_vec();
            bytes.extend_from_slice(b"payload");
            assert!(is_valid(&bytes));
            assert_eq!(bytes_of(ours, b"payload"), bytes);
            assert_eq!(Icmpv4Repr::parse(&bytes), Ok(ours));
        }
    }

    proptest! {
        #[test]
        fn what_parses_is_emitted_alike(bytes in proptest::collection::vec(any::<u8>(), 0..12)) {
            if let Ok(repr) = Icmpv4Repr::parse(&bytes) {
                let mut out = [0; HEADER_LEN];
                repr.emit(&mut out);
                prop_assert_eq!(Icmpv4Repr::parse(&out), Ok(repr));
            }
        }
    }
}
