//! Listeners. Two queues that are separate things: half-open records ([`SynQueue`] counts them, the
//! engine's [`HalfOpenTable`] holds them) and connections that wait for `accept` ([`AcceptQueue`]).
//!
//! | file | what happens there |
//! | --- | --- |
//! | `syn_in` | a segment that meets no flow: a SYN, a cookie, or nothing of ours |
//! | `half_open` | the record, and what a segment does to it |
//! | `complete` | from a record or a cookie to a connection, through the one gate |
//! | `fast_open` | a SYN with data that makes a connection at once |
//! | `expiry` | SYN-ACK timers |
//! | `syn_queue`, `accept_queue` | the two gates |

mod accept_queue;
mod complete;
mod expiry;
mod fast_open;
mod half_open;
mod syn_in;
mod syn_queue;

pub(super) use accept_queue::AcceptQueue;
pub(super) use fast_open::PassiveOpen;
pub(super) use half_open::HalfOpenTable;
pub(super) use syn_in::path_mss;
pub(super) use syn_queue::SynQueue;

use std::collections::HashMap;
use std::net::SocketAddr;

use smallvec::SmallVec;

use super::fast_open::PendingQueue;
use super::flow::FlowKey;
use super::slot::{Socket, State};
use crate::network::IpMeta;
use crate::socket::{Family, SocketId, SocketTable};
use crate::time::Instant;

/// A listening socket.
#[derive(Debug)]
pub(super) struct Listen {
    pub(super) local: SocketAddr,
    pub(super) syn_queue: SynQueue,
    pub(super) accept_queue: AcceptQueue,
    /// When a SYN was last answered by a cookie.
    pub(super) overflowed: Option<Instant>,
    /// Connections that a SYN with data has made, until their handshake is complete.
    pub(super) pending: PendingQueue,
}

impl Listen {
    pub(super) fn new(local: SocketAddr, bound: u32) -> Self {
        Self {
            local,
            syn_queue: SynQueue::new(bound),
            accept_queue: AcceptQueue::new(bound),
            overflowed: None,
            pending: PendingQueue::default(),
        }
    }

    /// `listen` again: only the bound changes, in any direction; nobody who is in is thrown out.
    pub(super) fn rebound(&mut self, bound: u32) {
        self.syn_queue.set_bound(bound);
        self.accept_queue.set_bound(bound);
    }
}

/// B: the backlog as Linux reads it. A negative one is a very large one.
pub(super) fn bound(backlog: i32, somaxconn: u32) -> u32 {
    (backlog as u32).min(somaxconn)
}

/// Listeners by port.
#[derive(Debug, Default)]
pub(super) struct Listeners {
    by_port: HashMap<u16, SmallVec<[SocketId; 2]>>,
}

impl Listeners {
    pub(super) fn add(&mut self, port: u16, id: SocketId) {
        self.by_port.entry(port).or_default().push(id);
    }

    pub(super) fn remove(&mut self, port: u16, id: SocketId) {
        if let Some(ids) = self.by_port.get_mut(&port) {
            ids.retain(|listed| *listed != id);
            if ids.is_empty() {
                self.by_port.remove(&port);
            }
        }
    }

    fn on_port(&self, port: u16) -> &[SocketId] {
        self.by_port.get(&port).map_or(&[], SmallVec::as_slice)
    }

    /// The listener for a new flow: the most specific address wins; among equals (SO_REUSEPORT) the
    /// hash of the flow chooses.
    pub(super) fn find(
        &self,
        sockets: &SocketTable<Socket>,
        key: &FlowKey,
        meta: &IpMeta,
        select: [u64; 2],
    ) -> Option<SocketId> {
        let mut best = SmallVec::<[SocketId; 4]>::new();
        let mut best_score = 0;
        for id in self.on_port(key.local.port()) {
            let Some(score) = sockets.get(*id).and_then(|socket| score(socket, key, meta)) else {
                continue;
            };
            if score > best_score {
                best.clear();
                best_score = score;
            }
            if score == best_score {
                best.push(*id);
            }
        }
        match best.len() {
            0 => None,
            1 => Some(best[0]),
            n => Some(best[(key.digest(select, 0) % n as u64) as usize]),
        }
    }

    /// The other members of a listener's SO_REUSEPORT group.
    pub(super) fn group_of(
        &self,
        sockets: &SocketTable<Socket>,
        id: SocketId,
    ) -> SmallVec<[SocketId; 4]> {
        let of = |id: SocketId| {
            let socket = sockets.get(id)?;
            match &socket.state {
                State::Listen(listen) if socket.opts.reuse_port => {
                    Some((listen.local, socket.opts.ip.iface))
                }
                _ => None,
            }
        };
        let Some(ours) = of(id) else {
            return SmallVec::new();
        };
        let members = self.on_port(ours.0.port()).iter().copied();
        members
            .filter(|other| *other != id && of(*other) == Some(ours))
            .collect()
    }
}

/// How well a listener fits: `None` not at all.
fn score(socket: &Socket, key: &FlowKey, meta: &IpMeta) -> Option<u32> {
    let State::Listen(listen) = &socket.state else {
        return None;
    };
    let names = socket.opts.names;
    if !names.speaks(key.local.ip()) {
        return None;
    }
    let by_address = if listen.local.ip() == key.local.ip() {
        8
    } else if listen.local.ip().is_unspecified() {
        4
    } else {
        return None;
    };
    // Linux `compute_score`: a listener of the very family is the better one.
    let same_family = (names.family == Family::V4) == key.local.is_ipv4();
    let by_address = by_address + 2 * u32::from(same_family);
    match socket.opts.ip.iface {
        Some(iface) if iface != meta.iface => None,
        Some(_) => Some(by_address + 1),
        None => Some(by_address),
    }
}
