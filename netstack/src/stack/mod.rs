//! Composition: configuration, ingress, egress, timers, the public entry points.
//!
//! A [`Stack`] is driven from outside: batches of received packets go in, batches to transmit come
//! out, and somebody calls when the time that [`Stack::poll_timeout`] names has come. Nothing in here
//! waits, reads a clock or takes a lock.
//!
//! ```
//! # use netstack::{buf::TxBatch, link::*, stack::*, time::Instant};
//! let mut stack = Stack::new(StackConfig::default(), [7; 16]);
//! let caps = DeviceCaps { medium: Medium::Ip, mtu: 1500, tx_checksum: false, gso_max: 0 };
//! let eth0 = stack.add_interface(InterfaceConfig { name: "eth0".into(), mac: MacAddr::default(), caps })?;
//! stack.add_address(eth0, "10.0.0.1/24".parse()?)?;
//! let mut batch = TxBatch::new();
//! stack.poll_transmit(Instant::ZERO, eth0, &mut batch);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod address;
mod arp;
mod config;
mod datagram;
mod datagram_reports;
mod egress;
mod forward;
mod fragments;
mod group_calls;
mod groups;
mod hooks;
mod icmp;
mod iface;
mod ingress;
mod intercept;
mod ip_in;
mod nd;
mod net;
mod packet_calls;
mod raw_calls;
mod raw_send;
mod setup;
mod sockets;
mod tcp_calls;
mod tcp_glue;
#[cfg(test)]
mod tests;
mod udp_calls;
mod udp_in;
mod udp_send;
mod usage;

pub use address::{Address, AddressOrigin, AddressState};
pub use config::{NetConfig, SettingError, StackConfig};
pub use forward::{ForwardConfig, LinkConfig, MulticastRoute};
pub use iface::{IfaceCounters, InterfaceConfig};
pub use nd::NdConfig;
pub use net::LOOPBACK;
pub use setup::{ConfigError, InterfaceInfo, NeighborInfo};
pub use usage::Usage;

use crate::buf::{RxBatch, TxBatch};
use crate::network::IfaceId;
use crate::network::icmp_limit::IcmpLimiter;
use crate::network::reassembly::Reassembly;
use crate::rng::Rng;
use crate::socket::packet::PacketSocket;
use crate::socket::{EventQueue, RawSocket, SocketKind, SocketTable};
use crate::stats::Stats;
use crate::time::Instant;
use crate::transport::tcp::stats::TcpStats;
use crate::transport::tcp::{self, Spares, TcpConfig, TcpEngine};
use crate::transport::udp::UdpTable;
use crate::transport::udp::stats::UdpStats;
use forward::MulticastRoutes;
use net::Net;

/// A whole TCP/IP stack: interfaces, routes, neighbours and sockets.
///
/// Time is what the last call said it is ([`Stack::set_now`], or the `now` of the packet calls); it
/// never goes back.
#[derive(Debug)]
pub struct Stack {
    net: Net,
    reassembly: Reassembly,
    icmp_limit: IcmpLimiter,
    udp: UdpTable,
    udp_stats: UdpStats,
    raw: SocketTable<RawSocket>,
    packets: SocketTable<PacketSocket>,
    intercept: intercept::Interceptors,
    multicast_routes: MulticastRoutes,
    tcp: TcpEngine,
    tcp_config: TcpConfig,
    tcp_stats: TcpStats,
    tcp_spares: Spares,
    events: EventQueue,
    rng: Rng,
}

impl Stack {
    /// A stack with a loopback interface (127.0.0.1/8, ::1/128) and nothing else. Its every random choice
    /// follows from `seed`, which must be unpredictable outside of tests.
    pub fn new(config: StackConfig, seed: [u8; 16]) -> Self {
        let mut rng = Rng::from_seed(seed);
        let mut stack = Self {
            net: Net::new(config.net, rng.fork()),
            reassembly: Reassembly::new(&mut rng),
            icmp_limit: IcmpLimiter::new(&mut rng),
            udp: UdpTable::new(&mut rng),
            udp_stats: UdpStats::default(),
            raw: SocketTable::new(SocketKind::Raw),
            packets: SocketTable::new(SocketKind::Packet),
            intercept: intercept::Interceptors::new(),
            multicast_routes: MulticastRoutes::new(&mut rng),
            tcp: TcpEngine::new(&mut rng),
            tcp_config: config.tcp,
            tcp_stats: TcpStats::default(),
            tcp_spares: Spares::default(),
            events: EventQueue::default(),
            rng,
        };
        stack.set_up_loopback();
        stack
    }

    /// The settings outside TCP, to read or change at any time.
    pub fn net_config_mut(&mut self) -> &mut NetConfig {
        &mut self.net.config
    }

