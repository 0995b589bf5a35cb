//! Socket options: what an application may set before or after the connection exists.

use super::config::TcpConfig;
use super::congestion::CongestionKind;
use super::segment::IpOptions;
use crate::socket::tcp::TxStamps;
use crate::socket::{Family, Names};
use crate::time::Duration;

/// The options of one socket. An accepted connection inherits its listener's.
#[derive(Clone, Copy, Debug)]
pub(super) struct SocketOptions {
    /// How it names addresses, IPV6_V6ONLY among it.
    pub(super) names: Names,
    /// TCP_NODELAY.
    pub(super) nodelay: bool,
    /// TCP_CORK.
    pub(super) cork: bool,
    /// SO_KEEPALIVE.
    pub(super) keepalive: bool,
    /// TCP_KEEPIDLE in seconds; `None`: the setting.
    pub(super) keep_idle: Option<u32>,
    /// TCP_KEEPINTVL in seconds.
    pub(super) keep_intvl: Option<u32>,
    /// TCP_KEEPCNT.
    pub(super) keep_count: Option<u32>,
    /// SO_LINGER: `None` off.
    pub(super) linger: Option<Duration>,
    /// TCP_LINGER2 in seconds; negative: no FIN-WAIT-2 for orphans.
    pub(super) linger2: Option<i32>,
    /// TCP_DEFER_ACCEPT as a number of SYN-ACK timeouts; 0 off.
    pub(super) defer_accept: u8,
    /// TCP_SYNCNT; 0: the setting.
    pub(super) syn_count: u8,
    /// TCP_USER_TIMEOUT; zero: the settings decide.
    pub(super) user_timeout: Duration,
    /// TCP_MAXSEG; 0 unset.
    pub(super) maxseg: u16,
    /// TCP_WINDOW_CLAMP; 0 unset.
    pub(super) window_clamp: u32,
    /// SO_REUSEADDR.
    pub(super) reuse_addr: bool,
    /// SO_REUSEPORT.
    pub(super) reuse_port: bool,
    /// IP_TOS, IP_TTL, SO_BINDTODEVICE.
    pub(super) ip: IpOptions,
    /// SO_RCVBUF as accounted (twice what was asked for); `None`: autotuned.
    pub(super) rcvbuf: Option<u32>,
    /// SO_SNDBUF as accounted.
    pub(super) sndbuf: Option<u32>,
    /// SO_ZEROCOPY: MSG_ZEROCOPY calls get receipts.
    pub(super) zero_copy: bool,
    /// SO_TIMESTAMPING of what is sent.
    pub(super) tx_stamps: TxStamps,
    /// IP_RECVERR: ICMP errors about a connection are reported at once.
    pub(super) recv_errors: bool,
    /// SO_OOBINLINE.
    pub(super) oob_inline: bool,
    /// SO_RCVLOWAT.
    pub(super) rcvlowat: u32,
    /// TCP_NOTSENT_LOWAT; 0: the setting.
    pub(super) notsent_lowat: u32,
    /// TCP_CONGESTION.
    pub(super) congestion: CongestionKind,
    /// TCP_FASTOPEN: connections that a listener may have without a finished handshake.
    pub(super) fast_open_queue: u32,
    /// TCP_FASTOPEN_CONNECT: `connect` waits for data, to send it on the SYN.
    pub(super) fast_open_connect: bool,
    /// TCP_FASTOPEN_NO_COOKIE.
    pub(super) fast_open_no_cookie: bool,
}

impl SocketOptions {
    pub(super) fn new(config: &TcpConfig) -> Self {
        Self {
            names: Names::of(Family::V4),
            nodelay: false,
            cork: false,
            keepalive: false,
            keep_idle: None,
            keep_intvl: None,
            keep_count: None,
            linger: None,
            linger2: None,
            defer_accept: 0,
            syn_count: 0,
            user_timeout: Duration::ZERO,
            maxseg: 0,
            window_clamp: 0,
            reuse_addr: false,
            reuse_port: false,
            ip: IpOptions::default(),
            rcvbuf: None,
            sndbuf: None,
            zero_copy: false,
            tx_stamps: TxStamps::empty(),
            recv_errors: false,
            oob_inline: false,
            rcvlowat: 1,
            notsent_lowat: 0,
            congestion: CongestionKind::from_name(&config.tcp_congestion_control)
                .unwrap_or_default(),
            fast_open_queue: 0,
            fast_open_connect: false,
            fast_open_no_cookie: false,
        }
    }

    /// Idle time before the first keepalive probe.
    pub(super) fn keep_idle(&self, config: &TcpConfig) -> Duration {
        Duration::from_secs(u64::from(
            self.keep_idle.unwrap_or(config.tcp_keepalive_time),
        ))
    }

    /// Time between keepalive probes.
    pub(super) fn keep_interval(&self, config: &TcpConfig) -> Duration {
        Duration::from_secs(u64::from(
            self.keep_intvl.unwrap_or(config.tcp_keepalive_intvl),
        ))
    }

    /// Receive buffer to start with.
    pub(super) fn initial_rcvbuf(&self, config: &TcpConfig) -> u32 {
        self.rcvbuf.unwrap_or(config.tcp_rmem[1])
    }
}

/// TCP_DEFER_ACCEPT's seconds as a number of SYN-ACK timeouts of 1, 2, 4 ... seconds, at most 120
/// each (Linux `secs_to_retrans`).
pub(super) fn seconds_to_timeouts(seconds: u32) -> u8 {
    let mut timeouts = 0;
    let (mut period, mut timeout) = (0, 1);
    while seconds > period && timeouts < 255 {
        timeouts += 1;
        period += timeout;
        timeout = (timeout * 2).min(120);
    }
    timeouts
}

/// The inverse: the seconds that so many timeouts last (Linux `retrans_to_secs`).
pub(super) fn timeouts_to_seconds(timeouts: u8) -> u32 {
    (0..u32::from(timeouts))
        .map(|n| 1_u32.checked_shl(n).unwrap_or(120).min(120))
        .sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn defer_accept_rounds_up_to_whole_timeouts() {
        let cases = [
            (0, 0, 0),
            (1, 1, 1),
            (2, 2, 3),
            (3, 2, 3),
            (5, 3, 7),
            (8, 4, 15),
        ];
        for (seconds, timeouts, rounded) in cases {
            assert_eq!(seconds_to_timeouts(seconds), timeouts);
            assert_eq!(timeouts_to_seconds(timeouts), rounded);
        }
    }
}
