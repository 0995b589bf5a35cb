//! Routes: policy rules name tables; in a table the longest prefix wins, then the lowest metric; over
//! several next hops flows are spread by their hash.

mod multipath;
mod prefixes;
mod rules;
mod trie;

use std::net::IpAddr;

use super::IfaceId;
use super::addr::Cidr;
use crate::error::SocketError;
use crate::rng::Rng;
use multipath::Spreader;
use prefixes::Table;
use rules::Rules;
pub use rules::{RULES_MAX, Rule, RuleAction};

/// Numbers of the tables that Linux has names for.
pub mod table {
    /// Where routes go unless they say otherwise.
    pub const MAIN: u32 = 254;
    /// Looked in last, in IPv4.
    pub const DEFAULT: u32 = 253;
}

/// Tables that a stack can have.
pub const TABLES_MAX: usize = 256;

/// One route. Make it from [`Route::new`], so that what it does not say is as usual.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Route {
    /// Where it leads; host bits are ignored.
    pub dest: Cidr,
    /// The router, or `None` if the destination is on the link.
    pub gateway: Option<IpAddr>,
    /// The outgoing interface.
    pub iface: IfaceId,
    /// Lower is preferred among equal prefixes.
    pub metric: u32,
    /// Preferred source address.
    pub src: Option<IpAddr>,
    /// MTU in bytes, if lower than the interface's.
    pub mtu: Option<u32>,
    /// What becomes of packets that take it.
    pub kind: RouteKind,
    /// The table that it is in ([`mod@table`]).
    pub table: u32,
    /// What connections over it begin with.
    pub metrics: RouteMetrics,
    /// The share of flows that take `gateway` and `iface` when there are more next hops.
    pub weight: u16,
    /// Further next hops, over which flows are spread (multipath).
    pub more: Vec<NextHop>,
}

/// What becomes of packets that take a route.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum RouteKind {
    /// They leave.
    #[default]
    Unicast,
    /// They are dropped (EINVAL to sockets).
    Blackhole,
    /// They are dropped, and "host unreachable" is said.
    Unreachable,
    /// They are dropped, and "administratively prohibited" is said.
    Prohibit,
    /// The search goes on with the next rule.
    Throw,
}

/// What connections over a route begin with (`ip route ... advmss N`); `None` is as usual.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RouteMetrics {
    /// The most that a SYN announces as MSS, in bytes.
    pub advmss: Option<u32>,
    /// The most that is announced as window, in bytes.
    pub window: Option<u32>,
    /// Initial congestion window, in segments.
    pub initcwnd: Option<u32>,
    /// Initial receive window, in segments.
    pub initrwnd: Option<u32>,
}

/// A further next hop of a route.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NextHop {
    /// The router, or `None` if the destination is on the link.
    pub gateway: Option<IpAddr>,
    /// The outgoing interface.
    pub iface: IfaceId,
    /// Its share of the flows.
    pub weight: u16,
}

/// The next hop that a flow takes.
pub(crate) type HopRef = NextHop;

impl Route {
    /// A route to a network on an interface's link.
    pub fn new(dest: Cidr, iface: IfaceId) -> Self {
        Self {
            dest,
            gateway: None,
            iface,
            metric: 0,
            src: None,
            mtu: None,
            kind: RouteKind::Unicast,
            table: table::MAIN,
            metrics: RouteMetrics::default(),
            weight: 1,
            more: Vec::new(),
        }
    }

    /// A route to a network by way of a router.
    pub fn via(dest: Cidr, gateway: IpAddr, iface: IfaceId) -> Self {
        Self {
            gateway: Some(gateway),
            ..Self::new(dest, iface)
        }
    }

    /// Every next hop, that of the route itself first.
    pub fn hops(&self) -> impl Iterator<Item = NextHop> {
        core::iter::once(self.first_hop()).chain(self.more.iter().copied())
    }

    fn first_hop(&self) -> NextHop {
        NextHop {
            gateway: self.gateway,
            iface: self.iface,
            weight: self.weight,
        }
    }

    fn leads_over(&self, iface: IfaceId) -> bool {
        self.kind == RouteKind::Unicast && self.hops().any(|hop| hop.iface == iface)
    }
}

/// What a route is looked for by.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Flow {
    pub(crate) dst: IpAddr,
    pub(crate) src: Option<IpAddr>,
    /// Where the packet came in; the loopback interface if it is sent from here.
    pub(crate) iif: Option<IfaceId>,
    /// The interface that it has to take.
    pub(crate) oif: Option<IfaceId>,
    pub(crate) mark: u32,
    pub(crate) tos: u8,
    pub(crate) proto: u8,
    pub(crate) ports: (u16, u16),
    /// Ports matter for the choice among next hops (`fib_multipath_hash_policy` 1).
    pub(crate) by_ports: bool,
}

impl Flow {
    /// A packet from here of which nothing else is known yet.
    pub(crate) fn to(dst: IpAddr, src: Option<IpAddr>, oif: Option<IfaceId>) -> Self {
        Self {
            dst,
            src,
            iif: None,
            oif,
            mark: 0,
            tos: 0,
            proto: 0,
            ports: (0, 0),
            by_ports: false,
        }
    }
}

/// Why there is no way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum NoWay {
    #[error("no route")]
    NoRoute,
    #[error("a blackhole route")]
    Blackhole,
    #[error("an unreachable route")]
    Unreachable,
    #[error("a prohibiting route")]
    Prohibited,
}

