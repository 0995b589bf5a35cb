//! What applications do with sockets: open, bind, listen, connect, accept, shut down, close.

use std::net::SocketAddr;
use std::ops::RangeInclusive;

use super::Cx;
use super::config::TcpConfig;
use super::engine::TcpEngine;
use super::fast_open::setting;
use super::listen::{Listen, bound};
use super::options::SocketOptions;
use super::slot::{Socket, State};
use super::state::{Connection, Phase};
use crate::error::SocketError;
use crate::socket::tcp::ShutdownHow;
use crate::socket::{Family, Names, Readiness, SocketId};
use crate::transport::ports::Claim;

impl TcpEngine {
    /// A new socket of IPv4.
    pub fn socket(&mut self, cx: &mut Cx<'_>) -> SocketId {
        self.socket_of(cx, Family::V4)
    }

    /// A new socket.
    pub fn socket_of(&mut self, cx: &mut Cx<'_>, family: Family) -> SocketId {
        let opts = SocketOptions {
            names: Names::of(family),
            ..SocketOptions::new(cx.config)
        };
        self.sockets.insert(Socket::new(State::Idle, opts))
    }

    /// How the socket names addresses.
    ///
    /// # Errors
    /// `Invalid` if there is no such socket.
    pub fn names(&self, id: SocketId) -> Result<Names, SocketError> {
        Ok(self.held(id)?.options().names)
    }

    /// The same, to change it before the socket has an address.
    ///
    /// # Errors
    /// `Invalid` if there is no such socket, or it is bound.
    pub(crate) fn names_mut(&mut self, id: SocketId) -> Result<&mut Names, SocketError> {
        let socket = self.owned(id)?;
        match (socket.local, &socket.state) {
            (None, State::Idle) => Ok(&mut socket.opts.names),
            _ => Err(SocketError::Invalid),
        }
    }

    /// The socket that an application holds under `id`.
    pub(super) fn owned(&mut self, id: SocketId) -> Result<&mut Socket, SocketError> {
        self.sockets
            .get_mut(id)
            .filter(|socket| socket.owned)
            .ok_or(SocketError::Invalid)
    }

    /// The same, to look at.
    pub(super) fn held(&self, id: SocketId) -> Result<&Socket, SocketError> {
        self.sockets
            .get(id)
            .filter(|socket| socket.owned)
            .ok_or(SocketError::Invalid)
    }

    /// Gives the socket a local address; port 0 chooses one.
    ///
    /// # Errors
    /// `Invalid` if it has one, `AddrInUse`, `AddrNotAvailable` if no interface has the address.
    pub fn bind(
        &mut self,
        cx: &mut Cx<'_>,
        id: SocketId,
        local: SocketAddr,
    ) -> Result<(), SocketError> {
        let socket = self.owned(id)?;
        if socket.local.is_some() || !matches!(socket.state, State::Idle) {
            return Err(SocketError::Invalid);
        }
        let inward = socket.opts.names.inward(local)?;
        let local = inward.addr;
        let any = local.ip().is_unspecified();
        if !any && !socket.opts.names.speaks(local.ip()) {
            return Err(SocketError::Invalid);
        }
        let mut opts = socket.opts;
        opts.ip.iface = inward.link(opts.ip.iface)?;
        if !any {
            // The route lookup knows which addresses are ours; the address reaches itself.
            let found = cx.out.route(local.ip(), Some(local.ip()), opts.ip.iface);
            if found == Err(SocketError::AddrNotAvailable) {
                return Err(SocketError::AddrNotAvailable);
            }
        }
        let claim = claim_for(local, &opts);
        let port = if local.port() == 0 {
            self.ports.bind_any(claim, ephemeral(cx.config), cx.rng)?
        } else {
            self.ports.bind(claim)?;
            local.port()
        };
        let socket = self.owned(id)?;
        socket.opts.ip.iface = opts.ip.iface;
        socket.claim = Some(Claim { port, ..claim });
        socket.local = Some(SocketAddr::new(local.ip(), port));
        Ok(())
    }

