//! What applications do with sockets: open, bind, listen, connect, accept, shut down, close.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::ops::RangeInclusive;

use super::Cx;
use super::config::TcpConfig;
use super::engine::TcpEngine;
use super::fast_open::{Begin, Begun, setting};
use super::flow::{Flow, FlowKey};
use super::handshake::{Opening, SynSent};
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

    /// Begins to connect.
    ///
    /// # Errors
    /// `InProgress` when the SYN has been sent (the normal case), `Already` while it goes on,
    /// `IsConnected` after it has succeeded and been reported, the error that it failed with, once;
    /// `AddrNotAvailable` if no port is left, `NetUnreachable`.
    pub fn connect(
        &mut self,
        cx: &mut Cx<'_>,
        id: SocketId,
        remote: SocketAddr,
    ) -> Result<(), SocketError> {
        let socket = self.owned(id)?;
        match &socket.state {
            // `connect` has said that it is done, and waits for data.
            State::SynSent(handshake) if handshake.is_deferred() => {
                return Err(SocketError::IsConnected);
            }
            State::SynSent(_) | State::SynReceived(_) => return Err(SocketError::Already),
            State::Listen(_) => return Err(SocketError::IsConnected),
            State::Connected(connection) => {
                if connection.phase == Phase::Closed {
                    return Err(connection.error.unwrap_or(SocketError::IsConnected));
                }
                let first = core::mem::take(&mut socket.connect_unreported);
                return if first {
                    Ok(())
                } else {
                    Err(SocketError::IsConnected)
                };
            }
            State::Idle => {}
        }
        if core::mem::take(&mut socket.connect_unreported) {
            return Err(socket.error.take().unwrap_or(SocketError::Aborted));
        }
        let how = match socket.opts.fast_open_connect {
            true => Begin::FastIfKnown,
            false => Begin::Plain,
        };
        let begun = self.start_connect(cx, id, remote, how)?;
        if begun.deferred {
            Ok(())
        } else {
            Err(SocketError::InProgress)
        }
    }

    /// Sends the first SYN (or, with TCP_FASTOPEN_CONNECT, waits for what is to go with it).
    ///
    /// # Errors
    /// Nothing was sent, and the socket is as before.
    pub(super) fn start_connect(
        &mut self,
        cx: &mut Cx<'_>,
        id: SocketId,
        remote: SocketAddr,
        how: Begin<'_>,
    ) -> Result<Begun, SocketError> {
        let socket = self.owned(id)?;
        let remote = destination(socket, remote)?;
        let opts = socket.opts;
        let chosen = socket
            .local
            .map(|local| local.ip())
            .filter(|ip| !ip.is_unspecified());
        let route = cx.out.route(remote.ip(), chosen, opts.ip.iface)?;
        let bound_port = socket.local.map(|local| local.port());
        let local_ip = chosen.unwrap_or(route.src);
        let port = match bound_port {
            Some(port) => {
                let key = FlowKey {
                    local: SocketAddr::new(local_ip, port),
                    remote,
                };
                if self.flows.get(&key).is_some() {
                    return Err(SocketError::AddrNotAvailable);
                }
                port
            }
            None => self.choose_port(cx, id, local_ip, remote, &opts)?,
        };
        let key = FlowKey {
            local: SocketAddr::new(local_ip, port),
            remote,
        };
        let Some(path_mss) = super::listen::path_mss(cx, &key, &opts) else {
            return Err(SocketError::NetUnreachable);
        };
        let iss = self.secrets.isn(&key, cx.now);
        let offset = self
            .secrets
            .timestamp_offset(&key, cx.config.tcp_timestamps);
        let opening = Opening::new(cx, &opts, key, iss, path_mss, offset);
        self.flows.insert(key, Flow::Socket(id));
        let attempt = self.plan_attempt(cx, &opts, &opening, how);
        let begun = attempt.begun();
        let handshake = SynSent::start(cx, &opts, opening, attempt);
        let socket = self.owned(id)?;
        socket.local = Some(key.local);
        socket.failed = false;
        socket.error = None;
        socket.connect_unreported = !begun.deferred;
        socket.state = State::SynSent(Box::new(handshake));
        self.settle(cx, id);
        Ok(begun)
    }

    fn choose_port(
        &mut self,
        cx: &Cx<'_>,
        id: SocketId,
        local: IpAddr,
        remote: SocketAddr,
        opts: &SocketOptions,
    ) -> Result<u16, SocketError> {
        let claim = Claim {
            by_connect: true,
            ..claim_for(SocketAddr::new(local, 0), opts)
        };
        let flows = &self.flows;
        let taken = |port| {
            flows
                .get(&FlowKey {
                    local: SocketAddr::new(local, port),
                    remote,
                })
                .is_some()
        };
        let port = self
            .ports
            .connect_any(claim, remote, ephemeral(cx.config), taken)?;
        self.owned(id)?.claim = Some(Claim { port, ..claim });
        Ok(port)
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

fn claim_for(local: SocketAddr, opts: &SocketOptions) -> Claim {
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

fn ephemeral(config: &TcpConfig) -> RangeInclusive<u16> {
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

/// Where a connection to `remote` goes, on the link that the address may name.
fn destination(socket: &mut Socket, remote: SocketAddr) -> Result<SocketAddr, SocketError> {
    let inward = socket.opts.names.inward(remote)?;
    let local = socket.local.map(|local| local.ip());
    let remote = reachable(inward.addr, local);
    let other_family =
        local.is_some_and(|local| !local.is_unspecified() && local.is_ipv4() != remote.is_ipv4());
    let group_of_v6 = remote.is_ipv6() && remote.ip().is_multicast();
    if other_family || group_of_v6 || !socket.opts.names.speaks(remote.ip()) {
        return Err(SocketError::NetUnreachable);
    }
    socket.opts.ip.iface = inward.link(socket.opts.ip.iface)?;
    match remote.port() {
        0 => Err(SocketError::Refused),
        _ => Ok(remote),
    }
}

/// Linux connects to itself when the address is unspecified: in the family that the socket is bound in.
fn reachable(remote: SocketAddr, local: Option<IpAddr>) -> SocketAddr {
    let v4 = remote.is_ipv4() || local.is_some_and(|local| local.is_ipv4());
    match remote.ip() {
        addr if addr.is_unspecified() && v4 => {
            SocketAddr::new(Ipv4Addr::LOCALHOST.into(), remote.port())
        }
        IpAddr::V6(addr) if addr.is_unspecified() => {
            SocketAddr::new(Ipv6Addr::LOCALHOST.into(), remote.port())
        }
        _ => remote,
    }
}
