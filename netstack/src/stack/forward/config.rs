//! Settings of forwarding, by interface as in Linux's `conf` directories.

use crate::network::IfaceId;
use crate::stack::config::{SettingError, flag, number};
use crate::stack::net::Net;

/// What packets for others meet. The interfaces' own settings are set by name
/// (`net.ipv4.conf.eth0.forwarding`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ForwardConfig {
    /// Which next hop of several a flow takes: 0 by its addresses, 1 by its ports too.
    pub fib_multipath_hash_policy: u8,
    /// Counts for every interface (`conf.all`).
    pub all: LinkConfig,
    /// What new interfaces begin with (`conf.default`).
    pub default: LinkConfig,
}

/// Settings of one interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LinkConfig {
    /// IPv4 packets for others that come in here are forwarded.
    pub forwarding: bool,
    /// The same for IPv6; the interface is a router's then.
    pub forwarding_v6: bool,
    /// 1: IPv4 packets have to come in where their answers would leave; 2: there has to be a route back at
    /// all. The greater one of the interface's and that of all counts.
    pub rp_filter: u8,
    /// Hosts that could send directly to a better router are told.
    pub send_redirects: bool,
    /// Packets from our own addresses that come from outside are taken.
    pub accept_local: bool,
    /// IPv4 multicasts that come in here are forwarded by the entries for them.
    pub mc_forwarding: bool,
    /// The same for IPv6.
    pub mc_forwarding_v6: bool,
}

impl Default for LinkConfig {
    fn default() -> Self {
        Self {
            forwarding: false,
            forwarding_v6: false,
            rp_filter: 0,
            send_redirects: true,
            accept_local: false,
            mc_forwarding: false,
            mc_forwarding_v6: false,
        }
    }
}

impl LinkConfig {
    fn set(&mut self, ipv6: bool, name: &str, value: &str) -> Result<(), SettingError> {
        match (name, ipv6) {
            ("forwarding", false) => self.forwarding = flag(value)?,
            ("forwarding", true) => self.forwarding_v6 = flag(value)?,
            ("mc_forwarding", false) => self.mc_forwarding = flag(value)?,
            ("mc_forwarding", true) => self.mc_forwarding_v6 = flag(value)?,
            ("rp_filter", false) => self.rp_filter = number(value, 0, 2)?,
            ("send_redirects", false) => self.send_redirects = flag(value)?,
            ("accept_local", false) => self.accept_local = flag(value)?,
            _ => return Err(SettingError::Unknown),
        }
        Ok(())
    }

    fn get(&self, ipv6: bool, name: &str) -> Option<String> {
        let flag = |on: bool| u8::from(on).to_string();
        Some(match (name, ipv6) {
            ("forwarding", false) => flag(self.forwarding),
            ("forwarding", true) => flag(self.forwarding_v6),
            ("mc_forwarding", false) => flag(self.mc_forwarding),
            ("mc_forwarding", true) => flag(self.mc_forwarding_v6),
            ("rp_filter", false) => self.rp_filter.to_string(),
            ("send_redirects", false) => flag(self.send_redirects),
            ("accept_local", false) => flag(self.accept_local),
            _ => return None,
        })
    }
}

/// A setting of an interface: `net.ipv4.conf.eth0.forwarding`, the family, interface and name of it.
struct Name<'a> {
    ipv6: bool,
    whose: &'a str,
    name: &'a str,
}

impl<'a> Name<'a> {
    fn parse(text: &'a str) -> Option<Self> {
        let separator = if text.contains('/') { '/' } else { '.' };
        let mut parts = text.split(separator).skip_while(|part| *part == "net");
        let family = parts.next()?;
        if !matches!(family, "ipv4" | "ipv6") {
            return None;
        }
        let (conf, whose, name) = (parts.next()?, parts.next(), parts.next());
        match (conf, whose, name, parts.next()) {
            // For IPv4 there is a short name.
            ("ip_forward", None, None, None) => Some(Self {
                ipv6: false,
                whose: "all",
                name: "forwarding",
            }),
            ("conf", Some(whose), Some(name), None) => Some(Self {
                ipv6: family == "ipv6",
                whose,
                name,
            }),
            _ => None,
        }
    }
}

