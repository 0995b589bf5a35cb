//! What has arrived: bytes in order, and ranges that arrived ahead of a hole.

use std::collections::VecDeque;

use super::recv_blocks::RecvBlocks;
use super::seq::Seq;
use crate::buf::Bytes;
use crate::buf::arena::Arena;
use arrayvec::ArrayVec;

/// A range smaller than this is copied, so that it does not pin the packet buffer it came in.
const COPY_BELOW: usize = 1024;
/// The same once many ranges wait: a receive chunk is 256 KiB, and a peer that mixes segments with
/// other traffic could have each of them pin one.
const COPY_BELOW_IN_BACKLOG: usize = 16 * 1024;
/// Ranges that may pin a chunk before that.
const PINNED_MAX: usize = 64;
/// Ranges beyond holes: more would make each arrival cost more work than it is worth.
const AHEAD_MAX: usize = 8192;
/// Room of a buffer that collects small ranges.
const COLLECT: usize = 4096;
/// The same for those of a backlog.
const COLLECT_IN_BACKLOG: usize = 64 * 1024;
/// What a range costs beside its bytes when the buffer is accounted.
const RANGE_COST: usize = 64;

/// Ranges that are shown at once.
const RANGES_PEEKED: usize = 16;

/// The first ranges of a queue.
pub(super) type Ranges = smallvec::SmallVec<[Bytes; RANGES_PEEKED]>;

/// Buffers that wait for their ranges to be read before they are given up.
const PARKED_MAX: usize = 16;

/// The receive queue of a connection.
#[derive(Debug, Default)]
pub(super) struct RecvQueue {
    ready_len: usize,
    ahead_len: usize,
    /// What holds the bytes; an empty queue can do without.
    store: Option<Box<RecvStore>>,
}

/// The memory of a receive queue, which passes from one connection to the next.
#[derive(Debug)]
pub(super) struct RecvStore {
    /// Bytes in order, not yet read.
    ready: VecDeque<Bytes>,
    /// Collects small arrivals; its bytes come after `ready`.
    collect: Arena,
    /// Ranges beyond a hole, by start, disjoint.
    ahead: Vec<(Seq, Bytes)>,
    /// The same, as the peer is told of them.
    blocks: RecvBlocks,
}

impl Default for RecvStore {
    fn default() -> Self {
        Self {
            ready: VecDeque::new(),
            collect: Arena::new(PARKED_MAX),
            ahead: Vec::new(),
            blocks: RecvBlocks::default(),
        }
    }
}

impl RecvQueue {
    /// The place of the memory: filled before bytes come, and emptied when none are left.
    pub(super) fn store_mut(&mut self) -> &mut Option<Box<RecvStore>> {
        &mut self.store
    }

    /// True if nothing is there, in order or not.
    pub(super) fn is_empty(&self) -> bool {
        self.ready_len == 0 && self.ahead_len == 0
    }

    /// Bytes that can be read.
    pub(super) fn readable(&self) -> usize {
        self.ready_len
    }

    /// True if there is a hole.
    pub(super) fn has_hole(&self) -> bool {
        self.ahead_len > 0
    }

    /// What the queue costs of the receive buffer's usable half.
    pub(super) fn charged(&self) -> usize {
        let ranges = |store: &RecvStore| store.ready.len() + store.ahead.len();
        let ranges = self.store.as_deref().map_or(0, ranges);
        self.ready_len + self.ahead_len + ranges * RANGE_COST
    }

    /// Appends bytes in order.
    pub(super) fn push(&mut self, data: Bytes) {
        self.ready_len += data.len();
        self.store.get_or_insert_default().push(data);
    }

    /// Copies up to `out.len()` bytes and removes them. Returns how many.
    pub(super) fn read(&mut self, out: &mut [u8]) -> usize {
        let mut copied = 0;
        while copied < out.len() {
            let bytes = self.read_bytes(out.len() - copied);
            if bytes.is_empty() {
                break;
            }
            out[copied..copied + bytes.len()].copy_from_slice(&bytes);
            copied += bytes.len();
        }
        copied
    }

