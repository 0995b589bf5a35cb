//! When to acknowledge: at once at the start and out of order, else with the data or within 40 ms
//! (RFC 9293, 3.8.6.3; Linux's quick-ack and ping-pong modes).

use super::seq::Seq;
use crate::time::{Duration, Instant};

/// Least delay of an acknowledgement.
const ATO_MIN: Duration = Duration::from_millis(40);
/// Greatest.
const ATO_MAX: Duration = Duration::from_millis(200);
/// Acknowledgements sent at once while a connection starts.
const QUICK_MAX: u8 = 16;

/// The acknowledgement side of a connection.
#[derive(Clone, Copy, Debug)]
pub(super) struct AckPolicy {
    /// Something is to be acknowledged.
    pub(super) pending: bool,
    /// It is to be acknowledged now.
    pub(super) now: bool,
    /// Acknowledgements still to be sent at once.
    quick: u8,
    /// The application answers: an acknowledgement can ride on its data.
    pub(super) interactive: bool,
    /// Present delay; zero before the first data.
    ato: Duration,
    /// When data last arrived.
    pub(super) last_data: Instant,
    /// Estimate of the peer's segment size.
    pub(super) rcv_mss: u16,
    /// `RCV.NXT` as last acknowledged.
    pub(super) acked: Option<Seq>,
    /// When the last segment of any kind arrived (keepalive).
    pub(super) last_heard: Instant,
}

impl AckPolicy {
    pub(super) fn new(mss: u16, now: Instant) -> Self {
        Self {
            pending: false,
            now: false,
            quick: 0,
            interactive: false,
            ato: Duration::ZERO,
            last_data: now,
            rcv_mss: mss.clamp(88, 536),
            acked: None,
            last_heard: now,
        }
    }

    /// Data of `len` bytes arrived, in segments of at most `len`; `window` is what we announce.
    pub(super) fn on_data(&mut self, now: Instant, len: u32, window: u32, mss_limit: u16) {
        self.pending = true;
        let len = len.min(u32::from(u16::MAX)) as u16;
        if len >= self.rcv_mss {
            self.rcv_mss = len.min(mss_limit.max(self.rcv_mss));
        }
        if self.ato.is_zero() {
            self.grant_quick(window);
            self.ato = ATO_MIN;
        } else {
            let gap = now.since(self.last_data);
            if gap <= ATO_MIN / 2 {
                self.ato = self.ato / 2 + ATO_MIN / 2;
            } else if gap < self.ato {
                self.ato = (self.ato / 2 + gap).min(ATO_MAX);
            } else if gap > ATO_MAX {
                // The peer restarts after a pause, and wants its window opened quickly.
                self.grant_quick(window);
            }
        }
        self.last_data = now;
    }

    fn grant_quick(&mut self, window: u32) {
        let half_window = window / (2 * u32::from(self.rcv_mss).max(1));
        let grant = half_window.clamp(2, u32::from(QUICK_MAX)) as u8;
        self.quick = self.quick.max(grant);
    }

    /// Something out of the ordinary: acknowledge the next few at once.
    pub(super) fn enter_quick(&mut self, window: u32) {
        self.grant_quick(window);
        self.interactive = false;
        self.ato = ATO_MIN;
    }

    /// TCP_QUICKACK: on, or off.
    pub(super) fn set_quick(&mut self, on: bool) {
        self.interactive = !on;
    }

    /// True if acknowledgements are not to be delayed.
    pub(super) fn is_quick(&self) -> bool {
        self.quick > 0 && !self.interactive
    }

    /// An acknowledgement left, on data or alone.
    pub(super) fn on_ack_sent(&mut self, nxt: Seq) {
        if self.pending {
            self.quick = self.quick.saturating_sub(1);
        }
        self.pending = false;
        self.now = false;
        self.acked = Some(nxt);
    }

    /// Data left: if it follows data of the peer within the delay, the application is interactive.
    pub(super) fn on_data_sent(&mut self, now: Instant) {
        if !self.ato.is_zero() && now.since(self.last_data) < self.ato {
            self.interactive = true;
        }
    }

    /// How long an acknowledgement may wait for data to ride on.
    pub(super) fn delay(&self, srtt: Duration) -> Duration {
        let limit = if self.interactive {
            ATO_MAX
        } else {
            ATO_MAX / 2
        };
        let limit = if srtt.is_zero() {
            limit
        } else {
            limit.min(srtt.max(ATO_MIN))
        };
        self.ato.max(ATO_MIN).min(limit)
    }

    /// The delay passed without data: the application is not that interactive after all.
    pub(super) fn on_delay_expired(&mut self) {
        if self.interactive {
            self.interactive = false;
            self.ato = ATO_MIN;
        } else {
            self.ato = (self.ato * 2).min(ATO_MAX);
        }
        self.now = true;
    }

    /// The present delay (tcpi_ato).
    pub(super) fn ato(&self) -> Duration {
        self.ato
    }
}
