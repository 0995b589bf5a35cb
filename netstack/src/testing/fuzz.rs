//! What fuzzers run: each takes any bytes and panics if something that must hold does not. The same
//! functions run over the corpus of `fuzz/corpus` in the ordinary tests.

use std::collections::VecDeque;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use crate::buf::{RxBatch, RxChecksum, RxPacket, TxBatch};
use crate::link::{DeviceCaps, MacAddr, Medium};
use crate::network::{IfaceId, proto};
use crate::socket::intercept::{InterceptConfig, Intercepted, Unreachable};
use crate::socket::{Family, SocketId, SocketKind};
use crate::stack::{InterfaceConfig, Stack, StackConfig};
use crate::time::{Duration, Instant};
use crate::wire::checksum::{Checksum, checksum};
use crate::wire::ipv4::{Ipv4Options, Ipv4Repr, Ipv4View};
use crate::wire::ipv6::{self, Ipv6Repr, Ipv6View};
use crate::wire::tcp::{HEADER_LEN_MAX, OPTIONS_LEN_MAX, TcpOptions, TcpRepr, TcpView};
use crate::wire::{arp, ethernet, icmpv4, icmpv6, igmp, ipv6_ext, mld, ndp, udp};

pub use super::fuzz_filter::filter;

/// Every parser of headers, and that what is understood is written back the same.
pub fn wire(data: &[u8]) {
    if let Ok((_, len)) = ethernet::EthernetRepr::parse(data) {
        assert!(len <= data.len());
    }
    if let Ok(packet) = arp::ArpRepr::parse(data) {
        let mut out = [0; arp::LEN];
        packet.emit(&mut out);
        assert_eq!(out[..], data[..arp::LEN]);
    }
    for view in [Ipv4View::new(data), Ipv4View::new_quoted(data)]
        .into_iter()
        .flatten()
    {
        let _ = Ipv4Repr::parse(&view);
        let _ = Ipv4Options::parse(view.options());
        assert!(view.header().len() + view.payload().len() <= data.len());
    }
    wire_v6(data);
    if let Ok(message) = icmpv4::Icmpv4Repr::parse(data) {
        let mut out = [0; icmpv4::HEADER_LEN];
        message.emit(&mut out);
        assert_eq!(icmpv4::Icmpv4Repr::parse(&out), Ok(message));
    }
    if let Ok(view) = udp::UdpView::new(data) {
        let _ = udp::UdpRepr::parse(&view);
        assert!(view.payload().len() < data.len());
    }
    if let Ok(view) = TcpView::new(data) {
        let repr = TcpRepr::parse(&view);
        let mut out = [0; HEADER_LEN_MAX];
        let len = repr.header_len();
        repr.emit(&mut out[..len]);
        let again = TcpRepr::parse(&TcpView::new(&out[..len]).expect("what we emit is a header"));
        assert_eq!(
            (again.seq, again.ack, again.window),
            (repr.seq, repr.ack, repr.window)
        );
    }
}

/// The headers that only IPv6 has.
fn wire_v6(data: &[u8]) {
    for view in [Ipv6View::new(data), Ipv6View::new_quoted(data)]
        .into_iter()
        .flatten()
    {
        let repr = Ipv6Repr::parse(&view);
        let (packet, at) = (view.packet(), ipv6::HEADER_LEN);
        if let Ok(walk) = ipv6_ext::walk(packet, repr.next_header, 6, at, true) {
            assert!(walk.at <= packet.len() && walk.proto_at < walk.at);
            let skipped = ipv6_ext::skip(packet, repr.next_header, at);
            // What passes the strict walk is found by the lenient one too.
            assert!(skipped.is_some() || walk.end != ipv6_ext::End::Transport);
        }
        if let Some((_, at, _)) = ipv6_ext::skip(packet, repr.next_header, at) {
            assert!(at <= packet.len());
        }
    }
    if let Ok(message) = icmpv6::Icmpv6Repr::parse(data) {
        let mut out = [0; icmpv6::HEADER_LEN];
        message.emit(&mut out);
        assert_eq!(icmpv6::Icmpv6Repr::parse(&out), Ok(message));
    }
    if let Ok((_, options)) = ndp::NdRepr::parse(data) {
        assert!(options.prefixes.len() <= ndp::PREFIXES_MAX);
    }
    let _ = mld::parse_query(data);
    let _ = mld::parse_report(data);
    let _ = igmp::Message::parse(data);
}

