//! The engine: the tables, the one lookup per segment, and what follows each event.

use std::collections::VecDeque;

use super::Cx;
use super::cookies::Cookies;
use super::fast_open::{FastOpenKeys, Pause, suggests_black_hole};
use super::flow::{Flow, FlowKey, FlowTable};
use super::intercept::Offers;
use super::isn::Secrets;
use super::listen::{HalfOpenTable, Listeners};
use super::peers::Peers;
use super::segment::{IpOptions, Segment, send_reset};
use super::slot::{Socket, State};
use super::state::Phase;
use super::stats::TcpStats;
use super::time_wait::{TimeWait, TimeWaitTable};
use super::timer_heap::TimerHeap;
use crate::buf::Bytes;
use crate::error::SocketError;
use crate::network::IpMeta;
use crate::rng::Rng;
use crate::socket::{ErrorReport, SocketId, SocketKind, SocketTable};
use crate::time::Instant;
use crate::transport::ports::Ports;
use crate::wire::WireError;

use super::handshake::Step;

/// All TCP state of a stack.
#[derive(Debug)]
pub struct TcpEngine {
    pub(super) sockets: SocketTable<Socket>,
    pub(super) flows: FlowTable,
    pub(super) ports: Ports,
    pub(super) listeners: Listeners,
    pub(super) half_open: HalfOpenTable,
    pub(super) time_wait: TimeWaitTable,
    /// Deadlines of the sockets, by slot.
    pub(super) timers: TimerHeap,
    pub(super) secrets: Secrets,
    pub(super) cookies: Cookies,
    pub(super) peers: Peers,
    /// Our own keys of Fast Open cookies; the setting comes before them.
    pub(super) fast_open_keys: FastOpenKeys,
    /// Clients stay away from Fast Open for a while.
    pub(super) fast_open_pause: Pause,
    pub(super) offers: Offers,
    /// Sockets that met a full transmit queue, in that order.
    waiting: VecDeque<SocketId>,
}

/// Where flows lead to.
pub(super) struct Places<'a> {
    pub(super) flows: &'a FlowTable,
    pub(super) sockets: &'a SocketTable<Socket>,
    pub(super) half_open: &'a HalfOpenTable,
    pub(super) time_wait: &'a TimeWaitTable,
    pub(super) offers: &'a Offers,
}

impl Places<'_> {
    /// What lives at `key`.
    pub(super) fn find(&self, key: &FlowKey) -> Option<Flow> {
        self.flows.find(key, |flow| match flow {
            Flow::Socket(slot) => self.sockets.in_slot(slot).and_then(Socket::key) == Some(key),
            Flow::HalfOpen(index) => self.half_open.key(index) == Some(key),
            Flow::TimeWait(index) => self.time_wait.has_key(index, key),
            Flow::Offer(index) => self.offers.key(index) == Some(key),
        })
    }
}

impl TcpEngine {
    /// An engine without sockets, with secrets of its own.
    pub fn new(rng: &mut Rng) -> Self {
        Self {
            sockets: SocketTable::new(SocketKind::Tcp),
            flows: FlowTable::new(rng),
            ports: Ports::new(rng),
            listeners: Listeners::default(),
            half_open: HalfOpenTable::default(),
            time_wait: TimeWaitTable::default(),
            timers: TimerHeap::default(),
            secrets: Secrets::new(rng),
            cookies: Cookies::new(rng),
            peers: Peers::new(rng),
            fast_open_keys: FastOpenKeys::random(rng),
            fast_open_pause: Pause::default(),
            offers: Offers::default(),
            waiting: VecDeque::new(),
        }
    }

