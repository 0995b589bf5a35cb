//! Our own addresses: how they are made, and that nobody else has them (RFC 4862, RFC 7217).

use std::hash::Hasher;
use std::net::{IpAddr, Ipv6Addr};

use siphasher::sip::SipHasher24;

use super::lifetime::Lifetimes;
use crate::link::{MacAddr, Medium};
use crate::network::IfaceId;
use crate::network::addr::Cidr;
use crate::network::source::is_link_local;
use crate::stack::address::{Address, AddressOrigin, AddressState};
use crate::stack::net::Net;
use crate::time::{Duration, Instant};
use crate::wire::ipv6::solicited_node;
use crate::wire::ndp;

/// Addresses of one interface that routers may make us have (Linux `max_addresses`).
const ADDRESSES_MAX: usize = 16;
/// How often another identifier is tried (RFC 7217 section 6).
const RETRIES_MAX: u8 = 3;
/// The first question is asked within this time (RFC 4861 MAX_RTR_SOLICITATION_DELAY).
pub(super) const START_WITHIN: Duration = Duration::from_secs(1);

/// An address that is being asked for.
#[derive(Clone, Copy, Debug)]
pub(super) struct Probe {
    addr: Ipv6Addr,
    left: u32,
    pub(super) next: Instant,
}

