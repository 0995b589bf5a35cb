//! Connection tracking: which packets belong together, and what state a connection is in, as Linux's
//! conntrack has it. Expectations (FTP and the like) are not there.

mod config;
mod table;
mod tcp;
mod tuple;

use std::net::IpAddr;

pub use config::ConntrackConfig;
pub(crate) use table::{ConnId, Inserted, Table};
pub use tuple::Tuple;

use super::packet::{Inner, Packet, Summary};
use crate::network::proto;
use crate::network::stats::FilterStats;
use crate::time::{Duration, Instant};
use crate::wire::checksum::Checksum;
use crate::wire::{icmpv4, icmpv6};
use tcp::{Judged, TcpTrack};

/// UDP that is still used after this long is a stream.
const STREAM_AFTER: Duration = Duration::from_secs(2);

/// Which way a packet goes: as the first one did, or back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// As the first one.
    Original = 0,
    /// Back.
    Reply = 1,
}

impl Direction {
    pub(crate) fn other(self) -> Self {
        match self {
            Self::Original => Self::Reply,
            Self::Reply => Self::Original,
        }
    }
}

/// States of a TCP connection, with Linux's names.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum TcpState {
    /// A SYN has been seen.
    #[default]
    SynSent,
    /// Its answer.
    SynRecv,
    /// The handshake is complete.
    Established,
    /// A FIN.
    FinWait,
    /// Its acknowledgement.
    CloseWait,
    /// The FIN of the other side.
    LastAck,
    /// Its acknowledgement.
    TimeWait,
    /// A reset.
    Close,
    /// SYNs in both directions.
    SynSent2,
}

/// A connection.
#[derive(Clone, Debug)]
pub(crate) struct Conn {
    /// By direction. That of the reply is as the answers come in: it knows of translations.
    pub(crate) tuples: [Tuple; 2],
    tcp: Option<TcpTrack>,
    /// A packet has come back.
    pub(crate) seen_reply: bool,
    /// It is worth more than others when room is short.
    pub(crate) assured: bool,
    /// Its source, its destination is translated.
    pub(crate) snat: bool,
    pub(crate) dnat: bool,
    /// What the choice of a translation has been made for.
    pub(crate) snat_done: bool,
    pub(crate) dnat_done: bool,
    /// Our address that it has as its source.
    pub(crate) masquerade: Option<IpAddr>,
    pub(crate) mark: u32,
    began: Instant,
    pub(crate) expires: Instant,
    packets: [u64; 2],
    bytes: [u64; 2],
}

/// What there is to know of a connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConnInfo {
    /// As its first packet came.
    pub original: Tuple,
    /// As its answers come.
    pub reply: Tuple,
    /// The state of a TCP connection.
    pub tcp: Option<TcpState>,
    /// A packet has come back.
    pub seen_reply: bool,
    /// It is not the first to go when room is short.
    pub assured: bool,
    /// Its mark.
    pub mark: u32,
    /// When it is forgotten unless something comes.
    pub expires: Instant,
    /// Packets by direction.
    pub packets: [u64; 2],
    /// Bytes by direction, IP headers included.
    pub bytes: [u64; 2],
}

impl Conn {
    pub(crate) fn info(&self) -> ConnInfo {
        ConnInfo {
            original: self.tuples[0],
            reply: self.tuples[1],
            tcp: self.tcp.as_ref().map(|tcp| tcp.state),
            seen_reply: self.seen_reply,
            assured: self.assured,
            mark: self.mark,
            expires: self.expires,
            packets: self.packets,
            bytes: self.bytes,
        }
    }

    fn count(&mut self, dir: Direction, summary: &Summary) {
        self.packets[dir as usize] += 1;
        self.bytes[dir as usize] += summary.len as u64;
    }

    /// How long it is remembered from now on.
    fn timeout(&self, now: Instant, config: &ConntrackConfig) -> Duration {
        match (&self.tcp, self.tuples[0].proto) {
            (Some(tcp), _) => config.of_tcp(tcp.state),
            (None, proto::UDP) => match self.seen_reply && now.since(self.began) > STREAM_AFTER {
                true => config.udp_stream,
                false => config.udp,
            },
            (None, proto::ICMP | proto::ICMPV6) => config.icmp,
            (None, _) => config.generic,
        }
    }
}

