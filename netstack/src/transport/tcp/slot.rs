//! One socket in the engine's table: what it is at the moment.

use std::net::SocketAddr;

use super::fast_open::FastOpenKeys;
use super::flow::FlowKey;
use super::handshake::{SynReceived, SynSent};
use super::listen::Listen;
use super::options::SocketOptions;
use super::state::{Connection, Phase};
use crate::error::SocketError;
use crate::socket::{ErrorQueue, Readiness};
use crate::transport::ports::Claim;

/// What a socket is.
#[derive(Debug)]
pub(super) enum State {
    /// Neither listening nor connected.
    Idle,
    /// Waiting for connections.
    Listen(Box<Listen>),
    /// Our SYN is out.
    SynSent(Box<SynSent>),
    /// Both SYNs are out (simultaneous open).
    SynReceived(Box<SynReceived>),
    /// The handshake is complete; later also: over, with data left to read.
    Connected(Box<Connection>),
}

/// A socket.
#[derive(Debug)]
pub(super) struct Socket {
    pub(super) state: State,
    /// Options; those of a connection live in the connection.
    pub(super) opts: SocketOptions,
    /// What it holds in the port table.
    pub(super) claim: Option<Claim>,
    /// Address given by `bind` or chosen since.
    pub(super) local: Option<SocketAddr>,
    /// An application holds it (else: in an accept queue, or closing by itself).
    pub(super) owned: bool,
    /// Error of a failed attempt, not yet collected.
    pub(super) error: Option<SocketError>,
    /// The application has not yet been told how its connect ended.
    pub(super) connect_unreported: bool,
    /// An attempt has ended badly: poll says so for good.
    pub(super) failed: bool,
    /// TCP_FASTOPEN_KEY, if it was set.
    pub(super) fast_open_keys: Option<Box<FastOpenKeys>>,
    /// What it learns beside its data.
    pub(super) reports: Option<Box<ErrorQueue>>,
    /// Listed among those that wait for room in the transmit queue.
    pub(super) waits_for_room: bool,
    /// Readiness as last reported.
    pub(super) reported: Readiness,
    /// Bytes received when it was last reported.
    pub(super) reported_bytes: u64,
}

impl Socket {
    pub(super) fn new(state: State, opts: SocketOptions) -> Self {
        Self {
            state,
            opts,
            claim: None,
            local: None,
            owned: true,
            error: None,
            connect_unreported: false,
            failed: false,
            fast_open_keys: None,
            reports: None,
            waits_for_room: false,
            reported: Readiness::empty(),
            reported_bytes: 0,
        }
    }

    /// Both ends of what it is connected, or connecting, to.
    pub(super) fn key(&self) -> Option<&FlowKey> {
        match &self.state {
            State::Connected(connection) => Some(&connection.key),
            State::SynSent(handshake) => Some(handshake.key_ref()),
            State::SynReceived(handshake) => Some(handshake.key_ref()),
            State::Idle | State::Listen(_) => None,
        }
    }

    pub(super) fn connection(&self) -> Option<&Connection> {
        match &self.state {
            State::Connected(connection) => Some(connection),
            _ => None,
        }
    }

    pub(super) fn connection_mut(&mut self) -> Option<&mut Connection> {
        match &mut self.state {
            State::Connected(connection) => Some(connection),
            _ => None,
        }
    }

    /// The options in force.
    pub(super) fn options(&self) -> &SocketOptions {
        match &self.state {
            State::Connected(connection) => &connection.opts,
            _ => &self.opts,
        }
    }

    pub(super) fn options_mut(&mut self) -> &mut SocketOptions {
        match &mut self.state {
            State::Connected(connection) => &mut connection.opts,
            _ => &mut self.opts,
        }
    }

    /// Readiness with the meaning of poll(2) (Linux `tcp_poll`).
    pub(super) fn readiness(&self) -> Readiness {
        let mut ready = match &self.state {
            State::Idle if self.failed => {
                Readiness::READABLE | Readiness::WRITABLE | Readiness::HUP | Readiness::RDHUP
            }
            State::Idle => Readiness::WRITABLE | Readiness::HUP,
            State::Listen(listen) if listen.accept_queue.is_empty() => Readiness::empty(),
            State::Listen(_) => Readiness::READABLE,
            // The first write is what it waits for.
            State::SynSent(handshake) if handshake.is_deferred() => Readiness::WRITABLE,
            State::SynSent(_) | State::SynReceived(_) => Readiness::empty(),
            State::Connected(connection) => connection.readiness(),
        };
        let failed = self
            .connection()
            .map_or(self.error, |connection| connection.error);
        let told = self
            .reports
            .as_ref()
            .is_some_and(|reports| !reports.is_empty());
        ready.set(Readiness::ERROR, failed.is_some() || told);
        ready
    }
}

impl Connection {
    fn readiness(&self) -> Readiness {
        let mut ready = Readiness::empty();
        let closed = self.phase == Phase::Closed;
        let no_more_in = self.rcv.fin || self.rcv.shutdown || closed;
        let no_more_out = !self.phase.may_send();
        // An urgent byte beside the stream is none of what a reader wants.
        let least = self.opts.rcvlowat.max(1) as usize + self.ahead_of_reader().skip;
        let enough = self.rcv.queue.readable() >= least;
        ready.set(Readiness::READABLE, enough || no_more_in);
        ready.set(Readiness::PRIORITY, self.rcv.urgent.is_here());
        ready.set(Readiness::RDHUP, no_more_in);
        ready.set(Readiness::HUP, closed || (no_more_in && no_more_out));
        ready.set(Readiness::WRITABLE, no_more_out || self.is_writable());
        ready
    }

    /// Room for at least half of what is queued (Linux `sk_stream_is_writable`).
    pub(super) fn is_writable(&self) -> bool {
        let unsent = (self.snd.queue.end() - self.snd.nxt) as usize;
        let low = match self.opts.notsent_lowat {
            0 => self.snd.notsent_low as usize,
            bytes => bytes as usize,
        };
        // A writer is woken when half of it has left (Linux `tcp_stream_memory_free`).
        let few = low == u32::MAX as usize || 2 * unsent < low;
        self.snd.room() > 0 && self.snd.room() >= self.snd.queue.len() / 2 && few
    }
}
