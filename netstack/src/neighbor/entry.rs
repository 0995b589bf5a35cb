//! One neighbour.

use std::collections::VecDeque;
use std::net::IpAddr;

use super::{Action, Evidence, NeighborConfig, NeighborState as Public, Resolution};
use crate::buf::TxPacket;
use crate::link::MacAddr;
use crate::network::IfaceId;
use crate::rng::Rng;
use crate::time::{Duration, Instant};

/// What is known of a neighbour.
#[derive(Debug)]
pub(super) struct Entry {
    state: State,
    /// Last used for sending.
    used: Instant,
    /// When the address was last set.
    updated: Instant,
}

#[derive(Debug)]
enum State {
    /// Created, or given up: the next use asks anew.
    Failed,
    Incomplete {
        asked: u32,
        next: Instant,
        waiting: VecDeque<TxPacket>,
        /// Sum of [`cost`] over `waiting`.
        bytes: usize,
    },
    /// Reachable until a time, stale after it.
    Known {
        mac: MacAddr,
        until: Instant,
    },
    Delay {
        mac: MacAddr,
        probe_at: Instant,
    },
    Probe {
        mac: MacAddr,
        asked: u32,
        next: Instant,
    },
    Permanent(MacAddr),
}

impl Entry {
    pub(super) fn new() -> Self {
        Self {
            state: State::Failed,
            used: Instant::ZERO,
            updated: Instant::ZERO,
        }
    }

    pub(super) fn state(&self, now: Instant) -> Public {
        match &self.state {
            State::Failed => Public::Failed,
            State::Incomplete { .. } => Public::Incomplete,
            State::Known { until, .. } if now < *until => Public::Reachable,
            State::Known { .. } => Public::Stale,
            State::Delay { .. } => Public::Delay,
            State::Probe { .. } => Public::Probe,
            State::Permanent(_) => Public::Permanent,
        }
    }

    pub(super) fn mac(&self) -> Option<MacAddr> {
        match &self.state {
            State::Failed | State::Incomplete { .. } => None,
            State::Known { mac, .. }
            | State::Delay { mac, .. }
            | State::Probe { mac, .. }
            | State::Permanent(mac) => Some(*mac),
        }
    }

    pub(super) fn used(&self) -> Instant {
        self.used
    }

    /// True if the entry may be evicted.
    pub(super) fn may_go(&self) -> bool {
        !matches!(self.state, State::Incomplete { .. } | State::Permanent(_))
    }

    /// When [`Entry::expire`] is due.
    pub(super) fn deadline(&self) -> Option<Instant> {
        match &self.state {
            State::Incomplete { next, .. } | State::Probe { next, .. } => Some(*next),
            State::Delay { probe_at, .. } => Some(*probe_at),
            State::Failed | State::Known { .. } | State::Permanent(_) => None,
        }
    }

    /// A packet is to be sent.
    pub(super) fn use_now(&mut self, now: Instant, config: &NeighborConfig) -> Resolution {
        self.used = now;
        match &self.state {
            State::Failed => {
                self.state = State::Incomplete {
                    asked: 1,
                    next: now + config.retrans_time,
                    waiting: VecDeque::new(),
                    bytes: 0,
                };
                Resolution::Hold { solicit: true }
            }
            State::Incomplete { .. } => Resolution::Hold { solicit: false },
            State::Known { mac, until } => {
                let mac = *mac;
                if now >= *until {
                    let probe_at = now + config.delay_first_probe_time;
                    self.state = State::Delay { mac, probe_at };
                }
                Resolution::Known(mac)
            }
            State::Delay { mac, .. } | State::Probe { mac, .. } | State::Permanent(mac) => {
                Resolution::Known(*mac)
            }
        }
    }

    /// Keeps a packet within `limit` bytes; returns those that had to go for it, or `packet` itself if
    /// nothing waits here.
    pub(super) fn hold(&mut self, packet: TxPacket, limit: usize) -> Vec<TxPacket> {
        let State::Incomplete { waiting, bytes, .. } = &mut self.state else {
            return vec![packet];
        };
        let mut dropped = Vec::new();
        let need = cost(&packet);
        while *bytes + need > limit
            && let Some(oldest) = waiting.pop_front()
        {
            *bytes -= cost(&oldest);
            dropped.push(oldest);
        }
        *bytes += need;
        waiting.push_back(packet);
        dropped
    }

