//! Receive buffers. Packets are carved one after the other out of large chunks; a chunk is used
//! again once every packet carved from it has been dropped, so that a steady flow allocates nothing.

use crate::buf::arena::Arena;
use crate::buf::{Bytes, BytesMut};

/// Bytes in a chunk for full-sized packets.
const CHUNK: usize = 256 * 1024;
/// Packets up to this size are copied into small chunks, so that a few bytes that an application
/// leaves in its receive queue cannot pin a whole large chunk.
const SMALL_MAX: usize = 512;
/// Bytes in a chunk for small packets.
const SMALL_CHUNK: usize = 16 * 1024;
/// Chunks of each size that wait for their packets to be dropped.
const PARKED_MAX: usize = 16;

/// The receive buffers of one device.
#[derive(Debug)]
pub(crate) struct RxPool {
    large: Arena,
    small: Arena,
}

impl RxPool {
    pub(crate) fn new() -> Self {
        Self {
            large: Arena::new(PARKED_MAX),
            small: Arena::new(PARKED_MAX),
        }
    }

    /// An empty buffer with room for `need` bytes; [`RxPool::take`] takes what is written into it.
    pub(crate) fn room(&mut self, need: usize) -> &mut BytesMut {
        if self.large.room() < need {
            self.large.next_chunk(CHUNK.max(need));
        }
        self.large.current()
    }

    /// What was written into the room since it was asked for, as one packet.
    pub(crate) fn take(&mut self) -> Bytes {
        let written = self.large.current();
        if written.len() > SMALL_MAX {
            return self.large.take();
        }
        if self.small.room() < written.len() {
            self.small.next_chunk(SMALL_CHUNK);
        }
        self.small.current().extend_from_slice(written);
        written.clear();
        self.small.take()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packets_keep_their_bytes_and_chunks_are_reused() {
        let mut pool = RxPool::new();
        let mut first_chunk = None;
        let mut seen_again = false;
        for round in 0..2_000u32 {
            let len = if round % 3 == 0 { 60 } else { 9_000 };
            let room = pool.room(65_536);
            room.extend_from_slice(&vec![round as u8; len]);
            let packet = pool.take();
            assert_eq!(packet.len(), len);
            assert!(packet.iter().all(|&b| b == round as u8));
            if len > SMALL_MAX {
                let at = packet.as_ptr() as usize;
                match first_chunk {
                    None => first_chunk = Some(at),
                    Some(first) => seen_again |= at == first,
                }
            }
        }
        assert!(seen_again, "a chunk is carved again once it is free");
    }

    #[test]
    fn packets_that_are_kept_survive_reuse() {
        let mut pool = RxPool::new();
        let kept: Vec<Bytes> = (0..400u32)
            .map(|i| {
                pool.room(65_536).extend_from_slice(&vec![i as u8; 3_000]);
                pool.take()
            })
            .collect();
        for (i, packet) in kept.iter().enumerate() {
            assert!(packet.iter().all(|&b| b == i as u8));
        }
    }
}
