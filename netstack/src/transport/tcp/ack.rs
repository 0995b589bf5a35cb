//! Processing an acceptable acknowledgement (RFC 9293, 3.10.7.4, fifth check).

use super::Cx;
use super::chrono::Waits;
use super::congestion::AckSample;
use super::recovery::{AckFacts, Belief};
use super::sack::Covered;
use super::segment::Segment;
use super::seq::Seq;
use super::state::Connection;
use super::timers::Timer;
use crate::time::Duration;

/// What is to be done with the rest of a segment after its acknowledgement.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum AckVerdict {
    /// Go on.
    Good,
    /// It acknowledges something that never was sent, or is far too old: drop the segment.
    Unacceptable,
}

impl Connection {
    /// Takes the acknowledgement, window and SACK blocks of `seg`.
    pub(super) fn ack_in(&mut self, cx: &mut Cx<'_>, seg: &Segment) -> AckVerdict {
        let before = self.snd.una;
        let dup_acks = self.recovery.dup_acks;
        if seg.ack.after(self.snd.nxt) {
            self.challenge(cx);
            return AckVerdict::Unacceptable;
        }
        if seg.ack.before(before) {
            // RFC 5961, 5.2: older than any window we ever had.
            if seg.ack.before(before - self.snd.max_wnd.max(1)) {
                self.challenge(cx);
                return AckVerdict::Unacceptable;
            }
        }
        let old = seg.ack.before(before);
        let advanced = seg.ack.after(before);
        let window_changed = !old && self.update_send_window(seg);
        self.note_peer_timestamp(seg, cx);
        let mut covered = Covered {
            highest_before: self.flight.highest,
            ..Covered::default()
        };
        let dsack = self.take_sack(seg, &mut covered);
        if advanced {
            self.take_cumulative(seg.ack, &mut covered);
            self.receipts_on_acked(cx.now);
        }
        self.take_rtt(seg, &covered, advanced, cx);
        self.rack_advance(&covered, seg.arrival);
        if advanced {
            cx.out.confirm(self.key.remote.ip());
            self.on_progress(cx);
            self.note_room(cx.now);
        } else if self.flight.is_empty() && !old {
            self.on_probe_answered();
        }
        let duplicate = !advanced
            && !old
            && seg.payload.is_empty()
            && !seg.fin()
            && !window_changed
            && !covered.sacked
            && !self.flight.is_empty();
        self.on_probe_acked(seg.ack, duplicate, dsack);
        let facts = AckFacts {
            advanced,
            duplicate,
            dsack,
            tsecr: self.ts.and(seg.options.timestamps).map(|ts| ts.ecr),
            now: seg.arrival,
        };
        let belief = self.recovery.belief;
        let marked = self.ecn_ack_in(cx, seg);
        let doubtful = self.recovery.belief != Belief::Open || covered.sacked || duplicate || dsack;
        if doubtful && (!self.flight.is_empty() || self.recovery.belief != Belief::Open) {
            self.recover(&covered, facts);
        }
        self.ecn_note_reduction(belief);
        self.counters.delivered += covered.delivered;
        self.counters.delivered_ce += if marked { covered.delivered } else { 0 };
        if !self.sack && covered.delivered > 0 {
            // Each duplicate has told of one delivery already (Linux `tcp_remove_reno_sacks`).
            covered.delivered = covered.delivered.saturating_sub(dup_acks).max(1);
        }
        self.grow_window(&covered, advanced, cx);
        if advanced {
            self.rearm_after_progress(cx);
        }
        AckVerdict::Good
    }

    /// SND.WND, SND.WL1 and SND.WL2 (RFC 9293, 3.10.7.4). True if the window changed.
    fn update_send_window(&mut self, seg: &Segment) -> bool {
        let window = u32::from(seg.window) << self.snd.wscale;
        let newer = seg.ack.after(self.snd.una)
            || seg.seq.after(self.snd.wl1)
            || (seg.seq == self.snd.wl1 && (window > self.snd.wnd || window == 0));
        if !newer {
            return false;
        }
        let changed = window != self.snd.wnd;
        self.snd.wl1 = seg.seq;
        self.snd.wnd = window;
        self.snd.max_wnd = self.snd.max_wnd.max(window);
        changed
    }

