//! Neighbour discovery in virtual time: duplicate addresses, routers, prefixes, redirects, groups.

use std::net::{IpAddr, Ipv6Addr};

use super::malformed6::{frame, icmp6};
use super::*;
use crate::error::SocketError;
use crate::network::IpOutput;
use crate::wire::ndp;

const OUR_MAC: [u8; 6] = [2, 0, 0, 0, 0, 1];
const ALL: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1);

fn v6(text: &str) -> Ipv6Addr {
    text.parse().unwrap()
}

/// Runs the timers until `until` seconds from the start.
fn run_until(wire: &mut Wire, until: u64) {
    let end = Instant::from_millis(1000) + Duration::from_secs(until);
    loop {
        let next = wire
            .hosts
            .iter()
            .filter_map(|host| host.stack.poll_timeout())
            .min();
        if next.is_none_or(|next| next > end) {
            break;
        }
        wire.tick();
    }
    wire.now = end;
    wire.hosts
        .iter_mut()
        .for_each(|host| host.stack.handle_timeout(end));
}

fn addresses(wire: &mut Wire, host: usize) -> Vec<Address> {
    let iface = wire.hosts[host].iface;
    let all = wire.stack(host).interfaces();
    let own = all.into_iter().find(|info| info.id == iface).unwrap();
    own.addresses
        .into_iter()
        .filter(|own| own.ip().is_ipv6())
        .collect()
}

fn state(wire: &mut Wire, host: usize, addr: &str) -> Option<AddressState> {
    let addr: IpAddr = addr.parse().unwrap();
    let all = addresses(wire, host);
    all.iter().find(|own| own.ip() == addr).map(|own| own.state)
}

fn add(wire: &mut Wire, host: usize, text: &str) {
    let iface = wire.hosts[host].iface;
    wire.stack(host)
        .add_address(iface, text.parse().unwrap())
        .unwrap();
}

/// ICMPv6 messages of a type that the host has sent.
fn sent(wire: &Wire, host: usize, kind: u8) -> Vec<Vec<u8>> {
    let of_kind = |frame: &&Vec<u8>| {
        let at = if frame[20] == 0 { 62 } else { 54 };
        frame[12..14] == [0x86, 0xdd] && frame.get(at) == Some(&kind)
    };
    wire.hosts[host]
        .sent
        .iter()
        .filter(of_kind)
        .cloned()
        .collect()
}

#[test]
fn a_new_address_is_asked_for_before_it_is_used() {
    let mut wire = Wire::new(Medium::Ethernet);
    add(&mut wire, A, "fd00::1/64");
    assert_eq!(
        state(&mut wire, A, "fd00::1"),
        Some(AddressState::Tentative)
    );
    let found = wire
        .stack(A)
        .net
        .path("fd00::2".parse().unwrap(), None, None);
    assert_eq!(found, Err(SocketError::AddrNotAvailable));
    run_until(&mut wire, 3);
    assert_eq!(state(&mut wire, A, "fd00::1"), Some(AddressState::Usable));
    let asked = sent(&wire, A, 135);
    assert_eq!(asked.len(), 1);
    // From nobody, to the group, without a link address.
    assert_eq!(asked[0][..6], [0x33, 0x33, 0xff, 0, 0, 1]);
    assert!(asked[0][22..38].iter().all(|byte| *byte == 0) && asked[0].len() == 54 + 24);
    // On a link without link addresses there is nobody to ask.
    let mut wire = Wire::new(Medium::Ip);
    add(&mut wire, A, "fd00::1/64");
    assert_eq!(state(&mut wire, A, "fd00::1"), Some(AddressState::Usable));
}

#[test]
fn an_address_of_somebody_else_is_not_taken() {
    let mut wire = Wire::new(Medium::Ethernet);
    let iface = wire.hosts[B].iface;
    wire.stack(B)
        .add_unique_address(iface, "fd00::9/64".parse().unwrap())
        .unwrap();
    add(&mut wire, A, "fd00::9/64");
    run_until(&mut wire, 3);
    assert_eq!(
        state(&mut wire, A, "fd00::9"),
        Some(AddressState::Duplicate)
    );
    assert_eq!(state(&mut wire, B, "fd00::9"), Some(AddressState::Usable));
    assert_eq!(wire.stack(A).stats().net.nd.dad_failures, 1);
    assert!(!wire.stack(A).is_local("fd00::9".parse().unwrap()));
}

