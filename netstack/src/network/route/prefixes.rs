//! One routing table: for each prefix its routes, the lowest metric first.

use std::net::IpAddr;

use smallvec::SmallVec;

use super::Route;
use super::trie::Trie;
use crate::network::IfaceId;
use crate::network::addr::Cidr;

type Entry = SmallVec<[Route; 1]>;

/// The routes of both families.
#[derive(Clone, Debug, Default)]
pub(crate) struct Table {
    v4: Trie<u32, Entry>,
    v6: Trie<u128, Entry>,
}

impl Table {
    /// Adds a route; one to the same prefix over the same interface with the same metric is replaced.
    pub(super) fn add(&mut self, route: Route) {
        let len = route.dest.prefix_len();
        let entry = match route.dest.addr() {
            IpAddr::V4(addr) => self.v4.slot(addr.into(), len),
            IpAddr::V6(addr) => self.v6.slot(addr.into(), len),
        };
        entry.retain(|old| (old.iface, old.metric) != (route.iface, route.metric));
        let at = entry.partition_point(|old| old.metric <= route.metric);
        entry.insert(at, route);
    }

    /// Removes the routes to a prefix that `unwanted` names; returns how many.
    pub(super) fn remove(&mut self, dest: Cidr, unwanted: impl Fn(&Route) -> bool) -> usize {
        let len = dest.prefix_len();
        let entry = match dest.addr() {
            IpAddr::V4(addr) => self.v4.get_mut(addr.into(), len),
            IpAddr::V6(addr) => self.v6.get_mut(addr.into(), len),
        };
        let Some(entry) = entry else {
            return 0;
        };
        let before = entry.len();
        entry.retain(|route| !unwanted(route));
        let (after, gone) = (entry.len(), before - entry.len());
        if after == 0 {
            match dest.addr() {
                IpAddr::V4(addr) => self.v4.remove(addr.into(), len),
                IpAddr::V6(addr) => self.v6.remove(addr.into(), len),
            };
        }
        gone
    }

    /// The best route to `dst`, through `iface` if that is given.
    pub(super) fn lookup(&self, dst: IpAddr, iface: Option<IfaceId>) -> Option<&Route> {
        let fits = |entry: &'_ Entry| -> Option<usize> {
            let leads = |route: &Route| iface.is_none_or(|iface| route.leads_over(iface));
            entry.iter().position(leads)
        };
        let first = |entry: &'_ Entry| fits(entry).is_some();
        let entry = match dst {
            IpAddr::V4(addr) => self.v4.matches(addr.into()).find(|entry| first(entry)),
            IpAddr::V6(addr) => self.v6.matches(addr.into()).find(|entry| first(entry)),
        }?;
        entry.get(fits(entry)?)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Route> {
        self.v4.values().chain(self.v6.values()).flatten()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.v4.is_empty() && self.v6.is_empty()
    }
}
