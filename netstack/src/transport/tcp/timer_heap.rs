//! An indexed binary heap of deadlines: one entry for each table index, moved in place.

use crate::time::Instant;

const ABSENT: u32 = u32::MAX;

/// Deadlines of the entries of one table, keyed by their index in it. Equal deadlines fire in the
/// order of the index, so that runs are reproducible.
#[derive(Debug, Default)]
pub(crate) struct TimerHeap {
    heap: Vec<(Instant, u32)>,
    /// Position in `heap` by table index.
    place: Vec<u32>,
}

impl TimerHeap {
    /// The earliest deadline.
    pub(crate) fn earliest(&self) -> Option<Instant> {
        self.heap.first().map(|entry| entry.0)
    }

    /// Takes the earliest entry if it is due.
    pub(crate) fn pop_due(&mut self, now: Instant) -> Option<u32> {
        let (deadline, index) = *self.heap.first()?;
        (deadline <= now).then(|| {
            self.remove(index);
            index
        })
    }

    /// Sets the deadline of `index`, or removes it.
    pub(crate) fn set(&mut self, index: u32, deadline: Option<Instant>) {
        let Some(deadline) = deadline else {
            self.remove(index);
            return;
        };
        if self.place.len() <= index as usize {
            self.place.resize(index as usize + 1, ABSENT);
        }
        let at = self.place[index as usize];
        let at = if at == ABSENT {
            self.heap.push((deadline, index));
            self.place[index as usize] = self.heap.len() as u32 - 1;
            self.heap.len() - 1
        } else if self.heap[at as usize].0 == deadline {
            return;
        } else {
            self.heap[at as usize].0 = deadline;
            at as usize
        };
        let at = self.sift_up(at);
        self.sift_down(at);
    }

    /// Forgets `index`.
    pub(crate) fn remove(&mut self, index: u32) {
        let Some(at) = self
            .place
            .get(index as usize)
            .copied()
            .filter(|at| *at != ABSENT)
        else {
            return;
        };
        let at = at as usize;
        self.place[index as usize] = ABSENT;
        let last = self
            .heap
            .pop()
            .expect("an entry with a place is in the heap");
        if at < self.heap.len() {
            self.heap[at] = last;
            self.place[last.1 as usize] = at as u32;
            let at = self.sift_up(at);
            self.sift_down(at);
        }
    }

    fn sift_up(&mut self, mut at: usize) -> usize {
        while at > 0 && self.heap[at] < self.heap[(at - 1) / 2] {
            self.swap(at, (at - 1) / 2);
            at = (at - 1) / 2;
        }
        at
    }

    fn sift_down(&mut self, mut at: usize) {
        loop {
            let left = 2 * at + 1;
            let Some(child) = (left..self.heap.len().min(left + 2)).min_by_key(|i| self.heap[*i])
            else {
                return;
            };
            if self.heap[at] <= self.heap[child] {
                return;
            }
            self.swap(at, child);
            at = child;
        }
    }

    fn swap(&mut self, a: usize, b: usize) {
        self.heap.swap(a, b);
        self.place[self.heap[a].1 as usize] = a as u32;
        self.place[self.heap[b].1 as usize] = b as u32;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    proptest! {
        #[test]
        fn behaves_like_an_ordered_map(steps in proptest::collection::vec((0u32..20, proptest::option::of(0u64..50)), 0..200)) {
            let mut heap = TimerHeap::default();
            let mut model = BTreeMap::new();
            for (index, at) in steps {
                let deadline = at.map(Instant::from_millis);
                heap.set(index, deadline);
                match deadline {
                    Some(deadline) => model.insert(index, deadline),
                    None => model.remove(&index),
                };
                prop_assert_eq!(heap.earliest(), model.values().min().copied());
            }
            let mut expected: Vec<_> = model.iter().map(|(i, at)| (*at, *i)).collect();
            expected.sort();
            for (_, index) in expected {
                prop_assert_eq!(heap.pop_due(Instant::FAR_FUTURE), Some(index));
            }
            prop_assert_eq!(heap.pop_due(Instant::FAR_FUTURE), None);
        }
    }
}
