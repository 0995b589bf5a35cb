//! Where TCP meets the rest of the stack.

use super::Stack;
use super::ingress::Inbound;
use crate::error::SocketError;
use crate::network::icmp_error::IcmpError;
use crate::socket::{Readiness, Shutdown, SocketId};
use std::net::SocketAddr;

impl Stack {
    pub(super) fn tcp_in(&mut self, _inbound: &Inbound) {
        self.net.stats.ip_in_unknown_protos += 1;
    }

    pub(super) fn tcp_error(&mut self, _error: &IcmpError) {}
}

impl Stack {
    pub(super) fn tcp_readiness(&self, _id: SocketId) -> Option<Readiness> {
        None
    }

    pub(super) fn tcp_close(&mut self, _id: SocketId) {}

    pub(super) fn tcp_shutdown(
        &mut self,
        _id: SocketId,
        _how: Shutdown,
    ) -> Result<(), SocketError> {
        Err(SocketError::Invalid)
    }

    pub(super) fn tcp_local_addr(&self, _id: SocketId) -> Result<SocketAddr, SocketError> {
        Err(SocketError::Invalid)
    }

    pub(super) fn tcp_peer_addr(&self, _id: SocketId) -> Result<SocketAddr, SocketError> {
        Err(SocketError::Invalid)
    }

    pub(super) fn tcp_take_error(&mut self, _id: SocketId) -> Option<SocketError> {
        None
    }
}
