//! The kernel's IPv4 routes, as /proc/net/route lists them.

use std::net::{IpAddr, Ipv4Addr};

use crate::sandbox::plan::RoutePlan;

/// Flag bits (linux/route.h).
const RTF_UP: u32 = 1;
const RTF_GATEWAY: u32 = 2;
const RTF_REJECT: u32 = 0x200;

/// The routes of the table with the name of the interface of each. Lines that cannot be read are
/// passed over: the kernel writes none.
pub(super) fn parse(table: &str) -> Vec<(String, RoutePlan)> {
    table.lines().skip(1).filter_map(parse_line).collect()
}

fn parse_line(line: &str) -> Option<(String, RoutePlan)> {
    let fields: Vec<&str> = line.split_ascii_whitespace().collect();
    let [name, destination, gateway, flags, _, _, metric, mask, ..] = fields[..] else {
        return None;
    };
    let flags = u32::from_str_radix(flags, 16).ok()?;
    if flags & RTF_UP == 0 || flags & RTF_REJECT != 0 {
        return None;
    }
    let gateway = if flags & RTF_GATEWAY == 0 {
        None
    } else {
        Some(IpAddr::V4(address(gateway)?))
    };
    let route = RoutePlan {
        destination: IpAddr::V4(address(destination)?),
        prefix_len: address(mask)?.to_bits().count_ones() as u8,
        gateway,
        metric: metric.parse().ok()?,
    };
    Some((name.to_owned(), route))
}

/// An address as the kernel prints it: the network-order word as a hexadecimal number of this machine.
fn address(hex: &str) -> Option<Ipv4Addr> {
    u32::from_str_radix(hex, 16)
        .ok()
        .map(|word| Ipv4Addr::from(word.to_ne_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn default_and_connected_routes_are_read() {
        let table = "Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT\n\
                     eth0\t00000000\t010011AC\t0003\t0\t0\t0\t00000000\t0\t0\t0\n\
                     eth0\t000011AC\t00000000\t0001\t0\t0\t5\t0000FFFF\t0\t0\t0\n";
        let routes = parse(table);
        assert_eq!(routes.len(), 2);
        assert_eq!(routes[0].1.gateway, Some("172.17.0.1".parse().unwrap()));
        assert_eq!(routes[0].1.prefix_len, 0);
        assert_eq!(
            routes[1].1.destination,
            "172.17.0.0".parse::<IpAddr>().unwrap()
        );
        assert_eq!((routes[1].1.prefix_len, routes[1].1.metric), (16, 5));
    }
}
