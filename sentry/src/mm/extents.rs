//! Which ranges of the memory file are free: best fit over freed ranges, then the untouched rest.

use std::collections::BTreeSet;
use std::ops::Range;

use super::range_map::{Piece, RangeMap};

/// Freed ranges looked at before taking from the untouched rest (alignment may rule some out).
const CANDIDATES: usize = 8;

impl Piece for () {
    fn tail(&self, _: u64) -> Self {}
    fn joins(&self, _: u64, (): &Self) -> bool {
        true
    }
}

/// The free ranges; all of them read as zeros.
pub(super) struct Extents {
    free: RangeMap<()>,
    by_len: BTreeSet<(u64, u64)>,
    frontier: u64,
    end: u64,
}

impl Extents {
    /// All of `0..end` is free.
    pub(super) fn new(end: u64) -> Self {
        Self {
            free: RangeMap::default(),
            by_len: BTreeSet::new(),
            frontier: 0,
            end,
        }
    }

    /// Takes `len` bytes at a multiple of `align` (a power of two).
    pub(super) fn take(&mut self, len: u64, align: u64) -> Option<u64> {
        let freed = self
            .by_len
            .range((len, 0)..)
            .take(CANDIDATES)
            .find_map(|&(have, start)| {
                let at = start.next_multiple_of(align);
                (at + len <= start + have).then_some(at)
            });
        if let Some(at) = freed {
            self.carve(at..at + len);
            return Some(at);
        }
        let at = self.frontier.checked_next_multiple_of(align)?;
        let new_frontier = at.checked_add(len).filter(|&end| end <= self.end)?;
        let skipped = self.frontier..at;
        self.frontier = new_frontier;
        self.give(skipped);
        Some(at)
    }

    /// Puts a range back.
    pub(super) fn give(&mut self, range: Range<u64>) {
        if range.is_empty() {
            return;
        }
        for near in [range.start.saturating_sub(1), range.end] {
            if let Some((found, ())) = self.free.find(near) {
                self.by_len.remove(&(found.end - found.start, found.start));
            }
        }
        let start = range.start;
        self.free.insert(range, ());
        self.index(start);
    }

    /// Removes `range`, which lies within one free range.
    fn carve(&mut self, range: Range<u64>) {
        let Some((found, ())) = self.free.find(range.start) else {
            return;
        };
        self.by_len.remove(&(found.end - found.start, found.start));
        self.free.remove(range.clone());
        if found.start < range.start {
            self.index(found.start);
        }
        if range.end < found.end {
            self.index(range.end);
        }
    }

    fn index(&mut self, at: u64) {
        if let Some((found, ())) = self.free.find(at) {
            self.by_len.insert((found.end - found.start, found.start));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn freed_ranges_join_and_are_taken_first() {
        let mut extents = Extents::new(1 << 20);
        let a = extents.take(4096, 4096).unwrap();
        let b = extents.take(4096, 4096).unwrap();
        let c = extents.take(65536, 65536).unwrap();
        assert_eq!((a, b, c), (0, 4096, 65536));
        extents.give(a..a + 4096);
        extents.give(b..b + 4096);
        assert_eq!(extents.take(65536, 4096), Some(0));
        assert_eq!(extents.take(1 << 20, 4096), None);
    }
}
