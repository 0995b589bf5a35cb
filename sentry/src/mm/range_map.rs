//! An ordered map from disjoint half-open ranges to values, which splits values at range ends and
//! joins neighbours that belong together.

use std::collections::BTreeMap;
use std::ops::Range;

/// A value that covers a range and can be cut.
pub(crate) trait Piece: Clone {
    /// The value of what begins `delta` bytes into the range.
    fn tail(&self, delta: u64) -> Self;

    /// True if `next`, which begins where `self` ends (`len` bytes on), says the same.
    fn joins(&self, len: u64, next: &Self) -> bool;
}

/// The map. No range is empty and none overlap.
#[derive(Clone, Debug)]
pub(crate) struct RangeMap<V> {
    map: BTreeMap<u64, (u64, V)>,
}

impl<V> Default for RangeMap<V> {
    fn default() -> Self {
        Self {
            map: BTreeMap::new(),
        }
    }
}

impl<V: Piece> RangeMap<V> {
    /// How many ranges there are.
    pub(crate) fn len(&self) -> usize {
        self.map.len()
    }

    /// The range that holds `at`.
    #[inline]
    pub(crate) fn find(&self, at: u64) -> Option<(Range<u64>, &V)> {
        let (&start, (end, value)) = self.map.range(..=at).next_back()?;
        (*end > at).then_some((start..*end, value))
    }

    /// The first range that ends after `at`.
    pub(crate) fn find_or_next(&self, at: u64) -> Option<(Range<u64>, &V)> {
        self.find(at).or_else(|| {
            let (&start, (end, value)) = self.map.range(at..).next()?;
            Some((start..*end, value))
        })
    }

    /// The last range that begins before `at`.
    pub(crate) fn before(&self, at: u64) -> Option<(Range<u64>, &V)> {
        let (&start, (end, value)) = self.map.range(..at).next_back()?;
        Some((start..*end, value))
    }

    /// The ranges that begin before `at`, from the last one down.
    pub(crate) fn iter_down(&self, at: u64) -> impl Iterator<Item = (Range<u64>, &V)> {
        self.map
            .range(..at)
            .rev()
            .map(|(&start, (end, value))| (start..*end, value))
    }

    /// All ranges, in order.
    pub(crate) fn iter(&self) -> impl DoubleEndedIterator<Item = (Range<u64>, &V)> {
        self.map
            .iter()
            .map(|(&start, (end, value))| (start..*end, value))
    }

    /// All values, to change in place. Neighbours that become alike are not joined.
    pub(crate) fn iter_mut(&mut self) -> impl Iterator<Item = (Range<u64>, &mut V)> {
        self.map
            .iter_mut()
            .map(|(&start, (end, value))| (start..*end, value))
    }

    /// A map of ranges that ascend and do not overlap.
    pub(crate) fn from_sorted(ranges: Vec<(Range<u64>, V)>) -> Self {
        let map = ranges
            .into_iter()
            .map(|(range, value)| (range.start, (range.end, value)))
            .collect();
        Self { map }
    }

    /// The ranges that touch `range`, whole (not clipped), in order.
    pub(crate) fn iter_in(&self, range: Range<u64>) -> impl Iterator<Item = (Range<u64>, &V)> {
        let first = match self.find(range.start) {
            Some((found, _)) => found.start,
            None => range.start,
        };
        self.map
            .range(first..range.end.max(first))
            .map(|(&start, (end, value))| (start..*end, value))
    }

    /// True if nothing lies in `range`.
    pub(crate) fn is_free(&self, range: Range<u64>) -> bool {
        self.iter_in(range).next().is_none()
    }

    /// The largest hole around `at` within `within`; `None` if `at` is covered.
    pub(crate) fn hole(&self, at: u64, within: Range<u64>) -> Option<Range<u64>> {
        if self.find(at).is_some() {
            return None;
        }
        let start = self
            .before(at)
            .map_or(within.start, |(r, _)| r.end.max(within.start));
        let end = self
            .map
            .range(at..)
            .next()
            .map_or(within.end, |(&start, _)| start.min(within.end));
        Some(start..end)
    }

    /// The holes of `range`, in order.
    pub(crate) fn holes(&self, range: Range<u64>) -> Vec<Range<u64>> {
        let mut holes = Vec::new();
        let mut at = range.start;
        for (found, _) in self.iter_in(range.clone()) {
            if found.start > at {
                holes.push(at..found.start);
            }
            at = found.end;
        }
        if at < range.end {
            holes.push(at..range.end);
        }
        holes
    }

