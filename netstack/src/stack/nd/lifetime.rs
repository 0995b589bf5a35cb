//! How long addresses, prefixes and routers last.

use std::net::{IpAddr, Ipv6Addr};

use crate::network::IfaceId;
use crate::stack::address::{Address, AddressOrigin};
use crate::stack::iface::Iface;
use crate::stack::net::Net;
use crate::time::{Duration, Instant};
use crate::wire::ndp::FOREVER_SECS;

/// A temporary address is followed by another this long before it is no longer preferred (RFC 8981
/// REGEN_ADVANCE: time for the new one to be asked for).
const REGEN_ADVANCE: Duration = Duration::from_secs(5);

/// When an address is no longer preferred, and when it is gone (`None`: never).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Lifetimes {
    pub(super) preferred_until: Option<Instant>,
    pub(super) valid_until: Option<Instant>,
}

impl Lifetimes {
    pub(super) const FOREVER: Self = Self {
        preferred_until: None,
        valid_until: None,
    };
}

/// The end of a lifetime in seconds.
pub(super) fn ends(now: Instant, secs: u32) -> Option<Instant> {
    (secs != FOREVER_SECS).then(|| now + Duration::from_secs(u64::from(secs)))
}

/// The earlier of two ends.
pub(super) fn earlier(one: Option<Instant>, two: Option<Instant>) -> Option<Instant> {
    match (one, two) {
        (Some(one), Some(two)) => Some(one.min(two)),
        (one, two) => one.or(two),
    }
}

impl Iface {
    /// When an address of this interface needs attention.
    pub(super) fn addresses_deadline(&self, now: Instant) -> Option<Instant> {
        let mut earliest = None;
        for own in &self.addrs {
            earliest = earlier(earliest, own.valid_until);
            if own.origin == AddressOrigin::Temporary && !self.is_followed(own) {
                // One that could not be followed when it was time is left alone.
                let follow = own.preferred_until.map(regeneration).filter(|at| *at > now);
                earliest = earlier(earliest, follow);
            }
        }
        earliest
    }

    /// True if a later temporary address of the same prefix exists, or the prefix's own address is none
    /// to follow any more.
    fn is_followed(&self, own: &Address) -> bool {
        let same = |other: &&Address| other.cidr.network() == own.cidr.network();
        let mut others = self.addrs.iter().filter(same);
        let later = |other: &Address| {
            other.origin == AddressOrigin::Temporary && other.preferred_until > own.preferred_until
        };
        let public = self.public_of(own);
        let lasts = public.is_some_and(|public| {
            public.preferred_until.is_none() || public.preferred_until > own.preferred_until
        });
        !lasts || others.any(later)
    }

    fn public_of(&self, own: &Address) -> Option<&Address> {
        let mut all = self.addrs.iter();
        all.find(|other| {
            other.origin == AddressOrigin::Router && other.cidr.network() == own.cidr.network()
        })
    }
}

fn regeneration(preferred_until: Instant) -> Instant {
    let at = preferred_until.since(Instant::ZERO);
    Instant::ZERO + at.saturating_sub(REGEN_ADVANCE)
}

impl Net {
    /// Removes what has ended, and lets temporary addresses be followed by others.
    pub(super) fn lifetime_timers(&mut self, id: IfaceId) {
        let now = self.now;
        let over = |until: Option<Instant>| until.is_some_and(|until| until <= now);
        let Some(iface) = self.iface(id) else {
            return;
        };
        let gone = iface.addrs.iter().filter(|own| over(own.valid_until));
        let gone: Vec<IpAddr> = gone.map(Address::ip).collect();
        let due = iface.addrs.iter().filter(|own| {
            own.origin == AddressOrigin::Temporary
                && over(own.preferred_until.map(regeneration))
                && !iface.is_followed(own)
        });
        let follow: Vec<(IpAddr, Option<Lifetimes>)> = due
            .map(|own| {
                let lifetimes = iface.public_of(own).map(|public| Lifetimes {
                    preferred_until: public.preferred_until,
                    valid_until: public.valid_until,
                });
                (own.ip(), lifetimes)
            })
            .collect();
        for addr in gone {
            self.drop_address(id, addr);
        }
        for (addr, lifetimes) in follow {
            if let (IpAddr::V6(addr), Some(lifetimes)) = (addr, lifetimes) {
                self.add_temporary(id, addr, lifetimes);
            }
        }
        self.router_lifetimes(id);
    }

    /// Adds a temporary address in the /64 of `prefix` (RFC 8981 section 3.4), within the lifetimes of the
    /// prefix.
    pub(super) fn add_temporary(&mut self, id: IfaceId, prefix: Ipv6Addr, limits: Lifetimes) {
        let config = &self.config.nd;
        let (valid, preferred) = (config.temp_valid_lft, config.temp_prefered_lft);
        // Hosts that started together are not to change their addresses together.
        let desync = self.some_time(preferred / 10).since(self.now);
        let preferred = preferred.saturating_sub(desync);
        if preferred <= REGEN_ADVANCE {
            return;
        }
        let lifetimes = Lifetimes {
            preferred_until: earlier(limits.preferred_until, Some(self.now + preferred)),
            valid_until: earlier(limits.valid_until, Some(self.now + valid)),
        };
        let addr = self.random_address(prefix);
        self.add_made(id, addr, AddressOrigin::Temporary, lifetimes);
    }
}
