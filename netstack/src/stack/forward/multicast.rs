//! Forwarding of multicasts by entries that are set by hand (Linux `MRT_ADD_MFC`): where packets of a source
//! to a group come in, and where they leave.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr};

use super::Transit;
use crate::network::IfaceId;
use crate::network::route::RouteMetrics;
use crate::rng::{KeyedState, Rng};
use crate::stack::net::{Hop, Path};
use crate::stack::{ConfigError, Stack};

/// Entries that a stack can have.
const ENTRIES_MAX: usize = 4096;
/// Interfaces that an entry can lead to (Linux `MAXVIFS`).
const OUTGOING_MAX: usize = 32;

/// One entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MulticastRoute {
    /// The sender; unspecified for all that have no entry of their own.
    pub source: IpAddr,
    /// The group.
    pub group: IpAddr,
    /// Where the packets have to come in.
    pub incoming: IfaceId,
    /// Where they leave, and what TTL they need at least for that.
    pub outgoing: Vec<(IfaceId, u8)>,
}

/// What has passed an entry.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Counts {
    packets: u64,
    wrong_iface: u64,
}

/// All entries, by group and source.
#[derive(Debug)]
pub(in crate::stack) struct MulticastRoutes {
    entries: HashMap<(IpAddr, IpAddr), (MulticastRoute, Counts), KeyedState>,
}

impl MulticastRoutes {
    pub(in crate::stack) fn new(rng: &mut Rng) -> Self {
        Self {
            entries: HashMap::with_hasher(KeyedState::new(rng)),
        }
    }

    fn find(&mut self, source: IpAddr, group: IpAddr) -> Option<&mut (MulticastRoute, Counts)> {
        let any = match group {
            IpAddr::V4(_) => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
            IpAddr::V6(_) => IpAddr::V6(std::net::Ipv6Addr::UNSPECIFIED),
        };
        let key = match self.entries.contains_key(&(group, source)) {
            true => source,
            false => any,
        };
        self.entries.get_mut(&(group, key))
    }
}

impl Stack {
    /// Adds an entry for multicasts; one of the same source and group is replaced. Packets follow it if
    /// `mc_forwarding` is set for the interface where they come in.
    ///
    /// # Errors
    /// `BadAddress`, `NoInterface`, `TooMany`.
    pub fn add_multicast_route(&mut self, route: MulticastRoute) -> Result<(), ConfigError> {
        let (source, group) = (route.source, route.group);
        let same_family = source.is_ipv4() == group.is_ipv4();
        if !group.is_multicast() || source.is_multicast() || !same_family || is_link_group(group) {
            return Err(ConfigError::BadAddress);
        }
        let outgoing = route.outgoing.iter().map(|(id, _)| *id);
        let all_there = core::iter::once(route.incoming)
            .chain(outgoing)
            .all(|id| self.net.iface(id).is_some());
        if !all_there {
            return Err(ConfigError::NoInterface);
        }
        let entries = &mut self.multicast_routes.entries;
        let is_new = !entries.contains_key(&(group, source));
        if route.outgoing.len() > OUTGOING_MAX || (is_new && entries.len() >= ENTRIES_MAX) {
            return Err(ConfigError::TooMany);
        }
        entries.insert((group, source), (route, Counts::default()));
        Ok(())
    }

    /// Removes an entry.
    ///
    /// # Errors
    /// `Missing`.
    pub fn remove_multicast_route(
        &mut self,
        source: IpAddr,
        group: IpAddr,
    ) -> Result<(), ConfigError> {
        let gone = self.multicast_routes.entries.remove(&(group, source));
        gone.map(|_| ()).ok_or(ConfigError::Missing)
    }

    /// All entries, each with how many packets followed it and how many came in at a wrong interface.
    pub fn multicast_routes(&self) -> impl Iterator<Item = (&MulticastRoute, u64, u64)> {
        let all = self.multicast_routes.entries.values();
        all.map(|(route, counts)| (route, counts.packets, counts.wrong_iface))
    }

    /// Sends copies of a multicast on where its entry says.
    pub(in crate::stack) fn forward_group(&mut self, transit: &Transit) {
        let (source, group) = (transit.header.src, transit.header.dst);
        if is_link_group(group) || !self.net.forwards_groups(transit.iface, group.is_ipv6()) {
            return;
        }
        let Some((route, counts)) = self.multicast_routes.find(source, group) else {
            self.net.stats.ip(group).mfc_no_entry += 1;
            return;
        };
        if route.incoming != transit.iface {
            counts.wrong_iface += 1;
            self.net.stats.ip(group).mfc_wrong_if += 1;
            return;
        }
        counts.packets += 1;
        let ttl = transit.header.ttl;
        let wanted = |(id, least): &&(IfaceId, u8)| *id != transit.iface && ttl > (*least).max(1);
        let outgoing: Vec<IfaceId> = route
            .outgoing
            .iter()
            .filter(wanted)
            .map(|it| it.0)
            .collect();
        for id in outgoing {
            self.copy_to(transit, id);
        }
    }

    fn copy_to(&mut self, transit: &Transit, id: IfaceId) {
        let group = transit.header.dst;
        let Some(link) = self.net.iface(id) else {
            return;
        };
        let path = Path {
            iface: id,
            src: transit.header.src,
            hop: Hop::Multicast,
            mtu: link.mtu_for(group),
            metrics: RouteMetrics::default(),
        };
        let Some(transit) = self.forward_hooks(transit.clone(), &path) else {
            return;
        };
        let too_long = transit.longest() > path.mtu as usize;
        // Nobody is told: RFC 1812 section 4.3.2.7, and Linux does not in IPv6 either.
        let passes = !too_long || transit.may_be_fragmented();
        self.net.stats.ip(group).frag_fails += u64::from(!passes);
        match passes && self.net.pass_on(transit, &path, too_long) {
            true => self.net.stats.ip(group).mfc_forwarded += 1,
            false => self.net.stats.ip(group).out_discards += u64::from(passes),
        }
    }
}

/// True for groups that no router forwards to: 224.0.0.0/24, and what is of an interface or a link.
fn is_link_group(group: IpAddr) -> bool {
    match group {
        IpAddr::V4(group) => group.octets()[..3] == [224, 0, 0],
        IpAddr::V6(group) => crate::network::source::scope(group) <= 2,
    }
}
