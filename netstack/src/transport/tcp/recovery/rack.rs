//! RACK: time-based loss detection (RFC 8985, section 6), and the tail loss probe (section 7).

use super::{Belief, Connection};
use crate::time::{Duration, Instant};
use crate::transport::tcp::Cx;
use crate::transport::tcp::sack::Covered;
use crate::transport::tcp::seq::Seq;
use crate::transport::tcp::timers::Timer;

/// Longest time an acknowledgement may be delayed by the peer, for a probe of a single segment.
const PEER_DELAYED_ACK: Duration = Duration::from_millis(200);
/// Shortest time before a probe.
const PROBE_MIN: Duration = Duration::from_millis(2);

/// Recoveries without a duplicate after which the reordering window shrinks back.
const PERSIST: u8 = 16;

/// What RACK remembers: the most recently sent segment that has been delivered.
#[derive(Clone, Debug)]
pub(in super::super) struct Rack {
    latest: Option<(Instant, Seq)>,
    rtt: Duration,
    /// Something was delivered since the last look.
    pub(super) advanced: bool,
    /// Quarters of the minimum RTT in the reordering window.
    steps: u32,
    /// A duplicate was reported that the window may have to grow for.
    pub(super) dsack_seen: bool,
    /// Segments delivered when the window last grew.
    grown_at: u32,
    /// Recoveries left before the window shrinks back.
    persist: u8,
}

impl Default for Rack {
    fn default() -> Self {
        Self {
            latest: None,
            rtt: Duration::ZERO,
            advanced: false,
            steps: 1,
            dsack_seen: false,
            grown_at: 0,
            persist: 0,
        }
    }
}

impl Rack {
    /// RTT of what was delivered last.
    pub(super) fn rtt(&self) -> Duration {
        self.rtt
    }

    /// A recovery has ended.
    pub(super) fn end_episode(&mut self) {
        self.persist = self.persist.saturating_sub(1);
    }

    /// An episode was undone for duplicates.
    pub(super) fn persist_longer(&mut self) {
        self.persist = (self.persist + 1).min(PERSIST);
    }

    /// Grows the reordering window by a quarter of the minimum RTT for duplicates, at most once in a
    /// round trip (RFC 8985, 6.2, step 4). `prior`: segments delivered when what is now acknowledged
    /// left.
    pub(in super::super) fn update_window(&mut self, prior: Option<u32>, delivered: u32) {
        let Some(prior) = prior else { return };
        if (prior.wrapping_sub(self.grown_at) as i32) < 0 {
            self.dsack_seen = false;
        }
        if core::mem::take(&mut self.dsack_seen) {
            self.steps = (self.steps + 1).min(255);
            self.grown_at = delivered;
            self.persist = PERSIST;
        } else if self.persist == 0 {
            self.steps = 1;
        }
    }
}

impl Connection {
    /// Feeds RACK with what an acknowledgement covers.
    pub(in super::super) fn rack_advance(&mut self, covered: &Covered) {
        let rack = &mut self.recovery.rack;
        if let Some(rtt) = covered.rack_rtt {
            (rack.rtt, rack.advanced) = (rtt, true);
        }
        if let Some(sent) = &covered.latest {
            let later = rack
                .latest
                .is_none_or(|(at, end)| sent.at > at || (sent.at == at && sent.end.after(end)));
            if later {
                rack.latest = Some((sent.at, sent.end));
            }
        }
    }

    /// The reordering window (RFC 8985, 6.2, step 4).
    fn reorder_window(&self) -> Duration {
        let rack = &self.recovery.rack;
        if self.counters.reord_seen == 0
            && (self.recovery.belief >= Belief::Recovery
                || self.flight.sacked >= self.recovery.reordering)
        {
            return Duration::ZERO;
        }
        if self.rtt.min_rtt() == Duration::MAX {
            return Duration::ZERO;
        }
        (self.rtt.min_rtt() / 4 * rack.steps).min(self.rtt.srtt())
    }

