//! Half-open records: SYN-RECEIVED without a connection, and what a segment does to one
//! (RFC 9293, 3.10.7.4; Linux `tcp_check_req`).

use crate::error::SocketError;
use crate::network::IpMeta;
use crate::network::icmp_error::IcmpError;
use crate::socket::SocketId;
use crate::table::Slab;
use crate::time::{Duration, Instant};
use crate::transport::tcp::Cx;
use crate::transport::tcp::engine::TcpEngine;
use crate::transport::tcp::flow::{Flow, FlowKey};
use crate::transport::tcp::isn::timestamp_clock;
use crate::transport::tcp::segment::{IpOptions, Outgoing, Segment, send_reset};
use crate::transport::tcp::seq::Seq;
use crate::transport::tcp::slot::State;
use crate::transport::tcp::timer_heap::TimerHeap;
use crate::wire::tcp::{FastOpenCookie, TcpFlags, TcpOptions, Timestamps};

/// A peer whose SYN has been answered.
#[derive(Clone, Debug)]
pub(in crate::transport::tcp) struct HalfOpen {
    pub(super) key: FlowKey,
    pub(super) listener: SocketId,
    /// Our initial sequence number.
    pub(super) iss: Seq,
    /// The peer's.
    pub(super) irs: Seq,
    /// The next number that we expect: beyond the SYN, and beyond data that was taken with it.
    pub(super) rcv_nxt: Seq,
    /// Window announced by the SYN-ACK.
    pub(super) rcv_wnd: u32,
    pub(super) peer_mss: u16,
    pub(super) path_mss: u16,
    pub(super) snd_wscale: Option<u8>,
    pub(super) rcv_wscale: u8,
    pub(super) sack: bool,
    pub(super) ecn: bool,
    pub(super) timestamps: bool,
    pub(super) ts_recent: u32,
    pub(super) ts_offset: u32,
    /// First and last TSval that we have sent.
    pub(super) ts_sent: (u32, u32),
    /// When the first SYN-ACK left.
    pub(super) first_sent: Instant,
    /// SYN-ACK timeouts so far.
    pub(super) timeouts: u8,
    /// A SYN-ACK was sent more than once.
    pub(super) retransmitted: bool,
    /// A final ACK has come that could not complete the record yet.
    pub(super) acked: bool,
    /// When the last answer to nonsense left.
    pub(super) answered: Option<Instant>,
    pub(super) ip: IpOptions,
}

/// All half-open records of an engine, whichever listener they belong to.
#[derive(Debug, Default)]
pub(in crate::transport::tcp) struct HalfOpenTable {
    pub(super) records: Slab<HalfOpen>,
    pub(in crate::transport::tcp) timers: TimerHeap,
}

impl HalfOpenTable {
    pub(in crate::transport::tcp) fn len(&self) -> usize {
        self.records.len()
    }

    /// Both ends of a record.
    pub(in crate::transport::tcp) fn key(&self, index: u32) -> Option<&FlowKey> {
        self.records.get(index).map(|record| &record.key)
    }

    /// True if the record's SYN-ACK has this sequence number.
    pub(in crate::transport::tcp) fn is_ours(&self, index: u32, seq: Seq) -> bool {
        let record = self.records.get(index);
        record.is_some_and(|record| record.iss == seq)
    }

    /// The records of one listener.
    pub(super) fn of(&self, listener: SocketId) -> Vec<u32> {
        let ours = self
            .records
            .iter()
            .filter(|(_, record)| record.listener == listener);
        ours.map(|(index, _)| index).collect()
    }
}

/// What a segment means to a record.
pub(super) enum Verdict {
    Drop,
    /// The SYN again: the SYN-ACK was lost.
    SynAgain,
    /// Acknowledge what we expect; the record stays.
    Acknowledge,
    /// Reset the sender; the record stays.
    ResetAndKeep,
    /// Forget the record; reset the sender if it was not a reset itself.
    Forget,
    /// The handshake is complete.
    Complete,
}

