//! Local ports: who holds which, and the choice of ephemeral ones (RFC 6056). One table per protocol.

use std::collections::HashMap;
use std::hash::Hasher;
use std::net::{IpAddr, SocketAddr};
use std::ops::RangeInclusive;

use siphasher::sip::SipHasher24;
use smallvec::SmallVec;

use crate::error::SocketError;
use crate::network::IfaceId;
use crate::rng::{KeyedState, Rng};

/// A hold on a local port. Equal claims of several sockets (a listener's connections) are one entry
/// with a count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Claim {
    /// The port.
    pub port: u16,
    /// The local address: `None` is any address of either family (a dual-stack `::`), `0.0.0.0` and
    /// `::` any address of theirs.
    pub addr: Option<IpAddr>,
    /// The interface that the socket is bound to (SO_BINDTODEVICE).
    pub iface: Option<IfaceId>,
    /// SO_REUSEADDR.
    pub reuse_addr: bool,
    /// SO_REUSEPORT.
    pub reuse_port: bool,
    /// A TCP listener: SO_REUSEADDR does not let another socket share its address.
    pub listening: bool,
    /// Chosen by `connect`, which may share the port with other connections as long as the whole
    /// address pair is unique.
    pub by_connect: bool,
}

impl Claim {
    /// True if the two cannot coexist on one port (Linux `inet_bind_conflict`).
    fn conflicts(&self, other: &Self) -> bool {
        let same_iface = match (self.iface, other.iface) {
            (Some(ours), Some(theirs)) => ours == theirs,
            _ => true,
        };
        // Only the holder's state counts: a listener may join the connections of an earlier one.
        let shared_by_address = self.reuse_addr && other.reuse_addr && !other.listening;
        let shared_by_port = self.reuse_port && other.reuse_port;
        same_iface && overlap(self.addr, other.addr) && !shared_by_address && !shared_by_port
    }
}

/// True if some packet is addressed to both.
fn overlap(one: Option<IpAddr>, two: Option<IpAddr>) -> bool {
    let (Some(one), Some(two)) = (one, two) else {
        return true;
    };
    one == two || (one.is_ipv4() == two.is_ipv4() && (one.is_unspecified() || two.is_unspecified()))
}

/// Ports of one protocol.
#[derive(Debug)]
pub struct Ports {
    held: HashMap<u16, SmallVec<[(Claim, u32); 1]>, KeyedState>,
    /// Key of the per-destination offset, and the counters that it selects (RFC 6056 section 3.3.4).
    key: [u64; 2],
    counters: Box<[u16; COUNTERS]>,
}

const COUNTERS: usize = 256;

impl Ports {
    /// An empty table with keys of its own.
    pub fn new(rng: &mut Rng) -> Self {
        let mut counters = Box::new([0; COUNTERS]);
        counters.fill_with(|| rng.next_u32() as u16);
        Self {
            held: HashMap::with_hasher(KeyedState::new(rng)),
            key: rng.key(),
            counters,
        }
    }

    /// Takes the port that `claim` names.
    ///
    /// # Errors
    /// `AddrInUse` if another claim conflicts.
    pub fn bind(&mut self, claim: Claim) -> Result<(), SocketError> {
        if !self.is_free(&claim) {
            return Err(SocketError::AddrInUse);
        }
        self.share(claim);
        Ok(())
    }

    /// Takes a port of `range` for `bind` to port 0: from a random start upwards. A port that nobody
    /// holds is preferred to one that the reuse options would let us share.
    ///
    /// # Errors
    /// `AddrInUse` if every port of the range is held.
    pub fn bind_any(
        &mut self,
        claim: Claim,
        range: RangeInclusive<u16>,
        rng: &mut Rng,
    ) -> Result<u16, SocketError> {
        let start = rng.next_u32();
        let unheld = in_order(&range, start).find(|port| !self.held.contains_key(port));
        let shared = || {
            in_order(&range, start).find(|port| {
                self.is_free(&Claim {
                    port: *port,
                    ..claim
                })
            })
        };
        let port = unheld.or_else(shared).ok_or(SocketError::AddrInUse)?;
        self.share(Claim { port, ..claim });
        Ok(port)
    }

