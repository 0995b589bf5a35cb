//! /proc/net: the tables of sockets, interfaces and routes, in the forms that netstat, ss and lsof read.

use std::fmt::Write;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use super::net6;
use super::node::SystemEntry;
use crate::kernel::Kernel;
use crate::net::addr::parse_inet;
use crate::net::file::SocketFile;
use crate::net::{Socket, link};
use crate::vfs::{OpenFile, PathContext};

pub(super) static ENTRIES: &[SystemEntry] = &[
    SystemEntry::file("arp", arp),
    SystemEntry::file("dev", dev),
    SystemEntry::file("if_inet6", net6::addresses),
    SystemEntry::file("ipv6_route", net6::routes),
    SystemEntry::file("raw", |kernel, _| inet(kernel, V4, libc::SOCK_RAW)),
    SystemEntry::file("raw6", |kernel, _| inet(kernel, V6, libc::SOCK_RAW)),
    SystemEntry::file("route", route),
    SystemEntry::file("tcp", |kernel, _| inet(kernel, V4, libc::SOCK_STREAM)),
    SystemEntry::file("tcp6", |kernel, _| inet(kernel, V6, libc::SOCK_STREAM)),
    SystemEntry::file("udp", |kernel, _| inet(kernel, V4, libc::SOCK_DGRAM)),
    SystemEntry::file("udp6", |kernel, _| inet(kernel, V6, libc::SOCK_DGRAM)),
    SystemEntry::file("unix", unix),
];

const V4: i32 = libc::AF_INET;
const V6: i32 = libc::AF_INET6;

const INET: &str =
    "local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode";
const INET6: &str = "local_address                         remote_address                        st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode";

/// Connected, and not, where there is no state machine (TCP_ESTABLISHED, TCP_CLOSE).
const CONNECTED: u8 = 1;
const CLOSED: u8 = 7;

/// Sockets of the sandbox with their open files.
fn sockets(kernel: &Kernel, family: i32) -> Vec<(Arc<OpenFile>, Arc<dyn Socket>)> {
    let files = kernel.network().open_sockets();
    let found = files.into_iter().filter_map(|file| {
        let socket = Arc::clone(SocketFile::of(&file).ok()?.socket());
        (socket.socket_type().family == family).then_some((file, socket))
    });
    found.collect()
}

/// An address as the kernel prints it: words of the machine in hexadecimal, then the port.
fn hex(family: i32, addr: Option<SocketAddr>) -> String {
    match addr {
        Some(SocketAddr::V6(addr)) => {
            let octets = addr.ip().octets();
            let words = octets.chunks_exact(4);
            let words = words.map(|b| u32::from_ne_bytes([b[0], b[1], b[2], b[3]]));
            let words: String = words.map(|word| format!("{word:08X}")).collect();
            format!("{words}:{:04X}", addr.port())
        }
        None if family == V6 => format!("{:032X}:0000", 0),
        Some(SocketAddr::V4(addr)) => {
            let word = u32::from_ne_bytes(addr.ip().octets());
            format!("{word:08X}:{:04X}", addr.port())
        }
        None => "00000000:0000".into(),
    }
}

fn state(socket: &dyn Socket) -> u8 {
    if socket.socket_type().kind == libc::SOCK_STREAM {
        // struct tcp_info begins with it.
        let info = socket.get_option(libc::IPPROTO_TCP, libc::TCP_INFO);
        return info
            .ok()
            .and_then(|info| info.first().copied())
            .unwrap_or(CLOSED);
    }
    if socket.peer_addr().is_ok() {
        CONNECTED
    } else {
        CLOSED
    }
}

/// Heading of a table, and the width that all its lines are padded to (those of IPv6 are not).
fn heading(family: i32, stream: bool) -> (String, usize) {
    let (text, width) = match (family, stream) {
        (V6, true) => (format!("  sl  {INET6}"), 0),
        (V6, false) => (format!("  sl  {INET6} ref pointer drops"), 0),
        (_, true) => (format!("  sl  {INET}"), 149),
        (_, false) => (format!("   sl  {INET} ref pointer drops"), 127),
    };
    (format!("{text:<width$}\n"), width)
}

fn inet(kernel: &Kernel, family: i32, kind: i32) -> String {
    let stream = kind == libc::SOCK_STREAM;
    let (mut text, width) = heading(family, stream);
    let mut at = 0;
    for (file, socket) in sockets(kernel, family) {
        let state = state(&*socket);
        let local = socket
            .local_addr()
            .ok()
            .and_then(|addr| parse_inet(&addr).ok());
        // What is not bound is in no table.
        let bound = local.is_some_and(|addr| addr.port() != 0);
        let listed = if stream { state != CLOSED } else { bound };
        if socket.socket_type().kind != kind || !listed {
            continue;
        }
        let peer = socket
            .peer_addr()
            .ok()
            .and_then(|addr| parse_inet(&addr).ok());
        let attr = file.attr();
        let (uid, inode) = attr.map_or((0, 0), |attr| (attr.uid, attr.ino));
        let line = format!(
            "{at:4}: {} {} {state:02X} {:08X}:{:08X} 00:00000000 00000000 {uid:5} {:8} {inode} 1 0000000000000000",
            hex(family, local),
            hex(family, peer),
            socket.unsent_bytes(),
            socket.readable_bytes(),
            0,
        );
        let _ = if stream {
            writeln!(text, "{:<width$}", format!("{line} 100 0 0 10 0"))
        } else if family == V6 {
            writeln!(text, " {line} 0")
        } else {
            writeln!(text, "{:<width$}", format!(" {line} 0"))
        };
        at += 1;
    }
    text
}

