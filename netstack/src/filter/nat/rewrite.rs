//! Other addresses and ports in the headers of a packet, checksums kept right by what has changed (RFC
//! 1624), in ICMP errors those of the packet that they quote too (RFC 5508).

use std::net::IpAddr;

use crate::filter::conntrack::Tuple;
use crate::filter::packet::{Inner, Summary};
use crate::network::proto;
use crate::wire::checksum::{Checksum, update_u16};
use crate::wire::{be16, icmpv4, ipv4};

/// Which end is changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    Source,
    Destination,
}

impl End {
    pub(crate) fn other(self) -> Self {
        match self {
            Self::Source => Self::Destination,
            Self::Destination => Self::Source,
        }
    }
}

/// Gives one end of a packet the address and port that `to` has there. `partial`: the transport's checksum
/// covers only the pseudo header yet.
pub(crate) fn rewrite(bytes: &mut [u8], summary: &Summary, end: End, to: &Tuple, partial: bool) {
    let (addr, port) = match end {
        End::Source => (to.src, to.src_port),
        End::Destination => (to.dst, to.dst_port),
    };
    if let Some(change) = set_addr(bytes, end, addr) {
        fix_transport(bytes, summary, &change, partial, true);
    }
    if let Some(at) = port_at(summary, end, to) {
        let old = be16(bytes, at);
        if old != port {
            bytes[at..at + 2].copy_from_slice(&port.to_be_bytes());
            let change = Change::of(&old.to_be_bytes(), &port.to_be_bytes());
            // A begun checksum does not know of ports yet.
            if !partial {
                fix_transport(bytes, summary, &change, false, false);
            }
        }
    }
}

/// Gives an ICMP error another address at one end, and the packet that it quotes the opposite end of `inner`.
pub(crate) fn rewrite_error(
    bytes: &mut [u8],
    summary: &Summary,
    end: End,
    addr: IpAddr,
    inner: &Tuple,
) {
    set_addr(bytes, end, addr);
    let transport = summary.transport;
    let quote_at = transport + icmpv4::HEADER_LEN;
    if let Some(quote) = bytes.get_mut(quote_at..)
        && let Some(quoted) = Summary::of_quote(quote)
    {
        rewrite(quote, &quoted, end.other(), inner, false);
    }
    // The quote has changed, its checksums too: the whole message is summed again.
    let src = Summary::parse(bytes, bytes.len());
    let Some(now) = src.filter(|now| bytes.len() >= now.transport + 4) else {
        return;
    };
    let message = &mut bytes[transport..];
    message[2..4].fill(0);
    let mut sum = match now.proto {
        proto::ICMP => Checksum::new(),
        proto => Checksum::pseudo(now.src, now.dst, proto, message.len() as u32),
    };
    sum.add_bytes(message);
    message[2..4].copy_from_slice(&sum.finish().to_be_bytes());
}

/// Old and new words of what has changed.
struct Change {
    old: [u16; 8],
    new: [u16; 8],
}

impl Change {
    fn of(old: &[u8], new: &[u8]) -> Self {
        let mut change = Self {
            old: [0; 8],
            new: [0; 8],
        };
        for (to, from) in [(&mut change.old, old), (&mut change.new, new)] {
            for (word, pair) in to.iter_mut().zip(from.chunks_exact(2)) {
                *word = u16::from_be_bytes([pair[0], pair[1]]);
            }
        }
        change
    }

    fn apply(&self, checksum: u16) -> u16 {
        let words = self.old.iter().zip(&self.new);
        words.fold(checksum, |sum, (old, new)| match old == new {
            true => sum,
            false => update_u16(sum, *old, *new),
        })
    }
}

