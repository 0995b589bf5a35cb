//! Receive buffers. Packets are carved one after the other out of large chunks; a chunk is used
//! again once every packet carved from it has been dropped, so that a steady flow allocates nothing.

use std::collections::VecDeque;

use crate::buf::{Bytes, BytesMut};

/// Bytes in a chunk for full-sized packets.
const CHUNK: usize = 256 * 1024;
/// Packets up to this size are copied into small chunks, so that a few bytes that an application
/// leaves in its receive queue cannot pin a whole large chunk.
const SMALL_MAX: usize = 512;
/// Bytes in a chunk for small packets.
const SMALL_CHUNK: usize = 16 * 1024;
/// Chunks that wait for their packets to be dropped before they are given up to the allocator.
const PARKED_MAX: usize = 16;

/// Chunks of one size: the one being carved, and those waiting to be free again.
#[derive(Debug)]
struct Arena {
    chunk_len: usize,
    current: BytesMut,
    parked: VecDeque<BytesMut>,
}

impl Arena {
    fn new(chunk_len: usize) -> Self {
        Self {
            chunk_len,
            current: BytesMut::new(),
            parked: VecDeque::new(),
        }
    }

    /// An empty buffer with room for `need` bytes.
    fn room(&mut self, need: usize) -> &mut BytesMut {
        if self.current.capacity() < need {
            self.rotate(need);
        }
        debug_assert!(self.current.is_empty());
        &mut self.current
    }

    fn rotate(&mut self, need: usize) {
        let spent = std::mem::take(&mut self.current);
        if spent.capacity() > 0 {
            self.parked.push_back(spent);
        }
        let len = self.chunk_len.max(need);
        let free = self.parked.iter_mut().position(|c| c.try_reclaim(len));
        self.current = free
            .and_then(|at| self.parked.remove(at))
            .unwrap_or_else(|| BytesMut::with_capacity(len));
        if self.parked.len() > PARKED_MAX {
            self.parked.pop_front();
        }
    }

    /// Takes what was written into the room as a packet.
    fn take(&mut self) -> Bytes {
        self.current.split().freeze()
    }
}

/// The receive buffers of one device.
#[derive(Debug)]
pub(crate) struct RxPool {
    large: Arena,
    small: Arena,
}

impl RxPool {
    pub(crate) fn new() -> Self {
        Self {
            large: Arena::new(CHUNK),
            small: Arena::new(SMALL_CHUNK),
        }
    }

    /// An empty buffer with room for `need` bytes; [`RxPool::take`] takes what is written into it.
    pub(crate) fn room(&mut self, need: usize) -> &mut BytesMut {
        self.large.room(need)
    }

    /// What was written into the room since it was asked for, as one packet.
    pub(crate) fn take(&mut self) -> Bytes {
        let written = &mut self.large.current;
        if written.len() > SMALL_MAX {
            return self.large.take();
        }
        self.small.room(written.len()).extend_from_slice(written);
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
