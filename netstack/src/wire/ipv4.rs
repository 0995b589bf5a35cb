//! The IPv4 header (RFC 791), its options checked but not interpreted.

use super::checksum::checksum;
use super::{WireError, be16};
use std::net::Ipv4Addr;

/// Bytes of the header without options.
pub const HEADER_LEN: usize = 20;
/// Bytes of the largest header.
pub const HEADER_LEN_MAX: usize = 60;
/// The option that asks routers to look at a packet (RFC 2113).
pub const ROUTER_ALERT: [u8; 4] = [148, 4, 0, 0];
/// Offset of the protocol field.
pub const PROTO_OFFSET: usize = 9;
/// Offset of the checksum field.
pub const CHECKSUM_OFFSET: usize = 10;
/// The smallest MTU that a link may have, and the least that a path MTU is believed to be
/// (RFC 1191 says 68; Linux `ip_rt_min_pmtu` says 552, which the cache applies).
pub const MTU_MIN: u32 = 68;

const FLAG_DF: u16 = 0x4000;
const FLAG_MF: u16 = 0x2000;
const OFFSET_MASK: u16 = 0x1fff;

mod option {
    pub(super) const END: u8 = 0;
    pub(super) const NOP: u8 = 1;
    pub(super) const LOOSE_ROUTE: u8 = 131;
    pub(super) const STRICT_ROUTE: u8 = 137;
}

/// A packet whose lengths, version and header checksum have been checked.
#[derive(Clone, Copy, Debug)]
pub struct Ipv4View<'a> {
    bytes: &'a [u8],
}

impl<'a> Ipv4View<'a> {
    /// Checks `bytes`, which start at the header; padding after the packet is cut off.
    ///
    /// # Errors
    /// `Truncated` if there are fewer bytes than the length fields say, `BadVersion`, `BadLength` if
    /// a length field is impossible, `BadChecksum`.
    pub fn new(bytes: &'a [u8]) -> Result<Self, WireError> {
        let view = Self::new_unverified(bytes)?;
        if checksum(view.header()) == 0 {
            Ok(view)
        } else {
            Err(WireError::BadChecksum)
        }
    }

    /// As [`Ipv4View::new`] without looking at the checksum, and with a payload that may be cut
    /// short: the header that an ICMP error quotes.
    ///
    /// # Errors
    /// As [`Ipv4View::new`].
    pub fn new_quoted(bytes: &'a [u8]) -> Result<Self, WireError> {
        let len = Self::header_bounds(bytes)?;
        let end = usize::from(be16(bytes, 2)).clamp(len, bytes.len());
        Ok(Self {
            bytes: &bytes[..end],
        })
    }

    fn new_unverified(bytes: &'a [u8]) -> Result<Self, WireError> {
        let header_len = Self::header_bounds(bytes)?;
        let total = usize::from(be16(bytes, 2));
        if total < header_len {
            return Err(WireError::BadLength);
        }
        let bytes = bytes.get(..total).ok_or(WireError::Truncated)?;
        Ok(Self { bytes })
    }

    fn header_bounds(bytes: &[u8]) -> Result<usize, WireError> {
        let first = *bytes.first().ok_or(WireError::Truncated)?;
        if first >> 4 != 4 {
            return Err(WireError::BadVersion);
        }
        let header_len = usize::from(first & 0xf) * 4;
        if header_len < HEADER_LEN {
            return Err(WireError::BadLength);
        }
        if bytes.len() < header_len {
            return Err(WireError::Truncated);
        }
        Ok(header_len)
    }

    /// Header length in bytes, options included.
    pub fn header_len(&self) -> usize {
        usize::from(self.bytes[0] & 0xf) * 4
    }

    /// Length of header and payload in bytes.
    pub fn total_len(&self) -> usize {
        self.bytes.len()
    }

    /// The header.
    pub fn header(&self) -> &'a [u8] {
        &self.bytes[..self.header_len()]
    }

    /// The option bytes.
    pub fn options(&self) -> &'a [u8] {
        &self.bytes[HEADER_LEN..self.header_len()]
    }

    /// The payload.
    pub fn payload(&self) -> &'a [u8] {
        &self.bytes[self.header_len()..]
    }
}

