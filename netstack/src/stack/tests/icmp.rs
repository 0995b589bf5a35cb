use super::*;
use crate::error::SocketError;
use crate::socket::RawKind;
use crate::socket::tcp::MtuDiscover;
use crate::wire::icmpv4::Icmpv4Repr;
use crate::wire::ipv4::Ipv4View;

fn echo_request(seq: u16) -> Vec<u8> {
    let mut message = vec![0; 8];
    Icmpv4Repr::EchoRequest { ident: 0, seq }.emit(&mut message);
    message.extend_from_slice(b"ping data");
    message
}

#[test]
fn ping() {
    for medium in [Medium::Ip, Medium::Ethernet] {
        let mut wire = Wire::new(medium);
        let to = wire.hosts[B].addr;
        let id = wire.stack(A).raw_open(Family::V4, RawKind::Echo).unwrap();
        wire.stack(A)
            .raw_send(id, echo_request(3), Some(SocketAddr::new(to, 0)))
            .unwrap();
        wire.run();
        let got = wire.stack(A).raw_recv(id).unwrap();
        let ident = wire.stack(A).local_addr(id).unwrap().port();
        let repr = Icmpv4Repr::parse(&got.data).unwrap();
        assert_eq!(repr, Icmpv4Repr::EchoReply { ident, seq: 3 });
        assert_eq!(
            (&got.data[8..], got.from.ip(), got.ttl),
            (&b"ping data"[..], to, 64)
        );
        let stats = wire.stack(B).stats().net;
        assert_eq!((stats.icmp4.in_echos, stats.icmp4.out_echo_reps), (1, 1));
    }
}

#[test]
fn ping_ourselves() {
    let mut wire = Wire::new(Medium::Ip);
    let stack = wire.stack(A);
    let id = stack.raw_open(Family::V4, RawKind::Echo).unwrap();
    stack
        .raw_send(id, echo_request(1), Some("127.0.0.1:0".parse().unwrap()))
        .unwrap();
    assert!(stack.raw_recv(id).is_ok());
}

#[test]
fn a_large_ping_is_fragmented_both_ways() {
    let mut wire = Wire::new(Medium::Ip);
    let (to, mut message) = (wire.hosts[B].addr, echo_request(1));
    message.extend((0..5000_u32).map(|n| n as u8));
    let id = wire.stack(A).raw_open(Family::V4, RawKind::Echo).unwrap();
    wire.stack(A)
        .raw_send(id, message.clone(), Some(SocketAddr::new(to, 0)))
        .unwrap();
    wire.run();
    let got = wire.stack(A).raw_recv(id).unwrap();
    assert_eq!(got.data[8..], message[8..]);
    assert_eq!(wire.stack(B).stats().net.ip4.reasm_oks, 1);
    assert_eq!(wire.stack(B).stats().net.ip4.frag_creates, 4);
}

#[test]
fn settings_silence_echo() {
    let mut wire = Wire::new(Medium::Ip);
    let to = wire.hosts[B].addr;
    wire.stack(B)
        .set_setting("icmp_echo_ignore_all", "1")
        .unwrap();
    let id = wire.stack(A).raw_open(Family::V4, RawKind::Echo).unwrap();
    wire.stack(A)
        .raw_send(id, echo_request(1), Some(SocketAddr::new(to, 0)))
        .unwrap();
    wire.run();
    assert!(wire.stack(A).raw_recv(id).is_err());
}

#[test]
fn a_raw_socket_sees_whole_packets_and_unknown_protocols_are_refused() {
    let mut wire = Wire::new(Medium::Ip);
    let to = wire.hosts[B].addr;
    let ours = wire.stack(A).raw_open(Family::V4, RawKind::Ip(99)).unwrap();
    wire.stack(A)
        .raw_connect(ours, Some(SocketAddr::new(to, 0)))
        .unwrap();
    wire.stack(A).raw_send(ours, &b"hello"[..], None).unwrap();
    wire.run();
    assert_eq!(
        wire.stack(A).raw_recv(ours).unwrap_err(),
        SocketError::NoProtocol
    );
    assert_eq!(wire.stack(B).stats().net.ip4.in_unknown_protos, 1);
    let theirs = wire.stack(B).raw_open(Family::V4, RawKind::Ip(99)).unwrap();
    wire.stack(A).raw_send(ours, &b"hello"[..], None).unwrap();
    wire.run();
    let got = wire.stack(B).raw_recv(theirs).unwrap();
    assert_eq!(Ipv4View::new(&got.data).unwrap().payload(), b"hello");
}