/// Writes an address; keeps the checksum of an IPv4 header right.
fn set_addr(bytes: &mut [u8], end: End, addr: IpAddr) -> Option<Change> {
    let (at, new): (usize, Vec<u8>) = match (addr, end) {
        (IpAddr::V4(addr), End::Source) => (12, addr.octets().to_vec()),
        (IpAddr::V4(addr), End::Destination) => (16, addr.octets().to_vec()),
        (IpAddr::V6(addr), End::Source) => (8, addr.octets().to_vec()),
        (IpAddr::V6(addr), End::Destination) => (24, addr.octets().to_vec()),
    };
    let same_family = addr.is_ipv4() == (bytes.first()? >> 4 == 4);
    let field = bytes.get_mut(at..at + new.len()).filter(|_| same_family)?;
    if field == new {
        return None;
    }
    let change = Change::of(field, &new);
    field.copy_from_slice(&new);
    if addr.is_ipv4() {
        let at = ipv4::CHECKSUM_OFFSET;
        let sum = change.apply(be16(bytes, at));
        bytes[at..at + 2].copy_from_slice(&sum.to_be_bytes());
    }
    Some(change)
}

/// Keeps the transport's checksum right; `of_address`: the change is one of the pseudo header.
fn fix_transport(
    bytes: &mut [u8],
    summary: &Summary,
    change: &Change,
    partial: bool,
    of_address: bool,
) {
    if summary.is_later_fragment {
        return;
    }
    let offset = match summary.proto {
        proto::TCP => 16,
        proto::UDP => 6,
        proto::ICMPV6 => 2,
        // No pseudo header there.
        proto::ICMP if !of_address => 2,
        _ => return,
    };
    let at = summary.transport + offset;
    // A quote may end before.
    let Some(field) = bytes.get_mut(at..at + 2) else {
        return;
    };
    let old = u16::from_be_bytes([field[0], field[1]]);
    let new = match (partial, summary.proto) {
        (true, _) => !change.apply(!old),
        (false, proto::UDP) if old == 0 => return,
        (false, proto::UDP) => match change.apply(old) {
            0 => 0xffff,
            sum => sum,
        },
        (false, _) => change.apply(old),
    };
    field.copy_from_slice(&new.to_be_bytes());
}

