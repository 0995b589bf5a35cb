//! Both transports and ICMP over IPv6, and sockets that speak both families.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use super::*;
use crate::error::SocketError;
use crate::socket::{Names, RawKind};
use crate::wire::icmpv6::{self, Icmpv6Repr};
use crate::wire::ipv6::{Ipv6Repr, Ipv6View};

fn at6(host: usize, port: u16) -> SocketAddr {
    SocketAddr::new(format!("fd00::{}", host + 1).parse().unwrap(), port)
}

fn any6(port: u16) -> SocketAddr {
    SocketAddr::from((Ipv6Addr::UNSPECIFIED, port))
}

fn udp6(wire: &mut Wire, host: usize, port: u16) -> SocketId {
    let stack = wire.stack(host);
    let id = stack.udp_open(Family::V6);
    stack.udp_bind(id, any6(port)).unwrap();
    id
}

fn echo_request(size: usize) -> Vec<u8> {
    let mut message = vec![0; 8];
    Icmpv6Repr::EchoRequest { ident: 0, seq: 3 }.emit(&mut message);
    message.extend((0..size).map(|n| n as u8));
    message
}

#[test]
fn ping() {
    for medium in [Medium::Ip, Medium::Ethernet] {
        for size in [9, 5000] {
            let mut wire = Wire::new_v6(medium);
            let message = echo_request(size);
            let id = wire.stack(A).raw_open(Family::V6, RawKind::Echo).unwrap();
            let sent = wire.stack(A).raw_send(id, message.clone(), Some(at6(B, 0)));
            assert_eq!(sent, Ok(message.len()));
            wire.run();
            let got = wire.stack(A).raw_recv(id).unwrap();
            assert_eq!(got.data[0], icmpv6::kind::ECHO_REPLY);
            assert_eq!((&got.data[8..], got.from), (&message[8..], at6(B, 0)));
            let stats = wire.stack(B).stats().net;
            assert_eq!((stats.icmp6.in_echos, stats.icmp6.out_echo_reps), (1, 1));
            assert_eq!(stats.ip6.reasm_oks, u64::from(size > 1500));
            let neighbors = u64::from(medium == Medium::Ethernet);
            assert_eq!(stats.nd.out_neighbor_adverts, neighbors);
        }
    }
}

#[test]
fn a_raw_socket_sees_what_its_filter_passes() {
    let mut wire = Wire::new_v6(Medium::Ip);
    let stack = wire.stack(A);
    let raw = stack.raw_open(Family::V6, RawKind::Ip(58)).unwrap();
    let mut filter = [u32::MAX; 8];
    filter[4] &= !(1 << 1);
    *stack.icmp6_filter_mut(raw).unwrap() = filter;
    let sent = stack.raw_send(raw, echo_request(5), Some(at6(B, 0)));
    assert_eq!(sent, Ok(13));
    // Its own request is seen by those of the other end only.
    wire.run();
    let got = wire.stack(A).raw_recv(raw).unwrap();
    assert_eq!(
        (got.data[0], got.data.len()),
        (icmpv6::kind::ECHO_REPLY, 13)
    );
    let echo = wire.stack(B).raw_open(Family::V6, RawKind::Echo).unwrap();
    wire.stack(B)
        .raw_send(echo, echo_request(5), Some(at6(A, 0)))
        .unwrap();
    wire.run();
    assert!(
        wire.stack(A).raw_recv(raw).is_err(),
        "requests are filtered"
    );
    assert!(wire.stack(B).raw_recv(echo).is_ok());
}

#[test]
fn our_own_addresses_answer() {
    let mut wire = Wire::new_v6(Medium::Ip);
    let stack = wire.stack(A);
    let id = stack.raw_open(Family::V6, RawKind::Echo).unwrap();
    for to in [SocketAddr::from((Ipv6Addr::LOCALHOST, 0)), at6(A, 0)] {
        stack.raw_send(id, echo_request(9), Some(to)).unwrap();
        assert_eq!(stack.raw_recv(id).unwrap().from, to);
    }
}

