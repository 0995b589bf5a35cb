//! The TCP header (RFC 9293) and its options (RFC 7323, RFC 2018, RFC 7413).

use super::{WireError, be16, be32};
use arrayvec::ArrayVec;
use bitflags::bitflags;

/// Bytes of the header without options.
pub const HEADER_LEN: usize = 20;
/// Bytes of the largest header.
pub const HEADER_LEN_MAX: usize = 60;
/// Offset of the checksum field.
pub const CHECKSUM_OFFSET: u16 = 16;
/// Room for options.
pub const OPTIONS_LEN_MAX: usize = HEADER_LEN_MAX - HEADER_LEN;
/// The largest window shift (RFC 7323 section 2.3).
pub const WINDOW_SCALE_MAX: u8 = 14;

/// SACK blocks that fit beside nothing else.
pub const SACK_BLOCKS_MAX: usize = 4;

/// Option kinds.
pub mod kind {
    /// End of the list.
    pub const END: u8 = 0;
    /// Padding.
    pub const NOP: u8 = 1;
    /// Maximum segment size.
    pub const MSS: u8 = 2;
    /// Window scale.
    pub const WINDOW_SCALE: u8 = 3;
    /// SACK permitted.
    pub const SACK_PERMITTED: u8 = 4;
    /// SACK blocks.
    pub const SACK: u8 = 5;
    /// Timestamps.
    pub const TIMESTAMPS: u8 = 8;
    /// MD5 signature (RFC 2385): skipped.
    pub const MD5: u8 = 19;
    /// Fast Open cookie.
    pub const FAST_OPEN: u8 = 34;
}

bitflags! {
    /// The control bits.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
    pub struct TcpFlags: u16 {
        /// No more data from the sender.
        const FIN = 0x01;
        /// Synchronise sequence numbers.
        const SYN = 0x02;
        /// Reset the connection.
        const RST = 0x04;
        /// Push.
        const PSH = 0x08;
        /// The acknowledgement field means something.
        const ACK = 0x10;
        /// The urgent field means something.
        const URG = 0x20;
        /// ECN echo.
        const ECE = 0x40;
        /// Congestion window reduced.
        const CWR = 0x80;
        /// Accurate ECN.
        const AE = 0x100;
    }
}

/// The timestamps option.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timestamps {
    /// TSval.
    pub val: u32,
    /// TSecr.
    pub ecr: u32,
}

/// A Fast Open cookie (RFC 7413): empty when one is requested.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FastOpenCookie {
    bytes: [u8; 16],
    len: u8,
}

impl FastOpenCookie {
    /// A cookie of `bytes`: none, or an even number from 4 to 16.
    pub fn new(bytes: &[u8]) -> Option<Self> {
        let valid =
            bytes.is_empty() || ((4..=16).contains(&bytes.len()) && bytes.len().is_multiple_of(2));
        valid.then(|| {
            let mut cookie = Self {
                bytes: [0; 16],
                len: bytes.len() as u8,
            };
            cookie.bytes[..bytes.len()].copy_from_slice(bytes);
            cookie
        })
    }

    /// The cookie.
    pub fn as_slice(&self) -> &[u8] {
        &self.bytes[..usize::from(self.len)]
    }

    /// True if the option asks for a cookie.
    pub fn is_request(&self) -> bool {
        self.len == 0
    }
}

/// A SACK block: the left edge, and the sequence number after its last byte.
pub type SackBlock = (u32, u32);

/// The options of a segment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TcpOptions {
    /// Maximum segment size; only on SYN.
    pub mss: Option<u16>,
    /// Window shift, at most 14 (larger values read as 14, RFC 7323 section 2.3); only on SYN.
    pub window_scale: Option<u8>,
    /// SACK permitted; only on SYN.
    pub sack_permitted: bool,
    /// Timestamps.
    pub timestamps: Option<Timestamps>,
    /// SACK blocks in the order of the option. When emitting, those without room are left out.
    pub sack: ArrayVec<SackBlock, SACK_BLOCKS_MAX>,
    /// Fast Open cookie or request; only on SYN.
    pub fast_open: Option<FastOpenCookie>,
    /// An option had an impossible length: what came before it counts, the rest was not read.
    pub malformed: bool,
}

/// A TCP header and payload whose lengths have been checked.
#[derive(Clone, Copy, Debug)]
pub struct TcpView<'a> {
    bytes: &'a [u8],
}