/// What is known of a packet on its way through the hooks.
#[derive(Clone, Debug, Default)]
pub(crate) struct Track {
    /// What a rule has marked it with.
    pub(crate) mark: u32,
    pub(crate) conn: Tracked,
}

/// The connection of a packet.
#[derive(Clone, Debug, Default)]
pub(crate) enum Tracked {
    /// Nobody has looked yet.
    #[default]
    Unknown,
    /// It belongs to none, and is none's.
    Untracked,
    /// It fits none.
    Invalid,
    /// One that is remembered; `error`: it is an ICMP error about a packet of it.
    Known {
        id: ConnId,
        dir: Direction,
        is_new: bool,
        error: bool,
    },
    /// One that begins, to be remembered if the packet passes; `error`: what we say about its first packet.
    Begins { conn: Box<Conn>, error: bool },
}

/// The bit beside a packet that says which way it goes.
const REPLY_BIT: u64 = 1 << 63;
const ERROR_BIT: u64 = 1 << 62;
const NEW_BIT: u64 = 1 << 61;
const SOME_BIT: u64 = 1 << 60;

impl Tracked {
    /// In a form that fits beside a packet that we send to ourselves.
    pub(crate) fn to_tag(&self) -> u64 {
        match self {
            Self::Known {
                id,
                dir,
                is_new,
                error,
            } => {
                let bit = |on: bool, bit: u64| if on { bit } else { 0 };
                // The generation loses its four highest bits, which are looked at no more then.
                (id.to_bits() & (SOME_BIT - 1))
                    | SOME_BIT
                    | bit(*dir == Direction::Reply, REPLY_BIT)
                    | bit(*error, ERROR_BIT)
                    | bit(*is_new, NEW_BIT)
            }
            _ => 0,
        }
    }

    /// The connection of a packet that has come back to us with a tag.
    pub(crate) fn of_tag(tag: u64, table: &Table) -> Self {
        if tag & SOME_BIT == 0 {
            return Self::Untracked;
        }
        let id = ConnId::from_bits(tag & (SOME_BIT - 1));
        match table.get(id) {
            Some(_) => Self::Known {
                id,
                dir: match tag & REPLY_BIT {
                    0 => Direction::Original,
                    _ => Direction::Reply,
                },
                is_new: tag & NEW_BIT != 0,
                error: tag & ERROR_BIT != 0,
            },
            None => Self::Untracked,
        }
    }
}

/// Finds the connection of a packet, or begins one, and notes what the packet says of it.
pub(crate) fn track(
    table: &mut Table,
    config: &ConntrackConfig,
    now: Instant,
    packet: &Packet<'_>,
    summary: &Summary,
    stats: &mut FilterStats,
) -> Tracked {
    if summary.is_icmp_error() {
        return of_error(table, packet, summary, stats);
    }
    if is_of_the_link(summary) {
        return Tracked::Untracked;
    }
    let Some(tuple) = Tuple::of(summary) else {
        stats.conntrack_invalid += 1;
        return Tracked::Invalid;
    };
    match table.find(&tuple) {
        Some((id, dir)) => of_known(table, config, now, (id, dir), packet, summary, stats),
        None => begin(config, now, tuple, packet, summary, stats),
    }
}

