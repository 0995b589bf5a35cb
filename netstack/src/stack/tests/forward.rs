//! Forwarding: what passes, what does not, and who is told.

use super::router::*;
use super::*;
use crate::network::route::{NextHop, Route, RouteKind, Rule};

const DF: u16 = 0x4000;
const MORE: u16 = 0x2000;

/// Type and code of an ICMP message of either family, and the packet that it quotes.
fn error_in(packet: &[u8]) -> (u8, u8, Vec<u8>) {
    let seen = seen(packet);
    assert!(matches!(seen.proto, 1 | 58));
    let message = seen.transport;
    (message[0], message[1], message[8..].to_vec())
}

#[test]
fn both_families_pass_with_a_hop_less() {
    let mut router = Router::new(Medium::Ip);
    for (src, dst) in [("10.0.0.9", "10.0.1.9"), ("fd00:0::9", "fd00:1::9")] {
        let packet = udp(src, dst, 17, 100);
        router.give(0, packet.clone());
        let out = router.only(1);
        assert_eq!(seen(&out).ttl, 16);
        assert_eq!(seen(&out).transport, seen(&packet).transport);
        assert_eq!((seen(&out).src, seen(&out).dst), (ip(src), ip(dst)));
    }
    for (src, dst) in [("10.0.0.9", "10.0.1.9"), ("fd00:0::9", "fd00:1::9")] {
        router.give(0, echo(src, dst, 7, false));
        assert_eq!(seen(&router.only(1)).ports, (7, 0));
        router.give(1, echo(dst, src, 7, true));
        assert_eq!(seen(&router.only(0)).ports, (7, 0));
    }
    assert_eq!(router.count("IpForwDatagrams"), 3);
    assert_eq!(router.count("Ip6OutForwDatagrams"), 3);
}

#[test]
fn nothing_passes_unless_the_interface_forwards() {
    let mut router = Router::new(Medium::Ip);
    router.set("net.ipv4.conf.eth0.forwarding", "0");
    router.give(0, udp("10.0.0.9", "10.0.1.9", 17, 1));
    router.silent();
    assert_eq!(router.count("IpInAddrErrors"), 1);
    router.give(1, udp("10.0.1.9", "10.0.0.9", 17, 1));
    router.only(0);
    assert_eq!(
        router.stack.setting("net.ipv4.ip_forward").as_deref(),
        Some("1")
    );
    let of_eth0 = router.stack.setting("net/ipv4/conf/eth0/forwarding");
    assert_eq!(of_eth0.as_deref(), Some("0"));
    let unknown = router
        .stack
        .set_setting("net.ipv4.conf.eth7.forwarding", "1");
    assert_eq!(unknown, Err(SettingError::Unknown));
}

#[test]
fn the_last_hop_is_told_of() {
    let mut router = Router::new(Medium::Ip);
    let cases = [
        ("10.0.0.9", "10.0.1.9", "10.0.0.1", (11, 0)),
        ("fd00:0::9", "fd00:1::9", "fd00:0::1", (3, 0)),
    ];
    for (src, dst, ours, said) in cases {
        let packet = udp(src, dst, 1, 30);
        router.give(0, packet.clone());
        let out = router.only(0);
        let (kind, code, quote) = error_in(&out);
        assert_eq!((kind, code), said);
        assert_eq!(quote, packet);
        assert_eq!((seen(&out).src, seen(&out).dst), (ip(ours), ip(src)));
    }
    assert_eq!(router.count("IpInHdrErrors"), 1);
    assert_eq!(router.count("IcmpOutTimeExcds"), 1);
    assert_eq!(router.count("Icmp6OutTimeExcds"), 1);
    // Errors are not answered.
    let mut message = router_error();
    message[8] = 1;
    router.give(0, with_flags(message, 0));
    router.silent();
}

/// Time exceeded from 10.0.0.9 to 10.0.1.9.
fn router_error() -> Vec<u8> {
    let mut out = Vec::new();
    let builder = etherparse::PacketBuilder::ipv4([10, 0, 0, 9], [10, 0, 1, 9], 64);
    let kind = etherparse::Icmpv4Type::TimeExceeded(
        etherparse::icmpv4::TimeExceededCode::TtlExceededInTransit,
    );
    let quote = udp("10.0.1.9", "10.0.0.9", 1, 8);
    builder.icmpv4(kind).write(&mut out, &quote).unwrap();
    out
}