    /// Marks lost what was sent a reordering window before something that has been delivered.
    /// Returns when to look again for what is not yet past that window.
    fn rack_mark(&mut self, now: Instant) -> Option<Instant> {
        let (latest_at, latest_end) = self.recovery.rack.latest?;
        let limit = self.recovery.rack.rtt + self.reorder_window();
        let mut look_again: Option<Instant> = None;
        self.flight.mark_lost(|sent| {
            let sent_before =
                (sent.at, sent.end.0.wrapping_sub(latest_end.0) as i32) < (latest_at, 0);
            if !sent_before {
                return false;
            }
            let deadline = sent.at + limit;
            // Ranges that left within a microsecond left together, whatever their order.
            if deadline.as_micros() <= now.as_micros() {
                return true;
            }
            look_again = Some(look_again.map_or(deadline, |at| at.max(deadline)));
            false
        });
        look_again
    }

    /// Marks lost what RACK finds lost, and arms its timer for what it cannot tell yet.
    pub(super) fn detect_losses(&mut self, cx: &mut Cx<'_>, now: Instant) {
        if !core::mem::take(&mut self.recovery.rack.advanced) {
            return;
        }
        self.look_for_losses(cx, now);
    }

    fn look_for_losses(&mut self, cx: &mut Cx<'_>, now: Instant) {
        let retrans = self.flight.retrans;
        let wait = self.rack_mark(now);
        cx.stats.lost_retransmit += u64::from(retrans - self.flight.retrans);
        match wait {
            Some(at) => self.timers.set(Timer::Reorder, at),
            None => self.timers.stop(Timer::Reorder),
        }
    }

    /// RACK's reordering window has passed (RFC 8985, 6.3).
    pub(in super::super) fn on_reorder_timer(&mut self, cx: &mut Cx<'_>) {
        let before = self.in_flight();
        self.look_for_losses(cx, cx.now);
        if self.in_flight() == before {
            return;
        }
        if self.recovery.belief != Belief::Recovery {
            self.enter_recovery(cx, false);
            if !self.cc.has_own_control() {
                self.reduce(1, false);
            }
        }
    }

    /// Arms the tail loss probe after new data or an acknowledgement (RFC 8985, 7.2). True if it is
    /// armed, in which case the retransmission timeout waits.
    pub(in super::super) fn schedule_probe(&mut self, now: Instant, enabled: bool) -> bool {
        let calm = self.recovery.belief == Belief::Open || self.recovery.belief == Belief::Reducing;
        if !enabled || !self.sack || !calm || self.flight.is_empty() || self.flight.sacked > 0 {
            self.timers.stop(Timer::LossProbe);
            return false;
        }
        let mut delay = if self.rtt.has_sample() {
            let twice = self.rtt.srtt() * 2;
            if self.flight.packets == 1 {
                twice + PEER_DELAYED_ACK
            } else {
                twice + PROBE_MIN
            }
        } else {
            crate::transport::tcp::rtt::RTO_INITIAL
        };
        // Never later than the timeout that it is to prevent.
        if let Some(first) = self.flight.first() {
            let timeout = (first.at + self.rtt.rto()).since(now);
            delay = delay.min(timeout);
        }
        self.timers.set(Timer::LossProbe, now + delay);
        true
    }

    /// The acknowledgement of a probe says whether it repaired a loss (RFC 8985, 7.4).
    pub(in super::super) fn on_probe_acked(
        &mut self,
        cx: &mut Cx<'_>,
        ack: Seq,
        pure_duplicate: bool,
        dsack_of_probe: bool,
    ) {
        let Some(probe) = self.recovery.probe else {
            return;
        };
        if ack.before(probe.end) {
            return;
        }
        if !probe.again || dsack_of_probe {
            // New data came through, or both copies arrived: nothing was lost.
            self.recovery.probe = None;
        } else if ack.after(probe.end) {
            self.reduce_after_probe(cx);
        } else if pure_duplicate {
            self.recovery.probe = None;
        }
        // An acknowledgement of just the probe leaves it open which copy arrived.
    }
}
