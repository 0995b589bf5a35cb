use super::*;
use crate::error::SocketError;
use crate::socket::Shutdown;
use crate::socket::tcp::{TcpOption, TcpState};

/// A listener on B, a connection to it from A, and what B accepted.
pub(super) fn connect(wire: &mut Wire) -> (SocketId, SocketId, SocketId) {
    let to = wire.at(B, 80);
    let listener = wire.stack(B).tcp_open();
    wire.stack(B).tcp_bind(listener, any_addr(80)).unwrap();
    wire.stack(B).tcp_listen(listener, 5).unwrap();
    let client = wire.stack(A).tcp_open();
    assert_eq!(
        wire.stack(A).tcp_connect(client, to),
        Err(SocketError::InProgress)
    );
    wire.run();
    let (server, from) = wire.stack(B).tcp_accept(listener).unwrap();
    assert_eq!(Ok(from), wire.stack(A).local_addr(client));
    assert_eq!(wire.stack(A).peer_addr(client), Ok(to));
    (listener, client, server)
}

/// Sends `data` from one host to the other, reading as it comes, and compares.
pub(super) fn transfer(
    wire: &mut Wire,
    (from, tx): (usize, SocketId),
    (to, rx): (usize, SocketId),
    len: usize,
) {
    let data: Vec<u8> = (0..len).map(|at| (at * 7 % 251) as u8).collect();
    let (mut sent, mut got, mut buffer) = (0, Vec::new(), vec![0; 1 << 16]);
    while got.len() < len {
        match wire.stack(from).tcp_send(tx, &data[sent..], false) {
            Ok(count) => sent += count,
            Err(SocketError::WouldBlock) => {}
            Err(error) => panic!("{error}"),
        }
        wire.run();
        let before = got.len();
        while let Ok(count) = wire.stack(to).tcp_recv(rx, &mut buffer, false) {
            got.extend_from_slice(&buffer[..count]);
        }
        if got.len() == before && !wire.tick() {
            panic!("stuck at {} of {len}", got.len());
        }
    }
    assert!(got == data);
}

#[test]
fn a_connection_over_every_kind_of_link() {
    for medium in [Medium::Ip, Medium::Ethernet] {
        for (tx_checksum, gso_max) in [(false, 0), (true, 0), (true, 65_535)] {
            let mut wire = Wire::with_caps(DeviceCaps {
                medium,
                mtu: 1500,
                tx_checksum,
                gso_max,
            });
            let (_, client, server) = connect(&mut wire);
            transfer(&mut wire, (A, client), (B, server), 3 << 20);
            transfer(&mut wire, (B, server), (A, client), 1 << 20);
            let stats = wire.stack(B).stats().tcp;
            assert_eq!(stats.in_errs, 0);
        }
    }
}

#[test]
fn loss_is_repaired() {
    let mut wire = Wire::new(Medium::Ip);
    let (_, client, server) = connect(&mut wire);
    // About one packet in thirty, by its own bytes.
    wire.lose = |packet| {
        packet
            .iter()
            .fold(7_u32, |h, b| h.wrapping_mul(31) ^ u32::from(*b))
            % 31
            == 0
    };
    transfer(&mut wire, (A, client), (B, server), 1 << 20);
}

#[test]
fn loopback_without_a_device() {
    let mut stack = Stack::new(StackConfig::default(), [9; 16]);
    let listener = stack.tcp_open();
    stack.tcp_bind(listener, any_addr(80)).unwrap();
    stack.tcp_listen(listener, 5).unwrap();
    let client = stack.tcp_open();
    let to = "127.0.0.1:80".parse().unwrap();
    assert_eq!(stack.tcp_connect(client, to), Err(SocketError::InProgress));
    let (server, _) = stack.tcp_accept(listener).unwrap();
    let (mut sent, mut got, mut buffer) = (0, 0, vec![0; 1 << 16]);
    let data = vec![5; 1 << 20];
    while got < data.len() {
        sent += stack.tcp_send(client, &data[sent..], false).unwrap_or(0);
        got += stack.tcp_recv(server, &mut buffer, false).unwrap_or(0);
        if let Some(next) = stack.poll_timeout() {
            stack.handle_timeout(next);
        }
    }
    stack.shutdown(client, Shutdown::Write).unwrap();
    assert_eq!(stack.tcp_recv(server, &mut buffer, false), Ok(0));
    stack.close(server);
    stack.close(client);
    assert_eq!(stack.readiness(client), None);
}

#[test]
fn a_closed_port_refuses_and_a_silent_host_is_unreachable() {
    let mut wire = Wire::new(Medium::Ethernet);
    let client = wire.stack(A).tcp_open();
    let to = wire.at(B, 81);
    let _ = wire.stack(A).tcp_connect(client, to);
    wire.run();
    assert_eq!(wire.stack(A).take_error(client), Some(SocketError::Refused));
    let client = wire.stack(A).tcp_open();
    let nobody = "10.0.0.77:80".parse().unwrap();
    let _ = wire.stack(A).tcp_connect(client, nobody);
    wire.stack(A)
        .tcp_set_option(client, TcpOption::SynCount(2))
        .unwrap();
    wire.run();
    while wire
        .stack(A)
        .readiness(client)
        .is_some_and(|ready| !ready.contains(Readiness::ERROR))
    {
        assert!(wire.tick());
    }
    assert_eq!(
        wire.stack(A).take_error(client),
        Some(SocketError::HostUnreachable)
    );
}

