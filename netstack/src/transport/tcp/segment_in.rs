//! A segment for a synchronised connection: RFC 9293, 3.10.7.4, check by check, with the blind
//! attack defences of RFC 5961 and PAWS of RFC 7323.

use super::Cx;
use super::ack::AckVerdict;
use super::segment::{Segment, send_reset};
use super::seq::Seq;
use super::state::{Connection, Phase};
use crate::buf::Bytes;
use crate::error::SocketError;
use crate::time::Duration;

/// After this long TS.Recent says nothing any more (RFC 7323, 5.5).
const PAWS_MEMORY: Duration = Duration::from_secs(24 * 24 * 3600);
/// How far behind a timestamp may be and still count as the same tick (Linux `TCP_PAWS_WINDOW`).
const PAWS_TOLERANCE: i32 = 1;

impl Connection {
    /// Takes one segment. The caller sees from the phase what has become of the connection.
    pub(super) fn segment_in(&mut self, cx: &mut Cx<'_>, mut seg: Segment) {
        self.counters.segs_in += seg.merged;
        self.acks.last_heard = cx.now;
        if self.opening.is_some() && !self.opening_admits(cx, &seg) {
            return;
        }
        if !self.is_acceptable(cx, &seg) {
            return;
        }
        if !seg.is_ack() {
            return;
        }
        if self.ack_in(cx, &seg) == AckVerdict::Unacceptable {
            if self.phase != Phase::Established && seg.ack.after(self.snd.nxt) {
                self.challenge(cx);
            }
            return;
        }
        if self.opening.is_some() {
            self.complete_opening(cx);
        }
        self.advance_phase(cx);
        if matches!(self.phase, Phase::TimeWait | Phase::Closed) {
            return;
        }
        if self.is_abandoned_by_reader(&seg) {
            // Nobody will ever read this: RFC 9293, 3.9.1.4 and Linux `tcp_rcv_state_process`.
            send_reset(cx, &self.key, &seg, self.opts.ip);
            self.finish(Some(SocketError::Reset));
            return;
        }
        self.urgent_in(cx, &seg);
        self.data_in(cx, &mut seg);
        if self.phase == Phase::TimeWait || self.phase == Phase::Closed {
            return;
        }
        self.output(cx);
        self.schedule_ack(cx);
    }

    /// Checks one to four: PAWS, sequence, RST, SYN.
    fn is_acceptable(&mut self, cx: &mut Cx<'_>, seg: &Segment) -> bool {
        if self.paws_rejects(cx, seg) && !seg.rst() {
            cx.stats.paws_estab += 1;
            self.answer_out_of_window(cx, seg);
            return false;
        }
        let end_of_window = self.rcv.nxt + self.rcv.window.left(self.rcv.nxt);
        let in_window = !seg.end().before(self.rcv.window.wup) && !seg.seq.after(end_of_window);
        if !in_window {
            if seg.rst() {
                return false;
            }
            if seg.syn() {
                self.challenge(cx);
            } else {
                self.answer_out_of_window(cx, seg);
            }
            return false;
        }
        if seg.rst() {
            self.reset_in(cx, seg);
            return false;
        }
        if seg.syn() {
            // RFC 5961, 4.2: a SYN never resets; the peer, if it really restarted, will.
            cx.stats.syn_challenge += 1;
            self.challenge(cx);
            return false;
        }
        true
    }

    /// PAWS (RFC 7323, 5.3): true if the timestamp is older than what has been seen.
    fn paws_rejects(&self, cx: &Cx<'_>, seg: &Segment) -> bool {
        let (Some(ts), Some(theirs)) = (&self.ts, seg.options.timestamps) else {
            return false;
        };
        let behind = ts.recent.wrapping_sub(theirs.val) as i32;
        if behind <= PAWS_TOLERANCE || cx.now.since(ts.recent_at) >= PAWS_MEMORY || ts.recent == 0 {
            return false;
        }
        // A pure duplicate acknowledgement may have been overtaken on the way.
        let overtaken = seg.is_ack()
            && seg.seq_len() == 0
            && seg.seq == self.rcv.nxt
            && seg.ack == self.snd.una
            && u32::from(seg.window) << self.snd.wscale == self.snd.wnd
            && behind <= 200;
        !overtaken
    }

    /// RFC 5961, 3.2: only a reset at exactly RCV.NXT counts; others in the window are challenged.
    fn reset_in(&mut self, cx: &mut Cx<'_>, seg: &Segment) {
        let after_hole = self.rcv.queue.has_hole()
            && self
                .rcv
                .queue
                .sack_blocks(4)
                .iter()
                .any(|(_, high)| Seq(*high) == seg.seq);
        let after_fin = self.rcv.fin && seg.seq + 1 == self.rcv.nxt;
        if seg.seq != self.rcv.nxt && !after_hole && !after_fin {
            // Nothing but a stray reset comes back: data on the SYN may have upset a middlebox.
            let silent = self.opened.by_option && self.counters.data_segs_in == 0;
            self.opened.suspect |= silent && self.phase == Phase::Established;
            self.challenge(cx);
            return;
        }
        let error = match self.phase {
            Phase::CloseWait => SocketError::Pipe,
            _ => SocketError::Reset,
        };
        cx.stats.estab_resets +=
            u64::from(matches!(self.phase, Phase::Established | Phase::CloseWait));
        self.finish(Some(error));
    }

