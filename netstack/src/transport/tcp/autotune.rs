//! Buffers that follow the bandwidth-delay product (Linux `tcp_rcv_space_adjust`,
//! `tcp_grow_window`, `tcp_sndbuf_expand`).

use super::config::TcpConfig;
use super::congestion::INITIAL_WINDOW;
use super::seq::Seq;
use super::state::Connection;
use crate::time::{Duration, Instant};

/// Bookkeeping cost of one segment in a buffer, beside its payload.
const SEGMENT_COST: u32 = 640;

/// Dynamic right-sizing of the receive buffer.
#[derive(Clone, Copy, Debug)]
pub(super) struct Autotune {
    /// First byte of the present round trip's reading.
    from: Seq,
    since: Instant,
    /// Bytes read in the best round trip so far.
    space: u32,
    /// The receiver's own RTT estimate, from the timestamps that the peer echoes or from one window.
    rtt: Duration,
    /// When the window that is being timed began, and where it ends.
    window_end: Option<(Seq, Instant)>,
}

impl Autotune {
    /// `window` is announced at first, `mss` is the segment size: what a peer sends in its first round
    /// trip is nothing to adapt to (Linux `tcp_init_buffer_space`).
    pub(super) fn new(start: Seq, now: Instant, window: u32, mss: u32) -> Self {
        Self {
            from: start,
            since: now,
            space: window.min(INITIAL_WINDOW * mss),
            rtt: Duration::ZERO,
            window_end: None,
        }
    }

    /// Times how long one window takes to arrive (for peers without timestamps).
    pub(super) fn on_arrival(&mut self, nxt: Seq, window: u32, now: Instant) {
        if let Some((end, since)) = self.window_end {
            if nxt.before(end) {
                return;
            }
            self.sample(now.since(since));
        }
        self.window_end = Some((nxt + window, now));
    }

    /// A round trip as the receiver sees it: the least counts, slowly forgotten.
    pub(super) fn sample(&mut self, rtt: Duration) {
        let rtt = rtt.max(Duration::from_millis(1));
        self.rtt = if self.rtt.is_zero() || rtt < self.rtt {
            rtt
        } else {
            self.rtt + (rtt - self.rtt) / 8
        };
    }

    /// The estimate (tcpi_rcv_rtt).
    pub(super) fn rtt(&self) -> Duration {
        self.rtt
    }

    /// Bytes read per round trip (tcpi_rcv_space).
    pub(super) fn space(&self) -> u32 {
        self.space
    }
}

impl Connection {
    /// The application has read: once per round trip, the buffer grows to hold twice what was read.
    pub(super) fn adjust_receive_buffer(&mut self, now: Instant, config: &TcpConfig) {
        let tune = &mut self.autotune;
        let rtt = if tune.rtt.is_zero() {
            self.rtt.srtt()
        } else {
            tune.rtt
        };
        if rtt.is_zero() || now.since(tune.since) < rtt {
            return;
        }
        let copied = self.rcv.read - tune.from;
        let grew = copied > tune.space;
        if grew {
            // Twice for slow start to double into, and more if the rate is still rising.
            let rising =
                u64::from(copied - tune.space) * u64::from(copied) / u64::from(tune.space.max(1));
            let wanted = 2 * u64::from(copied) + 16 * u64::from(self.acks.rcv_mss) + 2 * rising;
            tune.space = copied;
            let window = &mut self.rcv.window;
            if config.tcp_moderate_rcvbuf != 0 && !window.fixed {
                let buffer = (wanted * 2).min(u64::from(config.tcp_rmem[2])) as u32;
                if buffer > window.buffer {
                    window.buffer = buffer;
                    // The peer has earned it: the window may use it at once.
                    window.ssthresh = window.ssthresh.max(window.full_space());
                }
            }
        }
        tune.from = self.rcv.read;
        tune.since = now;
    }

    /// Full segments arrive: the window may grow towards the buffer, by two segments each.
    pub(super) fn grow_receive_window(&mut self, len: u32) {
        let window = &mut self.rcv.window;
        if len < u32::from(self.acks.rcv_mss) || window.ssthresh >= window.full_space() {
            return;
        }
        let step = (2 * u32::from(self.acks.rcv_mss)).max(len);
        window.ssthresh = (window.ssthresh + step).min(window.full_space());
    }

    /// The send buffer holds two windows, unless the application has set it.
    pub(super) fn grow_send_buffer(&mut self, config: &TcpConfig) {
        if self.opts.sndbuf.is_some() {
            return;
        }
        let segments = self.cc.window.cwnd.max(INITIAL_WINDOW).saturating_add(1);
        let wanted = segments.saturating_mul(2 * (self.snd.mss + SEGMENT_COST));
        self.snd.buffer = self.snd.buffer.max(wanted.min(config.tcp_wmem[2]));
    }
}
