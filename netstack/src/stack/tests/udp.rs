use super::*;
use crate::error::SocketError;
use crate::socket::Shutdown;

#[test]
fn echo_over_the_wire() {
    for medium in [Medium::Ip, Medium::Ethernet] {
        let mut wire = Wire::new(medium);
        let (client, server) = (wire.bind(A, 5000), wire.bind(B, 7));
        let to = wire.at(B, 7);
        assert_eq!(
            wire.stack(A).udp_send(client, &b"hello"[..], Some(to)),
            Ok(5)
        );
        wire.run();
        assert!(
            events(wire.stack(B)).contains(&(server, Readiness::READABLE | Readiness::WRITABLE))
        );
        let got = wire.stack(B).udp_recv(server).unwrap();
        assert_eq!((&got.data[..], got.from), (&b"hello"[..], wire.at(A, 5000)));
        wire.stack(B)
            .udp_send(server, got.data, Some(got.from))
            .unwrap();
        wire.run();
        let back = wire.stack(A).udp_recv(client).unwrap();
        assert_eq!((&back.data[..], back.from), (&b"hello"[..], to));
        assert_eq!(
            wire.stack(A).udp_recv(client).unwrap_err(),
            SocketError::WouldBlock
        );
    }
}

#[test]
fn pnet_accepts_our_checksums() {
    use pnet::packet::{Packet, ipv4::Ipv4Packet, udp};
    let mut wire = Wire::new(Medium::Ip);
    let (client, to) = (wire.bind(A, 5000), wire.at(B, 9));
    wire.stack(A)
        .udp_send(client, vec![1, 2, 3], Some(to))
        .unwrap();
    wire.run();
    let ip = Ipv4Packet::new(&wire.hosts[A].sent[0]).unwrap();
    assert_eq!(pnet::packet::ipv4::checksum(&ip), ip.get_checksum());
    let datagram = udp::UdpPacket::new(ip.payload()).unwrap();
    let sum = udp::ipv4_checksum(&datagram, &ip.get_source(), &ip.get_destination());
    assert_eq!(sum, datagram.get_checksum());
}

#[test]
fn loopback_and_own_address() {
    let mut wire = Wire::new(Medium::Ip);
    let (client, server) = (wire.bind(A, 5000), wire.bind(A, 7));
    for to in ["127.0.0.1:7", "127.9.9.9:7", "10.0.0.1:7", "0.0.0.0:7"] {
        let stack = wire.stack(A);
        stack
            .udp_send(client, &b"me"[..], Some(to.parse().unwrap()))
            .unwrap();
        let got = stack.udp_recv(server).unwrap();
        assert_eq!(
            (&got.data[..], got.from.port(), got.iface),
            (&b"me"[..], 5000, LOOPBACK)
        );
    }
    assert!(!wire.stack(A).has_transmit(IfaceId(1)));
}

#[test]
fn a_closed_port_is_reported_to_a_connected_socket() {
    let mut wire = Wire::new(Medium::Ip);
    let to = wire.at(B, 9);
    let client = wire.stack(A).udp_open(Family::V4);
    wire.stack(A).udp_connect(client, to).unwrap();
    assert_eq!(
        wire.stack(A).local_addr(client).unwrap().ip(),
        wire.hosts[A].addr
    );
    wire.stack(A).udp_send(client, &b"x"[..], None).unwrap();
    wire.run();
    assert!(events(wire.stack(A))[0].1.contains(Readiness::ERROR));
    assert_eq!(
        wire.stack(A).udp_recv(client).unwrap_err(),
        SocketError::Refused
    );
    assert_eq!(wire.stack(B).stats().udp.v4.no_ports, 1);
    assert_eq!(
        wire.stack(A).udp_recv(client).unwrap_err(),
        SocketError::WouldBlock
    );
}

#[test]
fn connected_sockets_hear_only_their_peer_and_are_preferred() {
    let mut wire = Wire::new(Medium::Ip);
    let (from, other, to) = (wire.at(A, 5000), wire.at(A, 5001), wire.at(B, 7));
    let (client, stranger) = (wire.bind(A, 5000), wire.bind(A, 5001));
    let open = |wire: &mut Wire| {
        let stack = wire.stack(B);
        let id = stack.udp_open(Family::V4);
        stack.udp_options_mut(id).unwrap().reuse_addr = true;
        stack.udp_bind(id, any_addr(7)).unwrap();
        id
    };
    let (connected, open) = (open(&mut wire), open(&mut wire));
    wire.stack(B).udp_connect(connected, from).unwrap();
    wire.stack(A).udp_send(client, &b"1"[..], Some(to)).unwrap();
    wire.stack(A)
        .udp_send(stranger, &b"2"[..], Some(to))
        .unwrap();
    wire.run();
    assert_eq!(&wire.stack(B).udp_recv(connected).unwrap().data[..], b"1");
    let got = wire.stack(B).udp_recv(open).unwrap();
    assert_eq!((&got.data[..], got.from), (&b"2"[..], other));
    assert!(wire.stack(B).udp_recv(connected).is_err());
}

