//! The UDP header (RFC 768).

use super::{WireError, be16};

/// Bytes of the header.
pub const HEADER_LEN: usize = 8;
/// Offset of the checksum field.
pub const CHECKSUM_OFFSET: u16 = 6;

/// A datagram whose lengths have been checked.
#[derive(Clone, Copy, Debug)]
pub struct UdpView<'a> {
    bytes: &'a [u8],
}

impl<'a> UdpView<'a> {
    /// Checks the lengths of `bytes`, from the header to the end of the IP payload.
    ///
    /// # Errors
    /// `Truncated`; `BadLength` if the length field is below 8 or past the end.
    pub fn new(bytes: &'a [u8]) -> Result<Self, WireError> {
        if bytes.len() < HEADER_LEN {
            return Err(WireError::Truncated);
        }
        let len = usize::from(be16(bytes, 4));
        if !(HEADER_LEN..=bytes.len()).contains(&len) {
            return Err(WireError::BadLength);
        }
        Ok(Self {
            bytes: &bytes[..len],
        })
    }

    /// Source port.
    pub fn src_port(&self) -> u16 {
        be16(self.bytes, 0)
    }

    /// Destination port.
    pub fn dst_port(&self) -> u16 {
        be16(self.bytes, 2)
    }

    /// Checksum field; over IPv4 zero means that there is none.
    pub fn checksum(&self) -> u16 {
        be16(self.bytes, 6)
    }

    /// Header and payload, without what follows the length field's end.
    pub fn datagram(&self) -> &'a [u8] {
        self.bytes
    }

    /// The payload.
    pub fn payload(&self) -> &'a [u8] {
        &self.bytes[HEADER_LEN..]
    }
}

/// The meaning of a UDP header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UdpRepr {
    /// Source port.
    pub src_port: u16,
    /// Destination port.
    pub dst_port: u16,
    /// Bytes of payload.
    pub payload_len: u16,
}

impl UdpRepr {
    /// Reads the header. The checksum is not looked at.
    pub fn parse(view: &UdpView<'_>) -> Self {
        Self {
            src_port: view.src_port(),
            dst_port: view.dst_port(),
            payload_len: view.payload().len() as u16,
        }
    }

    /// Writes the header into the first [`HEADER_LEN`] bytes of `out`; the checksum field is left zero.
    ///
    /// # Panics
    /// If `out` is shorter, or the payload does not fit in the length field.
    pub fn emit(&self, out: &mut [u8]) {
        let len = self.payload_len + HEADER_LEN as u16;
        out[0..2].copy_from_slice(&self.src_port.to_be_bytes());
        out[2..4].copy_from_slice(&self.dst_port.to_be_bytes());
        out[4..6].copy_from_slice(&len.to_be_bytes());
        out[6..8].fill(0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn agrees_with_etherparse() {
        let theirs = etherparse::UdpHeader::without_ipv4_checksum(53, 5353, 3).unwrap();
        let mut bytes = theirs.to_bytes().to_vec();
        bytes.extend_from_slice(b"abc and padding");
        let view = UdpView::new(&bytes).unwrap();
        assert_eq!(view.payload(), b"abc");
        let repr = UdpRepr::parse(&view);
        assert_eq!((repr.src_port, repr.dst_port), (53, 5353));
        let mut ours = [0; HEADER_LEN];
        repr.emit(&mut ours);
        assert_eq!(ours, theirs.to_bytes());
    }

    #[test]
    fn bad_lengths_are_refused() {
        assert_eq!(UdpView::new(&[0; 7]).unwrap_err(), WireError::Truncated);
        for len in [0, 7, 9] {
            let bytes = [0, 1, 0, 2, 0, len, 0, 0];
            assert_eq!(UdpView::new(&bytes).unwrap_err(), WireError::BadLength);
        }
    }

    proptest! {
        #[test]
        fn any_bytes_parse_or_fail(bytes in proptest::collection::vec(any::<u8>(), 0..40)) {
            if let Ok(view) = UdpView::new(&bytes) {
                prop_assert!(view.datagram().len() <= bytes.len());
                prop_assert_eq!(UdpRepr::parse(&view).payload_len as usize, view.payload().len());
            }
        }
    }
}
