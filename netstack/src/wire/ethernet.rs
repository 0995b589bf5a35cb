//! The Ethernet II header, and one 802.1Q tag in front of the type.

use super::{WireError, be16};
use crate::link::MacAddr;

/// Bytes of the header without a tag.
pub const HEADER_LEN: usize = 14;

/// The broadcast address.
pub const BROADCAST: MacAddr = MacAddr([0xff; 6]);

/// Values of the type field.
pub mod ethertype {
    /// IPv4.
    pub const IPV4: u16 = 0x0800;
    /// ARP.
    pub const ARP: u16 = 0x0806;
    /// 802.1Q tag.
    pub const VLAN: u16 = 0x8100;
    /// IPv6.
    pub const IPV6: u16 = 0x86dd;
}

impl MacAddr {
    /// True for broadcast and multicast.
    pub fn is_group(self) -> bool {
        self.0[0] & 1 != 0
    }

    /// The group address of an IPv4 multicast address (RFC 1112 section 6.4).
    pub fn of_ipv4_multicast(addr: std::net::Ipv4Addr) -> Self {
        let [_, b, c, d] = addr.octets();
        Self([0x01, 0x00, 0x5e, b & 0x7f, c, d])
    }

    /// The group address of an IPv6 multicast address (RFC 2464 section 7).
    pub fn of_ipv6_multicast(addr: std::net::Ipv6Addr) -> Self {
        let [.., a, b, c, d] = addr.octets();
        Self([0x33, 0x33, a, b, c, d])
    }
}

/// The meaning of an Ethernet header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EthernetRepr {
    /// Destination.
    pub dst: MacAddr,
    /// Source.
    pub src: MacAddr,
    /// Type of what follows: see [`ethertype`].
    pub ethertype: u16,
}

impl EthernetRepr {
    /// Reads the header of a frame; returns it with its length. A priority tag (VLAN 0) is skipped.
    ///
    /// # Errors
    /// `Truncated`; `Unsupported` for a frame of another VLAN or an 802.3 length field.
    pub fn parse(frame: &[u8]) -> Result<(Self, usize), WireError> {
        if frame.len() < HEADER_LEN {
            return Err(WireError::Truncated);
        }
        let mut ethertype = be16(frame, 12);
        let mut len = HEADER_LEN;
        if ethertype == ethertype::VLAN {
            if frame.len() < HEADER_LEN + 4 {
                return Err(WireError::Truncated);
            }
            if be16(frame, 14) & 0xfff != 0 {
                return Err(WireError::Unsupported);
            }
            ethertype = be16(frame, 16);
            len += 4;
        }
        // Below 0x600 the field is the length of an 802.3 frame.
        if ethertype < 0x600 {
            return Err(WireError::Unsupported);
        }
        let mac = |at: usize| MacAddr(core::array::from_fn(|i| frame[at + i]));
        let repr = Self {
            dst: mac(0),
            src: mac(6),
            ethertype,
        };
        Ok((repr, len))
    }

    /// Writes the header into the first [`HEADER_LEN`] bytes of `out`.
    ///
    /// # Panics
    /// If `out` is shorter.
    pub fn emit(&self, out: &mut [u8]) {
        out[0..6].copy_from_slice(&self.dst.0);
        out[6..12].copy_from_slice(&self.src.0);
        out[12..14].copy_from_slice(&self.ethertype.to_be_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use pnet::packet::ethernet::{EtherTypes, MutableEthernetPacket};
    use pnet::util::MacAddr as PnetMac;
    use proptest::prelude::*;

    #[test]
    fn agrees_with_pnet() {
        let mut bytes = [0; 14];
        let mut theirs = MutableEthernetPacket::new(&mut bytes).unwrap();
        theirs.set_destination(PnetMac::broadcast());
        theirs.set_source(PnetMac::new(2, 0, 0, 0, 0, 9));
        theirs.set_ethertype(EtherTypes::Arp);
        let (repr, len) = EthernetRepr::parse(&bytes).unwrap();
        assert_eq!(len, 14);
        assert_eq!(repr.dst, BROADCAST);
        assert!(repr.dst.is_group() && !repr.src.is_group());
        assert_eq!(repr.ethertype, ethertype::ARP);
        let mut ours = [0; 14];
        repr.emit(&mut ours);
        assert_eq!(ours, bytes);
    }

    #[test]
    fn a_priority_tag_is_skipped_and_a_vlan_is_not_ours() {
        let mut frame = [0; 18];
        frame[12..18].copy_from_slice(&[0x81, 0, 0xe0, 0, 8, 0]);
        let (repr, len) = EthernetRepr::parse(&frame).unwrap();
        assert_eq!((repr.ethertype, len), (ethertype::IPV4, 18));
        frame[15] = 5;
        assert_eq!(EthernetRepr::parse(&frame), Err(WireError::Unsupported));
        assert_eq!(EthernetRepr::parse(&frame[..17]), Err(WireError::Truncated));
    }

    proptest! {
        #[test]
        fn any_bytes_parse_or_fail(bytes in proptest::collection::vec(any::<u8>(), 0..40)) {
            if let Ok((_, len)) = EthernetRepr::parse(&bytes) {
                prop_assert!(len <= bytes.len());
            }
        }
    }
}
