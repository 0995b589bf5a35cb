//! The window that we announce (RFC 9293, 3.8.6; Linux `__tcp_select_window`).

use super::config::TcpConfig;
use super::options::SocketOptions;
use super::seq::Seq;
use super::state::{Connection, Negotiated};

/// The part of a receive buffer that may hold payload; the rest is for overhead.
pub(super) fn usable(config: &TcpConfig, buffer: u32) -> u32 {
    buffer - (buffer >> config.tcp_adv_win_scale.clamp(1, 31))
}

/// What a SYN or SYN-ACK announces.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct InitialWindow {
    /// Bytes. A SYN says at most 65,535 of it, since its window is not scaled.
    pub(super) window: u32,
    /// Shift to offer.
    pub(super) wscale: u8,
}

/// Bytes of data in a full segment to or from a path of this MSS: the timestamps option takes room.
pub(super) fn full_segment(path_mss: u16, timestamps: bool) -> u16 {
    const TIMESTAMPS: u16 = 12;
    path_mss.saturating_sub(if timestamps { TIMESTAMPS } else { 0 })
}

/// The initial window: the usable buffer in whole segments, and the shift with which the largest
/// buffer that autotuning may reach can be announced (Linux `tcp_select_initial_window`).
pub(super) fn initial(
    config: &TcpConfig,
    opts: &SocketOptions,
    mss: u16,
    scaling: bool,
) -> InitialWindow {
    let mss = u32::from(mss).max(1);
    let clamp = if opts.window_clamp == 0 {
        65_535 << 14
    } else {
        opts.window_clamp
    };
    let mut space = usable(config, opts.initial_rcvbuf(config)).min(clamp);
    if space > mss {
        space -= space % mss;
    }
    let wscale = if scaling {
        let most = match opts.rcvbuf {
            Some(_) => space,
            None => space.max(config.tcp_rmem[2]).min(clamp),
        };
        (most.max(1).ilog2().saturating_sub(15) as u8).min(14)
    } else {
        0
    };
    InitialWindow {
        window: space.min(65_535 << wscale),
        wscale,
    }
}

/// Announced and allowed receive windows.
#[derive(Clone, Copy, Debug)]
pub(super) struct ReceiveWindow {
    /// Window as last announced, counted from `wup`.
    pub(super) wnd: u32,
    /// `RCV.NXT` when it was announced.
    pub(super) wup: Seq,
    /// Shift of what we announce.
    pub(super) wscale: u8,
    /// How much the window may be at present; grows as the peer sends full segments.
    pub(super) ssthresh: u32,
    /// Receive buffer, overhead included.
    pub(super) buffer: u32,
    /// The application has set the buffer: no autotuning.
    pub(super) fixed: bool,
    /// TCP_WINDOW_CLAMP, or a large number.
    pub(super) clamp: u32,
    /// Payload part of the buffer, as a shift (the setting at the start).
    overhead_shift: u32,
}

impl ReceiveWindow {
    pub(super) fn new(config: &TcpConfig, opts: &SocketOptions, agreed: &Negotiated) -> Self {
        Self {
            wnd: agreed.rcv_wnd,
            wup: agreed.irs + 1,
            wscale: agreed.rcv_wscale,
            ssthresh: agreed.rcv_wnd,
            buffer: opts.initial_rcvbuf(config),
            fixed: opts.rcvbuf.is_some(),
            clamp: if opts.window_clamp == 0 {
                u32::MAX
            } else {
                opts.window_clamp
            },
            overhead_shift: config.tcp_adv_win_scale.clamp(1, 31),
        }
    }

    /// Bytes of payload that the buffer is good for, and that can be announced.
    pub(super) fn full_space(&self) -> u32 {
        let usable = self.buffer - (self.buffer >> self.overhead_shift);
        usable.min(self.clamp).min(65_535 << self.wscale)
    }

    /// What is left of the announced window when `nxt` is expected.
    pub(super) fn left(&self, nxt: Seq) -> u32 {
        let end = self.wup + self.wnd;
        if end.after(nxt) { end - nxt } else { 0 }
    }

    /// The window that there is room for, given what the queue costs (without regard to what has
    /// been announced). `mss` is the estimate of the peer's segments.
    pub(super) fn candidate(&self, charged: u32, mss: u32) -> u32 {
        let full = self.full_space();
        let mss = mss.min(full);
        if mss == 0 {
            return 0;
        }
        let mut free = full.saturating_sub(charged);
        if free < full / 2 {
            free = free >> self.wscale << self.wscale;
            // Silly window avoidance: rather nothing than a sliver.
            if free < full / 16 || free < mss {
                return 0;
            }
        }
        let free = free.min(self.ssthresh);
        if self.wscale > 0 {
            return free.next_multiple_of(1 << self.wscale);
        }
        if self.wnd + mss <= free || self.wnd > free {
            free - free % mss
        } else if mss == full && free > self.wnd + full / 2 {
            free
        } else {
            self.wnd
        }
    }
}

impl Connection {
    /// The window field of the segment that is about to leave; remembers it as announced.
    pub(super) fn announce_window(&mut self) -> u16 {
        let window = &mut self.rcv.window;
        let left = window.left(self.rcv.nxt);
        let mut new = window.candidate(
            self.rcv.queue.charged() as u32,
            u32::from(self.acks.rcv_mss),
        );
        if new < left {
            // Never shrink (RFC 9293, 3.8.6).
            new = left.next_multiple_of(1 << window.wscale);
        }
        let new = new.min(65_535 << window.wscale);
        window.wnd = new;
        window.wup = self.rcv.nxt;
        (new >> window.wscale) as u16
    }

    /// True if the application has read so much that the peer should hear of the window at once
    /// (Linux `tcp_cleanup_rbuf`: it at least doubles).
    pub(super) fn window_worth_announcing(&self) -> bool {
        let window = &self.rcv.window;
        let left = window.left(self.rcv.nxt);
        if self.rcv.shutdown || 2 * left > window.full_space() {
            return false;
        }
        let new = window.candidate(
            self.rcv.queue.charged() as u32,
            u32::from(self.acks.rcv_mss),
        );
        new > 0 && new >= 2 * left
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn defaults_are_those_of_linux() {
        let config = TcpConfig::default();
        let opts = SocketOptions::new(&config);
        assert_eq!(
            initial(&config, &opts, 1460, true),
            InitialWindow {
                window: 64_240,
                wscale: 7
            }
        );
        assert_eq!(initial(&config, &opts, 1460, false).wscale, 0);
        assert_eq!(initial(&config, &opts, 65_483, true).window, 65_483);
    }

    #[test]
    fn a_small_fixed_buffer_offers_a_small_window() {
        let config = TcpConfig::default();
        let opts = SocketOptions {
            rcvbuf: Some(8192),
            ..SocketOptions::new(&config)
        };
        assert_eq!(
            initial(&config, &opts, 1460, true),
            InitialWindow {
                window: 2920,
                wscale: 0
            }
        );
    }
}
