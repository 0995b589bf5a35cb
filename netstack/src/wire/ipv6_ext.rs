//! IPv6 extension headers (RFC 8200 section 4): the walk from the fixed header to the transport,
//! bounded in headers, options and bytes (RFC 8504 section 5.3), and the fragment header.

use super::{be16, be32};

/// Extension headers of one packet at most.
pub const HEADERS_MAX: usize = 8;
/// Bytes of extension headers of one packet at most.
pub const BYTES_MAX: usize = 2048;
/// Options other than padding of one header at most (Linux `max_hbh_opts_number`).
pub const OPTIONS_MAX: usize = 8;
/// Bytes of padding in a row at most: more is a covert channel (Linux `ip6_parse_tlv`).
const PADDING_MAX: usize = 7;
/// Bytes of the fragment header.
pub const FRAGMENT_LEN: usize = 8;
/// Bytes of a hop-by-hop header with the router alert option (RFC 2711), as MLD has it.
pub const ROUTER_ALERT_LEN: usize = 8;

/// Values of the next header field.
pub mod next_header {
    /// Hop-by-hop options.
    pub const HOP_BY_HOP: u8 = 0;
    /// Routing.
    pub const ROUTING: u8 = 43;
    /// Fragment.
    pub const FRAGMENT: u8 = 44;
    /// Nothing follows.
    pub const NONE: u8 = 59;
    /// Destination options.
    pub const DESTINATION: u8 = 60;
}

const OPTION_PAD1: u8 = 0;
const OPTION_PADN: u8 = 1;
const OPTION_ROUTER_ALERT: u8 = 5;

/// The fragment header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FragmentRepr {
    /// What the fragmentable part begins with.
    pub next_header: u8,
    /// Offset of the payload in the fragmentable part, in bytes: a multiple of 8.
    pub offset: u16,
    /// More fragments follow.
    pub more: bool,
    /// Identification.
    pub id: u32,
}

impl FragmentRepr {
    /// Reads the header from [`FRAGMENT_LEN`] bytes or more.
    pub(crate) fn parse(bytes: &[u8]) -> Self {
        let field = be16(bytes, 2);
        Self {
            next_header: bytes[0],
            offset: field & !7,
            more: field & 1 != 0,
            id: be32(bytes, 4),
        }
    }

    /// Writes the header into the first [`FRAGMENT_LEN`] bytes of `out`.
    ///
    /// # Panics
    /// If `out` is shorter.
    pub fn emit(&self, out: &mut [u8]) {
        out[0] = self.next_header;
        out[1] = 0;
        let field = self.offset | u16::from(self.more);
        out[2..4].copy_from_slice(&field.to_be_bytes());
        out[4..8].copy_from_slice(&self.id.to_be_bytes());
    }

    /// True if this is a whole datagram after all (RFC 6946).
    pub fn is_atomic(&self) -> bool {
        self.offset == 0 && !self.more
    }
}

/// Where a walk ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// At something that is no extension header.
    Transport,
    /// At a fragment header, which has been read; what follows it has not been looked at.
    Fragment {
        /// The header.
        repr: FragmentRepr,
        /// Its offset.
        at: usize,
        /// Offset of the next header field that names it.
        named_at: usize,
    },
}

/// What a walk found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Walk {
    /// Protocol of what lies at `at` (of what the fragment header names, behind one).
    pub proto: u8,
    /// Offset of the next header field that says so, from the start of the packet.
    pub proto_at: usize,
    /// Offset of what follows the last header read.
    pub at: usize,
    /// A router alert option was there.
    pub router_alert: bool,
    /// Why it ended.
    pub end: End,
}

/// Why a packet's extension headers are refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExtError {
    /// A header runs past the end of the packet.
    Truncated,
    /// More headers, options or bytes than anybody needs.
    TooMany,
    /// An option is malformed, or asks to be dropped silently by who does not know it.
    Option,
    /// An option that is to be reported by who does not know it (code 2); `multicast`: even when the
    /// packet was sent to a group.
    Unknown {
        /// Offset of the option from the start of the packet.
        pointer: usize,
        /// It is reported whatever the destination.
        multicast: bool,
    },
    /// A routing header that would have us forward: type 0 (RFC 5095), or an unknown one.
    Routing {
        /// Offset of its type field.
        pointer: usize,
    },
    /// A hop-by-hop header that is not the first.
    Misplaced {
        /// Offset of the next header field that names it.
        pointer: usize,
    },
}

