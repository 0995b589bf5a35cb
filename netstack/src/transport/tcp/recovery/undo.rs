//! The way back when nothing was lost: the first retransmission is answered by an earlier original
//! (Eifel, RFC 3522, RFC 4015), or every retransmission is reported as a duplicate (RFC 2883, RFC 3708).

use super::{AckFacts, Belief, Connection};
use crate::time::Instant;
use crate::transport::tcp::Cx;
use crate::transport::tcp::seq::Seq;

/// What there is to return to.
#[derive(Clone, Copy, Debug, Default)]
pub(in super::super) struct Undo {
    /// `SND.UNA` when the episode began; `None`: there is nothing to undo.
    pub(super) marker: Option<Seq>,
    /// The window then.
    pub(super) cwnd: u32,
    /// The threshold to return to; `None`: the reduction was for good.
    pub(super) ssthresh: Option<u32>,
    /// Retransmissions that the peer has not reported as duplicates; `None`: none left yet.
    pub(super) retrans: Option<u32>,
    /// When the first retransmission of the episode left.
    first_retrans: Option<Instant>,
}

impl Undo {
    pub(super) fn on_retransmit(&mut self, segs: u32, now: Instant) {
        self.retrans = Some(self.retrans.unwrap_or(0) + segs);
        self.first_retrans.get_or_insert(now);
    }

    /// The next retransmission is the first.
    pub(super) fn forget_retransmission(&mut self) {
        self.first_retrans = None;
    }

    /// `segs` retransmissions whose range ends at `end` have arrived twice.
    pub(super) fn on_duplicates(&mut self, end: Seq, segs: u32) {
        if self.marker.is_some_and(|marker| end.after(marker))
            && let Some(retrans) = &mut self.retrans
        {
            *retrans = retrans.saturating_sub(segs);
        }
    }
}

impl Connection {
    /// An episode begins here.
    pub(super) fn init_undo(&mut self, ssthresh: Option<u32>) {
        // Retransmissions of before, probes too, may still be reported.
        let probes = u32::from(self.recovery.probe.is_some_and(|probe| probe.again));
        let out = self.flight.retrans + probes;
        let undo = &mut self.recovery.undo;
        undo.marker = Some(self.snd.una);
        undo.retrans = (out > 0).then_some(out);
        undo.ssthresh = ssthresh;
    }

    /// True if the acknowledgement answers something that left before the first retransmission, or if
    /// nothing was retransmitted (Linux `tcp_packet_delayed`).
    fn was_delayed(&self, facts: AckFacts) -> bool {
        let Some(first) = self.recovery.undo.first_retrans else {
            return self.sack || self.snd.una.before(self.recovery.high);
        };
        match (facts.tsecr, self.timestamp_now(first)) {
            (Some(echo), Some(first)) => echo != 0 && (echo.wrapping_sub(first) as i32) < 0,
            _ => false,
        }
    }

    fn may_undo(&self, facts: AckFacts) -> bool {
        let undo = &self.recovery.undo;
        undo.marker.is_some() && (undo.retrans == Some(0) || self.was_delayed(facts))
    }

    /// Window and threshold return. `unmark`: nothing is presumed lost any more.
    fn undo_reduction(&mut self, unmark: bool) {
        if unmark {
            self.flight.clear_lost();
        }
        let undo = self.recovery.undo;
        if let Some(ssthresh) = undo.ssthresh {
            self.cc.undo(undo.cwnd);
            if ssthresh > self.cc.window.ssthresh {
                self.cc.window.ssthresh = ssthresh;
                self.ecn_withdraw();
            }
        }
        self.recovery.undo.marker = None;
        self.recovery.rack.advanced = true;
    }

    /// The end of the episode is acknowledged. True if the state stays as it is for now.
    pub(super) fn try_undo_recovery(&mut self, cx: &mut Cx<'_>, facts: AckFacts) -> bool {
        if self.may_undo(facts) {
            self.undo_reduction(false);
            let counter = match self.recovery.belief {
                Belief::Loss => &mut cx.stats.loss_undo,
                _ => &mut cx.stats.full_undo,
            };
            *counter += 1;
        } else {
            self.recovery.rack.end_episode();
        }
        if self.holds_state() {
            return true;
        }
        self.set_belief(Belief::Open);
        self.recovery.reneged = false;
        false
    }

    /// Without SACK late duplicates of the window must not start another episode: the state stays until
    /// something above the end is acknowledged (RFC 6582, 3.2; Linux `tcp_is_non_sack_preventing_reopen`).
    fn holds_state(&mut self) -> bool {
        let holds = !self.sack && self.snd.una == self.recovery.high;
        if holds && !self.any_retransmitted() {
            self.recovery.undo.forget_retransmission();
        }
        holds
    }

    /// Every retransmission was unnecessary.
    pub(super) fn try_undo_dsack(&mut self, cx: &mut Cx<'_>) -> bool {
        let undo = &self.recovery.undo;
        if undo.marker.is_none() || undo.retrans != Some(0) {
            return false;
        }
        self.recovery.rack.persist_longer();
        self.undo_reduction(false);
        cx.stats.dsack_undo += 1;
        true
    }

    /// A part of the episode is acknowledged. True if nothing more is to be marked lost or sent again.
    pub(super) fn try_undo_partial(&mut self, cx: &mut Cx<'_>, facts: AckFacts) -> bool {
        if self.recovery.undo.marker.is_none() || !self.was_delayed(facts) {
            return false;
        }
        // A hole was filled by an original: reordering, not loss.
        self.note_timestamp_reordering(cx, facts.una_before);
        if self.flight.retrans > 0 {
            return true;
        }
        if !self.any_retransmitted() {
            self.recovery.undo.forget_retransmission();
        }
        self.undo_reduction(true);
        cx.stats.partial_undo += 1;
        self.keep_open();
        false
    }

    /// After a timeout: the timeout was spurious, which F-RTO (`forward`) or an echo shows.
    pub(super) fn try_undo_loss(
        &mut self,
        cx: &mut Cx<'_>,
        facts: AckFacts,
        forward: bool,
    ) -> bool {
        if !forward && !self.may_undo(facts) {
            return false;
        }
        self.undo_reduction(true);
        cx.stats.loss_undo += 1;
        cx.stats.spurious_rtos += u64::from(forward);
        self.recovery.timeouts = 0;
        if self.holds_state() {
            return true;
        }
        if forward || self.sack {
            self.set_belief(Belief::Open);
            self.recovery.reneged = false;
        }
        true
    }

    /// True if something that was sent again is not acknowledged yet.
    fn any_retransmitted(&self) -> bool {
        self.flight.retrans > 0 || self.flight.first().is_some_and(|head| head.ever_retrans)
    }

    /// All is well, or nearly (Linux `tcp_try_keep_open`).
    pub(super) fn keep_open(&mut self) {
        let troubled = self.left_network() + self.flight.lost > 0 || self.any_retransmitted();
        let belief = if troubled {
            Belief::Disorder
        } else {
            Belief::Open
        };
        if self.recovery.belief != belief {
            self.set_belief(belief);
            self.recovery.high = self.snd.nxt;
        }
    }

    /// The same after an acknowledgement that finds nothing lost.
    pub(super) fn try_to_open(&mut self, marked: bool) {
        if !self.any_retransmitted() {
            self.recovery.undo.forget_retransmission();
        }
        if marked {
            self.enter_reducing();
        }
        if self.recovery.belief != Belief::Reducing {
            self.keep_open();
        }
    }

    pub(super) fn set_belief(&mut self, belief: Belief) {
        self.recovery.belief = belief;
        self.cc.on_belief(belief);
    }
}
