//! What is remembered of peers (Linux `tcp_metrics`): whether they have proven themselves, that is a
//! connection with them has ended in order with a measured round trip (`tcp_peer_is_proven`), and
//! what Fast Open needs. A source address that was made up cannot get here.
//!
//! The table has a fixed size; where it is full the oldest entry of a set makes room.

use std::net::IpAddr;

use super::flow::FlowKey;
use crate::rng::Rng;
use crate::time::{Duration, Instant};
use crate::wire::tcp::FastOpenCookie;

const SETS: usize = 256;
const WAYS: usize = 4;
/// How long a proof counts (Linux `TCP_METRICS_TIMEOUT`).
const LIFETIME: Duration = Duration::from_secs(3600);

/// What is known of one peer.
#[derive(Clone, Copy, Debug)]
struct Peer {
    local: IpAddr,
    remote: IpAddr,
    /// When it was last written to.
    used: Instant,
    /// When it last proved itself.
    proven: Option<Instant>,
    fast_open: FastOpenMemory,
}

/// What a server has taught us for Fast Open (RFC 7413, 4.1.3).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct FastOpenMemory {
    /// MSS of its last SYN-ACK.
    pub(super) mss: Option<u16>,
    /// The cookie to show.
    pub(super) cookie: Option<FastOpenCookie>,
    /// It did not understand: 1, ask in the experimental form next time; 2, that did not help.
    pub(super) try_experimental: u8,
}

impl Peer {
    fn is(&self, key: &FlowKey) -> bool {
        self.local == key.local.ip() && self.remote == key.remote.ip()
    }
}

/// The peers of which something is known.
#[derive(Clone, Debug)]
pub(super) struct Peers {
    hash: [u64; 2],
    /// `SETS` sets of `WAYS`; empty until there is a first peer.
    places: Vec<Option<Peer>>,
}

impl Peers {
    pub(super) fn new(rng: &mut Rng) -> Self {
        Self {
            hash: rng.key(),
            places: Vec::new(),
        }
    }

    fn find(&self, key: &FlowKey) -> Option<&Peer> {
        let set = self.places.get(self.set_of(key))?;
        set.iter().flatten().find(|peer| peer.is(key))
    }

    /// The peer's entry, made if it is not there: the oldest of its set makes room.
    fn entry(&mut self, key: &FlowKey, now: Instant) -> Option<&mut Peer> {
        if self.places.is_empty() {
            self.places = vec![None; SETS * WAYS];
        }
        let range = self.set_of(key);
        let set = self.places.get_mut(range)?;
        let known = set
            .iter()
            .position(|place| place.is_some_and(|peer| peer.is(key)));
        let place = match known {
            Some(known) => set.get_mut(known)?,
            // An empty place comes before any other.
            None => set
                .iter_mut()
                .min_by_key(|place| place.map(|peer| peer.used))?,
        };
        if known.is_none() {
            *place = Some(Peer {
                local: key.local.ip(),
                remote: key.remote.ip(),
                used: now,
                proven: None,
                fast_open: FastOpenMemory::default(),
            });
        }
        let peer = place.as_mut()?;
        peer.used = now;
        Some(peer)
    }

    /// True if a connection with the peer of `key` has ended in order within the last hour.
    pub(super) fn is_proven(&self, key: &FlowKey, now: Instant) -> bool {
        let proven = self.find(key).and_then(|peer| peer.proven);
        proven.is_some_and(|at| now.since(at) <= LIFETIME)
    }

    /// A connection has ended in order. `proven`: its round trip is known, and its last segments
    /// did not have to be repeated; if not, an earlier proof counts no more (Linux
    /// `tcp_update_metrics`).
    pub(super) fn note_end(&mut self, key: &FlowKey, proven: bool, now: Instant) {
        if (proven || self.find(key).is_some())
            && let Some(peer) = self.entry(key, now)
        {
            peer.proven = proven.then_some(now);
        }
    }

    /// Forgets everybody.
    pub(super) fn clear(&mut self) {
        self.places = Vec::new();
    }

    /// What is known for opening a connection fast.
    pub(super) fn fast_open(&self, key: &FlowKey) -> FastOpenMemory {
        self.find(key)
            .map(|peer| peer.fast_open)
            .unwrap_or_default()
    }

    /// A SYN-ACK has come: its MSS, its cookie if it has one, and whether a request for one in this
    /// form was left unanswered (Linux `tcp_fastopen_cache_set`).
    pub(super) fn learn_fast_open(
        &mut self,
        key: &FlowKey,
        mss: Option<u16>,
        cookie: Option<FastOpenCookie>,
        try_experimental: u8,
        now: Instant,
    ) {
        let Some(peer) = self.entry(key, now) else {
            return;
        };
        let memory = &mut peer.fast_open;
        memory.mss = mss.or(memory.mss);
        if let Some(cookie) = cookie.filter(|cookie| !cookie.is_request()) {
            memory.cookie = Some(cookie);
        } else if try_experimental > memory.try_experimental && memory.cookie.is_none() {
            memory.try_experimental = try_experimental;
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
        let mut peers = Peers::new(&mut Rng::from_seed([1; 16]));
        assert!(!peers.is_proven(&key(7, 1), at(0)));
        peers.note_end(&key(7, 1), true, at(10));
        assert!(peers.is_proven(&key(7, 2), at(3610)));
        assert!(!peers.is_proven(&key(7, 2), at(3611)));
        assert!(!peers.is_proven(&key(8, 1), at(10)));
        peers.note_end(&key(7, 3), true, at(3611));
        assert!(
            peers.is_proven(&key(7, 1), at(7211)),
            "the clock starts anew"
        );
        peers.note_end(&key(7, 3), false, at(7211));
        assert!(!peers.is_proven(&key(7, 1), at(7211)), "proven wrong");
    }

    #[test]
    fn the_table_does_not_grow_and_forgets_the_oldest() {
        let mut peers = Peers::new(&mut Rng::from_seed([1; 16]));
        for peer in 0..100_000 {
            peers.note_end(&key(peer, 1), true, at(u64::from(peer) / 100));
        }
        assert_eq!(peers.places.len(), SETS * WAYS);
        let known = |peers: &Peers, range: std::ops::Range<u32>| {
            range
                .filter(|peer| peers.is_proven(&key(*peer, 9), at(1000)))
                .count()
        };
        assert_eq!(known(&peers, 0..90_000), 0);
        assert_eq!(known(&peers, 0..100_000), SETS * WAYS);
    }

    #[test]
    fn a_cookie_stays_until_there_is_a_better_one() {
        let mut peers = Peers::new(&mut Rng::from_seed([1; 16]));
        let cookie = |byte| FastOpenCookie::new(&[byte; 8]);
        assert_eq!(peers.fast_open(&key(7, 1)), FastOpenMemory::default());
        peers.learn_fast_open(&key(7, 1), Some(1000), None, 1, at(0));
        assert_eq!(peers.fast_open(&key(7, 2)).try_experimental, 1);
        peers.learn_fast_open(&key(7, 1), None, cookie(1), 0, at(1));
        peers.learn_fast_open(&key(7, 1), Some(900), None, 2, at(2));
        peers.note_end(&key(7, 1), false, at(3));
        let memory = FastOpenMemory {
            mss: Some(900),
            cookie: cookie(1),
            try_experimental: 1,
        };
        assert_eq!(peers.fast_open(&key(7, 3)), memory);
        assert_eq!(peers.fast_open(&key(8, 1)), FastOpenMemory::default());
    }
}
