//! What an attacker who can send anything gets for it: a bounded answer, a counter, and connections that go on.
//! Malformed packets are in `malformed`; what is said of the listen queues in `transport::tcp::tests`.

use super::tcp::{connect, transfer};
use super::*;
use etherparse::{PacketBuilder, TcpHeader, TcpOptionElement};

const US: [u8; 4] = [10, 0, 0, 2];
const PEER: [u8; 4] = [10, 0, 0, 1];
/// What a blind attacker sends at once.
const FLOOD: u32 = 20_000;

/// An established connection of A to B's port 80, and the numbers that an attacker on the path knows.
struct Victim {
    wire: Wire,
    client: SocketId,
    server: SocketId,
    /// The last header that A sent.
    last: TcpHeader,
}

impl Victim {
    fn new() -> Self {
        let mut wire = Wire::new(Medium::Ip);
        let (_, client, server) = connect(&mut wire);
        let last = tcp_header(wire.hosts[A].sent.last().unwrap());
        wire.hosts.iter_mut().for_each(|host| host.sent.clear());
        Self {
            wire,
            client,
            server,
            last,
        }
    }

    /// A segment as A would send it, changed, to B; the timestamp is the connection's.
    fn forge(&mut self, change: impl FnOnce(&mut TcpHeader), payload: &[u8]) {
        let mut header = self.last.clone();
        change(&mut header);
        self.wire.inject(B, ip(PEER, US, header, payload));
    }

    /// How many packets B sends now, none of which arrives.
    fn answers(&mut self) -> usize {
        let before = self.wire.hosts[B].sent.len();
        self.wire.lose = |_| true;
        while self.wire.step(B) > 0 {}
        self.wire.lose = |_| false;
        self.wire.hosts[B].sent.len() - before
    }

    /// The connection works, both ways.
    fn goes_on(mut self) {
        let (client, server) = ((A, self.client), (B, self.server));
        transfer(&mut self.wire, client, server, 5_000);
        transfer(&mut self.wire, server, client, 5_000);
    }
}

fn tcp_header(packet: &[u8]) -> TcpHeader {
    let sliced = etherparse::SlicedPacket::from_ip(packet).unwrap();
    match sliced.transport {
        Some(etherparse::TransportSlice::Tcp(tcp)) => tcp.to_header(),
        other => panic!("no TCP segment: {other:?}"),
    }
}

fn ip(from: [u8; 4], to: [u8; 4], header: TcpHeader, payload: &[u8]) -> Vec<u8> {
    let builder = PacketBuilder::ipv4(from, to, 64).tcp_header(header);
    let mut packet = Vec::new();
    builder.write(&mut packet, payload).unwrap();
    packet
}

fn syn(port: u16, options: &[TcpOptionElement]) -> TcpHeader {
    let mut header = TcpHeader::new(port, 80, 1, 65_535);
    header.syn = true;
    header.set_options(options).unwrap();
    header
}

fn counter(stack: &Stack, name: &str) -> u64 {
    let stats = stack.stats();
    let mut all = stats.net.iter().chain(stats.tcp.iter());
    all.find(|(other, _)| *other == name).expect("a counter").1
}

#[test]
fn land_is_a_martian() {
    let mut wire = Wire::new(Medium::Ip);
    let listener = wire.stack(B).tcp_open();
    wire.stack(B).tcp_bind(listener, any_addr(80)).unwrap();
    wire.stack(B).tcp_listen(listener, 5).unwrap();
    wire.inject(B, ip(US, US, syn(80, &[]), b""));
    assert_eq!(counter(wire.stack(B), "IpInMartianSource"), 1);
    assert_eq!(wire.step(B), 0);
    assert_eq!(wire.stack(B).usage().half_open, 0);
}

/// RFC 5961, 3.2 and 7: only an exact reset ends a connection, and answers are few.
#[test]
fn a_flood_of_resets_in_the_window_is_challenged_twice_a_second() {
    let mut victim = Victim::new();
    let ack = victim.last.sequence_number;
    for at in 1..=FLOOD {
        let reset = |header: &mut TcpHeader| {
            header.sequence_number = ack.wrapping_add(at);
            (header.rst, header.ack) = (true, false);
        };
        victim.forge(reset, b"");
    }
    assert_eq!(victim.answers(), 1);
    assert_eq!(counter(victim.wire.stack(B), "TcpExtTCPChallengeACK"), 1);
    victim.goes_on();
}

/// RFC 5961, 4.2: a SYN in the window resets nothing.
#[test]
fn a_flood_of_syns_on_a_connection_is_challenged() {
    let mut victim = Victim::new();
    let ack = victim.last.sequence_number;
    for at in 0..FLOOD {
        let again = |header: &mut TcpHeader| {
            header.sequence_number = ack.wrapping_add(at);
            (header.syn, header.ack) = (true, false);
        };
        victim.forge(again, b"");
    }
    assert!(victim.answers() <= 1);
    let challenged = counter(victim.wire.stack(B), "TcpExtTCPSYNChallenge");
    assert_eq!(challenged, u64::from(FLOOD));
    victim.goes_on();
}