#[test]
fn no_route_and_routes_that_lead_nowhere() {
    let mut router = Router::new(Medium::Ip);
    let far = |n: u8| (format!("172.16.{n}.1"), format!("fd77:{n}::1"));
    let kinds = [
        (None, Some((3, 0)), Some((1, 0))),
        (Some(RouteKind::Unreachable), Some((3, 1)), Some((1, 0))),
        (Some(RouteKind::Prohibit), Some((3, 13)), Some((1, 1))),
        (Some(RouteKind::Blackhole), None, None),
    ];
    for (n, (kind, v4, v6)) in (0..).zip(kinds) {
        let (to4, to6) = far(n);
        if let Some(kind) = kind {
            for dest in [format!("{to4}/24"), format!("{to6}/32")] {
                let route = Route::new(cidr(&dest), LOOPBACK);
                router.stack.add_route(Route { kind, ..route }).unwrap();
            }
        }
        for (src, dst, said) in [("10.0.0.9", to4, v4), ("fd00:0::9", to6, v6)] {
            router.give(0, udp(src, &dst, 9, 1));
            let answers = router.sent(0);
            let told = answers.first().map(|out| {
                let (kind, code, _) = error_in(out);
                (kind, code)
            });
            assert_eq!((told, answers.len() <= 1), (said, true), "{kind:?} {dst}");
            router.silent();
        }
    }
    assert_eq!(router.count("IpExtInNoRoutes"), 4);
    assert_eq!(router.count("Ip6InNoRoutes"), 4);
}

#[test]
fn what_no_router_forwards() {
    let mut router = Router::new(Medium::Ip);
    for (src, dst, counter) in [
        ("10.0.0.9", "0.1.2.3", "IpInAddrErrors"),
        ("10.0.0.9", "250.1.2.3", "IpInAddrErrors"),
        ("10.0.1.1", "10.0.1.9", "IpInMartianSource"),
        ("127.0.0.1", "10.0.1.9", "IpInMartianSource"),
        ("224.0.0.9", "10.0.1.9", "IpInMartianSource"),
        ("10.0.0.9", "127.0.0.9", "IpInMartianSource"),
        ("fd00:0::9", "fe80::9", "Ip6InAddrErrors"),
        ("::1", "fd00:1::9", "Ip6InMartianSource"),
    ] {
        let before = router.count(counter);
        router.give(0, udp(src, dst, 9, 1));
        router.silent();
        assert_eq!(router.count(counter), before + 1, "{src} > {dst}");
    }
    // Beyond its scope: this is told.
    router.give(0, udp("fe80::9", "fd00:1::9", 9, 1));
    let (kind, code, _) = error_in(&router.only(0));
    assert_eq!((kind, code), (1, 2));
}

#[test]
fn a_longer_packet_is_cut_or_told_of() {
    let mut router = Router::new(Medium::Ip);
    let narrow = Route {
        mtu: Some(1300),
        ..Route::via(cidr("172.16.0.0/16"), ip("10.0.1.9"), router.links[1])
    };
    router.stack.add_route(narrow.clone()).unwrap();
    router
        .stack
        .add_route(Route {
            gateway: Some(ip("fd00:1::9")),
            dest: cidr("fd77::/32"),
            ..narrow
        })
        .unwrap();
    let packet = with_flags(udp("10.0.0.9", "172.16.0.1", 9, 1400), 0);
    router.give(0, packet.clone());
    let pieces = router.sent(1);
    assert_eq!(pieces.len(), 2);
    assert!(pieces.iter().all(|piece| piece.len() <= 1300));
    let together: Vec<u8> = pieces
        .iter()
        .flat_map(|piece| piece[20..].to_vec())
        .collect();
    assert_eq!(together, packet[20..]);
    assert_eq!(router.count("IpFragCreates"), 2);
    router.give(0, with_flags(udp("10.0.0.9", "172.16.0.1", 9, 1400), DF));
    let out = router.only(0);
    assert_eq!(error_in(&out).0, 3);
    assert_eq!(seen(&out).transport[4..8], [0, 0, 5, 20]);
    router.give(0, udp("fd00:0::9", "fd77::1", 9, 1400));
    let out = router.only(0);
    assert_eq!(error_in(&out).0, 2);
    assert_eq!(seen(&out).transport[4..8], [0, 0, 5, 20]);
    assert_eq!(router.count("IpFragFails"), 1);
    assert_eq!(router.count("Ip6InTooBigErrors"), 1);
    assert_eq!(router.count("Icmp6OutPktTooBigs"), 1);
}

