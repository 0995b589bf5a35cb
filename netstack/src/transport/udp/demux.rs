//! Which socket a datagram is for.

use core::hash::Hasher;
use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};

use siphasher::sip::SipHasher13;
use smallvec::SmallVec;

use super::socket::UdpSocket;
use crate::error::SocketError;
use crate::network::IpMeta;
use crate::network::icmp_error::IcmpError;
use crate::rng::{KeyedState, Rng};
use crate::socket::{EventQueue, SocketId, SocketKind, SocketTable};
use crate::transport::ports::{Claim, Ports};

/// Sockets that one datagram is for; more than one only of broadcasts and multicasts.
pub(crate) type Receivers = SmallVec<[SocketId; 4]>;

/// All UDP sockets of a stack.
#[derive(Debug)]
pub(crate) struct UdpTable {
    pub(crate) sockets: SocketTable<UdpSocket>,
    pub(crate) ports: Ports,
    by_port: HashMap<u16, SmallVec<[SocketId; 2]>, KeyedState>,
    /// Flows of interceptors, by our address and the peer's.
    flows: HashMap<(SocketAddr, SocketAddr), SocketId, KeyedState>,
    /// Sockets that wait for room in a transmit queue.
    blocked: Vec<SocketId>,
    /// Key of the choice among SO_REUSEPORT sockets.
    key: [u64; 2],
}

impl UdpTable {
    pub(crate) fn new(rng: &mut Rng) -> Self {
        Self {
            sockets: SocketTable::new(SocketKind::Udp),
            ports: Ports::new(rng),
            by_port: HashMap::with_hasher(KeyedState::new(rng)),
            flows: HashMap::with_hasher(KeyedState::new(rng)),
            blocked: Vec::new(),
            key: rng.key(),
        }
    }

    /// Notes that `id` holds `claim`: datagrams to the port reach it from now on.
    pub(crate) fn enter(&mut self, id: SocketId, claim: Claim) {
        self.by_port.entry(claim.port).or_default().push(id);
    }

    /// Removes a socket and gives its port back.
    pub(crate) fn remove(&mut self, id: SocketId) -> Option<UdpSocket> {
        let socket = self.sockets.remove(id)?;
        if let Some(claim) = &socket.claim {
            self.leave(id, claim);
        }
        self.leave_flow(id, &socket);
        self.blocked.retain(|other| *other != id);
        Some(socket)
    }

    /// Adds the socket of an interceptor's flow.
    pub(crate) fn insert_flow(&mut self, socket: UdpSocket) -> SocketId {
        let key = flow_key(&socket);
        let id = self.sockets.insert(socket);
        if let Some(key) = key {
            self.flows.insert(key, id);
        }
        id
    }

    /// Ends a flow: its socket has HUP, and the next datagram begins another one.
    pub(crate) fn expire_flow(&mut self, id: SocketId) {
        if let Some(socket) = self.sockets.get_mut(id) {
            (socket.read_shut, socket.write_shut) = (true, true);
            let key = flow_key(socket);
            self.forget_flow(id, key);
        }
    }

    fn leave_flow(&mut self, id: SocketId, socket: &UdpSocket) {
        self.forget_flow(id, flow_key(socket));
    }

    fn forget_flow(&mut self, id: SocketId, key: Option<(SocketAddr, SocketAddr)>) {
        if let Some(key) = key
            && self.flows.get(&key) == Some(&id)
        {
            self.flows.remove(&key);
        }
    }

    /// Takes the port from a socket.
    pub(crate) fn leave(&mut self, id: SocketId, claim: &Claim) {
        self.ports.release(claim);
        if let Some(ids) = self.by_port.get_mut(&claim.port) {
            ids.retain(|other| *other != id);
            if ids.is_empty() {
                self.by_port.remove(&claim.port);
            }
        }
    }

    /// The sockets that a datagram is for: the best fit, chosen by a hash of the flow among equal
    /// SO_REUSEPORT sockets; every fit if it was sent to many.
    pub(crate) fn receivers(&self, meta: &IpMeta, src_port: u16, dst_port: u16) -> Receivers {
        let mut best = Receivers::new();
        let mut best_score = 0;
        if !self.flows.is_empty() && !meta.not_unicast {
            let key = (
                SocketAddr::new(meta.dst, dst_port),
                SocketAddr::new(meta.src, src_port),
            );
            if let Some(id) = self.flows.get(&key) {
                best.push(*id);
                return best;
            }
        }
        let Some(ids) = self.by_port.get(&dst_port) else {
            return best;
        };
        for id in ids {
            let Some(score) = self.sockets.get(*id).and_then(|s| s.score(meta, src_port)) else {
                continue;
            };
            if meta.not_unicast {
                best.push(*id);
            } else if score > best_score {
                best_score = score;
                best.clear();
                best.push(*id);
            } else if score == best_score {
                best.push(*id);
            }
        }
        if best.len() > 1 && !meta.not_unicast {
            let chosen = self.choose(&best, meta, src_port, dst_port);
            best.clear();
            best.push(chosen);
        }
        best
    }