/// Walks the extension headers of `packet`, of which `proto` at `at` is the first; `proto_at` is where
/// that was said. Ends at a transport or behind a fragment header. `first`: a hop-by-hop header may come.
///
/// # Errors
/// See [`ExtError`].
pub fn walk(
    packet: &[u8],
    proto: u8,
    proto_at: usize,
    at: usize,
    first: bool,
) -> Result<Walk, ExtError> {
    let (start, mut first) = (at, first);
    let mut walk = Walk {
        proto,
        proto_at,
        at,
        router_alert: false,
        end: End::Transport,
    };
    for _ in 0..=HEADERS_MAX {
        let kind = walk.proto;
        let known = matches!(
            kind,
            next_header::HOP_BY_HOP
                | next_header::ROUTING
                | next_header::FRAGMENT
                | next_header::DESTINATION
        );
        if !known {
            return Ok(walk);
        }
        if kind == next_header::HOP_BY_HOP && !first {
            let pointer = walk.proto_at;
            return Err(ExtError::Misplaced { pointer });
        }
        first = false;
        let header = packet.get(walk.at..).filter(|rest| rest.len() >= 8);
        let header = header.ok_or(ExtError::Truncated)?;
        let len = match kind {
            next_header::FRAGMENT => FRAGMENT_LEN,
            _ => 8 + usize::from(header[1]) * 8,
        };
        let header = header.get(..len).ok_or(ExtError::Truncated)?;
        if walk.at + len - start > BYTES_MAX {
            return Err(ExtError::TooMany);
        }
        match kind {
            next_header::FRAGMENT => {
                walk.end = End::Fragment {
                    repr: FragmentRepr::parse(header),
                    at: walk.at,
                    named_at: walk.proto_at,
                };
            }
            // RFC 8200 section 4.4: without segments left there is nothing to do.
            next_header::ROUTING if header[3] != 0 || header[2] == 0 => {
                let pointer = walk.at + 2;
                return Err(ExtError::Routing { pointer });
            }
            next_header::ROUTING => {}
            _ => walk.router_alert |= options(header, walk.at)?,
        }
        (walk.proto, walk.proto_at) = (header[0], walk.at);
        walk.at += len;
        if kind == next_header::FRAGMENT {
            return Ok(walk);
        }
    }
    Err(ExtError::TooMany)
}

/// Checks the options of a header that starts at `at`; true if router alert is among them.
fn options(header: &[u8], at: usize) -> Result<bool, ExtError> {
    let (mut pos, mut count, mut padding, mut alert) = (2, 0, 0, false);
    while pos < header.len() {
        let kind = header[pos];
        if kind == OPTION_PAD1 {
            padding += 1;
            pos += 1;
        } else {
            let len = usize::from(*header.get(pos + 1).ok_or(ExtError::Option)?) + 2;
            let option = header.get(pos..pos + len).ok_or(ExtError::Option)?;
            if kind == OPTION_PADN {
                padding += len;
                if option[2..].iter().any(|byte| *byte != 0) {
                    return Err(ExtError::Option);
                }
            } else {
                (padding, count) = (0, count + 1);
                if count > OPTIONS_MAX {
                    return Err(ExtError::TooMany);
                }
                match kind {
                    OPTION_ROUTER_ALERT if len == 4 => alert = true,
                    OPTION_ROUTER_ALERT => return Err(ExtError::Option),
                    kind => unknown(kind, at + pos)?,
                }
            }
            pos += len;
        }
        if padding > PADDING_MAX {
            return Err(ExtError::Option);
        }
    }
    Ok(alert)
}

/// The two highest bits of an option say what becomes of it (RFC 8200 section 4.2).
fn unknown(kind: u8, pointer: usize) -> Result<(), ExtError> {
    match kind >> 6 {
        0 => Ok(()),
        1 => Err(ExtError::Option),
        action => Err(ExtError::Unknown {
            pointer,
            multicast: action == 2,
        }),
    }
}

/// What lies behind the extension headers of a packet that need not be whole or right (one that an
/// error quotes): its protocol, its offset, and whether it is the beginning of the datagram. `None` if
/// that cannot be told.
pub fn skip(packet: &[u8], proto: u8, at: usize) -> Option<(u8, usize, bool)> {
    let (mut proto, mut at, mut is_first) = (proto, at, true);
    for _ in 0..=HEADERS_MAX {
        let len = match proto {
            next_header::FRAGMENT => {
                let header = packet.get(at..at + FRAGMENT_LEN)?;
                is_first &= FragmentRepr::parse(header).offset == 0;
                FRAGMENT_LEN
            }
            next_header::HOP_BY_HOP | next_header::ROUTING | next_header::DESTINATION => {
                8 + usize::from(*packet.get(at + 1)?) * 8
            }
            _ => return (at <= packet.len()).then_some((proto, at, is_first)),
        };
        proto = *packet.get(at)?;
        at += len;
        if !is_first {
            return (at <= packet.len()).then_some((proto, at, false));
        }
    }
    None
}