/// A filter program of as many instructions as the first byte says, and a packet behind it.
pub fn bpf(data: &[u8]) {
    let Some((count, rest)) = data.split_first() else {
        return;
    };
    let len = usize::from(*count) * crate::bpf::INSN_LEN;
    let Some((program, bytes)) = rest.split_at_checked(len) else {
        return;
    };
    let Ok(program) = crate::bpf::Program::from_bytes(program) else {
        return;
    };
    for (start, network) in [(0, 14), (14, 14), (34, 14)] {
        let packet = crate::bpf::Packet {
            bytes,
            start,
            network,
            has_link: start > 0,
            protocol: 0x800,
            packet_type: 0,
            ifindex: 2,
            hardware: 1,
        };
        let kept = program.keep(&packet);
        assert!(kept.is_none_or(|kept| kept <= bytes.len()));
        assert_eq!(program.keep(&packet), kept);
    }
}

/// The TCP option list; the first byte says whether it is that of a SYN.
pub fn tcp_options(data: &[u8]) {
    let Some((first, list)) = data.split_first() else {
        return;
    };
    let (syn, list) = (first & 1 != 0, &list[..list.len().min(OPTIONS_LEN_MAX)]);
    let options = TcpOptions::parse(list, syn);
    assert!(syn || (options.mss.is_none() && !options.sack_permitted));
    assert!(options.window_scale.is_none_or(|shift| shift <= 14));
    let mut out = [0; HEADER_LEN_MAX];
    let flags = match syn {
        true => crate::wire::tcp::TcpFlags::SYN,
        false => crate::wire::tcp::TcpFlags::ACK,
    };
    let repr = TcpRepr {
        flags,
        options: options.clone(),
        ..TcpRepr::default()
    };
    let len = repr.header_len();
    repr.emit(&mut out[..len]);
    let view = TcpView::new(&out[..len]).expect("what we emit is a header");
    let again = TcpOptions::parse(view.options(), syn);
    assert!(!again.malformed);
    assert_eq!(
        (again.mss, again.window_scale, again.timestamps),
        (options.mss, options.window_scale, options.timestamps)
    );
}

/// A whole stack: a listener, a connection that is being opened, and a UDP socket, all with fixed
/// secrets. The bytes are a series of steps: a control byte, a length (two bytes, big-endian), and
/// that many bytes of packet. Of the control byte,
///
/// - bit 0 makes the checksum of the IP header right,
/// - bit 1 that of the transport,
/// - bit 2 lets time pass: 2^(bits 4 to 7) milliseconds,
/// - bit 3 says that the link has merged it, of segments of 100 bytes.
///
/// The first byte chooses the medium (bit 0), and whether an interceptor takes what is for other addresses
/// (bit 1). Nothing that arrives may panic or grow without bound.
pub fn stack_receive(data: &[u8]) {
    let Some((first, mut rest)) = data.split_first() else {
        return;
    };
    let mut target = Target::new(if first & 1 != 0 {
        Medium::Ethernet
    } else {
        Medium::Ip
    });
    if first & 2 != 0 {
        target.intercept();
    }
    // A step has at least its control byte and length: the number of steps is bounded by the input.
    while let [control, high, low, tail @ ..] = rest {
        let len = usize::from(u16::from_be_bytes([*high, *low])).min(tail.len());
        let (packet, after) = tail.split_at(len);
        target.step(*control, packet.to_vec());
        rest = after;
    }
    target.finish();
}

/// Bounds that must hold for the stack of [`stack_receive`], whatever arrives: a listener, the
/// connection, and an accept queue of 4.
const SOCKETS_MAX: usize = 6;
/// What an interceptor may hold of each kind.
const INTERCEPTED_MAX: usize = 4;
const HALF_OPEN_MAX: usize = 4;
/// Two of loopback, 16 of the link; its routes with those of routers, prefixes and redirects.
const ADDRESSES_MAX: usize = 18;
const ROUTES_MAX: usize = 120;

struct Target {
    stack: Stack,
    iface: IfaceId,
    medium: Medium,
    now: Instant,
    sockets: [SocketId; 3],
    interceptor: Option<SocketId>,
    /// Connections and flows that the interceptor has brought.
    taken: VecDeque<SocketId>,
    /// Takes the ways to decide in turn.
    turn: u32,
}