impl<'a> TcpView<'a> {
    /// Checks the lengths of `bytes`, a segment from its header to the end of its payload.
    ///
    /// # Errors
    /// `Truncated` below 20 bytes; `BadLength` if the data offset is below 5 or past the end.
    pub fn new(bytes: &'a [u8]) -> Result<Self, WireError> {
        if bytes.len() < HEADER_LEN {
            return Err(WireError::Truncated);
        }
        let view = Self { bytes };
        if (HEADER_LEN..=bytes.len()).contains(&view.header_len()) {
            Ok(view)
        } else {
            Err(WireError::BadLength)
        }
    }

    /// Source port.
    pub fn src_port(&self) -> u16 {
        be16(self.bytes, 0)
    }

    /// Destination port.
    pub fn dst_port(&self) -> u16 {
        be16(self.bytes, 2)
    }

    /// Sequence number.
    pub fn seq(&self) -> u32 {
        be32(self.bytes, 4)
    }

    /// Acknowledgement number; meaningless without [`TcpFlags::ACK`].
    pub fn ack(&self) -> u32 {
        be32(self.bytes, 8)
    }

    /// Header length in bytes, options included.
    pub fn header_len(&self) -> usize {
        usize::from(self.bytes[12] >> 4) * 4
    }

    /// Control bits.
    pub fn flags(&self) -> TcpFlags {
        TcpFlags::from_bits_truncate(be16(self.bytes, 12) & 0x1ff)
    }

    /// The three reserved bits.
    pub fn reserved(&self) -> u8 {
        (self.bytes[12] >> 1) & 0x7
    }

    /// Window field, unscaled.
    pub fn window(&self) -> u16 {
        be16(self.bytes, 14)
    }

    /// Checksum field.
    pub fn checksum(&self) -> u16 {
        be16(self.bytes, 16)
    }

    /// Urgent pointer.
    pub fn urgent(&self) -> u16 {
        be16(self.bytes, 18)
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

/// The meaning of a TCP header.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TcpRepr {
    /// Source port.
    pub src_port: u16,
    /// Destination port.
    pub dst_port: u16,
    /// Sequence number.
    pub seq: u32,
    /// Acknowledgement number.
    pub ack: u32,
    /// Control bits.
    pub flags: TcpFlags,
    /// Window field, unscaled.
    pub window: u16,
    /// Urgent pointer.
    pub urgent: u16,
    /// Options.
    pub options: TcpOptions,
}

impl TcpRepr {
    /// Reads the header. The checksum is not looked at.
    pub fn parse(view: &TcpView<'_>) -> Self {
        let flags = view.flags();
        Self {
            src_port: view.src_port(),
            dst_port: view.dst_port(),
            seq: view.seq(),
            ack: view.ack(),
            flags,
            window: view.window(),
            urgent: view.urgent(),
            options: TcpOptions::parse(view.options(), flags.contains(TcpFlags::SYN)),
        }
    }

    /// Length of the header that [`TcpRepr::emit`] writes.
    pub fn header_len(&self) -> usize {
        HEADER_LEN + self.options.len()
    }

    /// Writes the header into `out`, which has exactly [`TcpRepr::header_len`] bytes. The checksum
    /// field is left zero.
    ///
    /// # Panics
    /// If `out` has another length.
    pub fn emit(&self, out: &mut [u8]) {
        assert_eq!(out.len(), self.header_len(), "room for exactly one header");
        out[0..2].copy_from_slice(&self.src_port.to_be_bytes());
        out[2..4].copy_from_slice(&self.dst_port.to_be_bytes());
        out[4..8].copy_from_slice(&self.seq.to_be_bytes());
        out[8..12].copy_from_slice(&self.ack.to_be_bytes());
        let words = (out.len() / 4) as u16;
        out[12..14].copy_from_slice(&((words << 12) | self.flags.bits()).to_be_bytes());
        out[14..16].copy_from_slice(&self.window.to_be_bytes());
        out[16..18].fill(0);
        out[18..20].copy_from_slice(&self.urgent.to_be_bytes());
        self.options.emit(&mut out[HEADER_LEN..]);
    }
}

impl TcpOptions {
    /// Reads an option list. Options that belong on SYN only are ignored elsewhere, unknown ones
    /// always, and those with a length that their kind does not have are skipped, all as Linux does
    /// (`tcp_parse_options`).
    pub fn parse(mut list: &[u8], syn: bool) -> Self {
        let mut options = Self::default();
        while let [kind, rest @ ..] = list {
            match *kind {
                kind::END => break,
                kind::NOP => list = rest,
                kind => {
                    let Some(len) = rest.first().map(|len| usize::from(*len)) else {
                        options.malformed = true;
                        break;
                    };
                    if len < 2 || len > list.len() {
                        options.malformed = true;
                        break;
                    }
                    options.read(kind, &list[2..len], syn);
                    list = &list[len..];
                }
            }
        }
        options
    }