impl HalfOpen {
    /// Sends (or repeats) the SYN-ACK. A full transmit queue drops it: the timer repeats it.
    pub(super) fn send_syn_ack(&mut self, cx: &mut Cx<'_>, cookie: Option<FastOpenCookie>) {
        let timestamps = self.timestamps.then(|| {
            let val = timestamp_clock(cx.now).wrapping_add(self.ts_offset);
            self.ts_sent.1 = val;
            Timestamps {
                val,
                ecr: self.ts_recent,
            }
        });
        let segment = Outgoing {
            seq: self.iss,
            ack: self.rcv_nxt,
            flags: match self.ecn {
                true => TcpFlags::SYN | TcpFlags::ACK | TcpFlags::ECE,
                false => TcpFlags::SYN | TcpFlags::ACK,
            },
            window: self.rcv_wnd.min(65_535) as u16,
            options: TcpOptions {
                mss: Some(self.path_mss),
                window_scale: self.snd_wscale.map(|_| self.rcv_wscale),
                sack_permitted: self.sack,
                timestamps,
                fast_open: cookie,
                ..TcpOptions::default()
            },
            ..Outgoing::default()
        };
        let _ = segment.send(cx, &self.key, self.ip);
    }

    pub(super) fn acknowledge(&mut self, cx: &mut Cx<'_>) {
        let timestamps = self.timestamps.then(|| {
            let val = timestamp_clock(cx.now).wrapping_add(self.ts_offset);
            self.ts_sent.1 = val;
            Timestamps {
                val,
                ecr: self.ts_recent,
            }
        });
        let segment = Outgoing {
            seq: self.iss + 1,
            ack: self.rcv_nxt,
            flags: TcpFlags::ACK,
            window: (self.rcv_wnd >> self.rcv_wscale).min(65_535) as u16,
            options: TcpOptions {
                timestamps,
                ..TcpOptions::default()
            },
            ..Outgoing::default()
        };
        let _ = segment.send(cx, &self.key, self.ip);
    }

    /// At most one answer to data-less nonsense in `tcp_invalid_ratelimit` milliseconds.
    pub(super) fn may_answer(&mut self, cx: &Cx<'_>, has_data: bool) -> bool {
        let gap = Duration::from_millis(u64::from(cx.config.tcp_invalid_ratelimit));
        if !has_data && self.answered.is_some_and(|at| cx.now.since(at) < gap) {
            return false;
        }
        if !has_data {
            self.answered = Some(cx.now);
        }
        true
    }

    /// What `segment` means. `child`: the record is that of a connection which a SYN with data has
    /// made, so that our data may be acknowledged too; its bad segments are held against nobody.
    pub(super) fn judge(&mut self, segment: &Segment, deferring: bool, child: bool) -> Verdict {
        let expected = self.rcv_nxt;
        let theirs = segment.options.timestamps.filter(|_| self.timestamps);
        let too_old = theirs.is_some_and(|ts| (self.ts_recent.wrapping_sub(ts.val) as i32) > 1);
        let forged_echo = theirs.is_some_and(|ts| {
            !child && ts.ecr != 0 && !Seq(ts.ecr).within(Seq(self.ts_sent.0), Seq(self.ts_sent.1))
        });
        let pure_syn = segment.syn() && !segment.rst() && !segment.is_ack();
        if segment.seq == self.irs && pure_syn && !too_old {
            return Verdict::SynAgain;
        }
        if segment.is_ack() && segment.ack != self.iss + 1 && !child {
            return if segment.rst() {
                Verdict::Drop
            } else {
                Verdict::ResetAndKeep
            };
        }
        let window_end = expected + self.rcv_wnd;
        let in_window = if segment.seq == segment.end() {
            segment.seq.within(expected, window_end)
        } else {
            segment.end().after(expected) && segment.seq.before(window_end)
        };
        if too_old || forged_echo || !in_window {
            return if segment.rst() {
                Verdict::Drop
            } else {
                Verdict::Acknowledge
            };
        }
        if let Some(ts) = theirs
            && segment.seq.at_or_before(expected)
        {
            self.ts_recent = ts.val;
        }
        let syn = segment.syn() && segment.seq != self.irs;
        if segment.rst() || syn {
            return Verdict::Forget;
        }
        if !segment.is_ack() {
            return Verdict::Drop;
        }
        if deferring && segment.end() == expected {
            self.acked = true;
            return Verdict::Drop;
        }
        Verdict::Complete
    }
}

