//! The retransmission timeout (RFC 6298, 5.4 to 5.6; RFC 5681, 3.1), and whether it was spurious: F-RTO
//! in its SACK form (RFC 5682, 3; as Linux runs it).

use super::{AckFacts, Belief, Connection, Next};
use crate::time::Instant;
use crate::transport::tcp::Cx;
use crate::transport::tcp::sack::Covered;
use crate::transport::tcp::timers::Timer;

impl Connection {
    /// The timeout: nearly all that is out is presumed lost, and the window starts again.
    pub(in super::super) fn enter_loss(&mut self, cx: &mut Cx<'_>) {
        let fresh = self.recovery.belief < Belief::Recovery;
        self.mark_all_lost(cx, cx.now);
        if self.recovery.belief <= Belief::Disorder
            || !self.recovery.high.after(self.snd.una)
            || (self.recovery.belief == Belief::Loss && self.recovery.timeouts == 0)
        {
            let ssthresh = self.current_ssthresh();
            self.recovery.undo.cwnd = self.cc.window.cwnd;
            self.cc.on_congestion();
            self.init_undo(Some(ssthresh));
        }
        self.cc.window.cwnd = self.in_flight() + 1;
        self.cc.window.credit = 0;
        let usual = cx.config.tcp_reordering;
        if self.recovery.belief <= Belief::Disorder && self.left_network() >= usual {
            // Many arrived and yet it took a timeout: the network reorders less than believed.
            self.recovery.reordering = self.recovery.reordering.min(usual).max(1);
        }
        self.set_belief(Belief::Loss);
        self.recovery.high = self.snd.nxt;
        self.recovery.probe = None;
        self.ecn_announce();
        self.recovery.forward = cx.config.tcp_frto != 0 && (fresh || self.recovery.timeouts > 0);
        self.timers.stop(Timer::Reorder);
        self.timers.stop(Timer::LossProbe);
    }

    /// Linux `tcp_timeout_mark_lost`.
    fn mark_all_lost(&mut self, cx: &mut Cx<'_>, now: Instant) {
        let head = self.flight.first().copied();
        let reneged = head.is_some_and(|head| head.sacked);
        if reneged {
            cx.stats.sack_reneging += 1;
            self.flight.clear_sacked();
            self.recovery.reneged = true;
        } else if !self.sack {
            self.recovery.dup_acks = 0;
        }
        let rack_rtt = self.recovery.rack.rtt();
        let marked = self.flight.mark_lost(|sent| {
            // What left a moment ago has not had its round trip yet.
            let young = !reneged && now < sent.at + rack_rtt;
            head.is_some_and(|head| head.seq == sent.seq) || !young
        });
        debug_assert!(marked > 0 || self.flight.lost > 0);
    }

    /// An acknowledgement after a timeout.
    pub(super) fn process_loss(&mut self, cx: &mut Cx<'_>, covered: &Covered, facts: AckFacts) {
        let recovered = !self.snd.una.before(self.recovery.high);
        if facts.advanced && self.try_undo_loss(cx, facts, false) {
            self.recovery.next = Next::OnlyNew;
            return;
        }
        if self.recovery.forward && self.forward_step(cx, covered, facts, recovered) {
            return;
        }
        if recovered {
            // RFC 5682, 3.1, steps 2a and 3a.
            self.try_undo_recovery(cx, facts);
            self.recovery.next = Next::OnlyNew;
            return;
        }
        if !self.sack {
            if self.snd.nxt.after(self.recovery.high) && facts.duplicate {
                self.recovery.dup_acks += 1;
            } else if facts.advanced {
                self.recovery.dup_acks = 0;
            }
        }
    }

    /// F-RTO. True if it decides what happens.
    fn forward_step(
        &mut self,
        cx: &mut Cx<'_>,
        covered: &Covered,
        facts: AckFacts,
        recovered: bool,
    ) -> bool {
        // Step 3b: what never was sent again arrives; not all was lost.
        if covered.original && self.try_undo_loss(cx, facts, true) {
            self.recovery.next = Next::OnlyNew;
            return true;
        }
        if self.snd.nxt.after(self.recovery.high) {
            if covered.sacked || facts.duplicate {
                // Step 3a: the loss was real.
                self.recovery.forward = false;
            }
        } else if facts.advanced && !recovered {
            // Step 2b: new data instead of retransmissions, to see what comes back.
            self.recovery.high = self.snd.nxt;
            let unsent = self.snd.queue.end().after(self.snd.nxt);
            if unsent && self.snd.wnd_end().after(self.snd.nxt) {
                self.recovery.next = Next::New;
                return true;
            }
            self.recovery.forward = false;
        }
        false
    }

    /// Step 2b was to send new data. True if it did, and retransmissions have to wait.
    pub(in super::super) fn forward_sent(&mut self) -> bool {
        let sent = self.snd.nxt.after(self.recovery.high);
        self.recovery.forward &= sent;
        sent
    }
}