    fn read(&mut self, kind: u8, value: &[u8], syn: bool) {
        match (kind, value.len()) {
            (kind::MSS, 2) if syn => self.mss = Some(be16(value, 0)),
            (kind::WINDOW_SCALE, 1) if syn => {
                self.window_scale = Some(value[0].min(WINDOW_SCALE_MAX));
            }
            (kind::SACK_PERMITTED, 0) if syn => self.sack_permitted = true,
            (kind::TIMESTAMPS, 8) => {
                self.timestamps = Some(Timestamps {
                    val: be32(value, 0),
                    ecr: be32(value, 4),
                });
            }
            (kind::SACK, len) if len >= 8 && len.is_multiple_of(8) => {
                self.sack = value
                    .chunks_exact(8)
                    .take(SACK_BLOCKS_MAX)
                    .map(|block| (be32(block, 0), be32(block, 4)))
                    .collect();
            }
            (kind::FAST_OPEN, _) if syn => {
                if let Some(cookie) = FastOpenCookie::new(value) {
                    self.fast_open = Some(cookie);
                }
            }
            _ => {}
        }
    }

    /// SACK blocks that fit beside the other options.
    fn sack_room(&self) -> usize {
        let free = OPTIONS_LEN_MAX - self.len_without_sack();
        (free.saturating_sub(4) / 8).min(self.sack.len())
    }

    fn len_without_sack(&self) -> usize {
        let mut len = 0;
        len += if self.mss.is_some() { 4 } else { 0 };
        // SACK permitted sits in the padding before the timestamps if both are there.
        len += match (self.timestamps.is_some(), self.sack_permitted) {
            (true, _) => 12,
            (false, true) => 4,
            (false, false) => 0,
        };
        len += if self.window_scale.is_some() { 4 } else { 0 };
        match &self.fast_open {
            Some(cookie) => len + (2 + cookie.as_slice().len()).next_multiple_of(4),
            None => len,
        }
    }

    /// Bytes that the options take, padding included: a multiple of 4, at most 40.
    #[expect(
        clippy::len_without_is_empty,
        reason = "a length on the wire, not a count"
    )]
    pub fn len(&self) -> usize {
        let blocks = self.sack_room();
        self.len_without_sack() + if blocks == 0 { 0 } else { 4 + 8 * blocks }
    }

    /// Writes the options in the order that Linux uses: MSS, SACK permitted, timestamps, window
    /// scale, SACK blocks, Fast Open.
    fn emit(&self, out: &mut [u8]) {
        let mut at = Cursor { out, at: 0 };
        if let Some(mss) = self.mss {
            at.put(&[kind::MSS, 4]);
            at.put(&mss.to_be_bytes());
        }
        if self.sack_permitted {
            if self.timestamps.is_none() {
                at.put(&[kind::NOP, kind::NOP]);
            }
            at.put(&[kind::SACK_PERMITTED, 2]);
        } else if self.timestamps.is_some() {
            at.put(&[kind::NOP, kind::NOP]);
        }
        if let Some(Timestamps { val, ecr }) = self.timestamps {
            at.put(&[kind::TIMESTAMPS, 10]);
            at.put(&val.to_be_bytes());
            at.put(&ecr.to_be_bytes());
        }
        if let Some(shift) = self.window_scale {
            at.put(&[kind::NOP, kind::WINDOW_SCALE, 3, shift]);
        }
        let blocks = self.sack_room();
        if blocks > 0 {
            at.put(&[kind::NOP, kind::NOP, kind::SACK, 2 + 8 * blocks as u8]);
            for (left, right) in &self.sack[..blocks] {
                at.put(&left.to_be_bytes());
                at.put(&right.to_be_bytes());
            }
        }
        if let Some(cookie) = &self.fast_open {
            at.put(&[kind::FAST_OPEN, 2 + cookie.as_slice().len() as u8]);
            at.put(cookie.as_slice());
        }
        let end = at.at;
        out[end..].fill(kind::NOP);
    }
}

struct Cursor<'a> {
    out: &'a mut [u8],
    at: usize,
}

