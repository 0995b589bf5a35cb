//! Port specifications in pasta's form: `[ADDR/]PORTS[:PORTS]`, comma-separated, `~` to leave out.

use std::net::IpAddr;
use std::ops::RangeInclusive;
use std::str::FromStr;

/// Ports that one specification may name: each is a descriptor.
const PORTS_MAX: usize = 1024;

/// One port of the host's that leads into the namespace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct PortPair {
    /// Where the host listens; `None` is everywhere.
    pub(super) addr: Option<IpAddr>,
    pub(super) host: u16,
    pub(super) guest: u16,
}

/// The ports of one `-t` or `-u`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct PortSpec(pub(super) Vec<PortPair>);

impl FromStr for PortSpec {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "none" => return Ok(Self::default()),
            "auto" | "all" => {
                return Err(format!(
                    "{text:?} is not there: name the ports, for example 8080:80"
                ));
            }
            _ => {}
        }
        let (addr, list) = match text.rsplit_once('/') {
            Some((addr, list)) => (Some(parse_addr(addr)?), list),
            None => (None, text),
        };
        let mut pairs: Vec<PortPair> = Vec::new();
        let mut left_out: Vec<RangeInclusive<u16>> = Vec::new();
        for item in list.split(',') {
            if let Some(range) = item.strip_prefix('~') {
                left_out.push(parse_range(range)?);
                continue;
            }
            for (host, guest) in parse_item(item)? {
                pairs.push(PortPair { addr, host, guest });
            }
            if pairs.len() > PORTS_MAX {
                return Err(format!("more than {PORTS_MAX} ports"));
            }
        }
        pairs.retain(|pair| !left_out.iter().any(|range| range.contains(&pair.host)));
        if pairs.is_empty() {
            return Err("no port is left; \"all but\" needs the ports named too".into());
        }
        Ok(Self(pairs))
    }
}

fn parse_addr(text: &str) -> Result<IpAddr, String> {
    if text.contains('%') {
        return Err(format!("{text}: binding to an interface is not there"));
    }
    text.parse()
        .map_err(|_| format!("{text:?} is no IP address"))
}

/// `HOST[:GUEST]`, each a port or a range of the same length.
fn parse_item(item: &str) -> Result<Vec<(u16, u16)>, String> {
    let (host, guest) = match item.split_once(':') {
        Some((host, guest)) => (parse_range(host)?, parse_range(guest)?),
        None => (parse_range(item)?, parse_range(item)?),
    };
    if host.len() != guest.len() {
        return Err(format!("{item}: the two ranges have different lengths"));
    }
    Ok(host.zip(guest).collect())
}

fn parse_range(text: &str) -> Result<RangeInclusive<u16>, String> {
    let port = |text: &str| {
        let port = text.parse::<u16>().ok().filter(|port| *port != 0);
        port.ok_or(format!("{text:?} is no port (1 to 65535)"))
    };
    let (first, last) = match text.split_once('-') {
        Some((first, last)) => (port(first)?, port(last)?),
        None => (port(text)?, port(text)?),
    };
    if first > last {
        return Err(format!("{text}: the range ends before it begins"));
    }
    Ok(first..=last)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ports(text: &str) -> Vec<(u16, u16)> {
        let spec: PortSpec = text.parse().unwrap();
        spec.0.iter().map(|pair| (pair.host, pair.guest)).collect()
    }

    #[test]
    fn every_form() {
        assert_eq!(ports("none"), []);
        assert_eq!(ports("22"), [(22, 22)]);
        assert_eq!(ports("22:23"), [(22, 23)]);
        assert_eq!(ports("22,25"), [(22, 22), (25, 25)]);
        assert_eq!(ports("22-24:32-34"), [(22, 32), (23, 33), (24, 34)]);
        assert_eq!(ports("20-24,~22-23"), [(20, 20), (21, 21), (24, 24)]);
        let spec: PortSpec = "127.0.0.1/80".parse().unwrap();
        assert_eq!(spec.0[0].addr, Some("127.0.0.1".parse().unwrap()));
    }

    #[test]
    fn mistakes() {
        for (text, why) in [
            ("auto", "not there"),
            ("0", "no port"),
            ("65536", "no port"),
            ("9-8", "ends before"),
            ("1-2:3", "different lengths"),
            ("1-65535", "more than"),
            ("~22", "no port is left"),
            ("host/80", "no IP address"),
            ("127.0.0.1%lo/80", "interface"),
            ("", "no port"),
        ] {
            let error = text.parse::<PortSpec>().unwrap_err();
            assert!(error.contains(why), "{text}: {error}");
        }
    }
}