    /// One of several equal sockets: by flow if they share the port by SO_REUSEPORT, otherwise the
    /// latest to be bound.
    fn choose(&self, equal: &[SocketId], meta: &IpMeta, src_port: u16, dst_port: u16) -> SocketId {
        let shares = |id: &SocketId| self.sockets.get(*id).is_some_and(|s| s.options.reuse_port);
        let last = equal[equal.len() - 1];
        if !equal.iter().all(shares) {
            return last;
        }
        let mut hasher = SipHasher13::new_with_keys(self.key[0], self.key[1]);
        for addr in [meta.src, meta.dst] {
            match addr {
                IpAddr::V4(v4) => hasher.write(&v4.octets()),
                IpAddr::V6(v6) => hasher.write(&v6.octets()),
            }
        }
        hasher.write_u32((u32::from(src_port) << 16) | u32::from(dst_port));
        equal[(hasher.finish() % equal.len() as u64) as usize]
    }

    /// The socket that sent what `error` is about.
    pub(crate) fn owner(&self, error: &IcmpError) -> Option<SocketId> {
        if let Some(id) = self.flows.get(&(error.local, error.remote)) {
            return Some(*id);
        }
        let ids = self.by_port.get(&error.local.port())?;
        let fits = |id: &&SocketId| {
            let Some(socket) = self.sockets.get(**id) else {
                return false;
            };
            let local = socket.local.is_unspecified() || socket.local == error.local.ip();
            local && socket.remote.is_none_or(|remote| remote == error.remote)
        };
        let connected = |id: &&SocketId| {
            let socket = self.sockets.get(**id);
            fits(id) && socket.is_some_and(|socket| socket.remote.is_some())
        };
        let found = ids.iter().find(connected);
        found.or_else(|| ids.iter().find(fits)).copied()
    }

    /// An ICMP error about one of our datagrams (RFC 1122 section 4.1.3.3; Linux `__udp4_lib_err`).
    pub(crate) fn icmp_error(&mut self, error: &IcmpError, events: &mut EventQueue) {
        let Some(id) = self.owner(error) else {
            return;
        };
        if let Some(socket) = self.sockets.get_mut(id) {
            let verbose = socket.options.recv_errors;
            // The new path MTU is used silently by a socket that does not ask for errors.
            let told = error.cause.hard && socket.remote.is_some();
            if verbose || told {
                socket.queue.set_error(error.cause.error);
                events.mark(id);
            }
        }
    }

    /// Notes that `id` waits for room in a transmit queue.
    pub(crate) fn block(&mut self, id: SocketId) {
        if let Some(socket) = self.sockets.get_mut(id)
            && !core::mem::replace(&mut socket.blocked, true)
        {
            self.blocked.push(id);
        }
    }

    /// There is room again: everybody who waited is writable.
    pub(crate) fn transmit_room(&mut self, events: &mut EventQueue) {
        for id in self.blocked.drain(..) {
            if let Some(socket) = self.sockets.get_mut(id) {
                socket.blocked = false;
                events.mark(id);
            }
        }
    }

    /// The socket.
    ///
    /// # Errors
    /// `Invalid` if there is no such socket.
    pub(crate) fn get(&self, id: SocketId) -> Result<&UdpSocket, SocketError> {
        self.sockets.get(id).ok_or(SocketError::Invalid)
    }

    /// The socket, to change it.
    ///
    /// # Errors
    /// `Invalid` if there is no such socket.
    pub(crate) fn get_mut(&mut self, id: SocketId) -> Result<&mut UdpSocket, SocketError> {
        self.sockets.get_mut(id).ok_or(SocketError::Invalid)
    }
}

/// Our address and the peer's, if the socket is a flow of an interceptor.
fn flow_key(socket: &UdpSocket) -> Option<(SocketAddr, SocketAddr)> {
    let flow = socket.flow?;
    Some((SocketAddr::new(socket.local, flow.port), socket.remote?))
}
