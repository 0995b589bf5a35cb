//! Two stacks and a cable between them, stepped by one thread: what the stacks cost, and nothing else.
//!
//! The cable has no rate, no delay and no faults, and allocates nothing once it has run for a while; the clock
//! moves only when it is told to. [`super::Sim`] is the world with links that behave like links.

use std::collections::VecDeque;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use crate::buf::{RxBatch, TxBatch, TxPacket};
use crate::error::SocketError;
use crate::link::channel::received;
use crate::link::gro::Merger;
use crate::link::pool::RxPool;
use crate::link::segment::segment;
use crate::link::{DeviceCaps, MacAddr, Medium};
use crate::network::IfaceId;
use crate::socket::SocketId;
use crate::stack::{InterfaceConfig, Stack, StackConfig};
use crate::time::{Duration, Instant};

/// How packets cross the cable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cable {
    /// Super-packets pass whole and checksums are never computed, as between namespaces of one machine.
    Offloads,
    /// Super-packets are cut, checksums completed, and segments merged again (GRO) before they are received.
    Segments,
    /// As `Segments`, without GRO: each segment is received by itself.
    Single,
}

/// The first of the ports at which the server listens.
const FIRST_PORT: u16 = 1_000;
/// Connections to one port of the server, so that the client's ports last.
const PER_PORT: usize = 10_000;
/// Ports at which the server listens at most; then it is the first one's turn again.
const PORTS: usize = 60;

/// One end of the cable.
#[derive(Debug)]
struct End {
    stack: Stack,
    iface: IfaceId,
    pool: RxPool,
    merger: Merger,
}

/// Two stacks: the client, 10.0.0.1, and the server, 10.0.0.2.
#[derive(Debug)]
pub struct Direct {
    ends: [End; 2],
    cable: Cable,
    now: Instant,
    tx: TxBatch,
    rx: RxBatch,
    pieces: VecDeque<TxPacket>,
    listeners: Vec<SocketId>,
    /// Connections begun.
    begun: usize,
    carried: u64,
}

/// Which of the two stacks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// The one that connects.
    Client = 0,
    /// The one that listens.
    Server = 1,
}

impl Side {
    /// The other one.
    pub fn other(self) -> Self {
        match self {
            Self::Client => Self::Server,
            Self::Server => Self::Client,
        }
    }
}

impl Direct {
    /// Two stacks with an MTU of `mtu` between them, at one second past the origin.
    ///
    /// # Panics
    /// If `mtu` is not one that an interface can have.
    pub fn new(cable: Cable, mtu: u32) -> Self {
        let offloads = cable == Cable::Offloads;
        let caps = DeviceCaps {
            medium: Medium::Ip,
            mtu,
            tx_checksum: offloads,
            gso_max: if offloads { 65_535 } else { 0 },
        };
        Self {
            ends: [end(1, caps), end(2, caps)],
            cable,
            now: Instant::from_millis(1_000),
            tx: TxBatch::new(),
            rx: RxBatch::new(),
            pieces: VecDeque::new(),
            listeners: Vec::new(),
            begun: 0,
            carried: 0,
        }
    }

    /// A stack, to make calls on.
    pub fn stack(&mut self, side: Side) -> &mut Stack {
        let end = &mut self.ends[side as usize];
        end.stack.set_now(self.now);
        &mut end.stack
    }

    /// The interface of a stack that leads to the other.
    pub fn iface(&self, side: Side) -> IfaceId {
        self.ends[side as usize].iface
    }

    /// The time.
    pub fn now(&self) -> Instant {
        self.now
    }

    /// Packets that have crossed the cable, super-packets counted by their segments.
    pub fn carried(&self) -> u64 {
        self.carried
    }

    /// Lets `time` pass, runs what is due, and carries packets until both are silent.
    pub fn advance(&mut self, time: Duration) {
        let end = self.now + time;
        loop {
            self.settle();
            let due = self.ends.iter().filter_map(|end| end.stack.poll_timeout());
            let Some(due) = due.min().filter(|due| *due <= end) else {
                break;
            };
            self.now = self.now.max(due);
            for end in &mut self.ends {
                if end.stack.poll_timeout().is_some_and(|due| due <= self.now) {
                    end.stack.handle_timeout(self.now);
                }
            }
        }
        self.now = end;
    }

    /// Carries packets until both are silent. No time passes.
    pub fn settle(&mut self) {
        while self.carry(Side::Client) + self.carry(Side::Server) > 0 {}
    }

    /// Carries what one side has to send now. Returns how many packets that was.
    pub fn carry(&mut self, from: Side) -> usize {
        let now = self.now;
        let sender = &mut self.ends[from as usize];
        let count = sender.stack.poll_transmit(now, sender.iface, &mut self.tx);
        for packet in self.tx.drain(..) {
            if self.cable == Cable::Offloads {
                self.pieces.push_back(packet);
            } else {
                segment(packet, |piece| self.pieces.push_back(piece));
            }
        }
        let receiver = &mut self.ends[from.other() as usize];
        while !self.pieces.is_empty() {
            let fit = self.pieces.len().min(self.rx.capacity());
            for packet in self.pieces.drain(..fit) {
                self.carried += segments_of(&packet);
                let packet = received(&mut receiver.pool, Medium::Ip, &packet, now);
                self.rx.push(packet);
            }
            if self.cable == Cable::Segments {
                receiver.merger.merge(&mut self.rx, 0);
            }
            receiver.stack.receive(now, receiver.iface, &mut self.rx);
        }
        count
    }