impl Net {
    /// Changes a setting that interfaces have; `Unknown` if the name is none of those.
    pub(in crate::stack) fn set_link_setting(
        &mut self,
        text: &str,
        value: &str,
    ) -> Result<(), SettingError> {
        let value = value.trim();
        let text = match text {
            "ip_forward" => "net.ipv4.ip_forward",
            text => text,
        };
        let Some(Name { ipv6, whose, name }) = Name::parse(text) else {
            return Err(SettingError::Unknown);
        };
        let config = &mut self.config.forward;
        match whose {
            "default" => config.default.set(ipv6, name, value)?,
            "all" => {
                config.all.set(ipv6, name, value)?;
                // Linux `inet_forward_change`: this one is handed on, the others count besides.
                if name == "forwarding" {
                    config.default.set(ipv6, name, value)?;
                    let mut links = self.ifaces.iter_mut();
                    links.try_for_each(|link| link.conf.set(ipv6, name, value))?;
                }
            }
            whose => {
                let link = self.ifaces.iter_mut().find(|link| link.name == whose);
                let link = link.ok_or(SettingError::Unknown)?;
                link.conf.set(ipv6, name, value)?;
            }
        }
        Ok(())
    }

    /// The text form of such a setting.
    pub(in crate::stack) fn link_setting(&self, text: &str) -> Option<String> {
        let text = match text {
            "ip_forward" => "net.ipv4.ip_forward",
            text => text,
        };
        let Name { ipv6, whose, name } = Name::parse(text)?;
        let config = &self.config.forward;
        match whose {
            "default" => config.default.get(ipv6, name),
            "all" => config.all.get(ipv6, name),
            whose => {
                let link = self.ifaces.iter().find(|link| link.name == whose)?;
                link.conf.get(ipv6, name)
            }
        }
    }

    /// True if packets for others are forwarded that come in over an interface.
    pub(in crate::stack) fn forwards(&self, id: IfaceId, ipv6: bool) -> bool {
        self.iface(id).is_some_and(|link| match ipv6 {
            false => link.conf.forwarding,
            true => link.conf.forwarding_v6,
        })
    }

    /// The reverse path filter that counts for an interface.
    pub(in crate::stack) fn rp_filter(&self, id: IfaceId) -> u8 {
        let own = self.iface(id).map_or(0, |link| link.conf.rp_filter);
        own.max(self.config.forward.all.rp_filter)
    }

    /// True if an interface takes packets from outside with addresses of ours as their source.
    pub(in crate::stack) fn accepts_local(&self, id: IfaceId) -> bool {
        let own = self.iface(id).is_some_and(|link| link.conf.accept_local);
        own || self.config.forward.all.accept_local
    }

    /// True if redirects may be sent to hosts of an interface's link.
    pub(in crate::stack) fn sends_redirects(&self, id: IfaceId) -> bool {
        let own = self.iface(id).is_some_and(|link| link.conf.send_redirects);
        own || self.config.forward.all.send_redirects
    }

    /// True if multicasts that come in over an interface are forwarded.
    pub(in crate::stack) fn forwards_groups(&self, id: IfaceId, ipv6: bool) -> bool {
        let on = |conf: &LinkConfig| match ipv6 {
            false => conf.mc_forwarding,
            true => conf.mc_forwarding_v6,
        };
        on(&self.config.forward.all) || self.iface(id).is_some_and(|link| on(&link.conf))
    }
}

impl ForwardConfig {
    pub(in crate::stack) fn set(&mut self, name: &str, value: &str) -> Result<(), SettingError> {
        match name {
            "fib_multipath_hash_policy" => self.fib_multipath_hash_policy = number(value, 0, 1)?,
            _ => return Err(SettingError::Unknown),
        }
        Ok(())
    }

    pub(in crate::stack) fn get(&self, name: &str) -> Option<String> {
        match name {
            "fib_multipath_hash_policy" => Some(self.fib_multipath_hash_policy.to_string()),
            _ => None,
        }
    }
}