impl Target {
    fn new(medium: Medium) -> Self {
        let mut stack = Stack::new(StackConfig::default(), [7; 16]);
        let caps = DeviceCaps {
            medium,
            mtu: 1500,
            tx_checksum: false,
            gso_max: 0,
        };
        let mac = MacAddr([2, 0, 0, 0, 0, 1]);
        let config = InterfaceConfig {
            name: "eth0".to_owned(),
            mac,
            caps,
        };
        let iface = stack.add_interface(config).expect("the first one");
        for text in ["10.0.0.1/24", "fd00::1/64"] {
            let cidr = text.parse().expect("an address");
            stack.add_unique_address(iface, cidr).expect("a new one");
        }
        stack.autoconfigure_ipv6(iface).expect("a large MTU");
        let now = Instant::from_millis(1000);
        stack.set_now(now);
        let any = |port| SocketAddr::from((Ipv4Addr::UNSPECIFIED, port));
        let any6 = |port| SocketAddr::from((Ipv6Addr::UNSPECIFIED, port));
        // Of both families.
        let listener = stack.tcp_open_of(Family::V6);
        stack.tcp_bind(listener, any6(7)).expect("free");
        stack.tcp_listen(listener, 3).expect("bound");
        let client = stack.tcp_open();
        stack.tcp_bind(client, any(40_000)).expect("free");
        // In progress: the peer is whoever answers.
        let _ = stack.tcp_connect(client, SocketAddr::from(([10, 0, 0, 2], 80)));
        let datagrams = stack.udp_open(Family::V6);
        stack.udp_bind(datagrams, any6(7)).expect("free");
        Self {
            stack,
            iface,
            medium,
            now,
            sockets: [listener, client, datagrams],
            interceptor: None,
            taken: VecDeque::new(),
            turn: 0,
        }
    }

    fn intercept(&mut self) {
        let config = InterceptConfig {
            tcp_offers_max: INTERCEPTED_MAX,
            udp_flows_max: INTERCEPTED_MAX,
            echoes_max: INTERCEPTED_MAX,
            ..InterceptConfig::default()
        };
        let id = self.stack.intercept(self.iface, config);
        self.interceptor = Some(id.expect("the first one"));
        // What the corpus has for them is the interceptor's.
        let [listener, _, datagrams] = self.sockets;
        self.stack.close(listener);
        self.stack.close(datagrams);
    }

    /// Decides one way after the other, and uses what comes of it; the oldest is closed.
    fn use_interceptor(&mut self) {
        let Some(next) = self
            .interceptor
            .and_then(|id| self.stack.intercept_next(id))
        else {
            return;
        };
        self.turn += 1;
        let stack = &mut self.stack;
        match next {
            Intercepted::Tcp(offer) => match self.turn % 6 {
                0 => drop(stack.offer_refuse(offer.id)),
                1 => drop(stack.offer_unreachable(offer.id, Unreachable::Host)),
                2 => drop(stack.offer_drop(offer.id)),
                // Left undecided.
                3 => {}
                _ => self.taken.extend(stack.offer_accept(offer.id).ok()),
            },
            Intercepted::Udp(flow) => {
                let _ = stack.udp_recv(flow.socket);
                let _ = stack.udp_send(flow.socket, "answer", None);
                let _ = stack.flow_unreachable(flow.socket, Unreachable::Port);
                self.taken.push_back(flow.socket);
            }
            Intercepted::Echo(request) => {
                stack.intercept_echo_reply(&request, request.data.clone());
            }
        }
        for id in self.taken.iter().filter(|id| id.kind() == SocketKind::Tcp) {
            let _ = stack.tcp_peek_ranges(*id);
            let _ = stack.tcp_consume(*id, 100);
            let _ = stack.tcp_send(*id, b"answer", false);
        }
        if self.taken.len() > INTERCEPTED_MAX
            && let Some(id) = self.taken.pop_front()
        {
            // UDP flows can't be aborted.
            let _ = stack.tcp_abort(id);
            stack.close(id);
        }
    }

    fn step(&mut self, control: u8, mut bytes: Vec<u8>) {
        if control & 4 != 0 {
            self.now += Duration::from_millis(1 << (control >> 4));
            self.stack.handle_timeout(self.now);
        }
        let network = if self.medium == Medium::Ethernet {
            ethernet::HEADER_LEN
        } else {
            0
        };
        if let Some(ip) = bytes.get_mut(network..) {
            make_right(ip, control & 1 != 0, control & 2 != 0);
        }
        let mut packet = RxPacket::new(bytes, self.now);
        if control & 8 != 0 {
            (packet.gro_size, packet.checksum) = (100, RxChecksum::Valid);
        }
        let mut batch = RxBatch::new();
        batch.push(packet);
        self.stack.receive(self.now, self.iface, &mut batch);
        self.drain();
        self.use_sockets();
        self.check();
    }

    fn drain(&mut self) {
        let mut batch = TxBatch::new();
        while self.stack.poll_transmit(self.now, self.iface, &mut batch) > 0 {
            batch.clear();
        }
    }

    /// Reads and writes as applications do; what fails, fails.
    fn use_sockets(&mut self) {
        let [listener, client, datagrams] = self.sockets;
        let mut buffer = [0; 256];
        let _ = self.stack.udp_recv(datagrams);
        let _ = self.stack.tcp_recv(client, &mut buffer, false);
        let _ = self.stack.tcp_send(client, b"request", false);
        // Half of those that come are left to wait.
        if self.now.as_millis().is_multiple_of(2)
            && let Ok((id, _)) = self.stack.tcp_accept(listener)
        {
            let _ = self.stack.tcp_recv(id, &mut buffer, false);
            let _ = self.stack.tcp_send(id, b"answer", false);
            let _ = self.stack.tcp_abort(id);
            self.stack.close(id);
        }
        self.use_interceptor();
        self.stack.drain_events(|_, _| ());
        self.drain();
    }

