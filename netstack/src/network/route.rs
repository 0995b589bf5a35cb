//! The routing table: longest prefix, then lowest metric.

use std::net::IpAddr;

use super::IfaceId;
use super::addr::Cidr;

/// One route.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
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
}

/// All routes of a stack, most specific first.
#[derive(Debug, Default)]
pub(crate) struct RouteTable {
    routes: Vec<Route>,
}

impl RouteTable {
    /// Adds a route; one to the same prefix over the same interface with the same metric is replaced.
    pub(crate) fn add(&mut self, route: Route) {
        let route = Route {
            dest: route.dest.network(),
            ..route
        };
        self.routes.retain(|old| !same_place(old, &route));
        let rank = |route: &Route| (core::cmp::Reverse(route.dest.prefix_len()), route.metric);
        let at = self.routes.partition_point(|old| rank(old) <= rank(&route));
        self.routes.insert(at, route);
    }

    /// Removes the routes to `dest` over `iface`; returns whether there was one.
    pub(crate) fn remove(&mut self, dest: Cidr, iface: IfaceId) -> bool {
        let before = self.routes.len();
        let dest = dest.network();
        self.routes
            .retain(|route| route.dest != dest || route.iface != iface);
        self.routes.len() != before
    }

    /// Removes one very route, if it is there.
    pub(crate) fn remove_exact(&mut self, route: &Route) {
        self.routes.retain(|other| other != route);
    }

    /// The best route to `dst`, through `iface` if that is given.
    pub(crate) fn lookup(&self, dst: IpAddr, iface: Option<IfaceId>) -> Option<&Route> {
        self.routes.iter().find(|route| {
            route.dest.contains(dst) && iface.is_none_or(|iface| iface == route.iface)
        })
    }

    /// Every route, best first.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &Route> {
        self.routes.iter()
    }
}

fn same_place(one: &Route, two: &Route) -> bool {
    (one.dest, one.iface, one.metric) == (two.dest, two.iface, two.metric)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::net::Ipv4Addr;

    fn route(dest: &str, iface: u16, metric: u32) -> Route {
        Route {
            dest: dest.parse().unwrap(),
            gateway: None,
            iface: IfaceId(iface),
            metric,
            src: None,
            mtu: None,
        }
    }

    #[test]
    fn replaced_and_removed() {
        let mut table = RouteTable::default();
        table.add(route("10.0.0.5/8", 1, 0));
        table.add(Route {
            mtu: Some(1400),
            ..route("10.0.0.0/8", 1, 0)
        });
        assert_eq!(table.iter().count(), 1);
        let dst = "10.9.9.9".parse().unwrap();
        assert_eq!(table.lookup(dst, None).unwrap().mtu, Some(1400));
        assert!(table.lookup(dst, Some(IfaceId(2))).is_none());
        assert!(table.remove("10.0.0.1/8".parse().unwrap(), IfaceId(1)));
        assert!(table.lookup(dst, None).is_none());
    }

    proptest! {
        #[test]
        fn finds_what_a_full_search_finds(
            specs in proptest::collection::vec((any::<u32>(), 0_u8..=32, 0_u16..3, 0_u32..3), 1..20), dst in any::<u32>()
        ) {
            let mut table = RouteTable::default();
            let mut all: Vec<Route> = Vec::new();
            for (addr, len, iface, metric) in specs {
                // Few distinct networks, so that they nest and collide.
                let addr = Ipv4Addr::from(addr & 0xc000_0003);
                let spec = route(&format!("{addr}/{len}"), iface, metric);
                table.add(spec);
                all.push(spec);
            }
            let dst = IpAddr::V4(Ipv4Addr::from(dst & 0xc000_0003));
            let best = all.iter().filter(|route| route.dest.contains(dst))
                .map(|route| (core::cmp::Reverse(route.dest.prefix_len()), route.metric)).min();
            let found = table.lookup(dst, None).map(|route| (core::cmp::Reverse(route.dest.prefix_len()), route.metric));
            prop_assert_eq!(found, best);
        }
    }
}
