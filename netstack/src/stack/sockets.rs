//! Socket calls that every kind has.

use std::net::SocketAddr;

use super::Stack;
use crate::error::SocketError;
use crate::socket::{
    ErrorReport, Family, Names, RawKind, Readiness, Shutdown, SocketId, SocketKind,
};

impl Stack {
    /// What the socket is ready for now; `None` if it is closed.
    pub fn readiness(&self, id: SocketId) -> Option<Readiness> {
        match id.kind() {
            SocketKind::Udp => Some(self.udp.sockets.get(id)?.readiness()),
            SocketKind::Raw => Some(self.raw.get(id)?.readiness()),
            SocketKind::Tcp => self.tcp_readiness(id),
            SocketKind::Intercept => self.intercept_readiness(id),
            SocketKind::Packet => Some(self.packets.get(id)?.readiness()),
        }
    }

    /// Calls `each` for every socket whose readiness may have changed since the last call, once each,
    /// with what it is ready for now. The driver wakes who waits for it.
    pub fn drain_events(&mut self, mut each: impl FnMut(SocketId, Readiness)) {
        while let Some(id) = self.events.pop() {
            if let Some(mut ready) = self.readiness(id) {
                let news = id.kind() == SocketKind::Tcp && self.tcp.take_urgent_news(id);
                ready.set(Readiness::URGENT_NEWS, news);
                each(id, ready);
            }
        }
    }

    /// True if [`Stack::drain_events`] has something to report.
    pub fn has_events(&self) -> bool {
        !self.events.is_empty()
    }

    /// Closes a socket; its handle is dead. Closing twice does nothing.
    pub fn close(&mut self, id: SocketId) {
        match id.kind() {
            SocketKind::Udp => {
                if let Some(socket) = self.udp.remove(id) {
                    self.leave_all(socket.memberships);
                    if let Some(flow) = socket.flow {
                        self.flow_closed(id, flow);
                    }
                }
            }
            SocketKind::Raw => {
                if let Some(socket) = self.raw.remove(id) {
                    self.leave_all(socket.memberships);
                }
            }
            SocketKind::Tcp => self.tcp_close(id),
            SocketKind::Intercept => self.intercept_close(id),
            SocketKind::Packet => {
                self.packets.remove(id);
            }
        }
        self.settle();
    }

    /// Ends one or both directions.
    ///
    /// # Errors
    /// `NotConnected`, `NotSupported` for raw sockets, `Invalid` if the socket is closed.
    pub fn shutdown(&mut self, id: SocketId, how: Shutdown) -> Result<(), SocketError> {
        let done = match id.kind() {
            SocketKind::Udp => self.udp_shutdown(id, how),
            SocketKind::Raw | SocketKind::Intercept | SocketKind::Packet => {
                Err(SocketError::NotSupported)
            }
            SocketKind::Tcp => self.tcp_shutdown(id, how),
        };
        self.settle();
        done
    }

    /// The local address (getsockname).
    ///
    /// # Errors
    /// `Invalid` if the socket is closed.
    pub fn local_addr(&self, id: SocketId) -> Result<SocketAddr, SocketError> {
        match id.kind() {
            SocketKind::Udp => self.udp_local_addr(id),
            SocketKind::Raw => {
                let socket = self.raw.get(id).ok_or(SocketError::Invalid)?;
                let number = match socket.kind {
                    RawKind::Ip(proto) => proto.into(),
                    RawKind::Echo => 0,
                };
                let local = SocketAddr::new(socket.local, socket.ident.unwrap_or(number));
                Ok(socket.names.outward(local, socket.options.iface))
            }
            SocketKind::Tcp => self.tcp_local_addr(id),
            SocketKind::Intercept | SocketKind::Packet => Err(SocketError::NotSupported),
        }
    }

    /// The peer's address (getpeername).
    ///
    /// # Errors
    /// `NotConnected`, `Invalid` if the socket is closed.
    pub fn peer_addr(&self, id: SocketId) -> Result<SocketAddr, SocketError> {
        match id.kind() {
            SocketKind::Udp => self.udp_peer_addr(id),
            SocketKind::Raw => {
                let socket = self.raw.get(id).ok_or(SocketError::Invalid)?;
                let port = Some(socket.remote_port).filter(|port| *port != 0);
                // Linux `inet_getname`: a peer without a port is none.
                let (remote, port) = socket.remote.zip(port).ok_or(SocketError::NotConnected)?;
                let remote = SocketAddr::new(remote, port);
                Ok(socket.names.outward(remote, socket.options.iface))
            }
            SocketKind::Tcp => self.tcp_peer_addr(id),
            SocketKind::Intercept | SocketKind::Packet => Err(SocketError::NotConnected),
        }
    }

    /// Sets IPV6_V6ONLY of a socket of IPv6.
    ///
    /// # Errors
    /// `Invalid` if the socket is bound; `NoProtocol` if it is one of IPv4.
    pub fn set_v6only(&mut self, id: SocketId, v6only: bool) -> Result<(), SocketError> {
        let names = match id.kind() {
            SocketKind::Udp => {
                let socket = self.udp.get_mut(id)?;
                if socket.claim.is_some() {
                    return Err(SocketError::Invalid);
                }
                &mut socket.names
            }
            SocketKind::Raw => &mut self.raw.get_mut(id).ok_or(SocketError::Invalid)?.names,
            SocketKind::Tcp => self.tcp.names_mut(id)?,
            SocketKind::Intercept | SocketKind::Packet => return Err(SocketError::Invalid),
        };
        if names.family == Family::V4 {
            return Err(SocketError::NoProtocol);
        }
        names.v6only = v6only;
        Ok(())
    }

    /// The family of a socket, and IPV6_V6ONLY.
    ///
    /// # Errors
    /// `Invalid` if there is no such socket.
    pub fn names(&self, id: SocketId) -> Result<Names, SocketError> {
        match id.kind() {
            SocketKind::Udp => Ok(self.udp.get(id)?.names),
            SocketKind::Raw => Ok(self.raw.get(id).ok_or(SocketError::Invalid)?.names),
            SocketKind::Tcp => self.tcp.names(id),
            SocketKind::Intercept | SocketKind::Packet => Err(SocketError::Invalid),
        }
    }

    /// Takes the oldest report beside the data (MSG_ERRQUEUE).
    pub fn take_report(&mut self, id: SocketId) -> Option<ErrorReport> {
        match id.kind() {
            SocketKind::Tcp => self.with_tcp(|tcp, cx| tcp.take_report(cx, id)),
            SocketKind::Udp | SocketKind::Raw => self.datagram_report(id).ok(),
            SocketKind::Intercept | SocketKind::Packet => None,
        }
    }

    /// Takes the pending error (SO_ERROR).
    pub fn take_error(&mut self, id: SocketId) -> Option<SocketError> {
        match id.kind() {
            SocketKind::Udp => self.udp.sockets.get_mut(id)?.queue.take_error(),
            SocketKind::Raw => self.raw.get_mut(id)?.queue.take_error(),
            SocketKind::Tcp => self.tcp_take_error(id),
            SocketKind::Intercept | SocketKind::Packet => None,
        }
    }
}
