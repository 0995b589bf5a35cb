//! The state of a synchronised connection: one phase, a sending and a receiving half, and the
//! sub-states that each keep an invariant of their own.

use super::chrono::Chrono;
use super::congestion::Congestion;
use super::delack::AckPolicy;
use super::ecn::Ecn;
use super::fast_open::Opened;
use super::flow::FlowKey;
use super::listen::PassiveOpen;
use super::options::SocketOptions;
use super::rate::Rate;
use super::receipts::Receipts;
use super::records::Records;
use super::recovery::Recovery;
use super::recv_queue::RecvQueue;
use super::rtt::RttEstimator;
use super::sack::Scoreboard;
use super::send_queue::SendQueue;
use super::seq::Seq;
use super::timers::Timers;
use super::urgent::Urgent;
use super::window::ReceiveWindow;
use super::{Cx, autotune::Autotune};
use crate::error::SocketError;
use crate::time::{Duration, Instant};

/// Where a synchronised connection is (RFC 9293, 3.3.2). TIME-WAIT is only passed through: the
/// engine replaces the connection by a compact record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    Established,
    FinWait1,
    FinWait2,
    CloseWait,
    Closing,
    LastAck,
    /// Both FINs are through: the engine makes a TIME-WAIT record of it at once.
    TimeWait,
    /// Over; what was received can still be read.
    Closed,
}

impl Phase {
    /// True while data or a FIN of the peer may still arrive.
    pub(super) fn may_receive(self) -> bool {
        matches!(self, Self::Established | Self::FinWait1 | Self::FinWait2)
    }

    /// True while the application may still send.
    pub(super) fn may_send(self) -> bool {
        matches!(self, Self::Established | Self::CloseWait)
    }
}

/// What a handshake has agreed on.
#[derive(Clone, Copy, Debug)]
pub(super) struct Negotiated {
    pub(super) key: FlowKey,
    /// Our initial sequence number.
    pub(super) iss: Seq,
    /// The peer's.
    pub(super) irs: Seq,
    /// The peer's MSS option, or the default.
    pub(super) peer_mss: u16,
    /// MSS that the path allows us.
    pub(super) path_mss: u16,
    /// Shift of the windows that the peer announces; `None` without scaling.
    pub(super) snd_wscale: Option<u8>,
    /// Shift of the windows that we announce.
    pub(super) rcv_wscale: u8,
    /// Window that our SYN or SYN-ACK announced.
    pub(super) rcv_wnd: u32,
    /// SACK is on.
    pub(super) sack: bool,
    /// ECN is on.
    pub(super) ecn: bool,
    /// Timestamps are on.
    pub(super) timestamps: Option<TimestampState>,
    /// Our SYN or SYN-ACK was sent more than once: no RTT from it.
    pub(super) retransmitted: bool,
    /// Our SYN was lost more than once: start with a window of one (RFC 5681, 3.1; Linux
    /// `tcp_init_transfer`).
    pub(super) start_small: bool,
    /// When our (first) SYN or SYN-ACK left; `None` behind a cookie.
    pub(super) syn_sent_at: Option<Instant>,
}

/// The timestamps option of a connection (RFC 7323).
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct TimestampState {
    /// Added to the clock.
    pub(super) offset: u32,
    /// TS.Recent.
    pub(super) recent: u32,
    /// When it was set.
    pub(super) recent_at: Instant,
}

/// What we send.
#[derive(Debug)]
pub(super) struct SendHalf {
    /// First byte not acknowledged.
    pub(super) una: Seq,
    /// Next byte to send.
    pub(super) nxt: Seq,
    /// The peer's window, in bytes from `una`.
    pub(super) wnd: u32,
    /// Sequence number of the segment that last updated it.
    pub(super) wl1: Seq,
    /// Largest window that the peer has announced.
    pub(super) max_wnd: u32,
    /// Shift of the announced windows.
    pub(super) wscale: u8,
    /// Bytes of payload in a full segment, options accounted for.
    pub(super) mss: u32,
    /// The peer's MSS option.
    pub(super) peer_mss: u16,
    /// MSS by path, before options.
    pub(super) path_mss: u16,
    /// Data from `una` on.
    pub(super) queue: SendQueue,
    /// Where writes end.
    pub(super) records: Records,
    /// Where the last run of bytes begins that may leave as one (a buffer, in Linux).
    pub(super) run_start: Seq,
    /// The last end that was pushed because so much lies before it.
    pub(super) pushed: Seq,
    /// TCP_NOTSENT_LOWAT, or the setting, at the last write.
    pub(super) notsent_low: u32,
    /// A write has met a full buffer, and there is no room for the next yet.
    pub(super) no_space: bool,
    /// Where urgent data ends (SND.UP); `una` if there is none.
    pub(super) up: Seq,
    /// A FIN follows the last byte of the queue.
    pub(super) fin: bool,
    /// End of the last segment sent that was smaller than the MSS (Minshall's Nagle).
    pub(super) small_end: Seq,
    /// When data last left.
    pub(super) last_sent: Instant,
    /// Send buffer bound; grows with the window unless the application has set it.
    pub(super) buffer: u32,
}

