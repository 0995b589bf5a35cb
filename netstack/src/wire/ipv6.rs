//! The IPv6 header (RFC 8200). Its extension headers are in [`super::ipv6_ext`].

use super::{WireError, be16, be32};
use std::net::Ipv6Addr;

/// Bytes of the header.
pub const HEADER_LEN: usize = 40;
/// Offset of the field that says what follows the header.
pub const NEXT_HEADER_OFFSET: usize = 6;
/// The smallest MTU that a link for IPv6 may have (RFC 8200 section 5).
pub const MTU_MIN: u32 = 1280;

/// The address at `at`; the caller has checked the length.
pub(crate) fn addr_at(bytes: &[u8], at: usize) -> Ipv6Addr {
    let octets: [u8; 16] = core::array::from_fn(|i| bytes[at + i]);
    Ipv6Addr::from(octets)
}

/// The group that a neighbour is asked for in (RFC 4291 section 2.7.1).
pub fn solicited_node(addr: Ipv6Addr) -> Ipv6Addr {
    let low = addr.to_bits() & 0xff_ffff;
    Ipv6Addr::from_bits(0xff02_0000_0000_0000_0000_0001_ff00_0000 | low)
}

/// A packet whose length and version have been checked.
#[derive(Clone, Copy, Debug)]
pub struct Ipv6View<'a> {
    bytes: &'a [u8],
}

impl<'a> Ipv6View<'a> {
    /// Checks `bytes`, which start at the header; padding after the packet is cut off. Jumbograms
    /// (RFC 2675) are not known: their length field of zero means an empty packet here.
    ///
    /// # Errors
    /// `Truncated` if there are fewer bytes than the length field says, `BadVersion`.
    pub fn new(bytes: &'a [u8]) -> Result<Self, WireError> {
        Self::check_header(bytes)?;
        let end = HEADER_LEN + usize::from(be16(bytes, 4));
        let bytes = bytes.get(..end).ok_or(WireError::Truncated)?;
        Ok(Self { bytes })
    }

    /// As [`Ipv6View::new`] with a payload that may be cut short: what an ICMPv6 error quotes.
    ///
    /// # Errors
    /// As [`Ipv6View::new`].
    pub fn new_quoted(bytes: &'a [u8]) -> Result<Self, WireError> {
        Self::check_header(bytes)?;
        let end = (HEADER_LEN + usize::from(be16(bytes, 4))).min(bytes.len());
        Ok(Self {
            bytes: &bytes[..end],
        })
    }

    fn check_header(bytes: &[u8]) -> Result<(), WireError> {
        let first = *bytes.first().ok_or(WireError::Truncated)?;
        if first >> 4 != 6 {
            return Err(WireError::BadVersion);
        }
        if bytes.len() < HEADER_LEN {
            return Err(WireError::Truncated);
        }
        Ok(())
    }

    /// Length of header and payload in bytes.
    pub fn total_len(&self) -> usize {
        self.bytes.len()
    }

    /// Header and payload.
    pub fn packet(&self) -> &'a [u8] {
        self.bytes
    }

    /// What follows the header, extension headers included.
    pub fn payload(&self) -> &'a [u8] {
        &self.bytes[HEADER_LEN..]
    }
}

/// The meaning of an IPv6 header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ipv6Repr {
    /// Sender.
    pub src: Ipv6Addr,
    /// Destination.
    pub dst: Ipv6Addr,
    /// What follows: an extension header or a transport.
    pub next_header: u8,
    /// Traffic class, the ECN bits included.
    pub traffic_class: u8,
    /// Flow label (RFC 6437), 20 bits.
    pub flow_label: u32,
    /// Hop limit.
    pub hop_limit: u8,
    /// Bytes after the header.
    pub payload_len: u16,
}

