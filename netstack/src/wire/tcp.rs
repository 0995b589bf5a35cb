//! The TCP header (RFC 9293).

pub use super::tcp_options::{
    FastOpenCookie, OPTIONS_LEN_MAX, SACK_BLOCKS_MAX, SackBlock, TcpOptions, Timestamps,
    WINDOW_SCALE_MAX, kind,
};
use super::{WireError, be16, be32};
use bitflags::bitflags;

/// Bytes of the header without options.
pub const HEADER_LEN: usize = 20;
/// Bytes of the largest header.
pub const HEADER_LEN_MAX: usize = 60;
/// Offset of the checksum field.
pub const CHECKSUM_OFFSET: u16 = 16;
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