    /// Takes a port of `range` for a connection to `remote`: RFC 6056 algorithm 4. Ports that were
    /// taken by `bind` are left alone; for those of other connections `taken` says whether the
    /// address pair exists.
    ///
    /// # Errors
    /// `AddrNotAvailable` if no port is left.
    pub fn connect_any(
        &mut self,
        claim: Claim,
        remote: SocketAddr,
        range: RangeInclusive<u16>,
        mut taken: impl FnMut(u16) -> bool,
    ) -> Result<u16, SocketError> {
        let claim = Claim {
            by_connect: true,
            ..claim
        };
        let digest = self.destination_digest(claim.addr, remote);
        let counter = (digest >> 32) as usize % COUNTERS;
        let start = (digest as u32).wrapping_add(u32::from(self.counters[counter]));
        let port = in_order(&range, start)
            .find(|port| self.only_connections(*port) && !taken(*port))
            .ok_or(SocketError::AddrNotAvailable)?;
        self.counters[counter] = self.counters[counter].wrapping_add(1);
        self.share(Claim { port, ..claim });
        Ok(port)
    }

    /// Adds a holder without a check: the connection that a listener with this claim accepted.
    pub fn share(&mut self, claim: Claim) {
        let holders = self.held.entry(claim.port).or_default();
        match holders.iter_mut().find(|(held, _)| *held == claim) {
            Some((_, count)) => *count += 1,
            None => holders.push((claim, 1)),
        }
    }

    /// Gives one hold on the port back.
    pub fn release(&mut self, claim: &Claim) {
        let Some(holders) = self.held.get_mut(&claim.port) else {
            return;
        };
        if let Some(at) = holders.iter().position(|(held, _)| held == claim) {
            holders[at].1 -= 1;
            if holders[at].1 == 0 {
                holders.swap_remove(at);
            }
        }
        if holders.is_empty() {
            self.held.remove(&claim.port);
        }
    }

    /// Replaces one hold by another on the same port (`listen`, or an option set after `bind`).
    ///
    /// # Errors
    /// `AddrInUse` if the new claim conflicts with somebody else's; the old one is kept then.
    pub fn change(&mut self, old: &Claim, new: Claim) -> Result<(), SocketError> {
        self.release(old);
        let done = self.bind(new);
        if done.is_err() {
            self.share(*old);
        }
        done
    }

    /// True if nobody's claim conflicts.
    pub fn is_free(&self, claim: &Claim) -> bool {
        let holders = self.held.get(&claim.port);
        holders.is_none_or(|held| !held.iter().any(|(other, _)| claim.conflicts(other)))
    }

    fn only_connections(&self, port: u16) -> bool {
        let holders = self.held.get(&port);
        holders.is_none_or(|held| held.iter().all(|(claim, _)| claim.by_connect))
    }

    fn destination_digest(&self, local: Option<IpAddr>, remote: SocketAddr) -> u64 {
        let mut hasher = SipHasher24::new_with_keys(self.key[0], self.key[1]);
        for addr in local.into_iter().chain([remote.ip()]) {
            match addr {
                IpAddr::V4(v4) => hasher.write(&v4.octets()),
                IpAddr::V6(v6) => hasher.write(&v6.octets()),
            }
        }
        hasher.write_u16(remote.port());
        hasher.finish()
    }
}

