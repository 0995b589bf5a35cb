//! /proc/net/if_inet6 and /proc/net/ipv6_route: addresses and routes of IPv6.

use std::fmt::Write;
use std::net::{IpAddr, Ipv6Addr};

use crate::kernel::Kernel;
use crate::net::link;
use crate::vfs::PathContext;

/// RTF_* (linux/route.h, linux/ipv6_route.h); that of our own addresses is RTF_LOCAL and RTF_NONEXTHOP.
const UP: u32 = 1;
const GATEWAY: u32 = 2;
const HOST: u32 = 4;
const LOCAL: u32 = 0x8020_0000;

fn hex(addr: Ipv6Addr) -> String {
    format!("{:032x}", addr.to_bits())
}

/// The scope as this file has it (`ipv6_addr_scope`): 0 global, 0x10 host, 0x20 link.
fn scope(addr: Ipv6Addr) -> u32 {
    match addr {
        _ if addr.is_loopback() => 0x10,
        _ if addr.is_unicast_link_local() => 0x20,
        _ => 0,
    }
}

pub(super) fn addresses(kernel: &Kernel, _: &PathContext) -> String {
    let mut text = String::new();
    for interface in kernel.network().interfaces().unwrap_or_default() {
        for own in &interface.addresses {
            if let IpAddr::V6(addr) = own.ip() {
                let _ = writeln!(
                    text,
                    "{} {:02x} {:02x} {:02x} {:02x} {:>8}",
                    hex(addr),
                    link::index(&interface),
                    own.cidr.prefix_len(),
                    scope(addr),
                    link::address_flags(own),
                    interface.name,
                );
            }
        }
    }
    text
}

pub(super) fn routes(kernel: &Kernel, _: &PathContext) -> String {
    let network = kernel.network();
    let (Some(inet), Some(interfaces)) = (network.inet(), network.interfaces()) else {
        return String::new();
    };
    let routes: Vec<_> = inet.net().with(|stack| stack.routes().collect());
    let mut text = String::new();
    let mut line =
        |dest: Ipv6Addr, len: u8, gateway: Ipv6Addr, metric: u32, flags: u32, name: &str| {
            let none = hex(Ipv6Addr::UNSPECIFIED);
            let _ = writeln!(
                text,
                "{} {len:02x} {none} 00 {} {metric:08x} 00000001 00000000 {flags:08x} {name:>8}",
                hex(dest),
                hex(gateway),
            );
        };
    for route in routes {
        let interface = interfaces.iter().find(|i| i.id == route.iface);
        let (Some(interface), IpAddr::V6(dest)) = (interface, route.dest.network().addr()) else {
            continue;
        };
        let (gateway, flags) = match route.gateway {
            Some(IpAddr::V6(gateway)) => (gateway, UP | GATEWAY),
            _ => (Ipv6Addr::UNSPECIFIED, UP),
        };
        let flags = flags
            | if route.dest.prefix_len() == 128 {
                HOST
            } else {
                0
            };
        // What Linux takes for a route that names none: of the kernel's own, and of others.
        let metric = match (route.metric, route.gateway) {
            (0, None) => 256,
            (0, Some(_)) => 1024,
            (metric, _) => metric,
        };
        line(
            dest,
            route.dest.prefix_len(),
            gateway,
            metric,
            flags,
            &interface.name,
        );
    }
    for interface in &interfaces {
        for own in &interface.addresses {
            if let IpAddr::V6(addr) = own.ip() {
                line(
                    addr,
                    128,
                    Ipv6Addr::UNSPECIFIED,
                    0,
                    UP | LOCAL,
                    &interface.name,
                );
            }
        }
    }
    text
}