#[test]
fn fragments_pass_as_they_are() {
    let mut router = Router::new(Medium::Ip);
    let whole = udp("10.0.0.9", "10.0.1.9", 9, 100);
    let first = with_flags(whole.clone(), MORE);
    let later = with_flags(whole, 13);
    for piece in [first, later.clone()] {
        router.give(0, piece.clone());
        let out = router.only(1);
        assert_eq!(out[20..], piece[20..]);
        assert_eq!(out[6..8], piece[6..8]);
    }
    // Nothing is said of a later fragment.
    let mut dying = later;
    dying[8] = 1;
    router.give(0, with_flags(dying, 13));
    router.silent();
}

/// The checksum of a packet that a local peer left unfinished is completed.
#[test]
fn unfinished_checksums_and_super_packets() {
    let mut router = Router::new(Medium::Ip);
    for (src, dst) in [("10.0.0.9", "10.0.1.9"), ("fd00:0::9", "fd00:1::9")] {
        let whole = tcp((src, 1), (dst, 2), (".P", 100, 7), &[5; 3000]);
        let header_len = whole.len() - 3000;
        let mut packet = RxPacket::new(
            {
                let mut bytes = whole.clone();
                // What a kernel leaves there is of no use to anybody else.
                bytes[header_len - 4..header_len - 2].fill(0xee);
                bytes
            },
            router.now,
        );
        packet.checksum = RxChecksum::Valid;
        packet.gro_size = 1000;
        router.receive(0, packet);
        let pieces = router.sent(1);
        assert_eq!(pieces.len(), 3);
        let seqs: Vec<u32> = pieces
            .iter()
            .map(|piece| u32::from_be_bytes(seen(piece).transport[4..8].try_into().unwrap()))
            .collect();
        assert_eq!(seqs, [100, 1100, 2100]);
    }
}

#[test]
fn the_reverse_path_is_checked_strictly_or_loosely() {
    let mut router = Router::new(Medium::Ip);
    router.set("net.ipv4.conf.eth0.rp_filter", "1");
    router.give(0, udp("10.0.2.9", "10.0.1.9", 9, 1));
    router.silent();
    router.set("net.ipv4.conf.all.rp_filter", "2");
    router.give(0, udp("10.0.2.9", "10.0.1.9", 9, 1));
    router.only(1);
    router.give(0, udp("172.16.0.9", "10.0.1.9", 9, 1));
    router.silent();
    // To ourselves too.
    router.give(0, udp("172.16.0.9", "10.0.0.1", 9, 1));
    router.silent();
    assert_eq!(router.count("TcpExtIPReversePathFilter"), 3);
}

/// The frame of a packet to the router's link 0.
fn framed(packet: &[u8], ethertype: u16) -> Vec<u8> {
    let mut frame = vec![2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 9];
    frame.extend(ethertype.to_be_bytes());
    frame.extend(packet);
    frame
}

