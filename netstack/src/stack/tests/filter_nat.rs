//! Translation of addresses and ports in a router, in virtual time.

use super::filter::*;
use super::router::*;
use super::*;
use crate::filter::NatRange;
use crate::filter::rules::*;

/// Inside, outside, and the router's own address outside.
pub(super) const FAMILIES: [(&str, &str, &str); 2] = [
    ("10.0.0.9", "172.16.0.1", "10.0.1.1"),
    ("fd00:0::9", "fd77::1", "fd00:1::1"),
];

#[test]
fn masquerade_there_and_back() {
    for (inside, outside, own) in FAMILIES {
        let mut router = masquerading();
        router.give(0, udp_ports((inside, 1000), (outside, 53), 9, 20));
        let there = seen(&router.only(1));
        assert_eq!((there.src, there.dst), (ip(own), ip(outside)));
        assert_eq!(there.ports, (1000, 53));
        router.give(1, udp_ports((outside, 53), (own, 1000), 9, 20));
        let back = seen(&router.only(0));
        assert_eq!((back.src, back.dst), (ip(outside), ip(inside)));
        assert_eq!((back.ports, back.ttl), ((53, 1000), 8));
        router.give(0, echo(inside, outside, 77, false));
        let there = seen(&router.only(1));
        assert_eq!((there.src, there.ports.0), (ip(own), 77));
        router.give(1, echo(outside, own, 77, true));
        assert_eq!(seen(&router.only(0)).dst, ip(inside));
        assert_eq!(router.stack.connections().count(), 2);
        // Nobody outside has been asked for.
        router.give(1, udp_ports((outside, 54), (own, 1000), 9, 20));
        assert_eq!(router.sent(0).len(), 0);
    }
}

#[test]
fn two_with_one_port_are_told_apart() {
    let mut router = masquerading();
    let mut ports = Vec::new();
    for n in 9..40 {
        let inside = format!("10.0.0.{n}");
        router.give(
            0,
            tcp((&inside, 5000), ("172.16.0.1", 80), ("S", 1, 0), b""),
        );
        let there = seen(&router.only(1));
        let port = there.ports.0;
        assert!(!ports.contains(&port) && port >= 1024);
        ports.push(port);
        router.give(
            1,
            tcp(("172.16.0.1", 80), ("10.0.1.1", port), ("S.", 1, 2), b""),
        );
        let back = seen(&router.only(0));
        assert_eq!((back.dst, back.ports), (ip(&inside), (80, 5000)));
    }
    // The router's own connections too are told apart from those that it forwards.
    let own = router.stack.udp_open(Family::V4);
    router.stack.udp_bind(own, any_addr(1000)).unwrap();
    router.give(0, udp_ports(("10.0.0.9", 1000), ("172.16.0.1", 53), 9, 1));
    assert_eq!(seen(&router.only(1)).ports.0, 1000);
    let to = SocketAddr::new(ip("172.16.0.1"), 53);
    router.stack.udp_send(own, "x", Some(to)).unwrap();
    let port = seen(&router.only(1)).ports.0;
    assert_ne!(port, 1000);
    router.give(1, udp_ports(("172.16.0.1", 53), ("10.0.1.1", port), 9, 4));
    router.silent();
    assert_eq!(router.stack.udp_recv(own).unwrap().data.len(), 4);
}

#[test]
fn errors_about_translated_packets_find_back() {
    for (inside, outside, own) in FAMILIES {
        let mut router = masquerading();
        router.give(0, udp_ports((inside, 1000), (outside, 53), 9, 20));
        let there = router.only(1);
        let far = if outside.contains(':') {
            "fd77::9"
        } else {
            "172.16.0.9"
        };
        router.give(1, unreachable(far, own, &there));
        let told = router.only(0);
        let outer = seen(&told);
        assert_eq!((outer.src, outer.dst), (ip(far), ip(inside)));
        let quote = &outer.transport[8..];
        let packet = udp_ports((inside, 1000), (outside, 53), 8, 20);
        // The address, the port and their checksums are as they were.
        assert_eq!(quote[..quote.len()], packet[..quote.len()]);
    }
}