impl TcpEngine {
    /// A segment of a half-open peer.
    pub(in crate::transport::tcp) fn half_open_segment(
        &mut self,
        cx: &mut Cx<'_>,
        index: u32,
        meta: &IpMeta,
        segment: Segment,
    ) {
        let Some(record) = self.half_open.records.get_mut(index) else {
            return;
        };
        let opts = self.sockets.get(record.listener).map(|socket| socket.opts);
        let defer = opts.map_or(0, |opts| opts.defer_accept);
        let was_acked = record.acked;
        let verdict = record.judge(&segment, record.timeouts < defer, false);
        if record.acked && !was_acked {
            cx.stats.defer_accept_drop += 1;
        }
        match verdict {
            Verdict::Drop => {}
            Verdict::SynAgain => {
                if record.may_answer(cx, false) {
                    record.retransmitted = true;
                    record.send_syn_ack(cx, None);
                    cx.stats.retrans_segs += 1;
                    self.restart_syn_ack_timer(cx, index);
                }
            }
            Verdict::Acknowledge => {
                let has_data = segment.seq_len() > 0 && !segment.syn();
                if record.may_answer(cx, has_data) {
                    record.acknowledge(cx);
                }
            }
            Verdict::ResetAndKeep => send_reset(cx, &record.key, &segment, record.ip),
            Verdict::Forget => {
                let (key, ip) = (record.key, record.ip);
                send_reset(cx, &key, &segment, ip);
                cx.stats.embryonic_rsts += 1;
                cx.stats.attempt_fails += 1;
                self.forget_half_open(index);
            }
            Verdict::Complete => self.complete_half_open(cx, index, meta, segment),
        }
    }

    /// An ICMP error about a SYN-ACK: a peer that cannot be reached is forgotten (Linux `tcp_req_err`).
    pub(in crate::transport::tcp) fn half_open_error(
        &mut self,
        cx: &mut Cx<'_>,
        index: u32,
        error: &IcmpError,
    ) {
        let unreachable = matches!(
            error.cause.error,
            SocketError::NetUnreachable | SocketError::HostUnreachable
        );
        if !unreachable || error.cause.hard || !self.half_open.is_ours(index, Seq(error.seq)) {
            return;
        }
        cx.stats.listen_drops += 1;
        self.forget_half_open(index);
    }

    /// Enters a record, its flow and its timer.
    pub(super) fn enter_half_open(&mut self, cx: &Cx<'_>, record: HalfOpen) -> u32 {
        let (key, listener) = (record.key, record.listener);
        let index = self.half_open.records.insert(record);
        self.flows.insert(&key, Flow::HalfOpen(index));
        self.restart_syn_ack_timer(cx, index);
        if let Some(State::Listen(listen)) = self.sockets.get_mut(listener).map(|s| &mut s.state) {
            listen.syn_queue.entered();
        }
        index
    }

    /// Removes a record, its flow and its timer.
    pub(super) fn forget_half_open(&mut self, index: u32) -> Option<HalfOpen> {
        let record = self.half_open.records.remove(index)?;
        self.half_open.timers.remove(index);
        self.flows.remove(&record.key, Flow::HalfOpen(index));
        if let Some(State::Listen(listen)) =
            self.sockets.get_mut(record.listener).map(|s| &mut s.state)
        {
            listen.syn_queue.left(record.timeouts == 0);
        }
        Some(record)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_is_compact() {
        assert!(
            size_of::<HalfOpen>() <= 256,
            "{} bytes",
            size_of::<HalfOpen>()
        );
    }
}
