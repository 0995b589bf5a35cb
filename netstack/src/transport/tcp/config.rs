//! Settings, under the names of the Linux sysctls (`net.ipv4.*`, `net.core.somaxconn`).

use super::fast_open::FastOpenKeys;
use thiserror::Error;

/// Why a setting was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum SettingError {
    /// There is no setting of this name.
    #[error("no TCP setting has this name")]
    Unknown,
    /// The text is no number, not enough numbers, or out of range.
    #[error("the value is not one that this setting takes")]
    Invalid,
}

/// Declares the single-number settings, and access to them by name.
macro_rules! settings {
    ($($(#[$meta:meta])* $name:ident = $default:expr),* $(,)?) => {
        /// The settings of one TCP engine. Read at each use: a change takes effect at once.
        #[derive(Clone, Debug, PartialEq, Eq)]
        pub struct TcpConfig {
            $($(#[$meta])* pub $name: u32,)*
            /// Receive buffer: least, initial and greatest size in bytes.
            pub tcp_rmem: [u32; 3],
            /// Send buffer: least, initial and greatest size in bytes.
            pub tcp_wmem: [u32; 3],
            /// First and last ephemeral port.
            pub ip_local_port_range: [u32; 2],
            /// Name of the congestion control of new sockets (`cubic`, `reno`).
            pub tcp_congestion_control: String,
            /// Keys of Fast Open cookies; `None`: the stack's own, chosen at random.
            pub tcp_fastopen_key: Option<FastOpenKeys>,
        }

        impl Default for TcpConfig {
            fn default() -> Self {
                Self {
                    $($name: $default,)*
                    tcp_rmem: [4096, 131_072, 6_291_456],
                    tcp_wmem: [4096, 16_384, 4_194_304],
                    ip_local_port_range: [32_768, 60_999],
                    tcp_congestion_control: "cubic".to_owned(),
                    tcp_fastopen_key: None,
                }
            }
        }

        impl TcpConfig {
            fn number(&mut self, name: &str) -> Option<&mut u32> {
                match name {
                    $(stringify!($name) => Some(&mut self.$name),)*
                    _ => None,
                }
            }
        }
    };
}

settings! {
    /// 0: no SYN cookies, 1: when the SYN queue overflows, 2: always.
    tcp_syncookies = 1,
    /// Upper bound of a listener's backlog.
    somaxconn = 4096,
    /// Non-zero: reset a connection that completes while the accept queue is full.
    tcp_abort_on_overflow = 0,
    /// How often a SYN-ACK is sent again.
    tcp_synack_retries = 5,
    /// How often a SYN is sent again.
    tcp_syn_retries = 6,
    /// How many SYN timeouts pass before they begin to double.
    tcp_syn_linear_timeouts = 4,
    /// SYN queue bound that applies with cookies off, for unproven peers.
    tcp_max_syn_backlog = 4096,
    /// 0: off, 1: with a random offset per peer, 2: without offset.
    tcp_timestamps = 1,
    /// Non-zero: offer and accept selective acknowledgement.
    tcp_sack = 1,
    /// Non-zero: report duplicate segments (RFC 2883).
    tcp_dsack = 1,
    /// Non-zero: offer and accept window scaling.
    tcp_window_scaling = 1,
    /// 0: no ECN, 1: request and accept, 2: accept.
    tcp_ecn = 2,
    /// Non-zero: a SYN that is sent again does not ask for ECN (RFC 3168, 6.1.1.1).
    tcp_ecn_fallback = 1,
    /// Seconds that an orphan stays in FIN-WAIT-2.
    tcp_fin_timeout = 60,
    /// Seconds of idleness before the first keepalive probe.
    tcp_keepalive_time = 7200,
    /// Seconds between keepalive probes.
    tcp_keepalive_intvl = 75,
    /// Unanswered keepalive probes before the connection is given up.
    tcp_keepalive_probes = 9,
    /// Retransmissions of one segment before a warning to the network layer.
    tcp_retries1 = 3,
    /// Retransmissions of one segment before the connection is given up.
    tcp_retries2 = 15,
    /// The same for an orphan (0: 8).
    tcp_orphan_retries = 0,
    /// 0: no reuse of TIME-WAIT by connect, 1: always, 2: on loopback.
    tcp_tw_reuse = 2,
    /// How much of the receive buffer is overhead: the part 2^-n, so 1 means a half.
    tcp_adv_win_scale = 1,
    /// Non-zero: the receive buffer grows with what the application reads.
    tcp_moderate_rcvbuf = 1,
    /// Non-zero: half-open records of a closing SO_REUSEPORT listener move to another.
    tcp_migrate_req = 0,
    /// Non-zero: a reset does not end TIME-WAIT (RFC 1337).
    tcp_rfc1337 = 0,
    /// 1: RACK loss detection.
    tcp_recovery = 1,
    /// 0: no tail loss probes, 3 and 4: on.
    tcp_early_retrans = 3,
    /// Initial estimate of reordering, in segments.
    tcp_reordering = 3,
    /// Non-zero: restart slow start after idleness (RFC 2861).
    tcp_slow_start_after_idle = 1,
    /// Non-zero: find out whether a timeout was spurious (F-RTO, RFC 5682).
    tcp_frto = 2,
    /// Non-zero: the urgent pointer names the urgent byte, and not the one after it.
    tcp_stdurg = 0,
    /// Non-zero: small segments that are lost go again together.
    tcp_retrans_collapse = 1,
    /// Milliseconds between out-of-window answers of one connection.
    tcp_invalid_ratelimit = 500,
    /// Least retransmission timeout in milliseconds.
    tcp_rto_min_ms = 200,
    /// Merging of small writes while the device is busy. Remembered; without effect.
    tcp_autocorking = 1,
    /// Bytes not yet sent above which a socket is not writable.
    tcp_notsent_lowat = u32::MAX,
    /// Largest number of TIME-WAIT records.
    tcp_max_tw_buckets = 131_072,
    /// Non-zero: a connection that ends leaves nothing in the table of proven peers.
    tcp_no_metrics_save = 0,
    /// Fast Open, as bits: 1 clients, 2 listeners, 4 clients without a cookie, 0x200 listeners
    /// without a cookie, 0x400 all listeners.
    tcp_fastopen = 1,
    /// Seconds that clients stay away from Fast Open after a middlebox has swallowed it; 0: never.
    tcp_fastopen_blackhole_timeout_sec = 0,
    /// Least number of segments in a super-segment that could be larger.
    tcp_min_tso_segs = 2,
    /// How fast round trips make super-segments smaller: the part of them that no rate asks for is
    /// halved each 2^n microseconds. 0: it is not there at all.
    tcp_tso_rtt_log = 9,
    /// A super-segment waits for an acknowledgement if it would fill less than this part of the
    /// window. 0: it never waits.
    tcp_tso_win_divisor = 3,
    /// Percent of the rate of one window per round trip at which data is taken to leave in slow
    /// start, for the size of super-segments.
    tcp_pacing_ss_ratio = 200,
    /// The same in congestion avoidance.
    tcp_pacing_ca_ratio = 120,
    /// Least MSS that a peer is believed.
    tcp_min_snd_mss = 48,
}

impl TcpConfig {
    /// Sets the setting called `name` (`tcp_sack`, `net.ipv4.tcp_sack` and `net/ipv4/tcp_sack`
    /// all work) from its text.
    ///
    /// # Errors
    /// [`SettingError`]; nothing is changed then.
    pub fn set(&mut self, name: &str, value: &str) -> Result<(), SettingError> {
        let name = name.rsplit(['.', '/']).next().unwrap_or(name);
        match name {
            "tcp_rmem" => self.tcp_rmem = numbers(value)?,
            "tcp_wmem" => self.tcp_wmem = numbers(value)?,
            "ip_local_port_range" => {
                let range: [u32; 2] = numbers(value)?;
                if range[0] == 0 || range[0] > range[1] || range[1] > 65_535 {
                    return Err(SettingError::Invalid);
                }
                self.ip_local_port_range = range;
            }
            "tcp_congestion_control" => {
                if !super::congestion::is_known(value.trim()) {
                    return Err(SettingError::Invalid);
                }
                value.trim().clone_into(&mut self.tcp_congestion_control);
            }
            "tcp_fastopen_key" => {
                let keys = FastOpenKeys::from_text(value).ok_or(SettingError::Invalid)?;
                self.tcp_fastopen_key = Some(keys);
            }
            _ => {
                let [number] = numbers(value)?;
                *self.number(name).ok_or(SettingError::Unknown)? = number;
            }
        }
        Ok(())
    }

    /// The present value of a setting as text; `None` if there is no such setting.
    pub fn get(&self, name: &str) -> Option<String> {
        let name = name.rsplit(['.', '/']).next().unwrap_or(name);
        let join = |values: &[u32]| {
            let texts: Vec<_> = values.iter().map(u32::to_string).collect();
            Some(texts.join("\t"))
        };
        match name {
            "tcp_rmem" => join(&self.tcp_rmem),
            "tcp_wmem" => join(&self.tcp_wmem),
            "ip_local_port_range" => join(&self.ip_local_port_range),
            "tcp_congestion_control" => Some(self.tcp_congestion_control.clone()),
            // As Linux says before a key is set or needed.
            "tcp_fastopen_key" => Some(self.tcp_fastopen_key.map_or_else(
                || "00000000-00000000-00000000-00000000".to_owned(),
                FastOpenKeys::to_text,
            )),
            _ => self.clone().number(name).map(|value| value.to_string()),
        }
    }
}

/// Exactly `N` numbers, separated by white space. A negative number counts as the largest one.
fn numbers<const N: usize>(text: &str) -> Result<[u32; N], SettingError> {
    let mut words = text.split_whitespace();
    let mut values = [0; N];
    for value in &mut values {
        let word = words.next().ok_or(SettingError::Invalid)?;
        let number: i64 = word.parse().map_err(|_| SettingError::Invalid)?;
        *value = match number {
            -1 => u32::MAX,
            _ => u32::try_from(number).map_err(|_| SettingError::Invalid)?,
        };
    }
    words
        .next()
        .is_none()
        .then_some(values)
        .ok_or(SettingError::Invalid)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_by_sysctl_name() {
        let mut config = TcpConfig::default();
        assert_eq!(config.set("net.ipv4.tcp_syncookies", "2"), Ok(()));
        assert_eq!(config.tcp_syncookies, 2);
        assert_eq!(config.set("tcp_rmem", "4096 10000\t20000"), Ok(()));
        assert_eq!(config.tcp_rmem, [4096, 10_000, 20_000]);
        assert_eq!(
            config.get("net/ipv4/tcp_rmem").as_deref(),
            Some("4096\t10000\t20000")
        );
        assert_eq!(config.set("tcp_no_such", "1"), Err(SettingError::Unknown));
        assert_eq!(config.set("tcp_sack", "yes"), Err(SettingError::Invalid));
        assert_eq!(config.set("tcp_rmem", "1 2"), Err(SettingError::Invalid));
        assert_eq!(
            config.set("tcp_congestion_control", "bogus"),
            Err(SettingError::Invalid)
        );
    }
}
