//! Fast Open at a listener (RFC 7413, 4.2; Linux `tcp_try_fastopen`): a SYN that shows a good cookie
//! makes a connection at once, with the data that came on it. The rest of the handshake is made up
//! for by the connection itself.

use super::expiry::interval;
use super::half_open::{HalfOpen, Verdict};
use crate::error::SocketError;
use crate::socket::SocketId;
use crate::transport::tcp::Cx;
use crate::transport::tcp::engine::TcpEngine;
use crate::transport::tcp::fast_open::{FastOpenKeys, Leave, Worth, setting};
use crate::transport::tcp::flow::FlowKey;
use crate::transport::tcp::options::SocketOptions;
use crate::transport::tcp::segment::{Segment, send_reset};
use crate::transport::tcp::slot::{Socket, State};
use crate::transport::tcp::state::Connection;
use crate::transport::tcp::timers::Timer;
use crate::wire::tcp::FastOpenCookie;

/// What a connection that a SYN has made keeps until its SYN-ACK is acknowledged.
#[derive(Debug)]
pub(in crate::transport::tcp) struct PassiveOpen {
    record: HalfOpen,
    /// The application has taken it: from then on errors are handled as those of any connection.
    pub(in crate::transport::tcp) accepted: bool,
    /// The application has ended the sending side: the FIN follows the handshake.
    pub(in crate::transport::tcp) fin_waits: bool,
}

impl PassiveOpen {
    pub(in crate::transport::tcp) fn leave(&self, reset: bool) -> Leave {
        Leave {
            listener: self.record.listener,
            reset,
        }
    }
}

/// How a SYN is answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Answer {
    /// By a connection, not by a record.
    pub(super) connect: bool,
    /// Cookie on the SYN-ACK.
    pub(super) cookie: Option<FastOpenCookie>,
}

impl Answer {
    fn ordinary(cookie: Option<FastOpenCookie>) -> Self {
        Self {
            connect: false,
            cookie,
        }
    }
}

impl TcpEngine {
    /// The keys that a listener's cookies are made with.
    pub(in crate::transport::tcp) fn keys_of(&self, cx: &Cx<'_>, socket: &Socket) -> FastOpenKeys {
        let own = socket.fast_open_keys.as_deref().copied();
        own.or(cx.config.tcp_fastopen_key)
            .unwrap_or(self.fast_open_keys)
    }

    /// Decides what the Fast Open option and the data of a SYN are worth.
    pub(super) fn fast_open_answer(
        &mut self,
        cx: &mut Cx<'_>,
        listener: SocketId,
        opts: &SocketOptions,
        key: &FlowKey,
        segment: &Segment,
    ) -> Answer {
        let shown = segment.options.fast_open;
        let request = shown.is_some_and(|cookie| cookie.is_request());
        cx.stats.fast_open_cookie_reqd += u64::from(request);
        let setting = cx.config.tcp_fastopen;
        let concerned = shown.is_some() || !segment.payload.is_empty();
        if setting & setting::SERVER == 0 || !concerned || !self.has_place(cx, listener, opts) {
            return Answer::ordinary(None);
        }
        if setting & setting::SERVER_NO_COOKIE != 0 || opts.fast_open_no_cookie {
            return Answer {
                connect: true,
                cookie: None,
            };
        }
        let (Some(shown), Some(socket)) = (shown, self.sockets.get(listener)) else {
            return Answer::ordinary(None);
        };
        let keys = self.keys_of(cx, socket);
        let fresh = Some(keys.cookie(key).with_form(shown.is_experimental()));
        if request {
            return Answer::ordinary(fresh);
        }
        match keys.check(key, &shown) {
            Worth::Good => Answer {
                connect: true,
                cookie: None,
            },
            Worth::Old => {
                cx.stats.fast_open_passive_alt_key += 1;
                Answer {
                    connect: true,
                    cookie: fresh,
                }
            }
            Worth::Nothing => {
                cx.stats.fast_open_passive_fail += 1;
                Answer::ordinary(fresh)
            }
        }
    }

    fn has_place(&mut self, cx: &mut Cx<'_>, listener: SocketId, opts: &SocketOptions) -> bool {
        let most = opts.fast_open_queue;
        let Some(State::Listen(listen)) = self.sockets.get_mut(listener).map(|s| &mut s.state)
        else {
            return false;
        };
        let room = listen.pending.has_room(most, cx.now);
        cx.stats.fast_open_listen_overflow += u64::from(!room && most > 0);
        room
    }

    /// Makes the connection, through the accept queue's gate, and answers the SYN. False: the queue
    /// did not take it, and nothing was done.
    pub(super) fn open_fast(
        &mut self,
        cx: &mut Cx<'_>,
        mut record: HalfOpen,
        cookie: Option<FastOpenCookie>,
        segment: &Segment,
    ) -> bool {
        let listener = record.listener;
        let Some(opts) = self.sockets.get(listener).map(|socket| socket.opts) else {
            return false;
        };
        let mut agreed = record.agreed(cx);
        // The round trip is known when the handshake is complete.
        agreed.syn_sent_at = None;
        let mut connection = Box::new(Connection::new(cx, &agreed, opts));
        connection.take_first_window(segment);
        connection.take_data_of_syn(segment);
        record.rcv_nxt = connection.rcv.nxt;
        connection.acks.on_ack_sent(record.rcv_nxt);
        connection.timers.set(Timer::SynAck, cx.now + interval(0));
        let Some(id) = self.enter_connection(cx, listener, connection) else {
            cx.stats.fast_open_passive_fail += 1;
            return false;
        };
        record.send_syn_ack(cx, cookie);
        record.ts_sent.0 = record.ts_sent.1;
        if let Some(connection) = self.sockets.get_mut(id).and_then(Socket::connection_mut) {
            connection.opening = Some(Box::new(PassiveOpen {
                record,
                accepted: false,
                fin_waits: false,
            }));
        }
        if let Some(State::Listen(listen)) = self.sockets.get_mut(listener).map(|s| &mut s.state) {
            listen.pending.enter();
        }
        cx.stats.fast_open_passive += 1;
        self.settle(cx, id);
        self.report(cx, listener);
        cx.events.mark(listener);
        true
    }