#[test]
fn reuse_port_spreads_flows_and_keeps_each_together() {
    let mut wire = Wire::new(Medium::Ip);
    let servers: Vec<_> = (0..2)
        .map(|_| {
            let stack = wire.stack(B);
            let id = stack.udp_open(Family::V4);
            stack.udp_options_mut(id).unwrap().reuse_port = true;
            stack.udp_bind(id, any_addr(7)).unwrap();
            id
        })
        .collect();
    let to = wire.at(B, 7);
    for port in 5000..5020 {
        let client = wire.bind(A, port);
        for _ in 0..2 {
            wire.stack(A).udp_send(client, &b"x"[..], Some(to)).unwrap();
        }
    }
    wire.run();
    let mut counts = std::collections::HashMap::new();
    for (n, server) in servers.iter().enumerate() {
        while let Ok(got) = wire.stack(B).udp_recv(*server) {
            *counts.entry((n, got.from.port())).or_insert(0) += 1;
        }
    }
    assert!(counts.len() == 20 && counts.values().all(|count| *count == 2));
    assert!((0..2).all(|n| counts.keys().any(|(server, _)| *server == n)));
}

#[test]
fn bind_rules() {
    let mut wire = Wire::new(Medium::Ip);
    wire.bind(A, 7);
    let stack = wire.stack(A);
    let id = stack.udp_open(Family::V4);
    assert_eq!(stack.udp_bind(id, any_addr(7)), Err(SocketError::AddrInUse));
    let elsewhere = "10.0.0.9:8".parse().unwrap();
    assert_eq!(
        stack.udp_bind(id, elsewhere),
        Err(SocketError::AddrNotAvailable)
    );
    let v6 = "[::1]:8".parse().unwrap();
    assert_eq!(stack.udp_bind(id, v6), Err(SocketError::AddrFamily));
    stack.udp_bind(id, any_addr(0)).unwrap();
    assert!((32_768..=60_999).contains(&stack.local_addr(id).unwrap().port()));
    assert_eq!(stack.udp_bind(id, any_addr(9)), Err(SocketError::Invalid));
    stack.close(id);
    assert_eq!(stack.udp_bind(id, any_addr(9)), Err(SocketError::Invalid));
    assert_eq!(stack.readiness(id), None);
}

#[test]
fn send_errors() {
    let mut wire = Wire::new(Medium::Ip);
    let id = wire.bind(A, 7);
    let stack = wire.stack(A);
    let mut send = |len: usize, to: Option<&str>| {
        stack.udp_send(id, vec![0; len], to.map(|to| to.parse().unwrap()))
    };
    assert_eq!(send(1, None), Err(SocketError::DestinationRequired));
    assert_eq!(
        send(65_508, Some("10.0.0.2:1")),
        Err(SocketError::MessageTooLong)
    );
    assert_eq!(send(1, Some("10.0.0.255:1")), Err(SocketError::Access));
    assert_eq!(
        send(1, Some("255.255.255.255:1")),
        Err(SocketError::NetUnreachable)
    );
    assert_eq!(
        send(1, Some("192.0.2.1:1")),
        Err(SocketError::NetUnreachable)
    );
    assert_eq!(send(1, Some("10.0.0.2:0")), Err(SocketError::Invalid));
    assert_eq!(send(1, Some("[::1]:1")), Err(SocketError::AddrFamily));
    assert_eq!(
        stack.shutdown(id, Shutdown::Both),
        Err(SocketError::NotConnected)
    );
}

#[test]
fn broadcast_reaches_everybody_and_ourselves() {
    for (medium, to) in [
        (Medium::Ethernet, "10.0.0.255:7"),
        (Medium::Ip, "10.0.0.255:7"),
        (Medium::Ethernet, "255.255.255.255:7"),
    ] {
        let mut wire = Wire::new(medium);
        let (ours, theirs) = (wire.bind(A, 7), wire.bind(B, 7));
        let stack = wire.stack(A);
        stack.udp_options_mut(ours).unwrap().broadcast = true;
        stack.udp_options_mut(ours).unwrap().iface = Some(IfaceId(1));
        stack
            .udp_send(ours, &b"all"[..], Some(to.parse().unwrap()))
            .unwrap();
        wire.run();
        assert_eq!(&wire.stack(A).udp_recv(ours).unwrap().data[..], b"all");
        assert_eq!(&wire.stack(B).udp_recv(theirs).unwrap().data[..], b"all");
    }
}

#[test]
fn the_receive_budget_bounds_what_waits() {
    let mut wire = Wire::new(Medium::Ip);
    let (client, server, to) = (wire.bind(A, 5000), wire.bind(B, 7), wire.at(B, 7));
    wire.stack(B).udp_options_mut(server).unwrap().recv_budget = 10_000;
    for _ in 0..100 {
        wire.stack(A)
            .udp_send(client, vec![0; 500], Some(to))
            .unwrap();
        wire.run();
    }
    let mut count = 0;
    while wire.stack(B).udp_recv(server).is_ok() {
        count += 1;
    }
    assert_eq!(count, 7);
    assert_eq!(wire.stack(B).udp_drops(server), Ok(93));
    assert_eq!(wire.stack(B).stats().udp.v4.rcvbuf_errors, 93);
}

#[test]
fn bad_datagrams_are_counted() {
    let mut wire = Wire::new(Medium::Ip);
    let (client, server, to) = (wire.bind(A, 5000), wire.bind(B, 7), wire.at(B, 7));
    wire.stack(A)
        .udp_send(client, &b"data"[..], Some(to))
        .unwrap();
    wire.run();
    let good = wire.hosts[A].sent[0].clone();
    wire.stack(B).udp_recv(server).unwrap();
    let mut bad = good.clone();
    *bad.last_mut().unwrap() ^= 1;
    wire.inject(B, bad);
    let mut long = good.clone();
    long[25] = 200;
    wire.inject(B, long);
    let mut no_sum = good;
    no_sum[26..28].fill(0);
    wire.inject(B, no_sum);
    let stats = wire.stack(B).stats().udp.v4;
    assert_eq!(
        (stats.in_csum_errors, stats.in_errors, stats.in_datagrams),
        (1, 2, 2)
    );
}
