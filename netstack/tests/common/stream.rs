//! A long stream, made and checked without keeping it.

use std::hash::{DefaultHasher, Hasher};
use std::io::{self, Read, Write};

pub(crate) const MIB: usize = 1 << 20;

/// A smaller amount for builds without optimisation.
pub(crate) const fn amount(release_mib: usize, debug_mib: usize) -> usize {
    let mib = if cfg!(debug_assertions) {
        debug_mib
    } else {
        release_mib
    };
    mib * MIB
}

/// Writes `len` bytes of a fixed sequence, in pieces of changing size, and ends the direction.
pub(crate) fn produce(mut out: impl Write, len: usize) -> io::Result<u64> {
    let mut hash = DefaultHasher::new();
    let mut state = 0x9e37_79b9_7f4a_7c15u64;
    let mut piece = vec![0u8; 256 * 1024];
    let mut left = len;
    while left > 0 {
        for word in piece.chunks_exact_mut(8) {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            word.copy_from_slice(&state.to_le_bytes());
        }
        let count = left.min(piece.len() - (state % 5_000) as usize);
        out.write_all(&piece[..count])?;
        hash.write(&piece[..count]);
        left -= count;
    }
    Ok(hash.finish())
}

/// Reads to the end. The hash does not depend on how the bytes were cut.
pub(crate) fn consume(mut input: impl Read, expected: usize) -> io::Result<u64> {
    let mut hash = DefaultHasher::new();
    let mut buffer = vec![0u8; 256 * 1024];
    let mut total = 0;
    loop {
        let got = input.read(&mut buffer)?;
        if got == 0 {
            assert_eq!(total, expected, "the stream ended early");
            return Ok(hash.finish());
        }
        hash.write(&buffer[..got]);
        total += got;
    }
}