    /// A connection has left its listener's queue of open handshakes.
    pub(in crate::transport::tcp) fn leave_pending(&mut self, cx: &Cx<'_>, leave: Leave) {
        if let Some(State::Listen(listen)) =
            self.sockets.get_mut(leave.listener).map(|s| &mut s.state)
        {
            listen.pending.leave(leave.reset, cx.now);
        }
    }
}

impl Connection {
    /// The data on the SYN that makes this connection.
    fn take_data_of_syn(&mut self, segment: &Segment) {
        self.opened.child = true;
        // The SYN-ACK is not delivered yet.
        self.counters.delivered = 0;
        self.counters.segs_in = segment.merged;
        let mut data = segment.payload.clone();
        data.truncate(self.rcv.window.wnd as usize);
        if data.is_empty() {
            return;
        }
        let len = data.len() as u32;
        self.opened.data_taken = true;
        self.counters.bytes_received = u64::from(len);
        self.counters.data_segs_in = segment.merged;
        self.rcv.queue.push(data);
        self.rcv.nxt += len;
        self.rcv.window.wup = self.rcv.nxt;
    }

    /// True if a segment may be processed while the SYN-ACK is not acknowledged (Linux
    /// `tcp_check_req` for a Fast Open socket).
    pub(in crate::transport::tcp) fn opening_admits(
        &mut self,
        cx: &mut Cx<'_>,
        segment: &Segment,
    ) -> bool {
        let Some(opening) = &mut self.opening else {
            return true;
        };
        match opening.record.judge(segment, false, true) {
            Verdict::Drop => false,
            Verdict::SynAgain => {
                if opening.record.may_answer(cx, false) {
                    self.repeat_syn_ack(cx);
                }
                false
            }
            Verdict::Acknowledge => {
                let has_data = segment.seq_len() > 0 && !segment.syn();
                if opening.record.may_answer(cx, has_data) {
                    self.send_ack(cx);
                }
                false
            }
            Verdict::Forget if segment.rst() => {
                // One in the accept queue still takes a place there.
                let penalty = opening.accepted;
                self.opened.left = Some(opening.leave(penalty));
                self.opening = None;
                self.finish(Some(SocketError::Reset));
                false
            }
            Verdict::Forget | Verdict::ResetAndKeep => {
                send_reset(cx, &self.key, segment, self.opts.ip);
                false
            }
            Verdict::Complete => {
                let sane = segment.ack.within(self.snd.una, self.snd.nxt);
                if !sane {
                    send_reset(cx, &self.key, segment, self.opts.ip);
                }
                sane
            }
        }
    }

    /// The SYN-ACK has been acknowledged.
    pub(in crate::transport::tcp) fn complete_opening(&mut self, cx: &mut Cx<'_>) {
        let Some(opening) = self.opening.take() else {
            return;
        };
        self.opened.left = Some(opening.leave(false));
        self.timers.stop(Timer::SynAck);
        self.counters.delivered += 1;
        self.recovery.timeouts = 0;
        self.established_at = cx.now;
        let record = &opening.record;
        if !self.rtt.has_sample() && !record.retransmitted {
            let rtt = cx.now.since(record.first_sent);
            self.rtt.sample(cx.now, rtt, rtt);
        }
        if !self.flight.is_empty() {
            self.arm_retransmit(cx.now);
        }
        if opening.fin_waits {
            self.shutdown_send(cx);
        }
    }

    fn repeat_syn_ack(&mut self, cx: &mut Cx<'_>) {
        if let Some(opening) = &mut self.opening {
            opening.record.retransmitted = true;
            opening.record.send_syn_ack(cx, None);
            cx.stats.retrans_segs += 1;
            self.counters.total_retrans += 1;
        }
    }

    /// The SYN-ACK was not acknowledged in time (Linux `tcp_fastopen_synack_timer`, which grants one
    /// more retry than a listener does).
    pub(in crate::transport::tcp) fn on_syn_ack_timeout(&mut self, cx: &mut Cx<'_>) {
        let Some(opening) = &mut self.opening else {
            return;
        };
        let retries = match self.opts.syn_count {
            0 => cx.config.tcp_synack_retries.min(254) as u8 + 1,
            count => count,
        };
        let timeouts = opening.record.timeouts;
        if timeouts >= retries {
            self.time_out();
            return;
        }
        opening.record.timeouts += 1;
        if timeouts == 1 {
            // The window that a connection begins with after two timeouts (RFC 5681, 3.1).
            self.enter_loss(cx);
        }
        self.recovery.timeouts = self.recovery.timeouts.saturating_add(1);
        self.repeat_syn_ack(cx);
        self.timers
            .set(Timer::SynAck, cx.now + interval(timeouts + 1));
    }
}
