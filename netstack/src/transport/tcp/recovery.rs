//! Loss recovery: when the window shrinks, how it is spent meanwhile, and when it comes back
//! (RFC 5681, RFC 6582, RFC 6675, RFC 6937; the states are Linux's).

use super::rack::Rack;
use super::sack::Covered;
use super::seq::Seq;
use super::state::Connection;
use super::timers::Timer;
use crate::time::Instant;

/// What the sender believes of the network.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Belief {
    /// All is well.
    Open,
    /// Something arrived out of order.
    Disorder,
    /// The window is being reduced without a loss (local congestion, probe that found a loss).
    Reducing,
    /// Fast recovery.
    Recovery,
    /// After a retransmission timeout.
    Loss,
}

/// The state of loss recovery.
#[derive(Clone, Debug)]
pub(super) struct Recovery {
    pub(super) belief: Belief,
    /// `SND.NXT` when the present episode began; it ends when this is acknowledged.
    pub(super) high: Seq,
    /// The window to return to if the episode was a mistake: (cwnd, ssthresh), and `SND.UNA` then.
    undo: Option<Undo>,
    /// Retransmissions of this episode that the peer has not reported as duplicates.
    undo_retrans: i64,
    prior_cwnd: u32,
    prr_delivered: u32,
    prr_out: u32,
    /// Segments by which the network has been seen to reorder.
    pub(super) reordering: u32,
    /// Duplicate acknowledgements, for peers without SACK.
    pub(super) dup_acks: u32,
    /// Timeouts in a row.
    pub(super) timeouts: u8,
    /// When the present run of timeouts or probes began.
    pub(super) trouble_since: Option<Instant>,
    /// A tail loss probe is out: `SND.NXT` then, and whether it was a retransmission.
    pub(super) probe: Option<(Seq, bool)>,
    pub(super) rack: Rack,
}

#[derive(Clone, Copy, Debug)]
struct Undo {
    cwnd: u32,
    ssthresh: u32,
    /// When the first retransmission of the episode left, on the timestamp clock.
    first_retrans: Option<u32>,
}

impl Recovery {
    pub(super) fn new(reordering: u32, start: Seq) -> Self {
        Self {
            belief: Belief::Open,
            high: start,
            undo: None,
            undo_retrans: 0,
            prior_cwnd: 0,
            prr_delivered: 0,
            prr_out: 0,
            reordering: reordering.max(1),
            dup_acks: 0,
            timeouts: 0,
            trouble_since: None,
            probe: None,
            rack: Rack::default(),
        }
    }

    /// Counts segments sent while the window is being reduced.
    pub(super) fn on_sent(&mut self, segs: u32) {
        self.prr_out += segs;
    }

    /// A retransmission left, `clock` on the timestamp clock.
    pub(super) fn on_retransmit(&mut self, segs: u32, now: Instant, clock: Option<u32>) {
        self.undo_retrans += i64::from(segs);
        self.trouble_since.get_or_insert(now);
        if let Some(undo) = &mut self.undo
            && undo.first_retrans.is_none()
        {
            undo.first_retrans = clock;
        }
    }
}

/// What the acknowledgement being processed says, beside [`Covered`].
#[derive(Clone, Copy, Debug)]
pub(super) struct AckFacts {
    /// `SND.UNA` moved.
    pub(super) advanced: bool,
    /// A duplicate acknowledgement in the sense of RFC 5681, 2.
    pub(super) duplicate: bool,
    /// The peer reported a duplicate (D-SACK).
    pub(super) dsack: bool,
    /// Echoed timestamp.
    pub(super) tsecr: Option<u32>,
    pub(super) now: Instant,
}

impl Connection {
    /// Reacts to an acknowledgement that says that something is not as it should be, or that comes
    /// within an episode.
    pub(super) fn recover(&mut self, covered: &Covered, facts: AckFacts) {
        self.note_reordering(covered);
        self.finish_episode(facts);
        let lost_before = self.flight.lost;
        if !self.sack {
            self.emulate_sack(covered, facts);
        }
        match self.recovery.belief {
            Belief::Recovery => {
                if self.try_undo(facts) {
                    return;
                }
                self.detect_losses(facts.now);
                if !self.sack && facts.advanced {
                    // A partial acknowledgement: the next hole is lost too (RFC 6582, 3.2).
                    self.flight.mark_front_lost(self.snd.mss);
                }
            }
            Belief::Loss => {
                if self.try_undo(facts) {
                    return;
                }
                self.detect_losses(facts.now);
            }
            Belief::Open | Belief::Disorder | Belief::Reducing => {
                self.detect_losses(facts.now);
                if self.flight.lost > 0 {
                    self.enter_recovery();
                } else if self.recovery.belief != Belief::Reducing {
                    let troubled = self.flight.sacked > 0 || self.recovery.dup_acks > 0;
                    self.recovery.belief = if troubled {
                        Belief::Disorder
                    } else {
                        Belief::Open
                    };
                }
            }
        }
        let newly_lost = self.flight.lost.saturating_sub(lost_before);
        if matches!(self.recovery.belief, Belief::Recovery | Belief::Reducing) {
            self.reduce(covered.delivered, facts.advanced && newly_lost == 0);
        }
    }

