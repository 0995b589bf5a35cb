//! The Internet checksum (RFC 1071), over any number of ranges, and its incremental update (RFC 1624).

use std::net::IpAddr;

/// A running ones' complement sum. Ranges may have odd lengths: the next one goes on at the odd byte.
///
/// The sum is kept in native byte order, which RFC 1071 section 2 (B) allows: swapping the bytes of
/// every word swaps the bytes of the sum.
#[derive(Clone, Copy, Debug, Default)]
pub struct Checksum {
    sum: u64,
    odd: bool,
}

impl Checksum {
    /// An empty sum.
    pub const fn new() -> Self {
        Self { sum: 0, odd: false }
    }

    /// The sum of the TCP, UDP or ICMPv6 pseudo header (RFC 9293 section 3.1, RFC 8200 section 8.1).
    /// `len` is the length of the transport header and payload. Addresses of different families are
    /// summed as they are: such a packet cannot be built.
    pub fn pseudo(src: IpAddr, dst: IpAddr, proto: u8, len: u32) -> Self {
        let mut sum = Self::new();
        for addr in [src, dst] {
            match addr {
                IpAddr::V4(v4) => sum.add_bytes(&v4.octets()),
                IpAddr::V6(v6) => sum.add_bytes(&v6.octets()),
            }
        }
        sum.add_u32(len);
        sum.add_u16(u16::from(proto));
        sum
    }

    /// Goes on with `bytes`.
    pub fn add_bytes(&mut self, bytes: &[u8]) {
        let mut rest = bytes;
        if self.odd
            && let Some((first, tail)) = rest.split_first()
        {
            self.add_word(u16::from_ne_bytes([0, *first]));
            rest = tail;
            self.odd = false;
        }
        let (bulk, tail) = sum_even(rest);
        self.accumulate(bulk);
        if let [last] = tail {
            self.add_word(u16::from_ne_bytes([*last, 0]));
            self.odd = true;
        }
    }

    /// Goes on with a 16-bit field of network meaning `value`. Only at an even offset.
    pub fn add_u16(&mut self, value: u16) {
        debug_assert!(!self.odd, "fields start at even offsets");
        self.add_word(value.to_be());
    }

    /// Goes on with a 32-bit field of network meaning `value`. Only at an even offset.
    pub fn add_u32(&mut self, value: u32) {
        self.add_u16((value >> 16) as u16);
        self.add_u16(value as u16);
    }

    /// The folded sum, not complemented: what a device that completes a checksum wants to find in
    /// the field.
    pub fn partial(self) -> u16 {
        u16::from_be(fold(self.sum))
    }

    /// The value for a checksum field.
    pub fn finish(self) -> u16 {
        !self.partial()
    }

    /// True if what was summed includes a correct checksum.
    pub fn is_valid(self) -> bool {
        fold(self.sum) == 0xffff
    }

    fn add_word(&mut self, native: u16) {
        self.accumulate(u64::from(native));
    }

    fn accumulate(&mut self, part: u64) {
        let (sum, carry) = self.sum.overflowing_add(part);
        self.sum = sum + u64::from(carry);
    }
}

/// The checksum of one range.
pub fn checksum(bytes: &[u8]) -> u16 {
    let mut sum = Checksum::new();
    sum.add_bytes(bytes);
    sum.finish()
}

/// The checksum field after a 16-bit field that it covers changed from `old` to `new` (RFC 1624,
/// equation 3).
pub fn update_u16(checksum: u16, old: u16, new: u16) -> u16 {
    let sum = u64::from(!checksum) + u64::from(!old) + u64::from(new);
    !fold(sum)
}

/// As [`update_u16`] for a 32-bit field at an even offset.
pub fn update_u32(checksum: u16, old: u32, new: u32) -> u16 {
    let high = update_u16(checksum, (old >> 16) as u16, (new >> 16) as u16);
    update_u16(high, old as u16, new as u16)
}

/// Sums the even part of `bytes` in native order; returns the odd byte that is left, if any.
/// Four independent 64-bit lanes of 32-bit words: the compiler turns it into vector code, and no lane
/// can overflow for fewer than 2^32 words.
fn sum_even(bytes: &[u8]) -> (u64, &[u8]) {
    let mut lanes = [0_u64; 4];
    let mut blocks = bytes.chunks_exact(16);
    for block in &mut blocks {
        for (lane, word) in lanes.iter_mut().zip(block.chunks_exact(4)) {
            *lane += u64::from(u32::from_ne_bytes([word[0], word[1], word[2], word[3]]));
        }
    }
    let mut sum = lanes.iter().sum::<u64>();
    let mut words = blocks.remainder().chunks_exact(2);
    for word in &mut words {
        sum += u64::from(u16::from_ne_bytes([word[0], word[1]]));
    }
    (sum, words.remainder())
}

/// Adds the carries back until 16 bits are left.
fn fold(sum: u64) -> u16 {
    let sum = (sum & 0xffff_ffff) + (sum >> 32);
    let sum = (sum & 0xffff) + ((sum >> 16) & 0xffff) + (sum >> 32);
    let sum = (sum & 0xffff) + (sum >> 16);
    ((sum & 0xffff) + (sum >> 16)) as u16
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The definition, word by word.
    fn slow(bytes: &[u8]) -> u16 {
        let mut sum = 0_u32;
        for pair in bytes.chunks(2) {
            let word = u16::from_be_bytes([pair[0], pair.get(1).copied().unwrap_or(0)]);
            sum += u32::from(word);
            sum = (sum & 0xffff) + (sum >> 16);
        }
        !(sum as u16)
    }

    #[test]
    fn rfc_1071_example() {
        let bytes = [0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7];
        assert_eq!(checksum(&bytes), !0xddf2);
    }

    #[test]
    fn all_ones_do_not_overflow() {
        assert_eq!(checksum(&vec![0xff; 65_535]), slow(&vec![0xff; 65_535]));
    }

    proptest! {
        #[test]
        fn agrees_with_the_definition(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            prop_assert_eq!(checksum(&bytes), slow(&bytes));
        }

        #[test]
        fn cutting_into_ranges_changes_nothing(
            bytes in proptest::collection::vec(any::<u8>(), 0..200), cuts in proptest::collection::vec(0_usize..200, 0..6)
        ) {
            let mut cuts: Vec<usize> = cuts.into_iter().map(|cut| cut.min(bytes.len())).collect();
            cuts.sort_unstable();
            let (mut sum, mut from) = (Checksum::new(), 0);
            for cut in cuts {
                sum.add_bytes(&bytes[from..cut]);
                from = cut;
            }
            sum.add_bytes(&bytes[from..]);
            prop_assert_eq!(sum.finish(), slow(&bytes));
        }

        #[test]
        fn incremental_equals_recomputed(
            mut bytes in proptest::collection::vec(any::<u8>(), 20..60), at in 0_usize..8, new in any::<u32>()
        ) {
            // Never all zero: that is the one case where the two ways differ (+0 and -0).
            bytes[18] |= 1;
            let before = checksum(&bytes);
            let at = at * 2;
            let old = u32::from_be_bytes(bytes[at..at + 4].try_into().unwrap());
            bytes[at..at + 4].copy_from_slice(&new.to_be_bytes());
            prop_assert_eq!(update_u32(before, old, new), checksum(&bytes));
        }
    }
}