    /// Starts to listen, or changes the backlog of a listener.
    ///
    /// # Errors
    /// `Invalid` if the socket is connected or connecting, `AddrInUse` if another listener has the
    /// address (or no port is free).
    pub fn listen(
        &mut self,
        cx: &mut Cx<'_>,
        id: SocketId,
        backlog: i32,
    ) -> Result<(), SocketError> {
        let bound = bound(backlog, cx.config.somaxconn);
        let socket = self.owned(id)?;
        match &mut socket.state {
            State::Listen(listen) => {
                listen.rebound(bound);
                return Ok(());
            }
            State::Idle => {}
            State::Connected(connection) if connection.phase == Phase::Closed => {}
            _ => return Err(SocketError::Invalid),
        }
        if socket.local.is_none() {
            let any = socket.opts.names.unspecified();
            self.bind(cx, id, SocketAddr::new(any, 0))?;
        }
        let socket = self.owned(id)?;
        let (Some(local), Some(claim)) = (socket.local, socket.claim) else {
            return Err(SocketError::Invalid);
        };
        let listening = Claim {
            listening: true,
            by_connect: false,
            reuse_addr: socket.opts.reuse_addr,
            reuse_port: socket.opts.reuse_port,
            ..claim
        };
        self.ports.change(&claim, listening)?;
        let all = setting::SERVER | setting::SERVER_ALL;
        let socket = self.owned(id)?;
        if socket.opts.fast_open_queue == 0 && cx.config.tcp_fastopen & all == all {
            socket.opts.fast_open_queue = bound;
        }
        socket.claim = Some(listening);
        socket.failed = false;
        socket.state = State::Listen(Box::new(Listen::new(local, bound)));
        self.listeners.add(local.port(), id);
        self.report(cx, id);
        Ok(())
    }

    /// Takes the first connection of the accept queue: its handle and the peer's address.
    ///
    /// # Errors
    /// `WouldBlock` if there is none, `Invalid` if the socket does not listen.
    pub fn accept(
        &mut self,
        cx: &mut Cx<'_>,
        id: SocketId,
    ) -> Result<(SocketId, SocketAddr), SocketError> {
        let socket = self.owned(id)?;
        let State::Listen(listen) = &mut socket.state else {
            return Err(SocketError::Invalid);
        };
        let child = listen.accept_queue.pop().ok_or(SocketError::WouldBlock)?;
        self.report(cx, id);
        let Some(socket) = self.sockets.get_mut(child) else {
            return Err(SocketError::WouldBlock);
        };
        socket.owned = true;
        socket.reported = Readiness::empty();
        if let Some(connection) = socket.connection_mut()
            && let Some(opening) = &mut connection.opening
        {
            opening.accepted = true;
        }
        let peer = socket.connection().map(Connection::shown_peer);
        self.report(cx, child);
        peer.map(|peer| (child, peer)).ok_or(SocketError::Aborted)
    }

    /// Shuts one or both directions down.
    ///
    /// # Errors
    /// `NotConnected` if there is no connection (nor listener).
    pub fn shutdown(
        &mut self,
        cx: &mut Cx<'_>,
        id: SocketId,
        how: ShutdownHow,
    ) -> Result<(), SocketError> {
        let socket = self.owned(id)?;
        match &mut socket.state {
            State::Idle => return Err(SocketError::NotConnected),
            State::Listen(_) => {
                if how.receive() {
                    self.stop_listening(cx, id);
                }
            }
            State::SynSent(_) | State::SynReceived(_) => self.abandon_handshake(cx, id),
            State::Connected(connection) => {
                if connection.phase == Phase::Closed {
                    return Err(SocketError::NotConnected);
                }
                if how.receive() {
                    connection.shutdown_receive();
                }
                if how.send() {
                    connection.shutdown_send(cx);
                }
            }
        }
        self.settle(cx, id);
        Ok(())
    }

    /// Back from LISTEN to CLOSED; the port is kept.
    fn stop_listening(&mut self, cx: &mut Cx<'_>, id: SocketId) {
        let Some(socket) = self.sockets.get_mut(id) else {
            return;
        };
        let State::Listen(listen) = &socket.state else {
            return;
        };
        let port = listen.local.port();
        self.dissolve_listener(cx, id);
        self.listeners.remove(port, id);
        let Some(socket) = self.sockets.get_mut(id) else {
            return;
        };
        socket.state = State::Idle;
        socket.failed = true;
        if let Some(claim) = &mut socket.claim {
            let quiet = Claim {
                listening: false,
                ..*claim
            };
            self.ports.release(claim);
            self.ports.share(quiet);
            *claim = quiet;
        }
    }