impl From<NoWay> for SocketError {
    fn from(why: NoWay) -> Self {
        match why {
            NoWay::NoRoute => Self::NetUnreachable,
            NoWay::Blackhole => Self::Invalid,
            NoWay::Unreachable => Self::HostUnreachable,
            NoWay::Prohibited => Self::Access,
        }
    }
}

/// All tables and rules of a stack.
#[derive(Clone, Debug)]
pub(crate) struct Routes {
    tables: Vec<(u32, Table)>,
    v4: Rules,
    v6: Rules,
    spreader: Spreader,
}

impl Routes {
    pub(crate) fn new(rng: &mut Rng) -> Self {
        Self {
            tables: vec![(table::MAIN, Table::default())],
            v4: Rules::usual(false),
            v6: Rules::usual(true),
            spreader: Spreader::new(rng),
        }
    }

    /// Adds a route; one to the same prefix over the same interface with the same metric is replaced.
    /// False if there would be too many tables.
    pub(crate) fn add(&mut self, route: Route) -> bool {
        let route = Route {
            dest: route.dest.network(),
            ..route
        };
        let number = route.table;
        if self.table(number).is_none() {
            if self.tables.len() >= TABLES_MAX {
                return false;
            }
            self.tables.push((number, Table::default()));
        }
        if let Some((_, table)) = self.tables.iter_mut().find(|(known, _)| *known == number) {
            table.add(route);
        }
        true
    }

    /// Removes the routes of the main table to `dest` over `iface`; returns whether there was one.
    pub(crate) fn remove(&mut self, dest: Cidr, iface: IfaceId) -> bool {
        self.remove_where(table::MAIN, dest, |route| route.iface == iface)
    }

    /// Removes one very route, if it is there.
    pub(crate) fn remove_exact(&mut self, route: &Route) -> bool {
        self.remove_where(route.table, route.dest, |other| other == route)
    }

    /// Removes the routes of a table to `dest` that `unwanted` names; returns whether there was one.
    pub(crate) fn remove_where(
        &mut self,
        number: u32,
        dest: Cidr,
        unwanted: impl Fn(&Route) -> bool,
    ) -> bool {
        let Some(at) = self.tables.iter().position(|(known, _)| *known == number) else {
            return false;
        };
        let table = &mut self.tables[at].1;
        let gone = table.remove(dest.network(), unwanted);
        if table.is_empty() && number != table::MAIN {
            self.tables.swap_remove(at);
        }
        gone > 0
    }

    /// The best route of the main table to `dst`, through `iface` if that is given: whether something
    /// is on a link.
    pub(crate) fn main(&self, dst: IpAddr, iface: Option<IfaceId>) -> Option<&Route> {
        self.table(table::MAIN)?.lookup(dst, iface)
    }

    /// The way of a flow.
    ///
    /// # Errors
    /// Why there is none.
    pub(crate) fn lookup(&self, flow: &Flow) -> Result<(&Route, NextHop), NoWay> {
        let rules = match flow.dst {
            IpAddr::V4(_) => &self.v4,
            IpAddr::V6(_) => &self.v6,
        };
        for rule in rules.list.iter().filter(|rule| rule.fits(flow)) {
            let number = match rule.action {
                RuleAction::Table(number) => number,
                RuleAction::Blackhole => return Err(NoWay::Blackhole),
                RuleAction::Unreachable => return Err(NoWay::Unreachable),
                RuleAction::Prohibit => return Err(NoWay::Prohibited),
            };
            let found = self
                .table(number)
                .and_then(|table| table.lookup(flow.dst, flow.oif));
            let Some(route) = found else {
                continue;
            };
            match route.kind {
                RouteKind::Unicast => return Ok((route, self.spreader.choose(route, flow))),
                RouteKind::Throw => {}
                RouteKind::Blackhole => return Err(NoWay::Blackhole),
                RouteKind::Unreachable => return Err(NoWay::Unreachable),
                RouteKind::Prohibit => return Err(NoWay::Prohibited),
            }
        }
        Err(NoWay::NoRoute)
    }

    /// Every route, the longest prefixes first, and among them the lowest metrics.
    pub(crate) fn all(&self) -> Vec<Route> {
        let tables = self.tables.iter();
        let mut all: Vec<Route> = tables
            .flat_map(|(_, table)| table.iter().cloned())
            .collect();
        all.sort_by_key(|route| {
            let longest = core::cmp::Reverse(route.dest.prefix_len());
            (longest, route.metric, route.dest.addr(), route.iface)
        });
        all
    }

    /// The rules of a family, in order.
    pub(crate) fn rules(&self, ipv6: bool) -> &[Rule] {
        match ipv6 {
            false => &self.v4.list,
            true => &self.v6.list,
        }
    }

    pub(crate) fn add_rule(&mut self, rule: Rule) -> bool {
        self.rules_mut(rule.ipv6).add(rule)
    }

    pub(crate) fn remove_rule(&mut self, rule: &Rule) -> bool {
        self.rules_mut(rule.ipv6).remove(rule)
    }

    fn rules_mut(&mut self, ipv6: bool) -> &mut Rules {
        match ipv6 {
            false => &mut self.v4,
            true => &mut self.v6,
        }
    }

    fn table(&self, number: u32) -> Option<&Table> {
        let mut tables = self.tables.iter();
        tables
            .find(|(known, _)| *known == number)
            .map(|(_, table)| table)
    }
}

#[cfg(test)]
mod tests;
