//! Neighbour states (RFC 4861 section 7.3, as Linux applies them to ARP) in one bounded table.
//!
//! The table knows no packet format: it says when to ask (`Action::Solicit`), takes what was learned
//! (`NeighborTable::learn`), and holds the packets that wait for an answer.

mod entry;

use std::collections::HashMap;
use std::net::IpAddr;

use crate::buf::TxPacket;
use crate::link::MacAddr;
use crate::network::IfaceId;
use crate::rng::{KeyedState, Rng};
use crate::time::{Duration, Instant};
use entry::{Entry, cost};

/// The settings, with the names of `net.ipv4.neigh.default`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NeighborConfig {
    /// Mean time that a confirmation lasts; each entry draws from half to one and a half of it.
    pub base_reachable_time: Duration,
    /// Wait for a confirmation from above before the first probe.
    pub delay_first_probe_time: Duration,
    /// Time between probes.
    pub retrans_time: Duration,
    /// Unicast probes before the neighbour counts as gone.
    pub ucast_solicit: u32,
    /// Broadcast requests before an unknown neighbour counts as absent.
    pub mcast_solicit: u32,
    /// An address does not change again within this long, unless the packet was a gratuitous one.
    pub locktime: Duration,
    /// Bytes of packets that wait for one neighbour; beyond that the oldest is dropped.
    pub unres_qlen_bytes: usize,
    /// Entries at most.
    pub gc_thresh3: usize,
}

impl Default for NeighborConfig {
    fn default() -> Self {
        Self {
            base_reachable_time: Duration::from_secs(30),
            delay_first_probe_time: Duration::from_secs(5),
            retrans_time: Duration::from_secs(1),
            ucast_solicit: 3,
            mcast_solicit: 3,
            locktime: Duration::from_secs(1),
            unres_qlen_bytes: 212_992,
            gc_thresh3: 1024,
        }
    }
}

/// The state of a neighbour, with the names of `ip neigh`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NeighborState {
    /// Being asked for; packets wait.
    Incomplete,
    /// Confirmed lately.
    Reachable,
    /// Known, not confirmed lately, not used since.
    Stale,
    /// Used while stale; a probe follows unless something confirms it.
    Delay,
    /// Being probed; packets go on to the known address.
    Probe,
    /// Does not answer.
    Failed,
    /// Set by hand: neither probed nor forgotten.
    Permanent,
}

/// Where a packet for a neighbour goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Resolution {
    /// To this address.
    Known(MacAddr),
    /// Into [`NeighborTable::hold`]; if `solicit`, ask for the neighbour now.
    Hold { solicit: bool },
    /// Nowhere: every slot of the table holds a neighbour that is being asked for.
    Full,
}

/// What a timer asks for.
#[derive(Debug)]
pub(crate) enum Action {
    /// Ask for the neighbour: by broadcast, or at `mac`.
    Solicit {
        iface: IfaceId,
        addr: IpAddr,
        mac: Option<MacAddr>,
    },
    /// The neighbour does not answer; these packets cannot be sent.
    Unreachable {
        iface: IfaceId,
        addr: IpAddr,
        packets: Vec<TxPacket>,
    },
}

/// What a packet of a neighbour tells of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Evidence {
    /// It asked for us: it exists, but we have no proof that it hears us.
    Request,
    /// It answered us.
    Reply,
    /// It told everybody. Only news of a neighbour that we know already.
    Announcement,
    /// A neighbour advertisement (RFC 4861 section 7.2.5).
    Advert {
        /// It answers us.
        solicited: bool,
        /// It replaces an address that is known.
        overrides: bool,
    },
}

/// All neighbours of a stack.
#[derive(Debug)]
pub(crate) struct NeighborTable {
    entries: HashMap<(IfaceId, IpAddr), Entry, KeyedState>,
    /// No later than the earliest deadline of any entry.
    wake: Option<Instant>,
    /// What all packets that wait cost, at most [`HELD_MAX`].
    held: usize,
}

/// Bytes of packets that wait for any neighbour: a program that sends to a thousand absent addresses
/// gets no more.
const HELD_MAX: usize = 8 << 20;

impl NeighborTable {
    pub(crate) fn new(rng: &mut Rng) -> Self {
        Self {
            entries: HashMap::with_hasher(KeyedState::new(rng)),
            wake: None,
            held: 0,
        }
    }

    /// Finds where packets for `addr` go, and notes that it is in use.
    pub(crate) fn resolve(
        &mut self,
        now: Instant,
        iface: IfaceId,
        addr: IpAddr,
        config: &NeighborConfig,
    ) -> Resolution {
        let key = (iface, addr);
        let full = self.entries.len() >= config.gc_thresh3;
        if full && !self.entries.contains_key(&key) && !self.make_room(config) {
            return Resolution::Full;
        }
        let entry = self.entries.entry(key).or_insert_with(Entry::new);
        let resolution = entry.use_now(now, config);
        let deadline = entry.deadline();
        self.wake_by(deadline);
        resolution
    }