    /// Cuts the range that holds `at` (if it does not begin there).
    fn split(&mut self, at: u64) {
        let Some((&start, (end, value))) = self.map.range_mut(..at).next_back() else {
            return;
        };
        if *end > at {
            let tail = (*end, value.tail(at - start));
            *end = at;
            self.map.insert(at, tail);
        }
    }

    /// Takes out what lies in `range`, cut at its ends.
    pub(crate) fn remove(&mut self, range: Range<u64>) -> Vec<(Range<u64>, V)> {
        if range.is_empty() || self.is_free(range.clone()) {
            return Vec::new();
        }
        self.split(range.start);
        self.split(range.end);
        let starts: Vec<u64> = self.map.range(range).map(|(&start, _)| start).collect();
        starts
            .into_iter()
            .filter_map(|start| {
                let (end, value) = self.map.remove(&start)?;
                Some((start..end, value))
            })
            .collect()
    }

    /// Puts `value` over `range`, which must be free, and joins it with its neighbours.
    pub(crate) fn insert(&mut self, range: Range<u64>, value: V) {
        debug_assert!(!range.is_empty() && self.is_free(range.clone()));
        self.map.insert(range.start, (range.end, value));
        self.join_at(range.end);
        self.join_at(range.start);
    }

    /// Changes every value in `range`, cut at its ends.
    pub(crate) fn update(&mut self, range: Range<u64>, mut change: impl FnMut(Range<u64>, &mut V)) {
        if range.is_empty() {
            return;
        }
        self.split(range.start);
        self.split(range.end);
        let mut seams = Vec::new();
        for (&start, (end, value)) in self.map.range_mut(range.clone()) {
            change(start..*end, value);
            seams.push(start);
        }
        self.join_at(range.end);
        for seam in seams.into_iter().rev() {
            self.join_at(seam);
        }
    }

    /// Moves the beginning of the range that starts at `start` down to `lower` (the hole must be
    /// free).
    pub(crate) fn extend_down(&mut self, start: u64, lower: u64) {
        if let Some(entry) = self.map.remove(&start) {
            self.map.insert(lower, entry);
        }
    }

    /// Joins the ranges that meet at `seam` if their values belong together.
    fn join_at(&mut self, seam: u64) {
        let Some((&start, (end, value))) = self.map.range(..seam).next_back() else {
            return;
        };
        if *end != seam {
            return;
        }
        let Some((next_end, next)) = self.map.get(&seam) else {
            return;
        };
        if value.joins(seam - start, next) {
            let next_end = *next_end;
            self.map.remove(&seam);
            if let Some(entry) = self.map.get_mut(&start) {
                entry.0 = next_end;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A value that knows its distance from an origin, so that cuts and joins are checked.
    #[derive(Clone, Debug, PartialEq)]
    struct Linear(u64);

    impl Piece for Linear {
        fn tail(&self, delta: u64) -> Self {
            Self(self.0 + delta)
        }
        fn joins(&self, len: u64, next: &Self) -> bool {
            self.0 + len == next.0
        }
    }

    #[test]
    fn cutting_and_putting_back_gives_the_same_range() {
        let mut map = RangeMap::default();
        map.insert(10..50, Linear(110));
        let cut = map.remove(20..30);
        assert_eq!(cut, vec![(20..30, Linear(120))]);
        assert_eq!(map.len(), 2);
        assert_eq!(map.hole(25, 0..100), Some(20..30));
        assert_eq!(map.holes(0..60), vec![0..10, 20..30, 50..60]);
        map.insert(20..30, Linear(120));
        assert_eq!(map.len(), 1);
        assert_eq!(map.find(49), Some((10..50, &Linear(110))));
        assert_eq!(map.find(50), None);
    }

    #[test]
    fn an_update_cuts_at_its_ends_and_joins_what_became_equal() {
        let mut map = RangeMap::default();
        map.insert(0..10, Linear(0));
        map.insert(10..20, Linear(100));
        map.update(5..20, |range, value| value.0 = range.start);
        assert_eq!(map.len(), 1);
        map.update(5..6, |_, value| value.0 = 1000);
        assert_eq!(map.len(), 3);
    }
}
