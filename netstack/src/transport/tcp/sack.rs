//! The scoreboard: what is in flight, and what the peer has said about it (RFC 2018, RFC 6675).

use std::collections::VecDeque;

use super::rate::Snapshot;
use super::seq::Seq;
use crate::time::{Duration, Instant};

/// A range that has been sent as one segment or super-segment.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sent {
    pub(super) seq: Seq,
    pub(super) end: Seq,
    /// When it was last sent.
    pub(super) at: Instant,
    /// Segments on the wire.
    pub(super) segs: u32,
    /// The peer has it.
    pub(super) sacked: bool,
    /// Presumed lost.
    pub(super) lost: bool,
    /// A retransmission of it is in flight.
    pub(super) retrans: bool,
    /// It has been retransmitted at some time (Karn).
    pub(super) ever_retrans: bool,
    /// What had been delivered when it last left.
    pub(super) then: Snapshot,
}

impl Sent {
    pub(super) fn new(seq: Seq, end: Seq, at: Instant, segs: u32) -> Self {
        Self {
            seq,
            end,
            at,
            segs,
            sacked: false,
            lost: false,
            retrans: false,
            ever_retrans: false,
            then: Snapshot::default(),
        }
    }
}

/// First and last departure of the ranges that an acknowledgement covers and that left only once.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Departures {
    pub(super) first: Option<Instant>,
    pub(super) last: Option<Instant>,
}

impl Departures {
    fn note(&mut self, at: Instant) {
        self.first.get_or_insert(at);
        self.last = Some(at);
    }
}

/// What an acknowledgement has newly covered.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Covered {
    /// When it arrived.
    now: Instant,
    /// Least RTT before it.
    min_rtt: Duration,
    /// `SND.NXT` at the beginning of the present episode.
    episode: Seq,
    /// End of the highest range selectively acknowledged before this acknowledgement.
    highest_before: Option<Seq>,
    /// Segments newly acknowledged or selectively acknowledged.
    pub(super) delivered: u32,
    /// Departures of what was cumulatively acknowledged.
    pub(super) acked: Departures,
    /// Of what was selectively acknowledged.
    pub(super) selected: Departures,
    /// A retransmitted range was cumulatively acknowledged: an RTT from it is ambiguous (Karn).
    pub(super) retransmitted: bool,
    /// Something of the time before the episode arrived that was sent only once (Linux
    /// `FLAG_ORIG_SACK_ACKED`).
    pub(super) original: bool,
    /// Start of the lowest range that a SACK block covers late: it never was sent again.
    pub(super) late_sack: Option<Seq>,
    /// The same for what was cumulatively acknowledged.
    pub(super) late_ack: Option<Seq>,
    /// The latest range covered, by time of sending: what RACK goes by.
    pub(super) latest: Option<Sent>,
    /// RTT of the range covered last (RFC 8985, 6.2, step 2).
    pub(super) rack_rtt: Option<Duration>,
    /// Something was newly selectively acknowledged.
    pub(super) sacked: bool,
    /// The range that left last, for the delivery rate.
    pub(super) newest: Option<Sent>,
}

impl Covered {
    /// Nothing yet, by an acknowledgement that arrives `now`.
    pub(super) fn new(board: &Scoreboard, now: Instant, min_rtt: Duration, episode: Seq) -> Self {
        Self {
            now,
            min_rtt,
            episode,
            highest_before: board.highest,
            ..Self::default()
        }
    }

    fn note(&mut self, sent: &Sent, selected: bool) {
        self.delivered += sent.segs;
        if !sent.ever_retrans {
            let departures = if selected {
                &mut self.selected
            } else {
                &mut self.acked
            };
            departures.note(sent.at);
            self.original |= sent.end.at_or_before(self.episode);
        } else if !selected {
            self.retransmitted = true;
        }
        let later = |old: &Sent| (sent.at, (sent.end - old.end) as i32 > 0) > (old.at, false);
        if self.newest.as_ref().is_none_or(later) {
            self.newest = Some(*sent);
        }
        // An RTT below the minimum from a retransmitted segment means that the original arrived.
        let rtt = self.now.since(sent.at);
        if sent.ever_retrans && rtt < self.min_rtt {
            return;
        }
        self.rack_rtt = Some(rtt);
        if self.latest.as_ref().is_none_or(later) {
            self.latest = Some(*sent);
        }
    }
}

fn lower(known: &mut Option<Seq>, seq: Seq) {
    *known = Some(known.map_or(seq, |low| low.min(seq)));
}

