//! UDP's options in virtual time: segments, corking, sources and interfaces of single datagrams.

use super::*;
use crate::error::SocketError;
use crate::socket::SendTo;
use crate::socket::tcp::MtuDiscover;

fn sizes(wire: &mut Wire, id: SocketId) -> Vec<(usize, u16)> {
    wire.run();
    let all = std::iter::from_fn(|| wire.stack(B).udp_recv(id).ok());
    all.map(|got| (got.data.len(), got.gro_size)).collect()
}

#[test]
fn one_call_makes_many_datagrams() {
    let caps = |gso_max| DeviceCaps {
        medium: Medium::Ip,
        mtu: 1500,
        tx_checksum: true,
        gso_max,
    };
    for gso_max in [0, 65_535] {
        let mut wire = Wire::with_caps(caps(gso_max));
        let (client, server, to) = (wire.bind(A, 5000), wire.bind(B, 7), wire.at(B, 7));
        let send = |wire: &mut Wire, len: usize, segment: u16| {
            let how = SendTo {
                segment: Some(segment),
                ..SendTo::from(Some(to))
            };
            wire.stack(A).udp_send(client, vec![7; len], how)
        };
        assert_eq!(send(&mut wire, 2500, 1000), Ok(2500));
        assert_eq!(
            sizes(&mut wire, server),
            [(1000, 0), (1000, 0), (500, 0)],
            "{gso_max}"
        );
        assert_eq!(
            send(&mut wire, 2500, 1473),
            Err(SocketError::MessageTooLong)
        );
        assert_eq!(send(&mut wire, 129, 1), Err(SocketError::Invalid));
        assert_eq!(send(&mut wire, 128, 1), Ok(128));
        assert_eq!(sizes(&mut wire, server).len(), 128);
        wire.stack(B).udp_options_mut(server).unwrap().gro = true;
        assert_eq!(send(&mut wire, 2500, 1000), Ok(2500));
        let expected = match gso_max {
            0 => vec![(1000, 0), (1000, 0), (500, 0)],
            _ => vec![(2500, 1000)],
        };
        assert_eq!(sizes(&mut wire, server), expected);
    }
}

#[test]
fn a_cork_makes_one_datagram_of_several_calls() {
    let mut wire = Wire::new(Medium::Ip);
    let (client, server, to) = (wire.bind(A, 5000), wire.bind(B, 7), wire.at(B, 7));
    wire.stack(A).udp_options_mut(client).unwrap().cork = true;
    for data in [&b"ab"[..], b"cde"] {
        wire.stack(A)
            .udp_send(client, data.to_vec(), Some(to))
            .unwrap();
    }
    assert_eq!(sizes(&mut wire, server), []);
    wire.stack(A).udp_options_mut(client).unwrap().cork = false;
    wire.stack(A).udp_push(client).unwrap();
    assert_eq!(sizes(&mut wire, server), [(5, 0)]);
    let more = SendTo {
        more: true,
        ..SendTo::from(Some(to))
    };
    wire.stack(A).udp_send(client, &b"xy"[..], more).unwrap();
    let long = wire.stack(A).udp_send(client, vec![0; 65_506], more);
    assert_eq!(long, Err(SocketError::MessageTooLong));
    wire.stack(A).udp_send(client, &b"z"[..], Some(to)).unwrap();
    assert_eq!(sizes(&mut wire, server), [(1, 0)]);
}

