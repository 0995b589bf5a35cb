//! Groups of an interface: who is a member, what the link is told of it (IGMP, MLD: one mechanism for
//! both), and what routers ask.

mod query;
mod report;

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::iface::Iface;
use super::net::Net;
use crate::link::Medium;
use crate::network::IfaceId;
use crate::network::multicast::{Interest, SourceFilter};
use crate::time::{Duration, Instant};
use crate::wire::membership::Version;
use crate::wire::{igmp, ipv6, mld};
use report::{Pending, Response};

/// Seconds between the queries of a router that does not say (RFC 3376 section 8.2).
const QUERY_INTERVAL: Duration = Duration::from_secs(125);

/// The groups of an interface.
#[derive(Debug)]
pub(super) struct Groups {
    list: BTreeMap<IpAddr, Group>,
    v4: Querier,
    v6: Querier,
}

/// One group that somebody is a member of, or that was left and has to be told of still.
#[derive(Debug, Default)]
struct Group {
    interest: Interest,
    /// An address of ours needs it (the solicited-node groups of IPv6).
    own: bool,
    /// Changes that the link is to be told of (version 3).
    pending: Pending,
    /// What is to be answered to a router that asked for this group.
    response: Option<Response>,
    /// Reports of the older versions that are still to be sent, unasked.
    unasked: u8,
    /// Ours was the last report of this group in an older version: who leaves says so.
    last_reporter: bool,
}

/// What is known of the routers that ask, for one family.
#[derive(Debug)]
struct Querier {
    /// Until then there is a router that knows only version 1, or version 2.
    older_until: [Option<Instant>; 2],
    robustness: u8,
    interval: Duration,
    /// When changes are told.
    changes_at: Option<Instant>,
    /// When a question for all groups is answered.
    all_at: Option<Instant>,
}

impl Default for Groups {
    fn default() -> Self {
        let querier = || Querier {
            older_until: [None; 2],
            robustness: ROBUSTNESS,
            interval: QUERY_INTERVAL,
            changes_at: None,
            all_at: None,
        };
        Self {
            list: BTreeMap::new(),
            v4: querier(),
            v6: querier(),
        }
    }
}

/// A change is told so often unless a router says otherwise (RFC 3376 section 8.1).
const ROBUSTNESS: u8 = 2;

impl Groups {
    /// True if packets of `source` to the group are for this interface.
    pub(super) fn receives(&self, group: IpAddr, source: IpAddr) -> bool {
        let found = self.list.get(&group);
        found.is_some_and(|group| group.interest.allows(source))
    }

    /// Every group with members.
    pub(super) fn iter(&self) -> impl Iterator<Item = IpAddr> {
        let members = self.list.iter().filter(|(_, group)| group.has_members());
        members.map(|(addr, _)| *addr)
    }

    fn querier(&self, group: IpAddr) -> &Querier {
        match group {
            IpAddr::V4(_) => &self.v4,
            IpAddr::V6(_) => &self.v6,
        }
    }

    fn querier_mut(&mut self, v4: bool) -> &mut Querier {
        match v4 {
            true => &mut self.v4,
            false => &mut self.v6,
        }
    }

    /// When something is next to be sent.
    fn deadline(&self) -> Option<Instant> {
        let queriers = [&self.v4, &self.v6];
        let own = queriers
            .into_iter()
            .flat_map(|it| [it.changes_at, it.all_at]);
        let responses = self.list.values().map(|group| group.response.as_ref());
        own.chain(responses.map(|response| Some(response?.at)))
            .flatten()
            .min()
    }
}

impl Group {
    fn has_members(&self) -> bool {
        self.interest.filter() != SourceFilter::NONE
    }

    /// Nothing is left to be said of a group without members.
    fn is_done(&self) -> bool {
        !self.has_members() && self.pending.is_empty() && self.response.is_none()
    }
}

impl Net {
    /// True if packets of `src` to the group are for the interface.
    pub(super) fn is_member(&self, id: IfaceId, group: IpAddr, src: IpAddr) -> bool {
        let everybodys = match group {
            IpAddr::V4(group) => group == igmp::ALL_HOSTS,
            IpAddr::V6(group) => all_nodes(group) || self.is_router_group(id, group),
        };
        everybodys
            || self
                .iface(id)
                .is_some_and(|iface| iface.groups.receives(group, src))
    }

