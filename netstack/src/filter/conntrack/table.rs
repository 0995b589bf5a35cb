//! The bounded table of connections, and their timeouts.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};
use std::net::IpAddr;

use slab::Slab;

use super::{Conn, Direction, Tuple};
use crate::rng::{KeyedState, Rng};
use crate::time::Instant;

/// Slots that are looked at for a connection that can make room.
const EARLY_DROP_LOOKS: u32 = 16;

/// Names a connection; of one that is gone it names none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct ConnId {
    slot: u32,
    generation: u32,
}

impl ConnId {
    /// In a form that fits beside a packet.
    pub(crate) fn to_bits(self) -> u64 {
        (u64::from(self.generation) << 32) | u64::from(self.slot)
    }

    pub(crate) fn from_bits(bits: u64) -> Self {
        Self {
            slot: bits as u32,
            generation: (bits >> 32) as u32,
        }
    }
}

#[derive(Debug)]
struct Slot {
    conn: Conn,
    generation: u32,
    /// When it is in the heap for; never later than its timeout, but for one that has just been shortened.
    scheduled: Instant,
}

/// Connections by both of their tuples.
#[derive(Debug)]
pub(crate) struct Table {
    slots: Slab<Slot>,
    by_tuple: HashMap<Tuple, (ConnId, Direction), KeyedState>,
    timeouts: BinaryHeap<Reverse<(Instant, ConnId)>>,
    generation: u32,
}

/// What became of a connection that was to be remembered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Inserted {
    Done(ConnId),
    /// As above, and another one was forgotten for it.
    MadeRoom(ConnId),
    /// There is no room, and nobody to make it.
    Full,
    /// One of its tuples is another's.
    Clash,
}

impl Table {
    pub(crate) fn new(rng: &mut Rng) -> Self {
        Self {
            slots: Slab::new(),
            by_tuple: HashMap::with_hasher(KeyedState::new(rng)),
            timeouts: BinaryHeap::new(),
            generation: 0,
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.slots.len()
    }

    pub(crate) fn find(&self, tuple: &Tuple) -> Option<(ConnId, Direction)> {
        self.by_tuple.get(tuple).copied()
    }

    pub(crate) fn get(&self, id: ConnId) -> Option<&Conn> {
        let slot = self.slots.get(id.slot as usize)?;
        (slot.generation == id.generation).then_some(&slot.conn)
    }

    pub(crate) fn get_mut(&mut self, id: ConnId) -> Option<&mut Conn> {
        let slot = self.slots.get_mut(id.slot as usize)?;
        (slot.generation == id.generation).then_some(&mut slot.conn)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &Conn> {
        self.slots.iter().map(|(_, slot)| &slot.conn)
    }

    /// Remembers a connection, of at most `max`.
    pub(crate) fn insert(&mut self, conn: Conn, max: usize, rng: &mut Rng) -> Inserted {
        if conn.tuples.iter().any(|tuple| self.find(tuple).is_some()) {
            return Inserted::Clash;
        }
        let full = self.slots.len() >= max;
        if full && !self.early_drop(rng) {
            return Inserted::Full;
        }
        self.generation = self.generation.wrapping_add(1);
        let (generation, scheduled) = (self.generation, conn.expires);
        let tuples = conn.tuples;
        let slot = self.slots.insert(Slot {
            conn,
            generation,
            scheduled,
        });
        let slot = slot as u32;
        let id = ConnId { slot, generation };
        for (tuple, dir) in tuples
            .into_iter()
            .zip([Direction::Original, Direction::Reply])
        {
            self.by_tuple.insert(tuple, (id, dir));
        }
        self.timeouts.push(Reverse((scheduled, id)));
        match full {
            true => Inserted::MadeRoom(id),
            false => Inserted::Done(id),
        }
    }

    /// Gives a connection another end. A later one costs nothing until the old one has come.
    pub(crate) fn set_expires(&mut self, id: ConnId, expires: Instant) {
        let Some(slot) = self.slots.get_mut(id.slot as usize) else {
            return;
        };
        slot.conn.expires = expires;
        if expires < slot.scheduled {
            slot.scheduled = expires;
            self.timeouts.push(Reverse((expires, id)));
        }
    }

    pub(crate) fn remove(&mut self, id: ConnId) -> Option<Conn> {
        self.get(id)?;
        let slot = self.slots.try_remove(id.slot as usize)?;
        for tuple in &slot.conn.tuples {
            self.by_tuple.remove(tuple);
        }
        // Its entries in the heap are recognised as nobody's when they come up.
        if self.timeouts.len() > 4 * self.slots.len() + 64 {
            self.tidy();
        }
        Some(slot.conn)
    }

    /// Forgets the connections that `which` names.
    pub(crate) fn remove_where(&mut self, which: impl Fn(&Conn) -> bool) -> usize {
        let ids = self.slots.iter().filter(|(_, slot)| which(&slot.conn));
        let ids: Vec<ConnId> = ids
            .map(|(at, slot)| ConnId {
                slot: at as u32,
                generation: slot.generation,
            })
            .collect();
        ids.iter().filter(|id| self.remove(**id).is_some()).count()
    }

    /// When a connection may have to be forgotten.
    pub(crate) fn poll_timeout(&self) -> Option<Instant> {
        self.timeouts.peek().map(|Reverse((at, _))| *at)
    }

    /// Forgets the connections whose time is over; returns how many.
    pub(crate) fn expire(&mut self, now: Instant) -> usize {
        let mut gone = 0;
        while let Some(Reverse((at, id))) = self.timeouts.peek().copied() {
            if at > now {
                break;
            }
            self.timeouts.pop();
            let Some(slot) = self.slots.get_mut(id.slot as usize) else {
                continue;
            };
            if slot.generation != id.generation || slot.scheduled != at {
                continue;
            }
            if slot.conn.expires > now {
                slot.scheduled = slot.conn.expires;
                self.timeouts.push(Reverse((slot.scheduled, id)));
            } else {
                self.remove(id);
                gone += 1;
            }
        }
        gone
    }

    /// Forgets the connections that a masquerade has given an address.
    pub(crate) fn forget_masquerade(&mut self, addr: IpAddr) -> usize {
        self.remove_where(|conn| conn.masquerade == Some(addr))
    }

    /// Forgets a connection that has not proven itself, of a few that are looked at (Linux `early_drop`).
    fn early_drop(&mut self, rng: &mut Rng) -> bool {
        let capacity = self.slots.capacity().max(1) as u32;
        let start = rng.below(capacity);
        for step in 0..EARLY_DROP_LOOKS {
            let at = (start + step) % capacity;
            let Some(slot) = self.slots.get(at as usize) else {
                continue;
            };
            if !slot.conn.assured {
                let generation = slot.generation;
                self.remove(ConnId {
                    slot: at,
                    generation,
                });
                return true;
            }
        }
        false
    }

    /// Rebuilds the heap from those that are there.
    fn tidy(&mut self) {
        let all = self.slots.iter().map(|(at, slot)| {
            let generation = slot.generation;
            let slot_at = at as u32;
            let id = ConnId {
                slot: slot_at,
                generation,
            };
            Reverse((slot.scheduled, id))
        });
        self.timeouts = all.collect();
    }
}