    /// Copies up to `out.len()` bytes from `skip` on, which stay. Returns how many.
    pub(super) fn peek(&mut self, mut skip: usize, out: &mut [u8]) -> usize {
        let Some(store) = &mut self.store else {
            return 0;
        };
        store.flush_collected();
        let mut copied = 0;
        for range in &store.ready {
            let from = skip.min(range.len());
            skip -= from;
            let take = (range.len() - from).min(out.len() - copied);
            out[copied..copied + take].copy_from_slice(&range[from..from + take]);
            copied += take;
        }
        copied
    }

    /// Takes one range of at most `max` bytes without copying.
    pub(super) fn read_bytes(&mut self, max: usize) -> Bytes {
        let Some(store) = &mut self.store else {
            return Bytes::new();
        };
        store.flush_collected();
        let Some(front) = store.ready.front_mut() else {
            return Bytes::new();
        };
        let bytes = front.split_to(front.len().min(max));
        if front.is_empty() {
            store.ready.pop_front();
        }
        self.ready_len -= bytes.len();
        bytes
    }

    /// The first ranges, which stay: for a reader that may not be able to use them all.
    pub(super) fn peek_ranges(&mut self) -> Ranges {
        let Some(store) = &mut self.store else {
            return Ranges::new();
        };
        store.flush_collected();
        store.ready.iter().take(RANGES_PEEKED).cloned().collect()
    }

    /// Removes the first `len` bytes, or all if there are fewer. Returns how many.
    pub(super) fn consume(&mut self, len: usize) -> usize {
        let len = len.min(self.ready_len);
        let mut left = len;
        while left > 0 {
            left -= self.read_bytes(left).len();
        }
        len
    }

    /// Stores bytes beyond a hole. Returns the part that was there already, if any (D-SACK).
    pub(super) fn insert_ahead(&mut self, seq: Seq, data: Bytes) -> Option<(Seq, Seq)> {
        if data.is_empty() {
            return None;
        }
        let store = self.store.get_or_insert_default();
        let (stored, duplicate) = store.insert_ahead(seq, data);
        self.ahead_len += stored;
        duplicate
    }

    /// SACK blocks, the most recently changed first (RFC 2018, section 4), at most `max`.
    pub(super) fn sack_blocks(&self, max: usize) -> ArrayVec<(u32, u32), 4> {
        let store = self.store.as_deref();
        store.map_or_else(ArrayVec::new, |store| store.blocks.latest(max))
    }

    /// Moves what has become contiguous with `nxt` to the readable bytes; returns the new `nxt`.
    pub(super) fn join(&mut self, mut nxt: Seq) -> Seq {
        let Some(store) = &mut self.store else {
            return nxt;
        };
        let mut gone = 0;
        while let Some((start, bytes)) = store.ahead.get(gone) {
            if start.after(nxt) {
                break;
            }
            let (start, bytes) = (*start, bytes.clone());
            let skip = (nxt - start) as usize;
            self.ahead_len -= bytes.len();
            gone += 1;
            if skip < bytes.len() {
                nxt += (bytes.len() - skip) as u32;
                self.ready_len += bytes.len() - skip;
                store.push(bytes.slice(skip..));
            }
        }
        if gone > 0 {
            store.ahead.drain(..gone);
            store.blocks.reached(nxt);
        }
        nxt
    }

    /// Drops what lies beyond holes from the far end, until the queue costs at most `limit`.
    /// Returns how many ranges were dropped (Linux `tcp_prune_ofo_queue`).
    pub(super) fn prune(&mut self, limit: usize) -> usize {
        let before = self.ranges_ahead();
        while self.charged() > limit || self.ranges_ahead() > AHEAD_MAX {
            let last = self.store.as_mut().and_then(|store| store.ahead.pop());
            let Some((_, bytes)) = last else {
                break;
            };
            self.ahead_len -= bytes.len();
        }
        let dropped = before - self.ranges_ahead();
        if let (1.., Some(store)) = (dropped, &mut self.store) {
            let last = store.ahead.last();
            let end = last.map(|(start, bytes)| *start + bytes.len() as u32);
            store.blocks.cut(end);
        }
        dropped
    }