/// Where the port of an end is, or the identifier of an echo, if the packet has one there.
fn port_at(summary: &Summary, end: End, to: &Tuple) -> Option<usize> {
    match (summary.inner, end) {
        (Inner::Tcp(_) | Inner::Udp { .. }, End::Source) => Some(summary.transport),
        (Inner::Tcp(_) | Inner::Udp { .. }, End::Destination) => Some(summary.transport + 2),
        // Only one end has an identifier.
        (Inner::Icmp { .. }, end) => {
            let request = Tuple::of(summary)?.dst_port == 0;
            let named = (end == End::Source) == request;
            (named && to.is_echo()).then_some(summary.transport + 4)
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use etherparse::PacketBuilder;
    use proptest::prelude::*;

    fn build(v6: bool, kind: u8, ports: (u16, u16), body: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        macro_rules! write {
            ($builder:expr, $echo:ident) => {
                match kind {
                    0 => $builder.udp(ports.0, ports.1).write(&mut out, body),
                    1 => $builder.tcp(ports.0, ports.1, 7, 100).write(&mut out, body),
                    _ => $builder.$echo(ports.0, 1).write(&mut out, body),
                }
            };
        }
        let done = match v6 {
            false => write!(
                PacketBuilder::ipv4([10, 0, 0, 1], [10, 0, 0, 2], 9),
                icmpv4_echo_request
            ),
            true => write!(
                PacketBuilder::ipv6([1; 16], [2; 16], 9),
                icmpv6_echo_request
            ),
        };
        done.unwrap();
        out
    }

    fn sums_are_right(bytes: &[u8]) -> bool {
        let summary = Summary::parse(bytes, bytes.len()).unwrap();
        let mut sum = match summary.proto {
            proto::ICMP => Checksum::new(),
            _ => Checksum::pseudo(
                summary.src,
                summary.dst,
                summary.proto,
                (bytes.len() - summary.transport) as u32,
            ),
        };
        sum.add_bytes(&bytes[summary.transport..]);
        let v4 = bytes[0] >> 4 == 4;
        sum.is_valid() && (!v4 || crate::wire::checksum::checksum(&bytes[..20]) == 0)
    }

    fn tuple(v6: bool, addrs: (u128, u128), ports: (u16, u16), proto: u8) -> Tuple {
        let addr = |bits: u128| match v6 {
            false => IpAddr::V4((bits as u32).into()),
            true => IpAddr::V6(bits.into()),
        };
        Tuple {
            src: addr(addrs.0),
            dst: addr(addrs.1),
            src_port: ports.0,
            dst_port: ports.1,
            proto,
        }
    }

    proptest! {
        #[test]
        fn there_and_back_is_the_same(
            v6 in any::<bool>(), kind in 0_u8..3, ports in any::<(u16, u16)>(),
            other in any::<(u16, u16)>(), addrs in any::<(u128, u128)>(), source in any::<bool>(),
            body in proptest::collection::vec(any::<u8>(), 0..40)
        ) {
            let packet = build(v6, kind, ports, &body);
            let before = Summary::parse(&packet, packet.len()).unwrap();
            let own = Tuple::of(&before).unwrap();
            let end = if source { End::Source } else { End::Destination };
            let to = tuple(v6, addrs, other, own.proto);
            let mut bytes = packet.clone();
            rewrite(&mut bytes, &before, end, &to, false);
            prop_assert!(sums_are_right(&bytes));
            let after = Summary::parse(&bytes, bytes.len()).unwrap();
            let seen = Tuple::of(&after).unwrap();
            match end {
                End::Source => prop_assert_eq!((seen.src, seen.src_port), (to.src, to.src_port)),
                End::Destination => prop_assert_eq!(seen.dst, to.dst),
            }
            rewrite(&mut bytes, &after, end, &own, false);
            prop_assert_eq!(bytes, packet);
        }

        #[test]
        fn a_begun_checksum_stays_one(addrs in any::<(u128, u128)>(), v6 in any::<bool>()) {
            let mut packet = build(v6, 1, (1, 2), b"some data");
            let before = Summary::parse(&packet, packet.len()).unwrap();
            let at = before.transport + 16;
            let len = (packet.len() - before.transport) as u32;
            let begun = Checksum::pseudo(before.src, before.dst, 6, len).partial();
            packet[at..at + 2].copy_from_slice(&begun.to_be_bytes());
            let to = tuple(v6, addrs, (77, 2), 6);
            rewrite(&mut packet, &before, End::Source, &to, true);
            // The device sums from the transport header on.
            let mut sum = Checksum::new();
            sum.add_bytes(&packet[before.transport..]);
            packet[at..at + 2].copy_from_slice(&sum.finish().to_be_bytes());
            prop_assert!(sums_are_right(&packet));
        }

        #[test]
        fn errors_are_translated_there_and_back(
            v6 in any::<bool>(), kind in 0_u8..3, addrs in any::<(u128, u128)>(), ports in any::<(u16, u16)>(),
            cut in 8_usize..60
        ) {
            let mut quote = build(v6, kind, (1000, 2000), &[7; 30]);
            let header = if v6 { 40 } else { 20 };
            quote.truncate(header + cut);
            let mut packet = Vec::new();
            let done = match v6 {
                false => PacketBuilder::ipv4([9; 4], [10, 0, 0, 1], 9)
                    .icmpv4_raw(3, 3, [0; 4]).write(&mut packet, &quote),
                true => PacketBuilder::ipv6([9; 16], [1; 16], 9)
                    .icmpv6_raw(1, 4, [0; 4]).write(&mut packet, &quote),
            };
            done.unwrap();
            let before = Summary::parse(&packet, packet.len()).unwrap();
            let quoted = Summary::of_quote(&quote).unwrap();
            let own = Tuple::of(&quoted).unwrap();
            let to = tuple(v6, (addrs.0, addrs.0), ports, own.proto);
            let mut bytes = packet.clone();
            rewrite_error(&mut bytes, &before, End::Destination, to.src, &to);
            prop_assert!(sums_are_right(&bytes));
            let inner = &bytes[before.transport + 8..];
            let inner = Tuple::of(&Summary::of_quote(inner).unwrap()).unwrap();
            prop_assert_eq!((inner.src, inner.src_port), (to.src, to.src_port));
            let after = Summary::parse(&bytes, bytes.len()).unwrap();
            rewrite_error(&mut bytes, &after, End::Destination, before.dst, &own);
            prop_assert_eq!(bytes, packet);
        }
    }
}