    fn note_reordering(&mut self, covered: &Covered) {
        if let Some(distance) = covered.reordered {
            self.counters.reord_seen += 1;
            self.recovery.rack.reordering_seen = true;
            self.recovery.reordering = self.recovery.reordering.max(distance.min(300));
        }
    }

    /// Ends the episode when everything that was out at its beginning is acknowledged.
    fn finish_episode(&mut self, facts: AckFacts) {
        if self.snd.una.before(self.recovery.high) {
            return;
        }
        match self.recovery.belief {
            Belief::Open | Belief::Disorder => {}
            Belief::Reducing => self.end_reduction(),
            Belief::Recovery | Belief::Loss => {
                if !self.sack
                    && self.snd.una == self.recovery.high
                    && self.recovery.belief == Belief::Recovery
                {
                    // RFC 6582, 3.2: late duplicates of the window must not start another episode.
                    if !facts.advanced {
                        return;
                    }
                }
                if self.try_undo(facts) {
                    return;
                }
                if self.recovery.belief == Belief::Recovery {
                    self.end_reduction();
                }
            }
        }
        if self.recovery.belief > Belief::Disorder {
            self.recovery.belief = Belief::Open;
            self.recovery.undo = None;
            self.recovery.dup_acks = 0;
            self.recovery.rack.end_episode();
        }
    }

    fn end_reduction(&mut self) {
        let window = &mut self.cc.window;
        if window.ssthresh < window.cwnd || self.recovery.belief == Belief::Recovery {
            window.cwnd = window.ssthresh.max(2).min(window.cwnd.max(window.ssthresh));
        }
    }

    /// Without SACK a duplicate acknowledgement means that one segment has left the network.
    fn emulate_sack(&mut self, covered: &Covered, facts: AckFacts) {
        if facts.advanced {
            let gone = covered.delivered.saturating_sub(1);
            self.recovery.dup_acks = self.recovery.dup_acks.saturating_sub(gone);
            if self.recovery.belief <= Belief::Disorder {
                self.recovery.dup_acks = 0;
            }
        } else if facts.duplicate {
            let limit = self.flight.packets.saturating_sub(self.flight.lost);
            self.recovery.dup_acks = (self.recovery.dup_acks + 1).min(limit.max(1));
        }
        let threshold = self.recovery.reordering.min(3);
        if self.recovery.belief <= Belief::Disorder && self.recovery.dup_acks >= threshold {
            self.flight.mark_front_lost(self.snd.mss);
        }
    }

    /// Segments in the network, duplicates of a SACK-less peer taken into account.
    pub(super) fn in_flight(&self) -> u32 {
        let emulated = if self.sack { 0 } else { self.recovery.dup_acks };
        self.flight.in_flight().saturating_sub(emulated)
    }

    fn begin_episode(&mut self) {
        let window = self.cc.window;
        if self.recovery.undo.is_none() {
            self.recovery.undo = Some(Undo {
                cwnd: window.cwnd,
                ssthresh: window.ssthresh,
                first_retrans: None,
            });
            self.recovery.undo_retrans = 0;
        }
        self.recovery.high = self.snd.nxt;
    }

    fn enter_recovery(&mut self) {
        self.begin_reduction();
        self.recovery.belief = Belief::Recovery;
        self.timers.stop(Timer::LossProbe);
    }

    fn begin_reduction(&mut self) {
        if self.recovery.belief != Belief::Reducing {
            self.begin_episode();
            self.recovery.prior_cwnd = self.cc.window.cwnd;
            self.cc.on_congestion();
            self.recovery.prr_delivered = 0;
            self.recovery.prr_out = 0;
            self.recovery.probe = None;
        }
        self.recovery.high = self.snd.nxt;
    }

    /// A probe found a loss and repaired it at once: the window shrinks all the same.
    pub(super) fn reduce_after_probe(&mut self) {
        if self.recovery.belief <= Belief::Disorder {
            self.begin_reduction();
            self.recovery.undo = None;
            self.recovery.belief = Belief::Reducing;
        }
    }

