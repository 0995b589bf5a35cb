//! Packet sockets on a simulated link: what they see of it, and what they send.

use super::*;
use crate::error::SocketError;
use crate::socket::packet::{ALL_PROTOCOLS, PacketKind};

const ETH0: IfaceId = IfaceId(1);
const OWN: u16 = 0x88b5;

fn watcher(wire: &mut Wire, host: usize, cooked: bool, protocol: u16) -> SocketId {
    let id = wire.stack(host).packet_open(cooked, protocol);
    wire.stack(host).packet_bind(id, Some(ETH0), 0).unwrap();
    id
}

#[test]
fn both_directions_of_a_link_are_seen() {
    let mut wire = Wire::new(Medium::Ethernet);
    let (client, server, to) = (wire.bind(A, 5000), wire.bind(B, 7), wire.at(B, 7));
    let (all, arp) = (
        watcher(&mut wire, A, false, ALL_PROTOCOLS),
        watcher(&mut wire, A, true, 0x806),
    );
    wire.stack(A).udp_send(client, &b"x"[..], Some(to)).unwrap();
    wire.run();
    assert!(wire.stack(B).udp_recv(server).is_ok());
    let mut seen = Vec::new();
    while let Ok(packet) = wire.stack(A).packet_recv(all) {
        assert_eq!((packet.network, packet.len), (14, packet.data.len()));
        seen.push((packet.protocol, packet.kind));
    }
    let (out, host) = (PacketKind::Outgoing, PacketKind::Host);
    assert_eq!(seen, [(0x806, out), (0x806, host), (0x800, out)]);
    let answer = wire.stack(A).packet_recv(arp).unwrap();
    assert_eq!(
        (answer.network, &answer.data[6..8], answer.kind),
        (0, &[0, 2][..], host)
    );
    assert_eq!(answer.from, Some(MacAddr([2, 0, 0, 0, 0, 2])));
    assert_eq!(
        wire.stack(A).packet_recv(arp).unwrap_err(),
        SocketError::WouldBlock
    );
}

#[test]
fn frames_leave_as_they_are_and_cooked_ones_get_a_header() {
    let mut wire = Wire::new(Medium::Ethernet);
    let sender = watcher(&mut wire, A, true, OWN);
    let hears = watcher(&mut wire, B, false, OWN);
    let to = MacAddr([2, 0, 0, 0, 0, 2]);
    let sent = wire
        .stack(A)
        .packet_send(sender, &b"cooked"[..], None, 0, Some(to));
    assert_eq!(sent, Ok(6));
    wire.run();
    let got = wire.stack(B).packet_recv(hears).unwrap();
    assert_eq!(
        got.data[..],
        *b"\x02\0\0\0\0\x02\x02\0\0\0\0\x01\x88\xb5cooked"
    );
    let raw = watcher(&mut wire, B, false, OWN);
    let mut frame = got.data.to_vec();
    frame[..6].fill(0xff);
    wire.stack(B)
        .packet_send(raw, frame.clone(), None, 0, None)
        .unwrap();
    wire.run();
    let heard = wire.stack(A).packet_recv(sender).unwrap();
    assert_eq!(
        (&heard.data[..], heard.kind),
        (&b"cooked"[..], PacketKind::Broadcast)
    );
    let long = vec![0; 1501];
    let stack = wire.stack(A);
    assert_eq!(
        stack.packet_send(sender, long, None, 0, None),
        Err(SocketError::MessageTooLong)
    );
    let loose = stack.packet_open(false, 0);
    assert_eq!(
        stack.packet_send(loose, frame, None, 0, None),
        Err(SocketError::NoDevice)
    );
    assert_eq!(
        stack.packet_bind(loose, Some(IfaceId(9)), 0),
        Err(SocketError::NoDevice)
    );
}

#[test]
fn what_finds_no_room_is_counted() {
    let mut wire = Wire::new(Medium::Ip);
    let (client, to) = (wire.bind(A, 5000), wire.at(B, 7));
    wire.bind(B, 7);
    let all = watcher(&mut wire, B, false, ALL_PROTOCOLS);
    wire.stack(B).packet_options_mut(all).unwrap().recv_budget = 4000;
    for _ in 0..20 {
        wire.stack(A).udp_send(client, &b"x"[..], Some(to)).unwrap();
    }
    wire.run();
    let mut count = 0;
    while let Ok(packet) = wire.stack(B).packet_recv(all) {
        assert_eq!((packet.network, packet.from), (0, None));
        count += 1;
    }
    let counts = wire.stack(B).packet_counts(all).unwrap();
    assert_eq!((counts.packets, counts.packets - counts.drops), (20, count));
    assert_eq!(wire.stack(B).packet_counts(all).unwrap().packets, 0);
}

#[test]
fn filters_drop_and_cut() {
    let mut wire = Wire::new(Medium::Ip);
    let (client, server, to) = (wire.bind(A, 5000), wire.bind(B, 7), wire.at(B, 7));
    // Datagrams of 12 bytes and more, of which 11.
    let program: &[(u16, u8, u8, u32)] = &[
        (0x80, 0, 0, 0),
        (0x35, 0, 1, 12),
        (6, 0, 0, 11),
        (6, 0, 0, 0),
    ];
    let bytes: Vec<u8> = program
        .iter()
        .flat_map(|(code, jt, jf, k)| {
            [&code.to_ne_bytes()[..], &[*jt, *jf], &k.to_ne_bytes()].concat()
        })
        .collect();
    wire.stack(B)
        .filter_mut(server)
        .unwrap()
        .attach(&bytes)
        .unwrap();
    for data in [&b"abc"[..], b"abcd", b"abcdefgh"] {
        wire.stack(A)
            .udp_send(client, data.to_vec(), Some(to))
            .unwrap();
    }
    wire.run();
    let got: Vec<_> = std::iter::from_fn(|| wire.stack(B).udp_recv(server).ok())
        .map(|got| got.data)
        .collect();
    assert_eq!(got, [&b"abc"[..], b"abc"]);
    assert_eq!(wire.stack(B).stats().udp.v4.in_errors, 1);
}
