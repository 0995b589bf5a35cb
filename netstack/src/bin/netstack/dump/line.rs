//! A packet in a line: what somebody who looks for a connection wants to see first.

use std::time::Duration;

use netstack::link::Medium;
use netstack::network::proto;
use netstack::wire::arp::{ArpOp, ArpRepr};
use netstack::wire::ethernet::{EthernetRepr, ethertype};
use netstack::wire::icmpv4::Icmpv4Repr;
use netstack::wire::ipv4::{Ipv4Repr, Ipv4View};
use netstack::wire::tcp::{TcpFlags, TcpRepr, TcpView};
use netstack::wire::udp::UdpView;

/// The time of day in UTC.
pub(super) fn time(since_1970: Duration) -> String {
    let seconds = since_1970.as_secs() % 86_400;
    let (hour, minute, second) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    format!(
        "{hour:02}:{minute:02}:{second:02}.{:06}",
        since_1970.subsec_micros()
    )
}

/// A packet of `len` bytes, of which some may not have been kept.
pub(super) fn of(medium: Medium, bytes: &[u8], len: usize) -> String {
    if medium == Medium::Ip {
        return ip(bytes, len);
    }
    let Ok((frame, header)) = EthernetRepr::parse(bytes) else {
        return format!("a frame of {len} bytes that is not Ethernet II");
    };
    match frame.ethertype {
        ethertype::IPV4 => ip(&bytes[header..], len - header),
        ethertype::ARP => arp(&bytes[header..]),
        other => format!("type 0x{other:04x}, {} bytes", len - header),
    }
}

fn arp(bytes: &[u8]) -> String {
    let Ok(arp) = ArpRepr::parse(bytes) else {
        return "ARP, malformed".into();
    };
    match arp.op {
        ArpOp::Request => format!("ARP who has {}, tell {}", arp.target, arp.sender),
        ArpOp::Reply => {
            let mac = arp.sender_mac.0.map(|byte| format!("{byte:02x}")).join(":");
            format!("ARP {} is at {mac}", arp.sender)
        }
    }
}

fn ip(bytes: &[u8], len: usize) -> String {
    let Ok(view) = Ipv4View::new_quoted(bytes) else {
        let version = bytes.first().map_or(0, |byte| byte >> 4);
        return format!("IP version {version}, {len} bytes");
    };
    let repr = Ipv4Repr::parse(&view);
    // Short frames are padded; a super-packet may have no length.
    let len = match usize::from(u16::from_be_bytes([bytes[2], bytes[3]])) {
        0 => len,
        total => total.min(len),
    };
    let payload = view.payload();
    let (src, dst) = (repr.src, repr.dst);
    if repr.fragment_offset != 0 {
        let at = repr.fragment_offset;
        return format!("{src} > {dst}: fragment at {at}, {} bytes", payload.len());
    }
    match repr.proto {
        proto::TCP => tcp(payload, len.saturating_sub(view.header_len()))
            .map(|(ports, text)| format!("{src}.{} > {dst}.{}: {text}", ports.0, ports.1)),
        proto::UDP => UdpView::new(payload).ok().map(|udp| {
            let (from, to) = (udp.src_port(), udp.dst_port());
            format!(
                "{src}.{from} > {dst}.{to}: UDP, {} bytes",
                udp.payload().len()
            )
        }),
        proto::ICMP => Icmpv4Repr::parse(payload)
            .ok()
            .map(|message| format!("{src} > {dst}: {}", icmp(message))),
        _ => None,
    }
    .unwrap_or_else(|| {
        format!(
            "{src} > {dst}: protocol {}, {} bytes",
            repr.proto,
            payload.len()
        )
    })
}

fn icmp(message: Icmpv4Repr) -> String {
    match message {
        Icmpv4Repr::EchoRequest { ident, seq } => {
            format!("ICMP echo request, id {ident}, seq {seq}")
        }
        Icmpv4Repr::EchoReply { ident, seq } => format!("ICMP echo reply, id {ident}, seq {seq}"),
        Icmpv4Repr::Unreachable { code, mtu: 0 } => format!("ICMP unreachable, code {code}"),
        Icmpv4Repr::Unreachable { code, mtu } => {
            format!("ICMP unreachable, code {code}, mtu {mtu}")
        }
        Icmpv4Repr::TimeExceeded { code } => format!("ICMP time exceeded, code {code}"),
        Icmpv4Repr::ParameterProblem { pointer, .. } => {
            format!("ICMP parameter problem at {pointer}")
        }
        Icmpv4Repr::Other { kind, code, .. } => format!("ICMP type {kind}, code {code}"),
    }
}

