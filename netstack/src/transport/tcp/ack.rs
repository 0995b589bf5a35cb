//! Processing an acceptable acknowledgement (RFC 9293, 3.10.7.4, fifth check).

use super::Cx;
use super::chrono::Waits;
use super::congestion::{AckSample, Found, RttSample};
use super::output::SUPER_PAYLOAD_MAX;
use super::recovery::{AckFacts, Belief};
use super::sack::Covered;
use super::segment::Segment;
use super::seq::Seq;
use super::state::Connection;
use super::timers::Timer;
use crate::time::{Duration, Instant};

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
        if !self.is_plausible(cx, seg.ack) {
            return AckVerdict::Unacceptable;
        }
        let old = seg.ack.before(before);
        let advanced = seg.ack.after(before);
        let window_changed = !old && self.update_send_window(seg);
        self.note_peer_timestamp(seg, cx);
        let high = self.recovery.high;
        let mut covered = Covered::new(&self.flight, seg.arrival, self.rtt.min_rtt(), high);
        let losses = self.flight.losses;
        let was_empty = self.flight.is_empty();
        if advanced {
            self.advance_una(seg.ack);
        }
        let dsack = self.take_sack(cx, seg, before, &mut covered);
        if advanced {
            self.take_cumulative(cx, seg.ack, &mut covered, dup_acks);
            self.receipts_on_acked(cx.now);
        }
        self.take_rtt(seg, &covered, advanced, cx);
        self.tell_rtt(cx);
        self.rack_advance(&covered);
        if advanced {
            cx.out.confirm(self.key.remote.ip());
            self.on_progress(cx);
            self.note_room(cx.now);
        } else if was_empty && !old {
            self.on_probe_answered();
        }
        let duplicate = !advanced
            && !old
            && seg.payload.is_empty()
            && !seg.fin()
            && !window_changed
            && !was_empty;
        let marked = self.ecn_ack_in(cx, seg);
        self.counters.delivered += covered.delivered;
        self.counters.delivered_ce += if marked { covered.delivered } else { 0 };
        self.recovery.rack.update_window(
            covered.newest.map(|sent| sent.then.delivered),
            self.counters.delivered,
        );
        if !was_empty {
            self.on_probe_acked(cx, seg.ack, duplicate && !covered.sacked, dsack.of_probe);
        }
        let facts = AckFacts {
            una_before: before,
            advanced,
            duplicate: duplicate && (self.sack || !dsack.counts),
            dsack: dsack.counts,
            marked,
            tsecr: self.ts.and(seg.options.timestamps).map(|ts| ts.ecr),
            now: seg.arrival,
        };
        let doubtful = self.recovery.belief != Belief::Open
            || covered.sacked
            || duplicate
            || facts.dsack
            || marked;
        if doubtful && (!was_empty || facts.dsack) {
            let dup_acks = self.recovery.dup_acks;
            self.recover(cx, &covered, facts);
            // Each duplicate tells of one delivery.
            let told = self.recovery.dup_acks.saturating_sub(dup_acks);
            covered.delivered += told;
            self.counters.delivered += told;
        }
        if !old {
            self.control_congestion(&covered, facts, self.flight.losses - losses, cx);
        }
        if advanced {
            self.rearm_after_progress(cx);
        }
        AckVerdict::Good
    }

    /// False if `ack` acknowledges what never was sent, or is older than any window we ever had (RFC 5961,
    /// 5.2): it is answered, at a limited rate, and counted.
    fn is_plausible(&mut self, cx: &mut Cx<'_>, ack: Seq) -> bool {
        let unsent = ack.after(self.snd.nxt);
        let ancient = ack.before(self.snd.una - self.snd.max_wnd.max(1));
        cx.stats.acks_of_unsent += u64::from(unsent);
        cx.stats.acks_too_old += u64::from(ancient);
        if unsent || ancient {
            self.challenge(cx);
        }
        !unsent && !ancient
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

    /// Moves `SND.UNA`.
    fn advance_una(&mut self, ack: Seq) {
        self.counters.bytes_acked += u64::from(ack - self.snd.una);
        let before = self.snd.una;
        self.snd.una = ack;
        self.urgent_acked(before);
        self.snd.queue.advance(ack);
        self.snd.records.advance(ack);
    }

    /// What lies below `SND.UNA` has arrived; of that, `dup_acks` duplicates have told before.
    fn take_cumulative(&mut self, cx: &mut Cx<'_>, ack: Seq, covered: &mut Covered, dup_acks: u32) {
        let before = covered.delivered;
        self.flight.acknowledge(ack, self.snd.mss, covered);
        if self.sack {
            self.note_reordering(cx, covered.late_ack, false);
            return;
        }
        let acked = covered.delivered - before;
        if acked > 0 {
            // One of them fills the hole (Linux `tcp_remove_reno_sacks`).
            covered.delivered = before + acked.saturating_sub(dup_acks).max(1);
            self.recovery.dup_acks = dup_acks.saturating_sub(acked - 1);
        }
    }

    /// Takes an acknowledgement that comes with the peer's SYN.
    pub(super) fn take_first_ack(&mut self, ack: Seq) {
        self.advance_una(ack);
        self.flight
            .acknowledge(ack, self.snd.mss, &mut Covered::default());
    }

    /// An RTT from the first segment newly covered; if one of them was sent twice, from the echoed
    /// timestamp (RFC 7323, 4.1; Karn's rule; Linux `tcp_ack_update_rtt`).
    fn take_rtt(&mut self, seg: &Segment, covered: &Covered, advanced: bool, cx: &Cx<'_>) {
        let since = |at: Option<Instant>| at.map(|at| seg.arrival.since(at));
        let (acked, selected) = (covered.acked, covered.selected);
        let first = match covered.retransmitted {
            true => since(selected.first),
            false => since(acked.first).or(since(selected.first)),
        };
        let last = match covered.retransmitted {
            true => since(selected.last),
            false => since(selected.last).or(since(acked.last)),
        };
        if let (Some(first), Some(last)) = (first, last) {
            self.rtt.sample(cx.now, first, last);
            self.rtt.of_ack = Some(last);
            return;
        }
        self.rtt.of_ack = None;
        if advanced
            && covered.delivered > 0
            && let (Some(clock), Some(echoed)) =
                (self.timestamp_now(cx.now), seg.options.timestamps)
            && echoed.ecr != 0
        {
            let delta = clock.wrapping_sub(echoed.ecr);
            if delta < 1 << 24 {
                let rtt = Duration::from_millis(u64::from(delta.max(1)));
                self.rtt.sample(cx.now, rtt, rtt);
                self.rtt.of_ack = Some(rtt);
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
    fn note_room(&mut self, now: Instant) {
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

    /// The window and the rate follow what was delivered (Linux `tcp_cong_control`).
    fn control_congestion(
        &mut self,
        covered: &Covered,
        facts: AckFacts,
        newly_lost: u64,
        cx: &mut Cx<'_>,
    ) {
        let _sample = self.rate_sample(facts.now, covered.newest.as_ref(), covered.delivered);
        if self.recovery.reduces() {
            self.reduce(covered.delivered, facts.advanced && newly_lost == 0);
        } else {
            self.grow_window(covered, facts.advanced, cx);
        }
    }

    fn grow_window(&mut self, covered: &Covered, advanced: bool, cx: &Cx<'_>) {
        // Only in-order delivery counts, unless the network is known to reorder a lot (Linux
        // `tcp_may_raise_cwnd`).
        let counts = advanced || self.recovery.reordering > cx.config.tcp_reordering;
        if covered.delivered == 0 || !self.cc.is_limiting() || !counts {
            return;
        }
        self.cc.on_ack(AckSample {
            acked: covered.delivered,
            now: cx.now,
        });
        self.grow_send_buffer(cx.config);
    }

    /// Tells the congestion control of the RTT that the acknowledgement has measured.
    fn tell_rtt(&mut self, cx: &mut Cx<'_>) {
        let Some(rtt) = self.rtt.of_ack else {
            return;
        };
        let sample = RttSample {
            rtt,
            now: cx.now,
            una: self.snd.una,
            nxt: self.snd.nxt,
            pacing_rate: self.sending_rate(cx.config),
            burst_bytes: u64::from(SUPER_PAYLOAD_MAX),
            paced: false,
        };
        match self.cc.on_rtt(&sample) {
            None => {}
            Some(Found::Train) => {
                cx.stats.hystart_train_detect += 1;
                cx.stats.hystart_train_cwnd += u64::from(self.cc.window.cwnd);
            }
            Some(Found::Delay) => {
                cx.stats.hystart_delay_detect += 1;
                cx.stats.hystart_delay_cwnd += u64::from(self.cc.window.cwnd);
            }
        }
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
            if let Some(wait) = self.renege_wait(true) {
                self.timers.set(Timer::Retransmit, cx.now + wait);
            }
        }
    }

    /// (Re)starts the retransmission timeout, counted from now.
    pub(super) fn arm_retransmit(&mut self, now: Instant) {
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
