use super::*;
use crate::error::SocketError;
use crate::neighbor::NeighborState;
use crate::wire::arp::{self, ArpOp, ArpRepr};
use std::net::Ipv4Addr;

fn frame(dst: MacAddr, packet: ArpRepr) -> Vec<u8> {
    use crate::wire::ethernet::{EthernetRepr, ethertype};
    let mut bytes = vec![0; 14 + arp::LEN];
    let header = EthernetRepr {
        dst,
        src: packet.sender_mac,
        ethertype: ethertype::ARP,
    };
    header.emit(&mut bytes);
    packet.emit(&mut bytes[14..]);
    bytes
}

#[test]
fn the_first_packet_waits_for_the_answer() {
    let mut wire = Wire::new(Medium::Ethernet);
    let (client, server, to) = (wire.bind(A, 5000), wire.bind(B, 7), wire.at(B, 7));
    for n in 0..3_u8 {
        wire.stack(A).udp_send(client, vec![n], Some(to)).unwrap();
    }
    wire.run();
    let got: Vec<u8> = (0..3)
        .map(|_| wire.stack(B).udp_recv(server).unwrap().data[0])
        .collect();
    assert_eq!(got, [0, 1, 2]);
    // One request, three datagrams.
    assert_eq!(wire.hosts[A].sent.len(), 4);
    let states: Vec<_> = wire
        .stack(A)
        .neighbors()
        .map(|n| (n.state, n.mac))
        .collect();
    assert_eq!(
        states,
        [(NeighborState::Reachable, Some(MacAddr([2, 0, 0, 0, 0, 2])))]
    );
    let states: Vec<_> = wire.stack(B).neighbors().map(|n| n.state).collect();
    assert_eq!(states, [NeighborState::Stale]);
}

#[test]
fn a_silent_neighbour_is_reported() {
    let mut wire = Wire::new(Medium::Ethernet);
    wire.lose = |_| true;
    let to = wire.at(B, 7);
    let client = wire.stack(A).udp_open(Family::V4);
    wire.stack(A).udp_connect(client, to).unwrap();
    wire.stack(A).udp_options_mut(client).unwrap().recv_errors = true;
    wire.stack(A).udp_send(client, &b"x"[..], None).unwrap();
    wire.run();
    while wire.tick() {}
    assert_eq!(wire.now, Instant::from_millis(4000));
    assert_eq!(wire.hosts[A].sent.len(), 3);
    assert_eq!(
        wire.stack(A).udp_recv(client).unwrap_err(),
        SocketError::HostUnreachable
    );
    assert_eq!(wire.stack(A).stats().net.link.neigh_out_unreachable, 1);
}

#[test]
fn probes_are_unicast() {
    let mut wire = Wire::new(Medium::Ethernet);
    let (client, to) = (wire.bind(A, 5000), wire.at(B, 7));
    wire.bind(B, 7);
    wire.stack(A).udp_send(client, &b"x"[..], Some(to)).unwrap();
    wire.run();
    wire.elapse(Duration::from_secs(60));
    wire.stack(A).udp_send(client, &b"x"[..], Some(to)).unwrap();
    wire.run();
    wire.hosts[A].sent.clear();
    while wire.hosts[A].sent.is_empty() && wire.tick() {}
    assert_eq!(wire.hosts[A].sent[0][..6], [2, 0, 0, 0, 0, 2]);
    let states: Vec<_> = wire.stack(A).neighbors().map(|n| n.state).collect();
    assert_eq!(states, [NeighborState::Reachable]);
}

#[test]
fn a_new_address_is_announced() {
    let mut wire = Wire::new(Medium::Ethernet);
    let iface = wire.hosts[A].iface;
    wire.stack(A)
        .add_address(iface, "10.0.0.7/24".parse().unwrap())
        .unwrap();
    wire.run();
    let packet = ArpRepr::parse(&wire.hosts[A].sent[0][14..]).unwrap();
    assert_eq!(packet.sender, Ipv4Addr::new(10, 0, 0, 7));
    assert_eq!(packet.target, packet.sender);
}

#[test]
fn only_our_addresses_are_answered_for() {
    let mut wire = Wire::new(Medium::Ethernet);
    let ask = |target| ArpRepr {
        op: ArpOp::Request,
        sender_mac: MacAddr([2, 0, 0, 0, 0, 9]),
        sender: Ipv4Addr::new(10, 0, 0, 9),
        target_mac: MacAddr::default(),
        target,
    };
    let everybody = MacAddr([0xff; 6]);
    wire.inject(A, frame(everybody, ask(Ipv4Addr::new(10, 0, 0, 5))));
    wire.run();
    assert!(wire.hosts[A].sent.is_empty());
    wire.inject(A, frame(everybody, ask(Ipv4Addr::new(10, 0, 0, 1))));
    wire.run();
    let reply = ArpRepr::parse(&wire.hosts[A].sent[0][14..]).unwrap();
    assert_eq!(
        (reply.op, reply.sender_mac),
        (ArpOp::Reply, MacAddr([2, 0, 0, 0, 0, 1]))
    );
    // Somebody who claims our own address, or none, is no neighbour.
    for sender in [Ipv4Addr::new(10, 0, 0, 1), Ipv4Addr::UNSPECIFIED] {
        let probe = ArpRepr {
            sender,
            ..ask(Ipv4Addr::new(10, 0, 0, 1))
        };
        wire.inject(A, frame(everybody, probe));
    }
    assert_eq!(wire.stack(A).neighbors().count(), 1);
}