impl Net {
    /// Lets an interface give itself a link-local address and listen to routers.
    pub(in crate::stack) fn nd_autoconfigure(&mut self, id: IfaceId) {
        let Some(nd) = self.nd_of(id) else {
            return;
        };
        if core::mem::replace(&mut nd.autoconf, true) {
            return;
        }
        let prefix = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 0);
        let addr = self.make_address(id, prefix, 0);
        self.add_made(id, addr, AddressOrigin::LinkLocal, Lifetimes::FOREVER);
    }

    /// Adds an address that was made here, and begins to ask for it.
    pub(super) fn add_made(
        &mut self,
        id: IfaceId,
        addr: Ipv6Addr,
        origin: AddressOrigin,
        lifetimes: Lifetimes,
    ) {
        let Some(iface) = self.iface_mut(id) else {
            return;
        };
        let Some(cidr) = Cidr::new(addr.into(), 64) else {
            return;
        };
        if iface.addrs.len() >= ADDRESSES_MAX || iface.address(addr.into()).is_some() {
            return;
        }
        iface.addrs.push(Address {
            cidr,
            state: AddressState::Tentative,
            origin,
            preferred_until: lifetimes.preferred_until,
            valid_until: lifetimes.valid_until,
        });
        if origin == AddressOrigin::LinkLocal {
            self.routes.add(crate::stack::setup::connected(id, cidr));
        }
        self.address_added(id, addr, true);
    }

    /// An address has come: its group is joined, and it is asked for if it is on a link where others can
    /// have it too.
    pub(in crate::stack) fn address_added(&mut self, id: IfaceId, addr: Ipv6Addr, dad: bool) {
        let asks = self.asks_for_addresses(id) && dad;
        self.sync_own_groups(id);
        if asks {
            let probe = Probe {
                addr,
                left: self.config.nd.dad_transmits,
                next: self.some_time(START_WITHIN),
            };
            if let Some(nd) = self.nd_of(id) {
                nd.probes.push(probe);
            }
        } else {
            self.address_usable(id, addr);
        }
        self.nd_schedule();
    }

    /// An address goes.
    pub(in crate::stack) fn address_removed(&mut self, id: IfaceId, addr: Ipv6Addr) {
        if let Some(nd) = self.nd_of(id) {
            nd.probes.retain(|probe| probe.addr != addr);
        }
        self.sync_own_groups(id);
        self.nd_schedule();
    }

    fn asks_for_addresses(&self, id: IfaceId) -> bool {
        let ethernet = self
            .iface(id)
            .is_some_and(|iface| iface.caps.medium == Medium::Ethernet);
        ethernet && self.config.nd.dad_transmits > 0
    }

    pub(super) fn probe_timers(&mut self, id: IfaceId) {
        let now = self.now;
        while let Some(nd) = self.nd_of(id)
            && let Some(at) = nd.probes.iter().position(|probe| probe.next <= now)
        {
            let mut probe = nd.probes.swap_remove(at);
            let Some(left) = probe.left.checked_sub(1) else {
                self.address_usable(id, probe.addr);
                continue;
            };
            let retrans = self.neighbor_config(id, probe.addr.into()).retrans_time;
            (probe.left, probe.next) = (left, now + retrans);
            if let Some(nd) = self.nd_of(id) {
                nd.probes.push(probe);
            }
            let message = ndp::neighbor_solicit(probe.addr, None);
            let dst = solicited_node(probe.addr);
            self.stats.nd.out_neighbor_solicits += 1;
            self.send_nd(id, (Ipv6Addr::UNSPECIFIED, dst), None, &message);
        }
    }

    fn address_usable(&mut self, id: IfaceId, addr: Ipv6Addr) {
        let Some(iface) = self.iface_mut(id) else {
            return;
        };
        let own = iface.addrs.iter_mut().find(|own| own.ip() == addr);
        if let Some(own) = own {
            own.state = AddressState::Usable;
        }
        if is_link_local(addr) {
            self.start_soliciting(id);
        }
    }

    /// Somebody else has the address. One that we made is made anew, if it can be made otherwise.
    pub(super) fn dad_failed(&mut self, id: IfaceId, addr: Ipv6Addr) {
        self.stats.nd.dad_failures += 1;
        let Some(iface) = self.iface_mut(id) else {
            return;
        };
        iface.nd.probes.retain(|probe| probe.addr != addr);
        let own = iface.addrs.iter_mut().find(|own| own.ip() == addr);
        let Some(own) = own else {
            return;
        };
        own.state = AddressState::Duplicate;
        let own = *own;
        let prefix = Ipv6Addr::from_bits(addr.to_bits() >> 64 << 64);
        let next = match own.origin {
            AddressOrigin::Manual => None,
            AddressOrigin::Temporary => Some(self.random_address(prefix)),
            AddressOrigin::LinkLocal | AddressOrigin::Router => self.next_stable(id, prefix, addr),
        };
        if let Some(next) = next {
            self.drop_address(id, addr.into());
            let lifetimes = Lifetimes {
                preferred_until: own.preferred_until,
                valid_until: own.valid_until,
            };
            self.add_made(id, next, own.origin, lifetimes);
        }
    }

    fn next_stable(&mut self, id: IfaceId, prefix: Ipv6Addr, failed: Ipv6Addr) -> Option<Ipv6Addr> {
        if self.config.nd.addr_gen_mode == 0 {
            return None;
        }
        let tried = (0..=RETRIES_MAX).find(|n| self.make_address(id, prefix, *n) == failed)?;
        (tried < RETRIES_MAX).then(|| self.make_address(id, prefix, tried + 1))
    }

    /// Takes an address away, if it is there.
    pub(super) fn drop_address(&mut self, id: IfaceId, addr: IpAddr) {
        let Some(iface) = self.iface_mut(id) else {
            return;
        };
        let before = iface.addrs.len();
        iface.addrs.retain(|own| own.ip() != addr);
        if iface.addrs.len() < before
            && let IpAddr::V6(addr) = addr
        {
            self.address_removed(id, addr);
        }
    }

    /// The address of an interface in a /64: by its hardware address (RFC 4291 appendix A), or by a keyed
    /// hash that tells nothing (RFC 7217).
    pub(super) fn make_address(&self, id: IfaceId, prefix: Ipv6Addr, counter: u8) -> Ipv6Addr {
        let Some(iface) = self.iface(id) else {
            return prefix;
        };
        let has_mac = iface.caps.medium == Medium::Ethernet;
        let low = if self.config.nd.addr_gen_mode == 0 && has_mac {
            eui64(iface.mac)
        } else {
            let key = self.stable_key();
            let mut hasher = SipHasher24::new_with_keys(key[0], key[1]);
            hasher.write_u64((prefix.to_bits() >> 64) as u64);
            hasher.write(iface.name.as_bytes());
            hasher.write_u8(counter);
            unreserved(hasher.finish())
        };
        Ipv6Addr::from_bits(prefix.to_bits() >> 64 << 64 | u128::from(low))
    }

    /// A temporary address in a /64.
    pub(super) fn random_address(&mut self, prefix: Ipv6Addr) -> Ipv6Addr {
        let low = unreserved(self.rng.next_u64());
        Ipv6Addr::from_bits(prefix.to_bits() >> 64 << 64 | u128::from(low))
    }

    fn stable_key(&self) -> [u64; 2] {
        let Some(secret) = self.config.nd.stable_secret else {
            return self.nd_key;
        };
        let half = |at: usize| u64::from_le_bytes(core::array::from_fn(|i| secret[at + i]));
        [half(0), half(8)]
    }
}

/// The modified EUI-64 of a hardware address.
fn eui64(mac: MacAddr) -> u64 {
    let [a, b, c, d, e, f] = mac.0;
    u64::from_be_bytes([a ^ 2, b, c, 0xff, 0xfe, d, e, f])
}

/// Keeps out of the identifiers that mean something (RFC 5453): all zero, and the anycast ones.
fn unreserved(low: u64) -> u64 {
    let anycast = low >> 7 == 0xfdff_ffff_ffff_ff80 >> 7;
    if low == 0 || anycast {
        low ^ 0x100
    } else {
        low
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn identifiers() {
        assert_eq!(eui64(MacAddr([2, 0, 0, 0, 0, 1])), 0x0000_00ff_fe00_0001);
        assert_eq!(unreserved(0), 0x100);
        assert_ne!(unreserved(0xfdff_ffff_ffff_ff85), 0xfdff_ffff_ffff_ff85);
        assert_eq!(unreserved(77), 77);
    }
}
