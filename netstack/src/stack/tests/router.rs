//! A router with three links, given packets and asked what it sends; in virtual time.

use etherparse::{IpNumber, PacketBuilder};

use super::*;
use crate::network::addr::Cidr;
use crate::network::route::Route;

/// 10.0.N.1/24 and fd00:N::1/64 on link N, from 0 to 2.
pub(super) struct Router {
    pub(super) stack: Stack,
    pub(super) links: [IfaceId; 3],
    pub(super) now: Instant,
    caps: DeviceCaps,
}

pub(super) fn cidr(text: &str) -> Cidr {
    text.parse().unwrap()
}

pub(super) fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

impl Router {
    /// One that forwards both families.
    pub(super) fn new(medium: Medium) -> Self {
        let caps = DeviceCaps {
            medium,
            mtu: 1500,
            tx_checksum: false,
            gso_max: 0,
        };
        Self::with(caps)
    }

    pub(super) fn with(caps: DeviceCaps) -> Self {
        let mut stack = Stack::new(StackConfig::default(), [9; 16]);
        stack.set_setting("net.ipv4.ip_forward", "1").unwrap();
        stack
            .set_setting("net.ipv6.conf.all.forwarding", "1")
            .unwrap();
        let links = [0_u8, 1, 2].map(|n| {
            let config = InterfaceConfig {
                name: format!("eth{n}"),
                mac: MacAddr([2, 0, 0, 0, n, 1]),
                caps,
            };
            let id = stack.add_interface(config).unwrap();
            stack
                .add_address(id, cidr(&format!("10.0.{n}.1/24")))
                .unwrap();
            for text in [format!("fd00:{n}::1/64"), format!("fe80::{n}:1/64")] {
                stack.add_unique_address(id, cidr(&text)).unwrap();
            }
            id
        });
        let mut router = Self {
            stack,
            links,
            now: Instant::from_millis(1000),
            caps,
        };
        // What is told to the links of the new addresses.
        router.elapse(Duration::from_secs(5));
        router.quiet();
        router
    }

    pub(super) fn set(&mut self, name: &str, value: &str) {
        self.stack.set_setting(name, value).unwrap();
    }

    /// Runs the timers that come in some time.
    pub(super) fn elapse(&mut self, time: Duration) {
        let end = self.now + time;
        while let Some(next) = self.stack.poll_timeout().filter(|next| *next <= end) {
            self.now = self.now.max(next);
            self.stack.handle_timeout(self.now);
            // Full queues would hold timers up.
            if self.now < end && self.stack.poll_timeout().is_some_and(|at| at <= self.now) {
                self.now += Duration::from_micros(1);
            }
        }
        self.now = end;
        self.stack.handle_timeout(end);
    }

    pub(super) fn quiet(&mut self) {
        for link in 0..3 {
            self.sent(link);
        }
    }

    /// Packets that have come in at a link.
    pub(super) fn receive(&mut self, link: usize, packet: RxPacket) {
        let mut batch = RxBatch::new();
        batch.push(packet);
        self.stack.receive(self.now, self.links[link], &mut batch);
    }

    pub(super) fn give(&mut self, link: usize, bytes: Vec<u8>) {
        self.receive(link, RxPacket::new(bytes, self.now));
    }

    /// What it has sent over a link, as the wire has it.
    pub(super) fn sent(&mut self, link: usize) -> Vec<Vec<u8>> {
        let mut all = Vec::new();
        let mut batch = TxBatch::new();
        while self
            .stack
            .poll_transmit(self.now, self.links[link], &mut batch)
            > 0
        {
            for packet in batch.drain(..) {
                if !self.caps.tx_checksum && packet.offload.gso_size == 0 {
                    assert_eq!(packet.offload.checksum, None, "nobody completes it");
                }
                let emit = |piece: TxPacket| all.push(piece.to_vec());
                assert!(crate::link::segment::segment(packet, emit));
            }
        }
        all
    }

    /// The one packet that it has sent over a link, and nothing over the others.
    pub(super) fn only(&mut self, link: usize) -> Vec<u8> {
        for other in (0..3).filter(|other| *other != link) {
            assert_eq!(self.sent(other), Vec::<Vec<u8>>::new(), "link {other}");
        }
        let mut sent = self.sent(link);
        assert_eq!(sent.len(), 1, "{sent:x?}");
        sent.remove(0)
    }

    pub(super) fn silent(&mut self) {
        for link in 0..3 {
            assert_eq!(self.sent(link), Vec::<Vec<u8>>::new(), "link {link}");
        }
    }

    /// A counter by its name.
    pub(super) fn count(&self, name: &str) -> u64 {
        let stats = self.stack.stats();
        let mut all = stats.net.iter();
        all.find(|(known, _)| *known == name).expect(name).1
    }

    pub(super) fn route(&mut self, dest: &str, gateway: &str, link: usize) {
        let route = Route::via(cidr(dest), ip(gateway), self.links[link]);
        self.stack.add_route(route).unwrap();
    }
}

/// A packet of UDP.
pub(super) fn udp(src: &str, dst: &str, ttl: u8, payload: usize) -> Vec<u8> {
    udp_ports((src, 1000), (dst, 2000), ttl, payload)
}

