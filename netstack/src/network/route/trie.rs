//! A path-compressed binary trie over prefixes: longest match in as many steps as prefixes nest and
//! fork on the way, whatever their number. Nodes are indices into one vector, small and close together.

use arrayvec::ArrayVec;
use slab::Slab;

/// The bits of an address, the first one on top.
pub(crate) trait Bits: Copy + Eq + core::fmt::Debug + Default {
    /// How many there are.
    const LEN: u8;
    /// The first `len` bits, the others cleared.
    fn masked(self, len: u8) -> Self;
    /// The bit at `at` (below [`Self::LEN`]).
    fn bit(self, at: u8) -> usize;
    /// How many leading bits are the same.
    fn common(self, other: Self) -> u8;
}

macro_rules! bits {
    ($int:ty) => {
        impl Bits for $int {
            const LEN: u8 = <$int>::BITS as u8;

            fn masked(self, len: u8) -> Self {
                let mask = <$int>::MAX.checked_shl(u32::from(Self::LEN - len));
                self & mask.unwrap_or(0)
            }

            fn bit(self, at: u8) -> usize {
                (self >> (Self::LEN - 1 - at)) as usize & 1
            }

            fn common(self, other: Self) -> u8 {
                (self ^ other).leading_zeros() as u8
            }
        }
    };
}
bits!(u32);
bits!(u128);

/// No node, no value.
const NIL: u32 = u32::MAX;

#[derive(Clone, Copy, Debug)]
struct Node<K> {
    /// The prefix; bits beyond `len` are zero.
    key: K,
    /// By the next bit.
    children: [u32; 2],
    /// Where its value is; a node that only forks has none, and always two children.
    value: u32,
    len: u8,
}

/// Where a node hangs: below a parent on one side, or at the root.
#[derive(Clone, Copy, Debug)]
struct Place {
    parent: u32,
    side: usize,
}

/// Values by prefix.
#[derive(Clone, Debug)]
pub(crate) struct Trie<K, V> {
    nodes: Vec<Node<K>>,
    free: Vec<u32>,
    values: Slab<V>,
    root: u32,
}

impl<K, V> Default for Trie<K, V> {
    fn default() -> Self {
        Self {
            nodes: Vec::new(),
            free: Vec::new(),
            values: Slab::new(),
            root: NIL,
        }
    }
}

/// As many prefixes as can nest.
const NESTED_MAX: usize = 129;

impl<K: Bits, V: Default> Trie<K, V> {
    /// The value of a prefix, made if there is none.
    pub(crate) fn slot(&mut self, key: K, len: u8) -> &mut V {
        let key = key.masked(len);
        let mut place = ROOT;
        loop {
            let at = self.child(place);
            if at == NIL {
                let new = self.leaf(key, len);
                self.link(place, new);
                return self.value_of(new);
            }
            let node = self.nodes[at as usize];
            let common = node.key.common(key).min(node.len).min(len);
            if common == node.len && common == len {
                return self.value_of(at);
            }
            if common == node.len {
                let side = key.bit(common);
                place = Place { parent: at, side };
                continue;
            }
            let new = self.leaf(key, len);
            let above = match common == len {
                true => new,
                // Neither holds the other: a fork above both.
                false => {
                    let fork = self.node(key.masked(common), common, NIL);
                    self.nodes[fork as usize].children[key.bit(common)] = new;
                    fork
                }
            };
            self.nodes[above as usize].children[node.key.bit(common)] = at;
            self.link(place, above);
            return self.value_of(new);
        }
    }

    /// The value of a prefix, if it has one.
    pub(crate) fn get_mut(&mut self, key: K, len: u8) -> Option<&mut V> {
        let (at, _, _) = self.find(key.masked(len), len)?;
        self.values.get_mut(self.nodes[at as usize].value as usize)
    }

    /// Takes the value of a prefix out.
    pub(crate) fn remove(&mut self, key: K, len: u8) -> Option<V> {
        let (at, place, above) = self.find(key.masked(len), len)?;
        let value = std::mem::replace(&mut self.nodes[at as usize].value, NIL);
        let value = self.values.try_remove(value as usize)?;
        if self.unfork(at, place) {
            // Its parent may have only forked to it.
            if place.parent != NIL && self.nodes[place.parent as usize].value == NIL {
                self.unfork(place.parent, above);
            }
        }
        Some(value)
    }

    /// The values of all prefixes that hold `key`, the longest prefix first.
    pub(crate) fn matches(&self, key: K) -> impl Iterator<Item = &V> {
        let mut found = ArrayVec::<u32, NESTED_MAX>::new();
        let mut at = self.root;
        while let Some(node) = self.nodes.get(at as usize) {
            if node.key.common(key) < node.len {
                break;
            }
            if node.value != NIL {
                found.push(node.value);
            }
            if node.len == K::LEN {
                break;
            }
            at = node.children[key.bit(node.len)];
        }
        let found = found.into_iter().rev();
        found.filter_map(|value| self.values.get(value as usize))
    }

    /// All values, in no order that means anything.
    pub(crate) fn values(&self) -> impl Iterator<Item = &V> {
        self.values.iter().map(|(_, value)| value)
    }

