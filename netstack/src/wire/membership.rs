//! What IGMP and MLD have in common: queries for the members of groups, and the records of reports.

use std::net::IpAddr;

use super::be16;

/// Which version a query is of. MLDv1 has the place of IGMPv2, MLDv2 that of IGMPv3.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Version {
    /// IGMPv1.
    One,
    /// IGMPv2, MLDv1.
    Two,
    /// IGMPv3, MLDv2.
    Three,
}

/// A router's question who is a member.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Query {
    /// Its version.
    pub version: Version,
    /// Milliseconds within which to answer.
    pub max_response_ms: u32,
    /// The group asked for; `None`: all.
    pub group: Option<IpAddr>,
    /// The sources asked for; none: all.
    pub sources: Vec<IpAddr>,
    /// The querier's robustness variable; 0 if it does not say.
    pub robustness: u8,
    /// Seconds between its queries; 0 if it does not say.
    pub interval_s: u32,
}

/// What a record of a report says of a group (RFC 3376 section 4.2.12).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum RecordKind {
    /// MODE_IS_INCLUDE: these sources only.
    IsInclude = 1,
    /// MODE_IS_EXCLUDE: all but these.
    IsExclude = 2,
    /// CHANGE_TO_INCLUDE_MODE: from now on these only.
    ToInclude = 3,
    /// CHANGE_TO_EXCLUDE_MODE: from now on all but these.
    ToExclude = 4,
    /// ALLOW_NEW_SOURCES: from now on these too.
    Allow = 5,
    /// BLOCK_OLD_SOURCES: from now on these no more.
    Block = 6,
}

/// One record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// What is said.
    pub kind: RecordKind,
    /// Of which group.
    pub group: IpAddr,
    /// And of which sources.
    pub sources: Vec<IpAddr>,
}

/// Bytes of a report before its records.
pub const REPORT_LEN: usize = 8;

/// Bytes of a record before its group.
const RECORD_LEN: usize = 4;

impl Record {
    /// Its length in a report.
    pub fn len(&self) -> usize {
        RECORD_LEN + (1 + self.sources.len()) * addr_len(self.group)
    }

    /// Never: a record has a group at least.
    pub fn is_empty(&self) -> bool {
        false
    }

    /// Sources that a record about the group can have within `room` bytes.
    fn sources_within(&self, room: usize) -> usize {
        let each = addr_len(self.group);
        (room.saturating_sub(RECORD_LEN + each) / each).min(usize::from(u16::MAX))
    }

    fn emit(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&[self.kind as u8, 0]);
        out.extend_from_slice(&(self.sources.len() as u16).to_be_bytes());
        for addr in core::iter::once(&self.group).chain(&self.sources) {
            put_addr(out, *addr);
        }
    }
}

/// Cuts records into reports of at most `room` bytes each: a list that is too long for one goes into
/// several, but the list of an exclusion, which is cut short (RFC 3376 section 4.2.16).
pub fn reports(kind: u8, records: Vec<Record>, room: usize) -> Vec<Vec<u8>> {
    let mut all: Vec<(u16, Vec<u8>)> = Vec::new();
    for mut record in records {
        while let Some(rest) = place(kind, &mut all, &mut record, room) {
            record = rest;
        }
    }
    let with_count = |(count, mut bytes): (u16, Vec<u8>)| {
        bytes[6..8].copy_from_slice(&count.to_be_bytes());
        bytes
    };
    all.into_iter().map(with_count).collect()
}

/// Puts a record into the last report, or into a new one; what there is no room for is returned.
fn place(
    kind: u8,
    all: &mut Vec<(u16, Vec<u8>)>,
    record: &mut Record,
    room: usize,
) -> Option<Record> {
    let used = all.last().map_or(room, |(_, bytes)| bytes.len());
    if used + record.len() > room {
        all.push((0, vec![kind, 0, 0, 0, 0, 0, 0, 0]));
    }
    let (count, bytes) = all.last_mut()?;
    let fits = record.sources_within(room - bytes.len());
    let mut rest = None;
    if fits < record.sources.len() {
        let more = record.sources.split_off(fits.max(1));
        let excludes = matches!(record.kind, RecordKind::IsExclude | RecordKind::ToExclude);
        rest = (!excludes).then_some(Record {
            kind: record.kind,
            group: record.group,
            sources: more,
        });
    }
    record.emit(bytes);
    *count += 1;
    rest
}

/// Appends an address.
pub(super) fn put_addr(out: &mut Vec<u8>, addr: IpAddr) {
    match addr {
        IpAddr::V4(addr) => out.extend_from_slice(&addr.octets()),
        IpAddr::V6(addr) => out.extend_from_slice(&addr.octets()),
    }
}

fn addr_len(addr: IpAddr) -> usize {
    match addr {
        IpAddr::V4(_) => 4,
        IpAddr::V6(_) => 16,
    }
}

/// A number of eight bits, the upper half of which are floating-point numbers (RFC 3376 section 4.1.1).
pub(super) fn code8(code: u8) -> u32 {
    match code {
        0..0x80 => code.into(),
        _ => (u32::from(code & 0xf) | 0x10) << ((code >> 4 & 7) + 3),
    }
}

/// The sources of a query of version 3: their number is at `at`, they follow. `None` if they are not
/// all there.
pub(super) fn sources<const N: usize>(bytes: &[u8], at: usize) -> Option<Vec<IpAddr>>
where
    IpAddr: From<[u8; N]>,
{
    let count = usize::from(be16(bytes, at));
    let list = bytes.get(at + 2..at + 2 + count * N)?;
    let (addrs, _) = list.as_chunks::<N>();
    Some(addrs.iter().map(|octets| IpAddr::from(*octets)).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(kind: RecordKind, count: u32) -> Record {
        Record {
            kind,
            group: IpAddr::from([239, 1, 2, 3]),
            sources: (0..count)
                .map(|n| std::net::Ipv4Addr::from_bits(n).into())
                .collect(),
        }
    }

    #[test]
    fn long_lists_go_into_several_reports_but_exclusions() {
        let all = reports(
            0x22,
            vec![
                record(RecordKind::Allow, 100),
                record(RecordKind::ToExclude, 100),
            ],
            108,
        );
        assert!(
            all.iter()
                .all(|report| report.len() <= 108 && report[0] == 0x22)
        );
        let sources = |report: &[u8]| usize::from(be16(report, 10));
        let allowed = all
            .iter()
            .filter(|report| report[8] == RecordKind::Allow as u8);
        assert_eq!(allowed.map(|report| sources(report)).sum::<usize>(), 100);
        let excluded = all
            .iter()
            .filter(|report| report[8] == RecordKind::ToExclude as u8);
        assert_eq!(
            excluded.map(|report| sources(report)).collect::<Vec<_>>(),
            [23]
        );
        assert_eq!(
            reports(0x22, vec![record(RecordKind::Allow, 1); 3], 100).len(),
            1
        );
        assert_eq!(
            reports(0x22, vec![record(RecordKind::Allow, 1); 3], 100)[0][7],
            3
        );
    }

    #[test]
    fn codes_of_eight_bits() {
        assert_eq!([0, 10, 127, 128, 255].map(code8), [0, 10, 127, 128, 31_744]);
    }
}
