//! Two stacks in memory, in virtual time, over a link that loses, duplicates and reorders: 4 MiB from one
//! to the other. No device, no thread, no privilege; minutes of traffic take milliseconds, and a seed
//! always gives the same run, to the byte.
//!
//! ```text
//! cargo run --example simulated_loss            # 2% loss, seed 1
//! cargo run --example simulated_loss 0.05 7     # 5% loss, seed 7
//! ```

use std::error::Error;
use std::net::SocketAddr;
use std::time::Duration;

use netstack::error::SocketError;
use netstack::link::{DeviceCaps, MacAddr, Medium};
use netstack::network::IfaceId;
use netstack::socket::{Shutdown, SocketId};
use netstack::stack::{InterfaceConfig, Stack, StackConfig};
use netstack::testing::{LinkConfig, Sim, StackId};

const LEN: usize = 4 << 20;
const SERVER: &str = "10.0.0.2:80";

fn main() -> Result<(), Box<dyn Error>> {
    let mut words = std::env::args().skip(1);
    let loss: f64 = words.next().map_or(Ok(0.02), |word| word.parse())?;
    let seed: u8 = words.next().map_or(Ok(1), |word| word.parse())?;
    let link = LinkConfig {
        rate: Some(100_000_000),
        delay: Duration::from_millis(10),
        loss,
        duplicate: 0.01,
        reorder: 0.01,
        reorder_delay: Duration::from_millis(2),
        ..LinkConfig::default()
    };
    let mut sim = Sim::new();
    let (client, at_client) = stack("10.0.0.1/24", 1)?;
    let (server, at_server) = stack("10.0.0.2/24", 2)?;
    let (client, server) = (sim.add_stack(client), sim.add_stack(server));
    sim.connect((client, at_client), (server, at_server), link, [seed; 16]);

    let began = sim.now();
    let mut transfer = Transfer::begin(&mut sim, client, server)?;
    // Called whenever something may have changed, with the clock standing still.
    let whole = sim.run(Duration::from_secs(3_600), |sim| transfer.step(sim));
    let took = sim.now().since(began).as_secs_f64();
    let sent = sim.link_stats((client, at_client));
    println!("seed {seed}: whole: {whole}, {took:.6} s of virtual time");
    println!("from the client: {sent:?}");
    let again = sim.stack(client).stats().tcp.retrans_segs;
    println!("sent again: {again} segments");
    Ok(())
}

fn stack(address: &str, seed: u8) -> Result<(Stack, IfaceId), Box<dyn Error>> {
    let mut stack = Stack::new(StackConfig::default(), [seed; 16]);
    let iface = stack.add_interface(InterfaceConfig {
        name: "sim0".into(),
        mac: MacAddr([2, 0, 0, 0, 0, seed]),
        caps: DeviceCaps {
            medium: Medium::Ethernet,
            mtu: 1_500,
            tx_checksum: false,
            gso_max: 0,
        },
    })?;
    stack.add_address(iface, address.parse()?)?;
    Ok((stack, iface))
}

/// A stream of bytes from a client to a server: the application's part of the simulation.
struct Transfer {
    client: (StackId, SocketId),
    listener: (StackId, SocketId),
    accepted: Option<SocketId>,
    sent: usize,
    received: usize,
}

impl Transfer {
    fn begin(sim: &mut Sim, client: StackId, server: StackId) -> Result<Self, Box<dyn Error>> {
        let addr: SocketAddr = SERVER.parse()?;
        let listener = sim.stack(server).tcp_open();
        sim.stack(server).tcp_bind(listener, addr)?;
        sim.stack(server).tcp_listen(listener, 5)?;
        let socket = sim.stack(client).tcp_open();
        match sim.stack(client).tcp_connect(socket, addr) {
            Ok(()) | Err(SocketError::InProgress) => {}
            Err(error) => return Err(error.into()),
        }
        Ok(Self {
            client: (client, socket),
            listener: (server, listener),
            accepted: None,
            sent: 0,
            received: 0,
        })
    }

    /// Sends and receives what can be; true when all has arrived.
    fn step(&mut self, sim: &mut Sim) -> bool {
        let now = sim.now();
        for (id, _) in [self.client, self.listener] {
            sim.stack(id).set_now(now);
        }
        self.send(sim);
        self.receive(sim)
    }

    fn send(&mut self, sim: &mut Sim) {
        let (id, socket) = self.client;
        let stack = sim.stack(id);
        while self.sent < LEN {
            let piece: Vec<u8> = (self.sent..LEN.min(self.sent + 16_384)).map(byte).collect();
            match stack.tcp_send(socket, &piece, false) {
                Ok(count) => self.sent += count,
                Err(SocketError::WouldBlock) => return,
                Err(error) => panic!("the connection broke: {error}"),
            }
        }
        // Again and again is no harm.
        let _ = stack.shutdown(socket, Shutdown::Write);
    }

    fn receive(&mut self, sim: &mut Sim) -> bool {
        let (id, listener) = self.listener;
        let stack = sim.stack(id);
        if self.accepted.is_none() {
            self.accepted = stack.tcp_accept(listener).ok().map(|(id, _)| id);
        }
        let Some(accepted) = self.accepted else {
            return false;
        };
        let mut buffer = [0; 16_384];
        loop {
            match stack.tcp_recv(accepted, &mut buffer, false) {
                Ok(0) => return self.received == LEN,
                Ok(count) => {
                    let expected = (self.received..self.received + count).map(byte);
                    assert!(buffer[..count].iter().copied().eq(expected), "other bytes");
                    self.received += count;
                }
                Err(SocketError::WouldBlock) => return false,
                Err(error) => panic!("the connection broke: {error}"),
            }
        }
    }
}

/// The stream's byte at an offset.
fn byte(at: usize) -> u8 {
    (at ^ (at >> 8) ^ (at >> 16)) as u8
}