#[test]
fn a_sender_on_the_same_link_is_redirected() {
    let mut router = Router::new(Medium::Ethernet);
    let link = router.links[0];
    for (gateway, dest) in [("10.0.0.7", "172.16.0.0/16"), ("fe80::7", "fd77::/32")] {
        router.route(dest, gateway, 0);
        let mac = MacAddr([2, 0, 0, 0, 0, 7]);
        router.stack.set_neighbor(link, ip(gateway), mac).unwrap();
    }
    for sender in ["10.0.0.9", "fd00:0::9"] {
        let mac = MacAddr([2, 0, 0, 0, 0, 9]);
        router.stack.set_neighbor(link, ip(sender), mac).unwrap();
    }
    router.quiet();
    router.give(0, framed(&udp("10.0.0.9", "172.16.0.1", 9, 1), 0x0800));
    let frames = router.sent(0);
    assert_eq!(frames.len(), 2, "{frames:x?}");
    let redirect = seen(&frames[0][14..]);
    assert_eq!(redirect.transport[..2], [5, 1]);
    assert_eq!(redirect.transport[4..8], [10, 0, 0, 7]);
    assert_eq!(seen(&frames[1][14..]).dst, ip("172.16.0.1"));
    router.give(0, framed(&udp("fd00:0::9", "fd77::1", 9, 1), 0x86dd));
    let frames = router.sent(0);
    assert_eq!(frames.len(), 2, "{frames:x?}");
    let redirect = seen(&frames[0][14..]);
    assert_eq!((redirect.transport[0], redirect.ttl), (137, 255));
    assert_eq!(redirect.src, ip("fe80::0:1"));
    let octets = |text: &str| match ip(text) {
        IpAddr::V6(addr) => addr.octets(),
        IpAddr::V4(_) => unreachable!("IPv6"),
    };
    assert_eq!(redirect.transport[8..24], octets("fe80::7"));
    assert_eq!(redirect.transport[24..40], octets("fd77::1"));
    assert_eq!(router.count("IcmpOutRedirects"), 1);
    assert_eq!(router.count("Icmp6OutRedirects"), 1);
    router.set("net.ipv4.conf.all.send_redirects", "0");
    router.set("net.ipv4.conf.eth0.send_redirects", "0");
    router.elapse(Duration::from_secs(10));
    router.quiet();
    router.give(0, framed(&udp("10.0.0.9", "172.16.0.1", 9, 1), 0x0800));
    assert_eq!(router.sent(0).len(), 1);
}

#[test]
fn a_next_hop_that_does_not_answer_is_told_of() {
    let mut router = Router::new(Medium::Ethernet);
    let link = router.links[0];
    let mac = MacAddr([2, 0, 0, 0, 0, 9]);
    for sender in ["10.0.0.9", "fd00:0::9"] {
        router.stack.set_neighbor(link, ip(sender), mac).unwrap();
    }
    router.give(0, framed(&udp("10.0.0.9", "10.0.1.9", 9, 1), 0x0800));
    router.give(0, framed(&udp("fd00:0::9", "fd00:1::9", 9, 1), 0x86dd));
    assert_eq!(router.sent(0).len(), 0);
    router.elapse(Duration::from_secs(5));
    let told: Vec<(u8, u8)> = router
        .sent(0)
        .iter()
        .map(|frame| {
            let (kind, code, _) = error_in(&frame[14..]);
            (kind, code)
        })
        .collect();
    assert_eq!(told.len(), 2, "{told:?}");
    assert!(told.contains(&(3, 1)) && told.contains(&(1, 3)), "{told:?}");
}

#[test]
fn a_router_says_that_it_is_one() {
    let mut router = Router::new(Medium::Ethernet);
    let solicit = |router: &mut Router| {
        let message = crate::wire::ndp::neighbor_solicit(
            "fe80::1".parse().unwrap(),
            Some(MacAddr([2, 0, 0, 0, 0, 9])),
        )
        .to_vec();
        let mut out = Vec::new();
        let src: std::net::Ipv6Addr = "fe80::9".parse().unwrap();
        let dst: std::net::Ipv6Addr = "fe80::1".parse().unwrap();
        let builder = etherparse::PacketBuilder::ipv6(src.octets(), dst.octets(), 255);
        let kind = etherparse::Icmpv6Type::Unknown {
            type_u8: 135,
            code_u8: 0,
            bytes5to8: [0; 4],
        };
        builder.icmpv6(kind).write(&mut out, &message[8..]).unwrap();
        router.give(0, framed(&out, 0x86dd));
        let frames = router.sent(0);
        let advert = frames.iter().map(|frame| seen(&frame[14..]));
        let mut adverts = advert.filter(|seen| seen.transport[0] == 136);
        adverts.next().expect("an advertisement").transport[4] & 0x80 != 0
    };
    // fe80::1 is the address of link 0: "0:1" has no more digits.
    assert!(solicit(&mut router));
    router.set("net.ipv6.conf.all.forwarding", "0");
    assert!(!solicit(&mut router));
}