#[test]
fn headers_are_as_others_read_them() {
    let mut wire = Wire::new_v6(Medium::Ip);
    let id = udp6(&mut wire, A, 5000);
    wire.stack(A).udp_options_mut(id).unwrap().tos = 0xb8;
    wire.stack(A)
        .udp_send(id, &b"odd"[..], Some(at6(B, 7)))
        .unwrap();
    wire.run();
    let packet = wire.hosts[A].sent[0].clone();
    let parsed = etherparse::PacketHeaders::from_ip_slice(&packet).unwrap();
    let Some(etherparse::TransportHeader::Udp(udp)) = parsed.transport else {
        panic!("not UDP");
    };
    let Some(etherparse::NetHeaders::Ipv6(ip, _)) = parsed.net else {
        panic!("not IPv6");
    };
    assert_eq!((ip.traffic_class, ip.hop_limit), (0xb8, 64));
    assert_ne!(ip.flow_label.value(), 0);
    let sum = udp.calc_checksum_ipv6(&ip, b"odd").unwrap();
    assert_eq!(udp.checksum, sum);
}

#[test]
fn a_closed_port_is_told() {
    let mut wire = Wire::new_v6(Medium::Ip);
    let id = udp6(&mut wire, A, 0);
    wire.stack(A).udp_connect(id, at6(B, 9)).unwrap();
    wire.stack(A).udp_send(id, &b"x"[..], None).unwrap();
    wire.run();
    assert_eq!(
        wire.stack(A).udp_recv(id).unwrap_err(),
        SocketError::Refused
    );
    let answer = &wire.hosts[B].sent[0];
    let view = Ipv6View::new(answer).unwrap();
    let repr = Ipv6Repr::parse(&view);
    assert!(icmpv6::is_valid(repr.src, repr.dst, view.payload()));
    assert_eq!(wire.stack(B).stats().net.icmp6.out_dest_unreachs, 1);
    assert_eq!(wire.stack(B).stats().udp.v6.no_ports, 1);
}

#[test]
fn datagrams_of_both_families_reach_one_socket() {
    let mut wire = Wire::new_v6(Medium::Ip);
    let server = udp6(&mut wire, B, 7);
    let v4 = wire.bind(A, 5000);
    let v6 = udp6(&mut wire, A, 5001);
    let to = wire.at(B, 7);
    wire.stack(A).udp_send(v4, &b"four"[..], Some(to)).unwrap();
    wire.stack(A)
        .udp_send(v6, &b"six"[..], Some(at6(B, 7)))
        .unwrap();
    wire.run();
    let first = wire.stack(B).udp_recv(server).unwrap();
    assert_eq!(first.from.to_string(), "[::ffff:10.0.0.1]:5000");
    let second = wire.stack(B).udp_recv(server).unwrap();
    assert_eq!(second.from, at6(A, 5001));
    // And back, by the name that it was given.
    wire.stack(B)
        .udp_send(server, &b"back"[..], Some(first.from))
        .unwrap();
    wire.run();
    assert_eq!(&wire.stack(A).udp_recv(v4).unwrap().data[..], b"back");
}

