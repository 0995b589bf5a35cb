//! What the benchmarks share: two stacks in one thread, in virtual time.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use netstack::error::SocketError;
use netstack::link::{DeviceCaps, MacAddr, Medium};
use netstack::network::IfaceId;
use netstack::network::addr::Cidr;
use netstack::socket::SocketId;
use netstack::stack::{InterfaceConfig, Stack, StackConfig};
use netstack::testing::{LinkConfig, Sim, StackId};

/// Bytes written and read at a time.
const CHUNK: usize = 64 << 10;

/// Where the server listens.
const PORT: u16 = 80;

/// Two stacks and a link; the second listens.
pub struct World {
    /// Stacks, link and clock.
    pub sim: Sim,
    /// The side that connects.
    pub client: StackId,
    /// The side that listens.
    pub server: StackId,
    listener: SocketId,
}

/// A [`World`] with a connection from the first stack to the second.
pub struct Pair {
    world: World,
    /// The client's socket.
    pub sender: SocketId,
    /// The connection that the server accepted.
    pub receiver: SocketId,
}

/// What a bulk transfer came to.
#[derive(Clone, Copy, Debug)]
pub struct Bulk {
    /// Virtual time from the first byte written to the last byte read.
    pub took: Duration,
    /// Segments sent again.
    pub retransmitted: u64,
    /// Retransmission timeouts.
    pub timeouts: u64,
}

/// Which way bytes go.
#[derive(Clone, Copy)]
enum Way {
    ToServer,
    ToClient,
}

impl World {
    /// Connects to the server, from a port that the stack chooses, until the server has accepted.
    ///
    /// # Panics
    /// If that takes more than a minute of virtual time.
    pub fn connect(&mut self) -> (SocketId, SocketId) {
        let (client, server, listener) = (self.client, self.server, self.listener);
        let now = self.sim.now();
        let stack = self.sim.stack(client);
        stack.set_now(now);
        let sender = stack.tcp_open();
        let begun = stack.tcp_connect(sender, SocketAddr::new(ip(2), PORT));
        assert_eq!(begun, Err(SocketError::InProgress));
        let mut accepted = None;
        self.sim.run(Duration::from_secs(60), |sim| {
            accepted = sim.stack(server).tcp_accept(listener).ok();
            accepted.is_some()
        });
        let (receiver, _) = accepted.expect("the connection is made");
        (sender, receiver)
    }

    /// Makes a connection and ends it from both sides.
    pub fn connect_and_close(&mut self) {
        let (sender, receiver) = self.connect();
        for (side, socket) in [(self.client, sender), (self.server, receiver)] {
            let now = self.sim.now();
            let stack = self.sim.stack(side);
            stack.set_now(now);
            stack.close(socket);
        }
        // Until what is left of it waits for its peer's duplicates to die out.
        self.sim.run(Duration::from_secs(1), |_| false);
    }
}

impl Pair {
    /// Two stacks; `settings` are sysctl names and values for both; `seed` decides what the link does wrong.
    ///
    /// # Panics
    /// If a setting is refused.
    pub fn stacks(config: LinkConfig, settings: &[(&str, &str)], seed: u64) -> World {
        let mut sim = Sim::new();
        let ((client, at_client), (server, at_server)) = (stack(1, settings), stack(2, settings));
        let (client, server) = (sim.add_stack(client), sim.add_stack(server));
        let mut link_seed = [0; 16];
        link_seed[..8].copy_from_slice(&seed.to_le_bytes());
        sim.connect((client, at_client), (server, at_server), config, link_seed);
        let addr = SocketAddr::new(ip(2), PORT);
        let listener = sim.stack(server).tcp_open();
        sim.stack(server).tcp_bind(listener, addr).expect("free");
        sim.stack(server).tcp_listen(listener, 5).expect("bound");
        World {
            sim,
            client,
            server,
            listener,
        }
    }

    /// As [`Pair::stacks`], and connects them.
    pub fn new(config: LinkConfig, settings: &[(&str, &str)], seed: u64) -> Self {
        let mut world = Self::stacks(config, settings, seed);
        let (sender, receiver) = world.connect();
        Self {
            world,
            sender,
            receiver,
        }
    }

    /// Moves `len` bytes from the client to the server, as fast as the stacks go; the connection stays.
    ///
    /// # Panics
    /// If an hour of virtual time is not enough.
    pub fn transfer(&mut self, len: usize) {
        assert!(self.carry(len, Way::ToServer), "not in an hour");
    }

    /// `len` bytes to the server, and as many back.
    ///
    /// # Panics
    /// As [`Pair::transfer`].
    pub fn round_trip(&mut self, len: usize) {
        let done = self.carry(len, Way::ToServer) && self.carry(len, Way::ToClient);
        assert!(done, "not in an hour");
    }

    /// [`Pair::transfer`], and what it came to. `None` if an hour of virtual time is not enough.
    pub fn bulk(&mut self, len: usize) -> Option<Bulk> {
        let began = self.world.sim.now();
        let done = self.carry(len, Way::ToServer);
        let took = self.world.sim.now().since(began);
        let stats = &self.world.sim.stack(self.world.client).stats().tcp;
        done.then_some(Bulk {
            took,
            retransmitted: stats.retrans_segs,
            timeouts: stats.timeouts,
        })
    }

    fn carry(&mut self, len: usize, way: Way) -> bool {
        let World { client, server, .. } = self.world;
        let ((from, writer), (to, reader)) = match way {
            Way::ToServer => ((client, self.sender), (server, self.receiver)),
            Way::ToClient => ((server, self.receiver), (client, self.sender)),
        };
        let data = vec![0x5a; CHUNK.min(len)];
        let mut buffer = vec![0; CHUNK.min(len)];
        let (mut sent, mut received) = (0, 0);
        self.world.sim.run(Duration::from_secs(3600), |sim| {
            let now = sim.now();
            let stack = sim.stack(from);
            stack.set_now(now);
            while sent < len {
                match stack.tcp_send(writer, &data[..CHUNK.min(len - sent)], false) {
                    Ok(count) => sent += count,
                    Err(SocketError::WouldBlock) => break,
                    Err(error) => panic!("send: {error}"),
                }
            }
            let stack = sim.stack(to);
            stack.set_now(now);
            while received < len {
                match stack.tcp_recv(reader, &mut buffer, false) {
                    Ok(count) => received += count,
                    Err(SocketError::WouldBlock) => return false,
                    Err(error) => panic!("receive: {error}"),
                }
            }
            true
        })
    }
}

fn stack(last_byte: u8, settings: &[(&str, &str)]) -> (Stack, IfaceId) {
    let mut stack = Stack::new(StackConfig::default(), [last_byte; 16]);
    for (name, value) in settings {
        let set = stack.tcp_config_mut().set(name, value);
        set.unwrap_or_else(|error| panic!("{name}={value}: {error}"));
    }
    let caps = DeviceCaps {
        medium: Medium::Ethernet,
        mtu: 1_500,
        tx_checksum: false,
        gso_max: 0,
    };
    let config = InterfaceConfig {
        name: "eth0".into(),
        mac: MacAddr([2, 0, 0, 0, 0, last_byte]),
        caps,
    };
    let iface = stack.add_interface(config).expect("the first one");
    let address = Cidr::new(ip(last_byte), 24).expect("a prefix of 24 bits");
    stack.add_address(iface, address).expect("the first one");
    (stack, iface)
}

fn ip(last_byte: u8) -> IpAddr {
    Ipv4Addr::new(10, 0, 0, last_byte).into()
}
