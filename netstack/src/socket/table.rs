//! Generational slots: a handle of a closed socket never finds a later one.

use super::{SocketId, SocketKind};
use crate::table::Pages;

/// Sockets of one kind by [`SocketId`]. Slots are reused, last freed first.
#[derive(Debug)]
pub struct SocketTable<T> {
    kind: SocketKind,
    slots: Pages<Slot<T>>,
    /// Head of the list of free slots, or `NONE`.
    free: u32,
    len: usize,
}

const NONE: u32 = u32::MAX;

#[derive(Debug)]
struct Slot<T> {
    generation: u32,
    content: Content<T>,
}

#[derive(Debug)]
enum Content<T> {
    /// Index of the next free slot, or `NONE`.
    Free(u32),
    Used(T),
}

impl<T> SocketTable<T> {
    /// An empty table whose handles are of `kind`.
    pub const fn new(kind: SocketKind) -> Self {
        Self {
            kind,
            slots: Pages::new(),
            free: NONE,
            len: 0,
        }
    }

    /// Adds a socket.
    ///
    /// # Panics
    /// At 2^32 - 1 sockets; memory ends long before.
    pub fn insert(&mut self, socket: T) -> SocketId {
        self.len += 1;
        let index = self.free;
        if index == NONE {
            let index = u32::try_from(self.slots.len()).expect("fewer than 2^32 sockets");
            self.slots.push(Slot {
                generation: 1,
                content: Content::Used(socket),
            });
            return self.id(index, 1);
        }
        let slot = self.slots.get_mut(index as usize);
        let slot = slot.expect("a free slot is in the table");
        if let Content::Free(next) = slot.content {
            self.free = next;
        }
        slot.content = Content::Used(socket);
        let generation = slot.generation;
        self.id(index, generation)
    }

    /// Removes a socket; its handle is dead from now on.
    pub fn remove(&mut self, id: SocketId) -> Option<T> {
        self.get(id)?;
        let slot = self.slots.get_mut(id.index as usize)?;
        // Generation 0 is never used, so that it can mean "none" elsewhere.
        slot.generation = slot.generation.checked_add(1).unwrap_or(1);
        let content = core::mem::replace(&mut slot.content, Content::Free(self.free));
        self.free = id.index;
        self.len -= 1;
        match content {
            Content::Used(socket) => Some(socket),
            Content::Free(_) => None,
        }
    }

    /// The socket, if the handle is alive.
    pub fn get(&self, id: SocketId) -> Option<&T> {
        match self.slots.get(id.index as usize) {
            Some(Slot {
                generation,
                content: Content::Used(socket),
            }) if *generation == id.generation && self.kind == id.kind => Some(socket),
            _ => None,
        }
    }

    /// The socket, if the handle is alive.
    pub fn get_mut(&mut self, id: SocketId) -> Option<&mut T> {
        match self.slots.get_mut(id.index as usize) {
            Some(Slot {
                generation,
                content: Content::Used(socket),
            }) if *generation == id.generation && self.kind == id.kind => Some(socket),
            _ => None,
        }
    }

    /// The socket that lives in slot `index`.
    pub(crate) fn in_slot(&self, index: u32) -> Option<&T> {
        match &self.slots.get(index as usize)?.content {
            Content::Used(socket) => Some(socket),
            Content::Free(_) => None,
        }
    }

    /// The handle of the socket that lives in slot `index`.
    pub(crate) fn at(&self, index: u32) -> Option<SocketId> {
        let slot = self.slots.get(index as usize)?;
        matches!(slot.content, Content::Used(_)).then(|| self.id(index, slot.generation))
    }

    /// Every socket, in the order of the slots.
    pub fn iter(&self) -> impl Iterator<Item = (SocketId, &T)> {
        let used = self.slots.iter().enumerate();
        used.filter_map(|(index, slot)| match &slot.content {
            Content::Used(socket) => Some((self.id(index as u32, slot.generation), socket)),
            Content::Free(_) => None,
        })
    }

    /// Every socket, to change it, in the order of the slots.
    pub fn iter_mut(&mut self) -> impl Iterator<Item = (SocketId, &mut T)> {
        let kind = self.kind;
        let used = self.slots.iter_mut().enumerate();
        used.filter_map(move |(index, slot)| {
            let id = SocketId {
                kind,
                index: index as u32,
                generation: slot.generation,
            };
            match &mut slot.content {
                Content::Used(socket) => Some((id, socket)),
                Content::Free(_) => None,
            }
        })
    }

    /// How many sockets there are.
    pub fn len(&self) -> usize {
        self.len
    }

    /// True if there is none.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    fn id(&self, index: u32, generation: u32) -> SocketId {
        SocketId {
            kind: self.kind,
            index,
            generation,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::HashMap;

    proptest! {
        #[test]
        fn behaves_as_a_map_of_unique_keys(steps in proptest::collection::vec((any::<bool>(), any::<usize>()), 0..200)) {
            let (mut table, mut model) = (SocketTable::new(SocketKind::Udp), HashMap::new());
            let mut ever = Vec::new();
            for (n, (insert, pick)) in steps.into_iter().enumerate() {
                if insert || ever.is_empty() {
                    let id = table.insert(n);
                    prop_assert!(model.insert(id, n).is_none());
                    ever.push(id);
                } else {
                    let id = ever[pick % ever.len()];
                    prop_assert_eq!(table.remove(id), model.remove(&id));
                }
                prop_assert_eq!(table.len(), model.len());
                prop_assert!(ever.iter().all(|id| table.get(*id) == model.get(id)));
                prop_assert_eq!(table.iter().count(), model.len());
            }
        }
    }

    #[test]
    fn another_kind_is_another_table() {
        let mut udp = SocketTable::new(SocketKind::Udp);
        let mut raw = SocketTable::new(SocketKind::Raw);
        let (in_udp, in_raw) = (udp.insert(1), raw.insert(2));
        assert_eq!((udp.get(in_raw), raw.get_mut(in_udp)), (None, None));
    }
}
