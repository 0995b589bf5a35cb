//! What an acknowledgement means that says that something is not as it should be, or that comes within
//! an episode (Linux `tcp_fastretrans_alert`).

use super::{AckFacts, Belief, Connection, Next, REORDERING_MAX};
use crate::time::Duration;
use crate::transport::tcp::Cx;
use crate::transport::tcp::sack::Covered;
use crate::transport::tcp::seq::Seq;

/// Least time that a peer is given to find again what it has reported.
const RENEGE_WAIT: Duration = Duration::from_millis(10);

impl Connection {
    /// Takes the acknowledgement into the state of recovery, and finds what is lost by it.
    pub(in super::super) fn recover(
        &mut self,
        cx: &mut Cx<'_>,
        covered: &Covered,
        facts: AckFacts,
    ) {
        if facts.marked {
            self.recovery.undo.ssthresh = None;
        }
        if self.renege_wait(facts.advanced).is_some() {
            self.recovery.next = Next::OnlyNew;
            return;
        }
        if self.finish_episode(cx, facts) {
            self.recovery.next = Next::OnlyNew;
            return;
        }
        match self.recovery.belief {
            Belief::Recovery => self.in_recovery(cx, facts),
            Belief::Loss => self.in_loss(cx, covered, facts),
            Belief::Open | Belief::Disorder | Belief::Reducing => self.in_calm(cx, facts),
        }
    }

    /// The peer acknowledges up to something that it has reported before, and not that: it may have
    /// dropped it (RFC 2018, 8). Returns how long it is given until the timeout decides.
    pub(in super::super) fn renege_wait(&self, advanced: bool) -> Option<Duration> {
        let reneging = advanced && self.flight.first().is_some_and(|head| head.sacked);
        reneging.then(|| (self.rtt.srtt() / 2).max(RENEGE_WAIT))
    }

    /// Ends the episode when everything that was out at its beginning is acknowledged. True if the
    /// acknowledgement has done its work.
    fn finish_episode(&mut self, cx: &mut Cx<'_>, facts: AckFacts) -> bool {
        if self.recovery.belief == Belief::Open {
            self.recovery.undo.forget_retransmission();
            return false;
        }
        if self.snd.una.before(self.recovery.high) {
            return false;
        }
        match self.recovery.belief {
            // The CWR flag has to reach the peer on something above.
            Belief::Reducing if self.snd.una != self.recovery.high => {
                self.end_reduction();
                self.set_belief(Belief::Open);
                false
            }
            Belief::Recovery => {
                self.recovery.dup_acks = 0;
                if self.try_undo_recovery(cx, facts) {
                    return true;
                }
                self.end_reduction();
                false
            }
            _ => false,
        }
    }

    fn in_recovery(&mut self, cx: &mut Cx<'_>, facts: AckFacts) {
        if !facts.advanced {
            self.add_duplicate(facts);
        } else if self.try_undo_partial(cx, facts) {
            self.recovery.next = Next::OnlyNew;
            return;
        }
        if self.try_undo_dsack(cx) {
            self.try_to_open(facts.marked);
        }
        self.identify_losses(cx, facts);
        if self.recovery.belief != Belief::Recovery && self.flight.lost > 0 {
            // Undone, and yet something is lost: another episode.
            self.enter_recovery(cx, facts.marked);
        }
    }

    fn in_loss(&mut self, cx: &mut Cx<'_>, covered: &Covered, facts: AckFacts) {
        self.process_loss(cx, covered, facts);
        let retrans = self.flight.retrans;
        self.identify_losses(cx, facts);
        let again = self.flight.retrans < retrans;
        if self.recovery.belief == Belief::Open || again {
            self.in_calm(cx, facts);
        }
    }

    fn in_calm(&mut self, cx: &mut Cx<'_>, facts: AckFacts) {
        if facts.advanced {
            self.recovery.dup_acks = 0;
        }
        self.add_duplicate(facts);
        if self.recovery.belief <= Belief::Disorder {
            self.try_undo_dsack(cx);
        }
        self.identify_losses(cx, facts);
        if self.flight.lost == 0 {
            self.try_to_open(facts.marked);
            return;
        }
        self.enter_recovery(cx, facts.marked);
        self.recovery.next = Next::Lost;
    }

    /// Without SACK a duplicate acknowledgement means that one segment has left the network.
    fn add_duplicate(&mut self, facts: AckFacts) {
        if self.sack || !facts.duplicate {
            return;
        }
        self.recovery.dup_acks += 1;
        let holes = self.flight.lost.max(1).min(self.flight.packets);
        let most = self.flight.packets - holes;
        if self.recovery.dup_acks > most {
            // More than could have left: the network reorders.
            self.recovery.dup_acks = most;
            self.counters.reord_seen += 1;
            self.recovery.reordering = self.flight.packets.clamp(1, REORDERING_MAX);
        }
    }

    /// Marks lost what RACK, or without SACK the count of duplicates, says.
    fn identify_losses(&mut self, cx: &mut Cx<'_>, facts: AckFacts) {
        if self.sack {
            self.detect_losses(cx, facts.now);
            return;
        }
        let belief = self.recovery.belief;
        let enough = self.recovery.dup_acks >= self.recovery.reordering;
        if (belief < Belief::Recovery && enough) || (belief == Belief::Recovery && facts.advanced) {
            // In recovery, a partial acknowledgement: the next hole is lost too (RFC 6582, 3.2).
            self.flight.mark_front_lost(self.snd.mss);
        }
    }

    /// Something at `low` that was sent once has arrived after what lies at `highest` (Linux
    /// `tcp_check_sack_reordering`).
    pub(in super::super) fn note_reordering(
        &mut self,
        cx: &mut Cx<'_>,
        low: Option<Seq>,
        by_time: bool,
    ) {
        let highest = match self.flight.sacked {
            0 => self.snd.una,
            _ => self.flight.highest.unwrap_or(self.snd.nxt),
        };
        let Some(low) = low.filter(|low| low.before(highest)) else {
            return;
        };
        let distance = highest - low;
        if distance > self.recovery.reordering.saturating_mul(self.snd.mss) {
            self.recovery.reordering = distance.div_ceil(self.snd.mss).min(REORDERING_MAX);
            let counter = match by_time {
                true => &mut cx.stats.ts_reorder,
                false => &mut cx.stats.sack_reorder,
            };
            *counter += 1;
        }
        self.counters.reord_seen += 1;
    }

    pub(super) fn note_timestamp_reordering(&mut self, cx: &mut Cx<'_>, una_before: Seq) {
        self.note_reordering(cx, Some(una_before), true);
    }
}