    /// Proportional rate reduction (RFC 6937, with the slow-start bound when all goes well).
    fn reduce(&mut self, delivered: u32, going_well: bool) {
        if delivered == 0 && self.recovery.prr_out > 0 {
            return;
        }
        let in_flight = self.in_flight();
        let recovery = &mut self.recovery;
        recovery.prr_delivered += delivered;
        let ssthresh = self.cc.window.ssthresh;
        let send = if in_flight > ssthresh {
            let share = u64::from(ssthresh) * u64::from(recovery.prr_delivered);
            let share = share.div_ceil(u64::from(recovery.prior_cwnd.max(1))) as u32;
            share.saturating_sub(recovery.prr_out)
        } else {
            let limit = recovery
                .prr_delivered
                .saturating_sub(recovery.prr_out)
                .max(delivered);
            (limit + u32::from(going_well)).min(ssthresh - in_flight)
        };
        // The first retransmission goes out in any case.
        let send = send.max(u32::from(recovery.prr_out == 0));
        self.cc.window.cwnd = (in_flight + send).max(1);
    }

    /// Returns to the state before the episode if it turns out that nothing was lost: the first
    /// retransmission was answered by an earlier original (Eifel, RFC 3522), or every
    /// retransmission was reported as a duplicate (RFC 2883). True if it was undone.
    fn try_undo(&mut self, facts: AckFacts) -> bool {
        let Some(undo) = self.recovery.undo else {
            return false;
        };
        let by_timestamp = facts.advanced
            && match (facts.tsecr, undo.first_retrans) {
                (Some(echo), Some(first)) => (echo.wrapping_sub(first) as i32) < 0,
                _ => false,
            };
        let by_dsack =
            facts.dsack && self.recovery.undo_retrans <= 0 && undo.first_retrans.is_some();
        if !by_timestamp && !by_dsack {
            return false;
        }
        self.flight.clear_lost();
        let window = &mut self.cc.window;
        window.cwnd = window.cwnd.max(undo.cwnd);
        window.ssthresh = window.ssthresh.max(undo.ssthresh);
        self.recovery.undo = None;
        self.recovery.timeouts = 0;
        self.recovery.belief = Belief::Open;
        self.recovery.dup_acks = 0;
        true
    }

    /// The peer reported a duplicate of something we sent twice.
    pub(super) fn on_dsack(&mut self) {
        self.counters.dsack_dups += 1;
        self.recovery.undo_retrans -= 1;
        self.recovery.rack.on_dsack(self.snd.nxt);
    }

    /// Marks lost what RACK finds lost, and arms its timer for what it cannot tell yet.
    pub(super) fn detect_losses(&mut self, now: Instant) {
        if !self.sack {
            return;
        }
        let wait = self.rack_mark(now);
        match wait {
            Some(at) => self.timers.set(Timer::Reorder, at),
            None => self.timers.stop(Timer::Reorder),
        }
    }

    /// RACK's reordering window has passed (RFC 8985, 6.3).
    pub(super) fn on_reorder_timer(&mut self, now: Instant) {
        let before = self.flight.lost;
        self.detect_losses(now);
        if self.flight.lost > before && self.recovery.belief < Belief::Recovery {
            self.enter_recovery();
            self.reduce(0, false);
        }
    }

    /// The retransmission timeout (RFC 6298, 5.4 to 5.6; RFC 5681, 3.1, equation 4).
    pub(super) fn enter_loss(&mut self, now: Instant) {
        let first_of_run = self.recovery.timeouts == 0 || self.recovery.belief != Belief::Loss;
        if self.recovery.belief <= Belief::Disorder
            || !self.snd.una.before(self.recovery.high)
            || (self.recovery.belief == Belief::Loss && self.recovery.timeouts == 0)
        {
            self.begin_episode();
            self.cc.on_congestion();
        }
        if self.flight.first().is_some_and(|first| first.sacked) {
            self.flight.clear_sacked();
        }
        let head = self.flight.first().map(|first| first.seq);
        let spare = self.sack.then(|| self.recovery.rack.timeout_spares(now));
        self.flight.mark_lost(|sent| {
            // What left a moment ago has not had its round trip yet.
            let young = first_of_run && spare.is_some_and(|after| sent.at > after);
            head == Some(sent.seq) || !young
        });
        self.recovery.dup_acks = 0;
        self.cc.on_timeout();
        self.cc.window.cwnd = self.in_flight() + 1;
        self.cc.window.credit = 0;
        self.recovery.belief = Belief::Loss;
        self.recovery.high = self.snd.nxt;
        self.recovery.probe = None;
        self.timers.stop(Timer::Reorder);
        self.timers.stop(Timer::LossProbe);
    }
}

impl PartialOrd for Belief {
    fn partial_cmp(&self, other: &Self) -> Option<core::cmp::Ordering> {
        (*self as u8).partial_cmp(&(*other as u8))
    }
}
