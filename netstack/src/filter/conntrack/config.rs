//! Settings of connection tracking, under Linux's names (`net.netfilter.nf_conntrack_*`).

use super::TcpState;
use crate::time::Duration;

/// The settings. Times are how long a connection is remembered after its last packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConntrackConfig {
    /// Connections that are remembered at most (`nf_conntrack_max`).
    pub max: usize,
    /// TCP by its state, in the order of [`TcpState`].
    pub tcp: [Duration; 9],
    /// A connection whose beginning was not seen is taken for established (`tcp_loose`).
    pub tcp_loose: bool,
    /// Segments outside of the window are not invalid (`tcp_be_liberal`).
    pub tcp_be_liberal: bool,
    /// UDP before there was an answer.
    pub udp: Duration,
    /// UDP that has gone to and fro for two seconds.
    pub udp_stream: Duration,
    /// Echo requests, of both families.
    pub icmp: Duration,
    /// Everything else.
    pub generic: Duration,
}

impl Default for ConntrackConfig {
    fn default() -> Self {
        let secs = Duration::from_secs;
        Self {
            max: 65_536,
            tcp: [120, 120, 60, 432_000, 120, 60, 30, 120, 10].map(secs),
            tcp_loose: true,
            tcp_be_liberal: false,
            udp: secs(30),
            udp_stream: secs(120),
            icmp: secs(30),
            generic: secs(600),
        }
    }
}

impl ConntrackConfig {
    /// How long a connection of TCP is remembered in a state.
    pub(super) fn of_tcp(&self, state: TcpState) -> Duration {
        self.tcp[state as usize]
    }

    /// Changes a setting by the last part of its name; false if there is none such or the value does not fit.
    ///
    /// # Errors
    /// `None` if there is no such setting, otherwise that the value does not fit.
    pub(crate) fn set(&mut self, name: &str, value: &str) -> Option<Result<(), BadValue>> {
        let number = value.parse::<u64>().map_err(|_| BadValue);
        let name = name.strip_prefix("nf_conntrack_")?;
        let flag = |to: &mut bool| match number {
            Ok(number @ (0 | 1)) => {
                *to = number == 1;
                Ok(())
            }
            _ => Err(BadValue),
        };
        Some(match name {
            "max" => number.and_then(|number| {
                self.max = usize::try_from(number.clamp(1, 1 << 24)).map_err(|_| BadValue)?;
                Ok(())
            }),
            "tcp_loose" => flag(&mut self.tcp_loose),
            "tcp_be_liberal" => flag(&mut self.tcp_be_liberal),
            name => {
                let time = self.time(name)?;
                number
                    .ok()
                    .filter(|secs| (1..=i32::MAX as u64).contains(secs))
                    .map(|secs| *time = Duration::from_secs(secs))
                    .ok_or(BadValue)
            }
        })
    }

    /// The text form of a setting.
    pub(crate) fn get(&self, name: &str) -> Option<String> {
        let name = name.strip_prefix("nf_conntrack_")?;
        let flag = |on: bool| u8::from(on).to_string();
        match name {
            "max" => Some(self.max.to_string()),
            "tcp_loose" => Some(flag(self.tcp_loose)),
            "tcp_be_liberal" => Some(flag(self.tcp_be_liberal)),
            name => {
                let mut copy = *self;
                copy.time(name).map(|time| time.as_secs().to_string())
            }
        }
    }

    fn time(&mut self, name: &str) -> Option<&mut Duration> {
        let state = |state: TcpState| state as usize;
        Some(match name {
            "tcp_timeout_syn_sent" => &mut self.tcp[state(TcpState::SynSent)],
            "tcp_timeout_syn_recv" => &mut self.tcp[state(TcpState::SynRecv)],
            "tcp_timeout_established" => &mut self.tcp[state(TcpState::Established)],
            "tcp_timeout_fin_wait" => &mut self.tcp[state(TcpState::FinWait)],
            "tcp_timeout_close_wait" => &mut self.tcp[state(TcpState::CloseWait)],
            "tcp_timeout_last_ack" => &mut self.tcp[state(TcpState::LastAck)],
            "tcp_timeout_time_wait" => &mut self.tcp[state(TcpState::TimeWait)],
            "tcp_timeout_close" => &mut self.tcp[state(TcpState::Close)],
            "udp_timeout" => &mut self.udp,
            "udp_timeout_stream" => &mut self.udp_stream,
            "icmp_timeout" => &mut self.icmp,
            "generic_timeout" => &mut self.generic,
            _ => return None,
        })
    }
}

/// The value does not fit the setting.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a value of this setting")]
pub(crate) struct BadValue;
