//! What the namespace is to look like: the interface of the host's that leads outside.

use std::fs;
use std::net::{IpAddr, Ipv4Addr};

use netstack::link::MacAddr;
use netstack::link::sys::iface;
use nix::ifaddrs::getifaddrs;

use crate::Failure;

const ROUTES: &str = "/proc/net/route";
/// linux/route.h
const RTF_UP: u32 = 1;
const RTF_GATEWAY: u32 = 2;

/// An interface of the host's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct HostInterface {
    pub(super) name: String,
    pub(super) addr: Option<Ipv4Addr>,
    pub(super) prefix_len: u8,
    pub(super) gateway: Option<Ipv4Addr>,
    pub(super) mac: Option<MacAddr>,
}

impl HostInterface {
    /// The one that is named, or that with the default route.
    pub(super) fn find(named: Option<&str>) -> Result<Self, Failure> {
        let table = fs::read_to_string(ROUTES)
            .map_err(|error| Failure(format!("cannot read {ROUTES}: {error}")))?;
        let route = default_route(&table, named);
        let name = match (named, &route) {
            (Some(name), _) => name.to_owned(),
            (None, Some((name, _))) => name.clone(),
            (None, None) => {
                return Err(Failure(
                    "the host has no default route for IPv4; name an interface with -i, and an address (-a) and gateway (-g) if it has none"
                        .into(),
                ));
            }
        };
        let mac = iface::mac(&name).map_err(|error| Failure(format!("{name}: {error}")))?;
        let found = address(&name)?;
        Ok(Self {
            addr: found.map(|(addr, _)| addr),
            prefix_len: found.map_or(24, |(_, len)| len),
            gateway: route.and_then(|(_, gateway)| gateway),
            mac: Some(mac).filter(|mac| mac.0 != [0; 6] && mac.0[0] & 1 == 0),
            name,
        })
    }
}

/// The first IPv4 address of an interface, and the bits of its network.
fn address(name: &str) -> Result<Option<(Ipv4Addr, u8)>, Failure> {
    let mut all = getifaddrs()?.filter(|entry| entry.interface_name == name);
    Ok(all.find_map(|entry| {
        let addr = entry.address?.as_sockaddr_in()?.ip();
        let mask = entry
            .netmask
            .and_then(|mask| Some(mask.as_sockaddr_in()?.ip()));
        Some((addr, mask.map_or(32, mask_len)))
    }))
}

/// The bits of a mask.
pub(super) fn mask_len(mask: Ipv4Addr) -> u8 {
    u32::from(mask).leading_ones() as u8
}

/// The default route with the least metric, of the interface if one is named: its interface and gateway.
fn default_route(table: &str, named: Option<&str>) -> Option<(String, Option<Ipv4Addr>)> {
    let mut best: Option<(u32, (String, Option<Ipv4Addr>))> = None;
    for line in table.lines().skip(1) {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let [name, destination, gateway, flags, _, _, metric, mask, ..] = fields[..] else {
            continue;
        };
        let (Ok(flags), Ok(metric)) = (u32::from_str_radix(flags, 16), metric.parse::<u32>())
        else {
            continue;
        };
        let is_default = destination == "00000000" && mask == "00000000" && flags & RTF_UP != 0;
        if !is_default || named.is_some_and(|named| named != name) {
            continue;
        }
        if best.as_ref().is_none_or(|(least, _)| metric < *least) {
            // In the byte order of the machine.
            let gateway = u32::from_str_radix(gateway, 16).ok();
            let gateway = gateway.filter(|_| flags & RTF_GATEWAY != 0);
            let gateway = gateway.map(|bits| Ipv4Addr::from(bits.to_ne_bytes()));
            best = Some((metric, (name.to_owned(), gateway)));
        }
    }
    best.map(|(_, route)| route)
}

/// `MASK` in either form: 255.255.255.0 or 24.
pub(super) fn parse_mask(text: &str) -> Result<u8, String> {
    let bits = text.parse::<u8>().ok().filter(|len| (1..=32).contains(len));
    let dotted = || {
        let mask: Ipv4Addr = text.parse().ok()?;
        let len = mask_len(mask);
        let whole = u32::from(mask).count_ones() == u32::from(len) && len > 0;
        whole.then_some(len)
    };
    bits.or_else(dotted)
        .ok_or_else(|| format!("{text:?} is no netmask, such as 255.255.255.0 or 24"))
}

/// An IPv4 address of a host's.
pub(super) fn parse_v4(text: &str) -> Result<Ipv4Addr, String> {
    match text.parse() {
        Ok(IpAddr::V4(addr)) if !addr.is_unspecified() && !addr.is_loopback() => {
            match addr.octets()[0] {
                0 | 224.. => Err(format!("{addr}: hosts have no such addresses")),
                _ => Ok(addr),
            }
        }
        Ok(IpAddr::V4(addr)) => Err(format!("{addr}: no address that others could reach")),
        Ok(IpAddr::V6(addr)) => Err(format!("{addr}: IPv6 is not there yet")),
        Err(_) => Err(format!("{text:?} is no IP address")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_route_with_the_least_metric() {
        let table = "Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\n\
            wlan0\t00000000\t0100000A\t0003\t0\t0\t600\t00000000\t0\t0\t0\n\
            eth0\t00000000\t0102A8C0\t0003\t0\t0\t100\t00000000\t0\t0\t0\n\
            eth0\t0002A8C0\t00000000\t0001\t0\t0\t100\t00FFFFFF\t0\t0\t0\n\
            ppp0\t00000000\t00000000\t0001\t0\t0\t900\t00000000\t0\t0\t0\n";
        let swapped = |text: &str| {
            let addr: Ipv4Addr = text.parse().unwrap();
            Ipv4Addr::from(u32::from_le_bytes(addr.octets()).to_ne_bytes())
        };
        let route = |named| default_route(table, named);
        let expected = ("eth0".to_owned(), Some(swapped("192.168.2.1")));
        assert_eq!(route(None), Some(expected));
        let expected = ("wlan0".to_owned(), Some(swapped("10.0.0.1")));
        assert_eq!(route(Some("wlan0")), Some(expected));
        assert_eq!(route(Some("ppp0")), Some(("ppp0".to_owned(), None)));
        assert_eq!(route(Some("eth9")), None);
        assert_eq!(default_route("", None), None);
    }

    #[test]
    fn masks_and_addresses() {
        assert_eq!(parse_mask("255.255.240.0"), Ok(20));
        assert_eq!(parse_mask("20"), Ok(20));
        for bad in ["", "0", "33", "255.0.255.0", "0.0.0.0"] {
            assert!(parse_mask(bad).is_err(), "{bad}");
        }
        assert!(parse_v4("192.0.2.1").is_ok());
        for bad in ["127.0.0.1", "0.0.0.0", "224.0.0.1", "fd00::1", "x"] {
            assert!(parse_v4(bad).is_err(), "{bad}");
        }
    }
}
