//! What streams carry when a script writes `...`: a byte that follows from its place in the stream, so
//! that data that is lost, doubled or out of place is found on either side.

/// The byte at `offset` of a stream.
pub(super) fn byte_at(offset: u64) -> u8 {
    // A multiplicative hash: neighbouring offsets, and those 256 or 1000 apart, differ.
    ((offset as u32).wrapping_mul(0x9e37_79b1) >> 24) as u8
}

/// `len` bytes from `offset` on.
pub(super) fn bytes(offset: u64, len: usize) -> Vec<u8> {
    (offset..offset + len as u64).map(byte_at).collect()
}

/// Where `data`, which should start at `offset`, first goes wrong.
pub(super) fn first_difference(offset: u64, data: &[u8]) -> Option<usize> {
    data.iter()
        .enumerate()
        .position(|(at, byte)| *byte != byte_at(offset + at as u64))
}
