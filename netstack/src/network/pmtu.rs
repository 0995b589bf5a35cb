//! What routers have said of the path MTU to a host (RFC 1191, RFC 8201, Linux `ip_rt_update_pmtu`).

use std::collections::HashMap;
use std::net::IpAddr;

use crate::rng::{KeyedState, Rng};
use crate::time::{Duration, Instant};
use crate::wire::ipv6;

/// A learned MTU is forgotten after this long (Linux `mtu_expires`, RFC 1191 section 6.3).
const EXPIRES: Duration = Duration::from_secs(600);
/// Hosts remembered; a flood of forged errors cannot take more memory than this.
const ENTRIES_MAX: usize = 4096;
/// The least MTU that is believed of IPv4 (Linux `min_pmtu`): a forged smaller one would make every packet tiny.
pub(crate) const MIN_PMTU: u32 = 552;

/// Path MTUs by destination.
#[derive(Debug)]
pub(crate) struct PmtuCache {
    entries: HashMap<IpAddr, Entry, KeyedState>,
}

#[derive(Clone, Copy, Debug)]
struct Entry {
    mtu: u32,
    expires: Instant,
}

impl PmtuCache {
    pub(crate) fn new(rng: &mut Rng) -> Self {
        Self {
            entries: HashMap::with_hasher(KeyedState::new(rng)),
        }
    }

    /// The MTU towards `dst`, no larger than `link_mtu`.
    pub(crate) fn mtu(&self, now: Instant, dst: IpAddr, link_mtu: u32) -> u32 {
        if self.entries.is_empty() {
            return link_mtu;
        }
        match self.entries.get(&dst) {
            Some(entry) if now < entry.expires => entry.mtu.min(link_mtu),
            _ => link_mtu,
        }
    }

    /// Learns that packets of `old_len` bytes to `dst` do not pass, and that `mtu` would (0: the
    /// router did not say, and a plateau of RFC 1191 is taken). Only ever lowers the MTU; returns
    /// the new one if it did.
    pub(crate) fn lower(
        &mut self,
        now: Instant,
        dst: IpAddr,
        mtu: u32,
        old_len: u32,
        link_mtu: u32,
    ) -> Option<u32> {
        let said = if mtu == 0 { plateau(old_len) } else { mtu };
        let mtu = said.max(match dst {
            IpAddr::V4(_) => MIN_PMTU,
            IpAddr::V6(_) => ipv6::MTU_MIN,
        });
        if mtu >= self.mtu(now, dst, link_mtu) {
            return None;
        }
        if self.entries.len() >= ENTRIES_MAX && !self.entries.contains_key(&dst) {
            self.make_room(now);
        }
        let expires = now + EXPIRES;
        self.entries.insert(dst, Entry { mtu, expires });
        Some(mtu)
    }

    /// Drops what has expired, and if that is nothing the entry that would expire first.
    fn make_room(&mut self, now: Instant) {
        self.entries.retain(|_, entry| now < entry.expires);
        if self.entries.len() < ENTRIES_MAX {
            return;
        }
        let oldest = self.entries.iter().min_by_key(|(_, entry)| entry.expires);
        if let Some(dst) = oldest.map(|(dst, _)| *dst) {
            self.entries.remove(&dst);
        }
    }
}

/// The next MTU below `len` in the table of RFC 1191 section 7.1.
fn plateau(len: u32) -> u32 {
    const PLATEAUS: [u32; 8] = [32_000, 17_914, 8166, 4352, 2002, 1492, 1006, 508];
    PLATEAUS.into_iter().find(|mtu| *mtu < len).unwrap_or(68)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lowers_and_expires() {
        let mut cache = PmtuCache::new(&mut Rng::from_seed([1; 16]));
        let (now, dst) = (Instant::from_millis(5), "10.0.0.1".parse().unwrap());
        assert_eq!(cache.lower(now, dst, 1400, 1500, 1500), Some(1400));
        assert_eq!(cache.lower(now, dst, 1450, 1500, 1500), None);
        assert_eq!(cache.mtu(now, dst, 1500), 1400);
        assert_eq!(cache.mtu(now, dst, 1300), 1300);
        assert_eq!(cache.mtu(now + EXPIRES, dst, 1500), 1500);
        assert_eq!(cache.lower(now, dst, 0, 1400, 1500), Some(1006));
        assert_eq!(cache.lower(now, dst, 10, 1400, 1500), Some(MIN_PMTU));
        let dst = "2001:db8::1".parse().unwrap();
        assert_eq!(cache.lower(now, dst, 10, 1400, 1500), Some(1280));
        assert_eq!(cache.lower(now, dst, 0, 1400, 1280), None);
    }

    #[test]
    fn is_bounded() {
        let mut cache = PmtuCache::new(&mut Rng::from_seed([1; 16]));
        for n in 0..(ENTRIES_MAX as u32 + 100) {
            let now = Instant::from_micros(u64::from(n));
            let dst = IpAddr::V4(n.into());
            assert_eq!(cache.lower(now, dst, 1000, 1500, 1500), Some(1000));
        }
        assert_eq!(cache.entries.len(), ENTRIES_MAX);
        let first = IpAddr::V4(0.into());
        assert_eq!(cache.mtu(Instant::ZERO, first, 1500), 1500);
    }
}
