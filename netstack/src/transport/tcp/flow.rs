//! The flow table: one keyed hash lookup from an address pair to whatever lives there.

use std::collections::HashMap;
use std::hash::{BuildHasher, Hash, Hasher};
use std::net::{IpAddr, SocketAddr};

use siphasher::sip::SipHasher13;

use crate::rng::Rng;
use crate::socket::SocketId;

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

/// What a flow leads to: a place in one of the engine's tables.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Flow {
    /// A socket: connecting or connected.
    Socket(SocketId),
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

/// All flows of an engine.
#[derive(Debug)]
pub(super) struct FlowTable {
    map: HashMap<FlowKey, Flow, FlowHasher>,
}

impl FlowTable {
    pub(super) fn new(rng: &mut Rng) -> Self {
        Self {
            map: HashMap::with_hasher(FlowHasher(rng.key())),
        }
    }

    pub(super) fn get(&self, key: &FlowKey) -> Option<Flow> {
        self.map.get(key).copied()
    }

    pub(super) fn len(&self) -> usize {
        self.map.len()
    }

    /// Enters `flow`, in place of what was there.
    pub(super) fn insert(&mut self, key: FlowKey, flow: Flow) {
        self.map.insert(key, flow);
    }

    /// Removes the entry if it is still `flow`.
    pub(super) fn remove(&mut self, key: &FlowKey, flow: Flow) {
        if self.map.get(key) == Some(&flow) {
            self.map.remove(key);
        }
        // A flood grows the table; give the memory back when it has passed.
        if self.map.capacity() > 1024 && self.map.len() * 8 < self.map.capacity() {
            self.map.shrink_to(self.map.len() * 2);
        }
    }
}
