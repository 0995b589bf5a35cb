//! What the application has written and the peer has not acknowledged.

use std::collections::VecDeque;

use super::segment::Body;
use super::seq::Seq;
use crate::buf::arena::Arena;
use crate::buf::{Bytes, BytesMut};

/// Largest chunk that is allocated at once.
const CHUNK_MAX: usize = 64 * 1024;
/// Smallest chunk.
const CHUNK_MIN: usize = 2 * 1024;
/// A segment made of more ranges than this is copied into one: headers of ranges are not free.
const RANGES_MAX: usize = 16;

/// Chunks that wait for their segments to be dropped: the largest send buffer's worth.
const PARKED_MAX: usize = 64;

/// Bytes from `base` on. User data is copied once, into a chunk; what has been handed to the network
/// is frozen into ranges and never moves again.
#[derive(Debug)]
pub(super) struct SendQueue {
    base: Seq,
    len: usize,
    /// Size of the next chunk: doubles while the application keeps writing.
    next_chunk: usize,
    /// What holds the bytes; an empty queue can do without.
    store: Option<Box<SendStore>>,
}

/// The memory of a send queue, which passes from one connection to the next.
#[derive(Debug)]
pub(super) struct SendStore {
    /// Frozen ranges with the sequence number of their first byte; contiguous from the queue's base.
    ranges: VecDeque<(Seq, Bytes)>,
    /// Bytes after the last range.
    tail: Arena,
}

impl Default for SendStore {
    fn default() -> Self {
        Self {
            ranges: VecDeque::new(),
            tail: Arena::new(PARKED_MAX),
        }
    }
}

impl SendQueue {
    pub(super) fn new(base: Seq) -> Self {
        Self {
            base,
            len: 0,
            next_chunk: CHUNK_MIN,
            store: None,
        }
    }

    /// The place of the memory: filled before bytes come, and emptied when none are left.
    pub(super) fn store_mut(&mut self) -> &mut Option<Box<SendStore>> {
        &mut self.store
    }

    /// Bytes in the queue.
    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// The sequence number after the last byte.
    pub(super) fn end(&self) -> Seq {
        self.base + self.len as u32
    }

    /// Appends a copy of `data`.
    pub(super) fn append(&mut self, mut data: &[u8]) {
        let store = self.store.get_or_insert_default();
        while !data.is_empty() {
            if store.tail.room() == 0 {
                store.freeze(self.base);
                let size = self.next_chunk.max(data.len()).min(CHUNK_MAX);
                self.next_chunk = (self.next_chunk * 2).min(CHUNK_MAX);
                store.tail.next_chunk(size);
            }
            let (now, later) = data.split_at(store.tail.room().min(data.len()));
            store.tail.current().extend_from_slice(now);
            self.len += now.len();
            data = later;
        }
    }

    /// The `len` bytes from `from` on, without copying (unless they are many small ranges). Both
    /// must lie within the queue.
    pub(super) fn range(&mut self, from: Seq, len: usize) -> Body {
        let mut body = Body::new();
        if len == 0 {
            return body;
        }
        let Some(store) = &mut self.store else {
            return body;
        };
        let end = from + len as u32;
        if (end - self.base) as usize > store.len_frozen(self.base) {
            store.freeze(self.base);
        }
        let first = store
            .ranges
            .partition_point(|(at, bytes)| (*at + bytes.len() as u32).at_or_before(from));
        let mut at = from;
        for (start, bytes) in store.ranges.range(first..) {
            let skip = (at - *start) as usize;
            let take = ((end - at) as usize).min(bytes.len() - skip);
            body.push(bytes.slice(skip..skip + take));
            at += take as u32;
            if at == end {
                break;
            }
        }
        if body.len() > RANGES_MAX {
            let mut merged = BytesMut::with_capacity(len);
            body.iter()
                .for_each(|range| merged.extend_from_slice(range));
            body.clear();
            body.push(merged.freeze());
        }
        body
    }

    /// Forgets everything before `una`.
    pub(super) fn advance(&mut self, una: Seq) {
        let acked = ((una - self.base) as usize).min(self.len);
        let una = self.base + acked as u32;
        if let Some(store) = &mut self.store {
            store.advance(self.base, una);
        }
        self.base = una;
        self.len -= acked;
        if self.len == 0 {
            self.next_chunk = (self.next_chunk / 2).max(CHUNK_MIN);
        }
    }

    /// Drops everything (the connection was reset).
    pub(super) fn clear(&mut self) {
        let end = self.end();
        self.advance(end);
    }
}

impl SendStore {
    /// Bytes that it keeps.
    pub(super) fn bytes(&self) -> usize {
        self.tail.bytes() + self.ranges.capacity() * size_of::<(Seq, Bytes)>()
    }

    /// Moves the tail's bytes to the frozen ranges; its spare room stays for what is written next.
    fn freeze(&mut self, base: Seq) {
        if self.tail.pending() > 0 {
            let at = base + (self.len_frozen(base) as u32);
            self.ranges.push_back((at, self.tail.take()));
        }
    }

    fn len_frozen(&self, base: Seq) -> usize {
        self.ranges
            .back()
            .map_or(0, |(at, bytes)| (*at - base) as usize + bytes.len())
    }

    /// Forgets the bytes from `base` to `una`.
    fn advance(&mut self, base: Seq, una: Seq) {
        if (una - base) as usize > self.len_frozen(base) {
            self.freeze(base);
        }
        while let Some((at, bytes)) = self.ranges.front_mut() {
            let end = *at + bytes.len() as u32;
            if end.after(una) {
                if una.after(*at) {
                    drop(bytes.split_to((una - *at) as usize));
                    *at = una;
                }
                break;
            }
            self.ranges.pop_front();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn bytes_of(body: &Body) -> Vec<u8> {
        body.iter().flat_map(|range| range.to_vec()).collect()
    }

    proptest! {
        #[test]
        fn behaves_like_a_byte_string(steps in proptest::collection::vec((0usize..3, 0usize..5000), 1..60)) {
            let base = Seq(u32::MAX - 3000);
            let mut queue = SendQueue::new(base);
            let (mut model, mut gone, mut next) = (Vec::new(), 0usize, 0u8);
            for (what, size) in steps {
                match what {
                    0 => {
                        let data: Vec<u8> = (0..size).map(|_| { next = next.wrapping_add(1); next }).collect();
                        queue.append(&data);
                        model.extend_from_slice(&data);
                    }
                    1 => {
                        gone += size.min(model.len() - gone);
                        queue.advance(base + gone as u32);
                    }
                    _ => {
                        let from = gone + size.min(model.len() - gone);
                        let len = (model.len() - from).min(1460);
                        let body = queue.range(base + from as u32, len);
                        prop_assert_eq!(&bytes_of(&body)[..], &model[from..from + len]);
                    }
                }
                prop_assert_eq!(queue.len(), model.len() - gone);
                prop_assert_eq!(queue.end(), base + model.len() as u32);
            }
        }
    }

    #[test]
    fn many_small_ranges_become_one() {
        let mut queue = SendQueue::new(Seq(0));
        for i in 0..40u8 {
            queue.append(&[i]);
            assert_eq!(queue.range(Seq(u32::from(i)), 1).len(), 1);
        }
        let body = queue.range(Seq(0), 40);
        assert_eq!(body.len(), 1);
        assert_eq!(bytes_of(&body), (0..40).collect::<Vec<u8>>());
    }
}
