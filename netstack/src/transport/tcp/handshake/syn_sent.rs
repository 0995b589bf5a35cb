//! SYN-SENT (RFC 9293, 3.10.7.3).

use super::{Step, SynReceived};
use crate::buf::Bytes;
use crate::error::SocketError;
use crate::time::{Duration, Instant};
use crate::transport::tcp::Cx;
use crate::transport::tcp::config::TcpConfig;
use crate::transport::tcp::ecn;
use crate::transport::tcp::fast_open::Attempt;
use crate::transport::tcp::flow::FlowKey;
use crate::transport::tcp::isn::timestamp_clock;
use crate::transport::tcp::options::SocketOptions;
use crate::transport::tcp::rtt::{RTO_INITIAL, RTO_MAX};
use crate::transport::tcp::segment::{Outgoing, Segment, send_reset};
use crate::transport::tcp::seq::Seq;
use crate::transport::tcp::state::{Connection, Negotiated, TimestampState};
use crate::transport::tcp::timeouts::patience;
use crate::transport::tcp::timers::Timer;
use crate::transport::tcp::window::{self, InitialWindow};
use crate::wire::tcp::{TcpFlags, TcpOptions, Timestamps};

/// How long the last ACK of a handshake waits for data to ride on (Linux `TCP_DELACK_MAX`).
const ACK_WAITS_FOR_DATA: Duration = Duration::from_millis(200);

/// What our side of a handshake is made of; both states have it.
#[derive(Clone, Debug)]
pub(in crate::transport::tcp) struct Opening {
    pub(super) key: FlowKey,
    pub(super) iss: Seq,
    pub(super) path_mss: u16,
    pub(super) window: InitialWindow,
    pub(super) scaling: bool,
    pub(super) sack: bool,
    /// We ask for ECN, or grant it.
    pub(super) ecn: bool,
    pub(super) timestamps: bool,
    pub(super) ts_offset: u32,
    /// First and last TSval sent.
    pub(super) ts_sent: (u32, u32),
    pub(super) first_sent: Instant,
    pub(super) deadline: Instant,
    /// Timeouts so far.
    pub(super) timeouts: u32,
    /// Doublings of the timeout so far.
    pub(super) backoff: u32,
    pub(super) soft_error: Option<SocketError>,
    /// Fast Open: what went with the first SYN.
    pub(super) attempt: Attempt,
}

impl Opening {
    pub(in crate::transport::tcp) fn new(
        cx: &Cx<'_>,
        opts: &SocketOptions,
        key: FlowKey,
        iss: Seq,
        path_mss: u16,
        ts_offset: u32,
    ) -> Self {
        let scaling = cx.config.tcp_window_scaling != 0;
        Self {
            key,
            iss,
            path_mss,
            window: window::initial(cx.config, opts, path_mss, scaling),
            scaling,
            sack: cx.config.tcp_sack != 0,
            ecn: cx.config.tcp_ecn == 1,
            timestamps: cx.config.tcp_timestamps != 0,
            ts_offset,
            ts_sent: (0, 0),
            first_sent: cx.now,
            deadline: cx.now,
            timeouts: 0,
            backoff: 0,
            soft_error: None,
            attempt: Attempt::default(),
        }
    }

    pub(in crate::transport::tcp) fn key(&self) -> FlowKey {
        self.key
    }

    pub(in crate::transport::tcp) fn path_mss(&self) -> u16 {
        self.path_mss
    }

    /// The number after the last that has been sent.
    pub(super) fn nxt(&self) -> Seq {
        self.iss + 1 + self.attempt.data.len() as u32
    }

    /// The connection, with what went with the SYN in its queue; `ack` is the peer's.
    pub(super) fn connect(
        self,
        cx: &mut Cx<'_>,
        opts: &SocketOptions,
        agreed: &Negotiated,
        ack: Seq,
    ) -> Connection {
        let mut connection = Connection::new(cx, agreed, *opts);
        connection.counters.total_retrans = self.timeouts;
        let repeated = self.timeouts > 0;
        if !self.attempt.data.is_empty() {
            connection.take_up_syn_data(&self.attempt.data, self.first_sent, ack);
        }
        let acked = connection.flight.is_empty();
        connection.opened = self.attempt.opened(acked, repeated);
        if self.attempt.data.is_empty() {
            return connection;
        }
        if acked {
            cx.stats.fast_open_active += 1;
        } else {
            cx.stats.fast_open_active_fail += 1;
        }
        connection
    }