    /// True if `seg` may be answered: at most one answer to data-less nonsense each half second.
    fn may_answer(&mut self, cx: &Cx<'_>, seg_has_data: bool) -> bool {
        if seg_has_data {
            return true;
        }
        let gap = Duration::from_millis(u64::from(cx.config.tcp_invalid_ratelimit));
        if self
            .last_oow_answer
            .is_some_and(|at| cx.now.since(at) < gap)
        {
            return false;
        }
        self.last_oow_answer = Some(cx.now);
        true
    }

    fn answer_out_of_window(&mut self, cx: &mut Cx<'_>, seg: &Segment) {
        if seg.end() != seg.seq && seg.seq.before(self.rcv.nxt) {
            // A segment again that we have: the acknowledgement was lost. Tell the peer so.
            self.acks.enter_quick(self.rcv.window.wnd);
            if self.sack && cx.config.tcp_dsack != 0 && !seg.payload.is_empty() {
                self.rcv.dsack = Some((seg.seq, seg.end().min(self.rcv.nxt)));
            }
        }
        if self.may_answer(cx, seg.seq_len() > 0 && !seg.syn()) {
            self.send_ack(cx);
        }
    }

    /// A challenge ACK (RFC 5961, section 7: limited in rate).
    pub(super) fn challenge(&mut self, cx: &mut Cx<'_>) {
        if self.may_answer(cx, false) {
            cx.stats.challenge_acks += 1;
            self.send_ack(cx);
        }
    }

    /// Keeps the peer's timestamp for echoing (RFC 7323, 4.3).
    pub(super) fn note_peer_timestamp(&mut self, seg: &Segment, cx: &Cx<'_>) {
        let (Some(ts), Some(theirs)) = (&mut self.ts, seg.options.timestamps) else {
            return;
        };
        let newer = theirs.val.wrapping_sub(ts.recent) as i32 >= 0;
        if seg.seq.at_or_before(self.rcv.window.wup) && newer {
            ts.recent = theirs.val;
            ts.recent_at = cx.now;
        }
    }

    /// True if data arrives for a connection whose reader is gone.
    fn is_abandoned_by_reader(&self, seg: &Segment) -> bool {
        let new_data =
            !seg.payload.is_empty() && (seg.seq + seg.payload.len() as u32).after(self.rcv.nxt);
        new_data && self.rcv.shutdown && matches!(self.phase, Phase::FinWait1 | Phase::FinWait2)
    }

    /// The seventh and eighth check: data and FIN.
    fn data_in(&mut self, cx: &mut Cx<'_>, seg: &mut Segment) {
        if seg.seq_len() == 0 {
            return;
        }
        self.ecn_data_in(seg);
        let end = seg.end();
        let window_end = self.rcv.nxt + self.rcv.window.left(self.rcv.nxt);
        if !self.phase.may_receive() || end.at_or_before(self.rcv.nxt) {
            self.duplicate_in(cx, seg);
            return;
        }
        if seg.seq.at_or_after(window_end) && !(seg.payload.is_empty() && seg.seq == self.rcv.nxt) {
            // A probe of our shut window.
            self.acks.enter_quick(self.rcv.window.wnd);
            self.acks.now = true;
            return;
        }
        self.counters.data_segs_in += if seg.payload.is_empty() {
            0
        } else {
            seg.merged
        };
        let fin_at = seg.fin().then(|| seg.seq + seg.payload.len() as u32);
        let mut data = seg.payload.clone();
        let mut seq = seg.seq;
        let room = window_end - seq;
        let cut = data.len() > room as usize;
        data.truncate(room as usize);
        if seq.before(self.rcv.nxt) {
            let known = (self.rcv.nxt - seq) as usize;
            if self.sack && cx.config.tcp_dsack != 0 {
                self.rcv.dsack = Some((seq, self.rcv.nxt));
            }
            data = if known < data.len() {
                data.slice(known..)
            } else {
                Bytes::new()
            };
            seq = self.rcv.nxt;
            self.acks.enter_quick(self.rcv.window.wnd);
        }
        let fin_at = fin_at.filter(|_| !cut);
        if seq == self.rcv.nxt {
            self.in_order(cx, data, fin_at, seg);
        } else {
            self.ahead_of_hole(cx, seq, data, fin_at);
        }
    }