impl SendHalf {
    fn new(cx: &Cx<'_>, agreed: &Negotiated, opts: &SocketOptions) -> Self {
        let start = agreed.iss + 1;
        Self {
            una: start,
            nxt: start,
            wnd: 0,
            wl1: agreed.irs,
            max_wnd: 0,
            wscale: agreed.snd_wscale.unwrap_or(0),
            mss: 536,
            peer_mss: agreed.peer_mss,
            path_mss: agreed.path_mss,
            queue: SendQueue::new(start),
            records: Records::default(),
            run_start: start,
            pushed: start,
            notsent_low: u32::MAX,
            no_space: false,
            up: start,
            fin: false,
            small_end: start,
            last_sent: cx.now,
            buffer: opts.sndbuf.unwrap_or(cx.config.tcp_wmem[1]),
        }
    }

    /// The sequence number after everything that is to be sent, the FIN included.
    pub(super) fn end(&self) -> Seq {
        self.queue.end() + u32::from(self.fin)
    }

    /// The right edge of the peer's window.
    pub(super) fn wnd_end(&self) -> Seq {
        self.una + self.wnd
    }

    /// True if our FIN has been acknowledged.
    pub(super) fn fin_acked(&self) -> bool {
        self.fin && self.una == self.end()
    }

    /// Bytes that the application may still write.
    pub(super) fn room(&self) -> usize {
        (self.buffer as usize).saturating_sub(self.queue.len())
    }
}

/// What we receive.
#[derive(Debug)]
pub(super) struct RecvHalf {
    /// The peer's initial sequence number.
    pub(super) irs: Seq,
    /// Next byte expected.
    pub(super) nxt: Seq,
    /// Bytes read by the application, as the sequence number of the next one.
    pub(super) read: Seq,
    /// Data.
    pub(super) queue: RecvQueue,
    /// The peer's FIN has been received in order.
    pub(super) fin: bool,
    /// Sequence number of a FIN that lies beyond a hole.
    pub(super) fin_ahead: Option<Seq>,
    /// The application reads no more.
    pub(super) shutdown: bool,
    /// Announced and allowed windows.
    pub(super) window: ReceiveWindow,
    /// Urgent data.
    pub(super) urgent: Urgent,
    /// Duplicate range to report next (RFC 2883).
    pub(super) dsack: Option<(Seq, Seq)>,
}

/// What tcp_info reports beside what the other fields say.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Counters {
    pub(super) total_retrans: u32,
    pub(super) bytes_acked: u64,
    pub(super) bytes_received: u64,
    pub(super) bytes_sent: u64,
    pub(super) bytes_retrans: u64,
    pub(super) segs_out: u32,
    pub(super) segs_in: u32,
    pub(super) data_segs_in: u32,
    pub(super) data_segs_out: u32,
    pub(super) delivered: u32,
    pub(super) delivered_ce: u32,
    pub(super) dsack_dups: u32,
    pub(super) reord_seen: u32,
    pub(super) rcv_ooopack: u32,
}

/// A connection whose handshake is complete.
#[derive(Debug)]
pub(super) struct Connection {
    pub(super) key: FlowKey,
    pub(super) phase: Phase,
    pub(super) opts: SocketOptions,
    pub(super) snd: SendHalf,
    pub(super) rcv: RecvHalf,
    /// `None`: not negotiated.
    pub(super) ts: Option<TimestampState>,
    /// SACK was negotiated.
    pub(super) sack: bool,
    /// Window scaling was negotiated.
    pub(super) scaling: bool,
    pub(super) rtt: RttEstimator,
    pub(super) cc: Congestion,
    /// Segments in flight.
    pub(super) flight: Scoreboard,
    pub(super) recovery: Recovery,
    pub(super) acks: AckPolicy,
    pub(super) autotune: Autotune,
    pub(super) timers: Timers,
    pub(super) counters: Counters,
    /// Reported by the next call, then cleared.
    pub(super) error: Option<SocketError>,
    /// Reported if the connection ends by timeout (ICMP).
    pub(super) soft_error: Option<SocketError>,
    /// It has just ended in order (Linux calls `tcp_update_metrics` then).
    pub(super) in_order: bool,
    /// No application holds it any more.
    pub(super) orphan: bool,
    /// The transmit queue was full: `transmit_room` goes on.
    pub(super) blocked: bool,
    /// When the last answer to an out-of-window segment left.
    pub(super) last_oow_answer: Option<Instant>,
    /// Round trip of the handshake, for the first estimate.
    pub(super) established_at: Instant,
    /// A SYN with data made it, and our SYN-ACK is not acknowledged yet (RFC 7413, 4.2.2).
    pub(super) opening: Option<Box<PassiveOpen>>,
    /// How Fast Open went.
    pub(super) opened: Opened,
    /// Explicit congestion notification.
    pub(super) ecn: Ecn,
    /// What sending waits for.
    pub(super) chrono: Chrono,
    /// What the application wants to hear of what it sends.
    pub(super) receipts: Option<Box<Receipts>>,
    /// Where the numbers of its timestamps begin.
    pub(super) stamp_base: Seq,
    /// Samples of the delivery rate.
    pub(super) rate: Rate,
}

