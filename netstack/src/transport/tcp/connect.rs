//! Opening a connection: where it leads, from which port, and its first SYN.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use super::Cx;
use super::calls::{claim_for, ephemeral};
use super::engine::{Places, TcpEngine};
use super::fast_open::{Begin, Begun};
use super::flow::{Flow, FlowKey};
use super::handshake::{Opening, SynSent};
use super::options::SocketOptions;
use super::slot::{Socket, State};
use super::state::Phase;
use crate::error::SocketError;
use crate::socket::SocketId;
use crate::transport::ports::Claim;

impl TcpEngine {
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

    /// How a handshake that [`TcpEngine::connect`] has begun went, for a caller that has waited: told once.
    ///
    /// # Errors
    /// `InProgress` while it goes on, the error that it failed with; `Aborted` if that has been
    /// collected meanwhile (Linux `__inet_stream_connect`).
    pub fn connect_result(&mut self, id: SocketId) -> Result<(), SocketError> {
        let socket = self.owned(id)?;
        let error = match &mut socket.state {
            State::SynSent(handshake) if handshake.is_deferred() => return Ok(()),
            State::SynSent(_) | State::SynReceived(_) => return Err(SocketError::InProgress),
            State::Connected(connection) if connection.phase != Phase::Closed => None,
            State::Connected(connection) => connection.error.take().or(Some(SocketError::Aborted)),
            State::Idle | State::Listen(_) => socket.error.take().or(Some(SocketError::Aborted)),
        };
        socket.connect_unreported = false;
        error.map_or(Ok(()), Err)
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
                if self.flow(&key).is_some() {
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
        self.flows.insert(&key, Flow::Socket(id.index()));
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
        let places = Places {
            flows: &self.flows,
            sockets: &self.sockets,
            half_open: &self.half_open,
            time_wait: &self.time_wait,
            offers: &self.offers,
        };
        let taken = |port| {
            let key = FlowKey {
                local: SocketAddr::new(local, port),
                remote,
            };
            places.find(&key).is_some()
        };
        let port = self
            .ports
            .connect_any(claim, remote, ephemeral(cx.config), taken)?;
        self.owned(id)?.claim = Some(Claim { port, ..claim });
        Ok(port)
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
