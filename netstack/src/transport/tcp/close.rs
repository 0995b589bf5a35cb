//! The ways in which a connection ends (RFC 9293, 3.6, 3.10.4 and 3.10.5).

use super::Cx;
use super::segment::Outgoing;
use super::state::{Connection, Phase};
use super::timers::Timer;
use crate::error::SocketError;
use crate::time::{Duration, Instant};
use crate::wire::tcp::{TcpFlags, TcpOptions, Timestamps};

impl Connection {
    /// The application sends no more: a FIN follows the last byte.
    pub(super) fn shutdown_send(&mut self, cx: &mut Cx<'_>) {
        if let Some(opening) = &mut self.opening
            && !self.orphan
        {
            // Linux waits for the end of the handshake (`tcp_rcv_state_process`).
            opening.fin_waits = true;
            return;
        }
        self.phase = match self.phase {
            Phase::Established => Phase::FinWait1,
            Phase::CloseWait => Phase::LastAck,
            _ => return,
        };
        self.snd.fin = true;
        // Nothing will follow: what TCP_CORK holds back leaves with the FIN.
        self.opts.cork = false;
        self.output(cx);
    }

    /// The application waits for no more data.
    pub(super) fn shutdown_receive(&mut self) {
        self.rcv.shutdown = true;
    }

    /// The application lets go. Unread data or SO_LINGER with zero time mean a reset (RFC 9293,
    /// 3.6.1; RFC 2525, 2.17); else the rest is sent and the connection closes by itself.
    pub(super) fn close(&mut self, cx: &mut Cx<'_>) {
        self.orphan = true;
        if matches!(self.phase, Phase::Closed | Phase::TimeWait) {
            self.finish(None);
            return;
        }
        let unread = self.rcv.queue.readable() > 0;
        let linger_zero = self.opts.linger == Some(Duration::ZERO);
        if unread || linger_zero {
            cx.stats.abort_on_close += u64::from(unread);
            self.abort(cx);
            return;
        }
        self.rcv.shutdown = true;
        self.shutdown_send(cx);
        if self.phase == Phase::FinWait2 {
            self.enter_orphaned_fin_wait_2(cx);
        }
    }

    /// Resets the connection and is done with it.
    pub(super) fn abort(&mut self, cx: &mut Cx<'_>) {
        if !matches!(self.phase, Phase::Closed | Phase::TimeWait) {
            self.reset_peer(cx);
        }
        self.finish(None);
    }

    /// Sends a reset that the peer will accept.
    pub(super) fn reset_peer(&mut self, cx: &mut Cx<'_>) {
        // RFC 7323, 3.2: once negotiated, the option goes on every segment.
        let timestamps = self.ts.zip(self.timestamp_now(cx.now));
        let timestamps = timestamps.map(|(ts, val)| Timestamps {
            val,
            ecr: ts.recent,
        });
        let reset = Outgoing {
            seq: self.snd.nxt,
            ack: self.rcv.nxt,
            flags: TcpFlags::RST | TcpFlags::ACK,
            options: TcpOptions {
                timestamps,
                ..TcpOptions::default()
            },
            ..Outgoing::default()
        };
        // Best effort: if it is lost, the peer's next segment meets no connection and is answered.
        let _ = reset.send(cx, &self.key, self.opts.ip);
    }

    /// Our FIN has been acknowledged: the phases that were waiting for that move on.
    pub(super) fn advance_phase(&mut self, cx: &mut Cx<'_>) {
        if !self.snd.fin_acked() {
            return;
        }
        match self.phase {
            Phase::FinWait1 => {
                self.phase = Phase::FinWait2;
                if self.orphan {
                    self.enter_orphaned_fin_wait_2(cx);
                }
            }
            Phase::Closing => {
                self.phase = Phase::TimeWait;
                self.in_order = true;
            }
            Phase::LastAck => {
                self.finish(None);
                self.in_order = true;
            }
            _ => {}
        }
    }

    /// An orphan does not wait for the peer's FIN for ever (`tcp_fin_timeout`, TCP_LINGER2).
    fn enter_orphaned_fin_wait_2(&mut self, cx: &mut Cx<'_>) {
        self.in_order = true;
        match self.fin_wait_2_time(cx) {
            Some(time) => self.timers.set(Timer::FinWait2, cx.now + time),
            None => {
                self.reset_peer(cx);
                self.finish(None);
            }
        }
    }

    /// How long an orphan stays in FIN-WAIT-2: at least 3.5 timeouts. `None`: not at all.
    fn fin_wait_2_time(&self, cx: &Cx<'_>) -> Option<Duration> {
        let time = match self.opts.linger2 {
            Some(seconds) => Duration::from_secs(u64::try_from(seconds).ok()?),
            None => Duration::from_secs(u64::from(cx.config.tcp_fin_timeout)),
        };
        Some(time.max(self.rtt.base_rto() * 7 / 2))
    }

    /// Gives up: the peer no longer answers.
    pub(super) fn time_out(&mut self) {
        let error = self.soft_error.unwrap_or(SocketError::TimedOut);
        self.finish(Some(error));
    }

    /// What is left of TCP_USER_TIMEOUT, if it is set and trouble has begun.
    pub(super) fn user_timeout_left(&self, now: Instant) -> Option<Duration> {
        let limit = self.opts.user_timeout;
        let since = self.recovery.trouble_since.unwrap_or(now);
        (!limit.is_zero()).then(|| (since + limit).since(now))
    }
}
