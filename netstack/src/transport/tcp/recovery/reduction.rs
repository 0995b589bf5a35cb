//! How the window comes down to the threshold: in proportion to what arrives (RFC 6937, with the
//! slow-start bound as long as nothing more is lost).

use super::{Belief, Connection};
use crate::transport::tcp::Cx;
use crate::transport::tcp::timers::Timer;

/// Sent and delivered since the reduction began.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Reduction {
    /// The window when it began.
    prior_cwnd: u32,
    delivered: u32,
    pub(super) sent: u32,
}

impl Connection {
    /// A loss is evident: fast recovery begins.
    pub(super) fn enter_recovery(&mut self, cx: &mut Cx<'_>, marked: bool) {
        let counter = match self.sack {
            true => &mut cx.stats.sack_recovery,
            false => &mut cx.stats.reno_recovery,
        };
        *counter += 1;
        self.recovery.undo.forget_retransmission();
        self.init_undo(None);
        if !self.recovery.reduces() {
            if !marked {
                self.init_undo(Some(self.current_ssthresh()));
            }
            self.begin_reduction();
        }
        self.set_belief(Belief::Recovery);
        self.timers.stop(Timer::LossProbe);
    }

    /// Lowers the threshold and counts from here (Linux `tcp_init_cwnd_reduction`).
    fn begin_reduction(&mut self) {
        self.recovery.high = self.snd.nxt;
        self.recovery.probe = None;
        self.recovery.reduction = Reduction {
            prior_cwnd: self.cc.window.cwnd,
            ..Reduction::default()
        };
        self.recovery.undo.cwnd = self.cc.window.cwnd;
        self.cc.on_congestion();
        self.ecn_announce();
    }

    /// The threshold that an undo restores (Linux `tcp_current_ssthresh`).
    pub(super) fn current_ssthresh(&self) -> u32 {
        let window = &self.cc.window;
        match self.recovery.reduces() {
            true => window.ssthresh,
            false => window.ssthresh.max(window.cwnd / 2 + window.cwnd / 4),
        }
    }

    /// Congestion without a loss: a mark of the network's, or a full queue of our own.
    pub(in super::super) fn enter_reducing(&mut self) {
        self.recovery.undo.ssthresh = None;
        if self.recovery.belief < Belief::Reducing {
            self.recovery.undo.marker = None;
            self.begin_reduction();
            self.set_belief(Belief::Reducing);
        }
    }

    /// A probe found a loss and repaired it at once: the window shrinks all the same (RFC 8985, 7.4.2).
    pub(super) fn reduce_after_probe(&mut self, cx: &mut Cx<'_>) {
        cx.stats.loss_probe_recovery += 1;
        self.begin_reduction();
        self.set_belief(Belief::Reducing);
        self.end_reduction();
        self.keep_open();
    }

    /// The reduction is over: the window is where it should be.
    pub(super) fn end_reduction(&mut self) {
        if self.cc.has_own_control() {
            return;
        }
        let window = &mut self.cc.window;
        let undone =
            self.recovery.belief != Belief::Reducing && self.recovery.undo.marker.is_none();
        if window.ssthresh < super::super::congestion::SSTHRESH_INFINITE && !undone {
            window.cwnd = window.ssthresh;
        }
    }

    /// One acknowledgement's share (RFC 6937, 3).
    pub(in super::super) fn reduce(&mut self, delivered: u32, going_well: bool) {
        if delivered == 0 || self.recovery.reduction.prior_cwnd == 0 {
            return;
        }
        let in_flight = self.in_flight();
        let ssthresh = self.cc.window.ssthresh;
        let reduction = &mut self.recovery.reduction;
        reduction.delivered += delivered;
        let send = if in_flight > ssthresh {
            let share = u64::from(ssthresh) * u64::from(reduction.delivered);
            let share = share.div_ceil(u64::from(reduction.prior_cwnd)) as u32;
            share.saturating_sub(reduction.sent)
        } else {
            let limit = reduction.delivered.saturating_sub(reduction.sent);
            let limit = limit.max(delivered) + u32::from(going_well);
            limit.min(ssthresh - in_flight)
        };
        // The first retransmission goes out in any case.
        let send = send.max(u32::from(reduction.sent == 0));
        self.cc.window.cwnd = (in_flight + send).max(1);
    }
}