fn begin(
    config: &ConntrackConfig,
    now: Instant,
    tuple: Tuple,
    packet: &Packet<'_>,
    summary: &Summary,
    stats: &mut FilterStats,
) -> Tracked {
    let tcp = match summary.inner {
        Inner::Tcp(inner) => {
            let header = packet.bytes().get(summary.transport..).unwrap_or_default();
            let begun = TcpTrack::begin(&inner, header, config);
            if begun.is_none() {
                stats.conntrack_invalid += 1;
                return Tracked::Invalid;
            }
            begun
        }
        // An answer to nothing.
        _ if tuple.is_echo() && tuple.src_port == 0 && tuple.dst_port != 0 => {
            stats.conntrack_invalid += 1;
            return Tracked::Invalid;
        }
        _ => None,
    };
    let mut conn = Conn {
        tuples: [tuple, tuple.turned()],
        tcp,
        seen_reply: false,
        assured: false,
        snat: false,
        dnat: false,
        snat_done: false,
        dnat_done: false,
        masquerade: None,
        mark: 0,
        began: now,
        expires: now,
        packets: [0; 2],
        bytes: [0; 2],
    };
    conn.expires = now + conn.timeout(now, config);
    conn.count(Direction::Original, summary);
    Tracked::Begins {
        conn: Box::new(conn),
        error: false,
    }
}

fn of_known(
    table: &mut Table,
    config: &ConntrackConfig,
    now: Instant,
    (id, dir): (ConnId, Direction),
    packet: &Packet<'_>,
    summary: &Summary,
    stats: &mut FilterStats,
) -> Tracked {
    let Some(conn) = table.get_mut(id) else {
        return Tracked::Invalid;
    };
    if let (Some(tcp), Inner::Tcp(inner)) = (&mut conn.tcp, summary.inner) {
        let header = packet.bytes().get(summary.transport..).unwrap_or_default();
        match tcp.segment(dir, &inner, header, config) {
            Judged::Valid => {}
            Judged::Invalid => {
                stats.conntrack_invalid += 1;
                return Tracked::Invalid;
            }
            Judged::Reopens => {
                let tuple = conn.tuples[dir as usize];
                table.remove(id);
                return begin(config, now, tuple, packet, summary, stats);
            }
        }
        conn.assured |= conn.seen_reply && tcp.state == TcpState::Established;
    }
    conn.count(dir, summary);
    conn.seen_reply |= dir == Direction::Reply;
    if conn.tcp.is_none() && !conn.tuples[0].is_echo() {
        conn.assured |= conn.seen_reply && now.since(conn.began) > STREAM_AFTER;
    }
    let is_new = !conn.seen_reply;
    let expires = now + conn.timeout(now, config);
    table.set_expires(id, expires);
    Tracked::Known {
        id,
        dir,
        is_new,
        error: false,
    }
}

/// An ICMP error belongs to the connection of the packet that it quotes.
fn of_error(
    table: &Table,
    packet: &Packet<'_>,
    summary: &Summary,
    stats: &mut FilterStats,
) -> Tracked {
    let bytes = packet.bytes();
    let quote_at = summary.transport + icmpv4::HEADER_LEN;
    let quoted = bytes.get(quote_at..).and_then(|quote| {
        let inner = Summary::of_quote(quote)?;
        Tuple::of(&inner).filter(|_| inner.src.is_ipv4() == summary.src.is_ipv4())
    });
    let whole = bytes.len() == summary.len && is_valid(summary, &bytes[summary.transport..]);
    let found = quoted
        .filter(|_| whole)
        .and_then(|tuple| table.find(&tuple.turned()));
    match found {
        Some((id, dir)) => Tracked::Known {
            id,
            dir,
            is_new: false,
            error: true,
        },
        None => {
            stats.conntrack_invalid += 1;
            Tracked::Invalid
        }
    }
}

fn is_valid(summary: &Summary, message: &[u8]) -> bool {
    let mut sum = match summary.proto {
        proto::ICMP => Checksum::new(),
        proto => Checksum::pseudo(summary.src, summary.dst, proto, message.len() as u32),
    };
    sum.add_bytes(message);
    sum.is_valid()
}

/// Neighbour discovery and multicast listeners (Linux `nf_conntrack_icmpv6`): nobody's connection.
fn is_of_the_link(summary: &Summary) -> bool {
    let Inner::Icmp { kind, .. } = summary.inner else {
        return false;
    };
    summary.proto == proto::ICMPV6
        && ((icmpv6::kind::MLD_QUERY..=icmpv6::kind::REDIRECT).contains(&kind)
            || kind == icmpv6::kind::MLD2_REPORT)
}
