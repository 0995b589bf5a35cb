//! One UDP socket: options, addresses, receive queue.

use std::net::{IpAddr, SocketAddr};

use crate::network::{IfaceId, IpMeta};
use crate::socket::{
    DatagramOptions, ErrorQueue, Family, Memberships, Names, Readiness, ReceiveQueue, SendTo,
    SocketFilter, SocketId,
};
use crate::time::Instant;
use crate::transport::ports::Claim;

/// The state of a socket.
#[derive(Debug)]
pub(crate) struct UdpSocket {
    pub(crate) options: DatagramOptions,
    /// SO_ATTACH_FILTER.
    pub(crate) filter: SocketFilter,
    /// IP_RECVERR: what is told of errors on the way.
    pub(crate) errors: ErrorQueue,
    /// Groups that it has joined.
    pub(crate) memberships: Memberships,
    /// How it names addresses.
    pub(crate) names: Names,
    /// Its hold on a local port, once bound.
    pub(crate) claim: Option<Claim>,
    /// The local address: unspecified until bound to one or connected.
    pub(crate) local: IpAddr,
    /// The peer, once connected.
    pub(crate) remote: Option<SocketAddr>,
    /// The local address was chosen by `connect`, and goes with it.
    pub(crate) local_by_connect: bool,
    pub(crate) queue: ReceiveQueue,
    pub(crate) read_shut: bool,
    pub(crate) write_shut: bool,
    /// A send found the transmit queue full; room will be signalled.
    pub(crate) blocked: bool,
    /// A datagram that is being put together (UDP_CORK, MSG_MORE).
    pub(crate) corked: Option<Corked>,
    /// It is a flow of an interceptor: its addresses are fixed, and it holds no port.
    pub(crate) flow: Option<FlowInfo>,
}

/// A datagram that is held back. Where it goes is settled by its first piece.
#[derive(Debug)]
pub(crate) struct Corked {
    pub(crate) to: SocketAddr,
    pub(crate) iface: Option<IfaceId>,
    pub(crate) how: SendTo,
    pub(crate) data: Vec<u8>,
}

/// What makes a socket the flow of an interceptor.
#[derive(Clone, Copy, Debug)]
pub(crate) struct FlowInfo {
    /// The port that the peer sent to.
    pub(crate) port: u16,
    pub(crate) interceptor: SocketId,
    /// When a datagram last went either way.
    pub(crate) last_used: Instant,
}

impl UdpSocket {
    /// A new socket.
    pub(crate) fn new(names: Names, options: DatagramOptions) -> Self {
        Self {
            options,
            filter: SocketFilter::default(),
            errors: ErrorQueue::default(),
            memberships: Memberships::default(),
            names,
            claim: None,
            local: names.unspecified(),
            remote: None,
            local_by_connect: false,
            queue: ReceiveQueue::default(),
            read_shut: false,
            write_shut: false,
            blocked: false,
            corked: None,
            flow: None,
        }
    }

    /// The local port, 0 if none.
    pub(crate) fn port(&self) -> u16 {
        let by_flow = self.flow.map_or(0, |flow| flow.port);
        self.claim.map_or(by_flow, |claim| claim.port)
    }

    /// A datagram goes one way or the other.
    pub(crate) fn touch(&mut self, now: Instant) {
        if let Some(flow) = &mut self.flow {
            flow.last_used = now;
        }
    }

    /// How well the socket fits a datagram, the higher the better; `None` if it is not for it.
    pub(crate) fn score(&self, meta: &IpMeta, src_port: u16) -> Option<u32> {
        if !self.names.speaks(meta.dst) || !self.memberships.allow(meta, &self.options) {
            return None;
        }
        // Linux `compute_score`: a socket of the very family is the better one.
        let family_fits = (self.names.family == Family::V4) == meta.dst.is_ipv4();
        let mut score = 1 + u32::from(family_fits);
        if !self.local.is_unspecified() {
            // Also of groups and broadcasts: who is bound to one of our addresses does not hear them.
            if self.local != meta.dst {
                return None;
            }
            score += 4;
        }
        if let Some(remote) = self.remote {
            if remote != SocketAddr::new(meta.src, src_port) {
                return None;
            }
            score += 4;
        }
        if let Some(iface) = self.options.iface {
            if iface != meta.iface {
                return None;
            }
            score += 4;
        }
        Some(score)
    }

    pub(crate) fn readiness(&self) -> Readiness {
        let mut ready = Readiness::empty();
        ready.set(
            Readiness::READABLE,
            !self.queue.is_empty() || self.read_shut,
        );
        ready.set(Readiness::RDHUP, self.read_shut);
        ready.set(Readiness::HUP, self.read_shut && self.write_shut);
        ready.set(Readiness::WRITABLE, !self.blocked);
        if self.queue.has_error() || !self.errors.is_empty() {
            ready |= Readiness::ERROR | Readiness::READABLE;
        }
        ready
    }
}
