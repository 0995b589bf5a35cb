//! Connections over random links: a seed chooses the link, the settings and the work, and the same seed gives
//! the same packets at the same times.
//!
//! What has to hold whatever the seed: each direction's bytes arrive once, in order and whole, then its end; and
//! when all is over the stacks hold nothing of it.

use std::cell::Cell;
use std::hash::Hasher;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::rc::Rc;

use siphasher::sip::SipHasher13;

use super::{LinkConfig, Sim, StackId};
use crate::error::SocketError;
use crate::link::{DeviceCaps, MacAddr, Medium};
use crate::network::IfaceId;
use crate::network::addr::Cidr;
use crate::rng::Rng;
use crate::socket::{Family, Shutdown, SocketId};
use crate::stack::{InterfaceConfig, Stack, StackConfig};
use crate::time::Duration;

/// What a run came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// A digest of every packet's time, sender and bytes.
    pub digest: u64,
    /// Virtual time until both ends of the stream had arrived.
    pub took: Duration,
    /// Packets sent.
    pub packets: u64,
    /// Of these, lost, dropped or damaged.
    pub faults: u64,
}

/// What a seed chooses.
#[derive(Clone, Debug)]
pub struct Scenario {
    /// The link, in both directions.
    pub link: LinkConfig,
    /// Its MTU.
    pub mtu: u32,
    /// IPv6 instead of IPv4.
    pub ipv6: bool,
    /// Settings of both stacks.
    pub settings: Vec<(&'static str, &'static str)>,
    /// Bytes from the client to the server.
    pub to_server: usize,
    /// Bytes from the server to the client.
    pub to_client: usize,
    /// The largest write, and the largest read.
    pub piece: usize,
}

/// Virtual time that a run may take.
const LIMIT: Duration = Duration::from_secs(4 * 3600);
/// What is left of connections is gone after this.
const AFTERMATH: Duration = Duration::from_secs(600);

impl Scenario {
    /// The scenario of a seed.
    pub fn of(seed: u64) -> Self {
        let mut rng = rng(seed, 1);
        let mut pick = |low: f64, high: f64| {
            let part = f64::from(rng.next_u32()) / 4_294_967_296.0;
            // Each order of magnitude as often as the next.
            low * (high / low).powf(part)
        };
        let rate = pick(200e3, 10e9);
        let delay = Duration::from_secs_f64(pick(5e-6, 0.2));
        let link = LinkConfig {
            rate: (rate < 5e9).then_some(rate as u64),
            queue_bytes: pick(8e3, 2e6) as usize,
            delay,
            loss: pick(1e-4, 0.08),
            duplicate: pick(1e-4, 0.05),
            reorder: pick(1e-4, 0.2),
            reorder_delay: delay.mul_f64(pick(0.05, 2.0)),
            corrupt: pick(1e-4, 0.02),
        };
        let mut one_of = |count: u32| rng.next_u32() % count;
        let mut settings = Vec::new();
        if one_of(3) == 0 {
            settings.push(("tcp_congestion_control", "reno"));
        }
        for name in ["tcp_sack", "tcp_timestamps", "tcp_window_scaling"] {
            if one_of(6) == 0 {
                settings.push((name, "0"));
            }
        }
        if one_of(4) == 0 {
            settings.push(("tcp_ecn", "1"));
        }
        let mut size = |most: u32| {
            let most = most >> one_of(12);
            one_of(most.max(1)) as usize
        };
        Self {
            link,
            settings,
            to_server: size(400_000),
            to_client: size(400_000),
            piece: size(100_000) + 1,
            mtu: [1_500, 1_500, 1_280, 576, 9_000][one_of(5) as usize],
            ipv6: false,
        }
        .consistent(one_of(3) == 0)
    }

    /// IPv6 needs an MTU of 1,280, and a queue room for two packets.
    fn consistent(mut self, ipv6: bool) -> Self {
        self.ipv6 = ipv6 && self.mtu >= 1_280;
        self.link.queue_bytes = self.link.queue_bytes.max(2 * self.mtu as usize + 100);
        self
    }

