//! From a half-open record or a cookie to a connection, through the accept queue's gate.

use super::half_open::HalfOpen;
use super::syn_in::path_mss;
use crate::network::IpMeta;
use crate::socket::SocketId;
use crate::transport::tcp::Cx;
use crate::transport::tcp::cookies::{HiddenOptions, VALID_AFTER_OVERFLOW};
use crate::transport::tcp::engine::TcpEngine;
use crate::transport::tcp::flow::{Flow, FlowKey};
use crate::transport::tcp::segment::{Segment, send_reset};
use crate::transport::tcp::slot::{Socket, State};
use crate::transport::tcp::state::{Connection, Negotiated, TimestampState};
use crate::transport::tcp::window;

impl TcpEngine {
    /// The final ACK of a record has come. If the accept queue is full it is dropped and the record
    /// stays, unless `tcp_abort_on_overflow` says otherwise.
    pub(super) fn complete_half_open(
        &mut self,
        cx: &mut Cx<'_>,
        index: u32,
        meta: &IpMeta,
        segment: Segment,
    ) {
        let Some(record) = self.half_open.records.get_mut(index) else {
            return;
        };
        let listener = record.listener;
        let full = match self.sockets.get(listener).map(|socket| &socket.state) {
            Some(State::Listen(listen)) => listen.accept_queue.is_full(),
            _ => {
                // The listener has gone since: as if there never had been a record.
                let key = record.key;
                self.forget_half_open(index);
                self.listener_segment(cx, &key, meta, segment, None);
                return;
            }
        };
        if full {
            cx.stats.listen_overflows += 1;
            cx.stats.listen_drops += 1;
            if cx.config.tcp_abort_on_overflow == 0 {
                record.acked = true;
                return;
            }
            cx.stats.abort_on_overflow += 1;
            send_reset(cx, &record.key, &segment, record.ip);
            self.forget_half_open(index);
            return;
        }
        let agreed = record.agreed(cx);
        if self.forget_half_open(index).is_some() {
            self.make_connection(cx, listener, &agreed, segment);
        }
    }

    /// An ACK without a flow. True if it carried a good cookie, whether or not there was room.
    pub(super) fn cookie_in(
        &mut self,
        cx: &mut Cx<'_>,
        listener: SocketId,
        key: &FlowKey,
        _meta: &IpMeta,
        segment: &Segment,
    ) -> bool {
        if cx.config.tcp_syncookies == 0 {
            return false;
        }
        let Some(socket) = self.sockets.get(listener) else {
            return false;
        };
        let State::Listen(listen) = &socket.state else {
            return false;
        };
        let opts = socket.opts;
        let recent = listen
            .overflowed
            .is_some_and(|at| cx.now.since(at) <= VALID_AFTER_OVERFLOW);
        let full = listen.accept_queue.is_full();
        if !recent {
            return false;
        }
        let (irs, cookie) = (segment.seq - 1, segment.ack - 1);
        let Some(mss) = self.cookies.check(key, irs, cookie, cx.now) else {
            cx.stats.syncookies_failed += 1;
            return false;
        };
        let offset = self.secrets.timestamp_offset(key, cx.config.tcp_timestamps);
        let Some(hidden) = hidden_options(cx, segment, offset) else {
            return false;
        };
        cx.stats.syncookies_recv += 1;
        if full {
            cx.stats.listen_overflows += 1;
            cx.stats.listen_drops += 1;
            return true;
        }
        let Some(path_mss) = path_mss(cx, key, &opts) else {
            return true;
        };
        let timestamps = segment
            .options
            .timestamps
            .filter(|_| cx.config.tcp_timestamps != 0);
        let segment_size = window::full_segment(path_mss, timestamps.is_some());
        let first = window::initial(cx.config, &opts, segment_size, hidden.wscale.is_some());
        let agreed = Negotiated {
            key: *key,
            iss: cookie,
            irs,
            peer_mss: mss,
            path_mss,
            snd_wscale: hidden.wscale,
            rcv_wscale: first.wscale,
            rcv_wnd: first.window,
            sack: hidden.sack,
            ecn: hidden.ecn && cx.config.tcp_ecn != 0,
            timestamps: timestamps.map(|ts| TimestampState {
                offset,
                recent: ts.val,
                recent_at: cx.now,
            }),
            retransmitted: false,
            start_small: false,
            syn_sent_at: None,
        };
        self.make_connection(cx, listener, &agreed, segment.clone());
        true
    }

    /// Makes the connection, enters it into the accept queue, and gives it the segment that
    /// completed it: data on the final ACK is kept. One step: nothing can come between.
    fn make_connection(
        &mut self,
        cx: &mut Cx<'_>,
        listener: SocketId,
        agreed: &Negotiated,
        segment: Segment,
    ) {
        let Some(opts) = self.sockets.get(listener).map(|socket| socket.opts) else {
            return;
        };
        let mut connection = Box::new(Connection::new(cx, agreed, opts));
        connection.take_first_window(&segment);
        let Some(id) = self.enter_connection(cx, listener, connection) else {
            return;
        };
        if let Some(connection) = self.sockets.get_mut(id).and_then(Socket::connection_mut) {
            connection.segment_in(cx, segment);
        }
        self.settle(cx, id);
        self.report(cx, listener);
        // Another connection for a listener that already was readable is news all the same.
        cx.events.mark(listener);
    }

