//! Multicast listener discovery inside ICMPv6: version 2 (RFC 3810), and version 1 (RFC 2710) for
//! routers that know only that.

use std::net::{IpAddr, Ipv6Addr};

use super::icmpv6::kind;
use super::ipv6::addr_at;
use super::membership::{Query, Version, code8, put_addr, sources};
use super::{WireError, be16};

/// Bytes of a message of version 1.
pub const MESSAGE_LEN: usize = 24;
/// Where reports of version 2 go.
pub const ROUTERS2: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 0x16);
/// Where it is told that a group is left.
pub const ROUTERS: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 2);

/// Reads a query of either version.
///
/// # Errors
/// `Truncated`; `Unsupported` for anything else; `BadLength` for a length between the versions'.
pub fn parse_query(bytes: &[u8]) -> Result<Query, WireError> {
    if bytes.first() != Some(&kind::MLD_QUERY) {
        return Err(WireError::Unsupported);
    }
    if bytes.len() < MESSAGE_LEN {
        return Err(WireError::Truncated);
    }
    let code = u32::from(be16(bytes, 4));
    let (version, max_response_ms) = match bytes.len() {
        MESSAGE_LEN => (Version::Two, code),
        25..28 => return Err(WireError::BadLength),
        _ if code < 0x8000 => (Version::Three, code),
        // A floating-point number (section 5.1.3).
        _ => (
            Version::Three,
            ((code & 0xfff) | 0x1000) << ((code >> 12 & 7) + 3),
        ),
    };
    let group = addr_at(bytes, 8);
    let mut query = Query {
        version,
        max_response_ms,
        group: (!group.is_unspecified()).then_some(group.into()),
        sources: Vec::new(),
        robustness: 0,
        interval_s: 0,
    };
    if version == Version::Three {
        query.robustness = bytes[24] & 7;
        query.interval_s = code8(bytes[25]);
        query.sources = sources::<16>(bytes, 26).ok_or(WireError::Truncated)?;
    }
    Ok(query)
}

/// The group of a report of version 1.
///
/// # Errors
/// `Truncated`; `Unsupported` if it is none.
pub fn parse_report(bytes: &[u8]) -> Result<Ipv6Addr, WireError> {
    if bytes.first() != Some(&kind::MLD_REPORT) {
        return Err(WireError::Unsupported);
    }
    match bytes.len() {
        MESSAGE_LEN.. => Ok(addr_at(bytes, 8)),
        _ => Err(WireError::Truncated),
    }
}

/// A message of version 1; its checksum field is left zero.
pub fn message(kind: u8, group: Ipv6Addr) -> Vec<u8> {
    let mut out = vec![kind, 0, 0, 0, 0, 0, 0, 0];
    put_addr(&mut out, group.into());
    out
}

/// True of groups of which nothing is said: all nodes of the link, and what does not leave the host
/// (RFC 3810 section 6).
pub(crate) fn is_silent(group: IpAddr) -> bool {
    let IpAddr::V6(group) = group else {
        return true;
    };
    let scope = group.octets()[1] & 0xf;
    !group.is_multicast() || scope < 2 || group == Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn queries_of_both_versions() {
        let mut bytes = vec![0; 24];
        bytes[0] = 130;
        bytes[4..6].copy_from_slice(&1000_u16.to_be_bytes());
        let all = parse_query(&bytes).unwrap();
        assert_eq!(
            (all.version, all.max_response_ms, all.group),
            (Version::Two, 1000, None)
        );
        assert_eq!(parse_query(&bytes[..23]), Err(WireError::Truncated));
        bytes.resize(26, 0);
        assert_eq!(parse_query(&bytes), Err(WireError::BadLength));
        bytes.resize(28, 0);
        bytes[4..6].copy_from_slice(&0x8000_u16.to_be_bytes());
        bytes[8] = 0xff;
        let query = parse_query(&bytes).unwrap();
        assert_eq!(query.max_response_ms, 32_768);
        assert_eq!(query.group, Some("ff00::".parse().unwrap()));
        bytes[27] = 1;
        assert_eq!(parse_query(&bytes), Err(WireError::Truncated));
        bytes.extend_from_slice(&[7; 16]);
        assert_eq!(
            parse_query(&bytes).unwrap().sources,
            [IpAddr::from([7; 16])]
        );
    }

    #[test]
    fn reports_of_version_1() {
        let group: Ipv6Addr = "ff02::1:ff00:1".parse().unwrap();
        let bytes = message(kind::MLD_REPORT, group);
        assert_eq!(
            (bytes.len(), parse_report(&bytes)),
            (MESSAGE_LEN, Ok(group))
        );
        assert_eq!(parse_report(&bytes[..20]), Err(WireError::Truncated));
        assert_eq!(
            parse_report(&message(kind::MLD_DONE, group)),
            Err(WireError::Unsupported)
        );
    }

    #[test]
    fn some_groups_are_not_talked_of() {
        for (group, silent) in [
            ("ff02::1", true),
            ("ff01::5", true),
            ("ff02::2", false),
            ("ff15::1", false),
        ] {
            assert_eq!(is_silent(group.parse().unwrap()), silent, "{group}");
        }
    }
}
