//! What the benchmarks share: two stacks in one thread, in virtual time.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use netstack::error::SocketError;
use netstack::link::{DeviceCaps, MacAddr, Medium};
use netstack::network::IfaceId;
use netstack::network::addr::Cidr;
use netstack::socket::{Shutdown, SocketId};
use netstack::stack::{InterfaceConfig, Stack, StackConfig};
use netstack::testing::{LinkConfig, Sim, StackId};

/// Bytes written and read at a time.
const CHUNK: usize = 64 << 10;

/// Two stacks, a link, and a connection over it from the first to the second.
pub struct Pair {
    /// The world.
    pub sim: Sim,
    /// The side that connects.
    pub client: StackId,
    /// The side that listens.
    pub server: StackId,
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

impl Pair {
    /// Connects. `settings` are sysctl names and values for both stacks; `seed` decides what the link does wrong.
    ///
    /// # Panics
    /// If a setting is refused, or the connection is not made in a minute.
    pub fn new(config: LinkConfig, settings: &[(&str, &str)], seed: u64) -> Self {
        let mut sim = Sim::new();
        let ((client, at_client), (server, at_server)) = (stack(1, settings), stack(2, settings));
        let (client, server) = (sim.add_stack(client), sim.add_stack(server));
        let mut link_seed = [0; 16];
        link_seed[..8].copy_from_slice(&seed.to_le_bytes());
        sim.connect((client, at_client), (server, at_server), config, link_seed);
        let addr = SocketAddr::new(ip(2), 80);
        let listener = sim.stack(server).tcp_open();
        sim.stack(server).tcp_bind(listener, addr).expect("free");
        sim.stack(server).tcp_listen(listener, 5).expect("bound");
        let sender = sim.stack(client).tcp_open();
        let now = sim.now();
        sim.stack(client).set_now(now);
        assert_eq!(
            sim.stack(client).tcp_connect(sender, addr),
            Err(SocketError::InProgress)
        );
        let mut accepted = None;
        sim.run(Duration::from_secs(60), |sim| {
            accepted = sim.stack(server).tcp_accept(listener).ok();
            accepted.is_some()
        });
        let (receiver, _) = accepted.expect("the connection is made");
        Self {
            sim,
            client,
            server,
            sender,
            receiver,
        }
    }

    /// Moves `len` bytes from the client to the server, as fast as the stacks go. `None` if an hour of
    /// virtual time is not enough.
    ///
    /// # Panics
    /// If a call fails in another way than for want of room or data.
    pub fn bulk(&mut self, len: usize) -> Option<Bulk> {
        let (client, server) = (self.client, self.server);
        let (sender, receiver) = (self.sender, self.receiver);
        let began = self.sim.now();
        let data = vec![0x5a; CHUNK];
        let mut buffer = vec![0; CHUNK];
        let (mut sent, mut received) = (0, 0);
        let done = self.sim.run(Duration::from_secs(3600), |sim| {
            let now = sim.now();
            let stack = sim.stack(client);
            stack.set_now(now);
            while sent < len {
                match stack.tcp_send(sender, &data[..CHUNK.min(len - sent)], false) {
                    Ok(count) => sent += count,
                    Err(SocketError::WouldBlock) => break,
                    Err(error) => panic!("send: {error}"),
                }
            }
            if sent == len {
                let _ = stack.shutdown(sender, Shutdown::Write);
            }
            let stack = sim.stack(server);
            stack.set_now(now);
            loop {
                match stack.tcp_recv(receiver, &mut buffer, false) {
                    Ok(0) => return true,
                    Ok(count) => received += count,
                    Err(SocketError::WouldBlock) => return false,
                    Err(error) => panic!("receive: {error}"),
                }
            }
        });
        let took = self.sim.now().since(began);
        let stats = &self.sim.stack(client).stats().tcp;
        (done && received == len).then_some(Bulk {
            took,
            retransmitted: stats.retrans_segs,
            timeouts: stats.timeouts,
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
