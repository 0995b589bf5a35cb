//! The flow table: one keyed hash lookup from an address pair to whatever lives there.

use std::hash::{BuildHasher, Hash, Hasher};
use std::net::{IpAddr, SocketAddr};

use siphasher::sip::SipHasher13;

use crate::rng::Rng;

/// Both ends of a connection, as seen from here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct FlowKey {
    pub(super) local: SocketAddr,
    pub(super) remote: SocketAddr,
}

impl Hash for FlowKey {
    fn hash<H: Hasher>(&self, state: &mut H) {
        // Few, wide writes: the standard derive hashes an address byte slice with its length.
        for end in [&self.local, &self.remote] {
            match end.ip() {
                IpAddr::V4(addr) => {
                    state.write_u64(u64::from(u32::from(addr)) << 16 | u64::from(end.port()))
                }
                IpAddr::V6(addr) => {
                    state.write_u128(u128::from(addr));
                    state.write_u16(end.port());
                }
            }
        }
    }
}

impl FlowKey {
    /// A keyed 64-bit digest of the pair (ISNs, timestamp offsets, cookies, REUSEPORT selection).
    pub(super) fn digest(&self, key: [u64; 2], extra: u64) -> u64 {
        let mut hasher = siphasher::sip::SipHasher24::new_with_keys(key[0], key[1]);
        self.hash(&mut hasher);
        hasher.write_u64(extra);
        hasher.finish()
    }
}

/// The same in 36 bytes, for records that there are many of. No key has a scope: addresses are those of packets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct CompactKey {
    local: [u8; 16],
    remote: [u8; 16],
    ports: [u16; 2],
}

impl From<&FlowKey> for CompactKey {
    fn from(key: &FlowKey) -> Self {
        let octets = |addr: IpAddr| match addr {
            IpAddr::V4(v4) => v4.to_ipv6_mapped().octets(),
            IpAddr::V6(v6) => v6.octets(),
        };
        Self {
            local: octets(key.local.ip()),
            remote: octets(key.remote.ip()),
            ports: [key.local.port(), key.remote.port()],
        }
    }
}

impl From<&CompactKey> for FlowKey {
    fn from(key: &CompactKey) -> Self {
        let addr = |octets: [u8; 16]| IpAddr::from(octets).to_canonical();
        Self {
            local: SocketAddr::new(addr(key.local), key.ports[0]),
            remote: SocketAddr::new(addr(key.remote), key.ports[1]),
        }
    }
}

/// What a flow leads to: a place in one of the engine's tables.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Flow {
    /// A socket: connecting or connected.
    Socket(u32),
    /// A half-open record.
    HalfOpen(u32),
    /// A TIME-WAIT record.
    TimeWait(u32),
    /// A SYN that an interceptor has not decided about.
    Offer(u32),
}

/// Keys SipHash-1-3, so that peers cannot choose colliding flows.
#[derive(Clone, Debug)]
pub(super) struct FlowHasher([u64; 2]);

impl BuildHasher for FlowHasher {
    type Hasher = SipHasher13;

    fn build_hasher(&self) -> SipHasher13 {
        SipHasher13::new_with_keys(self.0[0], self.0[1])
    }
}

/// All flows of an engine: an open-addressed table of 8-byte entries, each a piece of the hash and the place
/// of a record. The key is the record's own: who looks one up says whether a record has it.
#[derive(Debug)]
pub(super) struct FlowTable {
    /// A power of two of entries; 0 is none.
    entries: Vec<u64>,
    len: usize,
    hasher: FlowHasher,
}

/// The least number of entries.
const ENTRIES_MIN: usize = 16;

impl Flow {
    /// Never 0.
    fn code(self) -> u32 {
        let (kind, index) = match self {
            Self::Socket(index) => (0, index),
            Self::HalfOpen(index) => (1, index),
            Self::TimeWait(index) => (2, index),
            Self::Offer(index) => (3, index),
        };
        // Memory ends long before 2^30 records.
        kind << 30 | ((index + 1) & 0x3fff_ffff)
    }

    fn from_entry(entry: u64) -> Self {
        let index = (entry as u32 & 0x3fff_ffff) - 1;
        match entry as u32 >> 30 {
            0 => Self::Socket(index),
            1 => Self::HalfOpen(index),
            2 => Self::TimeWait(index),
            _ => Self::Offer(index),
        }
    }
}