    /// Learns the address; returns what waited for it.
    pub(super) fn learn(
        &mut self,
        now: Instant,
        mac: MacAddr,
        evidence: Evidence,
        config: &NeighborConfig,
        rng: &mut Rng,
    ) -> Vec<TxPacket> {
        if matches!(self.state, State::Permanent(_)) {
            return Vec::new();
        }
        let known = self.mac();
        let changed = known.is_some_and(|known| known != mac);
        let locked = now.since(self.updated) < config.locktime;
        if let Evidence::Advert {
            overrides: false, ..
        } = evidence
            && changed
        {
            // Somebody else claims the address: what is known is to be verified.
            if let State::Known { until, .. } = &mut self.state {
                *until = (*until).min(now);
            }
            return Vec::new();
        }
        let is_arp = !matches!(evidence, Evidence::Advert { .. });
        if changed && locked && is_arp && evidence != Evidence::Announcement {
            return Vec::new();
        }
        let until = match evidence {
            Evidence::Reply
            | Evidence::Advert {
                solicited: true, ..
            } => now + reachable_time(config, rng),
            Evidence::Advert { .. } if known == Some(mac) => return Vec::new(),
            Evidence::Advert { .. } => now,
            // A request or announcement that repeats what is known proves nothing and costs nothing.
            Evidence::Request | Evidence::Announcement if known == Some(mac) => return Vec::new(),
            Evidence::Request | Evidence::Announcement => now,
        };
        self.updated = now;
        match core::mem::replace(&mut self.state, State::Known { mac, until }) {
            State::Incomplete { waiting, .. } => waiting.into(),
            _ => Vec::new(),
        }
    }

    /// Forward progress was seen.
    pub(super) fn confirm(&mut self, now: Instant, config: &NeighborConfig, rng: &mut Rng) {
        match &mut self.state {
            State::Known { until, .. } => {
                // Drawing a new time for each acknowledgement would cost more than it tells.
                if *until < now + config.base_reachable_time / 4 {
                    *until = now + reachable_time(config, rng);
                }
            }
            State::Delay { mac, .. } | State::Probe { mac, .. } => {
                self.state = State::Known {
                    mac: *mac,
                    until: now + reachable_time(config, rng),
                };
            }
            State::Failed | State::Incomplete { .. } | State::Permanent(_) => {}
        }
    }

    pub(super) fn set_permanent(&mut self, mac: MacAddr) -> Vec<TxPacket> {
        match core::mem::replace(&mut self.state, State::Permanent(mac)) {
            State::Incomplete { waiting, .. } => waiting.into(),
            _ => Vec::new(),
        }
    }

    /// The timer of the state is due.
    pub(super) fn expire(
        &mut self,
        now: Instant,
        iface: IfaceId,
        addr: IpAddr,
        config: &NeighborConfig,
    ) -> Option<Action> {
        let solicit = |mac| Some(Action::Solicit { iface, addr, mac });
        match &mut self.state {
            State::Incomplete { asked, next, .. } if *asked < config.mcast_solicit => {
                *asked += 1;
                *next = now + config.retrans_time;
                solicit(None)
            }
            State::Incomplete { waiting, .. } => {
                let packets = core::mem::take(waiting).into();
                self.state = State::Failed;
                Some(Action::Unreachable {
                    iface,
                    addr,
                    packets,
                })
            }
            State::Delay { mac, .. } => {
                let mac = *mac;
                self.state = State::Probe {
                    mac,
                    asked: 1,
                    next: now + config.retrans_time,
                };
                solicit(Some(mac))
            }
            State::Probe { mac, asked, next } if *asked < config.ucast_solicit => {
                *asked += 1;
                *next = now + config.retrans_time;
                let mac = *mac;
                solicit(Some(mac))
            }
            State::Probe { .. } => {
                self.state = State::Failed;
                Some(Action::Unreachable {
                    iface,
                    addr,
                    packets: Vec::new(),
                })
            }
            State::Failed | State::Known { .. } | State::Permanent(_) => None,
        }
    }
}

/// What a packet that waits costs in memory.
pub(super) fn cost(packet: &TxPacket) -> usize {
    packet.len() + 512
}

/// From a half to one and a half of the configured time, so that neighbours do not expire together.
fn reachable_time(config: &NeighborConfig, rng: &mut Rng) -> Duration {
    let thousandths = 500 + rng.below(1001);
    config.base_reachable_time * thousandths / 1000
}
