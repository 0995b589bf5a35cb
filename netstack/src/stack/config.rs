//! Settings of a stack, under the names of the Linux sysctls where there are any.

use std::str::FromStr;

use super::forward::ForwardConfig;
use super::nd::NdConfig;
use crate::filter::conntrack::ConntrackConfig;
use crate::neighbor::NeighborConfig;
use crate::network::icmp_limit::IcmpLimits;
use crate::time::Duration;
use crate::transport::tcp::TcpConfig;

/// All settings of a stack.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StackConfig {
    /// Everything outside TCP.
    pub net: NetConfig,
    /// TCP, and the range of ephemeral ports that UDP uses too.
    pub tcp: TcpConfig,
}

/// The settings outside TCP. They are read at each use: a change takes effect at once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NetConfig {
    /// TTL of packets whose socket does not choose one.
    pub ip_default_ttl: u8,
    /// Do not answer echo requests at all.
    pub icmp_echo_ignore_all: bool,
    /// Do not answer echo requests to broadcast and multicast addresses.
    pub icmp_echo_ignore_broadcasts: bool,
    /// How many ICMP errors are sent.
    pub icmp_limits: IcmpLimits,
    /// How long fragments wait for the rest.
    pub ipfrag_time: Duration,
    /// Bytes of fragments that wait, of all datagrams together.
    pub ipfrag_high_thresh: usize,
    /// How long fragments of IPv6 wait for the rest.
    pub ip6frag_time: Duration,
    /// As `ipfrag_high_thresh`, of which it is a part, for IPv6.
    pub ip6frag_high_thresh: usize,
    /// Hop limit of packets whose socket does not choose one.
    pub hop_limit: u8,
    /// Receive budget of a new datagram socket in bytes, overhead included.
    pub rmem_default: usize,
    /// The largest receive budget that a socket may ask for.
    pub rmem_max: usize,
    /// Numbers of the groups whose members may use echo sockets, from and to. The stack itself knows no groups.
    pub ping_group_range: [u32; 2],
    /// Groups of IPv4 that a socket can be a member of.
    pub igmp_max_memberships: usize,
    /// Sources that a socket can name of a group of IPv4.
    pub igmp_max_msf: usize,
    /// The same of IPv6.
    pub mld_max_msf: usize,
    /// The version of IGMP to talk, whatever routers do; 0: theirs.
    pub force_igmp_version: u8,
    /// The version of MLD to talk, whatever routers do; 0: theirs.
    pub force_mld_version: u8,
    /// Packets in the transmit queue of an interface.
    pub tx_queue_len: usize,
    /// Bytes in the transmit queue of an interface.
    pub tx_queue_bytes: usize,
    /// Announce each new address by a gratuitous ARP request.
    pub arp_notify: bool,
    /// Tracking of connections.
    pub conntrack: ConntrackConfig,
    /// What packets for others meet.
    pub forward: ForwardConfig,
    /// Neighbours.
    pub neighbor: NeighborConfig,
    /// Neighbour discovery and addresses of IPv6.
    pub nd: NdConfig,
}

impl Default for NetConfig {
    fn default() -> Self {
        Self {
            ip_default_ttl: 64,
            icmp_echo_ignore_all: false,
            icmp_echo_ignore_broadcasts: true,
            icmp_limits: IcmpLimits::default(),
            ipfrag_time: Duration::from_secs(30),
            ipfrag_high_thresh: 4 << 20,
            ip6frag_time: Duration::from_secs(60),
            ip6frag_high_thresh: 4 << 20,
            hop_limit: 64,
            rmem_default: 212_992,
            rmem_max: 212_992,
            ping_group_range: [0, i32::MAX as u32],
            igmp_max_memberships: 20,
            igmp_max_msf: 10,
            mld_max_msf: 64,
            force_igmp_version: 0,
            force_mld_version: 0,
            tx_queue_len: 1000,
            tx_queue_bytes: 4 << 20,
            arp_notify: true,
            conntrack: ConntrackConfig::default(),
            forward: ForwardConfig::default(),
            neighbor: NeighborConfig::default(),
            nd: NdConfig::default(),
        }
    }
}

/// Why a setting was not changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SettingError {
    /// There is no such setting.
    #[error("no such setting")]
    Unknown,
    /// The value does not fit the setting.
    #[error("not a value of this setting")]
    BadValue,
}

