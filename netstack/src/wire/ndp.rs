//! Neighbour discovery messages and their options (RFC 4861), inside ICMPv6.

use std::net::Ipv6Addr;

use arrayvec::ArrayVec;

use super::icmpv6::kind;
use super::ipv6::addr_at;
use super::{WireError, be16, be32};
use crate::link::MacAddr;

/// Bytes of a neighbour solicitation or advertisement with one link address.
pub const NEIGHBOR_LEN: usize = 32;
/// Bytes of a router solicitation with one link address.
pub const ROUTER_SOLICIT_LEN: usize = 16;
/// Prefixes that are taken from one advertisement.
pub const PREFIXES_MAX: usize = 8;
/// A lifetime that never ends.
pub const FOREVER_SECS: u32 = u32::MAX;

const OPTION_SOURCE: u8 = 1;
const OPTION_TARGET: u8 = 2;
const OPTION_PREFIX: u8 = 3;
const OPTION_MTU: u8 = 5;

const FLAG_ROUTER: u8 = 0x80;
const FLAG_SOLICITED: u8 = 0x40;
const FLAG_OVERRIDE: u8 = 0x20;

/// A prefix information option (RFC 4861 section 4.6.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PrefixInfo {
    /// The prefix; bits beyond its length mean nothing.
    pub prefix: Ipv6Addr,
    /// Its length.
    pub len: u8,
    /// Its addresses are on the link.
    pub on_link: bool,
    /// Addresses may be made from it.
    pub autonomous: bool,
    /// Lifetimes in seconds; see [`FOREVER_SECS`].
    pub valid_secs: u32,
    /// Of which so much in preference.
    pub preferred_secs: u32,
}

/// The options that mean something to us.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NdOptions {
    /// Link address of the sender.
    pub source: Option<MacAddr>,
    /// Link address of the target.
    pub target: Option<MacAddr>,
    /// MTU of the link.
    pub mtu: Option<u32>,
    /// Prefixes, the first few.
    pub prefixes: ArrayVec<PrefixInfo, PREFIXES_MAX>,
}

impl NdOptions {
    /// Walks an option list; others are skipped.
    ///
    /// # Errors
    /// `BadLength` if an option is empty or runs past the end.
    pub fn parse(list: &[u8]) -> Result<Self, WireError> {
        let mut options = Self::default();
        let mut rest = list;
        while !rest.is_empty() {
            let len = usize::from(*rest.get(1).ok_or(WireError::BadLength)?) * 8;
            let option = rest.get(..len).filter(|it| !it.is_empty());
            let option = option.ok_or(WireError::BadLength)?;
            rest = &rest[len..];
            let mac = || MacAddr(core::array::from_fn(|i| option[2 + i]));
            match (option[0], len) {
                (OPTION_SOURCE, 8) => options.source = Some(mac()),
                (OPTION_TARGET, 8) => options.target = Some(mac()),
                (OPTION_MTU, 8) => options.mtu = Some(be32(option, 4)),
                (OPTION_PREFIX, 32) => {
                    // More than we have room for are not ours to worry about.
                    let _ = options.prefixes.try_push(PrefixInfo {
                        len: option[2],
                        on_link: option[3] & 0x80 != 0,
                        autonomous: option[3] & 0x40 != 0,
                        valid_secs: be32(option, 4),
                        preferred_secs: be32(option, 8),
                        prefix: addr_at(option, 16),
                    });
                }
                _ => {}
            }
        }
        Ok(options)
    }
}

/// What a message says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NdRepr {
    /// Somebody asks for routers.
    RouterSolicit,
    /// A router tells of itself.
    RouterAdvert {
        /// Hop limit to use; 0: not said.
        hop_limit: u8,
        /// Seconds that it serves as a default router; 0: not at all.
        lifetime_secs: u16,
        /// Milliseconds that a neighbour counts as reachable; 0: not said.
        reachable_ms: u32,
        /// Milliseconds between solicitations; 0: not said.
        retrans_ms: u32,
    },
    /// Somebody asks who has the target.
    NeighborSolicit {
        /// The address asked for.
        target: Ipv6Addr,
    },
    /// The target tells of itself.
    NeighborAdvert {
        /// Who tells.
        target: Ipv6Addr,
        /// It is a router.
        router: bool,
        /// It answers a solicitation.
        solicited: bool,
        /// It replaces what is known.
        overrides: bool,
    },
    /// A router knows a better way.
    Redirect {
        /// The better next hop.
        target: Ipv6Addr,
        /// To where.
        dst: Ipv6Addr,
    },
}