    fn abandon_handshake(&mut self, cx: &mut Cx<'_>, id: SocketId) {
        let Some(socket) = self.sockets.get_mut(id) else {
            return;
        };
        let key = match &socket.state {
            State::SynSent(handshake) => handshake.key(),
            State::SynReceived(handshake) => handshake.key(),
            _ => return,
        };
        self.after_step(cx, id, key, SocketError::Reset.into());
        if let Some(socket) = self.sockets.get_mut(id) {
            socket.connect_unreported = false;
        }
    }

    /// The application lets go of the socket. A connection with nothing unread closes in the
    /// background.
    ///
    /// # Errors
    /// `Invalid` if there is no such socket.
    pub fn close(&mut self, cx: &mut Cx<'_>, id: SocketId) -> Result<(), SocketError> {
        let socket = self.owned(id)?;
        socket.owned = false;
        match &mut socket.state {
            State::Connected(connection) => {
                let over = connection.phase == Phase::Closed;
                connection.close(cx);
                if over {
                    self.remove_socket(id);
                } else {
                    self.settle(cx, id);
                }
            }
            State::Listen(_) => {
                self.stop_listening(cx, id);
                self.remove_socket(id);
            }
            State::SynSent(_) | State::SynReceived(_) => {
                self.abandon_handshake(cx, id);
                self.remove_socket(id);
            }
            State::Idle => self.remove_socket(id),
        }
        Ok(())
    }

    /// Resets the connection and lets go of the socket.
    ///
    /// # Errors
    /// `Invalid` if there is no such socket.
    pub fn abort(&mut self, cx: &mut Cx<'_>, id: SocketId) -> Result<(), SocketError> {
        if let Some(connection) = self.owned(id)?.connection_mut() {
            connection.abort(cx);
        }
        self.settle(cx, id);
        self.close(cx, id)
    }

    /// The address that the socket is bound to; unspecified with port 0 if it is not.
    ///
    /// # Errors
    /// `Invalid` if there is no such socket.
    pub fn local_name(&self, id: SocketId) -> Result<SocketAddr, SocketError> {
        let socket = self.held(id)?;
        let opts = socket.options();
        let local = socket.local;
        let local = local.unwrap_or(SocketAddr::new(opts.names.unspecified(), 0));
        Ok(opts.names.outward(local, opts.ip.iface))
    }

    /// The peer's address.
    ///
    /// # Errors
    /// `NotConnected` before the handshake is complete and after the connection is over.
    pub fn peer_name(&self, id: SocketId) -> Result<SocketAddr, SocketError> {
        let socket = self.held(id)?;
        let connection = socket
            .connection()
            .filter(|connection| connection.phase != Phase::Closed);
        connection
            .map(Connection::shown_peer)
            .ok_or(SocketError::NotConnected)
    }

    /// What the socket is ready for; empty if there is none.
    pub fn readiness(&self, id: SocketId) -> Readiness {
        self.held(id).map_or(Readiness::empty(), Socket::readiness)
    }

    /// Collects the pending error (SO_ERROR).
    ///
    /// # Errors
    /// `Invalid` if there is no such socket.
    pub fn take_error(
        &mut self,
        cx: &mut Cx<'_>,
        id: SocketId,
    ) -> Result<Option<SocketError>, SocketError> {
        let socket = self.owned(id)?;
        let pending = socket.error.take();
        let error = pending.or_else(|| {
            socket
                .connection_mut()
                .and_then(|connection| connection.error.take())
        });
        self.report(cx, id);
        Ok(error)
    }
}

pub(super) fn claim_for(local: SocketAddr, opts: &SocketOptions) -> Claim {
    Claim {
        port: local.port(),
        addr: opts.names.claimed(local.ip()),
        iface: opts.ip.iface,
        reuse_addr: opts.reuse_addr,
        reuse_port: opts.reuse_port,
        listening: false,
        by_connect: false,
    }
}

pub(super) fn ephemeral(config: &TcpConfig) -> RangeInclusive<u16> {
    let [first, last] = config.ip_local_port_range;
    first.min(65_535) as u16..=last.min(65_535) as u16
}

impl Connection {
    /// The peer's address as the application sees it.
    fn shown_peer(&self) -> SocketAddr {
        let names = self.opts.names;
        names.outward(self.key.remote, self.opts.ip.iface)
    }
}