/// The ports of `range`, each once, from a start that `offset` chooses.
fn in_order(range: &RangeInclusive<u16>, offset: u32) -> impl Iterator<Item = u16> {
    let (first, last) = (u32::from(*range.start()), u32::from(*range.end()));
    let count = (last + 1).saturating_sub(first);
    (0..count).map(move |step| (first + (offset % count + step) % count) as u16)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::Ipv4Addr;

    const ONE: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 0, 0, 1));
    const TWO: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 0, 0, 2));
    const ANY: IpAddr = IpAddr::V4(Ipv4Addr::UNSPECIFIED);

    fn claim(addr: impl Into<Option<IpAddr>>) -> Claim {
        Claim {
            port: 80,
            addr: addr.into(),
            iface: None,
            reuse_addr: false,
            reuse_port: false,
            listening: false,
            by_connect: false,
        }
    }

    fn ports() -> Ports {
        Ports::new(&mut Rng::from_seed([3; 16]))
    }

    #[test]
    fn addresses_overlap_only_through_wildcards() {
        let mut ports = ports();
        ports.bind(claim(ONE)).unwrap();
        ports.bind(claim(TWO)).unwrap();
        for other in [Some(ONE), Some(ANY), None] {
            assert_eq!(ports.bind(claim(other)), Err(SocketError::AddrInUse));
        }
        let v6 = IpAddr::V6(std::net::Ipv6Addr::UNSPECIFIED);
        ports.bind(claim(v6)).unwrap();
        ports.release(&claim(ONE));
        ports.bind(claim(ONE)).unwrap();
    }

    #[test]
    fn reuse_addr_shares_unless_one_listens() {
        let mut ports = ports();
        let reuse = Claim {
            reuse_addr: true,
            ..claim(ANY)
        };
        let listening = Claim {
            listening: true,
            ..reuse
        };
        ports.bind(reuse).unwrap();
        ports.bind(reuse).unwrap();
        ports.change(&reuse, listening).unwrap();
        assert_eq!(ports.change(&reuse, listening), Err(SocketError::AddrInUse));
        assert_eq!(ports.bind(reuse), Err(SocketError::AddrInUse));
        ports.release(&listening);
        ports.release(&reuse);
        assert!(ports.held.is_empty());
    }

    #[test]
    fn reuse_port_needs_both() {
        let mut ports = ports();
        let reuse = Claim {
            reuse_port: true,
            listening: true,
            ..claim(ANY)
        };
        ports.bind(reuse).unwrap();
        ports.bind(reuse).unwrap();
        assert_eq!(ports.bind(claim(ANY)), Err(SocketError::AddrInUse));
    }

    #[test]
    fn interfaces_keep_apart() {
        let mut ports = ports();
        let on = |n| Claim {
            iface: Some(IfaceId(n)),
            ..claim(ANY)
        };
        ports.bind(on(1)).unwrap();
        ports.bind(on(2)).unwrap();
        assert_eq!(ports.bind(claim(ANY)), Err(SocketError::AddrInUse));
    }

    #[test]
    fn every_ephemeral_port_is_found_once() {
        let (mut ports, mut rng) = (ports(), Rng::from_seed([4; 16]));
        let mut found: Vec<u16> = (0..10)
            .map(|_| ports.bind_any(claim(ANY), 1000..=1009, &mut rng).unwrap())
            .collect();
        found.sort_unstable();
        assert_eq!(found, (1000..=1009).collect::<Vec<_>>());
        let none = ports.bind_any(claim(ANY), 1000..=1009, &mut rng);
        assert_eq!(none, Err(SocketError::AddrInUse));
    }

    #[test]
    fn connections_share_ports_but_not_bound_ones() {
        let mut ports = ports();
        ports
            .bind(Claim {
                port: 1000,
                ..claim(ANY)
            })
            .unwrap();
        let remote = SocketAddr::new(TWO, 80);
        let connect = |ports: &mut Ports, pairs: &[u16]| {
            ports.connect_any(claim(ONE), remote, 1000..=1001, |port| {
                pairs.contains(&port)
            })
        };
        assert_eq!(connect(&mut ports, &[]), Ok(1001));
        assert_eq!(connect(&mut ports, &[]), Ok(1001), "to another peer, say");
        let none = connect(&mut ports, &[1001]);
        assert_eq!(none, Err(SocketError::AddrNotAvailable));
    }
}

#[cfg(test)]
mod properties {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        /// Against a plain list of claims: nobody is let in who conflicts, nobody is kept out who does not.
        #[test]
        fn claims_are_kept_apart(
            steps in proptest::collection::vec((0_u8..3, 0_u8..4, any::<bool>(), any::<bool>(), any::<bool>(), any::<usize>()), 1..60)
        ) {
            let mut ports = Ports::new(&mut crate::rng::Rng::from_seed([2; 16]));
            let mut model: Vec<Claim> = Vec::new();
            for (action, addr, reuse_addr, reuse_port, listening, pick) in steps {
                let addr = match addr {
                    0 => None,
                    1 => Some(IpAddr::from([0, 0, 0, 0])),
                    last => Some(IpAddr::from([10, 0, 0, last])),
                };
                let claim = Claim { port: 80, addr, iface: None, reuse_addr, reuse_port, listening, by_connect: false };
                if action == 0 && !model.is_empty() {
                    ports.release(&model.swap_remove(pick % model.len()));
                } else if action == 1 && !model.is_empty() {
                    let at = pick % model.len();
                    let free = model.iter().enumerate().all(|(n, other)| n == at || !claim.conflicts(other));
                    prop_assert_eq!(ports.change(&model[at], claim).is_ok(), free);
                    if free {
                        model[at] = claim;
                    }
                } else {
                    let free = model.iter().all(|other| !claim.conflicts(other));
                    prop_assert_eq!(ports.bind(claim).is_ok(), free);
                    if free {
                        model.push(claim);
                    }
                }
            }
            model.iter().for_each(|claim| ports.release(claim));
            prop_assert!(ports.held.is_empty());
        }
    }
}
