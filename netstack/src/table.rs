//! Tables that grow by pages: what is in them never moves, a table that grows copies nothing, and its slack is
//! less than a page.

/// Entries in a page.
const PAGE: usize = 64;

/// A vector in pages.
#[derive(Debug)]
pub(crate) struct Pages<T> {
    /// All full but the last.
    pages: Vec<Vec<T>>,
}

impl<T> Pages<T> {
    pub(crate) const fn new() -> Self {
        Self { pages: Vec::new() }
    }

    pub(crate) fn len(&self) -> usize {
        match self.pages.split_last() {
            Some((last, full)) => full.len() * PAGE + last.len(),
            None => 0,
        }
    }

    pub(crate) fn push(&mut self, value: T) {
        match self.pages.last_mut() {
            Some(last) if last.len() < PAGE => last.push(value),
            _ => {
                let mut page = Vec::with_capacity(PAGE);
                page.push(value);
                self.pages.push(page);
            }
        }
    }

    pub(crate) fn get(&self, index: usize) -> Option<&T> {
        self.pages.get(index / PAGE)?.get(index % PAGE)
    }

    pub(crate) fn get_mut(&mut self, index: usize) -> Option<&mut T> {
        self.pages.get_mut(index / PAGE)?.get_mut(index % PAGE)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &T> {
        self.pages.iter().flatten()
    }

    pub(crate) fn iter_mut(&mut self) -> impl Iterator<Item = &mut T> {
        self.pages.iter_mut().flatten()
    }
}

/// Entries by number; numbers are used again, last freed first.
#[derive(Debug)]
pub(crate) struct Slab<T> {
    entries: Pages<Entry<T>>,
    /// Head of the list of free entries, or `NONE`.
    free: u32,
    len: usize,
}

#[derive(Debug)]
enum Entry<T> {
    /// Number of the next free entry, or `NONE`.
    Free(u32),
    Used(T),
}

const NONE: u32 = u32::MAX;

impl<T> Default for Slab<T> {
    fn default() -> Self {
        Self {
            entries: Pages::new(),
            free: NONE,
            len: 0,
        }
    }
}

impl<T> Slab<T> {
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    pub(crate) fn insert(&mut self, value: T) -> u32 {
        self.len += 1;
        let index = self.free;
        match self.entries.get_mut(index as usize) {
            Some(entry) => {
                if let Entry::Free(next) = *entry {
                    self.free = next;
                }
                *entry = Entry::Used(value);
                index
            }
            None => {
                self.entries.push(Entry::Used(value));
                self.entries.len() as u32 - 1
            }
        }
    }

    pub(crate) fn get(&self, index: u32) -> Option<&T> {
        match self.entries.get(index as usize)? {
            Entry::Used(value) => Some(value),
            Entry::Free(_) => None,
        }
    }

    pub(crate) fn get_mut(&mut self, index: u32) -> Option<&mut T> {
        match self.entries.get_mut(index as usize)? {
            Entry::Used(value) => Some(value),
            Entry::Free(_) => None,
        }
    }

    /// Takes an entry out. A table that becomes empty gives its memory back: a flood is over.
    pub(crate) fn remove(&mut self, index: u32) -> Option<T> {
        self.get(index)?;
        let entry = self.entries.get_mut(index as usize)?;
        let taken = core::mem::replace(entry, Entry::Free(self.free));
        self.free = index;
        self.len -= 1;
        if self.len == 0 && self.entries.len() > PAGE {
            *self = Self::default();
        }
        match taken {
            Entry::Used(value) => Some(value),
            Entry::Free(_) => None,
        }
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (u32, &T)> {
        let numbered = (0..).zip(self.entries.iter());
        numbered.filter_map(|(index, entry)| match entry {
            Entry::Used(value) => Some((index, value)),
            Entry::Free(_) => None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::HashMap;

    proptest! {
        #[test]
        fn behaves_as_a_map(steps in proptest::collection::vec((0u8..3, any::<u32>()), 0..600)) {
            let (mut slab, mut model) = (Slab::default(), HashMap::new());
            for (n, (what, pick)) in steps.into_iter().enumerate() {
                if what > 0 {
                    prop_assert!(model.insert(slab.insert(n), n).is_none());
                } else {
                    let index = pick % 300;
                    prop_assert_eq!(slab.remove(index), model.remove(&index));
                }
                prop_assert_eq!(slab.len(), model.len());
            }
            let mut all: Vec<_> = model.into_iter().collect();
            all.sort_unstable();
            prop_assert!(slab.iter().map(|(index, n)| (index, *n)).eq(all.iter().copied()));
            for (index, n) in all {
                prop_assert_eq!(slab.get_mut(index).copied(), Some(n));
            }
        }
    }
}
