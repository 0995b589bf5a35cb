//! Ports that are forwarded because something in the namespace is bound to them, as time goes by.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::net::{IpAddr, Ipv4Addr};
use std::ops::RangeInclusive;

use super::forwards::{Forwards, Proto, Rule};
use super::ports::{Place, PortPair};
use super::shared::Shared;

/// The kernel's tables of sockets, below a process's /proc directory, in the order that they are passed in.
pub(super) const TABLES: [&str; 4] = ["net/tcp", "net/tcp6", "net/udp", "net/udp6"];
/// More of a table is not read.
const READ_MAX: u64 = 1024 * 1024;
/// proc(5): TCP_LISTEN, and a UDP socket without a peer.
const LISTENING: &str = "0A";
const UNCONNECTED: &str = "07";
/// The 32 or 128 bits of "any" in hexadecimal are all this.
const ZERO: char = '0';

/// The sockets of a namespace: its tables, opened there.
pub(crate) struct Bound(Vec<File>);

impl Bound {
    pub(super) fn new(tables: Vec<File>) -> Self {
        Self(tables)
    }
}

/// What is followed.
pub(crate) struct Follow {
    bound: Bound,
    tcp: bool,
    udp: bool,
    /// UDP ports that go with TCP ports that are named.
    beside: Vec<u16>,
    /// Clients' ports: a UDP socket there is no server's.
    ephemeral: RangeInclusive<u16>,
    /// The rules that have been made, by their names.
    rules: BTreeMap<(Proto, u16), u64>,
}

impl Follow {
    /// Follows the ports of the transports that are asked for.
    pub(crate) fn new(bound: Bound, (tcp, udp): (bool, bool), beside: Vec<u16>) -> Self {
        Self {
            bound,
            tcp,
            udp,
            beside,
            ephemeral: ephemeral_ports(),
            rules: BTreeMap::new(),
        }
    }

    /// Looks, and makes and removes rules. A port that can't be listened on is tried again the next time.
    pub(super) fn look(&mut self, cx: &mut Shared, forwards: &mut Forwards) {
        let Ok(wanted) = self.wanted(cx.plan.guest) else {
            return;
        };
        let gone = self.rules.iter().filter(|(port, _)| !wanted.contains(port));
        let gone: Vec<_> = gone.map(|(port, id)| (*port, *id)).collect();
        for (port, id) in gone {
            forwards.remove(cx, id);
            self.rules.remove(&port);
        }
        for (proto, port) in wanted {
            if self.rules.contains_key(&(proto, port)) {
                continue;
            }
            let pair = PortPair {
                place: Place::default(),
                host: port,
                guest: port,
            };
            if let Ok(id) = forwards.add(cx, Rule::new(proto, pair, cx.plan.guest)) {
                self.rules.insert((proto, port), id);
            }
        }
    }

    fn wanted(&mut self, guest: IpAddr) -> io::Result<BTreeSet<(Proto, u16)>> {
        let mut tcp = BTreeSet::new();
        let mut udp: BTreeSet<u16> = self.beside.iter().copied().collect();
        for (index, table) in self.bound.0.iter_mut().enumerate() {
            let mut text = String::new();
            table.seek(SeekFrom::Start(0))?;
            table.take(READ_MAX).read_to_string(&mut text)?;
            match TABLES[index].starts_with("net/tcp") {
                true => tcp.extend(ports(&text, LISTENING, guest)),
                false => {
                    let servers = ports(&text, UNCONNECTED, guest);
                    udp.extend(servers.filter(|port| !self.ephemeral.contains(port)));
                }
            }
        }
        let mut wanted = BTreeSet::new();
        if self.udp {
            let of_tcp = tcp.iter().filter(|_| self.tcp);
            wanted.extend(udp.iter().chain(of_tcp).map(|port| (Proto::Udp, *port)));
        }
        if self.tcp {
            wanted.extend(tcp.into_iter().map(|port| (Proto::Tcp, port)));
        }
        Ok(wanted)
    }
}

/// The ports of a table's sockets in `state` that can be reached at `guest`.
fn ports(table: &str, state: &str, guest: IpAddr) -> impl Iterator<Item = u16> {
    let of_line = move |line: &str| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let [_, local, _, its_state, ..] = fields[..] else {
            return None;
        };
        let (addr, port) = local.split_once(':')?;
        let any = addr.chars().all(|digit| digit == ZERO);
        let reachable = any || v4_of(addr).is_some_and(|addr| IpAddr::V4(addr) == guest);
        let port = u16::from_str_radix(port, 16).ok().filter(|port| *port != 0);
        port.filter(|_| reachable && its_state == state)
    };
    table
        .lines()
        .skip(1)
        .filter_map(of_line)
        .collect::<Vec<_>>()
        .into_iter()
}

/// The IPv4 address of a field, also in IPv6's form; each word in the machine's order.
fn v4_of(field: &str) -> Option<Ipv4Addr> {
    let mapped = u32::from_be_bytes([0, 0, 0xff, 0xff]);
    let mapped = format!("{:016X}{:08X}", 0, u32::from_ne_bytes(mapped.to_be_bytes()));
    let word = match field.len() {
        8 => field,
        32 => field.strip_prefix(mapped.as_str())?,
        _ => return None,
    };
    let bits = u32::from_str_radix(word, 16).ok()?;
    Some(Ipv4Addr::from(bits.to_ne_bytes()))
}

/// Linux's default where the system does not say.
fn ephemeral_ports() -> RangeInclusive<u16> {
    let text = std::fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range");
    let text = text.unwrap_or_default();
    let mut words = text.split_whitespace().filter_map(|word| word.parse().ok());
    match (words.next(), words.next()) {
        (Some(first), Some(last)) => first..=last,
        _ => 32_768..=60_999,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_can_be_reached_is_found_in_tables() {
        // Of a little-endian machine.
        if cfg!(target_endian = "big") {
            return;
        }
        let guest = IpAddr::from([10, 77, 0, 5]);
        let table = "  sl  local_address rem_address   st\n\
            0: 00000000:1F90 00000000:0000 0A 0\n\
            1: 0100007F:1F91 00000000:0000 0A 0\n\
            2: 05004D0A:1F92 00000000:0000 0A 0\n\
            3: 00000000:1F93 00000000:0000 01 0\n\
            4: nonsense\n\
            5: 00000000000000000000000000000000:1F94 0:0 0A 0\n\
            6: 0000000000000000FFFF000005004D0A:1F95 0:0 0A 0\n\
            7: 00000000000000000000000001000000:1F96 0:0 0A 0\n\
            8: 00000000:0000 00000000:0000 0A 0\n";
        let found: Vec<u16> = ports(table, LISTENING, guest).collect();
        assert_eq!(found, [8080, 8082, 8084, 8085]);
        assert_eq!(ports("", LISTENING, guest).count(), 0);
    }
}