    /// Sends SYN, or SYN-ACK if `answer` names the peer's SYN. A full transmit queue drops it: the
    /// timer repeats it.
    pub(super) fn send(
        &mut self,
        cx: &mut Cx<'_>,
        opts: &SocketOptions,
        answer: Option<(Seq, u32)>,
    ) {
        let timestamps = self.timestamps.then(|| {
            let val = timestamp_clock(cx.now).wrapping_add(self.ts_offset);
            if self.timeouts == 0 && answer.is_none() {
                self.ts_sent.0 = val;
            }
            self.ts_sent.1 = val;
            Timestamps {
                val,
                ecr: answer.map_or(0, |(_, recent)| recent),
            }
        });
        // What is special about the first SYN is not repeated: it may be what was not liked.
        let first = self.timeouts == 0 && answer.is_none();
        let (fast_open, data) = match first {
            true => (self.attempt.option, self.attempt.data.clone()),
            false => (None, Bytes::new()),
        };
        let segment = Outgoing {
            seq: self.iss,
            ack: answer.map_or(Seq(0), |(irs, _)| irs + 1),
            flags: self.flags(cx, answer.is_some()),
            window: self.window.window.min(65_535) as u16,
            options: TcpOptions {
                mss: Some(self.path_mss),
                window_scale: self.scaling.then_some(self.window.wscale),
                sack_permitted: self.sack,
                timestamps,
                fast_open,
                ..TcpOptions::default()
            },
            body: [data].into_iter().filter(|data| !data.is_empty()).collect(),
            ..Outgoing::default()
        };
        if let Err(error) = segment.send(cx, &self.key, opts.ip)
            && error != SocketError::NoBuffers
        {
            self.soft_error = Some(error);
        }
        let user = opts.user_timeout;
        let mut wait = RTO_INITIAL
            .saturating_mul(1 << self.backoff.min(16))
            .min(RTO_MAX);
        if !user.is_zero() {
            let left = (self.first_sent + user)
                .since(cx.now)
                .max(Duration::from_millis(1));
            wait = wait.min(left);
        }
        self.deadline = cx.now + wait;
    }

    fn flags(&self, cx: &Cx<'_>, answer: bool) -> TcpFlags {
        let fallen_back = self.timeouts > 0 && cx.config.tcp_ecn_fallback != 0;
        match (answer, self.ecn) {
            (true, true) => TcpFlags::SYN | TcpFlags::ACK | TcpFlags::ECE,
            (true, false) => TcpFlags::SYN | TcpFlags::ACK,
            (false, true) if !fallen_back => TcpFlags::SYN | TcpFlags::ECE | TcpFlags::CWR,
            (false, _) => TcpFlags::SYN,
        }
    }

    /// The next timeout; `false`: the peer has had its time, which is that of `most` retries that
    /// double. The first few timeouts do not (Linux `tcp_syn_linear_timeouts`), `linear` of them, so
    /// that there are more.
    pub(super) fn may_retry(
        &mut self,
        cx: &Cx<'_>,
        opts: &SocketOptions,
        most: u32,
        linear: u32,
    ) -> bool {
        let user = opts.user_timeout;
        let over = if user.is_zero() {
            cx.now.since(self.first_sent) >= patience(most, RTO_INITIAL)
        } else {
            self.timeouts > 0 && cx.now.since(self.first_sent) >= user
        };
        self.timeouts += 1;
        if self.timeouts > linear {
            self.backoff += 1;
        }
        !over
    }

    pub(super) fn failure(&self) -> SocketError {
        self.soft_error.unwrap_or(SocketError::TimedOut)
    }

    /// What has been agreed on with a peer whose SYN is `segment`.
    pub(super) fn agree(&self, cx: &Cx<'_>, segment: &Segment) -> Negotiated {
        let theirs = &segment.options;
        let snd_wscale = theirs.window_scale.filter(|_| self.scaling);
        let ts = theirs.timestamps.filter(|_| self.timestamps);
        Negotiated {
            key: self.key,
            iss: self.iss,
            irs: segment.seq,
            peer_mss: theirs.mss.unwrap_or(536),
            path_mss: self.path_mss,
            snd_wscale,
            rcv_wscale: if snd_wscale.is_some() {
                self.window.wscale
            } else {
                0
            },
            rcv_wnd: match snd_wscale {
                Some(_) => self.window.window,
                None => self.window.window.min(65_535),
            },
            sack: self.sack && theirs.sack_permitted,
            ecn: self.ecn
                && match segment.is_ack() {
                    true => ecn::granted(segment),
                    false => ecn::requested(segment),
                },
            timestamps: ts.map(|ts| TimestampState {
                offset: self.ts_offset,
                recent: ts.val,
                recent_at: cx.now,
            }),
            retransmitted: self.timeouts > 0,
            start_small: self.timeouts > 1,
            syn_sent_at: Some(self.first_sent),
        }
    }