impl FlowTable {
    pub(super) fn new(rng: &mut Rng) -> Self {
        Self {
            entries: vec![0; ENTRIES_MIN],
            len: 0,
            hasher: FlowHasher(rng.key()),
        }
    }

    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// The flow of `key`: `has_key` says whether a record has it.
    pub(super) fn find(&self, key: &FlowKey, has_key: impl Fn(Flow) -> bool) -> Option<Flow> {
        let hash = self.hash(key);
        let mut at = self.home(hash);
        while self.entries[at] != 0 {
            let entry = self.entries[at];
            if (entry >> 32) as u32 == hash && has_key(Flow::from_entry(entry)) {
                return Some(Flow::from_entry(entry));
            }
            at = self.after(at);
        }
        None
    }

    /// Enters `flow`.
    pub(super) fn insert(&mut self, key: &FlowKey, flow: Flow) {
        // A quarter stays free: searches end soon.
        if (self.len + 1) * 4 > self.entries.len() * 3 {
            self.resize(self.entries.len() * 2);
        }
        let hash = self.hash(key);
        self.place(u64::from(hash) << 32 | u64::from(flow.code()));
        self.len += 1;
    }

    /// Removes `flow` if it is there.
    pub(super) fn remove(&mut self, key: &FlowKey, flow: Flow) {
        let hash = self.hash(key);
        let wanted = u64::from(hash) << 32 | u64::from(flow.code());
        let mut at = self.home(hash);
        while self.entries[at] != wanted {
            if self.entries[at] == 0 {
                return;
            }
            at = self.after(at);
        }
        self.close_gap(at);
        self.len -= 1;
        // A flood grows the table; give the memory back when it has passed.
        if self.entries.len() > 1024 && self.len * 8 < self.entries.len() {
            self.resize(self.entries.len() / 2);
        }
    }

    /// Empties the place `gap`, and moves up what could not be in its own place because of it.
    fn close_gap(&mut self, mut gap: usize) {
        let mask = self.entries.len() - 1;
        let mut at = self.after(gap);
        while self.entries[at] != 0 {
            let home = self.home((self.entries[at] >> 32) as u32);
            if (at.wrapping_sub(home) & mask) >= (at.wrapping_sub(gap) & mask) {
                self.entries[gap] = self.entries[at];
                gap = at;
            }
            at = self.after(at);
        }
        self.entries[gap] = 0;
    }

    fn resize(&mut self, count: usize) {
        let old = std::mem::replace(&mut self.entries, vec![0; count]);
        old.into_iter()
            .filter(|entry| *entry != 0)
            .for_each(|entry| self.place(entry));
    }

    fn place(&mut self, entry: u64) {
        let mut at = self.home((entry >> 32) as u32);
        while self.entries[at] != 0 {
            at = self.after(at);
        }
        self.entries[at] = entry;
    }

    fn hash(&self, key: &FlowKey) -> u32 {
        self.hasher.hash_one(key) as u32
    }

    fn home(&self, hash: u32) -> usize {
        hash as usize & (self.entries.len() - 1)
    }

    fn after(&self, at: usize) -> usize {
        (at + 1) & (self.entries.len() - 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::HashMap;

    fn key(number: u16) -> FlowKey {
        FlowKey {
            local: ([10, 0, 0, 1], 80).into(),
            remote: ([10, 0, 0, 2], number).into(),
        }
    }

    proptest! {
        #[test]
        fn behaves_as_a_map(steps in proptest::collection::vec((0u8..5, 0u16..400), 0..1500)) {
            let mut table = FlowTable::new(&mut crate::rng::Rng::from_seed([3; 16]));
            // A record's index is its key's number.
            let has_key = |wanted: u16| move |flow| matches!(flow, Flow::TimeWait(at) | Flow::Socket(at) if at == u32::from(wanted));
            let mut model = HashMap::new();
            for (what, number) in steps {
                let index = u32::from(number);
                match (what, model.get(&number).copied()) {
                    (0..=1, None) => {
                        let flow = if what == 0 { Flow::Socket(index) } else { Flow::TimeWait(index) };
                        table.insert(&key(number), flow);
                        model.insert(number, flow);
                    }
                    (2, Some(flow)) => {
                        table.remove(&key(number), Flow::HalfOpen(index));
                        table.remove(&key(number), flow);
                        model.remove(&number);
                    }
                    _ => {}
                }
                prop_assert_eq!(table.find(&key(number), has_key(number)), model.get(&number).copied());
                prop_assert_eq!(table.len(), model.len());
            }
            for number in 0..400 {
                prop_assert_eq!(table.find(&key(number), has_key(number)), model.get(&number).copied());
            }
        }
    }
}