impl Cursor<'_> {
    fn put(&mut self, bytes: &[u8]) {
        self.out[self.at..self.at + bytes.len()].copy_from_slice(bytes);
        self.at += bytes.len();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use etherparse::TcpOptionElement as Element;
    use proptest::prelude::*;

    fn bytes_of(repr: &TcpRepr) -> Vec<u8> {
        let mut out = vec![0xee; repr.header_len()];
        repr.emit(&mut out);
        out
    }

    #[test]
    fn syn_has_the_layout_of_linux() {
        let repr = TcpRepr {
            src_port: 1000,
            dst_port: 80,
            seq: 1,
            flags: TcpFlags::SYN,
            window: 65_535,
            options: TcpOptions {
                mss: Some(1460),
                window_scale: Some(7),
                sack_permitted: true,
                timestamps: Some(Timestamps { val: 5, ecr: 0 }),
                ..TcpOptions::default()
            },
            ..TcpRepr::default()
        };
        let bytes = bytes_of(&repr);
        assert_eq!(
            bytes[20..],
            [
                2, 4, 5, 180, 4, 2, 8, 10, 0, 0, 0, 5, 0, 0, 0, 0, 1, 3, 3, 7
            ]
        );
        assert_eq!(TcpRepr::parse(&TcpView::new(&bytes).unwrap()), repr);
    }

    #[test]
    fn reads_what_etherparse_writes() {
        let mut header = etherparse::TcpHeader::new(4321, 80, 0x0102_0304, 4000);
        (header.ack, header.acknowledgment_number, header.psh) = (true, 77, true);
        header
            .set_options(&[
                Element::Noop,
                Element::Noop,
                Element::Timestamp(9, 8),
                Element::SelectiveAcknowledgement((1, 2), [Some((5, 6)), None, None]),
            ])
            .unwrap();
        let mut bytes = header.to_bytes().to_vec();
        bytes.extend_from_slice(b"data");
        let view = TcpView::new(&bytes).unwrap();
        let repr = TcpRepr::parse(&view);
        assert_eq!(view.payload(), b"data");
        assert_eq!((repr.src_port, repr.dst_port), (4321, 80));
        assert_eq!((repr.seq, repr.ack, repr.window), (0x0102_0304, 77, 4000));
        assert_eq!(repr.flags, TcpFlags::ACK | TcpFlags::PSH);
        assert_eq!(repr.options.timestamps, Some(Timestamps { val: 9, ecr: 8 }));
        assert_eq!(repr.options.sack[..], [(1, 2), (5, 6)]);
    }

    #[test]
    fn etherparse_reads_what_we_write() {
        let repr = TcpRepr {
            src_port: 7,
            dst_port: 9,
            seq: 3,
            ack: 4,
            flags: TcpFlags::ACK | TcpFlags::FIN | TcpFlags::ECE,
            window: 1,
            urgent: 2,
            options: TcpOptions {
                timestamps: Some(Timestamps { val: 1, ecr: 2 }),
                sack: [(1, 2), (3, 4), (5, 6), (7, 8)].into_iter().collect(),
                ..TcpOptions::default()
            },
        };
        let bytes = bytes_of(&repr);
        assert_eq!(bytes.len(), 60, "three blocks fit beside timestamps");
        let (header, _) = etherparse::TcpHeader::from_slice(&bytes).unwrap();
        assert!(header.ack && header.fin && header.ece && !header.syn);
        assert_eq!(header.urgent_pointer, 2);
        let elements: Vec<_> = header.options_iterator().map(Result::unwrap).collect();
        let sack = Element::SelectiveAcknowledgement((1, 2), [Some((3, 4)), Some((5, 6)), None]);
        assert_eq!(elements.last(), Some(&sack));
    }

    #[test]
    fn bad_lengths_are_refused() {
        assert_eq!(TcpView::new(&[0; 19]).unwrap_err(), WireError::Truncated);
        let mut bytes = [0; 20];
        for words in [0_u8, 4, 6, 15] {
            bytes[12] = words << 4;
            assert_eq!(TcpView::new(&bytes).unwrap_err(), WireError::BadLength);
        }
    }

    #[test]
    fn options_before_a_malformed_one_count() {
        let options = TcpOptions::parse(&[2, 4, 5, 180, 8, 1, 3, 3, 7], true);
        assert_eq!((options.mss, options.window_scale), (Some(1460), None));
        assert!(options.malformed);
        assert!(TcpOptions::parse(&[8], false).malformed);
    }

    #[test]
    fn syn_options_elsewhere_are_ignored() {
        let list = [2, 4, 5, 180, 1, 3, 3, 15, 34, 2];
        assert_eq!(TcpOptions::parse(&list, false), TcpOptions::default());
        let options = TcpOptions::parse(&list, true);
        assert_eq!(options.window_scale, Some(14));
        assert!(options.fast_open.unwrap().is_request());
    }

    proptest! {
        #[test]
        fn any_bytes_parse_or_fail(bytes in proptest::collection::vec(any::<u8>(), 0..80)) {
            if let Ok(view) = TcpView::new(&bytes) {
                let repr = TcpRepr::parse(&view);
                prop_assert!(repr.header_len() <= HEADER_LEN_MAX);
                prop_assert_eq!(view.options().len() + view.payload().len() + HEADER_LEN, bytes.len());
            }
        }
    }
}
