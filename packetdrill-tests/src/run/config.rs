//! What the command line and a script's own option lines decide.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

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
    /// What is on the wire, and what the sockets are; set by [`Config::set_ip_version`].
    pub ip_version: IpVersion,
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
    /// The version is decided: what a script says of it, and addresses of the other family, is passed
    /// over.
    pub version_is_given: bool,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            tolerance: 4_000,
            tolerance_percent: 0.0,
            addresses: Addresses {
                local: SocketAddr::from((LOCAL, 8080)),
                remote: SocketAddr::from((REMOTE, 8080)),
                mtu: 1500,
            },
            ip_version: IpVersion::V4,
            ts_tick: 0,
            strict_segments: false,
            ts_ecr_scaled: false,
            lenient: false,
            defines: Vec::new(),
            ignore_ecr: false,
            version_is_given: false,
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
            "local_ip" => {
                let address = number(value()?)?;
                if self.is_of_this_version(address) {
                    self.addresses.local.set_ip(address);
                }
            }
            "remote_ip" => {
                let text = value()?;
                let address = text.split_once('/').map_or(text, |(address, _)| address);
                let address = number(address)?;
                if self.is_of_this_version(address) {
                    self.addresses.remote.set_ip(address);
                }
            }
            "ip_version" if self.version_is_given => {}
            "ip_version" => self.set_ip_version(value()?.parse()?),
            // The peer's route and the capture link make no difference here.
            "gateway_ip" | "netmask_ip" | "send_omit_free" | "speed" | "mss" | "is_anyip" => {}
            other => return Err(format!("the option --{other} is not supported")),
        }
        Ok(())
    }
}

/// Addresses where the script names none.
const LOCAL: Ipv4Addr = Ipv4Addr::new(192, 168, 0, 1);
const REMOTE: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);
const LOCAL6: Ipv6Addr = Ipv6Addr::new(0xfd3d, 0xfa7b, 0xd17d, 0, 0, 0, 0, 1);
const REMOTE6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1);
/// Those of the public collections' wrappers: a cookie of Fast Open depends on them.
const CLASSIC_LOCAL6: Ipv6Addr = Ipv6Addr::new(0xfd3d, 0x0a0b, 0x17d6, 0, 0, 0, 0, 1);
const CLASSIC_REMOTE6: Ipv6Addr = Ipv6Addr::new(0xfd3d, 0xfa7b, 0xd17d, 0, 0, 0, 0, 1);

/// What a script is run over.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum IpVersion {
    /// IPv4.
    #[default]
    V4,
    /// IPv6.
    V6,
    /// Sockets of IPv6 with IPv4 on the wire.
    Mapped,
}

impl IpVersion {
    /// All there are.
    pub const ALL: [Self; 3] = [Self::V4, Self::V6, Self::Mapped];
}

impl std::fmt::Display for IpVersion {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::V4 => "ipv4",
            Self::V6 => "ipv6",
            Self::Mapped => "ipv4-mapped-ipv6",
        })
    }
}

impl std::str::FromStr for IpVersion {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "ipv4" => Ok(Self::V4),
            "ipv6" => Ok(Self::V6),
            "ipv4-mapped-ipv6" | "ipv4-mapped-v6" => Ok(Self::Mapped),
            _ => Err(format!(
                "{text} is no IP version: ipv4, ipv6 or ipv4-mapped-ipv6"
            )),
        }
    }
}

impl Config {
    /// Runs over another version: with its addresses, and for IPv6 with an MTU that leaves as much room
    /// for data, so that the same script has the same segments.
    pub fn set_ip_version(&mut self, version: IpVersion) {
        const MORE: u16 = 20;
        let addresses = &mut self.addresses;
        let (was_v6, is_v6) = (addresses.local.is_ipv6(), version == IpVersion::V6);
        self.ip_version = version;
        if was_v6 == is_v6 {
            return;
        }
        let (local, remote): (IpAddr, IpAddr) = match is_v6 {
            true => (LOCAL6.into(), REMOTE6.into()),
            false => (LOCAL.into(), REMOTE.into()),
        };
        addresses.local.set_ip(local);
        addresses.remote.set_ip(remote);
        addresses.mtu = match is_v6 {
            true => addresses.mtu.saturating_add(MORE),
            false => addresses.mtu.saturating_sub(MORE),
        };
    }

    /// Runs as the classic tool does when the public collections' wrappers start it: lenient, with
    /// their addresses, and with the names that they define for the version. What is defined already
    /// stays.
    pub fn be_classic(&mut self) {
        self.version_is_given = true;
        self.lenient = true;
        self.ignore_ecr = true;
        self.tolerance_percent = 12.5;
        let cookie = match self.ip_version {
            IpVersion::V4 | IpVersion::Mapped => "3021b9d889017eeb",
            IpVersion::V6 => "c1d1e9742a47a9bc",
        };
        if self.ip_version == IpVersion::V6 {
            self.addresses.local.set_ip(CLASSIC_LOCAL6.into());
            self.addresses.remote.set_ip(CLASSIC_REMOTE6.into());
        }
        for (name, text) in [("TFO_COOKIE", cookie), ("CODE", "host_unreachable")] {
            self.defines.push((name.to_owned(), text.to_owned()));
        }
    }

    /// The names that stand for other text in a script: those given, and those that depend on the family
    /// of its sockets, which every script may use.
    pub(crate) fn names(&self) -> Vec<(String, String)> {
        let (level, kind) = match self.ip_version {
            IpVersion::V4 => ("SOL_IP", "IP_RECVERR"),
            IpVersion::V6 | IpVersion::Mapped => ("SOL_IPV6", "IPV6_RECVERR"),
        };
        let family = [("CMSG_LEVEL_IP", level), ("CMSG_TYPE_RECVERR", kind)];
        let family = family.map(|(name, text)| (name.to_owned(), text.to_owned()));
        [self.defines.clone(), family.to_vec()].concat()
    }

    fn is_of_this_version(&self, address: IpAddr) -> bool {
        !self.version_is_given || address.is_ipv6() == (self.ip_version == IpVersion::V6)
    }

    /// The address as sockets of this version name it.
    pub(super) fn for_socket(&self, address: SocketAddr) -> SocketAddr {
        match (self.ip_version, address) {
            (IpVersion::Mapped, SocketAddr::V4(v4)) => {
                SocketAddr::new(v4.ip().to_ipv6_mapped().into(), v4.port())
            }
            // What scripts write stands for what is meant: no address, and the two ends.
            (IpVersion::V6, SocketAddr::V4(v4)) => {
                let ip = match *v4.ip() {
                    Ipv4Addr::UNSPECIFIED => Ipv6Addr::UNSPECIFIED.into(),
                    LOCAL => self.addresses.local.ip(),
                    REMOTE => self.addresses.remote.ip(),
                    other => other.into(),
                };
                SocketAddr::new(ip, v4.port())
            }
            _ => address,
        }
    }
}

fn number<T: std::str::FromStr>(text: &str) -> Result<T, String> {
    text.parse()
        .map_err(|_| format!("'{text}' is no value for this option"))
}