/// Connected, and not (SS_CONNECTED, SS_UNCONNECTED).
const UNIX_CONNECTED: u8 = 3;
const UNIX_UNCONNECTED: u8 = 1;

fn unix(kernel: &Kernel, _: &PathContext) -> String {
    const LISTENS: u32 = 0x10000;
    let mut text = String::from("Num       RefCount Protocol Flags    Type St Inode Path\n");
    for (file, socket) in sockets(kernel, libc::AF_UNIX) {
        let listens = socket.get_option(libc::SOL_SOCKET, libc::SO_ACCEPTCONN);
        let listens = listens.is_ok_and(|value| value.first() == Some(&1));
        let state = if socket.peer_addr().is_ok() {
            UNIX_CONNECTED
        } else {
            UNIX_UNCONNECTED
        };
        let name = socket.local_addr().unwrap_or_default();
        let name = match name.get(2..) {
            None | Some([]) => String::new(),
            Some([0, rest @ ..]) => format!(" @{}", String::from_utf8_lossy(rest)),
            Some(path) => {
                let path = path.strip_suffix(b"\0").unwrap_or(path);
                format!(" {}", String::from_utf8_lossy(path))
            }
        };
        let _ = writeln!(
            text,
            "0000000000000000: 00000002 00000000 {:08X} {:04X} {state:02X} {:5}{name}",
            if listens { LISTENS } else { 0 },
            socket.socket_type().kind,
            file.attr().map_or(0, |attr| attr.ino),
        );
    }
    text
}

fn dev(kernel: &Kernel, _: &PathContext) -> String {
    let mut text = String::from(
        "Inter-|   Receive                                                |  Transmit\n \
         face |bytes    packets errs drop fifo frame compressed multicast|bytes    packets errs \
         drop fifo colls carrier compressed\n",
    );
    for interface in kernel.network().interfaces().unwrap_or_default() {
        let count = interface.counters;
        let _ = writeln!(
            text,
            "{:>6}: {:7} {:7} {:4} {:4} {:4} {:5} {:10} {:9} {:8} {:7} {:4} {:4} {:4} {:5} {:7} {:10}",
            interface.name,
            count.rx_bytes,
            count.rx_packets,
            0,
            0,
            0,
            0,
            0,
            0,
            count.tx_bytes,
            count.tx_packets,
            0,
            0,
            0,
            0,
            0,
            0,
        );
    }
    text
}

/// An IPv4 address as a word of the machine.
fn word(addr: IpAddr) -> u32 {
    match addr {
        IpAddr::V4(addr) => u32::from_ne_bytes(addr.octets()),
        IpAddr::V6(_) => 0,
    }
}

fn route(kernel: &Kernel, _: &PathContext) -> String {
    const UP: u32 = 1;
    const GATEWAY: u32 = 2;
    let line = |text: &str| format!("{text:<127}\n");
    let mut text =
        line("Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT");
    let network = kernel.network();
    let (Some(inet), Some(interfaces)) = (network.inet(), network.interfaces()) else {
        return text;
    };
    let routes: Vec<_> = inet.net().with(|stack| stack.routes().collect());
    for route in routes {
        let interface = interfaces.iter().find(|i| i.id == route.iface);
        // Those of the loopback interface are in a table of their own, which this file does not show.
        let Some(interface) = interface.filter(|i| !i.is_loopback && route.dest.addr().is_ipv4())
        else {
            continue;
        };
        let len = u32::from(route.dest.prefix_len());
        let mask = u32::MAX.checked_shl(32 - len).unwrap_or(0).to_be();
        let flags = UP | route.gateway.map_or(0, |_| GATEWAY);
        text += &line(&format!(
            "{}\t{:08X}\t{:08X}\t{flags:04X}\t0\t0\t{}\t{mask:08X}\t0\t0\t0",
            interface.name,
            word(route.dest.network().addr()),
            route.gateway.map_or(0, word),
            route.metric,
        ));
    }
    text
}

fn arp(kernel: &Kernel, _: &PathContext) -> String {
    let mut text = String::from(
        "IP address       HW type     Flags       HW address            Mask     Device\n",
    );
    let network = kernel.network();
    let (Some(inet), Some(interfaces)) = (network.inet(), network.interfaces()) else {
        return text;
    };
    let neighbors: Vec<_> = inet.net().with(|stack| stack.neighbors().collect());
    for neighbor in neighbors {
        let interface = interfaces.iter().find(|i| i.id == neighbor.iface);
        let Some(interface) = interface.filter(|_| neighbor.addr.is_ipv4()) else {
            continue;
        };
        // ATF_COM once the address is known.
        let (flags, mac) = match neighbor.mac {
            Some(mac) => (2, mac.0),
            None => (0, [0; 6]),
        };
        let mac = mac.map(|byte| format!("{byte:02x}")).join(":");
        let _ = writeln!(
            text,
            "{:<16} 0x{:<10x}0x{flags:<10x}{mac}     *        {}",
            neighbor.addr,
            link::kind(interface).hardware_type(),
            interface.name
        );
    }
    text
}
