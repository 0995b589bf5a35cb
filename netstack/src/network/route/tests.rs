use super::*;
use crate::rng::Rng;
use proptest::prelude::*;
use std::collections::HashMap;
use std::net::Ipv4Addr;

fn routes() -> Routes {
    Routes::new(&mut Rng::from_seed([3; 16]))
}

fn cidr(text: &str) -> Cidr {
    text.parse().unwrap()
}

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn route(dest: &str, iface: u16, metric: u32) -> Route {
    Route {
        metric,
        ..Route::new(cidr(dest), IfaceId(iface))
    }
}

/// The interface of the way to `dst`.
fn way(routes: &Routes, dst: &str) -> Result<u16, NoWay> {
    let flow = Flow::to(ip(dst), None, None);
    routes.lookup(&flow).map(|(_, hop)| hop.iface.0)
}

#[test]
fn replaced_and_removed() {
    let mut routes = routes();
    routes.add(route("10.0.0.5/8", 1, 0));
    routes.add(Route {
        mtu: Some(1400),
        ..route("10.0.0.0/8", 1, 0)
    });
    assert_eq!(routes.all().len(), 1);
    let dst = ip("10.9.9.9");
    assert_eq!(routes.main(dst, None).unwrap().mtu, Some(1400));
    assert!(routes.main(dst, Some(IfaceId(2))).is_none());
    assert!(routes.remove(cidr("10.0.0.1/8"), IfaceId(1)));
    assert!(routes.main(dst, None).is_none());
    assert!(!routes.remove(cidr("10.0.0.1/8"), IfaceId(1)));
}

#[test]
fn a_bound_socket_takes_a_shorter_prefix_of_its_interface() {
    let mut routes = routes();
    routes.add(route("10.0.0.0/8", 1, 0));
    routes.add(route("0.0.0.0/0", 2, 0));
    let bound = Flow::to(ip("10.1.1.1"), None, Some(IfaceId(2)));
    assert_eq!(routes.lookup(&bound).unwrap().1.iface, IfaceId(2));
    assert_eq!(way(&routes, "10.1.1.1"), Ok(1));
}

#[test]
fn rules_choose_tables_in_order() {
    let mut routes = routes();
    routes.add(route("0.0.0.0/0", 1, 0));
    routes.add(Route {
        table: 100,
        ..route("0.0.0.0/0", 2, 0)
    });
    let rule = Rule {
        from: Some(cidr("10.5.0.0/16")),
        ..Rule::lookup(false, 1000, 100)
    };
    assert!(routes.add_rule(rule));
    assert!(!routes.add_rule(rule), "it is there");
    let from = |src: &str| Flow::to(ip("8.8.8.8"), Some(ip(src)), None);
    let iface = |routes: &Routes, flow: &Flow| routes.lookup(flow).unwrap().1.iface.0;
    assert_eq!(iface(&routes, &from("10.5.1.1")), 2);
    assert_eq!(iface(&routes, &from("10.6.1.1")), 1);
    assert_eq!(way(&routes, "8.8.8.8"), Ok(1), "no source, no match");
    assert!(routes.remove_rule(&rule));
    assert_eq!(iface(&routes, &from("10.5.1.1")), 1);
}

#[test]
fn marks_interfaces_and_tos_are_looked_at() {
    let mut routes = routes();
    for (table, iface) in [(table::MAIN, 1), (11, 11), (12, 12), (13, 13), (14, 14)] {
        routes.add(Route {
            table,
            ..route("::/0", iface, 0)
        });
    }
    let usual = |priority, table| Rule::lookup(true, priority, table);
    routes.add_rule(Rule {
        fwmark: Some((5, 0xf)),
        ..usual(1, 11)
    });
    routes.add_rule(Rule {
        iif: Some(IfaceId(3)),
        ..usual(2, 12)
    });
    routes.add_rule(Rule {
        tos: Some(0x10),
        ..usual(3, 13)
    });
    routes.add_rule(Rule {
        oif: Some(IfaceId(14)),
        ..usual(4, 14)
    });
    let plain = Flow::to(ip("2001:db8::1"), None, None);
    let iface = |flow: Flow| routes.lookup(&flow).unwrap().1.iface.0;
    assert_eq!(iface(plain), 1);
    assert_eq!(
        iface(Flow {
            mark: 0x25,
            ..plain
        }),
        11
    );
    let came = Some(IfaceId(3));
    assert_eq!(iface(Flow { iif: came, ..plain }), 12);
    assert_eq!(iface(Flow { tos: 0x11, ..plain }), 13);
    let bound = Some(IfaceId(14));
    assert_eq!(
        iface(Flow {
            oif: bound,
            ..plain
        }),
        14
    );
}

#[test]
fn routes_that_lead_nowhere_say_how() {
    let mut routes = routes();
    let kinds = [
        (RouteKind::Blackhole, NoWay::Blackhole),
        (RouteKind::Unreachable, NoWay::Unreachable),
        (RouteKind::Prohibit, NoWay::Prohibited),
    ];
    routes.add(route("0.0.0.0/0", 1, 0));
    for (n, (kind, said)) in kinds.into_iter().enumerate() {
        let dest = format!("10.{n}.0.0/16");
        routes.add(Route {
            kind,
            ..route(&dest, 0, 0)
        });
        assert_eq!(way(&routes, &format!("10.{n}.0.1")), Err(said));
    }
    assert_eq!(way(&routes, "10.9.0.1"), Ok(1));
    assert_eq!(way(&routes, "::1"), Err(NoWay::NoRoute));
}

