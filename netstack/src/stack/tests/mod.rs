//! Two stacks wired back to back, stepped in virtual time.

mod arp;
mod attacks;
mod filter;
mod filter_nat;
mod filter_random;
mod forward;
mod fragments;
mod groups;
mod hostile;
mod icmp;
mod intercept;
mod malformed;
mod malformed6;
mod nd;
mod packet;
mod queue;
mod router;
mod tcp;
mod udp;
mod udp_options;
mod v6;

use std::net::{IpAddr, SocketAddr};

use super::*;
use crate::buf::{RxChecksum, RxPacket, TxPacket};
use crate::link::{DeviceCaps, MacAddr, Medium};
use crate::socket::{Family, Readiness, SocketId};
use crate::time::Duration;

/// One end of a wire.
struct Host {
    stack: Stack,
    iface: IfaceId,
    addr: IpAddr,
    caps: DeviceCaps,
    /// Every packet that it sent, as bytes.
    sent: Vec<Vec<u8>>,
}

/// Two hosts, 10.0.0.1 and 10.0.0.2, on one wire.
struct Wire {
    hosts: [Host; 2],
    now: Instant,
    /// Packets to lose, by the text of the test.
    lose: fn(&[u8]) -> bool,
}

const A: usize = 0;
const B: usize = 1;

impl Wire {
    fn new(medium: Medium) -> Self {
        Self::with_caps(DeviceCaps {
            medium,
            mtu: 1500,
            tx_checksum: false,
            gso_max: 0,
        })
    }

    fn with_caps(caps: DeviceCaps) -> Self {
        let host = |n: u8| {
            let mut stack = Stack::new(StackConfig::default(), [n; 16]);
            let config = InterfaceConfig {
                name: "eth0".to_owned(),
                mac: MacAddr([2, 0, 0, 0, 0, n]),
                caps,
            };
            let iface = stack.add_interface(config).unwrap();
            let cidr: crate::network::addr::Cidr = format!("10.0.0.{n}/24").parse().unwrap();
            stack.add_address(iface, cidr).unwrap();
            Host {
                stack,
                iface,
                addr: cidr.addr(),
                caps,
                sent: Vec::new(),
            }
        };
        let mut wire = Self {
            hosts: [host(1), host(2)],
            now: Instant::from_millis(1000),
            lose: |_| false,
        };
        wire.run();
        wire.hosts.iter_mut().for_each(|host| host.sent.clear());
        wire
    }

    /// The same with fd00::1/64 and fd00::2/64 as well, known to be nobody else's.
    fn new_v6(medium: Medium) -> Self {
        let mut wire = Self::new(medium);
        for (at, text) in [(A, "fd00::1/64"), (B, "fd00::2/64")] {
            let iface = wire.hosts[at].iface;
            let cidr = text.parse().unwrap();
            wire.stack(at).add_unique_address(iface, cidr).unwrap();
        }
        // What is told to the link of the new addresses.
        wire.elapse(Duration::from_secs(2));
        while wire.stack(A).poll_timeout().is_some() || wire.stack(B).poll_timeout().is_some() {
            wire.tick();
        }
        wire.hosts.iter_mut().for_each(|host| host.sent.clear());
        wire
    }

    /// Carries packets to and fro until both are silent.
    fn run(&mut self) {
        while self.step(A) + self.step(B) > 0 {}
    }

    /// Carries what one host has to send; returns how many packets that was.
    fn step(&mut self, from: usize) -> usize {
        let mut batch = TxBatch::new();
        let (now, lose) = (self.now, self.lose);
        let host = &mut self.hosts[from];
        let count = host.stack.poll_transmit(now, host.iface, &mut batch);
        let mut arrived: Vec<RxPacket> = Vec::new();
        for packet in batch {
            // A device that offloads shows what it was given; others show the finished pieces.
            let offloads =
                host.caps.tx_checksum && packet.offload.gso_size == 0 || host.caps.gso_max > 0;
            let mut pieces = Vec::new();
            if offloads {
                let mut received = RxPacket::new(packet.to_vec(), now);
                if packet.offload.checksum.is_some() {
                    received.checksum = RxChecksum::Valid;
                }
                received.gro_size = packet.offload.gso_size;
                pieces.push(received);
            } else {
                let finished = |piece: TxPacket| pieces.push(RxPacket::new(piece.to_vec(), now));
                assert!(crate::link::segment::segment(packet, finished));
            }
            host.sent
                .extend(pieces.iter().map(|piece| piece.data.to_vec()));
            arrived.extend(pieces.into_iter().filter(|piece| !lose(&piece.data)));
        }
        let other = &mut self.hosts[1 - from];
        for chunk in arrived.chunks(crate::buf::BATCH_MAX) {
            let mut batch: RxBatch = chunk.iter().cloned().collect();
            other.stack.receive(now, other.iface, &mut batch);
        }
        count
    }

    /// Goes to the next timer of either host and runs it; false if there is none.
    fn tick(&mut self) -> bool {
        let next = self
            .hosts
            .iter()
            .filter_map(|host| host.stack.poll_timeout())
            .min();
        let Some(next) = next else {
            return false;
        };
        self.now = self.now.max(next);
        for host in &mut self.hosts {
            host.stack.handle_timeout(self.now);
        }
        self.run();
        true
    }

    /// Gives a host a packet from outside.
    fn inject(&mut self, to: usize, bytes: impl Into<crate::buf::Bytes>) {
        let mut batch = RxBatch::new();
        batch.push(RxPacket::new(bytes, self.now));
        let host = &mut self.hosts[to];
        host.stack.receive(self.now, host.iface, &mut batch);
    }

    fn stack(&mut self, host: usize) -> &mut Stack {
        self.hosts[host].stack.set_now(self.now);
        &mut self.hosts[host].stack
    }

    fn bind(&mut self, host: usize, port: u16) -> SocketId {
        let stack = &mut self.hosts[host].stack;
        let id = stack.udp_open(Family::V4);
        stack.udp_bind(id, any_addr(port)).unwrap();
        id
    }

    fn at(&self, host: usize, port: u16) -> SocketAddr {
        SocketAddr::new(self.hosts[host].addr, port)
    }

    fn elapse(&mut self, time: Duration) {
        self.now += time;
    }
}

fn any_addr(port: u16) -> SocketAddr {
    SocketAddr::from(([0, 0, 0, 0], port))
}

/// What was reported since the last call, by socket.
fn events(stack: &mut Stack) -> Vec<(SocketId, Readiness)> {
    let mut all = Vec::new();
    stack.drain_events(|id, ready| all.push((id, ready)));
    all.sort_by_key(|(id, _)| *id);
    all
}
