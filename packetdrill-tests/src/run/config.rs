//! What the command line and a script's own option lines decide.

use std::net::{Ipv4Addr, SocketAddrV4};

use super::target::Addresses;
use crate::ast::{Micros, OptionLine};
use crate::report::Failure;

/// How a script is run. An option line in the script overrides the command line.
#[derive(Clone, Debug)]
pub struct Config {
    /// How far an event may lie from its time.
    pub tolerance: Micros,
    /// The same as a share of the time since the event before, if that is more.
    pub tolerance_percent: f64,
    /// Addresses and MTU.
    pub addresses: Addresses,
    /// Microseconds per tick of outgoing TS values; 0: they are not compared.
    pub ts_tick: Micros,
    /// Segments are never put together to make up what a line expects.
    pub strict_segments: bool,
    /// TS echoes that the script made up are scaled, and not refused.
    pub ts_ecr_scaled: bool,
    /// Packets that no line looks for are no failure: only those that come first where a line expects
    /// another.
    pub lenient: bool,
    /// Names that stand for other text in scripts.
    pub defines: Vec<(String, String)>,
    /// Outgoing TS echoes are not compared (the classic tool never did).
    pub ignore_ecr: bool,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            tolerance: 4_000,
            tolerance_percent: 0.0,
            addresses: Addresses {
                local: SocketAddrV4::new(Ipv4Addr::new(192, 168, 0, 1), 8080),
                remote: SocketAddrV4::new(Ipv4Addr::new(192, 0, 2, 1), 8080),
                mtu: 1500,
            },
            ts_tick: 0,
            strict_segments: false,
            ts_ecr_scaled: false,
            lenient: false,
            defines: Vec::new(),
            ignore_ecr: false,
        }
    }
}

impl Config {
    /// Applies a script's option lines.
    ///
    /// # Errors
    /// An option that is not known, or whose value makes no sense.
    pub fn apply(&mut self, lines: &[OptionLine]) -> Result<(), Failure> {
        for line in lines {
            self.apply_one(line)
                .map_err(|message| Failure::error(line.pos, message))?;
        }
        Ok(())
    }

    fn apply_one(&mut self, line: &OptionLine) -> Result<(), String> {
        let value = || {
            line.value
                .as_deref()
                .ok_or_else(|| format!("the option --{} needs a value", line.name))
        };
        match line.name.as_str() {
            "tolerance_usecs" => self.tolerance = number(value()?)?,
            "tolerance_percent" => self.tolerance_percent = number(value()?)?,
            "tcp_ts_tick_usecs" => self.ts_tick = number(value()?)?,
            "tcp_ts_ecr_scaled" => self.ts_ecr_scaled = true,
            "strict_segments" => self.strict_segments = true,
            "lenient" => self.lenient = true,
            // The parser has put them in their places.
            "define" => {}
            "mtu" => self.addresses.mtu = number(value()?)?,
            "bind_port" => self.addresses.local.set_port(number(value()?)?),
            "connect_port" => self.addresses.remote.set_port(number(value()?)?),
            "local_ip" => self.addresses.local.set_ip(number(value()?)?),
            "remote_ip" => {
                let text = value()?;
                let address = text.split_once('/').map_or(text, |(address, _)| address);
                self.addresses.remote.set_ip(number(address)?);
            }
            "ip_version" if value()? != "ipv4" => {
                return Err(format!("--ip_version={} is not supported", value()?));
            }
            // The peer's route and the capture link make no difference here.
            "ip_version" | "gateway_ip" | "netmask_ip" | "send_omit_free" | "speed" | "mss" => {}
            other => return Err(format!("the option --{other} is not supported")),
        }
        Ok(())
    }
}

fn number<T: std::str::FromStr>(text: &str) -> Result<T, String> {
    text.parse()
        .map_err(|_| format!("'{text}' is no value for this option"))
}