#[test]
fn errors_are_limited() {
    let mut wire = Wire::new(Medium::Ip);
    let (client, to) = (wire.bind(A, 5000), wire.at(B, 9));
    for _ in 0..50 {
        wire.stack(A).udp_send(client, &b"x"[..], Some(to)).unwrap();
    }
    wire.run();
    let stats = wire.stack(B).stats().net;
    assert_eq!(
        (stats.icmp4.out_dest_unreachs, stats.icmp4.out_rate_limited),
        (6, 44)
    );
}

#[test]
fn errors_quote_what_they_are_about() {
    let mut wire = Wire::new(Medium::Ip);
    let (client, to) = (wire.bind(A, 5000), wire.at(B, 9));
    wire.stack(A)
        .udp_send(client, vec![7; 1000], Some(to))
        .unwrap();
    wire.run();
    let (sent, answer) = (&wire.hosts[A].sent[0], &wire.hosts[B].sent[0]);
    assert_eq!(answer.len(), 576);
    assert_eq!(answer[28..], sent[..548]);
    let header = etherparse::PacketHeaders::from_ip_slice(answer).unwrap();
    let Some(etherparse::TransportHeader::Icmpv4(icmp)) = header.transport else {
        panic!("not ICMP");
    };
    use etherparse::{Icmpv4Type, icmpv4::DestUnreachableHeader};
    assert_eq!(
        icmp.icmp_type,
        Icmpv4Type::DestinationUnreachable(DestUnreachableHeader::Port)
    );
    assert_eq!(
        icmp.icmp_type.calc_checksum(header.payload.slice()),
        icmp.checksum
    );
}

#[test]
fn no_error_answers_an_error_or_a_broadcast() {
    let mut wire = Wire::new(Medium::Ip);
    let (client, to) = (wire.bind(A, 5000), wire.at(B, 9));
    wire.stack(A).udp_options_mut(client).unwrap().broadcast = true;
    wire.stack(A)
        .udp_send(client, &b"x"[..], Some("10.0.0.255:9".parse().unwrap()))
        .unwrap();
    wire.run();
    assert!(wire.hosts[B].sent.is_empty());
    // An error about a datagram that we never sent.
    wire.stack(A).udp_send(client, &b"x"[..], Some(to)).unwrap();
    wire.run();
    let error = wire.hosts[B].sent[0].clone();
    wire.stack(A).close(client);
    wire.hosts[A].sent.clear();
    wire.inject(A, error);
    wire.run();
    assert!(wire.hosts[A].sent.is_empty());
}

#[test]
fn the_path_mtu_is_learned_from_a_router() {
    let mut wire = Wire::new(Medium::Ip);
    let to = wire.at(B, 7);
    let client = wire.stack(A).udp_open(Family::V4);
    wire.stack(A).udp_connect(client, to).unwrap();
    wire.stack(A).udp_options_mut(client).unwrap().mtu_discover = MtuDiscover::Do;
    wire.stack(A).udp_send(client, vec![0; 1400], None).unwrap();
    wire.lose = |_| true;
    wire.run();
    let quote = wire.hosts[A].sent[0][..28].to_vec();
    let mut message = vec![0; 8];
    Icmpv4Repr::Unreachable { code: 4, mtu: 1280 }.emit(&mut message);
    message.extend_from_slice(&quote);
    let sum = crate::wire::checksum::checksum(&message);
    message[2..4].copy_from_slice(&sum.to_be_bytes());
    let ip = etherparse::PacketBuilder::ipv4([10, 0, 0, 9], [10, 0, 0, 1], 64);
    let mut packet = Vec::new();
    ip.write(&mut packet, etherparse::IpNumber::ICMP, &message)
        .unwrap();
    wire.inject(A, packet);
    let sent = wire.stack(A).udp_send(client, vec![0; 1400], None);
    assert_eq!(sent, Err(SocketError::MessageTooLong));
    wire.stack(A).udp_options_mut(client).unwrap().mtu_discover = MtuDiscover::Want;
    wire.stack(A).udp_send(client, vec![0; 1400], None).unwrap();
    wire.run();
    assert_eq!(wire.stack(A).stats().net.ip4.frag_creates, 2);
}
