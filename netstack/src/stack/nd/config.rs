//! Settings of neighbour discovery, under the names of `net.ipv6.conf`.

use crate::stack::config::{SettingError, flag, number};
use crate::time::Duration;

/// The settings, for all interfaces.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NdConfig {
    /// Listen to router advertisements.
    pub accept_ra: bool,
    /// Make addresses from routers' prefixes.
    pub autoconf: bool,
    /// Listen to redirects.
    pub accept_redirects: bool,
    /// How often a new address is asked for before it is used; 0: not at all.
    pub dad_transmits: u32,
    /// How often routers are asked for.
    pub router_solicitations: u32,
    /// Time between these.
    pub router_solicitation_interval: Duration,
    /// Make temporary addresses (RFC 8981): 0 no, 1 or 2 yes.
    pub use_tempaddr: u32,
    /// How long a temporary address lasts.
    pub temp_valid_lft: Duration,
    /// For how long of that it is preferred.
    pub temp_prefered_lft: Duration,
    /// Interface identifiers: 0 from the hardware address, 2 stable and opaque (RFC 7217), as
    /// `addr_gen_mode` of Linux.
    pub addr_gen_mode: u32,
    /// What stable identifiers depend on; `None`: drawn at the start, and so stable for one run.
    pub stable_secret: Option<[u8; 16]>,
}

impl Default for NdConfig {
    fn default() -> Self {
        Self {
            accept_ra: true,
            autoconf: true,
            accept_redirects: true,
            dad_transmits: 1,
            router_solicitations: 3,
            router_solicitation_interval: Duration::from_secs(4),
            use_tempaddr: 0,
            temp_valid_lft: Duration::from_secs(604_800),
            temp_prefered_lft: Duration::from_secs(86_400),
            addr_gen_mode: 0,
            stable_secret: None,
        }
    }
}

impl NdConfig {
    /// Changes a setting by the last part of its sysctl name.
    pub(in crate::stack) fn set(&mut self, name: &str, value: &str) -> Result<(), SettingError> {
        let seconds = |text| number(text, 0, i32::MAX as u64).map(Duration::from_secs);
        match name {
            "accept_ra" => self.accept_ra = number(value, 0, 2)? > 0,
            "autoconf" => self.autoconf = flag(value)?,
            "accept_redirects" => self.accept_redirects = flag(value)?,
            "dad_transmits" => self.dad_transmits = number(value, 0, 100)?,
            "router_solicitations" => self.router_solicitations = number(value, 0, 1000)?,
            "router_solicitation_interval" => self.router_solicitation_interval = seconds(value)?,
            "use_tempaddr" => self.use_tempaddr = number(value, 0, 2)?,
            "temp_valid_lft" => self.temp_valid_lft = seconds(value)?,
            "temp_prefered_lft" => self.temp_prefered_lft = seconds(value)?,
            // Linux has 1 (no address) and 3 (a random secret) too.
            "addr_gen_mode" if matches!(value, "0" | "2") => {
                self.addr_gen_mode = number(value, 0, 2)?;
            }
            "addr_gen_mode" => return Err(SettingError::BadValue),
            _ => return Err(SettingError::Unknown),
        }
        Ok(())
    }

    /// The text form of a setting, `None` if there is no such setting.
    pub(in crate::stack) fn get(&self, name: &str) -> Option<String> {
        let flag = |on: bool| u8::from(on).to_string();
        Some(match name {
            "accept_ra" => flag(self.accept_ra),
            "autoconf" => flag(self.autoconf),
            "accept_redirects" => flag(self.accept_redirects),
            "dad_transmits" => self.dad_transmits.to_string(),
            "router_solicitations" => self.router_solicitations.to_string(),
            "router_solicitation_interval" => {
                self.router_solicitation_interval.as_secs().to_string()
            }
            "use_tempaddr" => self.use_tempaddr.to_string(),
            "temp_valid_lft" => self.temp_valid_lft.as_secs().to_string(),
            "temp_prefered_lft" => self.temp_prefered_lft.as_secs().to_string(),
            "addr_gen_mode" => self.addr_gen_mode.to_string(),
            _ => return None,
        })
    }
}