    /// All routers are meant, and we are one on that interface.
    fn is_router_group(&self, id: IfaceId, group: Ipv6Addr) -> bool {
        const ALL_ROUTERS: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 2);
        group == ALL_ROUTERS && self.iface(id).is_some_and(|iface| iface.conf.forwarding_v6)
    }

    /// True if somebody on the interface is a member, whoever sends.
    pub(super) fn has_members(&self, id: IfaceId, group: IpAddr) -> bool {
        let listed = |iface: &Iface| {
            iface
                .groups
                .list
                .get(&group)
                .is_some_and(Group::has_members)
        };
        self.is_member(id, group, Ipv4Addr::UNSPECIFIED.into())
            || self.iface(id).is_some_and(listed)
    }

    /// A socket becomes a member with `new`, changes its filter from `old`, or leaves.
    pub(super) fn change_membership(
        &mut self,
        id: IfaceId,
        group: IpAddr,
        old: Option<&SourceFilter>,
        new: Option<&SourceFilter>,
    ) {
        let Some(iface) = self.iface_mut(id) else {
            return;
        };
        let entry = iface.groups.list.entry(group).or_default();
        let before = entry.interest.filter();
        // First in, then out: who changes is a member all the time.
        new.into_iter()
            .for_each(|filter| entry.interest.add(filter));
        old.into_iter()
            .for_each(|filter| entry.interest.remove(filter));
        let after = entry.interest.filter();
        if before != after {
            self.tell_change(id, group, &before, &after);
        }
        self.forget_left(id);
        self.groups_schedule();
    }

    /// Joins and leaves the solicited-node groups of the addresses that an interface has (RFC 4291 section
    /// 2.8), of those too that are still being asked for.
    pub(super) fn sync_own_groups(&mut self, id: IfaceId) {
        let Some(iface) = self.iface(id) else {
            return;
        };
        // Without link addresses nobody is asked for, and the link has no use for such groups.
        if iface.caps.medium == Medium::Ip && !iface.is_loopback {
            return;
        }
        let addrs = iface.addrs.iter().filter_map(|own| match own.ip() {
            IpAddr::V6(addr) => Some(IpAddr::V6(ipv6::solicited_node(addr))),
            IpAddr::V4(_) => None,
        });
        let wanted: Vec<IpAddr> = addrs.collect();
        let own = iface.groups.list.iter().filter(|(_, group)| group.own);
        let gone: Vec<IpAddr> = own
            .map(|(addr, _)| *addr)
            .filter(|addr| !wanted.contains(addr))
            .collect();
        for group in wanted {
            if !self.set_own(id, group, true) {
                self.change_membership(id, group, None, Some(&SourceFilter::ALL));
            }
        }
        for group in gone {
            self.set_own(id, group, false);
            self.change_membership(id, group, Some(&SourceFilter::ALL), None);
        }
    }

    /// Marks a group as needed by an address, or not; returns what it was.
    fn set_own(&mut self, id: IfaceId, group: IpAddr, own: bool) -> bool {
        let Some(iface) = self.iface_mut(id) else {
            return own;
        };
        let entry = iface.groups.list.entry(group).or_default();
        core::mem::replace(&mut entry.own, own)
    }

    fn forget_left(&mut self, id: IfaceId) {
        if let Some(iface) = self.iface_mut(id) {
            iface.groups.list.retain(|_, group| !group.is_done());
        }
    }

    /// Notes when [`Net::group_timers`] next has something to do.
    pub(super) fn groups_schedule(&mut self) {
        let all = self
            .ifaces
            .iter()
            .filter_map(|iface| iface.groups.deadline());
        self.groups_wake = all.min();
    }

    /// The version in which routers of the interface want to be talked to.
    fn report_version(&self, id: IfaceId, group: IpAddr) -> Version {
        let forced = match group {
            IpAddr::V4(_) => self.config.force_igmp_version,
            // MLDv1 is a contemporary of IGMPv2.
            IpAddr::V6(_) => self
                .config
                .force_mld_version
                .checked_add(1)
                .filter(|version| *version > 1)
                .unwrap_or(0),
        };
        let Some(iface) = self.iface(id) else {
            return Version::Three;
        };
        let heard = |at: usize| {
            let until = iface.groups.querier(group).older_until[at];
            until.is_some_and(|until| self.now < until)
        };
        match forced {
            1 => Version::One,
            2 => Version::Two,
            3 => Version::Three,
            _ if heard(0) => Version::One,
            _ if heard(1) => Version::Two,
            _ => Version::Three,
        }
    }
}

/// The groups of all nodes, of the interface and of the link.
fn all_nodes(group: Ipv6Addr) -> bool {
    let of_scope = |scope: u16| Ipv6Addr::new(0xff00 | scope, 0, 0, 0, 0, 0, 0, 1);
    group == of_scope(1) || group == of_scope(2)
}

/// True of groups that nobody is told of.
fn is_silent(group: IpAddr) -> bool {
    match group {
        IpAddr::V4(_) => igmp::is_silent(group),
        IpAddr::V6(_) => mld::is_silent(group),
    }
}