/// Everything sent and not cumulatively acknowledged, in order and without gaps.
#[derive(Debug, Default)]
pub(super) struct Scoreboard {
    list: VecDeque<Sent>,
    /// Segments in the list.
    pub(super) packets: u32,
    /// Of these, the peer has.
    pub(super) sacked: u32,
    /// Of these, presumed lost.
    pub(super) lost: u32,
    /// Retransmissions in flight.
    pub(super) retrans: u32,
    /// End of the highest range selectively acknowledged.
    pub(super) highest: Option<Seq>,
    /// No range before this waits for retransmission.
    hint: Seq,
    /// When the latest transmission left.
    last_at: Instant,
    /// Segments presumed lost so far, each time counted.
    pub(super) losses: u64,
}

impl Scoreboard {
    pub(super) fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// Segments presumed to be in the network.
    pub(super) fn in_flight(&self) -> u32 {
        (self.packets + self.retrans).saturating_sub(self.sacked + self.lost)
    }

    pub(super) fn first(&self) -> Option<&Sent> {
        self.list.front()
    }

    pub(super) fn clear(&mut self) {
        *self = Self::default();
    }

    /// The memory of the list: filled before anything is in flight, and taken when nothing is.
    pub(super) fn memory_mut(&mut self) -> &mut VecDeque<Sent> {
        &mut self.list
    }

    /// The time of a transmission at `now`: later than that of any other, by a nanosecond if need be.
    /// Much leaves at one reading of the clock, retransmissions after newer data too, and RACK goes
    /// by what left first (RFC 8985, 6.1).
    fn stamp(&mut self, now: Instant) -> Instant {
        self.last_at = now.max(self.last_at + Duration::from_nanos(1));
        self.last_at
    }

    /// New data left.
    pub(super) fn push(&mut self, seq: Seq, end: Seq, at: Instant, mss: u32, then: Snapshot) {
        let segs = segments(end - seq, mss);
        self.packets += segs;
        let at = self.stamp(at);
        self.list.push_back(Sent {
            then,
            ..Sent::new(seq, end, at, segs)
        });
    }

    fn index_at(&self, seq: Seq) -> usize {
        self.list.partition_point(|sent| sent.end.at_or_before(seq))
    }

    /// The range that holds `at`, and how far into it that is.
    fn around(&self, at: Seq) -> Option<(&Sent, u32)> {
        let sent = self.list.get(self.index_at(at))?;
        sent.seq.before(at).then(|| (sent, at - sent.seq))
    }

    /// `at`, or the end of the segment that it cuts.
    fn next_boundary(&self, at: Seq, mss: u32) -> Seq {
        match self.around(at) {
            Some((sent, into)) => (sent.seq + into.next_multiple_of(mss)).min(sent.end),
            None => at,
        }
    }

    /// `at`, or the start of the segment that it cuts.
    fn last_boundary(&self, at: Seq, mss: u32) -> Seq {
        match self.around(at) {
            Some((sent, into)) => sent.seq + into / mss * mss,
            None => at,
        }
    }

    /// Cuts the range that has `at` strictly inside into two.
    fn split_at(&mut self, at: Seq, mss: u32) {
        let index = self.index_at(at);
        let Some(sent) = self.list.get_mut(index) else {
            return;
        };
        if !sent.seq.before(at) {
            return;
        }
        let mut right = *sent;
        let before = sent.segs;
        sent.end = at;
        right.seq = at;
        sent.segs = segments(at - sent.seq, mss);
        right.segs = segments(right.end - at, mss);
        let extra = (sent.segs + right.segs) as i32 - before as i32;
        let (sacked, lost, retrans) = (sent.sacked, sent.lost, sent.retrans);
        let adjust = |count: &mut u32, applies: bool| {
            if applies {
                *count = count.saturating_add_signed(extra);
            }
        };
        adjust(&mut self.packets, true);
        adjust(&mut self.sacked, sacked);
        adjust(&mut self.lost, lost);
        adjust(&mut self.retrans, retrans);
        self.list.insert(index + 1, right);
    }

    /// Takes what `una` acknowledges from the front. `covered` gathers what was not known before.
    pub(super) fn acknowledge(&mut self, una: Seq, mss: u32, covered: &mut Covered) {
        self.split_at(una, mss);
        while let Some(sent) = self
            .list
            .front()
            .copied()
            .filter(|sent| sent.end.at_or_before(una))
        {
            self.list.pop_front();
            self.packets -= sent.segs;
            if sent.sacked {
                self.sacked -= sent.segs;
                // Its RTT was taken when it was selectively acknowledged.
            } else {
                covered.note(&sent, false);
                if covered
                    .highest_before
                    .is_some_and(|highest| sent.seq.before(highest))
                    && !sent.ever_retrans
                {
                    lower(&mut covered.late_ack, sent.seq);
                }
            }
            self.lost -= if sent.lost { sent.segs } else { 0 };
            self.retrans -= if sent.retrans { sent.segs } else { 0 };
        }
        if self.sacked == 0 {
            self.highest = None;
        }
    }

