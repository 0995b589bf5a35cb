//! The words of `netstack router`'s options.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::str::FromStr;

use netstack::filter::rules::Test;
use netstack::network::addr::Cidr;
use netstack::network::route::{Route, RouteKind};
use netstack::stack::Stack;

/// How a link is taken part in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Tun,
    Tap,
    Packet,
}

/// `packet:eth0,10.1.0.1/24,fd01::1/64`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Link {
    pub(super) kind: Kind,
    pub(super) name: String,
    pub(super) addrs: Vec<Cidr>,
}

impl FromStr for Link {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (kind, rest) = text
            .split_once(':')
            .ok_or("write KIND:NAME,ADDR/PREFIX, for example packet:eth0,10.1.0.1/24")?;
        let kind = match kind {
            "tun" => Kind::Tun,
            "tap" => Kind::Tap,
            "packet" => Kind::Packet,
            other => return Err(format!("{other:?} is none of tun, tap and packet")),
        };
        let mut words = rest.split(',');
        let name = words.next().unwrap_or_default().to_owned();
        let addrs = words.map(|word| word.parse().map_err(|error| format!("{word}: {error}")));
        let addrs = addrs.collect::<Result<Vec<Cidr>, String>>()?;
        match name.is_empty() || addrs.is_empty() {
            true => Err("a link needs a name and an address".into()),
            false => Ok(Self { kind, name, addrs }),
        }
    }
}

/// `tcp/80`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct ProtoPort {
    proto: u8,
    port: u16,
}

impl ProtoPort {
    pub(super) fn tests(self) -> [Test; 2] {
        let ports = vec![(self.port, self.port)];
        [Test::Protocol(self.proto), Test::DestinationPort(ports)]
    }
}

impl FromStr for ProtoPort {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (proto, port) = text.split_once('/').ok_or("write PROTO/PORT")?;
        let proto = match proto {
            "tcp" => 6,
            "udp" => 17,
            other => return Err(format!("{other:?} is neither tcp nor udp")),
        };
        let port = port.parse().map_err(|_| format!("{port:?} is no port"))?;
        Ok(Self { proto, port })
    }
}

/// `tcp/8080=10.1.0.2:80`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct PortMap {
    pub(super) from: ProtoPort,
    pub(super) to: SocketAddr,
}

impl FromStr for PortMap {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (from, to) = text.split_once('=').ok_or("write PROTO/PORT=ADDR:PORT")?;
        let to = to.parse().map_err(|_| format!("{to:?} is no ADDR:PORT"))?;
        Ok(Self {
            from: from.parse()?,
            to,
        })
    }
}

/// `udp/53=5353`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Port {
    pub(super) from: ProtoPort,
    pub(super) to: u16,
}

impl FromStr for Port {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (from, to) = text.split_once('=').ok_or("write PROTO/PORT=PORT")?;
        let to = to.parse().map_err(|_| format!("{to:?} is no port"))?;
        Ok(Self {
            from: from.parse()?,
            to,
        })
    }
}

/// `net.ipv4.conf.all.rp_filter=1`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Setting {
    pub(super) name: String,
    pub(super) value: String,
}

impl FromStr for Setting {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (name, value) = text.split_once('=').ok_or("write NAME=VALUE")?;
        Ok(Self {
            name: name.trim().to_owned(),
            value: value.trim().to_owned(),
        })
    }
}

/// A route in the words of `ip route`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct RouteWords {
    text: String,
    kind: RouteKind,
    dest: Option<Cidr>,
    via: Option<IpAddr>,
    dev: Option<String>,
    metric: u32,
    mtu: Option<u32>,
    src: Option<IpAddr>,
}