#[test]
fn two_that_ask_at_the_same_time_do_not_both_get_it() {
    let mut wire = Wire::new(Medium::Ethernet);
    add(&mut wire, A, "fd00::9/64");
    add(&mut wire, B, "fd00::9/64");
    run_until(&mut wire, 3);
    let states = [A, B].map(|host| state(&mut wire, host, "fd00::9"));
    assert!(
        states.contains(&Some(AddressState::Duplicate)),
        "{states:?}"
    );
    assert!(
        !states.contains(&Some(AddressState::Tentative)),
        "{states:?}"
    );
}

#[test]
fn an_absent_neighbour_is_told() {
    let mut wire = Wire::new_v6(Medium::Ethernet);
    let id = wire.stack(A).udp_open(Family::V6);
    let to = "[fd00::99]:7".parse().unwrap();
    wire.stack(A).udp_connect(id, to).unwrap();
    wire.stack(A).udp_options_mut(id).unwrap().recv_errors = true;
    wire.stack(A).udp_send(id, &b"x"[..], None).unwrap();
    while wire.tick() {}
    let error = wire.stack(A).udp_recv(id).unwrap_err();
    assert_eq!(error, SocketError::HostUnreachable);
    assert_eq!(sent(&wire, A, 135).len(), 3);
}

#[test]
fn a_neighbour_is_confirmed_and_probed() {
    use crate::neighbor::NeighborState::{Delay, Reachable};
    let mut wire = Wire::new_v6(Medium::Ethernet);
    let neighbor = |wire: &mut Wire| {
        let all = wire.stack(A).neighbors();
        all.into_iter()
            .find(|it| it.addr.is_ipv6())
            .map(|it| it.state)
    };
    let (id, to) = (
        wire.stack(A).udp_open(Family::V6),
        "[fd00::2]:7".parse().unwrap(),
    );
    wire.stack(A).udp_send(id, &b"x"[..], Some(to)).unwrap();
    wire.run();
    assert_eq!(neighbor(&mut wire), Some(Reachable));
    wire.elapse(Duration::from_secs(100));
    wire.stack(A).udp_send(id, &b"x"[..], Some(to)).unwrap();
    assert_eq!(neighbor(&mut wire), Some(Delay));
    wire.run();
    wire.hosts[A].sent.clear();
    while sent(&wire, A, 135).is_empty() && wire.tick() {}
    // The probe goes to the neighbour alone.
    assert_eq!(sent(&wire, A, 135)[0][..6], [2, 0, 0, 0, 0, 2]);
    assert_eq!(neighbor(&mut wire), Some(Reachable));
}

fn autoconfigure(wire: &mut Wire) {
    let iface = wire.hosts[A].iface;
    wire.stack(A).autoconfigure_ipv6(iface).unwrap();
}

#[test]
fn a_link_local_address_and_then_routers_are_asked_for() {
    let mut wire = Wire::new(Medium::Ethernet);
    autoconfigure(&mut wire);
    run_until(&mut wire, 30);
    let state = state(&mut wire, A, "fe80::ff:fe00:1");
    assert_eq!(state, Some(AddressState::Usable));
    let asked = sent(&wire, A, 133);
    assert_eq!(asked.len(), 3);
    assert_eq!(asked[0][..6], [0x33, 0x33, 0, 0, 0, 2]);
    // The group of the address was told of, by hop-by-hop option and hop limit 1, again after a while.
    let reports = sent(&wire, A, 143);
    assert_eq!(reports.len(), 2);
    assert_eq!((reports[0][20], reports[0][21]), (0, 1));
    let group = crate::wire::ipv6::solicited_node(v6("fe80::ff:fe00:1"));
    assert_eq!(reports[1][62 + 12..62 + 28], group.octets());
}

/// A router's advertisement.
struct Advert {
    router: &'static str,
    lifetime: u16,
    options: Vec<u8>,
}

impl Advert {
    fn of(router: &'static str) -> Self {
        Self {
            router,
            lifetime: 1800,
            options: Vec::new(),
        }
    }

    fn lasting(self, lifetime: u16) -> Self {
        Self { lifetime, ..self }
    }