    /// Retries granted to a SYN or SYN-ACK.
    pub(super) fn retries(config_value: u32, opts: &SocketOptions) -> u32 {
        if opts.syn_count == 0 {
            config_value
        } else {
            u32::from(opts.syn_count)
        }
    }
}

/// Our SYN is out.
#[derive(Debug)]
pub(in crate::transport::tcp) struct SynSent {
    opening: Opening,
}

impl SynSent {
    /// Sends the first SYN.
    pub(in crate::transport::tcp) fn start(
        cx: &mut Cx<'_>,
        opts: &SocketOptions,
        opening: Opening,
        attempt: Attempt,
    ) -> Self {
        let mut state = Self { opening };
        state.launch(cx, opts, attempt);
        state
    }

    /// Sends the first SYN, unless it waits for data.
    pub(in crate::transport::tcp) fn launch(
        &mut self,
        cx: &mut Cx<'_>,
        opts: &SocketOptions,
        attempt: Attempt,
    ) {
        let opening = &mut self.opening;
        opening.attempt = attempt;
        if opening.attempt.deferred {
            opening.deadline = Instant::FAR_FUTURE;
            return;
        }
        opening.first_sent = cx.now;
        opening.send(cx, opts, None);
        cx.stats.active_opens += 1;
    }

    /// True if the first SYN waits for data.
    pub(in crate::transport::tcp) fn is_deferred(&self) -> bool {
        self.opening.attempt.deferred
    }

    pub(in crate::transport::tcp) fn opening(&self) -> &Opening {
        &self.opening
    }

    /// Timeouts so far, if Fast Open was tried.
    pub(in crate::transport::tcp) fn timeouts_of_fast_open(&self) -> Option<u32> {
        let fast = self.opening.attempt.is_fast();
        fast.then_some(self.opening.timeouts)
    }

    /// The path is narrower than was thought. A SYN with data cannot have got through: the plain one
    /// follows at once (Linux `tcp_simple_retransmit`).
    pub(in crate::transport::tcp) fn lower_path_mtu(
        &mut self,
        cx: &mut Cx<'_>,
        opts: &SocketOptions,
        mtu: u32,
    ) {
        let opening = &mut self.opening;
        if !opening.lower_path_mtu(mtu) || opening.attempt.data.is_empty() {
            return;
        }
        opening.timeouts = opening.timeouts.max(1);
        cx.stats.retrans_segs += 1;
        opening.send(cx, opts, None);
    }

    pub(in crate::transport::tcp) fn key(&self) -> FlowKey {
        self.opening.key
    }

    pub(in crate::transport::tcp) fn key_ref(&self) -> &FlowKey {
        &self.opening.key
    }

    pub(in crate::transport::tcp) fn deadline(&self) -> Instant {
        self.opening.deadline
    }

    /// True if `seq` is that of our SYN.
    pub(in crate::transport::tcp) fn sent(&self, seq: Seq) -> bool {
        seq.at_or_after(self.opening.iss) && seq.before(self.opening.nxt())
    }

    /// The SYN was not answered in time.
    pub(in crate::transport::tcp) fn handle_timeout(
        mut self: Box<Self>,
        cx: &mut Cx<'_>,
        opts: &SocketOptions,
    ) -> Step {
        let config: &TcpConfig = cx.config;
        let most = Opening::retries(config.tcp_syn_retries, opts);
        if !self
            .opening
            .may_retry(cx, opts, most, config.tcp_syn_linear_timeouts)
        {
            return Step::Failed(self.opening.failure());
        }
        cx.stats.retrans_segs += 1;
        self.opening.send(cx, opts, None);
        Step::Sent(self)
    }

