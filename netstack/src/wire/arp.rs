//! ARP for IPv4 over Ethernet (RFC 826).

use super::{WireError, be16};
use crate::link::MacAddr;
use std::net::Ipv4Addr;

/// Bytes of a packet.
pub const LEN: usize = 28;

/// What a packet does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ArpOp {
    /// Who has the target address?
    Request,
    /// The sender has its address.
    Reply,
}

/// The meaning of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ArpRepr {
    /// What it does.
    pub op: ArpOp,
    /// Who sends.
    pub sender_mac: MacAddr,
    /// Zero in a probe (RFC 5227).
    pub sender: Ipv4Addr,
    /// Meaningless in a request.
    pub target_mac: MacAddr,
    /// Who is asked for, or answered.
    pub target: Ipv4Addr,
}

impl ArpRepr {
    /// Reads a packet; padding after it is ignored.
    ///
    /// # Errors
    /// `Truncated`; `Unsupported` for other hardware, protocols, lengths or operations.
    pub fn parse(bytes: &[u8]) -> Result<Self, WireError> {
        if bytes.len() < LEN {
            return Err(WireError::Truncated);
        }
        if bytes[0..6] != [0, 1, 8, 0, 6, 4] {
            return Err(WireError::Unsupported);
        }
        let op = match be16(bytes, 6) {
            1 => ArpOp::Request,
            2 => ArpOp::Reply,
            _ => return Err(WireError::Unsupported),
        };
        let mac = |at: usize| MacAddr(core::array::from_fn(|i| bytes[at + i]));
        let addr = |at: usize| {
            let octets: [u8; 4] = core::array::from_fn(|i| bytes[at + i]);
            Ipv4Addr::from(octets)
        };
        Ok(Self {
            op,
            sender_mac: mac(8),
            sender: addr(14),
            target_mac: mac(18),
            target: addr(24),
        })
    }

    /// Writes the packet into the first [`LEN`] bytes of `out`.
    ///
    /// # Panics
    /// If `out` is shorter.
    pub fn emit(&self, out: &mut [u8]) {
        out[0..6].copy_from_slice(&[0, 1, 8, 0, 6, 4]);
        let op: u16 = match self.op {
            ArpOp::Request => 1,
            ArpOp::Reply => 2,
        };
        out[6..8].copy_from_slice(&op.to_be_bytes());
        out[8..14].copy_from_slice(&self.sender_mac.0);
        out[14..18].copy_from_slice(&self.sender.octets());
        out[18..24].copy_from_slice(&self.target_mac.0);
        out[24..28].copy_from_slice(&self.target.octets());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use pnet::packet::arp::{ArpHardwareTypes, ArpOperations, MutableArpPacket};
    use pnet::packet::ethernet::EtherTypes;
    use proptest::prelude::*;

    #[test]
    fn agrees_with_pnet() {
        let mut bytes = [0; LEN];
        let mut theirs = MutableArpPacket::new(&mut bytes).unwrap();
        theirs.set_hardware_type(ArpHardwareTypes::Ethernet);
        theirs.set_protocol_type(EtherTypes::Ipv4);
        theirs.set_hw_addr_len(6);
        theirs.set_proto_addr_len(4);
        theirs.set_operation(ArpOperations::Reply);
        theirs.set_sender_hw_addr(pnet::util::MacAddr::new(2, 0, 0, 0, 0, 1));
        theirs.set_sender_proto_addr(Ipv4Addr::new(10, 0, 0, 1));
        theirs.set_target_hw_addr(pnet::util::MacAddr::new(2, 0, 0, 0, 0, 2));
        theirs.set_target_proto_addr(Ipv4Addr::new(10, 0, 0, 2));
        let repr = ArpRepr::parse(&bytes).unwrap();
        assert_eq!(repr.op, ArpOp::Reply);
        assert_eq!(repr.sender_mac, MacAddr([2, 0, 0, 0, 0, 1]));
        assert_eq!(repr.target, Ipv4Addr::new(10, 0, 0, 2));
        let mut ours = [0; LEN];
        repr.emit(&mut ours);
        assert_eq!(ours, bytes);
    }

    proptest! {
        #[test]
        fn any_bytes_parse_or_fail(mut bytes in proptest::collection::vec(any::<u8>(), 0..40), valid: bool) {
            if valid && bytes.len() >= LEN {
                bytes[0..8].copy_from_slice(&[0, 1, 8, 0, 6, 4, 0, 1]);
            }
            if let Ok(repr) = ArpRepr::parse(&bytes) {
                let mut ours = [0; LEN];
                repr.emit(&mut ours);
                prop_assert_eq!(&ours[..], &bytes[..LEN]);
            }
        }
    }
}
