//! RACK: time-based loss detection (RFC 8985, section 6), and the tail loss probe (section 7).

use super::recovery::Belief;
use super::sack::{Covered, Sent};
use super::seq::Seq;
use super::state::Connection;
use super::timers::Timer;
use crate::time::{Duration, Instant};

/// Longest time an acknowledgement may be delayed by the peer, for a probe of a single segment.
const PEER_DELAYED_ACK: Duration = Duration::from_millis(200);
/// Shortest time before a probe.
const PROBE_MIN: Duration = Duration::from_millis(2);

/// What RACK remembers: the most recently sent segment that has been delivered.
#[derive(Clone, Debug)]
pub(super) struct Rack {
    latest: Option<(Instant, Seq)>,
    rtt: Duration,
    /// Quarters of the minimum RTT in the reordering window.
    steps: u32,
    /// D-SACK rounds: one increase of the window per round trip.
    dsack_round: Option<Seq>,
    /// Recoveries left before the window shrinks back.
    persist: u8,
    pub(super) reordering_seen: bool,
}

impl Default for Rack {
    fn default() -> Self {
        Self {
            latest: None,
            rtt: Duration::ZERO,
            steps: 1,
            dsack_round: None,
            persist: 0,
            reordering_seen: false,
        }
    }
}

impl Rack {
    /// Takes note of delivery (RFC 8985, 6.2, step 2). An RTT below the minimum from a retransmitted
    /// segment means that the original was acknowledged: ignored.
    fn advance(&mut self, sent: &Sent, now: Instant, min_rtt: Duration) {
        let rtt = now.since(sent.at);
        if sent.ever_retrans && rtt < min_rtt {
            return;
        }
        self.rtt = rtt;
        let later = self
            .latest
            .is_none_or(|(at, end)| sent.at > at || (sent.at == at && sent.end.after(end)));
        if later {
            self.latest = Some((sent.at, sent.end));
        }
    }

    /// A duplicate was reported: the reordering window is too small.
    pub(super) fn on_dsack(&mut self, nxt: Seq) {
        if self.dsack_round.is_none() {
            self.dsack_round = Some(nxt);
            self.steps = (self.steps + 1).min(64);
            self.persist = 16;
        }
    }

    /// A recovery has ended.
    pub(super) fn end_episode(&mut self) {
        if self.persist > 0 {
            self.persist -= 1;
        } else {
            self.steps = 1;
        }
    }

    /// What left after this instant has not had its round trip yet when a timeout comes.
    pub(super) fn timeout_spares(&self, now: Instant) -> Instant {
        now - self.rtt
    }
}

impl Connection {
    /// Feeds RACK with what an acknowledgement covers.
    pub(super) fn rack_advance(&mut self, covered: &Covered, now: Instant) {
        if let Some(sent) = &covered.latest {
            self.recovery.rack.advance(sent, now, self.rtt.min_rtt);
        }
        if self
            .recovery
            .rack
            .dsack_round
            .is_some_and(|end| self.snd.una.at_or_after(end))
        {
            self.recovery.rack.dsack_round = None;
        }
    }

    /// The reordering window (RFC 8985, 6.2, step 4).
    fn reorder_window(&self) -> Duration {
        let rack = &self.recovery.rack;
        if !rack.reordering_seen
            && (self.recovery.belief >= Belief::Recovery
                || self.flight.sacked >= self.recovery.reordering)
        {
            return Duration::ZERO;
        }
        if self.rtt.min_rtt == Duration::MAX {
            return Duration::ZERO;
        }
        (self.rtt.min_rtt / 4 * rack.steps).min(self.rtt.srtt())
    }

    /// Marks lost what was sent a reordering window before something that has been delivered.
    /// Returns when to look again for what is not yet past that window.
    pub(super) fn rack_mark(&mut self, now: Instant) -> Option<Instant> {
        if self.flight.sacked == 0 && self.recovery.belief == Belief::Open {
            return None;
        }
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
            if deadline <= now {
                return true;
            }
            look_again = Some(look_again.map_or(deadline, |at| at.max(deadline)));
            false
        });
        look_again
    }

    /// Arms the tail loss probe after new data or an acknowledgement (RFC 8985, 7.2). True if it is
    /// armed, in which case the retransmission timeout waits.
    pub(super) fn schedule_probe(&mut self, now: Instant, enabled: bool) -> bool {
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
            super::rtt::RTO_INITIAL
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
    pub(super) fn on_probe_acked(&mut self, ack: Seq, duplicate: bool, dsack: bool) {
        let Some((end, retransmission)) = self.recovery.probe else {
            return;
        };
        if ack.before(end) {
            return;
        }
        if !retransmission || dsack || (ack == end && duplicate) {
            // New data came through, or both copies arrived: nothing was lost.
            self.recovery.probe = None;
        } else if ack.after(end) {
            self.recovery.probe = None;
            self.reduce_after_probe();
        }
        // An acknowledgement of just the probe leaves it open which copy arrived.
    }
}