/// The meaning of an IPv4 header without its options.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ipv4Repr {
    /// Sender.
    pub src: Ipv4Addr,
    /// Destination.
    pub dst: Ipv4Addr,
    /// Protocol of the payload.
    pub proto: u8,
    /// TOS byte.
    pub tos: u8,
    /// Time to live.
    pub ttl: u8,
    /// Identification; meaningful for fragments only.
    pub id: u16,
    /// Don't Fragment.
    pub dont_fragment: bool,
    /// More fragments follow.
    pub more_fragments: bool,
    /// Offset of the payload in its datagram, in bytes: a multiple of 8.
    pub fragment_offset: u16,
    /// Bytes of payload.
    pub payload_len: u16,
}

impl Ipv4Repr {
    /// Reads the header.
    pub fn parse(view: &Ipv4View<'_>) -> Self {
        let bytes = view.bytes;
        let fragment = be16(bytes, 6);
        let addr = |at: usize| {
            let octets: [u8; 4] = core::array::from_fn(|i| bytes[at + i]);
            Ipv4Addr::from(octets)
        };
        Self {
            src: addr(12),
            dst: addr(16),
            proto: bytes[9],
            tos: bytes[1],
            ttl: bytes[8],
            id: be16(bytes, 4),
            dont_fragment: fragment & FLAG_DF != 0,
            more_fragments: fragment & FLAG_MF != 0,
            fragment_offset: (fragment & OFFSET_MASK) * 8,
            payload_len: view.payload().len() as u16,
        }
    }

    /// True if this is not a whole datagram.
    pub fn is_fragment(&self) -> bool {
        self.more_fragments || self.fragment_offset != 0
    }

    /// Writes a header without options into the first [`HEADER_LEN`] bytes of `out`, its checksum
    /// included.
    ///
    /// # Panics
    /// If `out` is shorter, or the payload does not fit in the length field.
    pub fn emit(&self, out: &mut [u8]) {
        self.emit_with_options(&[], out);
    }

    /// The same with options, whose length is a multiple of four, into that many bytes more.
    ///
    /// # Panics
    /// As [`Ipv4Repr::emit`].
    pub fn emit_with_options(&self, options: &[u8], out: &mut [u8]) {
        let header_len = HEADER_LEN + options.len();
        let total = self.payload_len + header_len as u16;
        let mut fragment = self.fragment_offset / 8;
        fragment |= if self.dont_fragment { FLAG_DF } else { 0 };
        fragment |= if self.more_fragments { FLAG_MF } else { 0 };
        out[0] = 0x40 | (header_len / 4) as u8;
        out[1] = self.tos;
        out[2..4].copy_from_slice(&total.to_be_bytes());
        out[4..6].copy_from_slice(&self.id.to_be_bytes());
        out[6..8].copy_from_slice(&fragment.to_be_bytes());
        out[8] = self.ttl;
        out[9] = self.proto;
        out[10..12].fill(0);
        out[12..16].copy_from_slice(&self.src.octets());
        out[16..20].copy_from_slice(&self.dst.octets());
        out[HEADER_LEN..header_len].copy_from_slice(options);
        let sum = checksum(&out[..header_len]);
        out[10..12].copy_from_slice(&sum.to_be_bytes());
    }
}

/// Fills in what raw sockets leave to the stack: length and checksum, and where they are zero the source
/// and the identifier. `header` is the whole header.
pub(crate) fn complete(header: &mut [u8], total_len: u16, src: Ipv4Addr, ident: u16) {
    header[2..4].copy_from_slice(&total_len.to_be_bytes());
    if header[4..6] == [0; 2] {
        header[4..6].copy_from_slice(&ident.to_be_bytes());
    }
    if header[12..16] == [0; 4] {
        header[12..16].copy_from_slice(&src.octets());
    }
    header[10..12].fill(0);
    let sum = checksum(header);
    header[10..12].copy_from_slice(&sum.to_be_bytes());
}

/// What the options of a packet ask for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Ipv4Options {
    /// A source route is present (RFC 7126 section 4.3: dropped by default).
    pub source_route: bool,
}