    /// Enters a connection into its listener's accept queue and into the tables. `None`: the gate
    /// did not let it in. A caller that has asked the gate before only meets that if the listener
    /// has vanished.
    pub(super) fn enter_connection(
        &mut self,
        cx: &mut Cx<'_>,
        listener: SocketId,
        connection: Box<Connection>,
    ) -> Option<SocketId> {
        let key = connection.key;
        let parent = self.sockets.get(listener)?;
        let mut child = Socket::new(State::Connected(connection), parent.opts);
        child.owned = false;
        child.local = Some(key.local);
        child.claim = parent.claim.map(|claim| crate::transport::ports::Claim {
            listening: false,
            ..claim
        });
        let claim = child.claim;
        let id = self.sockets.insert(child);
        let entered = match self
            .sockets
            .get_mut(listener)
            .map(|socket| &mut socket.state)
        {
            Some(State::Listen(listen)) => listen.accept_queue.push(id).is_ok(),
            _ => false,
        };
        if !entered {
            self.sockets.remove(id);
            return None;
        }
        if let Some(claim) = claim {
            self.ports.share(claim);
        }
        cx.stats.passive_opens += 1;
        self.flows.insert(&key, Flow::Socket(id.index()));
        Some(id)
    }

    /// Forgets everything a listener had: half-open records silently, complete connections with a
    /// reset. What `tcp_migrate_req` gives to an heir is kept.
    pub(in crate::transport::tcp) fn dissolve_listener(
        &mut self,
        cx: &mut Cx<'_>,
        listener: SocketId,
    ) {
        let heir = self.heir_of(cx, listener);
        for index in self.half_open.of(listener) {
            match heir {
                Some(heir) => self.bequeath_half_open(index, heir),
                None => drop(self.forget_half_open(index)),
            }
        }
        while let Some(id) = self.next_waiting(listener) {
            if heir.is_some_and(|heir| self.bequeath_waiting(cx, id, heir)) {
                continue;
            }
            if let Some(connection) = self.sockets.get_mut(id).and_then(Socket::connection_mut) {
                connection.orphan = true;
                connection.abort(cx);
            }
            self.settle(cx, id);
        }
    }

    fn bequeath_half_open(&mut self, index: u32, heir: SocketId) {
        let (Some(record), Some(State::Listen(listen))) = (
            self.half_open.records.get_mut(index),
            self.sockets.get_mut(heir).map(|socket| &mut socket.state),
        ) else {
            return;
        };
        record.listener = heir;
        listen.syn_queue.entered();
        if record.timeouts > 0 {
            listen.syn_queue.aged();
        }
    }

    /// False: there is no room for it (row 12 holds for an heir too).
    fn bequeath_waiting(&mut self, cx: &mut Cx<'_>, id: SocketId, heir: SocketId) -> bool {
        let Some(State::Listen(listen)) = self.sockets.get_mut(heir).map(|s| &mut s.state) else {
            return false;
        };
        let entered = listen.accept_queue.push(id).is_ok();
        if entered {
            self.report(cx, heir);
            cx.events.mark(heir);
        }
        entered
    }

    /// With `tcp_migrate_req`, another member of the SO_REUSEPORT group takes the records over.
    fn heir_of(&self, cx: &Cx<'_>, listener: SocketId) -> Option<SocketId> {
        let group = self.listeners.group_of(&self.sockets, listener);
        group
            .first()
            .copied()
            .filter(|_| cx.config.tcp_migrate_req != 0)
    }

    fn next_waiting(&mut self, listener: SocketId) -> Option<SocketId> {
        match &mut self.sockets.get_mut(listener)?.state {
            State::Listen(listen) => listen.accept_queue.pop(),
            _ => None,
        }
    }
}

impl HalfOpen {
    pub(super) fn agreed(&self, cx: &Cx<'_>) -> Negotiated {
        Negotiated {
            key: self.key,
            iss: self.iss,
            irs: self.irs,
            peer_mss: self.peer_mss,
            path_mss: self.path_mss,
            snd_wscale: self.snd_wscale,
            rcv_wscale: self.rcv_wscale,
            rcv_wnd: self.rcv_wnd,
            sack: self.sack,
            ecn: self.ecn,
            timestamps: self.timestamps.then_some(TimestampState {
                offset: self.ts_offset,
                recent: self.ts_recent,
                recent_at: cx.now,
            }),
            retransmitted: self.retransmitted,
            start_small: false,
            syn_sent_at: Some(self.first_sent),
        }
    }
}

impl Connection {
    /// The window of the segment that completes the handshake is the first one that is scaled.
    pub(in crate::transport::tcp) fn take_first_window(&mut self, segment: &Segment) {
        let shift = if segment.syn() { 0 } else { self.snd.wscale };
        self.snd.wnd = u32::from(segment.window) << shift;
        self.snd.max_wnd = self.snd.wnd;
        self.snd.wl1 = segment.seq;
    }
}

/// What the echoed timestamp says of the options that were offered (Linux
/// `cookie_timestamp_decode`). `None`: it claims what we never offer.
fn hidden_options(cx: &Cx<'_>, segment: &Segment, offset: u32) -> Option<HiddenOptions> {
    let nothing = HiddenOptions {
        wscale: None,
        sack: false,
        ecn: false,
    };
    let Some(ts) = segment.options.timestamps else {
        return Some(nothing);
    };
    if cx.config.tcp_timestamps == 0 {
        return None;
    }
    let hidden = HiddenOptions::reveal(ts.ecr.wrapping_sub(offset));
    let scaling_refused = hidden.wscale.is_some() && cx.config.tcp_window_scaling == 0;
    let sack_refused = hidden.sack && cx.config.tcp_sack == 0;
    (!scaling_refused && !sack_refused).then_some(hidden)
}
