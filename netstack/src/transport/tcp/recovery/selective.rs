//! What the SACK blocks of an acknowledgement say (RFC 2018, RFC 2883), and which of them are to be
//! believed (Linux `tcp_sacktag_write_queue`, `tcp_is_sackblock_valid`).

use arrayvec::ArrayVec;

use super::Connection;
use crate::transport::tcp::Cx;
use crate::transport::tcp::sack::Covered;
use crate::transport::tcp::segment::Segment;
use crate::transport::tcp::seq::Seq;

/// One block: first byte, and the byte after the last.
type Block = (Seq, Seq);

/// What the first block reports, if it is a duplicate.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(in super::super) struct Duplicate {
    /// It is believed.
    pub(in super::super) counts: bool,
    /// Original and probe have both arrived.
    pub(in super::super) of_probe: bool,
}

impl Connection {
    /// Reads the SACK blocks.
    pub(in super::super) fn take_sack(
        &mut self,
        cx: &mut Cx<'_>,
        seg: &Segment,
        una_before: Seq,
        covered: &mut Covered,
    ) -> Duplicate {
        let blocks = &seg.options.sack;
        if !self.sack || blocks.is_empty() {
            return Duplicate::default();
        }
        let mut believed: ArrayVec<Block, 4> = ArrayVec::new();
        let blocks: ArrayVec<Block, 4> = blocks
            .iter()
            .take(4)
            .map(|&(low, high)| (Seq(low), Seq(high)))
            .collect();
        let reported = self.is_duplicate(cx, seg.ack, &blocks);
        let duplicate = match reported {
            true => self.take_duplicate(cx, blocks[0], una_before, covered),
            false => Duplicate::default(),
        };
        for (index, &block) in blocks.iter().enumerate() {
            if index == 0 && reported {
                self.count_ignored_duplicate(cx, block);
            } else if self.is_believable(block) {
                believed.push(block);
            } else if seg.ack == self.snd.una || block.1.after(self.snd.una) {
                // Old acknowledgements that were overtaken are not worth counting.
                cx.stats.sack_discard += 1;
            }
        }
        believed.sort_by(|a, b| a.0.cmp_near(b.0));
        for (low, high) in believed {
            self.flight.select(low, high, self.snd.mss, covered);
        }
        if covered.late_sack.is_some() && self.may_learn_order() {
            self.note_reordering(cx, covered.late_sack, false);
        }
        duplicate
    }

    /// After a timeout that had nothing to undo the order of arrival says nothing.
    fn may_learn_order(&self) -> bool {
        self.recovery.belief != super::Belief::Loss || self.recovery.undo.marker.is_some()
    }

    /// A block must lie within what is in flight, above its beginning.
    fn is_believable(&self, (low, high): Block) -> bool {
        low.before(high) && !high.after(self.snd.nxt) && low.after(self.snd.una)
    }

    /// True if the first block reports something that arrived twice (RFC 2883, 4).
    fn is_duplicate(&self, cx: &mut Cx<'_>, ack: Seq, blocks: &[Block]) -> bool {
        let first = blocks[0];
        if first.0.before(ack) {
            cx.stats.dsack_recv += 1;
            return true;
        }
        let inside = blocks
            .get(1)
            .is_some_and(|second| !first.1.after(second.1) && !first.0.before(second.0));
        cx.stats.dsack_ofo_recv += u64::from(inside);
        inside
    }

    /// Takes the report of a duplicate, unless it can't be true: more than was ever sent again, or more
    /// than the window.
    fn take_duplicate(
        &mut self,
        cx: &mut Cx<'_>,
        (low, high): Block,
        una_before: Seq,
        covered: &mut Covered,
    ) -> Duplicate {
        if !low.before(high) || high - low > self.snd.max_wnd || high.after(self.snd.nxt) {
            cx.stats.dsack_ignored_dubious += 1;
            return Duplicate::default();
        }
        let segs = (high - low).div_ceil(self.snd.mss).max(1);
        let of_probe = self.recovery.probe.is_some_and(|probe| probe.end == high) && segs == 1;
        self.counters.dsack_dups = self.counters.dsack_dups.saturating_add(segs);
        if self.counters.dsack_dups > self.counters.total_retrans {
            cx.stats.dsack_ignored_dubious += 1;
            return Duplicate::default();
        }
        if self.counters.reord_seen > 0 && !of_probe {
            self.recovery.rack.dsack_seen = true;
        }
        // The second copy has left the network too.
        covered.delivered += segs;
        let below = !high.after(una_before);
        if below || self.flight.was_retransmitted(low) {
            self.recovery.undo.on_duplicates(high, segs);
        }
        Duplicate {
            counts: true,
            of_probe,
        }
    }

    /// A duplicate that an undo can't use (Linux counts what `tcp_is_sackblock_valid` refuses).
    fn count_ignored_duplicate(&self, cx: &mut Cx<'_>, (low, high): Block) {
        match self.recovery.undo.marker {
            _ if low.after(self.snd.una) => {}
            None => cx.stats.dsack_ignored_no_undo += 1,
            Some(marker) if !high.after(marker) => cx.stats.dsack_ignored_old += 1,
            Some(_) => {}
        }
    }
}
