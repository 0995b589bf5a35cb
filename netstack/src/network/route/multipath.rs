//! Which of several next hops a flow takes: always the same one (Linux `fib_multipath_hash_policy`).

use core::hash::{BuildHasher, Hasher};
use std::net::IpAddr;

use super::{Flow, HopRef, Route};
use crate::rng::{KeyedState, Rng};

/// Spreads flows over next hops by their weights.
#[derive(Clone, Debug)]
pub(crate) struct Spreader {
    key: KeyedState,
}

impl Spreader {
    pub(crate) fn new(rng: &mut Rng) -> Self {
        Self {
            key: KeyedState::new(rng),
        }
    }

    /// The next hop for a flow, by addresses alone (policy 0) or with ports and protocol (policy 1); both directions of one give the same hash.
    pub(super) fn choose(&self, route: &Route, flow: &Flow) -> HopRef {
        let fits = |hop: &HopRef| flow.oif.is_none_or(|iface| iface == hop.iface);
        if route.more.is_empty() {
            return route.first_hop();
        }
        let weight = |hop: HopRef| u64::from(hop.weight.max(1));
        let total: u64 = route.hops().filter(fits).map(weight).sum();
        // The hash scaled to the sum of weights.
        let mut at = ((u128::from(self.hash(flow)) * u128::from(total)) >> 64) as u64;
        for hop in route.hops().filter(fits) {
            if at < weight(hop) {
                return hop;
            }
            at -= weight(hop);
        }
        route.first_hop()
    }

    fn hash(&self, flow: &Flow) -> u64 {
        let bits = |addr: IpAddr| match addr {
            IpAddr::V4(addr) => u128::from(u32::from(addr)),
            IpAddr::V6(addr) => u128::from(addr),
        };
        let ports = match flow.by_ports {
            true => flow.ports,
            false => (0, 0),
        };
        let ends = [
            (flow.src.map_or(0, bits), ports.0),
            (bits(flow.dst), ports.1),
        ];
        let (low, high) = (ends[0].min(ends[1]), ends[0].max(ends[1]));
        let mut hash = self.key.build_hasher();
        for (addr, port) in [low, high] {
            hash.write_u128(addr);
            hash.write_u16(port);
        }
        if flow.by_ports {
            hash.write_u8(flow.proto);
        }
        hash.finish()
    }
}