    /// Takes a received segment (`segment`: from the TCP header to the end of the payload).
    pub fn segment_in(&mut self, cx: &mut Cx<'_>, meta: &IpMeta, segment: Bytes) {
        cx.stats.in_segs += 1;
        if meta.not_unicast {
            cx.stats.in_not_unicast += 1;
            return;
        }
        let (segment, key) = match Segment::parse(meta, &segment) {
            Ok(parsed) => parsed,
            Err(error) => return count_error(cx.stats, error),
        };
        cx.stats.in_option_errors += u64::from(segment.options.malformed);
        cx.stats.in_segs += u64::from(segment.merged - 1);
        match self.flow(&key) {
            Some(Flow::Socket(slot)) => {
                if let Some(id) = self.sockets.at(slot) {
                    self.socket_segment(cx, id, segment);
                }
            }
            Some(Flow::HalfOpen(index)) => self.half_open_segment(cx, index, meta, segment),
            Some(Flow::TimeWait(index)) => self.time_wait_segment(cx, index, meta, segment),
            Some(Flow::Offer(index)) => self.offered_segment(index, segment),
            None => self.listener_segment(cx, &key, meta, segment, None),
        }
    }

    /// What lives at `key`.
    pub(super) fn flow(&self, key: &FlowKey) -> Option<Flow> {
        let places = Places {
            flows: &self.flows,
            sockets: &self.sockets,
            half_open: &self.half_open,
            time_wait: &self.time_wait,
            offers: &self.offers,
        };
        places.find(key)
    }

    fn socket_segment(&mut self, cx: &mut Cx<'_>, id: SocketId, segment: Segment) {
        let Some(socket) = self.sockets.get_mut(id) else {
            return;
        };
        match core::mem::replace(&mut socket.state, State::Idle) {
            State::Connected(mut connection) => {
                if !segment.payload.is_empty() {
                    connection.equip_receiver(cx.spares);
                }
                connection.segment_in(cx, segment);
                socket.state = State::Connected(connection);
            }
            State::SynSent(handshake) => {
                let key = handshake.key();
                let step = handshake.segment_in(cx, &socket.opts, segment);
                self.after_step(cx, id, key, step);
            }
            State::SynReceived(handshake) => {
                let key = handshake.key();
                let step = handshake.segment_in(cx, &socket.opts, segment);
                self.after_step(cx, id, key, step);
            }
            other => socket.state = other,
        }
        self.settle(cx, id);
    }

    /// Puts the outcome of a step of our own handshake in its place.
    pub(super) fn after_step(&mut self, cx: &mut Cx<'_>, id: SocketId, key: FlowKey, step: Step) {
        let Some(socket) = self.sockets.get_mut(id) else {
            return;
        };
        match step {
            Step::Sent(state) => socket.state = State::SynSent(state),
            Step::Received(state) => socket.state = State::SynReceived(state),
            Step::Established(connection, reply) => {
                socket.state = State::Connected(connection);
                self.learn_fast_open(cx, &key, reply);
            }
            Step::Failed(error) => {
                cx.stats.attempt_fails += 1;
                socket.state = State::Idle;
                socket.error = Some(error);
                socket.failed = true;
                self.flows.remove(&key, Flow::Socket(id.index()));
                self.release_if_chosen(id);
                self.timers.remove(id.index());
            }
        }
    }

    /// After anything has happened to a socket: moves it on if its connection is over, sets its
    /// timer, and reports its readiness.
    pub(super) fn settle(&mut self, cx: &mut Cx<'_>, id: SocketId) {
        self.settle_fast_open(cx, id);
        self.settle_receipts(cx, id);
        let Some(socket) = self.sockets.get_mut(id) else {
            return;
        };
        let deadline = match &mut socket.state {
            State::Connected(connection) => {
                connection.rest(cx.spares);
                if core::mem::take(&mut connection.in_order) && cx.config.tcp_no_metrics_save == 0 {
                    let timely = connection.rtt.has_sample() && connection.rtt.backoff == 0;
                    self.peers.note_end(&connection.key, timely, cx.now);
                }
                if connection.phase == Phase::TimeWait || connection.phase == Phase::Closed {
                    self.retire(cx, id);
                    return;
                }
                if connection.blocked && !socket.waits_for_room {
                    socket.waits_for_room = true;
                    self.waiting.push_back(id);
                }
                connection.timers.earliest()
            }
            State::SynSent(handshake) => Some(handshake.deadline()),
            State::SynReceived(handshake) => Some(handshake.deadline()),
            State::Idle | State::Listen(_) => None,
        };
        self.timers.set(id.index(), deadline);
        self.report(cx, id);
    }

