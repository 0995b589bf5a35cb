//! Hosts that are nothing but an engine, and a network between two of them in virtual time.

use std::net::{IpAddr, SocketAddr};

use crate::buf::Bytes;
use crate::error::SocketError;
use crate::network::{IfaceId, IpMeta, IpOutput, RouteInfo, TransportOut};
use crate::rng::Rng;
use crate::socket::{EventQueue, SocketId};
use crate::time::{Duration, Instant};
use crate::transport::tcp::Spares;
use crate::transport::tcp::stats::TcpStats;
use crate::transport::tcp::{Cx, TcpConfig, TcpEngine};
use crate::wire::checksum::Checksum;
use crate::wire::tcp::{TcpFlags, TcpRepr, TcpView};

/// A packet as it leaves an engine, or one segment of it.
#[derive(Clone, Debug)]
pub(super) struct Packet {
    pub(super) src: IpAddr,
    pub(super) dst: IpAddr,
    pub(super) bytes: Vec<u8>,
    pub(super) gso_size: u16,
}

impl Packet {
    /// A packet made by a test in the name of a peer.
    pub(super) fn new(from: SocketAddr, to: SocketAddr, mut repr: TcpRepr, payload: &[u8]) -> Self {
        (repr.src_port, repr.dst_port) = (from.port(), to.port());
        let mut bytes = vec![0; repr.header_len()];
        repr.emit(&mut bytes);
        bytes.extend_from_slice(payload);
        Self {
            src: from.ip(),
            dst: to.ip(),
            bytes,
            gso_size: 0,
        }
    }

    pub(super) fn repr(&self) -> TcpRepr {
        TcpRepr::parse(&TcpView::new(&self.bytes).expect("engines emit whole headers"))
    }

    /// Cuts a super-segment as a device would.
    fn segments(self) -> Vec<Self> {
        if self.gso_size == 0 {
            return vec![self];
        }
        let repr = self.repr();
        let header_len = repr.header_len();
        let payload = self.bytes[header_len..].to_vec();
        let count = payload.len().div_ceil(usize::from(self.gso_size));
        let cut = payload
            .chunks(usize::from(self.gso_size))
            .enumerate()
            .map(|(i, chunk)| {
                let mut repr = repr.clone();
                repr.seq = repr
                    .seq
                    .wrapping_add((i * usize::from(self.gso_size)) as u32);
                if i + 1 < count {
                    repr.flags.remove(TcpFlags::FIN | TcpFlags::PSH);
                }
                let mut bytes = vec![0; header_len];
                repr.emit(&mut bytes);
                bytes.extend_from_slice(chunk);
                Self {
                    bytes,
                    gso_size: 0,
                    ..self
                }
            });
        cut.collect()
    }

    /// The bytes with a correct checksum, as a real link would carry them.
    fn with_checksum(&self) -> Bytes {
        let mut bytes = self.bytes.clone();
        let mut sum = Checksum::pseudo(self.src, self.dst, 6, bytes.len() as u32);
        sum.add_bytes(&bytes);
        bytes[16..18].copy_from_slice(&sum.finish().to_be_bytes());
        bytes.into()
    }
}

/// Records what an engine sends.
#[derive(Debug)]
pub(super) struct Recorder {
    pub(super) addr: IpAddr,
    pub(super) mtu: u32,
    pub(super) gso_max: u32,
    /// Packets that still fit in the transmit queue.
    pub(super) room: usize,
    pub(super) sent: Vec<Packet>,
}

impl IpOutput for Recorder {
    fn route(
        &self,
        _dst: IpAddr,
        src: Option<IpAddr>,
        _iface: Option<IfaceId>,
    ) -> Result<RouteInfo, SocketError> {
        if src.is_some_and(|src| src != self.addr) {
            return Err(SocketError::AddrNotAvailable);
        }
        Ok(RouteInfo {
            iface: IfaceId(0),
            src: self.addr,
            mtu: self.mtu,
            gso_max: self.gso_max,
            metrics: crate::network::route::RouteMetrics::default(),
        })
    }

    fn output(&mut self, packet: TransportOut<'_>) -> Result<(), SocketError> {
        if self.room == 0 {
            return Err(SocketError::NoBuffers);
        }
        self.room -= 1;
        let mut bytes = packet.header.to_vec();
        packet
            .body
            .iter()
            .for_each(|range| bytes.extend_from_slice(range));
        let len = bytes.len() - packet.header.len();
        assert!(packet.gso_size == 0 || len > usize::from(packet.gso_size));
        assert!(
            packet.gso_size > 0 || bytes.len() + 20 <= self.mtu as usize,
            "{} bytes",
            bytes.len()
        );
        assert!(bytes.len() + 20 <= self.gso_max.max(self.mtu) as usize);
        self.sent.push(Packet {
            src: packet.src,
            dst: packet.dst,
            bytes,
            gso_size: packet.gso_size,
        });
        Ok(())
    }
}

/// An engine and its surroundings.
#[derive(Debug)]
pub(super) struct Host {
    pub(super) engine: TcpEngine,
    pub(super) rng: Rng,
    pub(super) stats: TcpStats,
    pub(super) out: Recorder,
    pub(super) events: EventQueue,
    spares: Spares,
    pub(super) config: TcpConfig,
    pub(super) now: Instant,
}

impl Host {
    pub(super) fn new(addr: [u8; 4], seed: u8) -> Self {
        let mut rng = Rng::from_seed([seed; 16]);
        Self {
            engine: TcpEngine::new(&mut rng),
            rng,
            stats: TcpStats::default(),
            out: Recorder {
                addr: addr.into(),
                mtu: 1500,
                gso_max: 1500,
                room: usize::MAX,
                sent: Vec::new(),
            },
            events: EventQueue::default(),
            spares: Spares::default(),
            config: TcpConfig::default(),
            now: Instant::from_millis(1000),
        }
    }

