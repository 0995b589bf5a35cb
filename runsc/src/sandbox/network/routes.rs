//! The kernel's routes, as /proc/net/route and /proc/net/ipv6_route list them.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

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

/// Of IPv6 routes: an address of the machine's own, and an anycast one (linux/ipv6_route.h).
const RTF_LOCAL: u32 = 0x8000_0000;
const RTF_ANYCAST: u32 = 0x0010_0000;

/// The same for IPv6. What the kernel keeps for itself (groups, own addresses, what it refuses) is left out.
pub(super) fn parse_v6(table: &str) -> Vec<(String, RoutePlan)> {
    table.lines().filter_map(parse_line_v6).collect()
}

fn parse_line_v6(line: &str) -> Option<(String, RoutePlan)> {
    let fields: Vec<&str> = line.split_ascii_whitespace().collect();
    let [dest, len, _, _, gateway, metric, _, _, flags, name] = fields[..] else {
        return None;
    };
    let flags = u32::from_str_radix(flags, 16).ok()?;
    let ours = RTF_REJECT | RTF_LOCAL | RTF_ANYCAST;
    let destination = address_v6(dest)?;
    if flags & RTF_UP == 0 || flags & ours != 0 || destination.is_multicast() {
        return None;
    }
    let gateway = match flags & RTF_GATEWAY {
        0 => None,
        _ => Some(IpAddr::V6(address_v6(gateway)?)),
    };
    let route = RoutePlan {
        destination: IpAddr::V6(destination),
        prefix_len: u8::from_str_radix(len, 16).ok()?,
        gateway,
        metric: u32::from_str_radix(metric, 16).ok()?,
    };
    Some((name.to_owned(), route))
}

fn address_v6(hex: &str) -> Option<Ipv6Addr> {
    u128::from_str_radix(hex, 16).ok().map(Ipv6Addr::from_bits)
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

    #[test]
    fn of_ipv6_only_what_leads_somewhere_is_read() {
        let none = "00000000000000000000000000000000";
        let ours = "fd550000000000000000000000000000";
        let router = "fd550000000000000000000000000001";
        let table = format!(
            "{ours} 40 {none} 00 {none} 00000100 00000001 00000000 00000001     eth0\n\
             {none} 00 {none} 00 {router} 00000400 00000003 00000000 00000003     eth0\n\
             {router} 80 {none} 00 {none} 00000000 00000004 00000000 80200001     eth0\n\
             ff000000000000000000000000000000 08 {none} 00 {none} 00000100 00000002 00000000 00000001     eth0\n\
             {none} 00 {none} 00 {none} ffffffff 00000001 00000000 00200200       lo\n"
        );
        let routes = parse_v6(&table);
        assert_eq!(routes.len(), 2);
        assert_eq!((routes[0].1.prefix_len, routes[0].1.gateway), (64, None));
        assert_eq!(routes[1].1.gateway, Some("fd55::1".parse().unwrap()));
        assert_eq!(routes[1].1.metric, 1024);
    }
}