    /// Throws away what one side has to send now. Returns how many packets that was.
    pub fn discard(&mut self, from: Side) -> usize {
        let sender = &mut self.ends[from as usize];
        let count = sender
            .stack
            .poll_transmit(self.now, sender.iface, &mut self.tx);
        self.tx.clear();
        count
    }

    /// Has the server listen, with the largest backlog, at one more port.
    fn listen(&mut self) {
        let port = FIRST_PORT + self.listeners.len() as u16;
        let server = self.stack(Side::Server);
        for (name, value) in [("somaxconn", "65535"), ("tcp_max_syn_backlog", "1000000")] {
            server.set_setting(name, value).expect("a number");
        }
        let listener = server.tcp_open();
        let at = SocketAddr::new(address(2), port);
        server.tcp_bind(listener, at).expect("the port is free");
        server.tcp_listen(listener, 65_535).expect("it is bound");
        self.listeners.push(listener);
    }

    /// Sends a SYN for one more connection; nothing is carried. The client's socket, and the listener.
    ///
    /// # Panics
    /// If the client has no port left.
    pub fn begin(&mut self) -> (SocketId, SocketId) {
        let port = self.begun / PER_PORT % PORTS;
        self.begun += 1;
        if port == self.listeners.len() {
            self.listen();
        }
        let listener = self.listeners[port];
        let to = SocketAddr::new(address(2), FIRST_PORT + port as u16);
        let client = self.stack(Side::Client);
        let socket = client.tcp_open();
        let begun = client.tcp_connect(socket, to);
        assert_eq!(begun, Err(SocketError::InProgress));
        (socket, listener)
    }

    /// Makes a connection; the sockets of client and server.
    ///
    /// # Panics
    /// As [`Direct::begin`].
    pub fn connect(&mut self) -> (SocketId, SocketId) {
        let (client, listener) = self.begin();
        self.settle();
        let accepted = self.stack(Side::Server).tcp_accept(listener);
        (client, accepted.expect("the handshake is complete").0)
    }

    /// Ends a connection from the client's side first: what is left is a TIME-WAIT record there.
    pub fn close(&mut self, client: SocketId, server: SocketId) {
        self.stack(Side::Client).close(client);
        self.settle();
        self.stack(Side::Server).close(server);
        self.settle();
    }

    /// Writes `data` at `from` and reads it at the other side, through `buffer`. No time passes unless the
    /// stacks stand still.
    ///
    /// # Panics
    /// If a call fails, or nothing moves for a second.
    pub fn transfer(
        &mut self,
        from: (Side, SocketId),
        to: SocketId,
        data: &[u8],
        buffer: &mut [u8],
    ) {
        let (side, writer) = from;
        let (mut sent, mut received, mut stuck) = (0, 0, 0);
        while received < data.len() {
            if sent < data.len() {
                match self.stack(side).tcp_send(writer, &data[sent..], false) {
                    Ok(count) => sent += count,
                    Err(SocketError::WouldBlock) => {}
                    Err(error) => panic!("send: {error}"),
                }
            }
            self.settle();
            let before = received;
            loop {
                match self.stack(side.other()).tcp_recv(to, buffer, false) {
                    Ok(count) => received += count,
                    Err(SocketError::WouldBlock) => break,
                    Err(error) => panic!("receive: {error}"),
                }
            }
            stuck = if received == before { stuck + 1 } else { 0 };
            assert!(stuck < 1_000, "nothing moves");
            if stuck > 0 {
                self.advance(Duration::from_millis(1));
            }
        }
    }

    /// Takes one of the stacks out of the world, which is over then.
    pub fn into_stacks(self) -> (Stack, Stack) {
        let [client, server] = self.ends;
        (client.stack, server.stack)
    }
}

fn address(last_byte: u8) -> IpAddr {
    Ipv4Addr::new(10, 0, 0, last_byte).into()
}

fn end(number: u8, caps: DeviceCaps) -> End {
    let mut stack = Stack::new(StackConfig::default(), [number; 16]);
    let config = InterfaceConfig {
        name: "cable0".into(),
        mac: MacAddr::default(),
        caps,
    };
    let iface = stack.add_interface(config).expect("the first one");
    let network = format!("10.0.0.{number}/24");
    stack
        .add_address(iface, network.parse().expect("an address"))
        .expect("the first one");
    End {
        stack,
        iface,
        pool: RxPool::new(),
        merger: Merger::new(Medium::Ip),
    }
}

fn segments_of(packet: &TxPacket) -> u64 {
    let payload: usize = packet.body.iter().map(|range| range.len()).sum();
    match packet.offload.gso_size {
        0 => 1,
        size => payload.div_ceil(usize::from(size)).max(1) as u64,
    }
}
