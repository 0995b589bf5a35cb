//! The Internet checksum (RFC 1071) over scattered ranges.

/// A running one's complement sum that may be fed in pieces of any length.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Checksum {
    total: u64,
    /// An odd number of bytes was fed so far: the next piece is summed with its bytes swapped.
    odd: bool,
}

impl Checksum {
    /// Adds `bytes`.
    pub(crate) fn add_bytes(&mut self, bytes: &[u8]) {
        let mut words = bytes.chunks_exact(4);
        let mut sum: u64 = words
            .by_ref()
            .map(|w| u64::from(u32::from_ne_bytes([w[0], w[1], w[2], w[3]])))
            .sum();
        let mut last = [0; 4];
        let rest = words.remainder();
        last[..rest.len()].copy_from_slice(rest);
        sum += u64::from(u32::from_ne_bytes(last));
        let mut folded = u16::from_be(fold(sum));
        if self.odd {
            folded = folded.swap_bytes();
        }
        self.total += u64::from(folded);
        self.odd ^= bytes.len() % 2 == 1;
    }

    /// Adds one 16-bit number.
    pub(crate) fn add_u16(&mut self, value: u16) {
        debug_assert!(!self.odd);
        self.total += u64::from(value);
    }

    /// The folded sum, not complemented.
    pub(crate) fn partial(self) -> u16 {
        fold(self.total)
    }

    /// The checksum: the complement of the sum.
    pub(crate) fn finish(self) -> u16 {
        !self.partial()
    }
}

fn fold(mut sum: u64) -> u16 {
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    sum as u16
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn rfc1071_example() {
        let mut sum = Checksum::default();
        sum.add_bytes(&[0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7]);
        assert_eq!(sum.partial(), 0xddf2);
    }

    proptest! {
        #[test]
        fn pieces_give_what_the_whole_gives(pieces in prop::collection::vec(prop::collection::vec(any::<u8>(), 1..40), 1..8)) {
            let mut scattered = Checksum::default();
            pieces.iter().for_each(|p| scattered.add_bytes(p));
            let whole = pieces.concat();
            prop_assert_eq!(scattered.finish(), pnet::packet::util::checksum(&whole, usize::MAX));
        }
    }
}