/// Segments that belong to nothing are answered by resets, each by one, and leave nothing behind.
#[test]
fn a_flood_of_acknowledgements_to_a_listener_is_kept_nowhere() {
    let mut wire = Wire::new(Medium::Ip);
    let listener = wire.stack(B).tcp_open();
    wire.stack(B).tcp_bind(listener, any_addr(80)).unwrap();
    wire.stack(B).tcp_listen(listener, 5).unwrap();
    let before = wire.stack(B).usage();
    for at in 0..1_000_u16 {
        let mut header = TcpHeader::new(20_000 + at, 80, 7, 100);
        (header.ack, header.acknowledgment_number) = (true, u32::from(at) << 16);
        wire.inject(B, ip(PEER, US, header, b"data"));
        assert_eq!(wire.step(B), 1);
    }
    assert_eq!(counter(wire.stack(B), "TcpOutRsts"), 1_000);
    assert_eq!(wire.stack(B).usage(), before);
}

/// One byte in each hole of the window (SegmentSmack): neither memory nor work is the attacker's to choose.
#[test]
fn bytes_with_holes_between_them_are_kept_to_the_receive_buffer() {
    let mut victim = Victim::new();
    let start = victim.last.sequence_number;
    for at in 1..=FLOOD {
        let ahead = |header: &mut TcpHeader| {
            header.sequence_number = start.wrapping_add(2 * at);
            header.psh = true;
        };
        // What `transfer` sends there.
        victim.forge(ahead, &[(2 * at * 7 % 251) as u8]);
    }
    let server = victim.server;
    let info = victim.wire.stack(B).tcp_info(server).unwrap();
    let pruned = counter(victim.wire.stack(B), "TcpExtOfoPruned");
    let kept = u64::from(info.rcv_ooopack) - pruned;
    // A byte and 64 more for each.
    assert!(kept > 0 && kept <= 131_072 / 65, "{kept} are kept");
    // Each asks for an acknowledgement at once (RFC 5681, 4.2): the transmit queue of 1,000 packets fills, and
    // one more waits for room in it.
    assert_eq!(victim.answers(), 1_001);
    victim.goes_on();
}

/// Options without end: 40 bytes of padding, options that are all length, options twice.
#[test]
fn options_are_read_once_and_the_last_counts() {
    let mut wire = Wire::new(Medium::Ip);
    let listener = wire.stack(B).tcp_open();
    wire.stack(B).tcp_bind(listener, any_addr(80)).unwrap();
    wire.stack(B).tcp_listen(listener, 5).unwrap();
    let bombs: [&[u8]; 5] = [
        &[1; 40],
        &[8, 0, 8, 0],
        &[254, 40, 8, 10],
        &[2, 4, 0, 1, 2, 4, 0, 0, 3, 3, 255, 3, 3, 14],
        &[5, 34, 0, 0, 0, 0, 255, 255, 255, 255],
    ];
    for (at, bomb) in bombs.iter().enumerate() {
        let mut header = syn(30_000 + at as u16, &[]);
        header.set_options_raw(bomb).unwrap();
        wire.inject(B, ip(PEER, US, header, b""));
        assert_eq!(wire.step(B), 1, "{bomb:?}");
        let answer = tcp_header(wire.hosts[B].sent.last().unwrap());
        assert!(answer.syn && answer.ack, "{bomb:?}");
    }
    assert_eq!(counter(wire.stack(B), "TcpInOptionErrors"), 3);
}

/// A peer that asks for segments of one byte gets them of `tcp_min_snd_mss` (CVE-2019-11479).
#[test]
fn a_tiny_mss_does_not_multiply_segments() {
    let mut wire = Wire::new(Medium::Ip);
    let listener = wire.stack(B).tcp_open();
    wire.stack(B).tcp_bind(listener, any_addr(80)).unwrap();
    wire.stack(B).tcp_listen(listener, 5).unwrap();
    let mss = [TcpOptionElement::MaximumSegmentSize(1)];
    wire.inject(B, ip(PEER, US, syn(30_000, &mss), b""));
    wire.lose = |_| true;
    wire.step(B);
    let answer = tcp_header(wire.hosts[B].sent.last().unwrap());
    let mut ack = TcpHeader::new(30_000, 80, 2, 65_535);
    (ack.ack, ack.acknowledgment_number) = (true, answer.sequence_number.wrapping_add(1));
    wire.inject(B, ip(PEER, US, ack, b""));
    let (server, _) = wire.stack(B).tcp_accept(listener).unwrap();
    wire.hosts[B].sent.clear();
    wire.stack(B).tcp_send(server, &[0; 4_000], false).unwrap();
    wire.step(B);
    let sent = &wire.hosts[B].sent;
    // 48 bytes with 40 of options: 8 would be the least, and all of it is data here.
    assert!(sent.len() > 1);
    let least = 20 + 20 + 48 - 40;
    assert!(
        sent[..sent.len() - 1]
            .iter()
            .all(|packet| packet.len() > least)
    );
    assert!(sent.len() <= 10, "{} in the first window", sent.len());
}

/// First fragments only, each of another datagram.
#[test]
fn fragments_without_a_rest_are_bounded_and_expire() {
    let mut wire = Wire::new(Medium::Ip);
    let mut most = 0;
    for id in 0..FLOOD {
        let mut header = etherparse::Ipv4Header::new(1_400, 64, 17.into(), PEER, US).unwrap();
        // 65,536 identifications of two protocols.
        header.identification = id as u16;
        header.more_fragments = true;
        header.header_checksum = header.calc_header_checksum();
        let packet = [&header.to_bytes()[..], &[0; 1_400]].concat();
        wire.inject(B, packet);
        most = most.max(wire.stack(B).usage().fragment_bytes);
    }
    // ipfrag_high_thresh of Linux.
    assert!(most <= 4 << 20, "{most} bytes");
    assert!(counter(wire.stack(B), "IpReasmFails") > 0);
    while wire.tick() {}
    assert_eq!(wire.stack(B).usage().fragment_bytes, 0);
}