/// Writes a hop-by-hop header with the router alert option of MLD into the first
/// [`ROUTER_ALERT_LEN`] bytes of `out`.
///
/// # Panics
/// If `out` is shorter.
pub fn emit_router_alert(next: u8, out: &mut [u8]) {
    out[..ROUTER_ALERT_LEN].copy_from_slice(&[
        next,
        0,
        OPTION_ROUTER_ALERT,
        2,
        0,
        0,
        OPTION_PADN,
        0,
    ]);
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const TCP: u8 = 6;

    fn walk_all(proto: u8, packet: &[u8]) -> Result<Walk, ExtError> {
        walk(packet, proto, 6, 0, true)
    }

    #[test]
    fn a_chain_is_followed_to_its_end() {
        let mut packet = vec![0; 8];
        emit_router_alert(60, &mut packet);
        // Two destination headers: an unknown option to skip, a routing header that has been used up.
        packet.extend_from_slice(&[43, 0, 0x1e, 2, 9, 9, 1, 0]);
        packet.extend_from_slice(&[TCP, 0, 4, 0, 0, 0, 0, 0]);
        let found = walk_all(0, &packet).unwrap();
        assert_eq!((found.proto, found.proto_at, found.at), (TCP, 16, 24));
        assert!(found.router_alert && found.end == End::Transport);
        for len in 0..packet.len() {
            assert_eq!(walk_all(0, &packet[..len]), Err(ExtError::Truncated));
        }
    }

    #[test]
    fn a_fragment_header_ends_the_walk() {
        let repr = FragmentRepr {
            next_header: 60,
            offset: 1448,
            more: true,
            id: 0xdead_beef,
        };
        let mut packet = [0; 8];
        repr.emit(&mut packet);
        let found = walk_all(44, &packet).unwrap();
        let end = End::Fragment {
            repr,
            at: 0,
            named_at: 6,
        };
        assert_eq!((found.end, found.at), (end, 8));
        assert_eq!((found.proto, found.proto_at), (60, 0));
    }

    #[test]
    fn what_is_refused() {
        let cases: [(&str, u8, &[u8], ExtError); 9] = [
            (
                "type 0",
                43,
                &[TCP, 0, 0, 0, 0, 0, 0, 0],
                ExtError::Routing { pointer: 2 },
            ),
            (
                "segments left",
                43,
                &[TCP, 0, 4, 1, 0, 0, 0, 0],
                ExtError::Routing { pointer: 2 },
            ),
            (
                "hop-by-hop later",
                60,
                &[0, 0, 1, 4, 0, 0, 0, 0],
                ExtError::Misplaced { pointer: 0 },
            ),
            (
                "an option past the end",
                60,
                &[TCP, 0, 5, 5, 0, 0, 0, 0],
                ExtError::Option,
            ),
            (
                "an option without length",
                60,
                &[TCP, 0, 1, 3, 0, 0, 0, 5],
                ExtError::Option,
            ),
            (
                "padding with content",
                60,
                &[TCP, 0, 1, 4, 0, 0, 7, 0],
                ExtError::Option,
            ),
            (
                "drop if unknown",
                60,
                &[TCP, 0, 0x40, 4, 0, 0, 0, 0],
                ExtError::Option,
            ),
            (
                "report if unknown",
                60,
                &[TCP, 0, 0x80, 4, 0, 0, 0, 0],
                ExtError::Unknown {
                    pointer: 2,
                    multicast: true,
                },
            ),
            (
                "report to one (a jumbogram)",
                60,
                &[TCP, 0, 0xc2, 4, 0, 0, 0, 0],
                ExtError::Unknown {
                    pointer: 2,
                    multicast: false,
                },
            ),
        ];
        for (what, proto, bytes, error) in cases {
            assert_eq!(walk_all(proto, bytes), Err(error), "{what}");
        }
    }

    #[test]
    fn headers_options_padding_and_bytes_are_bounded() {
        let header = [60, 0, 1, 4, 0, 0, 0, 0];
        let mut long = header.repeat(HEADERS_MAX - 1);
        long.extend_from_slice(&[TCP, 0, 1, 4, 0, 0, 0, 0]);
        assert_eq!(walk_all(60, &long).unwrap().at, HEADERS_MAX * 8);
        let mut longer = header.to_vec();
        longer.extend_from_slice(&long);
        assert_eq!(walk_all(60, &longer), Err(ExtError::TooMany));
        let mut many = vec![TCP, 2];
        many.extend_from_slice(&[0x1e, 0].repeat(OPTIONS_MAX + 3));
        assert_eq!(walk_all(60, &many), Err(ExtError::TooMany));
        let mut padded = vec![TCP, 1];
        padded.resize(16, 0);
        assert_eq!(walk_all(60, &padded), Err(ExtError::Option));
        let mut big = vec![60, 255, 0x1e, 255];
        big.resize(2048, 0);
        for at in [259, 516, 773, 1030, 1287, 1544, 1801] {
            (big[at], big[at + 1]) = (0x1e, 255);
        }
        big[2047 - 246 + 1] = 245;
        big.extend_from_slice(&[TCP, 0, 1, 4, 0, 0, 0, 0]);
        assert_eq!(walk_all(60, &big), Err(ExtError::TooMany));
    }

    proptest! {
        #[test]
        fn any_bytes_end_within_the_packet(
            bytes in proptest::collection::vec(prop_oneof![Just(0_u8), Just(43), Just(44), Just(60), Just(1), any::<u8>()], 0..200),
            proto in prop_oneof![Just(0_u8), Just(43), Just(44), Just(60)]
        ) {
            if let Some((_, at, _)) = skip(&bytes, proto, 0) {
                prop_assert!(at <= bytes.len());
            }
            if let Ok(found) = walk_all(proto, &bytes) {
                prop_assert!(found.at <= bytes.len() && found.proto_at < found.at);
            }
        }
    }
}
