//! Chunks that are carved piece by piece, and used again once every piece has been dropped: a steady flow of
//! data allocates nothing.

use std::collections::VecDeque;

use super::{Bytes, BytesMut};

/// Chunks of about one size: the one being carved, and those that wait to be free again.
#[derive(Debug)]
pub(crate) struct Arena {
    current: BytesMut,
    /// Bytes of the chunk that `current` is carved from.
    chunk_len: usize,
    /// Spent chunks with their bytes, the oldest first.
    parked: VecDeque<(usize, BytesMut)>,
    parked_max: usize,
    /// Bytes of all of them.
    bytes: usize,
}

impl Arena {
    /// An arena that waits for at most `parked_max` chunks before it gives the oldest up to the allocator.
    pub(crate) fn new(parked_max: usize) -> Self {
        Self {
            current: BytesMut::new(),
            chunk_len: 0,
            parked: VecDeque::new(),
            parked_max,
            bytes: 0,
        }
    }

    /// Bytes of the chunks that it keeps.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// What has been written since the last [`Arena::take`], with its spare room.
    pub(crate) fn current(&mut self) -> &mut BytesMut {
        &mut self.current
    }

    /// Bytes that can be written before the next chunk is needed.
    pub(crate) fn room(&self) -> usize {
        self.current.capacity() - self.current.len()
    }

    /// Bytes written and not taken.
    pub(crate) fn pending(&self) -> usize {
        self.current.len()
    }

    /// Goes on to a chunk of at least `len` bytes: one whose pieces are all gone, or a new one. What was
    /// written has been taken before.
    pub(crate) fn next_chunk(&mut self, len: usize) {
        debug_assert!(self.current.is_empty());
        if self.current.try_reclaim(len) {
            return;
        }
        let spent = (self.chunk_len, std::mem::take(&mut self.current));
        // One that is too small now would be in the way for ever.
        if spent.0 >= len && self.parked_max > 0 {
            self.parked.push_back(spent);
        } else {
            self.bytes -= spent.0;
        }
        let mut parked = self.parked.iter_mut();
        let free = parked.position(|(whole, chunk)| *whole >= len && chunk.try_reclaim(len));
        (self.chunk_len, self.current) = match free.and_then(|at| self.parked.remove(at)) {
            Some(reclaimed) => reclaimed,
            None => {
                self.bytes += len;
                (len, BytesMut::with_capacity(len))
            }
        };
        if self.parked.len() > self.parked_max
            && let Some((len, _)) = self.parked.pop_front()
        {
            self.bytes -= len;
        }
    }

    /// Takes what was written as one piece.
    pub(crate) fn take(&mut self) -> Bytes {
        self.current.split().freeze()
    }
}
