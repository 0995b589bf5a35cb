//! Identification of datagrams that may be fragmented (RFC 6864, RFC 7739): a peer must not be able to
//! predict those of others. And flow labels (RFC 6437), which come from the same key.

use core::hash::Hasher;
use std::net::{IpAddr, Ipv6Addr};

use siphasher::sip::{SipHasher13, SipHasher24};

use crate::rng::Rng;

const COUNTERS: usize = 2048;

/// Counters that a keyed hash of (source, destination, protocol) selects.
#[derive(Debug)]
pub(crate) struct Identifiers {
    key: [u64; 2],
    counters: Box<[u32; COUNTERS]>,
}

impl Identifiers {
    pub(crate) fn new(rng: &mut Rng) -> Self {
        let mut counters = Box::new([0; COUNTERS]);
        counters.fill_with(|| rng.next_u32());
        Self {
            key: rng.key(),
            counters,
        }
    }

    /// The identifier of the next datagram between the two that may be fragmented; IPv4 has room for
    /// the lower half.
    pub(crate) fn next(&mut self, src: IpAddr, dst: IpAddr, proto: u8) -> u32 {
        let mut hasher = SipHasher24::new_with_keys(self.key[0], self.key[1]);
        for addr in [src, dst] {
            match addr {
                IpAddr::V4(v4) => hasher.write(&v4.octets()),
                IpAddr::V6(v6) => hasher.write(&v6.octets()),
            }
        }
        hasher.write_u8(proto);
        let digest = hasher.finish();
        let counter = &mut self.counters[digest as usize % COUNTERS];
        *counter = counter.wrapping_add(1);
        // Flows that share a counter still differ by the other half of the hash.
        counter.wrapping_add((digest >> 32) as u32)
    }

    /// The label of a flow: the same for all its packets, and telling nobody anything. `ports` are the
    /// first bytes of the transport header.
    pub(crate) fn flow_label(&self, src: Ipv6Addr, dst: Ipv6Addr, proto: u8, ports: &[u8]) -> u32 {
        let mut hasher = SipHasher13::new_with_keys(self.key[1], self.key[0]);
        hasher.write_u128(src.to_bits());
        hasher.write_u128(dst.to_bits());
        hasher.write_u8(proto);
        hasher.write(ports);
        hasher.finish() as u32 & 0xf_ffff
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn consecutive_within_a_flow_and_unrelated_between_keys() {
        let (a, b) = (IpAddr::from([10, 0, 0, 1]), IpAddr::from([10, 0, 0, 2]));
        let mut ours = Identifiers::new(&mut Rng::from_seed([1; 16]));
        let first = ours.next(a, b, 17);
        assert_eq!(ours.next(a, b, 17), first.wrapping_add(1));
        assert_ne!(ours.next(b, a, 17), first.wrapping_add(2));
        let mut others = Identifiers::new(&mut Rng::from_seed([2; 16]));
        assert_ne!(others.next(a, b, 17), first);
    }

    #[test]
    fn a_flow_keeps_its_label() {
        let idents = Identifiers::new(&mut Rng::from_seed([1; 16]));
        let (a, b) = (Ipv6Addr::LOCALHOST, Ipv6Addr::UNSPECIFIED);
        let label = idents.flow_label(a, b, 6, &[0, 1, 0, 2]);
        assert_eq!(label, idents.flow_label(a, b, 6, &[0, 1, 0, 2]));
        assert_ne!(label, idents.flow_label(a, b, 6, &[0, 1, 0, 3]));
        assert_eq!(label >> 20, 0);
    }
}