impl Connection {
    /// The connection that a handshake has led to.
    pub(super) fn new(cx: &Cx<'_>, agreed: &Negotiated, opts: SocketOptions) -> Self {
        let start = agreed.iss + 1;
        let rto_min = Duration::from_millis(u64::from(cx.config.tcp_rto_min_ms));
        let mut connection = Self {
            key: agreed.key,
            phase: Phase::Established,
            opts,
            snd: SendHalf::new(cx, agreed, &opts),
            rcv: RecvHalf {
                irs: agreed.irs,
                nxt: agreed.irs + 1,
                read: agreed.irs + 1,
                queue: RecvQueue::default(),
                fin: false,
                fin_ahead: None,
                shutdown: false,
                window: ReceiveWindow::new(cx.config, &opts, agreed),
                urgent: Urgent::default(),
                dsack: None,
            },
            ts: agreed.timestamps,
            sack: agreed.sack,
            scaling: agreed.snd_wscale.is_some(),
            rtt: RttEstimator::new(rto_min),
            cc: Congestion::new(opts.congestion),
            flight: Scoreboard::default(),
            recovery: Recovery::new(cx.config.tcp_reordering, start),
            acks: AckPolicy::new(agreed.path_mss, cx.now),
            autotune: Autotune::new(
                agreed.irs + 1,
                cx.now,
                agreed.rcv_wnd,
                u32::from(agreed.path_mss),
            ),
            timers: Timers::default(),
            counters: Counters {
                // The SYN, or SYN-ACK, counts.
                delivered: 1,
                ..Counters::default()
            },
            error: None,
            soft_error: None,
            in_order: false,
            orphan: false,
            blocked: false,
            last_oow_answer: None,
            established_at: cx.now,
            opening: None,
            opened: Opened::default(),
            ecn: Ecn::new(agreed.ecn),
            chrono: Chrono::default(),
            receipts: None,
            stamp_base: start,
            rate: Rate::default(),
        };
        connection.update_mss(cx);
        connection.grow_send_buffer(cx.config);
        if agreed.start_small {
            connection.cc.window.cwnd = 1;
        }
        connection.first_rtt(cx, agreed);
        connection.rearm_keepalive(cx);
        connection
    }

    fn first_rtt(&mut self, cx: &Cx<'_>, agreed: &Negotiated) {
        if let Some(sent) = agreed.syn_sent_at
            && !agreed.retransmitted
        {
            let rtt = cx.now.since(sent);
            self.rtt.sample(cx.now, rtt, rtt);
        }
    }

    /// Recomputes the payload of a full segment from path, peer, user setting and options.
    pub(super) fn update_mss(&mut self, cx: &Cx<'_>) {
        let mut mss = u32::from(self.snd.peer_mss.min(self.snd.path_mss));
        if self.opts.maxseg != 0 {
            mss = mss.min(u32::from(self.opts.maxseg));
        }
        let options = if self.ts.is_some() { 12 } else { 0 };
        self.snd.mss = mss
            .max(cx.config.tcp_min_snd_mss)
            .saturating_sub(options)
            .max(8);
    }

    /// Ends the connection at once; `error` is what the application learns.
    pub(super) fn finish(&mut self, error: Option<SocketError>) {
        self.phase = Phase::Closed;
        if self.error.is_none() {
            self.error = error;
        }
        self.snd.queue.clear();
        self.flight.clear();
        self.timers.clear();
        self.blocked = false;
        if let Some(opening) = self.opening.take() {
            self.opened.left = Some(opening.leave(false));
        }
    }

    /// The timestamp clock of this connection.
    pub(super) fn timestamp_now(&self, now: Instant) -> Option<u32> {
        self.ts
            .map(|ts| super::isn::timestamp_clock(now).wrapping_add(ts.offset))
    }
}