impl NdRepr {
    /// Reads a message with its options. The checksum is not looked at.
    ///
    /// # Errors
    /// `Unsupported` for other types; `Truncated`; `BadLength` for a code that is not 0 and malformed options.
    pub fn parse(bytes: &[u8]) -> Result<(Self, NdOptions), WireError> {
        let fixed = match bytes.first() {
            Some(&kind::ROUTER_SOLICIT) => 8,
            Some(&kind::ROUTER_ADVERT) => 16,
            Some(&(kind::NEIGHBOR_SOLICIT | kind::NEIGHBOR_ADVERT)) => 24,
            Some(&kind::REDIRECT) => 40,
            _ => return Err(WireError::Unsupported),
        };
        if bytes.len() < fixed {
            return Err(WireError::Truncated);
        }
        if bytes[1] != 0 {
            return Err(WireError::BadLength);
        }
        let repr = match bytes[0] {
            kind::ROUTER_SOLICIT => Self::RouterSolicit,
            kind::ROUTER_ADVERT => Self::RouterAdvert {
                hop_limit: bytes[4],
                lifetime_secs: be16(bytes, 6),
                reachable_ms: be32(bytes, 8),
                retrans_ms: be32(bytes, 12),
            },
            kind::NEIGHBOR_SOLICIT => Self::NeighborSolicit {
                target: addr_at(bytes, 8),
            },
            kind::NEIGHBOR_ADVERT => Self::NeighborAdvert {
                target: addr_at(bytes, 8),
                router: bytes[4] & FLAG_ROUTER != 0,
                solicited: bytes[4] & FLAG_SOLICITED != 0,
                overrides: bytes[4] & FLAG_OVERRIDE != 0,
            },
            _ => Self::Redirect {
                target: addr_at(bytes, 8),
                dst: addr_at(bytes, 24),
            },
        };
        Ok((repr, NdOptions::parse(&bytes[fixed..])?))
    }
}

/// A router solicitation, with our link address if we may tell it. The checksum field is left zero.
pub fn router_solicit(mac: Option<MacAddr>) -> ArrayVec<u8, NEIGHBOR_LEN> {
    message(kind::ROUTER_SOLICIT, 0, None, OPTION_SOURCE, mac)
}

/// A neighbour solicitation, likewise.
pub fn neighbor_solicit(target: Ipv6Addr, mac: Option<MacAddr>) -> ArrayVec<u8, NEIGHBOR_LEN> {
    message(kind::NEIGHBOR_SOLICIT, 0, Some(target), OPTION_SOURCE, mac)
}

/// An advertisement of an address of ours, which replaces what the peer knew; `router`: we are one.
pub fn neighbor_advert(
    target: Ipv6Addr,
    mac: MacAddr,
    solicited: bool,
    router: bool,
) -> ArrayVec<u8, NEIGHBOR_LEN> {
    let solicited = if solicited { FLAG_SOLICITED } else { 0 };
    let flags = FLAG_OVERRIDE | solicited | if router { FLAG_ROUTER } else { 0 };
    message(
        kind::NEIGHBOR_ADVERT,
        flags,
        Some(target),
        OPTION_TARGET,
        Some(mac),
    )
}

/// A redirect (RFC 4861 section 4.5): packets to `dst` are better sent to `target`, which is `dst` itself if
/// that is on the link. It quotes `packet` as far as there is room; the checksum is left zero.
pub fn redirect(
    target: Ipv6Addr,
    dst: Ipv6Addr,
    mac: Option<MacAddr>,
    packet: &[u8],
    room: usize,
) -> Vec<u8> {
    const OPTION_REDIRECTED: u8 = 4;
    let mut out = message(kind::REDIRECT, 0, Some(target), OPTION_TARGET, None).to_vec();
    out.extend(dst.octets());
    out.extend(mac.into_iter().flat_map(|mac| {
        let [a, b, c, d, e, f] = mac.0;
        [OPTION_TARGET, 1, a, b, c, d, e, f]
    }));
    let quote = packet.len().min(room.saturating_sub(out.len() + 8)) & !7;
    if quote > 0 {
        out.extend([OPTION_REDIRECTED, (quote / 8 + 1) as u8, 0, 0, 0, 0, 0, 0]);
        out.extend(&packet[..quote]);
    }
    out
}

