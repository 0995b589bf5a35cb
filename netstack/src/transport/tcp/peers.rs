//! Peers that have proven themselves: a connection with them has ended in order, with a measured
//! round trip (Linux `tcp_metrics`, of which `tcp_peer_is_proven` looks at the RTT). A source
//! address that was made up cannot get here.
//!
//! The table has a fixed size; where it is full the oldest entry of a set makes room.

use std::net::IpAddr;

use super::flow::FlowKey;
use crate::rng::Rng;
use crate::time::{Duration, Instant};

const SETS: usize = 256;
const WAYS: usize = 4;
/// How long a proof counts (Linux `TCP_METRICS_TIMEOUT`).
const LIFETIME: Duration = Duration::from_secs(3600);

/// One proven peer.
#[derive(Clone, Copy, Debug)]
struct Peer {
    local: IpAddr,
    remote: IpAddr,
    seen: Instant,
}

impl Peer {
    fn is(&self, key: &FlowKey) -> bool {
        self.local == key.local.ip() && self.remote == key.remote.ip()
    }
}

/// The peers that have proven themselves lately.
#[derive(Clone, Debug)]
pub(super) struct ProvenPeers {
    hash: [u64; 2],
    /// `SETS` sets of `WAYS`; empty until there is a first peer.
    places: Vec<Option<Peer>>,
}

impl ProvenPeers {
    pub(super) fn new(rng: &mut Rng) -> Self {
        Self {
            hash: rng.key(),
            places: Vec::new(),
        }
    }

    /// True if a connection with the peer of `key` has ended in order within the last hour.
    pub(super) fn has(&self, key: &FlowKey, now: Instant) -> bool {
        let Some(set) = self.places.get(self.set_of(key)) else {
            return false;
        };
        set.iter()
            .flatten()
            .any(|peer| peer.is(key) && now.since(peer.seen) <= LIFETIME)
    }

    /// A connection has ended in order. `proven`: its round trip is known, and its last segments
    /// did not have to be repeated; if not, an earlier proof counts no more (Linux
    /// `tcp_update_metrics`).
    pub(super) fn note(&mut self, key: &FlowKey, proven: bool, now: Instant) {
        let range = self.set_of(key);
        if proven && self.places.is_empty() {
            self.places = vec![None; SETS * WAYS];
        }
        let Some(set) = self.places.get_mut(range) else {
            return;
        };
        if let Some(place) = set
            .iter_mut()
            .find(|place| place.is_some_and(|peer| peer.is(key)))
        {
            *place = None;
        }
        // An empty place comes before any other.
        let oldest = set
            .iter_mut()
            .min_by_key(|place| place.map(|peer| peer.seen));
        if let Some(place) = oldest.filter(|_| proven) {
            *place = Some(Peer {
                local: key.local.ip(),
                remote: key.remote.ip(),
                seen: now,
            });
        }
    }

    fn set_of(&self, key: &FlowKey) -> std::ops::Range<usize> {
        let mut hosts = *key;
        hosts.local.set_port(0);
        hosts.remote.set_port(0);
        let start = (hosts.digest(self.hash, 0) % SETS as u64) as usize * WAYS;
        start..start + WAYS
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(peer: u32, port: u16) -> FlowKey {
        FlowKey {
            local: ([10, 0, 0, 1], 80).into(),
            remote: (std::net::Ipv4Addr::from(peer), port).into(),
        }
    }

    fn at(secs: u64) -> Instant {
        Instant::from_millis(secs * 1000)
    }

    #[test]
    fn a_proof_counts_for_all_ports_for_an_hour() {
        let mut peers = ProvenPeers::new(&mut Rng::from_seed([1; 16]));
        assert!(!peers.has(&key(7, 1), at(0)));
        peers.note(&key(7, 1), true, at(10));
        assert!(peers.has(&key(7, 2), at(3610)));
        assert!(!peers.has(&key(7, 2), at(3611)));
        assert!(!peers.has(&key(8, 1), at(10)));
        peers.note(&key(7, 3), true, at(3611));
        assert!(peers.has(&key(7, 1), at(7211)), "the clock starts anew");
        peers.note(&key(7, 3), false, at(7211));
        assert!(!peers.has(&key(7, 1), at(7211)), "proven wrong");
    }

    #[test]
    fn the_table_does_not_grow_and_forgets_the_oldest() {
        let mut peers = ProvenPeers::new(&mut Rng::from_seed([1; 16]));
        for peer in 0..100_000 {
            peers.note(&key(peer, 1), true, at(u64::from(peer) / 100));
        }
        assert_eq!(peers.places.len(), SETS * WAYS);
        let known = |peers: &ProvenPeers, range: std::ops::Range<u32>| {
            range
                .filter(|peer| peers.has(&key(*peer, 9), at(1000)))
                .count()
        };
        assert_eq!(known(&peers, 0..90_000), 0);
        assert_eq!(known(&peers, 0..100_000), SETS * WAYS);
    }
}
