//! Two engines joined by a network: what is written on one side is read on the other.

use super::harness::{Faults, Net};
use crate::error::SocketError;
use crate::socket::SocketId;
use crate::socket::tcp::{SendHow, ShutdownHow, TcpState};
use crate::time::Duration;
use proptest::prelude::*;

/// The stream that tests send: byte `i` follows from `i`.
fn byte(i: usize) -> u8 {
    (i ^ (i >> 8) ^ (i >> 16)) as u8
}

/// Sends `total` bytes from host `from`, reads them on the other side, closes both ends.
struct Transfer {
    from: usize,
    ends: [SocketId; 2],
    total: usize,
    written: usize,
    read: usize,
    write_size: usize,
    read_size: usize,
    done: bool,
}

impl Transfer {
    fn pump(&mut self, net: &mut Net) {
        let (writer, reader) = (self.ends[self.from], self.ends[1 - self.from]);
        while self.written < self.total {
            let len = self.write_size.min(self.total - self.written);
            let data: Vec<u8> = (self.written..self.written + len).map(byte).collect();
            match net.hosts[self.from]
                .with(|engine, cx| engine.send(cx, writer, &data, SendHow::default()))
            {
                Ok(n) => self.written += n,
                Err(SocketError::WouldBlock) => break,
                Err(error) => panic!("send: {error}"),
            }
            if self.written == self.total {
                let end = |engine: &mut crate::transport::tcp::TcpEngine,
                           cx: &mut crate::transport::tcp::Cx<'_>| {
                    engine.shutdown(cx, writer, ShutdownHow::Send)
                };
                net.hosts[self.from]
                    .with(end)
                    .expect("the connection is open");
            }
        }
        let mut buffer = vec![0; self.read_size];
        while !self.done {
            match net.hosts[1 - self.from]
                .with(|engine, cx| engine.recv(cx, reader, &mut buffer, false))
            {
                Ok(0) => self.done = true,
                Ok(n) => {
                    let expected: Vec<u8> = (self.read..self.read + n).map(byte).collect();
                    assert_eq!(buffer[..n], expected, "at byte {}", self.read);
                    self.read += n;
                }
                Err(SocketError::WouldBlock) => break,
                Err(error) => panic!("recv at byte {}: {error}", self.read),
            }
        }
    }

    fn run(&mut self, net: &mut Net, max_steps: usize) {
        for _ in 0..max_steps {
            self.pump(net);
            if self.done {
                break;
            }
            assert!(
                net.step(),
                "stalled: {} written, {} read",
                self.written,
                self.read
            );
        }
        assert!(
            self.done,
            "too many steps: {} written, {} read",
            self.written, self.read
        );
        assert_eq!(self.read, self.total);
    }
}

fn transfer(
    net: &mut Net,
    from: usize,
    total: usize,
    write_size: usize,
    read_size: usize,
) -> (SocketId, SocketId) {
    let (client, _, server) = net.connect(80);
    let ends = [client, server];
    let mut transfer = Transfer {
        from,
        ends,
        total,
        written: 0,
        read: 0,
        write_size,
        read_size,
        done: false,
    };
    transfer.run(net, 400_000);
    (client, server)
}

#[test]
fn a_quiet_network_loses_nothing() {
    let mut net = Net::new(1);
    let (client, server) = transfer(&mut net, 0, 1_000_000, 10_000, 65_536);
    for host in &net.hosts {
        assert_eq!(host.stats.retrans_segs, 0);
        assert_eq!(host.stats.out_rsts, 0);
    }
    let state = |net: &Net, host: usize, id| net.hosts[host].engine.state(id).expect("still held");
    assert_eq!(state(&net, 1, server), TcpState::CloseWait);
    net.hosts[1]
        .with(|engine, cx| engine.close(cx, server))
        .expect("open");
    for _ in 0..100 {
        if state(&net, 0, client) == TcpState::Closed {
            break;
        }
        assert!(net.step());
    }
    assert_eq!(net.hosts[0].engine.time_wait_len(), 1);
    net.hosts[0]
        .with(|engine, cx| engine.close(cx, client))
        .expect("open");
    let end = net.now + Duration::from_secs(61);
    while net.now < end && net.step() {}
    assert_eq!(net.hosts[0].engine.time_wait_len(), 0);
    assert_eq!(net.hosts[0].engine.poll_timeout(), None);
    assert_eq!(net.hosts[1].engine.poll_timeout(), None);
}

#[test]
fn super_segments_arrive_too() {
    let mut net = Net::new(2);
    net.hosts
        .iter_mut()
        .for_each(|host| host.out.gso_max = 65_535);
    transfer(&mut net, 0, 5_000_000, 100_000, 65_536);
    assert_eq!(net.hosts[0].stats.retrans_segs, 0);
}

#[test]
fn the_server_can_send() {
    let mut net = Net::new(3);
    transfer(&mut net, 1, 300_000, 1, 1000);
}

#[test]
fn a_full_transmit_queue_loses_nothing() {
    let mut net = Net::new(4);
    let (client, _, server) = net.connect(80);
    let mut transfer = Transfer {
        from: 0,
        ends: [client, server],
        total: 500_000,
        written: 0,
        read: 0,
        write_size: 20_000,
        read_size: 65_536,
        done: false,
    };
    for _ in 0..400_000 {
        net.hosts[0].out.room = 3;
        net.hosts[1].out.room = 1;
        net.hosts
            .iter_mut()
            .for_each(|host| host.with(|engine, cx| engine.transmit_room(cx)));
        transfer.pump(&mut net);
        if transfer.done {
            break;
        }
        net.step();
    }
    assert_eq!(transfer.read, transfer.total);
    assert_eq!(net.hosts[0].stats.timeouts, 0, "backpressure is no loss");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn the_stream_arrives_once_in_order_and_whole(
        seed: u8,
        loss in 0u32..12,
        duplicate in 0u32..10,
        reorder in 0u32..30,
        total in 1usize..120_000,
        write_size in 1usize..20_000,
        read_size in 1usize..20_000,
        from in 0usize..2,
        options in 0u32..16,
        gso: bool,
    ) {
        let mut net = Net::new(seed);
        net.faults = Faults { loss, duplicate, reorder };
        for (i, host) in net.hosts.iter_mut().enumerate() {
            host.config.tcp_sack = options & 1;
            host.config.tcp_timestamps = options >> 1 & 1;
            host.config.tcp_window_scaling = options >> 2 & 1;
            if gso && i == from {
                host.out.gso_max = 65_535;
            }
            if options >> 3 & 1 == 1 {
                host.config.tcp_congestion_control = "reno".to_owned();
            }
        }
        transfer(&mut net, from, total, write_size.max(total / 2000 + 1), read_size.max(100));
    }
}