/// "Port unreachable" from a host, quoting a packet.
pub(super) fn unreachable(src: &str, dst: &str, quote: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    let done = match (ip(src), ip(dst)) {
        (IpAddr::V4(from), IpAddr::V4(to)) => {
            etherparse::PacketBuilder::ipv4(from.octets(), to.octets(), 9)
                .icmpv4_raw(3, 3, [0; 4])
                .write(&mut out, quote)
        }
        (IpAddr::V6(from), IpAddr::V6(to)) => {
            etherparse::PacketBuilder::ipv6(from.octets(), to.octets(), 9)
                .icmpv6_raw(1, 4, [0; 4])
                .write(&mut out, quote)
        }
        _ => unreachable!("two families"),
    };
    done.unwrap();
    out
}

/// Port 8080 of the router leads to port 80 of a host inside; port 7000 to the router's own 7.
pub(super) fn forwarding_ports() -> Router {
    let mut router = Router::new(Medium::Ip);
    let to = |server: &str| Statement::Dnat(NatRange::to_port(ip(server), 80));
    let of = |own: &str| {
        let mine = Test::Destination(vec![cidr(own)]);
        [mine, Test::Protocol(6), port(8080)]
    };
    let redirect = Statement::Redirect {
        ports: Some((7, 7)),
    };
    let rules = vec![
        Rule::new(of("10.0.1.1"), to("10.0.0.80")),
        Rule::new(of("fd00:1::1"), to("fd00:0::80")),
        Rule::new([Test::Protocol(17), port(7000)], redirect),
    ];
    let rules = table(vec![nat_chain(Hook::Prerouting, rules)]);
    router.stack.set_ruleset(rules).unwrap();
    router
}

pub(super) fn port(port: u16) -> Test {
    Test::DestinationPort(vec![(port, port)])
}

#[test]
fn ports_lead_inside() {
    for (outside, own, server) in [
        ("10.0.1.9", "10.0.1.1", "10.0.0.80"),
        ("fd00:1::9", "fd00:1::1", "fd00:0::80"),
    ] {
        let mut router = forwarding_ports();
        router.give(1, tcp((outside, 5000), (own, 8080), ("S", 9, 0), b""));
        let there = seen(&router.only(0));
        assert_eq!((there.dst, there.ports), (ip(server), (5000, 80)));
        router.give(0, tcp((server, 80), (outside, 5000), ("S.", 70, 10), b""));
        let back = seen(&router.only(1));
        assert_eq!((back.src, back.ports), (ip(own), (8080, 5000)));
        // Beside an error about a packet of its answers.
        let packet = tcp((own, 8080), (outside, 5000), ("S.", 70, 10), b"");
        router.give(1, unreachable(outside, own, &packet));
        let told = seen(&router.only(0));
        assert_eq!(told.dst, ip(server));
        let quote = &told.transport[8..];
        let original = tcp((server, 80), (outside, 5000), ("S.", 70, 10), b"");
        assert_eq!(quote[quote.len() - 20..], original[original.len() - 20..]);
    }
}

#[test]
fn a_redirected_port_is_the_routers_own() {
    let mut router = forwarding_ports();
    let own = router.stack.udp_open(Family::V4);
    router.stack.udp_bind(own, any_addr(7)).unwrap();
    router.give(0, udp_ports(("10.0.0.9", 500), ("172.16.9.9", 7000), 9, 3));
    router.silent();
    let got = router.stack.udp_recv(own).unwrap();
    assert_eq!((got.data.len(), got.to), (3, ip("10.0.0.1")));
    router
        .stack
        .udp_send(own, "answer", Some(got.from))
        .unwrap();
    let back = seen(&router.only(0));
    assert_eq!((back.src, back.ports), (ip("172.16.9.9"), (7000, 500)));
}