    /// Marks the ranges of one SACK block. Blocks outside what is in flight are ignored.
    pub(super) fn select(&mut self, low: Seq, high: Seq, mss: u32, covered: &mut Covered) {
        let (Some(first), Some(last)) = (self.list.front(), self.list.back()) else {
            return;
        };
        if !low.before(high) || high.after(last.end) {
            return;
        }
        // Part of a segment does not count as that segment (Linux `tcp_match_skb_to_sack`).
        let low = self.next_boundary(low.max(first.seq), mss);
        let high = self.last_boundary(high, mss);
        if !low.before(high) {
            return;
        }
        self.split_at(low, mss);
        self.split_at(high, mss);
        let from = self.index_at(low);
        for sent in self.list.range_mut(from..) {
            if sent.end.after(high) {
                break;
            }
            if sent.sacked {
                continue;
            }
            let late = self.highest.is_some_and(|high| sent.seq.before(high));
            if late && !sent.ever_retrans {
                lower(&mut covered.late_sack, sent.seq);
            }
            self.highest = Some(self.highest.map_or(sent.end, |high| high.max(sent.end)));
            covered.note(sent, true);
            covered.sacked = true;
            self.sacked += sent.segs;
            self.lost -= if sent.lost { sent.segs } else { 0 };
            self.retrans -= if sent.retrans { sent.segs } else { 0 };
            (sent.sacked, sent.lost, sent.retrans) = (true, false, false);
        }
    }

    /// Presumes lost what `is_lost` says of the ranges that the peer does not have. Returns how
    /// many segments are newly lost.
    pub(super) fn mark_lost(&mut self, mut is_lost: impl FnMut(&Sent) -> bool) -> u32 {
        let mut newly = 0;
        let mut hint = None;
        for sent in &mut self.list {
            // A lost range counts again when its retransmission is lost too.
            let waiting = sent.lost && !sent.retrans;
            if sent.sacked || waiting || !is_lost(sent) {
                continue;
            }
            if sent.retrans {
                sent.retrans = false;
                self.retrans -= sent.segs;
            }
            if !sent.lost {
                sent.lost = true;
                self.lost += sent.segs;
            }
            newly += sent.segs;
            hint.get_or_insert(sent.seq);
        }
        self.losses += u64::from(newly);
        if let Some(seq) = hint {
            self.hint = if self.lost == newly {
                seq
            } else {
                self.hint.min(seq)
            };
        }
        newly
    }

    /// True if what lies at `seq` is in flight and was sent more than once.
    pub(super) fn was_retransmitted(&self, seq: Seq) -> bool {
        let sent = self.list.get(self.index_at(seq));
        sent.is_some_and(|sent| !sent.seq.after(seq) && sent.ever_retrans)
    }

    /// Presumes one segment at the front lost (NewReno).
    pub(super) fn mark_front_lost(&mut self, mss: u32) -> u32 {
        let Some(front) = self.list.front() else {
            return 0;
        };
        let seq = front.seq;
        self.split_at(seq + mss, mss);
        self.mark_lost(|sent| sent.seq == seq)
    }

    /// Nothing is presumed lost any more (undo).
    pub(super) fn clear_lost(&mut self) {
        for sent in &mut self.list {
            sent.lost = false;
        }
        self.lost = 0;
        self.hint = self.list.front().map_or(self.hint, |sent| sent.seq);
    }

    /// The peer has dropped what it had selectively acknowledged (reneging).
    pub(super) fn clear_sacked(&mut self) {
        for sent in &mut self.list {
            sent.sacked = false;
        }
        self.sacked = 0;
        self.highest = None;
    }

    /// The next lost range to retransmit, at most `max_segs` segments of it.
    pub(super) fn next_to_retransmit(&mut self, max_segs: u32, mss: u32) -> Option<Sent> {
        if self.lost == 0 {
            return None;
        }
        let from = self.index_at(self.hint);
        let found = self
            .list
            .range(from..)
            .find(|sent| sent.lost && !sent.retrans)
            .copied();
        let Some(sent) = found else {
            self.hint = self.list.back().map_or(self.hint, |last| last.end);
            return None;
        };
        self.hint = sent.seq;
        if sent.segs > max_segs {
            self.split_at(sent.seq + max_segs * mss, mss);
        }
        self.list.get(self.index_at(sent.seq)).copied()
    }