    /// Calls the engine with everything it needs.
    pub(super) fn with<T>(&mut self, call: impl FnOnce(&mut TcpEngine, &mut Cx<'_>) -> T) -> T {
        let mut cx = Cx {
            now: self.now,
            rng: &mut self.rng,
            stats: &mut self.stats,
            out: &mut self.out,
            events: &mut self.events,
            spares: &mut self.spares,
            config: &self.config,
        };
        call(&mut self.engine, &mut cx)
    }

    pub(super) fn receive(&mut self, packet: &Packet) {
        let meta = IpMeta {
            src: packet.src,
            dst: packet.dst,
            iface: IfaceId(0),
            tos: 0,
            ttl: 64,
            not_unicast: false,
            arrival: self.now,
            checksum_valid: false,
            gro_size: 0,
        };
        let bytes = packet.with_checksum();
        self.with(|engine, cx| engine.segment_in(cx, &meta, bytes));
    }

    /// Advances the clock, running timers at their own time.
    pub(super) fn advance(&mut self, by: Duration) {
        let end = self.now + by;
        while let Some(at) = self.engine.poll_timeout().filter(|at| *at <= end) {
            self.now = self.now.max(at);
            self.with(|engine, cx| engine.handle_timeout(cx));
        }
        self.now = end;
    }

    /// Takes what has been sent.
    pub(super) fn take(&mut self) -> Vec<Packet> {
        core::mem::take(&mut self.out.sent)
    }

    pub(super) fn listener(&mut self, port: u16, backlog: i32) -> SocketId {
        let addr = SocketAddr::new(self.out.addr, port);
        self.with(|engine, cx| {
            let id = engine.socket(cx);
            engine.bind(cx, id, addr).expect("the port is free");
            engine
                .listen(cx, id, backlog)
                .expect("a bound socket can listen");
            id
        })
    }
}

/// What the network does to packets, in percent.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Faults {
    pub(super) loss: u32,
    pub(super) duplicate: u32,
    pub(super) reorder: u32,
}

/// Two hosts and the way between them.
#[derive(Debug)]
pub(super) struct Net {
    pub(super) hosts: [Host; 2],
    pub(super) delay: Duration,
    pub(super) faults: Faults,
    pub(super) now: Instant,
    pub(super) delivered: u64,
    rng: Rng,
    flying: Vec<(Instant, u64, usize, Packet)>,
    serial: u64,
}

impl Net {
    pub(super) fn new(seed: u8) -> Self {
        let hosts = [
            Host::new([10, 0, 0, 1], seed),
            Host::new([10, 0, 0, 2], seed ^ 0x55),
        ];
        Self {
            now: hosts[0].now,
            hosts,
            delay: Duration::from_millis(5),
            faults: Faults::default(),
            delivered: 0,
            rng: Rng::from_seed([seed ^ 0xaa; 16]),
            flying: Vec::new(),
            serial: 0,
        }
    }

    fn collect(&mut self) {
        for from in 0..2 {
            for packet in self.hosts[from]
                .take()
                .into_iter()
                .flat_map(Packet::segments)
            {
                let copies = if self.rng.below(100) < self.faults.loss {
                    0
                } else {
                    1 + u32::from(self.rng.below(100) < self.faults.duplicate)
                };
                for _ in 0..copies {
                    let mut at = self.now + self.delay;
                    if self.rng.below(100) < self.faults.reorder {
                        at += self.delay * self.rng.below(4) / 2;
                    }
                    self.serial += 1;
                    self.flying
                        .push((at, self.serial, 1 - from, packet.clone()));
                }
            }
        }
    }

    /// Goes on to the next event and handles it; false if nothing waits.
    pub(super) fn step(&mut self) -> bool {
        self.collect();
        let arrival = self.flying.iter().map(|(at, ..)| *at).min();
        let timers = self
            .hosts
            .iter()
            .filter_map(|host| host.engine.poll_timeout())
            .min();
        let Some(next) = arrival.into_iter().chain(timers).min() else {
            return false;
        };
        self.now = self.now.max(next);
        self.hosts.iter_mut().for_each(|host| host.now = self.now);
        let due = |entry: &(Instant, u64, usize, Packet)| entry.0 <= self.now;
        let first = self
            .flying
            .iter()
            .enumerate()
            .filter(|(_, entry)| due(entry));
        if let Some(index) = first
            .min_by_key(|(_, entry)| (entry.0, entry.1))
            .map(|(index, _)| index)
        {
            let (_, _, to, packet) = self.flying.swap_remove(index);
            self.delivered += 1;
            self.hosts[to].receive(&packet);
        } else {
            for host in &mut self.hosts {
                host.with(|engine, cx| engine.handle_timeout(cx));
            }
        }
        true
    }

    /// Opens a connection from host 0 to host 1: (client, listener, server).
    pub(super) fn connect(&mut self, port: u16) -> (SocketId, SocketId, SocketId) {
        let listener = self.hosts[1].listener(port, 10);
        let remote = SocketAddr::new(self.hosts[1].out.addr, port);
        let client = self.hosts[0].with(|engine, cx| {
            let id = engine.socket(cx);
            assert_eq!(engine.connect(cx, id, remote), Err(SocketError::InProgress));
            id
        });
        for _ in 0..10_000 {
            if let Ok((server, _)) = self.hosts[1].with(|engine, cx| engine.accept(cx, listener)) {
                return (client, listener, server);
            }
            assert!(self.step(), "the handshake stalled");
        }
        panic!("no connection");
    }
}