    fn ranges_ahead(&self) -> usize {
        self.store.as_deref().map_or(0, |store| store.ahead.len())
    }
}

impl RecvStore {
    /// Bytes that it keeps.
    pub(super) fn bytes(&self) -> usize {
        let ranges = self.ready.capacity() * size_of::<Bytes>();
        self.collect.bytes() + ranges + self.ahead.capacity() * size_of::<(Seq, Bytes)>()
    }

    fn push(&mut self, data: Bytes) {
        if data.len() < copy_below(self.ready.len()) {
            if self.collect.room() < data.len() {
                self.flush_collected();
                let room = match self.ready.len() {
                    ..PINNED_MAX => COLLECT,
                    _ => COLLECT_IN_BACKLOG,
                };
                self.collect.next_chunk(room.max(data.len()));
            }
            self.collect.current().extend_from_slice(&data);
        } else {
            self.flush_collected();
            self.ready.push_back(data);
        }
    }

    fn flush_collected(&mut self) {
        if self.collect.pending() > 0 {
            self.ready.push_back(self.collect.take());
        }
    }

    /// See [`RecvQueue::insert_ahead`]; also how many bytes were new.
    fn insert_ahead(&mut self, mut seq: Seq, mut data: Bytes) -> (usize, Option<(Seq, Seq)>) {
        let end = seq + data.len() as u32;
        self.blocks.add(seq, end);
        // First range that touches or follows us.
        let mut at = self
            .ahead
            .partition_point(|(start, bytes)| (*start + bytes.len() as u32).at_or_before(seq));
        let (mut stored, mut duplicate) = (0, None);
        while let Some((start, bytes)) = self.ahead.get(at) {
            let (start, stop) = (*start, *start + bytes.len() as u32);
            if start.at_or_after(end) {
                break;
            }
            let overlap = (seq.max(start), end.min(stop));
            duplicate.get_or_insert(overlap);
            if seq.before(start) {
                let piece = data.split_to((start - seq) as usize);
                stored += self.store_ahead(at, seq, piece);
                at += 1;
                seq = start;
            }
            if stop.at_or_after(end) {
                return (stored, duplicate);
            }
            data = data.split_off((stop - seq) as usize);
            seq = stop;
            at += 1;
        }
        stored += self.store_ahead(at, seq, data);
        (stored, duplicate)
    }

    fn store_ahead(&mut self, at: usize, seq: Seq, data: Bytes) -> usize {
        let len = data.len();
        if len == 0 {
            return 0;
        }
        let data = if len < copy_below(self.ahead.len()) {
            Bytes::copy_from_slice(&data)
        } else {
            data
        };
        self.ahead.insert(at, (seq, data));
        len
    }
}