    /// Cuts the range that starts at `seq` to at most `len` bytes, and returns it.
    pub(super) fn cut(&mut self, seq: Seq, len: u32, mss: u32) -> Option<Sent> {
        let index = self.index_at(seq);
        if self.list.get(index)?.end.after(seq + len) {
            self.split_at(seq + len, mss);
        }
        self.list.get(index).copied()
    }

    /// Joins small ranges that follow the one at `seq` to it, up to `space` bytes and not past `limit`: they
    /// go again in one segment (Linux `tcp_retrans_try_collapse`). Returns the whole.
    pub(super) fn collapse(&mut self, seq: Seq, space: u32, limit: Seq) -> Option<Sent> {
        let index = self.index_at(seq);
        while let (Some(first), Some(next)) = (self.list.get(index), self.list.get(index + 1)) {
            let fits = next.end - first.seq <= space && !next.end.after(limit);
            if first.segs > 1 || next.segs > 1 || next.sacked || !fits {
                break;
            }
            let next = self.list.remove(index + 1)?;
            self.packets -= next.segs;
            self.lost -= if next.lost { next.segs } else { 0 };
            self.retrans -= if next.retrans { next.segs } else { 0 };
            let first = self.list.get_mut(index)?;
            (first.end, first.ever_retrans) = (next.end, first.ever_retrans | next.ever_retrans);
        }
        self.list.get(index).copied()
    }

    /// The range that starts at `seq` has been sent again.
    pub(super) fn retransmitted(&mut self, seq: Seq, at: Instant, then: Snapshot) {
        let index = self.index_at(seq);
        let at = self.stamp(at);
        if let Some(sent) = self.list.get_mut(index) {
            if !sent.retrans {
                self.retrans += sent.segs;
            }
            (sent.retrans, sent.ever_retrans) = (true, true);
            (sent.at, sent.then) = (at, then);
        }
    }

    /// Cuts the last segment off the last range, and returns it (for a tail loss probe).
    pub(super) fn tail(&mut self, mss: u32) -> Option<Sent> {
        let last = *self.list.back()?;
        if last.segs > 1 {
            self.split_at(last.seq + (last.segs - 1) * mss, mss);
        }
        self.list.back().copied()
    }
}

fn segments(len: u32, mss: u32) -> u32 {
    len.div_ceil(mss).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn check(board: &Scoreboard) {
        let sum = |which: fn(&Sent) -> bool| -> u32 {
            board
                .list
                .iter()
                .filter(|sent| which(sent))
                .map(|sent| sent.segs)
                .sum()
        };
        assert_eq!(board.packets, sum(|_| true));
        assert_eq!(board.sacked, sum(|sent| sent.sacked));
        assert_eq!(board.lost, sum(|sent| sent.lost));
        assert_eq!(board.retrans, sum(|sent| sent.retrans));
        assert!(
            board
                .list
                .iter()
                .all(|sent| !(sent.sacked && (sent.lost || sent.retrans)))
        );
        assert!(
            board
                .list
                .iter()
                .zip(board.list.iter().skip(1))
                .all(|(a, b)| a.end == b.seq)
        );
    }

    proptest! {
        #[test]
        fn counters_always_equal_the_sums(steps in proptest::collection::vec((0u8..7, 0u32..20_000, 1u32..9000), 1..80)) {
            let mss = 1000;
            let start = Seq(u32::MAX - 5000);
            let (mut board, mut una, mut nxt) = (Scoreboard::default(), start, start);
            let now = Instant::from_millis(1);
            for (what, at, len) in steps {
                match what {
                    0 | 1 => {
                        board.push(nxt, nxt + len, now, mss, Snapshot::default());
                        nxt += len;
                    }
                    2 => {
                        una = (una + at).min(nxt);
                        board.acknowledge(una, mss, &mut Covered::default());
                    }
                    3 => board.select(una + at, una + at + len, mss, &mut Covered::default()),
                    4 => { board.mark_lost(|sent| sent.seq.0 % 3 == len % 3); }
                    5 => {
                        if let Some(sent) = board.next_to_retransmit(1, mss) {
                            let whole = board.collapse(sent.seq, mss, nxt);
                            prop_assert!(whole.is_some_and(|whole| whole.end - whole.seq <= mss));
                        }
                    }
                    _ => {
                        if let Some(sent) = board.next_to_retransmit(1 + len % 4, mss) {
                            prop_assert!(sent.segs <= 1 + len % 4 && sent.lost && !sent.retrans);
                            board.retransmitted(sent.seq, now, Snapshot::default());
                        } else {
                            prop_assert!(!board.list.iter().any(|sent| sent.lost && !sent.retrans));
                        }
                    }
                }
                check(&board);
            }
        }
    }
}
