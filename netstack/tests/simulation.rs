//! The simulator itself: stacks that talk in virtual time, the same way for the same seed.

use std::cell::RefCell;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::rc::Rc;
use std::time::Duration;

use netstack::error::SocketError;
use netstack::link::{DeviceCaps, MacAddr, Medium};
use netstack::network::IfaceId;
use netstack::network::addr::Cidr;
use netstack::socket::{Family, Shutdown};
use netstack::stack::{InterfaceConfig, Stack, StackConfig};
use netstack::testing::{LinkConfig, Sim};
use netstack::time::Instant;

fn stack(last_byte: u8) -> (Stack, IfaceId) {
    let mut stack = Stack::new(StackConfig::default(), [last_byte; 16]);
    let caps = DeviceCaps {
        medium: Medium::Ethernet,
        mtu: 1_500,
        tx_checksum: false,
        gso_max: 0,
    };
    let mac = MacAddr([2, 0, 0, 0, 0, last_byte]);
    let config = InterfaceConfig {
        name: "eth0".into(),
        mac,
        caps,
    };
    let iface = stack.add_interface(config).unwrap();
    let address = Cidr::new(ip(last_byte), 24).unwrap();
    stack.add_address(iface, address).unwrap();
    (stack, iface)
}

fn ip(last_byte: u8) -> IpAddr {
    Ipv4Addr::new(10, 0, 0, last_byte).into()
}

type Trace = Vec<(Instant, Vec<u8>)>;

/// Sends `count` datagrams, one each 10 ms, to an echo server. Returns the replies and every packet sent.
fn echo_run(config: LinkConfig, seed: u8, count: u32) -> (Vec<u32>, Trace) {
    let mut sim = Sim::new();
    let ((client, at_client), (server, at_server)) = (stack(1), stack(2));
    let (client, server) = (sim.add_stack(client), sim.add_stack(server));
    sim.connect((client, at_client), (server, at_server), config, [seed; 16]);
    let trace = Rc::new(RefCell::new(Trace::new()));
    let recorder = trace.clone();
    sim.set_tap(Box::new(move |at, _, packet| {
        recorder.borrow_mut().push((at, packet.to_vec()));
    }));

    let asking = sim.stack(client).udp_open(Family::V4);
    let answering = sim.stack(server).udp_open(Family::V4);
    let to = SocketAddr::new(ip(2), 7);
    sim.stack(server).udp_bind(answering, to).unwrap();
    let mut replies = Vec::new();
    for number in 0..count {
        let sent = sim
            .stack(client)
            .udp_send(asking, number.to_be_bytes().to_vec(), Some(to));
        assert_eq!(sent, Ok(4));
        sim.run(Duration::from_millis(10), |sim| {
            while let Ok(datagram) = sim.stack(server).udp_recv(answering) {
                let stack = sim.stack(server);
                stack
                    .udp_send(answering, datagram.data, Some(datagram.from))
                    .unwrap();
            }
            loop {
                match sim.stack(client).udp_recv(asking) {
                    Ok(reply) => {
                        replies.push(u32::from_be_bytes(reply.data[..].try_into().unwrap()));
                    }
                    Err(SocketError::WouldBlock) => return false,
                    Err(error) => panic!("{error}"),
                }
            }
        });
    }
    let trace = trace.take();
    (replies, trace)
}

#[test]
fn a_clean_link_answers_all_in_order() {
    let (replies, _) = echo_run(LinkConfig::default(), 1, 100);
    assert!(replies.into_iter().eq(0..100));
}

#[test]
fn a_lossy_link_loses_and_the_same_seed_loses_the_same() {
    let config = LinkConfig {
        loss: 0.1,
        duplicate: 0.1,
        reorder: 0.1,
        reorder_delay: Duration::from_millis(30),
        ..LinkConfig::default()
    };
    let (replies, trace) = echo_run(config, 2, 300);
    let mut distinct = replies.clone();
    distinct.sort_unstable();
    distinct.dedup();
    assert!(distinct.len() > 200 && distinct.len() < 300);
    assert!(replies.len() > distinct.len(), "some came twice");
    assert!(!replies.is_sorted(), "some were overtaken");
    assert_eq!(echo_run(config, 2, 300), (replies, trace));
}