    fn addr(&self, last: u8) -> IpAddr {
        match self.ipv6 {
            true => Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, u16::from(last)).into(),
            false => Ipv4Addr::new(10, 0, 0, last).into(),
        }
    }

    fn stack(&self, seed: u64, last: u8) -> (Stack, IfaceId) {
        let mut key = [last; 16];
        key[..8].copy_from_slice(&seed.to_le_bytes());
        let mut stack = Stack::new(StackConfig::default(), key);
        for (name, value) in &self.settings {
            stack.set_setting(name, value).expect("a setting");
        }
        let config = InterfaceConfig {
            name: "eth0".into(),
            mac: MacAddr([2, 0, 0, 0, 0, last]),
            caps: DeviceCaps {
                medium: Medium::Ethernet,
                mtu: self.mtu,
                tx_checksum: false,
                gso_max: 0,
            },
        };
        let iface = stack.add_interface(config).expect("the first one");
        let prefix = if self.ipv6 { 64 } else { 24 };
        let address = Cidr::new(self.addr(last), prefix).expect("a prefix");
        let added = stack.add_unique_address(iface, address);
        added.expect("the first one");
        (stack, iface)
    }
}

/// One end of the stream: what it sends, and what it has got.
struct End {
    stack: StackId,
    socket: Option<SocketId>,
    /// Seeds of the bytes sent and expected.
    seeds: (u64, u64),
    send: usize,
    sent: usize,
    expect: usize,
    received: usize,
    shut: bool,
    ended: bool,
}

impl End {
    fn new(
        stack: StackId,
        socket: Option<SocketId>,
        sends: (u64, usize),
        gets: (u64, usize),
    ) -> Self {
        Self {
            stack,
            socket,
            seeds: (sends.0, gets.0),
            send: sends.1,
            sent: 0,
            expect: gets.1,
            received: 0,
            shut: false,
            ended: false,
        }
    }

    /// Writes and reads what can be. True once the peer's end has come and ours is sent.
    fn step(&mut self, sim: &mut Sim, piece: usize) -> Result<bool, String> {
        let now = sim.now();
        let stack = sim.stack(self.stack);
        stack.set_now(now);
        let Some(socket) = self.socket else {
            return Ok(false);
        };
        while self.sent < self.send {
            let len = piece.min(self.send - self.sent);
            let data = bytes(self.seeds.0, self.sent, len);
            match stack.tcp_send(socket, &data, false) {
                Ok(count) => self.sent += count,
                Err(SocketError::WouldBlock) => break,
                Err(error) => return Err(format!("send: {error}")),
            }
        }
        // To shut a socket that is still connecting down gives the attempt up, as in Linux.
        let connected = stack.peer_addr(socket).is_ok();
        if self.sent == self.send && !self.shut && connected {
            self.shut = stack.shutdown(socket, Shutdown::Write).is_ok();
        }
        let mut buffer = vec![0; piece];
        while !self.ended {
            match stack.tcp_recv(socket, &mut buffer, false) {
                Ok(0) => self.ended = true,
                Ok(count) => self.check(&buffer[..count])?,
                Err(SocketError::WouldBlock) => break,
                Err(error) => return Err(format!("receive: {error}")),
            }
        }
        if self.ended && self.received != self.expect {
            return Err(format!("ended after {} of {}", self.received, self.expect));
        }
        Ok(self.ended && self.shut)
    }

    fn check(&mut self, got: &[u8]) -> Result<(), String> {
        let wanted = bytes(self.seeds.1, self.received, got.len());
        self.received += got.len();
        match got == wanted && self.received <= self.expect {
            true => Ok(()),
            false => Err(format!("other bytes before {}", self.received)),
        }
    }
}