pub(super) fn udp_ports(src: (&str, u16), dst: (&str, u16), ttl: u8, payload: usize) -> Vec<u8> {
    let body: Vec<u8> = (0..payload).map(|n| n as u8).collect();
    let mut out = Vec::new();
    match (ip(src.0), ip(dst.0)) {
        (IpAddr::V4(from), IpAddr::V4(to)) => {
            let builder = PacketBuilder::ipv4(from.octets(), to.octets(), ttl);
            builder.udp(src.1, dst.1).write(&mut out, &body).unwrap();
        }
        (IpAddr::V6(from), IpAddr::V6(to)) => {
            let builder = PacketBuilder::ipv6(from.octets(), to.octets(), ttl);
            builder.udp(src.1, dst.1).write(&mut out, &body).unwrap();
        }
        _ => unreachable!("two families"),
    }
    out
}

/// Flags, sequence number, acknowledgement of a TCP segment.
pub(super) type Tcp<'a> = (&'a str, u32, u32);

pub(super) fn tcp(
    src: (&str, u16),
    dst: (&str, u16),
    (flags, seq, ack): Tcp<'_>,
    body: &[u8],
) -> Vec<u8> {
    let mut out = Vec::new();
    let mut header = etherparse::TcpHeader::new(src.1, dst.1, seq, 65_535);
    header.acknowledgment_number = ack;
    for flag in flags.chars() {
        match flag {
            'S' => header.syn = true,
            '.' => header.ack = true,
            'F' => header.fin = true,
            'R' => header.rst = true,
            'P' => header.psh = true,
            flag => panic!("no flag {flag}"),
        }
    }
    let done = match (ip(src.0), ip(dst.0)) {
        (IpAddr::V4(from), IpAddr::V4(to)) => {
            let builder = PacketBuilder::ipv4(from.octets(), to.octets(), 64);
            builder.tcp_header(header).write(&mut out, body)
        }
        (IpAddr::V6(from), IpAddr::V6(to)) => {
            let builder = PacketBuilder::ipv6(from.octets(), to.octets(), 64);
            builder.tcp_header(header).write(&mut out, body)
        }
        _ => unreachable!("two families"),
    };
    done.unwrap();
    out
}

/// An echo request or reply.
pub(super) fn echo(src: &str, dst: &str, id: u16, reply: bool) -> Vec<u8> {
    let mut out = Vec::new();
    let done = match (ip(src), ip(dst)) {
        (IpAddr::V4(from), IpAddr::V4(to)) => {
            let builder = PacketBuilder::ipv4(from.octets(), to.octets(), 64);
            match reply {
                false => builder
                    .icmpv4_echo_request(id, 1)
                    .write(&mut out, b"payload"),
                true => builder.icmpv4_echo_reply(id, 1).write(&mut out, b"payload"),
            }
        }
        (IpAddr::V6(from), IpAddr::V6(to)) => {
            let builder = PacketBuilder::ipv6(from.octets(), to.octets(), 64);
            match reply {
                false => builder
                    .icmpv6_echo_request(id, 1)
                    .write(&mut out, b"payload"),
                true => builder.icmpv6_echo_reply(id, 1).write(&mut out, b"payload"),
            }
        }
        _ => unreachable!("two families"),
    };
    done.unwrap();
    out
}

/// The packet with other bits in the flags field of an IPv4 header.
pub(super) fn with_flags(mut packet: Vec<u8>, flags: u16) -> Vec<u8> {
    packet[6..8].copy_from_slice(&flags.to_be_bytes());
    packet[10..12].fill(0);
    let sum = crate::wire::checksum::checksum(&packet[..20]);
    packet[10..12].copy_from_slice(&sum.to_be_bytes());
    packet
}

/// What a packet says, checked by another parser; its checksums have to be right.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Seen {
    pub(super) src: IpAddr,
    pub(super) dst: IpAddr,
    pub(super) ttl: u8,
    pub(super) proto: u8,
    /// Ports, or the identifier of an echo.
    pub(super) ports: (u16, u16),
    /// From the transport header on.
    pub(super) transport: Vec<u8>,
}

pub(super) fn seen(packet: &[u8]) -> Seen {
    let sliced = etherparse::IpSlice::from_slice(packet).expect("an IP packet");
    let payload = sliced.payload();
    let ttl = match packet[0] >> 4 {
        4 => packet[8],
        _ => packet[7],
    };
    if packet[0] >> 4 == 4 {
        let header = &packet[..usize::from(packet[0] & 15) * 4];
        assert_eq!(
            crate::wire::checksum::checksum(header),
            0,
            "header checksum"
        );
    }
    let proto = payload.ip_number;
    let transport = payload.payload.to_vec();
    let (src, dst) = (sliced.source_addr(), sliced.destination_addr());
    if !payload.fragmented {
        checksum_is_right(src, dst, proto, &transport);
    }
    let be = |at: usize| u16::from_be_bytes([transport[at], transport[at + 1]]);
    let ports = match proto {
        IpNumber::TCP | IpNumber::UDP => (be(0), be(2)),
        _ if matches!(transport[0], 0 | 8 | 128 | 129) => (be(4), 0),
        _ => (0, 0),
    };
    Seen {
        src,
        dst,
        ttl,
        proto: proto.0,
        ports,
        transport,
    }
}

fn checksum_is_right(src: IpAddr, dst: IpAddr, proto: IpNumber, transport: &[u8]) {
    use crate::wire::checksum::Checksum;
    let mut sum = match proto {
        IpNumber::ICMP => Checksum::new(),
        proto => Checksum::pseudo(src, dst, proto.0, transport.len() as u32),
    };
    if proto == IpNumber::UDP && transport[6..8] == [0, 0] {
        return;
    }
    sum.add_bytes(transport);
    assert!(sum.is_valid(), "checksum of {src} > {dst} {proto:?}");
}