    fn prefix(mut self, prefix: &str, flags: u8, valid: u32, preferred: u32) -> Self {
        self.options.extend_from_slice(&[3, 4, 64, flags]);
        self.options.extend_from_slice(&valid.to_be_bytes());
        self.options.extend_from_slice(&preferred.to_be_bytes());
        self.options.extend_from_slice(&[0; 4]);
        self.options.extend_from_slice(&v6(prefix).octets());
        self
    }

    fn mtu(mut self, mtu: u32) -> Self {
        self.options.extend_from_slice(&[5, 1, 0, 0]);
        self.options.extend_from_slice(&mtu.to_be_bytes());
        self
    }

    fn send(self, wire: &mut Wire) {
        let mut message = vec![134, 0, 0, 0, 33, 0];
        message.extend_from_slice(&self.lifetime.to_be_bytes());
        message.extend_from_slice(&[0; 8]);
        message.extend_from_slice(&self.options);
        let packet = icmp6(v6(self.router), ALL, 255, message);
        wire.inject(A, frame([0x33, 0x33, 0, 0, 0, 1], &packet));
    }
}

/// A host that has its link-local address.
fn configured(set: &[(&str, &str)]) -> Wire {
    let mut wire = Wire::new(Medium::Ethernet);
    for (name, value) in set {
        wire.stack(A).set_setting(name, value).unwrap();
    }
    autoconfigure(&mut wire);
    run_until(&mut wire, 5);
    wire
}

fn default_router(wire: &mut Wire) -> Option<String> {
    let all = Cidr::all_of(IpAddr::V6(Ipv6Addr::UNSPECIFIED));
    let route = wire.stack(A).routes().find(|route| route.dest == all);
    route
        .and_then(|route| route.gateway)
        .map(|addr| addr.to_string())
}

use crate::network::addr::Cidr;

const MADE: &str = "2001:db8:1:0:0:ff:fe00:1";

#[test]
fn a_router_gives_a_prefix_a_route_and_its_settings() {
    let mut wire = configured(&[]);
    let advert = Advert::of("fe80::99").prefix("2001:db8:1::", 0xc0, 3600, 600);
    advert.mtu(1400).send(&mut wire);
    assert_eq!(default_router(&mut wire).as_deref(), Some("fe80::99"));
    run_until(&mut wire, 10);
    assert_eq!(state(&mut wire, A, MADE), Some(AddressState::Usable));
    let route = wire
        .stack(A)
        .net
        .route(v6("2001:db8:9::1").into(), None, None)
        .unwrap();
    assert_eq!(
        (route.mtu, route.src),
        (1400, MADE.parse::<IpAddr>().unwrap())
    );
    let near = wire
        .stack(A)
        .net
        .path(v6("2001:db8:1::77").into(), None, None)
        .unwrap();
    assert_eq!(format!("{:?}", near.hop), "Neighbor(2001:db8:1::77)");
    // The hop limit is the router's too.
    let id = wire.stack(A).udp_open(Family::V6);
    let iface = wire.hosts[A].iface;
    let router_mac = MacAddr([2, 0, 0, 0, 0, 0x99]);
    let router = v6("fe80::99").into();
    wire.stack(A)
        .set_neighbor(iface, router, router_mac)
        .unwrap();
    let to = "[2001:db8:9::1]:7".parse().unwrap();
    wire.hosts[A].sent.clear();
    wire.stack(A).udp_send(id, &b"x"[..], Some(to)).unwrap();
    wire.run();
    let out = &wire.hosts[A].sent[0];
    assert_eq!((out[21], &out[..6]), (33, &router_mac.0[..]));
    // Deprecated after 600 s, gone after an hour; the router after half an hour.
    run_until(&mut wire, 700);
    let (now, own) = (wire.now, addresses(&mut wire, A));
    assert!(
        own.iter()
            .any(|own| own.origin == AddressOrigin::Router && own.is_deprecated(now))
    );
    run_until(&mut wire, 1900);
    assert_eq!(default_router(&mut wire), None);
    run_until(&mut wire, 3700);
    assert_eq!(state(&mut wire, A, MADE), None);
    let unreachable = wire
        .stack(A)
        .net
        .path(v6("2001:db8:1::77").into(), None, None);
    assert_eq!(unreachable, Err(SocketError::NetUnreachable));
}