/// Runs the scenario of a seed.
///
/// # Errors
/// What did not hold.
pub fn run(seed: u64) -> Result<Outcome, String> {
    let scenario = Scenario::of(seed);
    let mut sim = Sim::new();
    let ((client, at_client), (server, at_server)) =
        (scenario.stack(seed, 1), scenario.stack(seed, 2));
    let (client, server) = (sim.add_stack(client), sim.add_stack(server));
    let ends = ((client, at_client), (server, at_server));
    let mut link_seed = [7; 16];
    link_seed[..8].copy_from_slice(&seed.to_le_bytes());
    sim.connect(ends.0, ends.1, scenario.link, link_seed);
    let digest = record(&mut sim, client);

    let family = if scenario.ipv6 {
        Family::V6
    } else {
        Family::V4
    };
    let to = SocketAddr::new(scenario.addr(2), 80);
    let listener = sim.stack(server).tcp_open_of(family);
    let listening = sim.stack(server).tcp_bind(listener, to);
    listening
        .and_then(|()| sim.stack(server).tcp_listen(listener, 5))
        .map_err(|error| format!("listen: {error}"))?;
    let began = sim.now();
    sim.stack(client).set_now(began);
    let socket = sim.stack(client).tcp_open_of(family);
    let _ = sim.stack(client).tcp_connect(socket, to);
    let (there, back) = ((seed, scenario.to_server), (!seed, scenario.to_client));
    let mut asking = End::new(client, Some(socket), there, back);
    let mut answering = End::new(server, None, back, there);
    let mut failure = None;
    let done = sim.run(LIMIT, |sim| {
        if answering.socket.is_none() {
            answering.socket = sim
                .stack(server)
                .tcp_accept(listener)
                .ok()
                .map(|(id, _)| id);
        }
        let one = asking.step(sim, scenario.piece);
        let other = answering.step(sim, scenario.piece);
        match (one, other) {
            (Ok(one), Ok(other)) => one && other,
            (Err(error), _) => {
                failure = Some(format!("client: {error}"));
                true
            }
            (_, Err(error)) => {
                failure = Some(format!("server: {error}"));
                true
            }
        }
    });
    if let Some(failure) = failure {
        return Err(failure);
    }
    if !done {
        let state = (asking.received, answering.received);
        return Err(format!("stands still: {state:?} received"));
    }
    let took = sim.now().since(began);
    for end in [&asking, &answering] {
        if let Some(socket) = end.socket {
            sim.stack(end.stack).close(socket);
        }
    }
    sim.run(AFTERMATH, |_| false);
    nothing_left(&sim.stack(client).usage(), 0)?;
    nothing_left(&sim.stack(server).usage(), 1)?;
    let (out, back) = (sim.link_stats(ends.0), sim.link_stats(ends.1));
    let faults = |link: super::LinkStats| link.lost + link.dropped + link.corrupted;
    Ok(Outcome {
        digest: digest.get(),
        took,
        packets: out.packets + back.packets,
        faults: faults(out) + faults(back),
    })
}

/// Has every packet go into a digest.
fn record(sim: &mut Sim, client: StackId) -> Rc<Cell<u64>> {
    let digest = Rc::new(Cell::new(0));
    let into = digest.clone();
    sim.set_tap(Box::new(move |at, from, packet| {
        let mut hasher = SipHasher13::new_with_keys(into.get(), at.as_nanos());
        hasher.write_u8(u8::from(from == client));
        hasher.write(packet);
        into.set(hasher.finish());
    }));
    digest
}

fn nothing_left(usage: &crate::stack::Usage, sockets: usize) -> Result<(), String> {
    let left = (
        usage.tcp_sockets,
        usage.half_open,
        usage.time_wait,
        usage.flows,
    );
    match left == (sockets, 0, 0, 0) {
        true => Ok(()),
        false => Err(format!("left behind: {usage:?}")),
    }
}

/// The bytes of a stream from `at` on.
fn bytes(seed: u64, at: usize, len: usize) -> Vec<u8> {
    let byte = |at: usize| {
        let word = ((at as u64 / 8) ^ seed).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        (word >> (at % 8 * 8)) as u8
    };
    (at..at + len).map(byte).collect()
}

fn rng(seed: u64, use_of: u8) -> Rng {
    let mut key = [use_of; 16];
    key[..8].copy_from_slice(&seed.to_le_bytes());
    Rng::from_seed(key)
}