impl fmt::Display for RouteWords {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl FromStr for RouteWords {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mut words = text.split_whitespace().peekable();
        let kind = match words.peek() {
            Some(&"blackhole") => RouteKind::Blackhole,
            Some(&"unreachable") => RouteKind::Unreachable,
            Some(&"prohibit") => RouteKind::Prohibit,
            _ => RouteKind::Unicast,
        };
        if kind != RouteKind::Unicast {
            words.next();
        }
        let dest = match words.next().ok_or("a route needs a destination")? {
            "default" => None,
            word => Some(word.parse().map_err(|error| format!("{word}: {error}"))?),
        };
        let mut route = Self {
            text: text.to_owned(),
            kind,
            dest,
            via: None,
            dev: None,
            metric: 0,
            mtu: None,
            src: None,
        };
        while let Some(word) = words.next() {
            let value = words.next().ok_or(format!("{word} needs a value"))?;
            let bad = || format!("{value:?} is no value of {word}");
            match word {
                "via" => route.via = Some(value.parse().map_err(|_| bad())?),
                "dev" => route.dev = Some(value.to_owned()),
                "metric" => route.metric = value.parse().map_err(|_| bad())?,
                "mtu" => route.mtu = Some(value.parse().map_err(|_| bad())?),
                "src" => route.src = Some(value.parse().map_err(|_| bad())?),
                other => return Err(format!("{other:?} is not understood")),
            }
        }
        Ok(route)
    }
}

impl RouteWords {
    /// The route, with the interface that leads to its gateway if none is named.
    pub(super) fn resolve(&self, stack: &Stack) -> Result<Route, String> {
        let family = self.via.or(self.src);
        let dest = match (self.dest, family) {
            (Some(dest), _) => dest,
            (None, Some(addr)) => Cidr::all_of(addr),
            (None, None) => Cidr::all_v4(),
        };
        let mut links = stack.interfaces();
        let link = match (&self.dev, self.via) {
            (Some(dev), _) => links.find(|link| link.name == *dev),
            (None, Some(via)) => {
                links.find(|link| link.addrs.iter().any(|addr| addr.contains(via)))
            }
            (None, None) if self.kind != RouteKind::Unicast => links.next(),
            (None, None) => None,
        };
        let link = link.ok_or("no link leads there: name one with dev, or a gateway on one")?;
        Ok(Route {
            kind: self.kind,
            gateway: self.via,
            metric: self.metric,
            mtu: self.mtu,
            src: self.src,
            ..Route::new(dest, link.id)
        })
    }
}

/// The lines of a file as the words of a command line.
pub(super) fn words_of_file(text: &str) -> Vec<String> {
    let lines = text.lines().map(|line| {
        let end = line.find('#').unwrap_or(line.len());
        line[..end].trim()
    });
    let full = lines.filter(|line| !line.is_empty());
    full.flat_map(|line| {
        let (name, value) = line.split_once(char::is_whitespace).unwrap_or((line, ""));
        [format!("--{name}"), value.trim().to_owned()]
    })
    .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_and_ports() {
        let link: Link = "packet:eth0,10.1.0.1/24,fd01::1/64".parse().unwrap();
        assert_eq!((link.kind, link.addrs.len()), (Kind::Packet, 2));
        for bad in [
            "eth0",
            "wifi:x,10.0.0.1/8",
            "tun:x",
            "tun:,10.0.0.1/8",
            "tap:x,10",
        ] {
            assert!(bad.parse::<Link>().is_err(), "{bad}");
        }
        let map: PortMap = "tcp/8080=[fd01::2]:80".parse().unwrap();
        assert_eq!(map.to.port(), 80);
        for bad in [
            "tcp/80",
            "sctp/80=1.2.3.4:5",
            "tcp/99999=1.2.3.4:5",
            "tcp/1=x",
        ] {
            assert!(bad.parse::<PortMap>().is_err(), "{bad}");
        }
        assert_eq!("udp/53=5353".parse::<Port>().unwrap().to, 5353);
    }

    #[test]
    fn routes_read_like_those_of_ip() {
        let route: RouteWords = "default via 10.2.0.254 metric 5 mtu 1400".parse().unwrap();
        assert_eq!((route.dest, route.metric, route.mtu), (None, 5, Some(1400)));
        let route: RouteWords = "blackhole 10.9.0.0/16".parse().unwrap();
        assert_eq!(route.kind, RouteKind::Blackhole);
        for bad in ["", "default via", "default via x", "10.0.0.0/8 table 5"] {
            assert!(bad.parse::<RouteWords>().is_err(), "{bad}");
        }
    }

    #[test]
    fn a_file_is_a_command_line() {
        let words = words_of_file("# ours\nlink tun:a,10.0.0.1/8\n\n  masquerade  a # why\n");
        assert_eq!(words, ["--link", "tun:a,10.0.0.1/8", "--masquerade", "a"]);
    }
}