#[test]
fn a_forged_lifetime_does_not_take_an_address_away() {
    let mut wire = configured(&[]);
    let prefix = |valid| Advert::of("fe80::99").prefix("2001:db8:1::", 0xc0, valid, 0);
    prefix(100_000).send(&mut wire);
    run_until(&mut wire, 10);
    prefix(1).send(&mut wire);
    run_until(&mut wire, 7000);
    assert_eq!(state(&mut wire, A, MADE), Some(AddressState::Usable));
    run_until(&mut wire, 7300);
    assert_eq!(state(&mut wire, A, MADE), None);
}

#[test]
fn prefixes_that_are_not_for_addresses_make_none() {
    let mut wire = configured(&[]);
    let advert = Advert::of("fe80::99").prefix("2001:db8:1::", 0x80, 3600, 600);
    let advert = advert.prefix("fe80::", 0xc0, 3600, 600);
    let advert = advert.prefix("ff02::", 0xc0, 3600, 600);
    advert
        .prefix("2001:db8:2::", 0x40, 600, 3600)
        .send(&mut wire);
    assert_eq!(addresses(&mut wire, A).len(), 1);
    let mut wire = configured(&[("autoconf", "0")]);
    Advert::of("fe80::99")
        .prefix("2001:db8:1::", 0xc0, 3600, 600)
        .send(&mut wire);
    assert_eq!(addresses(&mut wire, A).len(), 1);
    let mut wire = configured(&[("accept_ra", "0")]);
    Advert::of("fe80::99").send(&mut wire);
    assert_eq!(default_router(&mut wire), None);
}

#[test]
fn tables_of_routers_and_prefixes_are_bounded() {
    let mut wire = configured(&[]);
    for n in 0..200_u32 {
        let prefix = format!("2001:db8:{n:x}::");
        let mut advert = Advert::of("fe80::99").prefix(&prefix, 0xc0, 3600, 600);
        advert = advert.prefix(&format!("2001:db9:{n:x}::"), 0x80, 3600, 600);
        advert.send(&mut wire);
    }
    assert_eq!(
        addresses(&mut wire, A).len() + 1,
        16,
        "the IPv4 address counts too"
    );
    let routes = wire.stack(A).routes().count();
    assert!(routes <= 40, "{routes}");
}

#[test]
fn a_router_that_does_not_answer_is_replaced() {
    let mut wire = configured(&[]);
    Advert::of("fe80::98").send(&mut wire);
    Advert::of("fe80::99").send(&mut wire);
    let iface = wire.hosts[A].iface;
    add(&mut wire, A, "fd00::1/64");
    run_until(&mut wire, 10);
    assert_eq!(default_router(&mut wire).as_deref(), Some("fe80::98"));
    let id = wire.stack(A).udp_open(Family::V6);
    let to = "[2001:db8:9::1]:7".parse().unwrap();
    wire.stack(A).udp_send(id, &b"x"[..], Some(to)).unwrap();
    run_until(&mut wire, 20);
    assert_eq!(default_router(&mut wire).as_deref(), Some("fe80::99"));
    // One that says that it is a router no more goes at once, and so does one without lifetime.
    Advert::of("fe80::99").lasting(0).send(&mut wire);
    assert_eq!(default_router(&mut wire).as_deref(), Some("fe80::98"));
    let message =
        ndp::neighbor_advert(v6("fe80::98"), MacAddr([2, 0, 0, 0, 0, 0x98]), false, false);
    let packet = icmp6(v6("fe80::98"), ALL, 255, message.to_vec());
    wire.inject(A, frame([0x33, 0x33, 0, 0, 0, 1], &packet));
    assert_eq!(default_router(&mut wire), None);
    let _ = iface;
}

#[test]
fn a_redirect_is_followed_if_it_is_of_our_router() {
    let mut wire = configured(&[]);
    Advert::of("fe80::99")
        .prefix("2001:db8:1::", 0xc0, 3600, 600)
        .send(&mut wire);
    run_until(&mut wire, 10);
    let dst = v6("2001:db8:9::1");
    let hop = |wire: &mut Wire| {
        let path = wire.stack(A).net.path(dst.into(), None, None).unwrap();
        format!("{:?}", path.hop)
    };
    let redirect = |wire: &mut Wire, from: &str, target: &str| {
        let mut message = vec![137, 0, 0, 0, 0, 0, 0, 0];
        message.extend_from_slice(&v6(target).octets());
        message.extend_from_slice(&dst.octets());
        let packet = icmp6(v6(from), v6(MADE), 255, message);
        wire.inject(A, frame(OUR_MAC, &packet));
    };
    redirect(&mut wire, "fe80::66", "fe80::66");
    assert_eq!(hop(&mut wire), "Neighbor(fe80::99)");
    redirect(&mut wire, "fe80::99", "2001:db8:1::5");
    assert_eq!(hop(&mut wire), "Neighbor(fe80::99)");
    redirect(&mut wire, "fe80::99", "fe80::55");
    assert_eq!(hop(&mut wire), "Neighbor(fe80::55)");
    run_until(&mut wire, 700);
    assert_eq!(hop(&mut wire), "Neighbor(fe80::99)");
}

