//! Randomness, injected as a seed.
//!
//! The driver seeds the stack from the operating system (or from a fixed seed under test); nothing
//! inside the stack ever asks the OS. SipHash in counter mode is keyed and unpredictable to a
//! network peer, which is what ephemeral ports, IP identifiers and secrets need.

use core::hash::{BuildHasher, Hasher};
use siphasher::sip::{SipHasher13, SipHasher24};

/// A keyed generator: the same seed gives the same sequence.
#[derive(Clone, Debug)]
pub struct Rng {
    key0: u64,
    key1: u64,
    counter: u64,
}

impl Rng {
    /// A generator whose whole future follows from `seed`.
    pub fn from_seed(seed: [u8; 16]) -> Self {
        let half = |at: usize| u64::from_le_bytes(core::array::from_fn(|i| seed[at + i]));
        Self {
            key0: half(0),
            key1: half(8),
            counter: 0,
        }
    }

    /// 64 uniform bits.
    pub fn next_u64(&mut self) -> u64 {
        let mut hash = SipHasher24::new_with_keys(self.key0, self.key1);
        hash.write_u64(self.counter);
        self.counter += 1;
        hash.finish()
    }

    /// 32 uniform bits.
    pub fn next_u32(&mut self) -> u32 {
        (self.next_u64() >> 32) as u32
    }

    /// A uniform value below `bound` (multiply-shift; the bias of 2^-32 is accepted).
    ///
    /// # Panics
    /// If `bound` is zero.
    pub fn below(&mut self, bound: u32) -> u32 {
        assert!(bound > 0, "an empty range has no values");
        ((u64::from(self.next_u32()) * u64::from(bound)) >> 32) as u32
    }

    /// A fresh 128-bit key, for a keyed hash of its own.
    pub fn key(&mut self) -> [u64; 2] {
        [self.next_u64(), self.next_u64()]
    }

    /// A generator of its own, which goes on independently of this one.
    pub fn fork(&mut self) -> Self {
        let [key0, key1] = self.key();
        Self {
            key0,
            key1,
            counter: 0,
        }
    }
}

/// Keys the hash of a table that peers can fill, so that they can't choose what collides; and unlike
/// the standard library's, the order of its entries follows from the seed.
#[derive(Clone, Debug)]
pub struct KeyedState([u64; 2]);

impl KeyedState {
    /// A state with a fresh key.
    pub fn new(rng: &mut Rng) -> Self {
        Self(rng.key())
    }
}

impl BuildHasher for KeyedState {
    type Hasher = SipHasher13;

    fn build_hasher(&self) -> SipHasher13 {
        SipHasher13::new_with_keys(self.0[0], self.0[1])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn same_seed_same_sequence() {
        let (mut a, mut b) = (Rng::from_seed([7; 16]), Rng::from_seed([7; 16]));
        assert!((0..100).all(|_| a.next_u64() == b.next_u64()));
        assert_ne!(
            Rng::from_seed([7; 16]).next_u64(),
            Rng::from_seed([8; 16]).next_u64()
        );
    }

    #[test]
    fn below_stays_below() {
        let mut rng = Rng::from_seed([1; 16]);
        assert!((1..1000).all(|bound| rng.below(bound) < bound));
    }
}