#[test]
fn v6only_leaves_ipv4_to_others() {
    let mut wire = Wire::new_v6(Medium::Ip);
    let stack = wire.stack(B);
    let only = stack.udp_open(Family::V6);
    stack.set_v6only(only, true).unwrap();
    stack.udp_bind(only, any6(7)).unwrap();
    assert_eq!(stack.set_v6only(only, false), Err(SocketError::Invalid));
    assert!(stack.names(only).unwrap().v6only);
    let v4 = stack.udp_open(Family::V4);
    assert_eq!(stack.set_v6only(v4, true), Err(SocketError::NoProtocol));
    stack.udp_bind(v4, any_addr(7)).unwrap();
    let both = stack.udp_open(Family::V6);
    assert_eq!(stack.udp_bind(both, any6(7)), Err(SocketError::AddrInUse));
    let mapped = "[::ffff:10.0.0.1]:5".parse().unwrap();
    let sent = stack.udp_send(only, &b"x"[..], Some(mapped));
    assert_eq!(sent, Err(SocketError::NetUnreachable));
    let client = wire.bind(A, 5000);
    let to = wire.at(B, 7);
    wire.stack(A).udp_send(client, &b"x"[..], Some(to)).unwrap();
    wire.run();
    assert!(wire.stack(B).udp_recv(only).is_err());
    assert!(wire.stack(B).udp_recv(v4).is_ok());
}

fn transfer(wire: &mut Wire, from: SocketId, to: SocketId, len: usize) {
    let data: Vec<u8> = (0..len).map(|n| (n * 7 % 251) as u8).collect();
    let (mut sent, mut got) = (0, Vec::new());
    for _ in 0..10_000 {
        if sent < len {
            sent += wire
                .stack(A)
                .tcp_send(from, &data[sent..], false)
                .unwrap_or(0);
        }
        wire.run();
        let mut buffer = [0; 65_536];
        while let Ok(count) = wire.stack(B).tcp_recv(to, &mut buffer, false) {
            got.extend_from_slice(&buffer[..count]);
        }
        if got.len() == len {
            break;
        }
        wire.tick();
    }
    assert!(got == data, "{} of {len}", got.len());
}

/// A connection, and a megabyte over it; the listener is of IPv6 whatever the client is.
fn connection(medium: Medium, client: Family, to: SocketAddr) -> (SocketAddr, SocketAddr) {
    let mut wire = Wire::new_v6(medium);
    let listener = wire.stack(B).tcp_open_of(Family::V6);
    wire.stack(B).tcp_bind(listener, any6(80)).unwrap();
    wire.stack(B).tcp_listen(listener, 5).unwrap();
    let id = wire.stack(A).tcp_open_of(client);
    assert_eq!(
        wire.stack(A).tcp_connect(id, to),
        Err(SocketError::InProgress)
    );
    wire.run();
    let (child, peer) = wire.stack(B).tcp_accept(listener).unwrap();
    assert_eq!(wire.stack(A).peer_addr(id), Ok(to));
    assert_eq!(wire.stack(B).peer_addr(child), Ok(peer));
    let local = wire.stack(B).local_addr(child).unwrap();
    let info = wire.stack(A).tcp_info(id).unwrap();
    let headers = if to.ip().to_canonical().is_ipv4() {
        40
    } else {
        60
    };
    // Timestamps take 12 bytes.
    assert_eq!(info.snd_mss, 1500 - headers - 12);
    transfer(&mut wire, id, child, 1_000_000);
    (peer, local)
}

#[test]
fn connections_over_both_families() {
    for medium in [Medium::Ip, Medium::Ethernet] {
        let (peer, local) = connection(medium, Family::V6, at6(B, 80));
        assert_eq!((peer.ip(), local), (at6(A, 0).ip(), at6(B, 80)));
        for (family, to) in [
            (Family::V4, "10.0.0.2:80"),
            (Family::V6, "[::ffff:10.0.0.2]:80"),
        ] {
            let (peer, local) = connection(medium, family, to.parse().unwrap());
            let mapped = |text: &str| text.parse::<IpAddr>().unwrap();
            assert_eq!(peer.ip(), mapped("::ffff:10.0.0.1"));
            assert_eq!(local, "[::ffff:10.0.0.2]:80".parse().unwrap());
        }
    }
}