/// The ports, and the rest of the line. `len`: header and payload, kept or not.
fn tcp(bytes: &[u8], len: usize) -> Option<((u16, u16), String)> {
    let view = TcpView::new(bytes).ok()?;
    let repr = TcpRepr::parse(&view);
    let letters = [
        (TcpFlags::SYN, 'S'),
        (TcpFlags::FIN, 'F'),
        (TcpFlags::RST, 'R'),
        (TcpFlags::PSH, 'P'),
        (TcpFlags::ACK, '.'),
    ];
    let set = letters
        .iter()
        .filter(|(flag, _)| repr.flags.contains(*flag));
    let flags: String = set.map(|(_, letter)| *letter).collect();
    let mut text = format!("TCP [{flags}] seq {}", repr.seq);
    if repr.flags.contains(TcpFlags::ACK) {
        text += &format!(" ack {}", repr.ack);
    }
    text += &format!(" win {}", repr.window);
    if let Some(mss) = repr.options.mss {
        text += &format!(" mss {mss}");
    }
    text += &format!(", {} bytes", len.saturating_sub(view.header_len()));
    Some(((repr.src_port, repr.dst_port), text))
}

#[cfg(test)]
mod tests {
    use super::*;
    use etherparse::PacketBuilder;

    fn built(write: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
        let mut packet = Vec::new();
        write(&mut packet);
        packet
    }

    #[test]
    fn each_kind_of_packet() {
        let eth =
            || PacketBuilder::ethernet2([2; 6], [4; 6]).ipv4([10, 0, 0, 1], [10, 0, 0, 2], 64);
        let tcp = built(|out| eth().tcp(5, 80, 7, 100).syn().write(out, b"").unwrap());
        let line = of(Medium::Ethernet, &tcp, tcp.len());
        assert_eq!(
            line,
            "10.0.0.1.5 > 10.0.0.2.80: TCP [S] seq 7 win 100, 0 bytes"
        );
        let udp = built(|out| eth().udp(5, 53).write(out, b"hello").unwrap());
        let line = of(Medium::Ip, &udp[14..], udp.len() - 14);
        assert_eq!(line, "10.0.0.1.5 > 10.0.0.2.53: UDP, 5 bytes");
        let ping = built(|out| eth().icmpv4_echo_request(1, 2).write(out, b"").unwrap());
        let line = of(Medium::Ethernet, &ping, ping.len());
        assert_eq!(line, "10.0.0.1 > 10.0.0.2: ICMP echo request, id 1, seq 2");
        // What was not kept counts all the same.
        let tcp = built(|out| {
            eth()
                .tcp(5, 80, 7, 100)
                .ack(9)
                .write(out, &[0; 1000])
                .unwrap()
        });
        let line = of(Medium::Ethernet, &tcp[..60], tcp.len());
        assert!(
            line.ends_with("TCP [.] seq 7 ack 9 win 100, 1000 bytes"),
            "{line}"
        );
    }

    #[test]
    fn any_bytes_make_a_line() {
        let packet = built(|out| {
            let eth =
                PacketBuilder::ethernet2([2; 6], [4; 6]).ipv4([10, 0, 0, 1], [10, 0, 0, 2], 64);
            eth.tcp(5, 80, 7, 100).write(out, b"x").unwrap();
        });
        for medium in [Medium::Ip, Medium::Ethernet] {
            for len in 0..packet.len() {
                for at in 0..len {
                    let mut bytes = packet[..len].to_vec();
                    bytes[at] ^= 0xff;
                    assert!(!of(medium, &bytes, packet.len()).is_empty());
                    assert!(!of(medium, &bytes, len).is_empty());
                }
            }
        }
        assert_eq!(
            time(Duration::from_micros(86_400_000_000 + 3_661_000_002)),
            "01:01:01.000002"
        );
    }
}
