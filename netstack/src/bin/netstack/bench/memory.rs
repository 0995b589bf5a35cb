//! Two stacks wired back to back and stepped by one thread: no system call but the clock's.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use netstack::buf::{RxBatch, RxChecksum, RxPacket, TxBatch};
use netstack::error::SocketError;
use netstack::host::Clock;
use netstack::link::{DeviceCaps, MacAddr, Medium};
use netstack::network::IfaceId;
use netstack::socket::SocketId;
use netstack::stack::{InterfaceConfig, Stack, StackConfig};

use super::{Case, MBITS, MICROS, mbits, micros};
use crate::Failure;

const CHUNK: usize = 64 * 1024;
/// Steps between two looks at the clock.
const STEPS: u64 = 64;

pub(super) fn cases(mtu: u32) -> Vec<Case> {
    vec![
        Case::new("memory bulk", MBITS, move |time| bulk(mtu, time)),
        Case::new("memory request/response", MICROS, move |time| {
            trips(mtu, time)
        }),
    ]
}

/// One end of the wire.
struct End {
    stack: Stack,
    iface: IfaceId,
    socket: SocketId,
}

/// Both ends, connected.
struct Wire {
    ends: [End; 2],
    clock: Clock,
    tx: TxBatch,
    rx: RxBatch,
}

impl Wire {
    fn new(mtu: u32) -> Result<Self, Failure> {
        let mut ends = [end(1, mtu)?, end(2, mtu)?];
        let to = SocketAddr::from(([10, 0, 0, 2], 80));
        let [client, server] = &mut ends;
        server.stack.tcp_bind(server.socket, to)?;
        server.stack.tcp_listen(server.socket, 1)?;
        match client.stack.tcp_connect(client.socket, to) {
            Err(SocketError::InProgress) => {}
            other => other?,
        }
        let mut wire = Self {
            ends,
            clock: Clock::start(),
            tx: TxBatch::new(),
            rx: RxBatch::new(),
        };
        wire.run();
        let server = &mut wire.ends[1];
        server.socket = server.stack.tcp_accept(server.socket)?.0;
        Ok(wire)
    }

    /// Carries packets until both are silent, and lets time pass.
    fn run(&mut self) {
        while self.carry(0) + self.carry(1) > 0 {}
        let now = self.clock.now();
        for end in &mut self.ends {
            if end.stack.poll_timeout().is_some_and(|due| due <= now) {
                end.stack.handle_timeout(now);
            }
        }
    }

    fn carry(&mut self, from: usize) -> usize {
        let now = self.clock.now();
        let end = &mut self.ends[from];
        let count = end.stack.poll_transmit(now, end.iface, &mut self.tx);
        for packet in self.tx.drain(..) {
            let mut received = RxPacket::new(packet.to_vec(), now);
            received.checksum = RxChecksum::Valid;
            received.gro_size = packet.offload.gso_size;
            self.rx.push(received);
        }
        let other = &mut self.ends[1 - from];
        other.stack.receive(now, other.iface, &mut self.rx);
        count
    }
}

/// Links offload, as those between namespaces of one machine do.
fn end(number: u8, mtu: u32) -> Result<End, Failure> {
    let caps = DeviceCaps {
        medium: Medium::Ip,
        mtu,
        tx_checksum: true,
        gso_max: 65_535,
    };
    let mut stack = Stack::new(StackConfig::default(), [number; 16]);
    let iface = stack.add_interface(InterfaceConfig {
        name: "mem0".into(),
        mac: MacAddr::default(),
        caps,
    })?;
    stack.add_address(iface, format!("10.0.0.{number}/24").parse()?)?;
    let socket = stack.tcp_open();
    Ok(End {
        stack,
        iface,
        socket,
    })
}

fn bulk(mtu: u32, time: Duration) -> Result<f64, Failure> {
    let mut wire = Wire::new(mtu)?;
    let (data, mut buffer) = (vec![7; CHUNK], vec![0; CHUNK]);
    let (start, mut got) = (Instant::now(), 0);
    loop {
        for _ in 0..STEPS {
            let [client, server] = &mut wire.ends;
            match client.stack.tcp_send(client.socket, &data, false) {
                Ok(_) | Err(SocketError::WouldBlock) => {}
                Err(error) => return Err(error.into()),
            }
            while let Ok(len) = server.stack.tcp_recv(server.socket, &mut buffer, false) {
                got += len as u64;
            }
            wire.run();
        }
        let elapsed = start.elapsed();
        if elapsed >= time {
            return Ok(mbits(got, elapsed));
        }
    }
}

fn trips(mtu: u32, time: Duration) -> Result<f64, Failure> {
    let mut wire = Wire::new(mtu)?;
    let (start, mut trips) = (Instant::now(), 0);
    loop {
        for _ in 0..STEPS {
            for from in [0, 1] {
                let end = &mut wire.ends[from];
                end.stack.tcp_send(end.socket, b"x", false)?;
                wire.run();
                let other = &mut wire.ends[1 - from];
                other.stack.tcp_recv(other.socket, &mut [0; 8], false)?;
            }
        }
        trips += STEPS;
        let elapsed = start.elapsed();
        if elapsed >= time {
            return Ok(micros(elapsed, trips));
        }
    }
}
