//! Multicast listener discovery, version 2 (RFC 3810), inside ICMPv6: queries in, reports out.

use std::net::Ipv6Addr;

use super::icmpv6::kind;
use super::ipv6::addr_at;
use super::{WireError, be16};

/// Bytes of a report without records, and of a record without sources.
pub const REPORT_LEN: usize = 8;
/// See [`REPORT_LEN`].
pub const RECORD_LEN: usize = 20;
/// Where reports go: all routers that know version 2.
pub const ROUTERS: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 0x16);

/// A query.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MldQuery {
    /// Milliseconds within which to answer.
    pub max_response_ms: u32,
    /// The group asked for; `None`: all.
    pub group: Option<Ipv6Addr>,
}

impl MldQuery {
    /// Reads a query of either version.
    ///
    /// # Errors
    /// `Truncated`; `Unsupported` for anything else; `BadLength` for a length between the versions'.
    pub fn parse(bytes: &[u8]) -> Result<Self, WireError> {
        if bytes.first() != Some(&kind::MLD_QUERY) {
            return Err(WireError::Unsupported);
        }
        if bytes.len() < 24 {
            return Err(WireError::Truncated);
        }
        let code = u32::from(be16(bytes, 4));
        let max_response_ms = match bytes.len() {
            24 => code,
            25..28 => return Err(WireError::BadLength),
            _ if code < 0x8000 => code,
            // A floating-point number (section 5.1.3).
            _ => ((code & 0xfff) | 0x1000) << ((code >> 12 & 7) + 3),
        };
        let group = addr_at(bytes, 8);
        Ok(Self {
            max_response_ms,
            group: Some(group).filter(|group| !group.is_unspecified()),
        })
    }
}

/// What a record of a report says of a group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum RecordKind {
    /// We listen, whoever sends (an answer).
    Listens = 2,
    /// We listen no more.
    Leaves = 3,
    /// We listen from now on.
    Joins = 4,
}

/// A report; its checksum field is left zero.
pub fn report(records: &[(RecordKind, Ipv6Addr)]) -> Vec<u8> {
    let mut out = Vec::with_capacity(REPORT_LEN + records.len() * RECORD_LEN);
    out.extend_from_slice(&[kind::MLD2_REPORT, 0, 0, 0, 0, 0]);
    out.extend_from_slice(&(records.len() as u16).to_be_bytes());
    for (kind, group) in records {
        out.extend_from_slice(&[*kind as u8, 0, 0, 0]);
        out.extend_from_slice(&group.octets());
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn queries_of_both_versions() {
        let mut bytes = vec![0; 24];
        bytes[0] = 130;
        bytes[4..6].copy_from_slice(&1000_u16.to_be_bytes());
        let all = MldQuery {
            max_response_ms: 1000,
            group: None,
        };
        assert_eq!(MldQuery::parse(&bytes), Ok(all));
        assert_eq!(MldQuery::parse(&bytes[..23]), Err(WireError::Truncated));
        bytes.resize(26, 0);
        assert_eq!(MldQuery::parse(&bytes), Err(WireError::BadLength));
        bytes.resize(28, 0);
        bytes[4..6].copy_from_slice(&0x8000_u16.to_be_bytes());
        bytes[8] = 0xff;
        let query = MldQuery::parse(&bytes).unwrap();
        assert_eq!(query.max_response_ms, 32_768);
        assert_eq!(query.group, Some("ff00::".parse().unwrap()));
    }

    #[test]
    fn a_report_has_its_records() {
        let group = "ff02::1:ff00:1".parse().unwrap();
        let bytes = report(&[(RecordKind::Joins, group)]);
        assert_eq!(bytes.len(), REPORT_LEN + RECORD_LEN);
        assert_eq!((bytes[0], bytes[7], bytes[8]), (143, 1, 4));
        assert_eq!(addr_at(&bytes, 12), group);
    }
}