#[test]
fn acknowledgements_keep_the_neighbour_reachable() {
    use crate::neighbor::NeighborState;
    let mut wire = Wire::new(Medium::Ethernet);
    let (_, client, server) = connect(&mut wire);
    for _ in 0..20 {
        transfer(&mut wire, (A, client), (B, server), 5000);
        wire.elapse(Duration::from_secs(4));
    }
    let states: Vec<_> = wire.stack(A).neighbors().map(|n| n.state).collect();
    assert_eq!(states, [NeighborState::Reachable]);
    let requests = wire.hosts[A]
        .sent
        .iter()
        .filter(|frame| frame[12..14] == [8, 6]);
    assert_eq!(requests.count(), 1);
}

#[test]
fn events_tell_of_a_connection_and_its_end() {
    let mut wire = Wire::new(Medium::Ip);
    let (listener, client, server) = connect(&mut wire);
    let seen = events(wire.stack(B));
    assert!(seen.iter().any(|(id, _)| *id == listener));
    assert!(events(wire.stack(A)).contains(&(client, Readiness::WRITABLE)));
    wire.stack(A).close(client);
    wire.run();
    let seen = events(wire.stack(B));
    let (_, ready) = seen.iter().find(|(id, _)| *id == server).unwrap();
    assert!(ready.contains(Readiness::READABLE | Readiness::RDHUP));
    assert_eq!(wire.stack(B).tcp_recv(server, &mut [0; 8], false), Ok(0));
    wire.stack(B).close(server);
    wire.run();
    while wire.tick() {}
    assert_eq!(wire.stack(B).tcp_state(server), Err(SocketError::Invalid));
    assert_eq!(wire.stack(B).tcp_state(listener), Ok(TcpState::Listen));
}

#[test]
fn settings_reach_tcp() {
    let mut wire = Wire::new(Medium::Ip);
    let stack = wire.stack(A);
    stack.set_setting("net.ipv4.tcp_syncookies", "2").unwrap();
    assert_eq!(
        stack.setting("net/ipv4/tcp_syncookies").as_deref(),
        Some("2")
    );
    assert_eq!(
        stack.set_setting("tcp_sack", "x"),
        Err(SettingError::BadValue)
    );
    assert_eq!(
        stack.set_setting("nonsense", "1"),
        Err(SettingError::Unknown)
    );
    stack
        .set_setting("ip_local_port_range", "2000 2000")
        .unwrap();
    let id = stack.udp_open(Family::V4);
    stack.udp_bind(id, any_addr(0)).unwrap();
    assert_eq!(stack.local_addr(id).unwrap().port(), 2000);
}

/// "Fragmentation needed" from a router on the way, about a packet of A.
fn too_big(quoted: &[u8], mtu: u16) -> Vec<u8> {
    use crate::wire::icmpv4::Icmpv4Repr;
    let mut message = vec![0; 8];
    Icmpv4Repr::Unreachable { code: 4, mtu }.emit(&mut message);
    message.extend_from_slice(&quoted[..28]);
    let sum = crate::wire::checksum::checksum(&message);
    message[2..4].copy_from_slice(&sum.to_be_bytes());
    let ip = etherparse::PacketBuilder::ipv4([10, 0, 0, 9], [10, 0, 0, 1], 64);
    let mut packet = Vec::new();
    ip.write(&mut packet, etherparse::IpNumber::ICMP, &message)
        .unwrap();
    packet
}

#[test]
fn a_smaller_path_mtu_is_learned_and_a_forged_one_is_not() {
    let mut wire = Wire::new(Medium::Ip);
    let (_, client, server) = connect(&mut wire);
    wire.lose = |packet| packet.len() > 1200;
    assert_eq!(wire.stack(A).tcp_send(client, &[1; 5000], false), Ok(5000));
    wire.run();
    let lost = wire.hosts[A].sent.iter().find(|packet| packet.len() > 1200);
    let lost = lost.unwrap().clone();
    let mtu = |wire: &mut Wire| wire.stack(A).tcp_info(client).unwrap().pmtu;
    let mut forged = lost.clone();
    forged[24] ^= 0x40;
    wire.inject(A, too_big(&forged, 600));
    assert_eq!(mtu(&mut wire), 1500);
    wire.inject(A, too_big(&lost, 1200));
    assert_eq!(mtu(&mut wire), 1200);
    let (mut got, mut buffer) = (0, [0; 8192]);
    while got < 5000 {
        wire.run();
        got += wire
            .stack(B)
            .tcp_recv(server, &mut buffer, false)
            .unwrap_or(0);
        assert!(got == 5000 || wire.tick());
    }
    assert!(
        wire.now < Instant::from_millis(1200),
        "no timeout was needed"
    );
}
