//! Address translation: what a connection's ends become, chosen once, at its first packet.

mod rewrite;

use std::net::IpAddr;

use super::conntrack::{Conn, Direction, Table, Tuple};
use super::packet::{Packet, Summary};
use crate::network::proto;
use crate::rng::Rng;
pub(crate) use rewrite::End;
use rewrite::{rewrite, rewrite_error};

/// Ports that are tried before a connection is given up.
const TRIES: u32 = 256;

/// What an end may become.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct NatRange {
    /// The first and the last address; `None`: it keeps its own. A sender gets the same one each time.
    pub addrs: Option<(IpAddr, IpAddr)>,
    /// The first and the last port (or identifier of an echo); `None`: its own if that is free.
    pub ports: Option<(u16, u16)>,
    /// Any of the ports, even if its own is free.
    pub random: bool,
}

impl NatRange {
    /// One address.
    pub fn to(addr: IpAddr) -> Self {
        Self {
            addrs: Some((addr, addr)),
            ..Self::default()
        }
    }

    /// One address and one port.
    pub fn to_port(addr: IpAddr, port: u16) -> Self {
        Self {
            ports: Some((port, port)),
            ..Self::to(addr)
        }
    }
}

/// Chooses what one end of a beginning connection becomes. False if nothing is free.
pub(crate) fn set_up(
    conn: &mut Conn,
    end: End,
    range: &NatRange,
    table: &Table,
    rng: &mut Rng,
) -> bool {
    // As its packets are on the far side so far.
    let current = conn.tuples[1].turned();
    let Some(chosen) = choose(&current, end, range, table, rng) else {
        return false;
    };
    conn.tuples[1] = chosen.turned();
    if chosen != current {
        match end {
            End::Source => conn.snat = true,
            End::Destination => conn.dnat = true,
        }
    }
    true
}

fn choose(
    current: &Tuple,
    end: End,
    range: &NatRange,
    table: &Table,
    rng: &mut Rng,
) -> Option<Tuple> {
    let mut wanted = *current;
    let (addr, port) = match end {
        End::Source => (&mut wanted.src, current.src_port),
        End::Destination => (&mut wanted.dst, current.dst_port),
    };
    if let Some((low, high)) = range
        .addrs
        .filter(|(low, _)| low.is_ipv4() == addr.is_ipv4())
    {
        *addr = nth_of(low, high, current.src);
    }
    let is_free = |tuple: &Tuple| table.find(&tuple.turned()).is_none();
    let has_ports = matches!(current.proto, proto::TCP | proto::UDP)
        || (current.is_echo() && end == End::Source);
    let own_will_do = match range.ports {
        Some((low, high)) => (low..=high).contains(&port),
        None => true,
    };
    if own_will_do && !range.random && is_free(&wanted) {
        return Some(wanted);
    }
    if !has_ports {
        return is_free(&wanted).then_some(wanted);
    }
    // Where a port is meant to stay, another source will make the difference.
    if end == End::Destination && range.ports.is_none() {
        return Some(wanted);
    }
    let (low, high) = range.ports.unwrap_or_else(|| class_of(port, current));
    let count = u32::from(high.max(low) - low) + 1;
    let start = rng.below(count);
    for step in 0..count.min(TRIES) {
        let port = low + ((start + step) % count) as u16;
        match end {
            End::Source => wanted.src_port = port,
            End::Destination => wanted.dst_port = port,
        }
        if is_free(&wanted) {
            return Some(wanted);
        }
    }
    // To one port many may lead: their sources differ, or will be made to.
    (end == End::Destination).then_some(wanted)
}

/// Ports that may stand for one without surprise (Linux `nf_nat_l4proto_unique_tuple`).
fn class_of(port: u16, tuple: &Tuple) -> (u16, u16) {
    match port {
        _ if tuple.is_echo() => (1, u16::MAX),
        0..=511 => (1, 511),
        512..=1023 => (600, 1023),
        _ => (1024, u16::MAX),
    }
}

/// The address of a range that is a sender's.
fn nth_of(low: IpAddr, high: IpAddr, sender: IpAddr) -> IpAddr {
    match (low, high, sender) {
        (IpAddr::V4(low), IpAddr::V4(high), IpAddr::V4(sender)) => {
            let (low, high) = (u32::from(low), u32::from(high));
            let count = u64::from(high.saturating_sub(low)) + 1;
            let at = u64::from(u32::from(sender)) % count;
            IpAddr::V4((low + at as u32).into())
        }
        (IpAddr::V6(low), IpAddr::V6(high), IpAddr::V6(sender)) => {
            let (low, high) = (u128::from(low), u128::from(high));
            let count = high.saturating_sub(low).saturating_add(1);
            IpAddr::V6((low + u128::from(sender) % count).into())
        }
        _ => low,
    }
}

/// Translates one end of a packet of a connection, if that end is translated for its direction. `error`:
/// it is an ICMP error about a packet of the other direction.
pub(crate) fn translate(
    conn: &Conn,
    dir: Direction,
    error: bool,
    end: End,
    packet: &mut Packet<'_>,
    summary: &Summary,
) {
    let is_translated = match (end, dir) {
        (End::Source, Direction::Original) | (End::Destination, Direction::Reply) => conn.snat,
        (End::Destination, Direction::Original) | (End::Source, Direction::Reply) => conn.dnat,
    };
    if !is_translated {
        return;
    }
    let far = conn.tuples[dir.other() as usize];
    let to = far.turned();
    let partial = packet.is_partial();
    packet.edit(|bytes| {
        if error {
            let addr = match end {
                End::Source => to.src,
                End::Destination => to.dst,
            };
            rewrite_error(bytes, summary, end, addr, &far);
        } else {
            rewrite(bytes, summary, end, &to, partial);
        }
    });
}