    /// True if no prefix has a value.
    pub(crate) fn is_empty(&self) -> bool {
        self.values.is_empty()
    }

    /// The node of a prefix that has a value, where it hangs, and where its parent does.
    fn find(&self, key: K, len: u8) -> Option<(u32, Place, Place)> {
        let (mut place, mut above) = (ROOT, ROOT);
        loop {
            let at = self.child(place);
            let node = self.nodes.get(at as usize)?;
            if node.len > len || node.key != key.masked(node.len) {
                return None;
            }
            if node.len == len {
                return (node.value != NIL).then_some((at, place, above));
            }
            above = place;
            let side = key.bit(node.len);
            place = Place { parent: at, side };
        }
    }

    /// Takes a node without value out of the trie unless it forks; true if that left nothing in its place.
    fn unfork(&mut self, at: u32, place: Place) -> bool {
        let heir = match self.nodes[at as usize].children {
            [NIL, only] | [only, NIL] => only,
            _ => return false,
        };
        self.link(place, heir);
        self.free.push(at);
        heir == NIL
    }

    fn child(&self, place: Place) -> u32 {
        match self.nodes.get(place.parent as usize) {
            Some(parent) => parent.children[place.side],
            None => self.root,
        }
    }

    fn link(&mut self, place: Place, node: u32) {
        match self.nodes.get_mut(place.parent as usize) {
            Some(parent) => parent.children[place.side] = node,
            None => self.root = node,
        }
    }

    fn leaf(&mut self, key: K, len: u8) -> u32 {
        let value = self.values.insert(V::default()) as u32;
        self.node(key, len, value)
    }

    fn node(&mut self, key: K, len: u8, value: u32) -> u32 {
        let node = Node {
            key,
            children: [NIL; 2],
            value,
            len,
        };
        match self.free.pop() {
            Some(at) => {
                self.nodes[at as usize] = node;
                at
            }
            None => {
                self.nodes.push(node);
                self.nodes.len() as u32 - 1
            }
        }
    }

    fn value_of(&mut self, at: u32) -> &mut V {
        let node = &mut self.nodes[at as usize];
        if node.value == NIL {
            node.value = self.values.insert(V::default()) as u32;
        }
        &mut self.values[node.value as usize]
    }
}

const ROOT: Place = Place {
    parent: NIL,
    side: 0,
};

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    #[derive(Clone, Debug)]
    enum Step {
        Set(u32, u8, u16),
        Remove(u32, u8),
        Find(u32),
    }

    /// Few distinct bits, so that prefixes nest, fork and come back.
    fn key() -> impl Strategy<Value = u32> {
        prop_oneof![any::<u32>().prop_map(|key| key & 0xf000_000f), any::<u32>()]
    }

    fn step() -> impl Strategy<Value = Step> {
        let len = || prop_oneof![0_u8..=6, 26_u8..=32, 0_u8..=32];
        prop_oneof![
            4 => (key(), len(), any::<u16>()).prop_map(|(key, len, value)| Step::Set(key, len, value)),
            2 => (key(), len()).prop_map(|(key, len)| Step::Remove(key, len)),
            3 => key().prop_map(Step::Find),
        ]
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(500))]

        #[test]
        fn does_what_a_map_and_a_full_search_do(steps in proptest::collection::vec(step(), 1..120)) {
            let mut trie = Trie::<u32, u16>::default();
            let mut model = BTreeMap::<(u8, u32), u16>::new();
            for step in steps {
                match step {
                    Step::Set(key, len, value) => {
                        *trie.slot(key, len) = value;
                        model.insert((len, key.masked(len)), value);
                    }
                    Step::Remove(key, len) => {
                        prop_assert_eq!(trie.remove(key, len), model.remove(&(len, key.masked(len))));
                    }
                    Step::Find(key) => {
                        let found: Vec<u16> = trie.matches(key).copied().collect();
                        let holds = |(len, prefix): &(u8, u32)| key.masked(*len) == *prefix;
                        let all: Vec<u16> = model.iter().rev()
                            .filter(|(prefix, _)| holds(prefix)).map(|(_, value)| *value).collect();
                        prop_assert_eq!(found, all);
                    }
                }
                // Every node that only forks does fork: so there are fewer of them than values.
                let nodes = trie.nodes.len() - trie.free.len();
                prop_assert!(nodes < 2 * model.len().max(1));
                prop_assert_eq!(trie.values().count(), model.len());
                prop_assert_eq!(trie.is_empty(), model.is_empty());
            }
        }
    }

    #[test]
    fn both_ends_of_a_long_key() {
        let mut trie = Trie::<u128, u8>::default();
        for (len, key) in [(0, 0), (128, u128::MAX), (127, u128::MAX), (1, 0)] {
            *trie.slot(key, len) = len;
        }
        let found = |key| trie.matches(key).copied().collect::<Vec<u8>>();
        assert_eq!(found(u128::MAX), [128, 127, 0]);
        assert_eq!(found(u128::MAX - 1), [127, 0]);
        assert_eq!(found(1), [1, 0]);
    }
}