fn message(
    kind: u8,
    flags: u8,
    target: Option<Ipv6Addr>,
    option: u8,
    mac: Option<MacAddr>,
) -> ArrayVec<u8, NEIGHBOR_LEN> {
    let mut out = ArrayVec::new();
    out.extend([kind, 0, 0, 0, flags, 0, 0, 0]);
    out.extend(target.into_iter().flat_map(|target| target.octets()));
    out.extend(mac.into_iter().flat_map(|mac| {
        let [a, b, c, d, e, f] = mac.0;
        [option, 1, a, b, c, d, e, f]
    }));
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const MAC: MacAddr = MacAddr([2, 0, 0, 0, 0, 9]);

    #[test]
    fn what_we_say_is_understood() {
        let target: Ipv6Addr = "2001:db8::1".parse().unwrap();
        let (repr, options) = NdRepr::parse(&neighbor_solicit(target, Some(MAC))).unwrap();
        assert_eq!(repr, NdRepr::NeighborSolicit { target });
        assert_eq!((options.source, options.target), (Some(MAC), None));
        let (repr, options) = NdRepr::parse(&neighbor_advert(target, MAC, true, false)).unwrap();
        let expected = NdRepr::NeighborAdvert {
            target,
            router: false,
            solicited: true,
            overrides: true,
        };
        assert_eq!((repr, options.target), (expected, Some(MAC)));
        let probe = neighbor_solicit(target, None);
        assert_eq!(probe.len(), 24);
        let solicit = router_solicit(Some(MAC));
        assert_eq!(solicit.len(), ROUTER_SOLICIT_LEN);
        assert_eq!(NdRepr::parse(&solicit).unwrap().0, NdRepr::RouterSolicit);
    }

    /// The field layout, by an independent implementation.
    #[test]
    fn agrees_with_pnet() {
        use pnet::packet::Packet;
        use pnet::packet::icmpv6::ndp::{NdpOptionTypes, NeighborAdvertPacket};
        let target: Ipv6Addr = "2001:db8::1".parse().unwrap();
        let bytes = neighbor_advert(target, MAC, true, false);
        let theirs = NeighborAdvertPacket::new(&bytes).unwrap();
        assert_eq!(theirs.get_target_addr(), target);
        assert_eq!(theirs.get_flags(), 0x60);
        let option = &theirs.get_options()[0];
        assert_eq!(option.option_type, NdpOptionTypes::TargetLLAddr);
        assert_eq!((option.length, &option.data[..]), (1, &MAC.0[..]));
        assert_eq!(theirs.packet().len(), NEIGHBOR_LEN);
    }

    #[test]
    fn malformed_options_are_refused() {
        for list in [
            &[1_u8, 0, 0, 0, 0, 0, 0, 0][..],
            &[1],
            &[3, 4, 64, 0, 0, 0, 0, 0],
        ] {
            assert_eq!(
                NdOptions::parse(list),
                Err(WireError::BadLength),
                "{list:?}"
            );
        }
        // Unknown ones are skipped, and link addresses of other links are not ours to read.
        let skipped = NdOptions::parse(&[
            99, 1, 0, 0, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
        ]);
        assert_eq!(skipped, Ok(NdOptions::default()));
    }

    proptest! {
        #[test]
        fn any_bytes_parse_or_fail(kind in 133_u8..138, mut bytes in proptest::collection::vec(any::<u8>(), 2..200)) {
            (bytes[0], bytes[1]) = (kind, 0);
            if let Ok((_, options)) = NdRepr::parse(&bytes) {
                prop_assert!(options.prefixes.len() <= PREFIXES_MAX);
            }
        }
    }
}