/// Sends `len` bytes over TCP from the first stack to the second. Returns how long it took, and
/// every packet's time.
fn tcp_run(config: LinkConfig, seed: u8, len: usize) -> (Duration, Vec<Instant>) {
    let mut sim = Sim::new();
    let ((client, at_client), (server, at_server)) = (stack(1), stack(2));
    let (client, server) = (sim.add_stack(client), sim.add_stack(server));
    sim.connect((client, at_client), (server, at_server), config, [seed; 16]);
    let times = Rc::new(RefCell::new(Vec::new()));
    let recorder = times.clone();
    sim.set_tap(Box::new(move |at, _, _| recorder.borrow_mut().push(at)));

    let began = sim.now();
    let listener = sim.stack(server).tcp_open();
    let addr = SocketAddr::new(ip(2), 80);
    sim.stack(server).tcp_bind(listener, addr).unwrap();
    sim.stack(server).tcp_listen(listener, 5).unwrap();
    let sender = sim.stack(client).tcp_open();
    sim.stack(client).set_now(began);
    let begun = sim.stack(client).tcp_connect(sender, addr);
    assert_eq!(begun, Err(SocketError::InProgress));

    let data: Vec<u8> = (0..len).map(|i| ((i * i) >> 5) as u8).collect();
    let (mut sent, mut received, mut peer) = (0, Vec::new(), None);
    let mut buffer = vec![0; 65_536];
    let done = sim.run(Duration::from_secs(600), |sim| {
        let now = sim.now();
        let stack = sim.stack(client);
        stack.set_now(now);
        while sent < len {
            match stack.tcp_send(sender, &data[sent..], false) {
                Ok(count) => sent += count,
                Err(SocketError::WouldBlock) => break,
                Err(error) => panic!("seed {seed}: {error}"),
            }
        }
        if sent == len {
            let _ = stack.shutdown(sender, Shutdown::Write);
        }
        let stack = sim.stack(server);
        stack.set_now(now);
        if peer.is_none() {
            peer = stack.tcp_accept(listener).ok().map(|(id, _)| id);
        }
        let Some(peer) = peer else {
            return false;
        };
        loop {
            match stack.tcp_recv(peer, &mut buffer, false) {
                Ok(0) => return true,
                Ok(count) => received.extend_from_slice(&buffer[..count]),
                Err(SocketError::WouldBlock) => return false,
                Err(error) => panic!("seed {seed}: {error}"),
            }
        }
    });
    assert!(done, "seed {seed}: the transfer did not end in ten minutes");
    assert!(received == data, "seed {seed}: the data differ");
    let times = times.take();
    (sim.now().since(began), times)
}

#[test]
fn tcp_fills_a_clean_link() {
    let config = LinkConfig {
        rate: Some(100_000_000),
        delay: Duration::from_millis(10),
        ..LinkConfig::default()
    };
    let (took, _) = tcp_run(config, 1, 8 << 20);
    // 8 MiB take 0.67 s at the full rate; the rest is slow start.
    assert!(took < Duration::from_millis(1_200), "{took:?}");
}

#[test]
fn tcp_survives_bad_links_and_each_run_can_be_repeated() {
    let config = LinkConfig {
        rate: Some(50_000_000),
        delay: Duration::from_millis(5),
        loss: 0.03,
        duplicate: 0.02,
        reorder: 0.05,
        reorder_delay: Duration::from_millis(8),
        ..LinkConfig::default()
    };
    for seed in 0..30 {
        let first = tcp_run(config, seed, 300_000);
        if seed < 3 {
            assert_eq!(tcp_run(config, seed, 300_000), first, "seed {seed}");
        }
    }
}

/// A stream to an echo server and back through a bad link: data, acknowledgements and SACK blocks share
/// segments in both directions. Returns how long it took.
fn tcp_echo_run(config: LinkConfig, seed: u8, len: usize) -> Option<Duration> {
    let mut sim = Sim::new();
    let ((client, at_client), (server, at_server)) = (stack(1), stack(2));
    let (client, server) = (sim.add_stack(client), sim.add_stack(server));
    sim.connect((client, at_client), (server, at_server), config, [seed; 16]);
    let began = sim.now();
    let addr = SocketAddr::new(ip(2), 7);
    let listener = sim.stack(server).tcp_open();
    sim.stack(server).tcp_bind(listener, addr).unwrap();
    sim.stack(server).tcp_listen(listener, 5).unwrap();
    let asking = sim.stack(client).tcp_open();
    sim.stack(client).set_now(began);
    let _ = sim.stack(client).tcp_connect(asking, addr);
    let data: Vec<u8> = (0..len).map(|i| ((i * i) >> 5) as u8).collect();
    let (mut sent, mut back, mut echoing) = (0, Vec::new(), None);
    let mut held = Vec::new();
    let mut buffer = vec![0; 65_536];
    let done = sim.run(Duration::from_secs(600), |sim| {
        let now = sim.now();
        let stack = sim.stack(client);
        stack.set_now(now);
        sent += stack.tcp_send(asking, &data[sent..], false).unwrap_or(0);
        while let Ok(count @ 1..) = stack.tcp_recv(asking, &mut buffer, false) {
            back.extend_from_slice(&buffer[..count]);
        }
        let stack = sim.stack(server);
        stack.set_now(now);
        echoing = echoing.or_else(|| stack.tcp_accept(listener).ok().map(|(id, _)| id));
        let Some(peer) = echoing else {
            return false;
        };
        loop {
            if held.is_empty() {
                match stack.tcp_recv(peer, &mut buffer, false) {
                    Ok(count @ 1..) => held.extend_from_slice(&buffer[..count]),
                    _ => break,
                }
            }
            match stack.tcp_send(peer, &held, false) {
                Ok(count) => drop(held.drain(..count)),
                Err(_) => break,
            }
        }
        back.len() >= len
    });
    assert!(back == data[..back.len()], "seed {seed}: the data differ");
    done.then(|| sim.now().since(began))
}

/// A full segment has no room for SACK blocks beside its data.
#[test]
fn both_directions_at_once_recover_from_losses() {
    let config = LinkConfig {
        rate: Some(1_000_000_000),
        delay: Duration::from_micros(50),
        loss: 0.02,
        reorder: 0.02,
        ..LinkConfig::default()
    };
    for seed in 0..10 {
        let took = tcp_echo_run(config, seed, 2_000_000);
        let took = took.unwrap_or_else(|| panic!("seed {seed}: no end in ten minutes"));
        // In virtual time. A timeout now and then (200 ms) is not the repair of each loss.
        assert!(took < Duration::from_secs(2), "seed {seed}: {took:?}");
    }
}