#[test]
fn policy_marks_and_several_next_hops() {
    let mut router = Router::new(Medium::Ip);
    let (one, two) = (router.links[1], router.links[2]);
    let mut route = Route::via(cidr("172.16.0.0/16"), ip("10.0.1.9"), one);
    route.more.push(NextHop {
        gateway: Some(ip("10.0.2.9")),
        iface: two,
        weight: 1,
    });
    router.stack.add_route(route).unwrap();
    router.set("fib_multipath_hash_policy", "1");
    for port in 0..40 {
        let packet = udp_ports(("10.0.0.9", port), ("172.16.0.1", 53), 9, 1);
        router.give(0, packet);
    }
    let shares = (router.sent(1).len(), router.sent(2).len());
    assert_eq!(shares.0 + shares.1, 40);
    assert!(shares.0 > 5 && shares.1 > 5, "{shares:?}");
    // Who comes in at link 2 takes another table.
    let special = Route {
        table: 100,
        ..Route::via(cidr("0.0.0.0/0"), ip("10.0.0.9"), router.links[0])
    };
    router.stack.add_route(special).unwrap();
    let rule = Rule {
        iif: Some(two),
        ..Rule::lookup(false, 10, 100)
    };
    router.stack.add_rule(rule).unwrap();
    router.give(2, udp("10.0.2.9", "172.16.0.1", 9, 1));
    router.only(0);
    assert_eq!(router.stack.rules(false).count(), 3);
    router.stack.remove_rule(&rule).unwrap();
    router.give(2, udp("10.0.2.77", "172.16.0.1", 9, 1));
    assert_eq!(router.sent(0).len(), 0);
}

#[test]
fn multicasts_follow_their_entries() {
    let mut router = Router::new(Medium::Ip);
    let [zero, one, two] = router.links;
    for (source, group) in [("10.0.0.9", "239.1.1.1"), ("fd00:0::9", "ff0e::1:1")] {
        let v6 = if group.contains(':') { "ipv6" } else { "ipv4" };
        let entry = MulticastRoute {
            source: ip(source),
            group: ip(group),
            incoming: zero,
            outgoing: vec![(one, 1), (two, 20)],
        };
        router.stack.add_multicast_route(entry.clone()).unwrap();
        router.give(0, udp(source, group, 10, 40));
        router.silent();
        router.set(&format!("net.{v6}.conf.all.mc_forwarding"), "1");
        router.give(0, udp(source, group, 10, 40));
        assert_eq!(seen(&router.only(1)).ttl, 9);
        router.give(0, udp(source, group, 21, 40));
        assert_eq!((router.sent(1).len(), router.sent(2).len()), (1, 1));
        router.give(0, udp(source, group, 1, 40));
        router.silent();
        // At another interface, and from another source.
        router.give(1, udp(source, group, 10, 40));
        let other = if v6 == "ipv6" {
            "fd00:0::8"
        } else {
            "10.0.0.8"
        };
        router.give(0, udp(other, group, 10, 40));
        router.silent();
        let counts = router
            .stack
            .multicast_routes()
            .find(|(it, _, _)| it.group == ip(group));
        let (_, passed, wrong) = counts.unwrap();
        assert_eq!((passed, wrong), (3, 1));
        router
            .stack
            .remove_multicast_route(ip(source), ip(group))
            .unwrap();
    }
    for (name, count) in [("MfcForwarded", 3), ("MfcNoEntry", 1), ("MfcWrongIf", 1)] {
        assert_eq!(router.count(&format!("Ip{name}")), count, "{name}");
        assert_eq!(router.count(&format!("Ip6{name}")), count, "{name}");
    }
    let link_local = MulticastRoute {
        source: ip("10.0.0.9"),
        group: ip("224.0.0.5"),
        incoming: zero,
        outgoing: vec![(one, 1)],
    };
    let refused = router.stack.add_multicast_route(link_local);
    assert_eq!(refused, Err(ConfigError::BadAddress));
}