#[test]
fn a_throw_route_goes_on_with_the_next_rule() {
    let mut routes = routes();
    routes.add(route("0.0.0.0/0", 1, 0));
    for (dest, kind) in [
        ("0.0.0.0/0", RouteKind::Unicast),
        ("10.0.0.0/8", RouteKind::Throw),
    ] {
        routes.add(Route {
            kind,
            table: 7,
            ..route(dest, 2, 0)
        });
    }
    routes.add_rule(Rule::lookup(false, 5, 7));
    assert_eq!(way(&routes, "10.0.0.1"), Ok(1));
    assert_eq!(way(&routes, "11.0.0.1"), Ok(2));
}

#[test]
fn tables_are_bounded() {
    let mut routes = routes();
    let added = (0..2 * TABLES_MAX as u32).filter(|table| {
        routes.add(Route {
            table: *table,
            ..route("10.0.0.0/8", 1, 0)
        })
    });
    assert!(added.count() <= TABLES_MAX);
    assert!(routes.tables.len() <= TABLES_MAX);
}

fn two_ways() -> Routes {
    let mut routes = routes();
    routes.add(Route {
        weight: 1,
        more: vec![NextHop {
            gateway: None,
            iface: IfaceId(2),
            weight: 3,
        }],
        ..route("0.0.0.0/0", 1, 0)
    });
    routes
}

fn flow(src: u32, dst: u32, port: u16) -> Flow {
    Flow {
        proto: 6,
        ports: (port, 80),
        ..Flow::to(
            Ipv4Addr::from(dst).into(),
            Some(Ipv4Addr::from(src).into()),
            None,
        )
    }
}

#[test]
fn flows_are_spread_by_weight_and_stay() {
    let routes = two_ways();
    let mut counts = HashMap::<IfaceId, u32>::new();
    for n in 0..4000 {
        let flow = flow(n, 0x0808_0808, 1);
        let hop = routes.lookup(&flow).unwrap().1;
        assert_eq!(routes.lookup(&flow).unwrap().1, hop);
        *counts.entry(hop.iface).or_default() += 1;
    }
    // 3000 expected; five times the deviation of a fair choice.
    let second = i64::from(counts[&IfaceId(2)]);
    assert!((second - 3000).abs() < 140, "{counts:?}");
}

#[test]
fn ports_matter_with_policy_1_only_and_directions_do_not() {
    let routes = two_ways();
    let flow = |src, dst, port, by_ports| Flow {
        by_ports,
        ..flow(src, dst, port)
    };
    let ifaces = |by_ports| {
        let each = (0..64).map(|port| {
            let flow = flow(1, 2, port, by_ports);
            routes.lookup(&flow).unwrap().1.iface
        });
        each.collect::<std::collections::HashSet<_>>().len()
    };
    assert_eq!(ifaces(false), 1);
    assert_eq!(ifaces(true), 2);
    for port in 0..64 {
        let there = flow(1, 2, port, true);
        let back = Flow {
            ports: (80, port),
            ..flow(2, 1, 0, true)
        };
        let hop = |flow| routes.lookup(flow).unwrap().1;
        assert_eq!(hop(&there), hop(&back));
    }
}

proptest! {
    #[test]
    fn finds_what_a_full_search_finds(
        specs in proptest::collection::vec((any::<u32>(), 0_u8..=32, 0_u16..3, 0_u32..3), 1..40),
        gone in proptest::collection::vec(any::<proptest::sample::Index>(), 0..10),
        dst in any::<u32>(), bound in proptest::option::of(0_u16..3)
    ) {
        let mut routes = routes();
        let mut all: Vec<Route> = Vec::new();
        for (addr, len, iface, metric) in specs {
            // Few distinct networks, so that they nest and collide.
            let addr = Ipv4Addr::from(addr & 0xc000_0003);
            let spec = route(&format!("{addr}/{len}"), iface, metric);
            let spec = Route { dest: spec.dest.network(), ..spec };
            routes.add(spec.clone());
            all.retain(|old| (old.dest, old.iface, old.metric) != (spec.dest, spec.iface, spec.metric));
            all.push(spec);
        }
        for index in gone {
            if !all.is_empty() {
                let route = all.swap_remove(index.index(all.len()));
                prop_assert!(routes.remove_exact(&route));
            }
        }
        let dst = IpAddr::V4(Ipv4Addr::from(dst & 0xc000_0003));
        let bound = bound.map(IfaceId);
        let rank = |route: &Route| (core::cmp::Reverse(route.dest.prefix_len()), route.metric);
        let best = all.iter()
            .filter(|route| route.dest.contains(dst) && bound.is_none_or(|id| id == route.iface))
            .map(rank).min();
        let found = routes.lookup(&Flow::to(dst, None, bound)).ok().map(|(route, _)| rank(route));
        prop_assert_eq!(found, best);
        prop_assert_eq!(routes.all().len(), all.len());
    }
}
