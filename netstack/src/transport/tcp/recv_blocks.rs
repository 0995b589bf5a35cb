//! What a receiver says of the ranges beyond its holes: the blocks of SACK, latest first (RFC 2018).
//!
//! Ranges are as many as segments that arrived, blocks as many as holes: so each arrival costs a search among holes.

use arrayvec::ArrayVec;

use super::seq::Seq;

/// Blocks that fit the option.
const BLOCKS_MAX: usize = 4;

/// The contiguous blocks beyond holes.
#[derive(Debug, Default)]
pub(super) struct RecvBlocks {
    /// From (inclusive) and to (exclusive), ascending, with a gap between any two.
    blocks: Vec<(Seq, Seq)>,
    /// A byte in each of the blocks that most recently grew, latest first.
    recent: ArrayVec<Seq, BLOCKS_MAX>,
}

impl RecvBlocks {
    /// A range has arrived, not empty: all of it is there now. Its block becomes the latest.
    pub(super) fn add(&mut self, low: Seq, high: Seq) {
        // The blocks that touch the range become one with it.
        let first = self.blocks.partition_point(|(_, end)| end.before(low));
        let behind = self.blocks[first..].partition_point(|(start, _)| start.at_or_before(high));
        let touched = first..first + behind;
        let mut block = (low, high);
        if let [(start, _), ..] = self.blocks[touched.clone()] {
            block.0 = start.min(low);
        }
        if let [.., (_, end)] = self.blocks[touched.clone()] {
            block.1 = end.max(high);
        }
        self.blocks.splice(touched, [block]);
        // One mark for each block.
        self.recent
            .retain(|mark| !mark.within(block.0, block.1 - 1));
        if self.recent.is_full() {
            self.recent.pop();
        }
        self.recent.insert(0, high - 1);
    }

    /// All before `nxt` is in order now.
    pub(super) fn reached(&mut self, nxt: Seq) {
        let gone = self.blocks.partition_point(|(low, _)| low.before(nxt));
        self.blocks.drain(..gone);
        self.forget_stale_marks();
        if self.blocks.is_empty() {
            self.blocks = Vec::new();
        }
    }

    /// Nothing from `end` on is kept any more; nothing at all if that is `None`.
    pub(super) fn cut(&mut self, end: Option<Seq>) {
        match end {
            Some(end) => {
                self.blocks.retain(|(low, _)| low.before(end));
                if let Some((_, high)) = self.blocks.last_mut() {
                    *high = (*high).min(end);
                }
            }
            None => self.blocks = Vec::new(),
        }
        self.forget_stale_marks();
    }

    /// The latest blocks, at most `max`.
    pub(super) fn latest(&self, max: usize) -> ArrayVec<(u32, u32), BLOCKS_MAX> {
        let blocks = self.recent.iter().filter_map(|mark| self.block_of(*mark));
        let shown = max.min(BLOCKS_MAX);
        blocks
            .take(shown)
            .map(|(low, high)| (low.0, high.0))
            .collect()
    }

    /// Marks whose block is gone would take the place of others.
    fn forget_stale_marks(&mut self) {
        let live = self.recent.iter().copied();
        self.recent = live.filter(|mark| self.block_of(*mark).is_some()).collect();
    }

    fn block_of(&self, at: Seq) -> Option<(Seq, Seq)> {
        let index = self
            .blocks
            .partition_point(|(_, high)| high.at_or_before(at));
        let block = self.blocks.get(index)?;
        block.0.at_or_before(at).then_some(*block)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const LEN: u32 = 64;
    /// The numbers wrap within the range.
    const BASE: Seq = Seq(u32::MAX - 20);

    #[derive(Clone, Debug)]
    enum Step {
        Add(u32, u32),
        Reached(u32),
        Cut(u32),
    }

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        let step = prop_oneof![
            8 => (1..LEN - 8, 1..8u32).prop_map(|(low, len)| Step::Add(low, low + len)),
            1 => (1..LEN).prop_map(Step::Reached),
            1 => (1..LEN).prop_map(Step::Cut),
        ];
        proptest::collection::vec(step, 1..60)
    }

    /// What is there, byte by byte.
    fn model(there: &[bool]) -> Vec<(Seq, Seq)> {
        let mut blocks: Vec<(Seq, Seq)> = Vec::new();
        for at in (0..LEN).filter(|at| there[*at as usize]) {
            match blocks.last_mut() {
                Some((_, high)) if *high == BASE + at => *high += 1,
                _ => blocks.push((BASE + at, BASE + at + 1)),
            }
        }
        blocks
    }

    proptest! {
        /// The blocks are those of the bytes that are there, and the latest that grew comes first.
        #[test]
        fn blocks_are_those_of_the_bytes(steps in steps()) {
            let (mut blocks, mut there, mut nxt) = (RecvBlocks::default(), vec![false; LEN as usize], 0);
            for step in steps {
                match step {
                    Step::Add(low, high) if low > nxt => {
                        there[low as usize..high as usize].fill(true);
                        blocks.add(BASE + low, BASE + high);
                        let (first, last) = blocks.latest(1)[0];
                        prop_assert!(Seq(first).at_or_before(BASE + low) && Seq(last).at_or_after(BASE + high));
                    }
                    Step::Add(..) => {}
                    // As a queue does: up to the end of what is contiguous.
                    Step::Reached(at) if at > nxt => {
                        nxt = at;
                        while there.get(nxt as usize) == Some(&true) { nxt += 1; }
                        there[..nxt as usize].fill(false);
                        blocks.reached(BASE + nxt);
                    }
                    Step::Reached(_) => {}
                    Step::Cut(at) => {
                        there[at as usize..].fill(false);
                        blocks.cut((there.contains(&true)).then_some(BASE + at));
                    }
                }
                let expected = model(&there);
                prop_assert_eq!(&blocks.blocks, &expected);
                let latest = blocks.latest(BLOCKS_MAX);
                prop_assert!(latest.iter().all(|(low, high)| expected.contains(&(Seq(*low), Seq(*high)))));
                let mut distinct = latest.to_vec();
                distinct.dedup();
                prop_assert_eq!(distinct.len(), latest.len());
            }
        }
    }
}