    /// Changes a setting by its sysctl name (`tcp_syncookies`, `net.ipv4.tcp_syncookies` or
    /// `net/ipv4/tcp_syncookies`), with the sysctl's text form.
    ///
    /// # Errors
    /// `Unknown` or `BadValue`; nothing is changed then.
    pub fn set_setting(&mut self, name: &str, value: &str) -> Result<(), SettingError> {
        match self.net.set_link_setting(name, value) {
            Err(SettingError::Unknown) => {}
            done => return done,
        }
        let name = last_part(name);
        match self.net.config.set(name, value) {
            Err(SettingError::Unknown) => {
                let done = self.tcp_config.set(name, value);
                done.map_err(|error| match error {
                    tcp::SettingError::Unknown => SettingError::Unknown,
                    tcp::SettingError::Invalid => SettingError::BadValue,
                })
            }
            done => done,
        }
    }

    /// The text form of a setting, `None` if there is no such setting.
    pub fn setting(&self, name: &str) -> Option<String> {
        if let Some(value) = self.net.link_setting(name) {
            return Some(value);
        }
        let name = last_part(name);
        let tcp = || self.tcp_config.get(name);
        self.net.config.get(name).or_else(tcp)
    }

    /// A copy of all counters.
    pub fn stats(&self) -> Stats {
        Stats {
            net: self.net.stats.clone(),
            tcp: self.tcp_stats.clone(),
            udp: self.udp_stats.clone(),
        }
    }

    /// Sets the time for the socket calls that follow. A time before the present one is ignored.
    pub fn set_now(&mut self, now: Instant) {
        self.net.now = self.net.now.max(now);
    }

    /// The time that the stack works at.
    pub fn now(&self) -> Instant {
        self.net.now
    }

    /// Handles the packets in `batch`, which were received by `iface`, and empties it.
    pub fn receive(&mut self, now: Instant, iface: IfaceId, batch: &mut RxBatch) {
        self.set_now(now);
        for packet in batch.drain(..) {
            self.packet_in(iface, packet);
        }
        self.settle();
    }

    /// Moves packets that `iface` has to send to `batch` until that is full; returns how many. The
    /// caller comes back until it returns 0.
    pub fn poll_transmit(&mut self, now: Instant, iface: IfaceId, batch: &mut TxBatch) -> usize {
        self.set_now(now);
        if iface == LOOPBACK {
            return 0;
        }
        let now = self.net.now;
        let Some(state) = self.net.iface_mut(iface) else {
            return 0;
        };
        let before = batch.len();
        let mut moved = state.fill(now, batch);
        self.settle();
        // Room may have been used at once.
        if let Some(state) = self.net.iface_mut(iface) {
            moved += state.fill(now, batch);
        }
        self.tap_out(iface, &batch[before..]);
        moved
    }

    /// True if `iface` has packets to send.
    pub fn has_transmit(&self, iface: IfaceId) -> bool {
        let ready = |state: &iface::Iface| state.qdisc.ready_at();
        let at = self.net.iface(iface).and_then(ready);
        iface != LOOPBACK && at.is_some_and(|at| at <= self.net.now)
    }

    /// When [`Stack::handle_timeout`] has something to do; `None` if only packets and calls can
    /// change anything. May be in the past: then call it now.
    pub fn poll_timeout(&self) -> Option<Instant> {
        let loopback = self.net.iface(LOOPBACK).is_some_and(|lo| !lo.is_idle());
        let pending = loopback || !self.net.echoes.is_empty();
        [
            pending.then_some(self.net.now),
            self.net.neighbors.poll_timeout(),
            self.net.nd_wake,
            self.net.groups_wake,
            self.reassembly.poll_timeout(),
            self.net.queues_wake(),
            self.net
                .filter
                .as_ref()
                .and_then(|filter| filter.conns.poll_timeout()),
            self.tcp.poll_timeout(),
            self.intercept.poll_timeout(),
        ]
        .into_iter()
        .flatten()
        .min()
    }

    /// Runs the timers that are due.
    pub fn handle_timeout(&mut self, now: Instant) {
        self.set_now(now);
        self.net.neighbor_timers();
        self.net.nd_timers();
        self.net.group_timers();
        self.reassembly_timers();
        self.conntrack_timers();
        self.tcp_timers();
        self.intercept_timers();
        self.settle();
    }

    /// Finishes a call: receives what was sent to ourselves, tells sockets of packets that could not
    /// be sent and of room to send.
    fn settle(&mut self) {
        for _ in 0..SETTLE_ROUNDS {
            self.report_undeliverable();
            self.run_loopback();
            if !self.net.take_room_signal() {
                break;
            }
            self.tcp_room();
            self.udp.transmit_room(&mut self.events);
            self.raw_room();
            self.packet_room();
        }
    }
}

/// Rounds of receiving from ourselves and sending into the room that made; what is left is a timer
/// that is due.
const SETTLE_ROUNDS: usize = 8;

/// `net.ipv4.tcp_sack` and `net/ipv4/tcp_sack` are `tcp_sack`.
fn last_part(name: &str) -> &str {
    name.rsplit(['.', '/']).next().unwrap_or(name)
}
