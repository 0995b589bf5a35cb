//! How many ICMP messages we send: a bucket per peer for errors (RFC 1812 section 4.3.2.8, Linux
//! `icmp_ratelimit`), and one for the whole stack (`icmp_msgs_per_sec`, `icmp_msgs_burst`).

use std::collections::HashMap;
use std::net::IpAddr;

use super::token_bucket::Bucket;
use crate::rng::{KeyedState, Rng};
use crate::time::{Duration, Instant};

/// Errors that a peer may draw at once (Linux `XRLIM_BURST_FACTOR`).
const PEER_BURST: u32 = 6;
/// Peers remembered.
const PEERS_MAX: usize = 1024;

/// The settings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IcmpLimits {
    /// Least time between two errors to one peer, in milliseconds; 0 means no limit.
    pub icmp_ratelimit: u32,
    /// Limited messages a second for the whole stack.
    pub icmp_msgs_per_sec: u32,
    /// Limited messages at once for the whole stack.
    pub icmp_msgs_burst: u32,
}

impl Default for IcmpLimits {
    fn default() -> Self {
        Self {
            icmp_ratelimit: 1000,
            icmp_msgs_per_sec: 1000,
            icmp_msgs_burst: 50,
        }
    }
}

/// The buckets.
#[derive(Debug)]
pub(crate) struct IcmpLimiter {
    global: Option<Bucket>,
    peers: HashMap<IpAddr, Bucket, KeyedState>,
}

impl IcmpLimiter {
    pub(crate) fn new(rng: &mut Rng) -> Self {
        Self {
            global: None,
            peers: HashMap::with_hasher(KeyedState::new(rng)),
        }
    }

    /// True if a limited message to `peer` may be sent now; counts it if so.
    pub(crate) fn allow(&mut self, now: Instant, peer: IpAddr, limits: &IcmpLimits) -> bool {
        if limits.icmp_ratelimit == 0 {
            return true;
        }
        let second = Duration::from_secs(1).as_nanos() as u64;
        let cost = second / u64::from(limits.icmp_msgs_per_sec.max(1));
        let full = Bucket::full(now);
        let global = self.global.get_or_insert(full);
        // The peer's bucket first: a flooding peer must not use up what others are due.
        let peer_cost = u64::from(limits.icmp_ratelimit) * 1_000_000;
        if self.peers.len() >= PEERS_MAX && !self.peers.contains_key(&peer) {
            let refilled = Duration::from_nanos(peer_cost * u64::from(PEER_BURST));
            self.peers
                .retain(|_, bucket| now.since(bucket.used_at()) < refilled);
            if self.peers.len() >= PEERS_MAX {
                return false;
            }
        }
        let bucket = self.peers.entry(peer).or_insert(full);
        bucket.take(now, peer_cost, PEER_BURST)
            && global.take(now, cost, limits.icmp_msgs_burst.max(1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_peer_gets_a_burst_and_then_one_a_second() {
        let (mut limiter, limits) = (
            IcmpLimiter::new(&mut Rng::from_seed([1; 16])),
            IcmpLimits::default(),
        );
        let (peer, other) = ("10.0.0.1".parse().unwrap(), "10.0.0.2".parse().unwrap());
        let now = Instant::from_millis(1);
        let sent = (0..100)
            .filter(|_| limiter.allow(now, peer, &limits))
            .count();
        assert_eq!(sent, PEER_BURST as usize);
        assert!(limiter.allow(now, other, &limits));
        let later = now + Duration::from_secs(1);
        assert!(limiter.allow(later, peer, &limits));
        assert!(!limiter.allow(later, peer, &limits));
    }

    #[test]
    fn the_whole_stack_is_limited_too() {
        let (mut limiter, limits) = (
            IcmpLimiter::new(&mut Rng::from_seed([1; 16])),
            IcmpLimits::default(),
        );
        let sent = (0..500_u32)
            .filter(|n| limiter.allow(Instant::ZERO, IpAddr::V4((*n).into()), &limits))
            .count();
        assert_eq!(sent, 50);
        assert!(limiter.peers.len() <= PEERS_MAX);
    }

    #[test]
    fn zero_means_no_limit() {
        let limits = IcmpLimits {
            icmp_ratelimit: 0,
            ..IcmpLimits::default()
        };
        let mut limiter = IcmpLimiter::new(&mut Rng::from_seed([1; 16]));
        let peer = "10.0.0.1".parse().unwrap();
        assert!((0..1000).all(|_| limiter.allow(Instant::ZERO, peer, &limits)));
    }
}