#[test]
fn a_listener_of_one_family_is_preferred_to_one_of_both() {
    let mut wire = Wire::new_v6(Medium::Ip);
    let mut listen = |family, addr: SocketAddr| {
        let stack = wire.stack(B);
        let id = stack.tcp_open_of(family);
        use crate::socket::tcp::TcpOption;
        stack
            .tcp_set_option(id, TcpOption::ReusePort(true))
            .unwrap();
        stack.tcp_bind(id, addr).unwrap();
        stack.tcp_listen(id, 5).unwrap();
        id
    };
    let both = listen(Family::V6, any6(80));
    let v4 = listen(Family::V4, any_addr(80));
    for (to, expected) in [("10.0.0.2:80", v4), ("[fd00::2]:80", both)] {
        let to: SocketAddr = to.parse().unwrap();
        let family = if to.is_ipv4() { Family::V4 } else { Family::V6 };
        let id = wire.stack(A).tcp_open_of(family);
        let _ = wire.stack(A).tcp_connect(id, to);
        wire.run();
        assert!(wire.stack(B).tcp_accept(expected).is_ok(), "{to}");
    }
}

#[test]
fn addresses_of_the_link_need_a_scope() {
    let mut wire = Wire::new_v6(Medium::Ip);
    for at in [A, B] {
        let iface = wire.hosts[at].iface;
        let cidr = format!("fe80::{}/64", at + 1).parse().unwrap();
        wire.stack(at).add_unique_address(iface, cidr).unwrap();
    }
    wire.run();
    let server = udp6(&mut wire, B, 7);
    let client = udp6(&mut wire, A, 5000);
    let bare = "[fe80::2]:7".parse().unwrap();
    let sent = wire.stack(A).udp_send(client, &b"x"[..], Some(bare));
    assert_eq!(sent, Err(SocketError::Invalid));
    let scoped = "[fe80::2%2]:7".parse().unwrap();
    wire.stack(A)
        .udp_send(client, &b"x"[..], Some(scoped))
        .unwrap();
    wire.run();
    let got = wire.stack(B).udp_recv(server).unwrap();
    assert_eq!(got.from, "[fe80::1%2]:5000".parse().unwrap());
    let names = Names::of(Family::V6);
    assert_eq!(wire.stack(B).names(server), Ok(names));
}

#[test]
fn the_path_mtu_is_learned_from_a_router() {
    let mut wire = Wire::new_v6(Medium::Ip);
    let client = udp6(&mut wire, A, 5000);
    wire.stack(A).udp_connect(client, at6(B, 7)).unwrap();
    wire.stack(A).udp_send(client, vec![0; 1400], None).unwrap();
    wire.lose = |_| true;
    wire.run();
    let quote = wire.hosts[A].sent[0][..48].to_vec();
    let mut message = vec![0; 8];
    Icmpv6Repr::PacketTooBig { mtu: 1300 }.emit(&mut message);
    message.extend_from_slice(&quote);
    let router: Ipv6Addr = "fd00::99".parse().unwrap();
    let ours: Ipv6Addr = "fd00::1".parse().unwrap();
    let too_big = super::malformed6::icmp6(router, ours, 64, message);
    wire.inject(A, too_big);
    wire.hosts[A].sent.clear();
    wire.stack(A).udp_send(client, vec![0; 1400], None).unwrap();
    wire.run();
    assert_eq!(wire.stack(A).stats().net.ip6.frag_creates, 2);
    assert!(wire.hosts[A].sent.iter().all(|packet| packet.len() <= 1300));
}

#[test]
fn a_group_reaches_all_nodes() {
    let mut wire = Wire::new_v6(Medium::Ethernet);
    let server = udp6(&mut wire, B, 7);
    let client = udp6(&mut wire, A, 5000);
    let group = "[ff02::1%2]:7".parse().unwrap();
    wire.stack(A)
        .udp_send(client, &b"all"[..], Some(group))
        .unwrap();
    wire.run();
    assert_eq!(wire.hosts[A].sent[0][..6], [0x33, 0x33, 0, 0, 0, 1]);
    assert_eq!(&wire.stack(B).udp_recv(server).unwrap().data[..], b"all");
}
