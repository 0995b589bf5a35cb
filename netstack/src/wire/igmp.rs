//! The Internet Group Management Protocol: version 3 (RFC 3376), and what hosts have to know of
//! versions 2 (RFC 2236) and 1 (RFC 1112).

use std::net::{IpAddr, Ipv4Addr};

use super::WireError;
use super::checksum::checksum;
use super::membership::{Query, Version, code8, sources};

/// Bytes of a message of the versions 1 and 2.
pub const MESSAGE_LEN: usize = 8;
/// Bytes of a query of version 3 without sources.
const QUERY3_LEN: usize = 12;
/// Where reports of version 3 go.
pub const ROUTERS3: Ipv4Addr = Ipv4Addr::new(224, 0, 0, 22);
/// Where it is told that a group is left.
pub const ROUTERS: Ipv4Addr = Ipv4Addr::new(224, 0, 0, 2);
/// The group of every host, of which nothing is said.
pub const ALL_HOSTS: Ipv4Addr = Ipv4Addr::new(224, 0, 0, 1);

/// Values of the type field.
pub mod kind {
    /// Membership query.
    pub const QUERY: u8 = 0x11;
    /// Report of version 1.
    pub const REPORT1: u8 = 0x12;
    /// Report of version 2.
    pub const REPORT2: u8 = 0x16;
    /// Leave group, version 2.
    pub const LEAVE: u8 = 0x17;
    /// Report of version 3.
    pub const REPORT3: u8 = 0x22;
}

/// A message that a host looks at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Message {
    /// Who is a member?
    Query(Query),
    /// Another host is, by a report of version 1 or 2.
    Report(Ipv4Addr),
    /// For routers.
    Other,
}

impl Message {
    /// Reads a message.
    ///
    /// # Errors
    /// `Truncated`, `BadChecksum`; `BadLength` for a query whose length no version has.
    pub fn parse(bytes: &[u8]) -> Result<Self, WireError> {
        if bytes.len() < MESSAGE_LEN {
            return Err(WireError::Truncated);
        }
        if checksum(bytes) != 0 {
            return Err(WireError::BadChecksum);
        }
        let group = Ipv4Addr::new(bytes[4], bytes[5], bytes[6], bytes[7]);
        match bytes[0] {
            kind::QUERY => query(bytes, group).map(Self::Query),
            kind::REPORT1 | kind::REPORT2 => Ok(Self::Report(group)),
            _ => Ok(Self::Other),
        }
    }
}

fn query(bytes: &[u8], group: Ipv4Addr) -> Result<Query, WireError> {
    let (version, max_response_ms) = match (bytes.len(), bytes[1]) {
        // RFC 2236 section 4: version 1 has no time, and means ten seconds.
        (MESSAGE_LEN, 0) => (Version::One, 10_000),
        (MESSAGE_LEN, code) => (Version::Two, u32::from(code) * 100),
        (QUERY3_LEN.., code) => (Version::Three, code8(code) * 100),
        _ => return Err(WireError::BadLength),
    };
    let mut query = Query {
        version,
        max_response_ms,
        group: (version > Version::One && !group.is_unspecified()).then_some(group.into()),
        sources: Vec::new(),
        robustness: 0,
        interval_s: 0,
    };
    if version == Version::Three {
        query.robustness = bytes[8] & 7;
        query.interval_s = code8(bytes[9]);
        query.sources = sources::<4>(bytes, 10).ok_or(WireError::Truncated)?;
    }
    Ok(query)
}

/// A message of the versions 1 and 2.
pub fn message(kind: u8, group: Ipv4Addr) -> Vec<u8> {
    let mut out = vec![kind, 0, 0, 0];
    out.extend_from_slice(&group.octets());
    with_checksum(out)
}

/// Fills in the checksum of a message.
pub fn with_checksum(mut message: Vec<u8>) -> Vec<u8> {
    let sum = checksum(&message);
    message[2..4].copy_from_slice(&sum.to_be_bytes());
    message
}

/// True if the group is `224.0.0.1` or an address that is no group.
pub(crate) fn is_silent(group: IpAddr) -> bool {
    group == IpAddr::V4(ALL_HOSTS) || !group.is_multicast()
}

const _: () = assert!(MESSAGE_LEN == super::membership::REPORT_LEN);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn queries_of_all_versions() {
        let group = Ipv4Addr::new(239, 1, 2, 3);
        let one = Message::parse(&message(kind::QUERY, Ipv4Addr::UNSPECIFIED));
        let Ok(Message::Query(one)) = one else {
            panic!("{one:?}");
        };
        assert_eq!(
            (one.version, one.max_response_ms, one.group),
            (Version::One, 10_000, None)
        );
        let mut bytes = message(kind::QUERY, group);
        (bytes[1], bytes[2], bytes[3]) = (20, 0, 0);
        let two = Message::parse(&with_checksum(bytes.clone()));
        let Ok(Message::Query(two)) = two else {
            panic!("{two:?}");
        };
        assert_eq!(
            (two.version, two.max_response_ms, two.group),
            (Version::Two, 2000, Some(group.into()))
        );
        bytes.extend_from_slice(&[0x0a, 125, 0, 1, 10, 0, 0, 1]);
        let three = Message::parse(&with_checksum(bytes.clone()));
        let Ok(Message::Query(three)) = three else {
            panic!("{three:?}");
        };
        assert_eq!(
            (three.version, three.robustness, three.interval_s),
            (Version::Three, 2, 125)
        );
        assert_eq!(three.sources, [IpAddr::from([10, 0, 0, 1])]);
    }

    #[test]
    fn malformed_messages() {
        let good = message(kind::REPORT2, Ipv4Addr::new(239, 1, 2, 3));
        assert_eq!(
            Message::parse(&good),
            Ok(Message::Report(Ipv4Addr::new(239, 1, 2, 3)))
        );
        assert_eq!(Message::parse(&good[..7]), Err(WireError::Truncated));
        let mut bad = good.clone();
        bad[7] ^= 1;
        assert_eq!(Message::parse(&bad), Err(WireError::BadChecksum));
        let between = with_checksum(vec![kind::QUERY, 1, 0, 0, 0, 0, 0, 0, 0, 0]);
        assert_eq!(Message::parse(&between), Err(WireError::BadLength));
        let short = with_checksum(vec![kind::QUERY, 1, 0, 0, 0, 0, 0, 0, 2, 125, 0, 1]);
        assert_eq!(Message::parse(&short), Err(WireError::Truncated));
    }
}