#[test]
fn a_call_may_name_source_and_interface() {
    let mut wire = Wire::new(Medium::Ip);
    let iface = wire.hosts[A].iface;
    wire.stack(A)
        .add_address(iface, "10.0.0.9/24".parse().unwrap())
        .unwrap();
    let (client, server, to) = (wire.bind(A, 5000), wire.bind(B, 7), wire.at(B, 7));
    let how = |source: [u8; 4], iface: u16| SendTo {
        source: Some(source.into()),
        iface: Some(IfaceId(iface)),
        ttl: Some(9),
        tos: Some(0x28),
        ..SendTo::from(Some(to))
    };
    wire.stack(A)
        .udp_send(client, &b"x"[..], how([10, 0, 0, 9], 1))
        .unwrap();
    wire.run();
    let got = wire.stack(B).udp_recv(server).unwrap();
    assert_eq!(
        (got.from, got.ttl, got.tos),
        ("10.0.0.9:5000".parse().unwrap(), 9, 0x28)
    );
    let stack = wire.stack(A);
    let foreign = stack.udp_send(client, &b"x"[..], how([10, 0, 0, 77], 1));
    assert_eq!(foreign, Err(SocketError::NetUnreachable));
    let nowhere = stack.udp_send(client, &b"x"[..], how([10, 0, 0, 9], 9));
    assert_eq!(nowhere, Err(SocketError::NoDevice));
    stack.udp_options_mut(client).unwrap().transparent = true;
    stack
        .udp_send(client, &b"x"[..], how([10, 0, 0, 77], 1))
        .unwrap();
    wire.run();
    assert_eq!(
        wire.stack(B)
            .udp_recv(server)
            .unwrap()
            .from
            .ip()
            .to_string(),
        "10.0.0.77"
    );
}

#[test]
fn fragmenting_is_chosen_per_socket() {
    let mut wire = Wire::new(Medium::Ip);
    let (client, server, to) = (wire.bind(A, 5000), wire.bind(B, 7), wire.at(B, 7));
    for (mode, len, df) in [
        (MtuDiscover::Dont, 1000, Some(0)),
        (MtuDiscover::Want, 1000, Some(0x40)),
        (MtuDiscover::Want, 2000, Some(0x20)),
        (MtuDiscover::Do, 1000, Some(0x40)),
        (MtuDiscover::Do, 2000, None),
        (MtuDiscover::Probe, 2000, None),
        (MtuDiscover::Interface, 1000, Some(0)),
        (MtuDiscover::Interface, 2000, None),
        (MtuDiscover::Omit, 2000, Some(0x20)),
    ] {
        wire.stack(A).udp_options_mut(client).unwrap().mtu_discover = mode;
        wire.hosts[A].sent.clear();
        let sent = wire
            .stack(A)
            .udp_send(client, vec![0; len], Some(to))
            .is_ok();
        wire.run();
        let flags = wire.hosts[A].sent.first().map(|packet| packet[6]);
        assert_eq!((sent, flags), (df.is_some(), df), "{mode:?} {len}");
        assert_eq!(wire.stack(B).udp_recv(server).is_ok(), sent);
    }
    assert_eq!(
        wire.stack(A).udp_mtu(client),
        Err(SocketError::NotConnected)
    );
    wire.stack(A).udp_connect(client, to).unwrap();
    assert_eq!(wire.stack(A).udp_mtu(client), Ok(1500));
}

#[test]
fn foreign_addresses_and_no_port() {
    let mut wire = Wire::new(Medium::Ip);
    let to = wire.at(B, 7);
    let stack = wire.stack(A);
    let id = stack.udp_open(Family::V4);
    stack.udp_options_mut(id).unwrap().freebind = true;
    stack.udp_bind(id, "192.0.2.1:9".parse().unwrap()).unwrap();
    assert_eq!(
        stack.udp_send(id, &b"x"[..], Some(to)),
        Err(SocketError::NetUnreachable)
    );
    let id = stack.udp_open(Family::V4);
    stack.udp_options_mut(id).unwrap().bind_no_port = true;
    stack.udp_bind(id, "10.0.0.1:0".parse().unwrap()).unwrap();
    assert_eq!(stack.local_addr(id).unwrap().port(), 0);
    stack.udp_connect(id, to).unwrap();
    assert_ne!(stack.local_addr(id).unwrap().port(), 0);
}