#[test]
fn identifiers_can_be_opaque() {
    let own = |wire: &mut Wire| {
        addresses(wire, A)
            .iter()
            .map(Address::ip)
            .collect::<Vec<_>>()
    };
    let mut one = configured(&[("addr_gen_mode", "2")]);
    let mut two = configured(&[("addr_gen_mode", "2")]);
    assert_eq!(own(&mut one), own(&mut two), "stable");
    assert_ne!(own(&mut one)[0].to_string(), "fe80::ff:fe00:1");
    // Another prefix, another identifier.
    Advert::of("fe80::99")
        .prefix("2001:db8:1::", 0xc0, 3600, 600)
        .send(&mut one);
    let low = |addr: &IpAddr| match addr {
        IpAddr::V6(addr) => addr.to_bits() as u64,
        IpAddr::V4(_) => 0,
    };
    let all = own(&mut one);
    assert_ne!(low(&all[0]), low(&all[1]));
    // Somebody has it: another is made.
    let IpAddr::V6(taken) = all[1] else {
        panic!("an IPv6 address");
    };
    let message = ndp::neighbor_advert(taken, MacAddr([2, 0, 0, 0, 0, 7]), false, false);
    let packet = icmp6(v6("fe80::7"), ALL, 255, message.to_vec());
    one.inject(A, frame([0x33, 0x33, 0, 0, 0, 1], &packet));
    let after = own(&mut one);
    assert!(after.len() == 2 && after[1] != all[1], "{after:?}");
}

#[test]
fn temporary_addresses_follow_each_other() {
    let set = [
        ("use_tempaddr", "2"),
        ("temp_prefered_lft", "100"),
        ("temp_valid_lft", "300"),
    ];
    let mut wire = configured(&set);
    Advert::of("fe80::99")
        .prefix("2001:db8:1::", 0xc0, 86_400, 86_400)
        .lasting(9000)
        .send(&mut wire);
    let mut seen = std::collections::BTreeSet::new();
    for until in (20..1000).step_by(20) {
        run_until(&mut wire, until);
        let route = wire
            .stack(A)
            .net
            .route(v6("2001:db8:9::1").into(), None, None)
            .unwrap();
        assert_ne!(route.src.to_string(), MADE, "a temporary one is preferred");
        seen.insert(route.src);
        let temporary = addresses(&mut wire, A);
        let temporary = temporary
            .iter()
            .filter(|own| own.origin == AddressOrigin::Temporary);
        assert!(temporary.count() <= 5);
    }
    assert!(seen.len() >= 8, "{}", seen.len());
}

#[test]
fn queries_are_answered_with_all_groups() {
    let mut wire = configured(&[]);
    add(&mut wire, A, "fd00::5:5/64");
    run_until(&mut wire, 20);
    wire.hosts[A].sent.clear();
    let mut message = vec![0; 28];
    message[0] = 130;
    message[4..6].copy_from_slice(&1000_u16.to_be_bytes());
    let plain = icmp6(v6("fe80::99"), ALL, 1, message);
    // The router alert goes between the headers.
    let mut packet = plain[..40].to_vec();
    packet[6] = 0;
    packet[5] += 8;
    packet.extend_from_slice(&[58, 0, 5, 2, 0, 0, 1, 0]);
    packet.extend_from_slice(&plain[40..]);
    wire.inject(A, frame([0x33, 0x33, 0, 0, 0, 1], &packet));
    run_until(&mut wire, 22);
    let reports = sent(&wire, A, 143);
    assert_eq!(reports.len(), 1);
    let records = &reports[0][62 + 8..];
    assert_eq!((records.len(), records[0]), (40, 2));
    let stats = wire.stack(A).stats().net.nd;
    assert_eq!(stats.in_group_queries, 1);
}