impl Ipv4Options {
    /// Walks the option list.
    ///
    /// # Errors
    /// `BadOption` if an option runs past the header or has a length below 2.
    pub fn parse(list: &[u8]) -> Result<Self, WireError> {
        let mut options = Self::default();
        let mut at = 0;
        while at < list.len() {
            match list[at] {
                option::END => break,
                option::NOP => at += 1,
                kind => {
                    let len = usize::from(*list.get(at + 1).unwrap_or(&0));
                    if len < 2 || at + len > list.len() {
                        return Err(WireError::BadOption((HEADER_LEN + at) as u8));
                    }
                    options.source_route |=
                        matches!(kind, option::LOOSE_ROUTE | option::STRICT_ROUTE);
                    at += len;
                }
            }
        }
        Ok(options)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn sample() -> Ipv4Repr {
        Ipv4Repr {
            src: Ipv4Addr::new(10, 0, 0, 1),
            dst: Ipv4Addr::new(10, 0, 0, 2),
            proto: 17,
            tos: 0xb8,
            ttl: 64,
            id: 0xabcd,
            dont_fragment: false,
            more_fragments: true,
            fragment_offset: 1480,
            payload_len: 8,
        }
    }

    fn bytes_of(repr: &Ipv4Repr) -> Vec<u8> {
        let mut bytes = vec![0; HEADER_LEN + usize::from(repr.payload_len)];
        repr.emit(&mut bytes);
        bytes
    }

    #[test]
    fn etherparse_reads_what_we_write() {
        let bytes = bytes_of(&sample());
        let (theirs, _) = etherparse::Ipv4Header::from_slice(&bytes).unwrap();
        assert_eq!(theirs.header_checksum, theirs.calc_header_checksum());
        assert_eq!(theirs.source, [10, 0, 0, 1]);
        assert_eq!(theirs.fragment_offset.value(), 185);
        assert!(theirs.more_fragments && !theirs.dont_fragment);
        assert_eq!((theirs.total_len, theirs.identification), (28, 0xabcd));
        let view = Ipv4View::new(&bytes).unwrap();
        assert_eq!(Ipv4Repr::parse(&view), sample());
    }

    #[test]
    fn reads_what_etherparse_writes_and_cuts_padding() {
        let mut theirs = etherparse::Ipv4Header::new(
            4,
            63,
            etherparse::IpNumber::TCP,
            [1, 2, 3, 4],
            [5, 6, 7, 8],
        )
        .unwrap();
        theirs.options = [7, 4, 0, 0].as_slice().try_into().unwrap();
        theirs.total_len += 4;
        theirs.header_checksum = theirs.calc_header_checksum();
        let mut bytes = theirs.to_bytes().to_vec();
        bytes.extend_from_slice(b"data and padding");
        let view = Ipv4View::new(&bytes).unwrap();
        assert_eq!(
            (view.payload(), view.options()),
            (&b"data"[..], &[7, 4, 0, 0][..])
        );
        assert_eq!(Ipv4Repr::parse(&view).ttl, 63);
    }

    #[test]
    fn each_defect_has_its_error() {
        let good = bytes_of(&sample());
        let with = |at: usize, value: u8| {
            let mut bytes = good.clone();
            bytes[at] = value;
            Ipv4View::new(&bytes).unwrap_err()
        };
        assert_eq!(with(0, 0x65), WireError::BadVersion);
        assert_eq!(with(0, 0x44), WireError::BadLength);
        assert_eq!(with(3, 19), WireError::BadLength);
        assert_eq!(with(3, 29), WireError::Truncated);
        assert_eq!(with(8, 1), WireError::BadChecksum);
        assert_eq!(
            Ipv4View::new(&good[..19]).unwrap_err(),
            WireError::Truncated
        );
        assert_eq!(Ipv4View::new(&[]).unwrap_err(), WireError::Truncated);
    }

    #[test]
    fn options_are_checked() {
        let route = [1, 131, 7, 4, 10, 0, 0, 1];
        assert!(Ipv4Options::parse(&route).unwrap().source_route);
        assert_eq!(
            Ipv4Options::parse(&[1, 1, 7, 9]),
            Err(WireError::BadOption(22))
        );
        assert_eq!(Ipv4Options::parse(&[7]), Err(WireError::BadOption(20)));
        assert_eq!(Ipv4Options::parse(&[7, 1]), Err(WireError::BadOption(20)));
        assert_eq!(Ipv4Options::parse(&[0, 7]), Ok(Ipv4Options::default()));
    }

    proptest! {
        #[test]
        fn any_bytes_parse_or_fail(mut bytes in proptest::collection::vec(any::<u8>(), 0..80), words in 0_u8..16) {
            if let Some(first) = bytes.first_mut() {
                *first = 0x40 | words;
            }
            if let Ok(view) = Ipv4View::new_quoted(&bytes) {
                Ipv4Repr::parse(&view);
                let _ = Ipv4Options::parse(view.options());
            }
            if let Ok(view) = Ipv4View::new_unverified(&bytes) {
                prop_assert_eq!(view.header().len() + view.payload().len(), view.total_len());
            }
        }
    }
}
