//! Reassembly of datagrams of both families (RFC 791, RFC 8200 section 4.5), bounded in memory, time and
//! pieces. Fragments that overlap drop the whole datagram: honest senders don't make them (RFC 5722).

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;

use crate::buf::{Bytes, BytesMut};
use crate::rng::{KeyedState, Rng};
use crate::time::{Duration, Instant};

/// Fragments of one datagram at most: the largest one in pieces of an IPv4 MTU of 576.
const PIECES_MAX: usize = 120;
/// What a fragment costs beside its bytes.
const PIECE_OVERHEAD: usize = 256;
/// Payload bytes at most; whoever joins them looks at what the family's length field holds.
const DATAGRAM_MAX: usize = 65_535;

/// Which datagram a fragment belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct FragmentKey {
    pub(crate) src: IpAddr,
    pub(crate) dst: IpAddr,
    pub(crate) id: u32,
    /// The protocol; 0 in IPv6, where it does not count.
    pub(crate) proto: u8,
}

/// One fragment.
#[derive(Clone, Debug)]
pub(crate) struct Fragment {
    /// Offset of `payload` in the datagram.
    pub(crate) offset: usize,
    /// More follow.
    pub(crate) more: bool,
    /// The IP header, in IPv6 up to the end of the fragment header.
    pub(crate) header: Bytes,
    /// What follows the header.
    pub(crate) payload: Bytes,
}

/// What became of a fragment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Reassembled {
    /// The datagram is not whole yet.
    Waiting,
    /// It is.
    Whole(Whole),
    /// The whole datagram was dropped: its pieces overlap.
    Overlap,
    /// The fragment was dropped: impossible length, or no room.
    Refused,
}

/// A whole datagram.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Whole {
    /// The header of its first fragment.
    pub(crate) header: Bytes,
    /// Its payload, in order.
    pieces: Vec<Bytes>,
}

impl Whole {
    /// The payload behind `header`.
    pub(crate) fn join(&self, header: &[u8]) -> BytesMut {
        let len: usize = self.pieces.iter().map(Bytes::len).sum();
        let mut packet = BytesMut::with_capacity(header.len() + len);
        packet.extend_from_slice(header);
        self.pieces
            .iter()
            .for_each(|piece| packet.extend_from_slice(piece));
        packet
    }
}

/// Header and payload of a first fragment.
type First = (Bytes, Bytes);

/// Datagrams that wait for the rest of their pieces.
#[derive(Debug)]
pub(crate) struct Reassembly {
    waiting: HashMap<FragmentKey, Partial, KeyedState>,
    /// By deadline, and by age among equal ones.
    order: BTreeMap<(Instant, u64), FragmentKey>,
    started: u64,
    bytes: usize,
    /// Sources of the datagrams that others had to make room for, until they are counted.
    evicted: Vec<IpAddr>,
}

#[derive(Debug)]
struct Partial {
    /// Sorted, without overlap.
    pieces: Vec<(usize, Bytes)>,
    /// Payload length, known from the last fragment.
    len: Option<usize>,
    /// Header of the first fragment.
    header: Option<Bytes>,
    cost: usize,
    /// Key in [`Reassembly::order`].
    place: (Instant, u64),
}

impl Reassembly {
    pub(crate) fn new(rng: &mut Rng) -> Self {
        Self {
            waiting: HashMap::with_hasher(KeyedState::new(rng)),
            order: BTreeMap::new(),
            started: 0,
            bytes: 0,
            evicted: Vec::new(),
        }
    }

    /// Takes a fragment.
    pub(crate) fn insert(
        &mut self,
        now: Instant,
        key: FragmentKey,
        fragment: Fragment,
        time: Duration,
        budget: usize,
    ) -> Reassembled {
        let end = fragment.offset + fragment.payload.len();
        let odd = fragment.more && !fragment.payload.len().is_multiple_of(8);
        if fragment.payload.is_empty() || odd || end > DATAGRAM_MAX {
            return Reassembled::Refused;
        }
        let cost = fragment.payload.len() + fragment.header.len() + PIECE_OVERHEAD;
        if !self.make_room(&key, cost, budget) {
            return Reassembled::Refused;
        }
        let partial = self.waiting.entry(key).or_insert_with(|| {
            self.started += 1;
            let place = (now + time, self.started);
            self.order.insert(place, key);
            Partial::new(place)
        });
        let verdict = partial.insert(fragment, end);
        match verdict {
            Verdict::Duplicate => return Reassembled::Waiting,
            Verdict::Refused => return Reassembled::Refused,
            Verdict::Overlap => {
                self.forget(&key);
                return Reassembled::Overlap;
            }
            Verdict::Taken => {}
        }
        partial.cost += cost;
        self.bytes += cost;
        if !partial.is_whole() {
            return Reassembled::Waiting;
        }
        match self.forget(&key).and_then(Partial::finish) {
            Some(whole) => Reassembled::Whole(whole),
            None => Reassembled::Refused,
        }
    }