    /// Keeps a packet until the neighbour answers; returns how many had to go for it, itself included.
    pub(crate) fn hold(
        &mut self,
        iface: IfaceId,
        addr: IpAddr,
        packet: TxPacket,
        config: &NeighborConfig,
    ) -> usize {
        let need = cost(&packet);
        let Some(entry) = self.entries.get_mut(&(iface, addr)) else {
            return 1;
        };
        if self.held + need > HELD_MAX {
            return 1;
        }
        self.held += need;
        let dropped = entry.hold(packet, config.unres_qlen_bytes);
        let count = dropped.len();
        self.release(&dropped);
        count
    }

    fn release(&mut self, packets: &[TxPacket]) {
        self.held -= packets.iter().map(cost).sum::<usize>();
    }

    /// Learns the address of a neighbour; returns the packets that waited for it.
    pub(crate) fn learn(
        &mut self,
        now: Instant,
        (iface, addr): (IfaceId, IpAddr),
        mac: MacAddr,
        evidence: Evidence,
        config: &NeighborConfig,
        rng: &mut Rng,
    ) -> Vec<TxPacket> {
        let key = (iface, addr);
        if !self.entries.contains_key(&key) {
            // Only somebody who wants to talk to us earns an entry (Linux `arp_accept` 0).
            if evidence != Evidence::Request || !self.make_room(config) {
                return Vec::new();
            }
            self.entries.insert(key, Entry::new());
        }
        let Some(entry) = self.entries.get_mut(&key) else {
            return Vec::new();
        };
        let released = entry.learn(now, mac, evidence, config, rng);
        self.release(&released);
        released
    }

    /// A transport had an answer from beyond this neighbour.
    pub(crate) fn confirm(
        &mut self,
        now: Instant,
        iface: IfaceId,
        addr: IpAddr,
        config: &NeighborConfig,
        rng: &mut Rng,
    ) {
        if let Some(entry) = self.entries.get_mut(&(iface, addr)) {
            entry.confirm(now, config, rng);
        }
    }

    /// Sets an entry by hand; returns the packets that waited for it.
    pub(crate) fn set_permanent(
        &mut self,
        iface: IfaceId,
        addr: IpAddr,
        mac: MacAddr,
    ) -> Vec<TxPacket> {
        let entry = self.entries.entry((iface, addr)).or_insert_with(Entry::new);
        let released = entry.set_permanent(mac);
        self.release(&released);
        released
    }

    /// The address that is known of a neighbour.
    pub(crate) fn known(&self, iface: IfaceId, addr: IpAddr) -> Option<MacAddr> {
        self.entries.get(&(iface, addr))?.mac()
    }

    /// False for a neighbour that was asked for in vain.
    pub(crate) fn may_be_reachable(&self, iface: IfaceId, addr: IpAddr, now: Instant) -> bool {
        let entry = self.entries.get(&(iface, addr));
        entry.is_none_or(|entry| entry.state(now) != NeighborState::Failed)
    }

    /// Every neighbour with its state and address.
    pub(crate) fn iter(
        &self,
        now: Instant,
    ) -> impl Iterator<Item = (IfaceId, IpAddr, NeighborState, Option<MacAddr>)> {
        self.entries
            .iter()
            .map(move |((iface, addr), entry)| (*iface, *addr, entry.state(now), entry.mac()))
    }

    /// When [`NeighborTable::handle_timeout`] has something to do.
    pub(crate) fn poll_timeout(&self) -> Option<Instant> {
        self.wake
    }

    /// Runs the timers that are due, and appends what they ask for to `actions`.
    pub(crate) fn handle_timeout(
        &mut self,
        now: Instant,
        config: &NeighborConfig,
        actions: &mut Vec<Action>,
    ) {
        if self.wake.is_none_or(|wake| now < wake) {
            return;
        }
        self.wake = None;
        let mut earliest: Option<Instant> = None;
        let first = actions.len();
        for ((iface, addr), entry) in &mut self.entries {
            if entry.deadline().is_some_and(|deadline| deadline <= now) {
                actions.extend(entry.expire(now, *iface, *addr, config));
            }
            if let Some(deadline) = entry.deadline() {
                earliest = Some(earliest.map_or(deadline, |other| other.min(deadline)));
            }
        }
        self.wake_by(earliest);
        for action in &actions[first..] {
            if let Action::Unreachable { packets, .. } = action {
                self.release(packets);
            }
        }
    }

    fn wake_by(&mut self, deadline: Option<Instant>) {
        self.wake = match (self.wake, deadline) {
            (Some(wake), Some(deadline)) => Some(wake.min(deadline)),
            (wake, deadline) => wake.or(deadline),
        };
    }

    /// Makes room for one more entry: the least recently used that nothing waits for goes.
    fn make_room(&mut self, config: &NeighborConfig) -> bool {
        if self.entries.len() < config.gc_thresh3 {
            return true;
        }
        let idle = self.entries.iter().filter(|(_, entry)| entry.may_go());
        let Some(key) = idle
            .min_by_key(|(_, entry)| entry.used())
            .map(|(key, _)| *key)
        else {
            return false;
        };
        self.entries.remove(&key);
        true
    }
}

#[cfg(test)]
mod tests;