    /// Moves receipts that are due to the socket's queue.
    fn settle_receipts(&mut self, cx: &mut Cx<'_>, id: SocketId) {
        let Some(socket) = self.sockets.get_mut(id) else {
            return;
        };
        let State::Connected(connection) = &mut socket.state else {
            return;
        };
        if connection.phase == Phase::Closed {
            connection.receipts_on_end(cx.now);
        }
        let budget = connection.rcv.window.buffer as usize;
        let Some(receipts) = connection.receipts.as_mut().filter(|r| r.is_due()) else {
            return;
        };
        receipts.deliver(socket.reports.get_or_insert_default(), budget);
        if socket.owned {
            cx.events.mark(id);
        }
    }

    /// The oldest report of the socket (MSG_ERRQUEUE).
    pub(crate) fn take_report(&mut self, cx: &mut Cx<'_>, id: SocketId) -> Option<ErrorReport> {
        let socket = self.owned(id).ok()?;
        let (report, pending) = socket.reports.as_mut()?.pop()?;
        match &mut socket.state {
            State::Connected(connection) => pending.apply(&mut connection.error),
            _ => pending.apply(&mut socket.error),
        }
        self.report(cx, id);
        Some(report)
    }

    /// Marks a change of readiness, or that more has arrived.
    pub(super) fn report(&mut self, cx: &mut Cx<'_>, id: SocketId) {
        let Some(socket) = self.sockets.get_mut(id) else {
            return;
        };
        let ready = socket.readiness();
        let bytes = socket
            .connection()
            .map_or(0, |connection| connection.counters.bytes_received);
        let news = socket
            .connection()
            .is_some_and(|connection| connection.rcv.urgent.has_news());
        if ready != socket.reported || bytes != socket.reported_bytes || news {
            socket.reported = ready;
            socket.reported_bytes = bytes;
            if socket.owned {
                cx.events.mark(id);
            }
        }
    }

    /// The connection is over: its flow becomes a TIME-WAIT record or goes; the socket stays as
    /// long as an application may still read from it.
    fn retire(&mut self, cx: &mut Cx<'_>, id: SocketId) {
        let Some(socket) = self.sockets.get_mut(id) else {
            return;
        };
        let claim = socket.claim;
        let Some(connection) = socket.connection_mut() else {
            return;
        };
        let (key, orphan) = (connection.key, connection.orphan);
        let to_time_wait = connection.phase == Phase::TimeWait;
        let record = to_time_wait.then(|| TimeWait::of(connection, claim));
        if to_time_wait {
            // The last acknowledgement, if it has not left yet.
            if connection.acks.now || connection.acks.pending {
                connection.send_ack(cx);
            }
            connection.finish(None);
        }
        self.flows.remove(&key, Flow::Socket(id.index()));
        self.timers.remove(id.index());
        if let Some(record) = record {
            if let Some(claim) = claim {
                self.ports.share(claim);
            }
            self.enter_time_wait(cx, key, record);
        }
        if orphan {
            self.remove_socket(id);
        } else {
            self.release_if_chosen(id);
            self.report(cx, id);
        }
    }

    /// Gives a port back that `connect` chose; one that `bind` named is kept until close.
    fn release_if_chosen(&mut self, id: SocketId) {
        let Some(socket) = self.sockets.get_mut(id) else {
            return;
        };
        if let Some(claim) = socket.claim.take_if(|claim| claim.by_connect) {
            self.ports.release(&claim);
            socket.local = None;
        }
    }

    /// Removes a socket and all it holds.
    pub(super) fn remove_socket(&mut self, id: SocketId) {
        self.timers.remove(id.index());
        if let Some(socket) = self.sockets.remove(id)
            && let Some(claim) = socket.claim
        {
            self.ports.release(&claim);
        }
    }

    /// A segment for which nothing is there.
    pub(super) fn no_such_flow(&self, cx: &mut Cx<'_>, key: &FlowKey, segment: &Segment) {
        send_reset(cx, key, segment, IpOptions::default());
    }

    /// When [`TcpEngine::handle_timeout`] has something to do; `None`: nothing waits.
    pub fn poll_timeout(&self) -> Option<Instant> {
        let all = [
            self.timers.earliest(),
            self.half_open.timers.earliest(),
            self.time_wait.earliest(),
            self.offers.timers.earliest(),
        ];
        all.into_iter().flatten().min()
    }