impl Ipv6Repr {
    /// Reads the header.
    pub fn parse(view: &Ipv6View<'_>) -> Self {
        let bytes = view.bytes;
        let first = be32(bytes, 0);
        Self {
            src: addr_at(bytes, 8),
            dst: addr_at(bytes, 24),
            next_header: bytes[NEXT_HEADER_OFFSET],
            traffic_class: (first >> 20) as u8,
            flow_label: first & 0xf_ffff,
            hop_limit: bytes[7],
            payload_len: view.payload().len() as u16,
        }
    }

    /// Writes the header into the first [`HEADER_LEN`] bytes of `out`.
    ///
    /// # Panics
    /// If `out` is shorter.
    pub fn emit(&self, out: &mut [u8]) {
        let first = 6 << 28 | u32::from(self.traffic_class) << 20 | (self.flow_label & 0xf_ffff);
        out[0..4].copy_from_slice(&first.to_be_bytes());
        out[4..6].copy_from_slice(&self.payload_len.to_be_bytes());
        out[NEXT_HEADER_OFFSET] = self.next_header;
        out[7] = self.hop_limit;
        out[8..24].copy_from_slice(&self.src.octets());
        out[24..40].copy_from_slice(&self.dst.octets());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn sample() -> Ipv6Repr {
        Ipv6Repr {
            src: "2001:db8::1".parse().unwrap(),
            dst: "2001:db8::2".parse().unwrap(),
            next_header: 17,
            traffic_class: 0xb9,
            flow_label: 0xa_bcde,
            hop_limit: 64,
            payload_len: 4,
        }
    }

    #[test]
    fn agrees_with_etherparse() {
        let repr = sample();
        let mut bytes = vec![0; HEADER_LEN + 4];
        repr.emit(&mut bytes);
        let (theirs, rest) = etherparse::Ipv6Header::from_slice(&bytes).unwrap();
        assert_eq!(theirs.source, repr.src.octets());
        assert_eq!(theirs.destination, repr.dst.octets());
        assert_eq!(theirs.traffic_class, repr.traffic_class);
        assert_eq!(theirs.flow_label.value(), repr.flow_label);
        assert_eq!((theirs.hop_limit, theirs.next_header.0), (64, 17));
        assert_eq!((theirs.payload_length, rest.len()), (4, 4));
        assert_eq!(Ipv6Repr::parse(&Ipv6View::new(&bytes).unwrap()), repr);
    }

    #[test]
    fn the_group_has_the_last_24_bits() {
        let addr = "4037::1:800:200e:8c6c".parse().unwrap();
        assert_eq!(solicited_node(addr).to_string(), "ff02::1:ff0e:8c6c");
    }

    #[test]
    fn lengths_and_version() {
        let mut bytes = vec![0; HEADER_LEN + 10];
        sample().emit(&mut bytes);
        assert_eq!(Ipv6View::new(&bytes).unwrap().payload().len(), 4);
        let short = &bytes[..HEADER_LEN + 3];
        assert_eq!(Ipv6View::new(short).unwrap_err(), WireError::Truncated);
        assert_eq!(Ipv6View::new_quoted(short).unwrap().payload().len(), 3);
        assert_eq!(
            Ipv6View::new_quoted(&bytes[..39]).unwrap_err(),
            WireError::Truncated
        );
        bytes[0] = 0x45;
        assert_eq!(Ipv6View::new(&bytes).unwrap_err(), WireError::BadVersion);
    }

    proptest! {
        #[test]
        fn any_bytes_parse_or_fail(mut bytes in proptest::collection::vec(any::<u8>(), 0..80), valid: bool) {
            if valid && !bytes.is_empty() {
                bytes[0] = 0x60 | bytes[0] & 15;
            }
            if let Ok(view) = Ipv6View::new_quoted(&bytes) {
                let repr = Ipv6Repr::parse(&view);
                let mut out = [0; HEADER_LEN];
                repr.emit(&mut out);
                prop_assert_eq!(out[..4].to_vec(), bytes[..4].to_vec());
                prop_assert_eq!(out[6..].to_vec(), bytes[6..HEADER_LEN].to_vec());
            }
        }
    }
}
