//! Port specifications in pasta's form: `[ADDR][%IFACE]/PORTS[:PORTS]`, comma-separated, `~` to leave out;
//! `none`, `auto`, `all`.

use std::net::IpAddr;
use std::ops::RangeInclusive;
use std::str::FromStr;

/// Ports that one specification may name: each is a descriptor.
const PORTS_MAX: usize = 1024;

/// Where a port is listened on.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Place {
    /// `None` is everywhere.
    pub(crate) addr: Option<IpAddr>,
    pub(crate) iface: Option<String>,
}

/// One port that leads to another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct PortPair {
    pub(crate) place: Place,
    /// Where it is listened on.
    pub(crate) host: u16,
    /// Where it leads.
    pub(crate) guest: u16,
}

/// What one `-t`, `-u`, `-T` or `-U` says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Ports {
    None,
    /// Those that are bound on the other side, as time goes by.
    Auto,
    /// All but these.
    AllBut(Place, Vec<RangeInclusive<u16>>),
    List(Vec<PortPair>),
}

impl FromStr for Ports {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "none" => return Ok(Self::None),
            "auto" => return Ok(Self::Auto),
            "all" => return Ok(Self::AllBut(Place::default(), Vec::new())),
            _ => {}
        }
        let (place, list) = match text.rsplit_once('/') {
            Some((place, list)) => (parse_place(place)?, list),
            None => (Place::default(), text),
        };
        let mut pairs: Vec<PortPair> = Vec::new();
        let mut left_out: Vec<RangeInclusive<u16>> = Vec::new();
        for item in list.split(',') {
            if let Some(range) = item.strip_prefix('~') {
                left_out.push(parse_range(range)?);
                continue;
            }
            for (host, guest) in parse_item(item)? {
                if pairs.iter().any(|pair| pair.host == host) {
                    return Err(format!("{host} is named twice"));
                }
                pairs.push(PortPair {
                    place: place.clone(),
                    host,
                    guest,
                });
            }
            if pairs.len() > PORTS_MAX {
                return Err(format!("more than {PORTS_MAX} ports"));
            }
        }
        if pairs.is_empty() {
            return Ok(Self::AllBut(place, left_out));
        }
        pairs.retain(|pair| !left_out.iter().any(|range| range.contains(&pair.host)));
        match pairs.is_empty() {
            true => Err("no port is left".into()),
            false => Ok(Self::List(pairs)),
        }
    }
}

/// The ports of one `-t` or `-u` of `slirp`: named ones only.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct PortSpec(pub(crate) Vec<PortPair>);

impl FromStr for PortSpec {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.parse()? {
            Ports::None => Ok(Self::default()),
            Ports::List(pairs) => Ok(Self(pairs)),
            Ports::Auto | Ports::AllBut(..) => Err(format!(
                "{text:?} is not there: name the ports, for example 8080:80"
            )),
        }
    }
}

/// `ADDR`, `%IFACE` or both.
fn parse_place(text: &str) -> Result<Place, String> {
    let (addr, iface) = match text.split_once('%') {
        Some((_, "")) => return Err(format!("{text}: no interface is named")),
        Some((addr, iface)) => (addr, Some(iface.to_owned())),
        None => (text, None),
    };
    let parsed = addr.parse();
    let addr = match parsed {
        Ok(addr) => Some(addr),
        Err(_) if addr.is_empty() && iface.is_some() => None,
        Err(_) => return Err(format!("{addr:?} is no IP address")),
    };
    Ok(Place { addr, iface })
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
        for (text, addr, iface) in [
            ("127.0.0.1/80", Some("127.0.0.1"), None),
            ("127.0.0.1%lo/80", Some("127.0.0.1"), Some("lo")),
            ("%eth0/80", None, Some("eth0")),
        ] {
            let spec: PortSpec = text.parse().unwrap();
            let place = &spec.0[0].place;
            assert_eq!(place.addr, addr.map(|addr| addr.parse().unwrap()));
            assert_eq!(place.iface.as_deref(), iface);
        }
        assert_eq!("auto".parse(), Ok(Ports::Auto));
        let all = |left_out| Ok(Ports::AllBut(Place::default(), left_out));
        assert_eq!("all".parse(), all(Vec::new()));
        assert_eq!("~25,~30-40".parse(), all(vec![25..=25, 30..=40]));
    }

    #[test]
    fn mistakes() {
        for (text, why) in [
            ("auto", "not there"),
            ("all", "name the ports"),
            ("22,22", "named twice"),
            ("22,~22", "no port is left"),
            ("0", "no port"),
            ("65536", "no port"),
            ("9-8", "ends before"),
            ("1-2:3", "different lengths"),
            ("1-65535", "more than"),
            ("~22", "name the ports"),
            ("host/80", "no IP address"),
            ("127.0.0.1%/80", "no interface"),
            ("/80", "no IP address"),
            ("", "no port"),
        ] {
            let error = text.parse::<PortSpec>().unwrap_err();
            assert!(error.contains(why), "{text}: {error}");
        }
    }
}