/// Ranges smaller than this are copied while `waiting` ranges are there.
fn copy_below(waiting: usize) -> usize {
    if waiting < PINNED_MAX {
        COPY_BELOW
    } else {
        COPY_BELOW_IN_BACKLOG
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// How many ranges still lie in the buffer that they came in.
    fn pinned(queue: &RecvQueue, source: &Bytes) -> usize {
        let of = source.as_ptr_range();
        let store = queue.store.as_ref().expect("it holds bytes");
        let ahead = store.ahead.iter().map(|(_, bytes)| bytes);
        let ranges = store.ready.iter().chain(ahead);
        ranges.filter(|bytes| of.contains(&bytes.as_ptr())).count()
    }

    #[test]
    fn what_is_looked_at_stays_until_it_is_consumed() {
        let mut queue = RecvQueue::default();
        for byte in [1, 2, 3] {
            queue.push(Bytes::from(vec![byte; 2000]));
        }
        queue.push(Bytes::from_static(b"small"));
        let shown = queue.peek_ranges();
        assert_eq!((shown.len(), shown[3].as_ref()), (4, &b"small"[..]));
        assert_eq!(queue.consume(2500), 2500);
        assert_eq!(
            (queue.readable(), queue.peek_ranges()[0].len()),
            (3505, 1500)
        );
        assert_eq!(queue.consume(usize::MAX), 3505);
        assert!(queue.peek_ranges().is_empty());
    }

    #[test]
    fn a_backlog_pins_few_receive_buffers() {
        let source = Bytes::from(vec![7; 4_000_000]);
        let mut queue = RecvQueue::default();
        for at in 0..1000 {
            queue.push(source.slice(at * 1448..(at + 1) * 1448));
            queue.insert_ahead(
                Seq(at as u32 * 4000),
                source.slice(at * 1448..(at + 1) * 1448),
            );
        }
        assert_eq!(queue.readable(), 1_448_000);
        let pinned = pinned(&queue, &source);
        assert!((1..=2 * PINNED_MAX).contains(&pinned), "{pinned}");
    }

    #[test]
    fn ranges_beyond_holes_are_bounded() {
        let mut queue = RecvQueue::default();
        for at in (0..20_000).rev() {
            queue.insert_ahead(Seq(at * 2), Bytes::from_static(b"x"));
            queue.prune(usize::MAX);
        }
        assert_eq!(queue.ranges_ahead(), AHEAD_MAX);
        let store = queue.store.as_ref().expect("it holds bytes");
        assert_eq!(store.ahead[0].0, Seq(0), "the nearest are kept");
    }

    #[test]
    fn blocks_are_listed_latest_first() {
        let mut queue = RecvQueue::default();
        let data = |len| Bytes::from(vec![1; len]);
        assert_eq!(queue.insert_ahead(Seq(10), data(10)), None);
        assert_eq!(queue.insert_ahead(Seq(40), data(10)), None);
        assert_eq!(queue.sack_blocks(4)[..], [(40, 50), (10, 20)]);
        assert_eq!(
            queue.insert_ahead(Seq(15), data(10)),
            Some((Seq(15), Seq(20)))
        );
        assert_eq!(queue.sack_blocks(4)[..], [(10, 25), (40, 50)]);
        assert_eq!(queue.sack_blocks(1)[..], [(10, 25)]);
    }

    proptest! {
        #[test]
        fn any_order_gives_the_stream(pieces in proptest::collection::vec((0u32..3000, 1u32..400), 1..80)) {
            let stream: Vec<u8> = (0..4000u32).map(|i| (i * 7 % 251) as u8).collect();
            let base = Seq(u32::MAX - 1000);
            let mut queue = RecvQueue::default();
            let mut nxt = base;
            let mut got = Vec::new();
            let mut seen = vec![false; 4000];
            for (at, len) in pieces {
                let (from, to) = (base + at, base + at + len);
                seen[at as usize..(at + len) as usize].fill(true);
                let bytes = Bytes::copy_from_slice(&stream[at as usize..(at + len) as usize]);
                if from.after(nxt) {
                    queue.insert_ahead(from, bytes);
                } else if to.after(nxt) {
                    queue.push(bytes.slice((nxt - from) as usize..));
                    nxt = queue.join(to);
                }
                let mut out = [0; 333];
                let n = queue.read(&mut out);
                got.extend_from_slice(&out[..n]);
            }
            let mut out = vec![0; 5000];
            let n = queue.read(&mut out);
            got.extend_from_slice(&out[..n]);
            let whole = seen.iter().position(|s| !s).unwrap_or(4000);
            prop_assert_eq!((nxt - base) as usize, whole);
            prop_assert_eq!(&got[..], &stream[..whole]);
        }
    }
}