    fn check(&self) {
        let usage = self.stack.usage();
        assert!(usage.half_open <= HALF_OPEN_MAX, "{usage:?}");
        assert!(
            usage.tcp_sockets <= SOCKETS_MAX + INTERCEPTED_MAX,
            "{usage:?}"
        );
        assert!(usage.offers <= INTERCEPTED_MAX, "{usage:?}");
        assert!(usage.fragment_bytes <= 4 << 20, "{usage:?}");
        assert!(usage.neighbors <= 1024, "{usage:?}");
        let addresses: usize = self.stack.interfaces().map(|i| i.addresses.len()).sum();
        assert!(addresses <= ADDRESSES_MAX, "{addresses}");
        assert!(self.stack.routes().count() <= ROUTES_MAX);
    }

    /// Whatever has come, the stack ends its affairs and still answers an echo request.
    fn finish(mut self) {
        for _ in 0..10_000 {
            let Some(next) = self.stack.poll_timeout() else {
                break;
            };
            self.now = self.now.max(next);
            self.stack.handle_timeout(self.now);
            self.drain();
        }
        self.check();
        if self.medium == Medium::Ip {
            let before = self.stack.stats().net.icmp4.out_echo_reps;
            self.step(3, echo_request());
            assert_eq!(self.stack.stats().net.icmp4.out_echo_reps, before + 1);
        }
    }
}

fn echo_request() -> Vec<u8> {
    let repr = Ipv4Repr {
        src: Ipv4Addr::new(10, 0, 0, 2),
        dst: Ipv4Addr::new(10, 0, 0, 1),
        proto: proto::ICMP,
        tos: 0,
        ttl: 64,
        id: 0,
        dont_fragment: true,
        more_fragments: false,
        fragment_offset: 0,
        payload_len: 8,
    };
    let mut packet = vec![0; 28];
    repr.emit(&mut packet);
    packet[20] = 8;
    packet
}

/// Makes checksums right, so that what is behind them is reached.
pub(super) fn make_right(ip: &mut [u8], header: bool, transport: bool) {
    if ip.first().is_some_and(|first| first >> 4 == 6) {
        if transport {
            make_right_v6(ip);
        }
        return;
    }
    if ip.len() < 20 {
        return;
    }
    let len = usize::from(ip[0] & 15) * 4;
    let (source, target, protocol) = (address(ip, 12), address(ip, 16), ip[9]);
    if transport && let Some(bytes) = ip.get_mut(len..) {
        let (at, mut sum) = match protocol {
            proto::ICMP => (2, Checksum::new()),
            proto::TCP | proto::UDP => {
                let sum = Checksum::pseudo(source, target, protocol, bytes.len() as u32);
                (if protocol == proto::TCP { 16 } else { 6 }, sum)
            }
            _ => return,
        };
        if let Some(field) = bytes.get_mut(at..at + 2) {
            field.fill(0);
            sum.add_bytes(bytes);
            bytes[at..at + 2].copy_from_slice(&sum.finish().to_be_bytes());
        }
    }
    if header && len >= 20 && ip.len() >= len {
        ip[10..12].fill(0);
        let sum = checksum(&ip[..len]);
        ip[10..12].copy_from_slice(&sum.to_be_bytes());
    }
}

fn make_right_v6(ip: &mut [u8]) {
    let Ok(view) = Ipv6View::new(ip) else {
        return;
    };
    let (repr, end) = (Ipv6Repr::parse(&view), view.total_len());
    let found = ipv6_ext::skip(view.packet(), repr.next_header, ipv6::HEADER_LEN);
    let Some((protocol, at, true)) = found else {
        return;
    };
    let field_at = match protocol {
        proto::TCP => 16,
        proto::UDP => 6,
        proto::ICMPV6 => 2,
        _ => return,
    };
    let bytes = &mut ip[at..end];
    let len = bytes.len() as u32;
    let mut sum = Checksum::pseudo(repr.src.into(), repr.dst.into(), protocol, len);
    if let Some(field) = bytes.get_mut(field_at..field_at + 2) {
        field.fill(0);
        sum.add_bytes(bytes);
        bytes[field_at..field_at + 2].copy_from_slice(&sum.finish().to_be_bytes());
    }
}

fn address(ip: &[u8], at: usize) -> IpAddr {
    IpAddr::from([ip[at], ip[at + 1], ip[at + 2], ip[at + 3]])
}