    /// What the fragments that wait cost.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// The source of a datagram that was dropped for want of room and has not been told of yet.
    pub(crate) fn next_evicted(&mut self) -> Option<IpAddr> {
        self.evicted.pop()
    }

    /// When the first datagram's time ends.
    pub(crate) fn poll_timeout(&self) -> Option<Instant> {
        self.order.keys().next().map(|(deadline, _)| *deadline)
    }

    /// Drops a datagram whose time has ended. Returns its first fragment too, if that came, for the
    /// ICMP error.
    pub(crate) fn expire_one(&mut self, now: Instant) -> Option<(FragmentKey, Option<First>)> {
        let mut due = self.order.iter();
        let key = *due.next().filter(|((deadline, _), _)| *deadline <= now)?.1;
        let partial = self.forget(&key)?;
        let first = partial.pieces.into_iter().next();
        let first = match (partial.header, first) {
            (Some(header), Some((0, payload))) => Some((header, payload)),
            _ => None,
        };
        Some((key, first))
    }

    fn forget(&mut self, key: &FragmentKey) -> Option<Partial> {
        let partial = self.waiting.remove(key)?;
        self.bytes -= partial.cost;
        self.order.remove(&partial.place);
        Some(partial)
    }

    /// Makes room by dropping the oldest other datagrams.
    fn make_room(&mut self, key: &FragmentKey, cost: usize, budget: usize) -> bool {
        while self.bytes + cost > budget {
            let Some(oldest) = self.order.values().find(|other| *other != key) else {
                return false;
            };
            let oldest = *oldest;
            self.forget(&oldest);
            self.evicted.push(oldest.src);
        }
        true
    }
}

enum Verdict {
    Taken,
    Duplicate,
    Overlap,
    Refused,
}

impl Partial {
    fn new(place: (Instant, u64)) -> Self {
        Self {
            pieces: Vec::new(),
            len: None,
            header: None,
            cost: 0,
            place,
        }
    }

    fn insert(&mut self, fragment: Fragment, end: usize) -> Verdict {
        let known_end = self.pieces.last().map_or(0, |(at, piece)| at + piece.len());
        let contradicts = match (self.len, fragment.more) {
            (Some(len), true) => end > len,
            (Some(len), false) => end != len,
            (None, false) => end < known_end,
            (None, true) => false,
        };
        if contradicts {
            return Verdict::Overlap;
        }
        let at = self
            .pieces
            .partition_point(|(offset, _)| *offset < fragment.offset);
        if let Some((offset, piece)) = self.pieces.get(at) {
            // An exact copy is a retransmission by the network.
            if *offset == fragment.offset && *piece == fragment.payload {
                return Verdict::Duplicate;
            }
            if *offset < end {
                return Verdict::Overlap;
            }
        }
        let before = at.checked_sub(1).map(|at| &self.pieces[at]);
        if before.is_some_and(|(offset, piece)| offset + piece.len() > fragment.offset) {
            return Verdict::Overlap;
        }
        if self.pieces.len() >= PIECES_MAX {
            return Verdict::Refused;
        }
        if fragment.offset == 0 {
            self.header = Some(Bytes::copy_from_slice(&fragment.header));
        }
        if !fragment.more {
            self.len = Some(end);
        }
        // A copy: a few bytes that wait must not pin the large buffer that they came in.
        let payload = Bytes::copy_from_slice(&fragment.payload);
        self.pieces.insert(at, (fragment.offset, payload));
        Verdict::Taken
    }

    fn is_whole(&self) -> bool {
        let mut at = 0;
        for (offset, piece) in &self.pieces {
            if *offset != at {
                return false;
            }
            at += piece.len();
        }
        self.len == Some(at)
    }

