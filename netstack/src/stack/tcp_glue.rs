//! Where TCP meets the rest of the stack: segments, errors, time and room in; packets out.

use std::net::SocketAddr;

use super::Stack;
use super::ingress::Inbound;
use crate::error::SocketError;
use crate::network::icmp_error::IcmpError;
use crate::socket::tcp::ShutdownHow;
use crate::socket::{Readiness, Shutdown, SocketId};
use crate::transport::tcp::{Cx, TcpEngine};

impl Stack {
    /// Runs `each` on the engine with the world as it is now.
    pub(super) fn with_tcp<R>(&mut self, each: impl FnOnce(&mut TcpEngine, &mut Cx<'_>) -> R) -> R {
        let mut cx = Cx {
            now: self.net.now,
            rng: &mut self.rng,
            stats: &mut self.tcp_stats,
            out: &mut self.net,
            events: &mut self.events,
            spares: &mut self.tcp_spares,
            config: &self.tcp_config,
        };
        each(&mut self.tcp, &mut cx)
    }

    /// As [`Stack::with_tcp`] for a call of an application, whose packets to ourselves arrive before
    /// it returns.
    pub(super) fn tcp_call<R>(&mut self, each: impl FnOnce(&mut TcpEngine, &mut Cx<'_>) -> R) -> R {
        let result = self.with_tcp(each);
        self.settle();
        result
    }

    pub(super) fn tcp_in(&mut self, inbound: &Inbound) {
        let segment = inbound.payload();
        self.with_tcp(|tcp, cx| tcp.segment_in(cx, &inbound.meta, segment));
    }

    pub(super) fn tcp_error(&mut self, error: &IcmpError) {
        self.with_tcp(|tcp, cx| tcp.icmp_error(cx, error));
    }

    /// True if the segment that an error quotes is in flight: others are forged (RFC 5927).
    pub(super) fn tcp_owns(&self, error: &IcmpError) -> bool {
        self.tcp.in_flight(error)
    }

    pub(super) fn tcp_timers(&mut self) {
        self.with_tcp(TcpEngine::handle_timeout);
    }

    pub(super) fn tcp_room(&mut self) {
        self.with_tcp(TcpEngine::transmit_room);
    }

    pub(super) fn tcp_close(&mut self, id: SocketId) {
        // Closing what is closed already does nothing.
        let _ = self.with_tcp(|tcp, cx| tcp.close(cx, id));
    }

    pub(super) fn tcp_shutdown(&mut self, id: SocketId, how: Shutdown) -> Result<(), SocketError> {
        let how = match how {
            Shutdown::Read => ShutdownHow::Receive,
            Shutdown::Write => ShutdownHow::Send,
            Shutdown::Both => ShutdownHow::Both,
        };
        self.with_tcp(|tcp, cx| tcp.shutdown(cx, id, how))
    }

    pub(super) fn tcp_readiness(&self, id: SocketId) -> Option<Readiness> {
        // A handle without a socket has no local name.
        self.tcp.local_name(id).ok()?;
        Some(self.tcp.readiness(id))
    }

    pub(super) fn tcp_local_addr(&self, id: SocketId) -> Result<SocketAddr, SocketError> {
        self.tcp.local_name(id)
    }

    pub(super) fn tcp_peer_addr(&self, id: SocketId) -> Result<SocketAddr, SocketError> {
        self.tcp.peer_name(id)
    }

    pub(super) fn tcp_take_error(&mut self, id: SocketId) -> Option<SocketError> {
        self.with_tcp(|tcp, cx| tcp.take_error(cx, id)).ok()?
    }
}