    /// Reads SACK blocks; true if the first was a D-SACK (RFC 2883).
    fn take_sack(&mut self, seg: &Segment, covered: &mut Covered) -> bool {
        let blocks = &seg.options.sack;
        if !self.sack || blocks.is_empty() {
            return false;
        }
        let as_seq = |block: &(u32, u32)| (Seq(block.0), Seq(block.1));
        let first = as_seq(&blocks[0]);
        let below = first.1.at_or_before(seg.ack) && first.0.before(first.1);
        let inside = blocks
            .get(1)
            .map(as_seq)
            .is_some_and(|second| first.0.at_or_after(second.0) && first.1.at_or_before(second.1));
        let dsack = below || inside;
        if dsack && first.1.at_or_before(self.snd.nxt) {
            self.on_dsack();
        }
        for block in blocks.iter().skip(usize::from(dsack)) {
            let (low, high) = as_seq(block);
            self.flight.select(low, high, self.snd.mss, covered);
        }
        dsack
    }

    pub(super) fn take_cumulative(&mut self, ack: Seq, covered: &mut Covered) {
        self.flight.acknowledge(ack, self.snd.mss, covered);
        self.counters.bytes_acked += u64::from(ack - self.snd.una);
        let before = self.snd.una;
        self.snd.una = ack;
        self.urgent_acked(before);
        self.snd.queue.advance(ack);
        self.snd.records.advance(ack);
    }

    /// An RTT from the first segment newly covered; if one of them was sent twice, from the echoed
    /// timestamp (RFC 7323, 4.1; Karn's rule).
    fn take_rtt(&mut self, seg: &Segment, covered: &Covered, advanced: bool, cx: &Cx<'_>) {
        if let (false, Some(sent)) = (covered.retransmitted, covered.first_sent) {
            self.rtt.sample(seg.arrival.since(sent));
        } else if advanced
            && covered.delivered > 0
            && let (Some(clock), Some(echoed)) =
                (self.timestamp_now(cx.now), seg.options.timestamps)
            && echoed.ecr != 0
        {
            let delta = clock.wrapping_sub(echoed.ecr);
            if delta < 1 << 24 {
                self.rtt
                    .sample(Duration::from_millis(u64::from(delta.max(1))));
            }
        }
    }

    fn on_progress(&mut self, cx: &Cx<'_>) {
        self.rtt.backoff = 0;
        self.recovery.timeouts = 0;
        self.recovery.trouble_since = None;
        self.timers.stop(Timer::Persist);
        self.rearm_keepalive(cx);
    }

    /// The send buffer has become emptier.
    fn note_room(&mut self, now: crate::time::Instant) {
        if self.snd.no_space && self.is_writable() {
            self.snd.no_space = false;
            self.chrono.stop(Waits::Buffer, now);
        }
        if self.snd.queue.len() == 0 {
            self.chrono.rest(now);
        }
    }

    /// Nothing was in flight: the segment answers a zero-window or keepalive probe.
    fn on_probe_answered(&mut self) {
        self.recovery.trouble_since = None;
        if self.snd.wnd > 0 {
            self.recovery.timeouts = 0;
            if self.timers.is_set(Timer::Persist) {
                self.timers.stop(Timer::Persist);
                self.rtt.backoff = 0;
            }
        } else {
            // The peer is alive, only its window is shut: probe for as long as that lasts.
            self.recovery.timeouts = 0;
        }
    }

    fn grow_window(&mut self, covered: &Covered, advanced: bool, cx: &Cx<'_>) {
        let reducing = matches!(self.recovery.belief, Belief::Recovery | Belief::Reducing);
        // Only in-order delivery counts, unless the network is known to reorder a lot (Linux
        // `tcp_may_raise_cwnd`).
        let counts = advanced || self.recovery.reordering > cx.config.tcp_reordering;
        if covered.delivered == 0 || reducing || !self.cc.is_limiting() || !counts {
            return;
        }
        self.cc.on_ack(AckSample {
            acked: covered.delivered,
            srtt: self.rtt.srtt(),
            now: cx.now,
        });
        self.grow_send_buffer(cx.config);
    }

    /// The timeout runs from the last progress (RFC 6298, 5.3).
    fn rearm_after_progress(&mut self, cx: &Cx<'_>) {
        if self.flight.is_empty() {
            self.timers.stop(Timer::Retransmit);
            self.timers.stop(Timer::LossProbe);
            self.timers.stop(Timer::Reorder);
        } else {
            self.arm_retransmit(cx.now);
            self.schedule_probe(cx.now, cx.config.tcp_early_retrans >= 3);
        }
    }

    /// (Re)starts the retransmission timeout, counted from now.
    pub(super) fn arm_retransmit(&mut self, now: crate::time::Instant) {
        if self.opening.is_some() {
            // Before our SYN-ACK is acknowledged nothing else is repeated.
            return;
        }
        let mut rto = self.rtt.rto();
        if let Some(limit) = self.user_timeout_left(now) {
            rto = rto.min(limit.max(Duration::from_millis(1)));
        }
        self.timers.set(Timer::Retransmit, now + rto);
    }
}