    fn finish(self) -> Option<Whole> {
        let header = self.header?;
        let pieces = self.pieces.into_iter().map(|(_, piece)| piece).collect();
        Some(Whole { header, pieces })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const TIME: Duration = Duration::from_secs(30);

    fn table() -> Reassembly {
        Reassembly::new(&mut crate::rng::Rng::from_seed([1; 16]))
    }

    fn key(id: u32) -> FragmentKey {
        FragmentKey {
            src: IpAddr::from([10, 0, 0, 1]),
            dst: IpAddr::from([10, 0, 0, 2]),
            id,
            proto: 17,
        }
    }

    fn fragment(data: &[u8], offset: usize, end: usize) -> Fragment {
        Fragment {
            offset,
            more: end < data.len(),
            header: Bytes::from_static(b"header"),
            payload: Bytes::copy_from_slice(&data[offset..end]),
        }
    }

    fn data(len: usize) -> Vec<u8> {
        (0..len).map(|at| (at * 7 % 251) as u8).collect()
    }

    fn add(table: &mut Reassembly, id: u32, fragment: Fragment) -> Reassembled {
        table.insert(Instant::ZERO, key(id), fragment, TIME, 1 << 20)
    }

    #[test]
    fn overlap_drops_the_datagram() {
        let (data, mut table) = (data(40), table());
        assert_eq!(
            add(&mut table, 1, fragment(&data, 0, 16)),
            Reassembled::Waiting
        );
        assert_eq!(
            add(&mut table, 1, fragment(&data, 8, 24)),
            Reassembled::Overlap
        );
        assert_eq!((table.bytes, table.waiting.len()), (0, 0));
    }

    #[test]
    fn what_waits_does_not_pin_the_buffer_it_came_in() {
        let (data, mut table) = (data(40), table());
        let first = fragment(&data, 0, 16);
        let buffer = first.payload.clone();
        add(&mut table, 1, first);
        assert!(buffer.is_unique());
    }

    #[test]
    fn a_second_end_is_a_contradiction() {
        let (data, mut table) = (data(40), table());
        add(&mut table, 1, fragment(&data, 32, 40));
        let longer = Fragment {
            more: true,
            ..fragment(&data, 16, 24)
        };
        assert_eq!(add(&mut table, 1, longer), Reassembled::Waiting);
        let other_end = Fragment {
            more: false,
            ..fragment(&data, 0, 8)
        };
        assert_eq!(add(&mut table, 1, other_end), Reassembled::Overlap);
    }

    #[test]
    fn impossible_lengths_are_refused() {
        let (data, mut table) = (data(40), table());
        let odd = Fragment {
            more: true,
            ..fragment(&data, 0, 9)
        };
        assert_eq!(add(&mut table, 1, odd), Reassembled::Refused);
        let empty = fragment(&data, 8, 8);
        assert_eq!(add(&mut table, 1, empty), Reassembled::Refused);
        let past_end = Fragment {
            offset: 65_496 + 8,
            ..fragment(&data, 0, 40)
        };
        assert_eq!(add(&mut table, 1, past_end), Reassembled::Refused);
    }

    #[test]
    fn memory_is_bounded_and_the_oldest_goes() {
        let (data, mut table) = (data(2000), table());
        for id in 0..100_u32 {
            let now = Instant::from_millis(u64::from(id));
            table.insert(now, key(id), fragment(&data, 0, 1000), TIME, 10_000);
            assert!(table.bytes <= 10_000);
        }
        assert!(table.waiting.contains_key(&key(99)) && !table.waiting.contains_key(&key(0)));
    }

    #[test]
    fn time_ends() {
        let (data, mut table) = (data(40), table());
        add(&mut table, 1, fragment(&data, 0, 16));
        add(&mut table, 2, fragment(&data, 8, 16));
        assert_eq!(table.poll_timeout(), Some(Instant::ZERO + TIME));
        assert_eq!(table.expire_one(Instant::ZERO), None);
        let end = Instant::ZERO + TIME;
        let mut quotes = [
            table.expire_one(end).unwrap().1,
            table.expire_one(end).unwrap().1,
        ];
        quotes.sort();
        assert!(quotes[0].is_none() && quotes[1].is_some());
        assert_eq!((table.expire_one(end), table.bytes), (None, 0));
    }

    proptest! {
        #[test]
        fn any_order_gives_the_datagram(len in 1_usize..400, step in 1_usize..10, keys in proptest::collection::vec(any::<u32>(), 60)) {
            let (data, mut table, step) = (data(len), table(), step * 8);
            let mut pieces: Vec<usize> = (0..len).step_by(step).collect();
            pieces.sort_by_key(|at| keys[at / step]);
            let last = pieces.len() - 1;
            for (n, at) in pieces.into_iter().enumerate() {
                let piece = fragment(&data, at, (at + step).min(len));
                // A copy of a piece changes nothing, unless the datagram is whole by then.
                let verdict = add(&mut table, 1, piece.clone());
                if n < last {
                    prop_assert_eq!(verdict, Reassembled::Waiting);
                    prop_assert_eq!(add(&mut table, 1, piece), Reassembled::Waiting);
                } else {
                    let Reassembled::Whole(whole) = verdict else {
                        return Err(TestCaseError::fail("not whole"));
                    };
                    prop_assert_eq!(&whole.join(&whole.header)[..], &[b"header", &data[..]].concat()[..]);
                }
            }
            prop_assert_eq!(table.bytes, 0);
        }
    }
}
