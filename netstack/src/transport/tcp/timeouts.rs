//! What happens when a timer of a connection fires.

use super::Cx;
use super::config::TcpConfig;
use super::fast_open::suggests_black_hole;
use super::rtt::RTO_MAX;
use super::state::{Connection, Phase};
use super::timers::Timer;
use crate::time::Duration;

impl Connection {
    /// Runs every timer that is due.
    pub(super) fn handle_timeout(&mut self, cx: &mut Cx<'_>) {
        while let Some(timer) = self.timers.pop_due(cx.now) {
            match timer {
                Timer::Retransmit => self.on_retransmit_timeout(cx),
                Timer::LossProbe => self.send_loss_probe(cx),
                Timer::Reorder => {
                    self.on_reorder_timer(cx);
                    self.output(cx);
                }
                Timer::Persist => self.on_persist_timeout(cx),
                Timer::DelayedAck => {
                    if self.acks.pending {
                        self.acks.on_delay_expired();
                        cx.stats.delayed_acks += 1;
                        self.send_ack(cx);
                    }
                }
                Timer::Keepalive => self.on_keepalive(cx),
                Timer::FinWait2 => self.on_fin_wait_2_timeout(cx),
                Timer::SynAck => self.on_syn_ack_timeout(cx),
            }
            if self.phase == Phase::Closed {
                return;
            }
        }
    }

    /// RFC 6298, 5.4 to 5.7.
    fn on_retransmit_timeout(&mut self, cx: &mut Cx<'_>) {
        if self.flight.is_empty() {
            return;
        }
        // Time counts from the first retransmission (Linux `retrans_stamp`).
        self.recovery.trouble_since.get_or_insert(cx.now);
        let hopeless = self.retransmission_is_hopeless(cx);
        let fast = self.opened.by_option || (self.opened.data_taken && !self.opened.child);
        self.opened.suspect |=
            fast && suggests_black_hole(u32::from(self.recovery.timeouts), hopeless);
        if hopeless {
            if self.orphan {
                self.reset_peer(cx);
            }
            self.time_out();
            return;
        }
        cx.stats.timeouts += 1;
        self.enter_loss(cx);
        self.recovery.timeouts = self.recovery.timeouts.saturating_add(1);
        self.retransmit_head(cx);
        if self.blocked {
            // It never left: try again when there is room, and do not count it against the peer.
            self.arm_retransmit(cx.now);
            return;
        }
        self.rtt.backoff = self.rtt.backoff.saturating_add(1);
        self.arm_retransmit(cx.now);
    }

    /// True if the peer has not answered for as long as `tcp_retries2` or TCP_USER_TIMEOUT grant.
    fn retransmission_is_hopeless(&self, cx: &Cx<'_>) -> bool {
        if self.recovery.timeouts == 0 {
            return false;
        }
        if let Some(left) = self.user_timeout_left(cx.now) {
            return left.is_zero();
        }
        let retries = if self.orphan {
            orphan_retries(cx.config)
        } else {
            cx.config.tcp_retries2
        };
        let since = self.recovery.trouble_since.unwrap_or(cx.now);
        let least = Duration::from_millis(u64::from(cx.config.tcp_rto_min_ms.max(1)));
        cx.now.since(since) >= patience(retries, least)
    }

    /// The window stays shut (RFC 9293, 3.8.6.1): probe, ever more seldom.
    fn on_persist_timeout(&mut self, cx: &mut Cx<'_>) {
        if !self.flight.is_empty() || !self.snd.nxt.before(self.snd.end()) {
            return;
        }
        let since = *self.recovery.trouble_since.get_or_insert(cx.now);
        let limit = if self.orphan {
            orphan_retries(cx.config)
        } else {
            cx.config.tcp_retries2
        };
        let user = self.opts.user_timeout;
        let too_long = !user.is_zero() && cx.now.since(since) >= user;
        if u32::from(self.recovery.timeouts) > limit || (too_long && self.recovery.timeouts > 0) {
            self.time_out();
            return;
        }
        self.send_window_probe(cx);
        if self.blocked {
            return;
        }
        if self.flight.is_empty() {
            self.rtt.backoff = self.rtt.backoff.saturating_add(1).min(16);
            self.recovery.timeouts = self.recovery.timeouts.saturating_add(1);
            self.timers.set(Timer::Persist, cx.now + self.rtt.rto());
        }
    }

    /// Restarts the keepalive timer, if the option is on.
    pub(super) fn rearm_keepalive(&mut self, cx: &Cx<'_>) {
        if self.opts.keepalive {
            self.timers
                .set(Timer::Keepalive, cx.now + self.opts.keep_idle(cx.config));
        } else {
            self.timers.stop(Timer::Keepalive);
        }
    }

    /// Probes an idle peer (RFC 9293, 3.8.4), and gives it up when it does not answer.
    fn on_keepalive(&mut self, cx: &mut Cx<'_>) {
        let idle_limit = self.opts.keep_idle(cx.config);
        if !self.flight.is_empty() || self.snd.nxt.before(self.snd.end()) {
            // Data under way probes the peer well enough.
            self.timers.set(Timer::Keepalive, cx.now + idle_limit);
            return;
        }
        let last = self.acks.last_heard.max(self.established_at);
        let idle = cx.now.since(last);
        if idle < idle_limit {
            self.recovery.timeouts = 0;
            self.timers.set(Timer::Keepalive, last + idle_limit);
            return;
        }
        let count = self
            .opts
            .keep_count
            .unwrap_or(cx.config.tcp_keepalive_probes);
        let user = self.opts.user_timeout;
        let over = if user.is_zero() {
            u32::from(self.recovery.timeouts) >= count
        } else {
            idle >= user && self.recovery.timeouts > 0
        };
        if over {
            self.reset_peer(cx);
            self.time_out();
            return;
        }
        self.send_probe(cx);
        self.recovery.timeouts = self.recovery.timeouts.saturating_add(1);
        self.timers.set(
            Timer::Keepalive,
            cx.now + self.opts.keep_interval(cx.config),
        );
    }

    /// The peer's FIN did not come: the orphan goes, as Linux's, into a short TIME-WAIT.
    fn on_fin_wait_2_timeout(&mut self, _cx: &mut Cx<'_>) {
        self.finish(None);
    }
}

/// Retransmissions granted to an orphan.
fn orphan_retries(config: &TcpConfig) -> u32 {
    match config.tcp_orphan_retries {
        0 => 8,
        retries => retries,
    }
}

/// The time that `retries` doublings of a first timeout take, the last one included (Linux
/// `tcp_model_timeout`).
pub(super) fn patience(retries: u32, base: Duration) -> Duration {
    let doublings = (RTO_MAX.as_millis() / base.as_millis().max(1))
        .max(1)
        .ilog2();
    if retries <= doublings {
        base * ((2 << retries) - 1)
    } else {
        base * ((2 << doublings) - 1) + RTO_MAX * (retries - doublings)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fifteen_retries_take_924_seconds() {
        let least = Duration::from_millis(200);
        assert_eq!(patience(15, least), Duration::from_millis(924_600));
        assert_eq!(patience(3, least), Duration::from_millis(3000));
        assert_eq!(
            patience(6, Duration::from_secs(1)),
            Duration::from_secs(127)
        );
    }
}