    /// RFC 9293, 3.10.7.3, first to fifth.
    pub(in crate::transport::tcp) fn segment_in(
        self: Box<Self>,
        cx: &mut Cx<'_>,
        opts: &SocketOptions,
        segment: Segment,
    ) -> Step {
        let opening = &self.opening;
        if segment.is_ack() {
            let echo = segment
                .options
                .timestamps
                .filter(|ts| opening.timestamps && ts.ecr != 0);
            let (first, last) = (Seq(opening.ts_sent.0), Seq(opening.ts_sent.1));
            let forged = echo.is_some_and(|ts| !Seq(ts.ecr).within(first, last));
            let acceptable = segment.ack.within(opening.iss + 1, opening.nxt());
            if !acceptable || forged {
                send_reset(cx, &opening.key, &segment, opts.ip);
                return Step::Sent(self);
            }
        }
        if segment.rst() {
            return if segment.is_ack() {
                Step::Failed(SocketError::Refused)
            } else {
                Step::Sent(self)
            };
        }
        if !segment.syn() {
            return Step::Sent(self);
        }
        if !segment.is_ack() {
            return Step::Received(Box::new(SynReceived::start(
                cx,
                opts,
                self.opening,
                &segment,
            )));
        }
        let repeated = self.opening.timeouts > 0;
        let theirs = &segment.options;
        let attempt = &self.opening.attempt;
        let reply = attempt.reply(theirs.mss, theirs.fast_open, repeated);
        Step::Established(Box::new(self.establish(cx, opts, &segment)), reply)
    }

    fn establish(self, cx: &mut Cx<'_>, opts: &SocketOptions, segment: &Segment) -> Connection {
        let agreed = self.opening.agree(cx, segment);
        let more_waits = self.opening.attempt.more_waits;
        let mut connection = self.opening.connect(cx, opts, &agreed, segment.ack);
        connection.take_first_window(segment);
        if !connection.flight.is_empty() {
            // Data that the peer did not take with the SYN goes again, with the acknowledgement.
            connection.flight.mark_lost(|_| true);
            connection.acks.now = true;
            connection.output(cx);
            return connection;
        }
        connection.take_syn_payload(cx, segment);
        if connection.acks.acked.is_some() && !connection.acks.pending {
            // What came with the SYN has had its acknowledgement.
        } else if more_waits {
            // Data is about to leave: it takes the acknowledgement along.
            connection.acks.pending = true;
            connection.acks.enter_quick(connection.rcv.window.wnd);
            let at = cx.now + ACK_WAITS_FOR_DATA;
            connection.timers.set(Timer::DelayedAck, at);
        } else {
            connection.send_ack(cx);
        }
        connection
    }
}

impl Opening {
    /// True if that makes a difference.
    fn lower_path_mtu(&mut self, mtu: u32) -> bool {
        let headers = if self.key.local.is_ipv4() { 40 } else { 60 };
        let path_mss = mtu.max(552).saturating_sub(headers).min(65_535) as u16;
        let lower = path_mss < self.path_mss;
        self.path_mss = self.path_mss.min(path_mss);
        lower
    }
}

impl Connection {
    /// Puts the data that went with our SYN where it would be had it been sent since, and takes the
    /// acknowledgement of the peer's.
    fn take_up_syn_data(&mut self, data: &[u8], sent: Instant, ack: Seq) {
        let (seq, end) = (self.snd.nxt, self.snd.nxt + data.len() as u32);
        self.snd.queue.append(data);
        self.snd.records.wrote(end, seq, false, false);
        self.snd.nxt = end;
        let then = self.rate_snapshot(sent);
        self.flight.push(seq, end, sent, self.snd.mss, then);
        self.counters.bytes_sent += data.len() as u64;
        self.counters.data_segs_out += 1;
        if ack.after(seq) {
            self.take_first_ack(ack);
        }
    }

    /// Data or a FIN on the peer's SYN: as if they came in a segment of their own.
    pub(super) fn take_syn_payload(&mut self, cx: &mut Cx<'_>, segment: &Segment) {
        if segment.payload.is_empty() && !segment.fin() {
            return;
        }
        let mut rest = segment.clone();
        rest.flags.remove(TcpFlags::SYN);
        rest.seq += 1;
        rest.ack = self.snd.una;
        rest.flags.insert(TcpFlags::ACK);
        rest.window = 0;
        let window = (self.snd.wnd, self.snd.max_wnd);
        self.segment_in(cx, rest);
        (self.snd.wnd, self.snd.max_wnd) = window;
    }
}
