//! IPv4 identification (RFC 6864, RFC 7739): only datagrams that may be fragmented need one, and a
//! peer must not be able to predict those of others.

use core::hash::Hasher;
use std::net::Ipv4Addr;

use siphasher::sip::SipHasher24;

use crate::rng::Rng;

const COUNTERS: usize = 2048;

/// Counters that a keyed hash of (source, destination, protocol) selects.
#[derive(Debug)]
pub(crate) struct Identifiers {
    key: [u64; 2],
    counters: Box<[u16; COUNTERS]>,
}

impl Identifiers {
    pub(crate) fn new(rng: &mut Rng) -> Self {
        let mut counters = Box::new([0; COUNTERS]);
        counters.fill_with(|| rng.next_u32() as u16);
        Self {
            key: rng.key(),
            counters,
        }
    }

    /// The identifier of the next datagram between the two that may be fragmented.
    pub(crate) fn next(&mut self, src: Ipv4Addr, dst: Ipv4Addr, proto: u8) -> u16 {
        let mut hasher = SipHasher24::new_with_keys(self.key[0], self.key[1]);
        hasher.write(&src.octets());
        hasher.write(&dst.octets());
        hasher.write_u8(proto);
        let digest = hasher.finish();
        let counter = &mut self.counters[digest as usize % COUNTERS];
        *counter = counter.wrapping_add(1);
        // Flows that share a counter still differ by the other half of the hash.
        counter.wrapping_add((digest >> 48) as u16)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn consecutive_within_a_flow_and_unrelated_between_keys() {
        let (a, b) = (Ipv4Addr::new(10, 0, 0, 1), Ipv4Addr::new(10, 0, 0, 2));
        let mut ours = Identifiers::new(&mut Rng::from_seed([1; 16]));
        let first = ours.next(a, b, 17);
        assert_eq!(ours.next(a, b, 17), first.wrapping_add(1));
        assert_ne!(ours.next(b, a, 17), first.wrapping_add(2));
        let mut others = Identifiers::new(&mut Rng::from_seed([2; 16]));
        assert_ne!(others.next(a, b, 17), first);
    }
}
