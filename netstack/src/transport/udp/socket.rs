//! One UDP socket: options, addresses, receive queue.

use std::net::{IpAddr, SocketAddr};

use crate::network::{IfaceId, IpMeta};
use crate::socket::{Family, Names, Readiness, ReceiveQueue, SocketId};
use crate::time::Instant;
use crate::transport::ports::Claim;

/// Options of a UDP socket. Those about binding are read by `bind`, the others at each use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UdpOptions {
    /// SO_REUSEADDR.
    pub reuse_addr: bool,
    /// SO_REUSEPORT.
    pub reuse_port: bool,
    /// SO_BROADCAST.
    pub broadcast: bool,
    /// SO_BINDTODEVICE.
    pub iface: Option<IfaceId>,
    /// IP_TTL; 0 means the stack's default.
    pub ttl: u8,
    /// IP_MULTICAST_TTL.
    pub multicast_ttl: u8,
    /// IP_TOS.
    pub tos: u8,
    /// IP_MTU_DISCOVER at IP_PMTUDISC_DO: never fragment.
    pub dont_fragment: bool,
    /// IP_RECVERR: ICMP errors reach unconnected sockets too, soft ones as well.
    pub recv_errors: bool,
    /// SO_RCVBUF: bytes that wait to be received, overhead included.
    pub recv_budget: usize,
}

impl UdpOptions {
    pub(crate) fn new(recv_budget: usize) -> Self {
        Self {
            reuse_addr: false,
            reuse_port: false,
            broadcast: false,
            iface: None,
            ttl: 0,
            multicast_ttl: 1,
            tos: 0,
            dont_fragment: false,
            recv_errors: false,
            recv_budget,
        }
    }
}

/// The state of a socket.
#[derive(Debug)]
pub(crate) struct UdpSocket {
    pub(crate) options: UdpOptions,
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
    /// It is a flow of an interceptor: its addresses are fixed, and it holds no port.
    pub(crate) flow: Option<FlowInfo>,
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
    pub(crate) fn new(names: Names, options: UdpOptions) -> Self {
        Self {
            options,
            names,
            claim: None,
            local: names.unspecified(),
            remote: None,
            local_by_connect: false,
            queue: ReceiveQueue::default(),
            read_shut: false,
            write_shut: false,
            blocked: false,
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
        if !self.names.speaks(meta.dst) {
            return None;
        }
        // Linux `compute_score`: a socket of the very family is the better one.
        let family_fits = (self.names.family == Family::V4) == meta.dst.is_ipv4();
        let mut score = 1 + u32::from(family_fits);
        if !self.local.is_unspecified() {
            if self.local != meta.dst && !meta.not_unicast {
                return None;
            }
            // A socket bound to the group or broadcast address itself, or to one of ours.
            if meta.not_unicast && self.local != meta.dst && meta.dst.is_multicast() {
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
        if self.queue.has_error() {
            ready |= Readiness::ERROR | Readiness::READABLE;
        }
        ready
    }
}