impl NetConfig {
    /// Changes a setting by the last part of its sysctl name (`ip_default_ttl`), with the sysctl's
    /// text form.
    ///
    /// # Errors
    /// `Unknown` or `BadValue`; nothing is changed then.
    pub fn set(&mut self, name: &str, value: &str) -> Result<(), SettingError> {
        let value = value.trim();
        match name {
            "ip_default_ttl" => self.ip_default_ttl = number(value, 1, 255)?,
            "icmp_echo_ignore_all" => self.icmp_echo_ignore_all = flag(value)?,
            "icmp_echo_ignore_broadcasts" => self.icmp_echo_ignore_broadcasts = flag(value)?,
            "icmp_ratelimit" => {
                self.icmp_limits.icmp_ratelimit = number(value, 0, i32::MAX as u32)?;
            }
            "icmp_msgs_per_sec" => {
                self.icmp_limits.icmp_msgs_per_sec = number(value, 0, i32::MAX as u32)?;
            }
            "icmp_msgs_burst" => {
                self.icmp_limits.icmp_msgs_burst = number(value, 0, i32::MAX as u32)?;
            }
            "ipfrag_time" => self.ipfrag_time = Duration::from_secs(number(value, 1, 3600)?),
            "ipfrag_high_thresh" => self.ipfrag_high_thresh = number(value, 0, 1 << 30)?,
            "ip6frag_time" => self.ip6frag_time = Duration::from_secs(number(value, 1, 3600)?),
            "ip6frag_high_thresh" => self.ip6frag_high_thresh = number(value, 0, 1 << 30)?,
            "hop_limit" => self.hop_limit = number(value, 1, 255)?,
            "rmem_default" => self.rmem_default = number(value, 2304, i32::MAX as usize)?,
            "rmem_max" => self.rmem_max = number(value, 2304, i32::MAX as usize)?,
            "ping_group_range" => self.ping_group_range = range(value)?,
            "igmp_max_memberships" => self.igmp_max_memberships = number(value, 0, 1 << 16)?,
            "igmp_max_msf" => self.igmp_max_msf = number(value, 0, 1 << 12)?,
            "mld_max_msf" => self.mld_max_msf = number(value, 0, 1 << 12)?,
            "force_igmp_version" => self.force_igmp_version = number(value, 0, 3)?,
            "force_mld_version" => self.force_mld_version = number(value, 0, 2)?,
            name if name.starts_with("nf_conntrack_") => {
                let done = self.conntrack.set(name, value);
                let done = done.ok_or(SettingError::Unknown)?;
                return done.map_err(|_| SettingError::BadValue);
            }
            _ => match self.forward.set(name, value) {
                Err(SettingError::Unknown) => return self.nd.set(name, value),
                done => return done,
            },
        }
        Ok(())
    }

    /// The text form of a setting, `None` if there is no such setting.
    pub fn get(&self, name: &str) -> Option<String> {
        let flag = |on: bool| u8::from(on).to_string();
        Some(match name {
            "ip_default_ttl" => self.ip_default_ttl.to_string(),
            "icmp_echo_ignore_all" => flag(self.icmp_echo_ignore_all),
            "icmp_echo_ignore_broadcasts" => flag(self.icmp_echo_ignore_broadcasts),
            "icmp_ratelimit" => self.icmp_limits.icmp_ratelimit.to_string(),
            "icmp_msgs_per_sec" => self.icmp_limits.icmp_msgs_per_sec.to_string(),
            "icmp_msgs_burst" => self.icmp_limits.icmp_msgs_burst.to_string(),
            "ipfrag_time" => self.ipfrag_time.as_secs().to_string(),
            "ipfrag_high_thresh" => self.ipfrag_high_thresh.to_string(),
            "ip6frag_time" => self.ip6frag_time.as_secs().to_string(),
            "ip6frag_high_thresh" => self.ip6frag_high_thresh.to_string(),
            "hop_limit" => self.hop_limit.to_string(),
            "rmem_default" => self.rmem_default.to_string(),
            "rmem_max" => self.rmem_max.to_string(),
            "ping_group_range" => {
                format!("{}\t{}", self.ping_group_range[0], self.ping_group_range[1])
            }
            "igmp_max_memberships" => self.igmp_max_memberships.to_string(),
            "igmp_max_msf" => self.igmp_max_msf.to_string(),
            "mld_max_msf" => self.mld_max_msf.to_string(),
            "force_igmp_version" => self.force_igmp_version.to_string(),
            "force_mld_version" => self.force_mld_version.to_string(),
            _ => {
                let conntrack = || self.conntrack.get(name);
                let rest = self.forward.get(name).or_else(conntrack);
                return rest.or_else(|| self.nd.get(name));
            }
        })
    }
}

pub(super) fn number<T: FromStr + PartialOrd>(
    text: &str,
    min: T,
    max: T,
) -> Result<T, SettingError> {
    let value: T = text.parse().map_err(|_| SettingError::BadValue)?;
    if value < min || value > max {
        return Err(SettingError::BadValue);
    }
    Ok(value)
}

/// Two numbers; a range that is empty is `1 0` (Linux `ipv4_ping_group_range`).
fn range(text: &str) -> Result<[u32; 2], SettingError> {
    let mut parts = text
        .split_whitespace()
        .map(|part| number(part, 0, i32::MAX as u32));
    match (parts.next(), parts.next(), parts.next()) {
        (Some(Ok(from)), Some(Ok(to)), None) if from <= to => Ok([from, to]),
        (Some(Ok(_)), Some(Ok(_)), None) => Ok([1, 0]),
        _ => Err(SettingError::BadValue),
    }
}

pub(super) fn flag(text: &str) -> Result<bool, SettingError> {
    number::<u8>(text, 0, 1).map(|value| value == 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_set_is_read_back() {
        let mut config = NetConfig::default();
        for (name, value) in [
            ("ip_default_ttl", "7"),
            ("icmp_echo_ignore_all", "1"),
            ("icmp_ratelimit", "0"),
            ("ipfrag_time", "5"),
            ("ip6frag_time", "5"),
            ("hop_limit", "255"),
        ] {
            config.set(name, value).unwrap();
            assert_eq!(config.get(name).as_deref(), Some(value));
        }
    }

    #[test]
    fn bad_values_change_nothing() {
        let mut config = NetConfig::default();
        for (name, value) in [
            ("ip_default_ttl", "0"),
            ("ip_default_ttl", "256"),
            ("icmp_echo_ignore_all", "yes"),
        ] {
            assert_eq!(
                config.set(name, value),
                Err(SettingError::BadValue),
                "{name}"
            );
        }
        assert_eq!(config.set("bogus", "1"), Err(SettingError::Unknown));
        assert_eq!(config, NetConfig::default());
        assert_eq!(config.get("bogus"), None);
    }
}