    /// Nothing new in it: report it (RFC 2883) and acknowledge at once.
    fn duplicate_in(&mut self, cx: &Cx<'_>, seg: &Segment) {
        if self.sack && cx.config.tcp_dsack != 0 && !seg.payload.is_empty() {
            self.rcv.dsack = Some((seg.seq, seg.end().min(self.rcv.nxt)));
        }
        self.acks.enter_quick(self.rcv.window.wnd);
        self.acks.now = true;
    }

    fn in_order(&mut self, cx: &mut Cx<'_>, data: Bytes, fin_at: Option<Seq>, seg: &Segment) {
        let len = data.len() as u32;
        let had_hole = self.rcv.queue.has_hole();
        if len > 0 {
            let per_segment = len.div_ceil(seg.merged);
            self.acks
                .on_data(cx.now, per_segment, self.rcv.window.wnd, self.snd.path_mss);
            self.counters.bytes_received += u64::from(len);
            // As in Linux shutdown(SHUT_RD) ends reads that would wait, and no more: what comes can
            // be read, and what nobody reads shuts the window.
            self.rcv.queue.push(data);
            self.rcv.nxt += len;
            self.grow_receive_window(per_segment);
            self.autotune
                .on_arrival(self.rcv.nxt, self.rcv.window.wnd, cx.now);
            self.sample_receiver_rtt(cx, seg);
        }
        if had_hole {
            self.rcv.nxt = self.rcv.queue.join(self.rcv.nxt);
            // The hole is (partly) filled: the sender wants to know (RFC 5681, 4.2).
            self.acks.now = true;
        }
        let fin = fin_at.or(self.rcv.fin_ahead);
        if fin == Some(self.rcv.nxt) {
            self.fin_in();
        }
    }

    /// The receiver's RTT from a full segment that echoes a timestamp (Linux
    /// `tcp_rcv_rtt_measure_ts`).
    fn sample_receiver_rtt(&mut self, cx: &Cx<'_>, seg: &Segment) {
        let (Some(clock), Some(theirs)) = (self.timestamp_now(cx.now), seg.options.timestamps)
        else {
            return;
        };
        let full = seg.payload.len() >= usize::from(self.acks.rcv_mss);
        let delta = clock.wrapping_sub(theirs.ecr);
        if full && theirs.ecr != 0 && delta < 1 << 20 {
            self.autotune
                .sample(Duration::from_millis(u64::from(delta)));
        }
    }

    fn ahead_of_hole(&mut self, cx: &mut Cx<'_>, seq: Seq, data: Bytes, fin_at: Option<Seq>) {
        self.counters.rcv_ooopack += 1;
        self.acks.pending = true;
        self.acks.now = true;
        if let Some(at) = fin_at {
            self.rcv.fin_ahead = Some(at);
        }
        if data.is_empty() {
            return;
        }
        let duplicate = self.rcv.queue.insert_ahead(seq, data);
        if let (Some(range), true) = (duplicate, self.sack && cx.config.tcp_dsack != 0) {
            self.rcv.dsack = Some(range);
        }
        // Small ranges cost more than their bytes: what exceeds the buffer goes, the furthest first.
        let limit = self.rcv.window.buffer as usize;
        cx.stats.ofo_pruned += self.rcv.queue.prune(limit) as u64;
    }

    /// The peer's FIN is in order.
    fn fin_in(&mut self) {
        self.rcv.nxt += 1;
        self.rcv.fin = true;
        self.rcv.fin_ahead = None;
        self.acks.pending = true;
        self.acks.now = true;
        self.phase = match self.phase {
            Phase::Established => {
                // The peer sends no more: acknowledge, and expect the application to answer.
                self.acks.interactive = true;
                Phase::CloseWait
            }
            Phase::FinWait1 => Phase::Closing,
            Phase::FinWait2 => {
                self.in_order = true;
                Phase::TimeWait
            }
            other => other,
        };
    }

    /// Decides between an acknowledgement now and one that waits for data to ride on (Linux
    /// `__tcp_ack_snd_check`).
    pub(super) fn schedule_ack(&mut self, cx: &mut Cx<'_>) {
        if !self.acks.pending && !self.acks.now {
            return;
        }
        let unacked = self.rcv.nxt - self.acks.acked.unwrap_or(self.rcv.irs + 1);
        let rcv_mss = u32::from(self.acks.rcv_mss);
        let charged = self.rcv.queue.charged() as u32;
        let window = &self.rcv.window;
        let edge_moves = unacked > rcv_mss && window.candidate(charged, rcv_mss) >= window.wnd;
        let starved = unacked > rcv_mss && self.rcv.queue.readable() < self.opts.rcvlowat as usize;
        let now = self.acks.now || self.acks.is_quick() || self.rcv.queue.has_hole();
        if now || edge_moves || starved {
            self.send_ack(cx);
        } else if !self.timers.is_set(super::timers::Timer::DelayedAck) {
            let at = cx.now + self.acks.delay(self.rtt.srtt());
            self.timers.set(super::timers::Timer::DelayedAck, at);
        }
    }
}