    /// Runs everything that is due at `cx.now`.
    pub fn handle_timeout(&mut self, cx: &mut Cx<'_>) {
        while let Some(index) = self.half_open.timers.pop_due(cx.now) {
            self.half_open_timeout(cx, index);
        }
        while let Some(index) = self.time_wait.due(cx.now) {
            self.expire_time_wait(index);
        }
        while let Some(index) = self.offers.timers.pop_due(cx.now) {
            cx.stats.offers_expired += 1;
            self.forget_offer(index);
        }
        while let Some(index) = self.timers.pop_due(cx.now) {
            if let Some(id) = self.sockets.at(index) {
                self.socket_timeout(cx, id);
            }
        }
    }

    fn socket_timeout(&mut self, cx: &mut Cx<'_>, id: SocketId) {
        let Some(socket) = self.sockets.get_mut(id) else {
            return;
        };
        match core::mem::replace(&mut socket.state, State::Idle) {
            State::Connected(mut connection) => {
                connection.handle_timeout(cx);
                socket.state = State::Connected(connection);
            }
            State::SynSent(handshake) => {
                let key = handshake.key();
                let doubtful = handshake.timeouts_of_fast_open();
                let step = handshake.handle_timeout(cx, &socket.opts);
                let failed = matches!(step, Step::Failed(_));
                if doubtful.is_some_and(|timeouts| suggests_black_hole(timeouts, failed)) {
                    self.pause_fast_open(cx);
                }
                self.after_step(cx, id, key, step);
            }
            State::SynReceived(handshake) => {
                let key = handshake.key();
                let step = handshake.handle_timeout(cx, &socket.opts);
                self.after_step(cx, id, key, step);
            }
            other => socket.state = other,
        }
        self.settle(cx, id);
    }

    /// There is room in a transmit queue again: goes on where it was full, in that order.
    pub fn transmit_room(&mut self, cx: &mut Cx<'_>) {
        for _ in 0..self.waiting.len() {
            let Some(id) = self.waiting.pop_front() else {
                return;
            };
            let Some(socket) = self.sockets.get_mut(id) else {
                continue;
            };
            socket.waits_for_room = false;
            if let Some(connection) = socket.connection_mut() {
                connection.output(cx);
                let still = connection.blocked;
                self.settle(cx, id);
                if still {
                    return;
                }
            }
        }
    }

    /// True if a socket waits for [`TcpEngine::transmit_room`].
    pub fn waits_for_room(&self) -> bool {
        !self.waiting.is_empty()
    }

    /// Forgets what is known of peers: proofs and Fast Open cookies.
    pub fn forget_peers(&mut self) {
        self.peers.clear();
    }

    /// Connections with data, or an end of the stream, that the peer has not acknowledged.
    pub fn undelivered_len(&self) -> usize {
        let pending = |socket: &Socket| {
            socket
                .connection()
                .is_some_and(|c| c.phase != Phase::Closed && c.snd.una.before(c.snd.end()))
        };
        self.sockets
            .iter()
            .filter(|(_, socket)| pending(socket))
            .count()
    }

    /// Number of sockets.
    pub fn socket_len(&self) -> usize {
        self.sockets.len()
    }

    /// Number of entries in the lookup table.
    pub fn flow_len(&self) -> usize {
        self.flows.len()
    }

    /// Number of half-open records (all listeners).
    pub fn half_open_len(&self) -> usize {
        self.half_open.len()
    }

    /// Number of TIME-WAIT records.
    pub fn time_wait_len(&self) -> usize {
        self.time_wait.len()
    }
}

fn count_error(stats: &mut TcpStats, error: WireError) {
    stats.in_errs += 1;
    match error {
        WireError::Truncated => stats.in_truncated += 1,
        WireError::BadChecksum => stats.in_csum_errors += 1,
        _ => stats.in_hdr_errors += 1,
    }
}

impl From<SocketError> for Step {
    fn from(error: SocketError) -> Self {
        Self::Failed(error)
    }
}
