use super::*;
use crate::error::SocketError;

#[test]
fn a_full_queue_pushes_back_and_says_when_there_is_room() {
    let mut wire = Wire::new(Medium::Ip);
    let (client, to) = (wire.bind(A, 5000), wire.at(B, 9));
    let full = (0..2000).find_map(|n| {
        let sent = wire.stack(A).udp_send(client, vec![0; 100], Some(to));
        sent.err().map(|error| (n, error))
    });
    assert_eq!(full, Some((1000, SocketError::WouldBlock)));
    events(wire.stack(A));
    assert!(
        !wire
            .stack(A)
            .readiness(client)
            .unwrap()
            .contains(Readiness::WRITABLE)
    );
    wire.run();
    assert!(events(wire.stack(A)).contains(&(client, Readiness::WRITABLE)));
    assert!(
        wire.stack(A)
            .udp_send(client, vec![0; 100], Some(to))
            .is_ok()
    );
}

#[test]
fn loopback_is_bounded_and_does_not_recurse() {
    let mut stack = Stack::new(StackConfig::default(), [1; 16]);
    let id = stack.udp_open(Family::V4);
    stack
        .udp_connect(id, "127.0.0.1:9".parse().unwrap())
        .unwrap();
    for _ in 0..5000 {
        // Each draws a port unreachable, which becomes the next call's error.
        let _ = stack.udp_send(id, &b"x"[..], None);
    }
    assert_eq!(stack.poll_timeout(), None);
}

#[test]
fn checksums_are_left_to_a_device_that_completes_them() {
    let mut wire = Wire::with_caps(DeviceCaps {
        medium: Medium::Ethernet,
        mtu: 1500,
        tx_checksum: true,
        gso_max: 0,
    });
    let (client, to) = (wire.bind(A, 5000), wire.at(B, 9));
    wire.stack(A)
        .udp_send(client, &b"data"[..], Some(to))
        .unwrap();
    wire.step(A);
    wire.step(B);
    let mut batch = TxBatch::new();
    let (now, iface) = (wire.now, wire.hosts[A].iface);
    wire.stack(A).poll_transmit(now, iface, &mut batch);
    let packet = batch.remove(0);
    assert!(packet.offload.checksum.is_some());
    let mut finished = Vec::new();
    assert!(crate::link::segment::segment(packet, |piece| finished.push(piece.to_vec())));
    let headers = etherparse::PacketHeaders::from_ethernet_slice(&finished[0]).unwrap();
    let Some(etherparse::NetHeaders::Ipv4(ip, _)) = headers.net else {
        panic!("not IPv4");
    };
    let Some(etherparse::TransportHeader::Udp(udp)) = headers.transport else {
        panic!("not UDP");
    };
    let sum = udp
        .calc_checksum_ipv4(&ip, headers.payload.slice())
        .unwrap();
    assert_eq!(udp.checksum, sum);
}

#[test]
fn the_set_up_refuses_nonsense() {
    use crate::stack::ConfigError as E;
    let mut wire = Wire::new(Medium::Ethernet);
    let iface = wire.hosts[A].iface;
    let stack = wire.stack(A);
    for bad in [
        "0.0.0.0/8",
        "224.0.0.1/4",
        "10.0.0.255/24",
        "255.255.255.255/32",
    ] {
        assert_eq!(
            stack.add_address(iface, bad.parse().unwrap()),
            Err(E::BadAddress)
        );
    }
    assert_eq!(
        stack.add_address(iface, "10.0.0.1/8".parse().unwrap()),
        Err(E::Exists)
    );
    let gateway = |text: &str| text.parse().unwrap();
    assert_eq!(
        stack.add_default_route(iface, gateway("192.0.2.1")),
        Err(E::BadGateway)
    );
    assert_eq!(
        stack.add_default_route(iface, gateway("10.0.0.1")),
        Err(E::BadGateway)
    );
    stack.add_default_route(iface, gateway("10.0.0.2")).unwrap();
    assert_eq!(stack.routes().count(), 2);
    stack.remove_address(iface, gateway("10.0.0.1")).unwrap();
    assert!(!stack.is_local(gateway("10.0.0.1")) && stack.is_local(gateway("127.0.0.1")));
    let config = InterfaceConfig {
        name: "eth0".to_owned(),
        mac: MacAddr::default(),
        caps: stack.interfaces().next().unwrap().caps,
    };
    assert_eq!(stack.add_interface(config), Err(E::BadName));
}

#[test]
fn a_gateway_carries_what_has_no_other_route() {
    let mut wire = Wire::new(Medium::Ethernet);
    let (iface, gateway) = (wire.hosts[A].iface, wire.hosts[B].addr);
    wire.stack(A).add_default_route(iface, gateway).unwrap();
    let client = wire.bind(A, 5000);
    wire.stack(A)
        .udp_send(client, &b"x"[..], Some("192.0.2.1:9".parse().unwrap()))
        .unwrap();
    wire.run();
    let frame = wire.hosts[A].sent.last().unwrap();
    assert_eq!(frame[..6], [2, 0, 0, 0, 0, 2]);
    assert_eq!(frame[30..34], [192, 0, 2, 1]);
    assert_eq!(wire.stack(B).stats().net.ip4.in_addr_errors, 1);
}

#[test]
fn a_slow_queue_says_when_it_goes_on() {
    let mut wire = Wire::new(Medium::Ip);
    let iface = wire.hosts[A].iface;
    let slow = crate::network::qdisc::QdiscConfig::Tbf {
        rate: 100_000,
        burst: 2000,
        limit_bytes: 1 << 20,
    };
    wire.stack(A).set_qdisc(iface, slow).unwrap();
    let (from, to) = (wire.bind(A, 1), wire.bind(B, 2));
    let at = wire.at(B, 2);
    for _ in 0..20 {
        let sent = wire.stack(A).udp_send(from, vec![7; 972], Some(at));
        assert_eq!(sent, Ok(972));
    }
    let start = wire.now;
    wire.run();
    assert_eq!(wire.hosts[A].sent.len(), 2);
    assert!(!wire.stack(A).has_transmit(iface));
    while wire.tick() {}
    assert_eq!(wire.hosts[A].sent.len(), 20);
    assert_eq!(wire.now.since(start), Duration::from_millis(180));
    let (_, counters) = wire.stack(A).qdisc(iface).unwrap();
    assert_eq!((counters.packets, counters.backlog), (20, 0));
    assert_eq!(wire.stack(B).udp_recv(to).unwrap().data.len(), 972);
    let lo = wire.stack(A).set_qdisc(LOOPBACK, slow);
    assert_eq!(lo, Err(ConfigError::NoInterface));
}
