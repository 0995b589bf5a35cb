//! One malformed packet for each reason to drop: its counter moves, no other does, and nothing is
//! answered.

use std::collections::BTreeMap;

use super::*;
use crate::wire::checksum::{Checksum, checksum};

const OURS: [u8; 4] = [10, 0, 0, 1];
const PEER: [u8; 4] = [10, 0, 0, 2];
const OUR_MAC: [u8; 6] = [2, 0, 0, 0, 0, 1];
const PEER_MAC: [u8; 6] = [2, 0, 0, 0, 0, 2];
const TCP: u8 = 6;
const UDP: u8 = 17;
const ICMP: u8 = 1;
/// A listener and a UDP socket are here, so that a packet that gets through is seen.
const PORT: u16 = 7;

/// Counters that say how much came, not what was wrong with it.
const VOLUME: [&str; 7] = [
    "IpInReceives",
    "IpExtInOctets",
    "IpInDelivers",
    "IpReasmReqds",
    "IcmpInMsgs",
    "TcpInSegs",
    "ArpIn",
];

/// A host under test, and what its counters said.
struct Target {
    wire: Wire,
    before: BTreeMap<&'static str, u64>,
}

impl Target {
    fn new(medium: Medium) -> Self {
        let mut wire = Wire::new(medium);
        wire.bind(A, PORT);
        let stack = wire.stack(A);
        let listener = stack.tcp_open();
        stack.tcp_bind(listener, any_addr(PORT)).unwrap();
        stack.tcp_listen(listener, 5).unwrap();
        let before = counters(&wire);
        Self { wire, before }
    }

    /// What has moved since, volume left out.
    fn moved(&self) -> BTreeMap<&'static str, u64> {
        counters(&self.wire)
            .into_iter()
            .filter(|(name, _)| !VOLUME.contains(name))
            .map(|(name, value)| (name, value - self.before[name]))
            .filter(|(_, by)| *by > 0)
            .collect()
    }

    fn check(mut self, what: &str, packets: Vec<Vec<u8>>, expected: &[(&'static str, u64)]) {
        for packet in packets {
            self.wire.inject(A, packet);
        }
        self.wire.step(A);
        let expected: BTreeMap<&str, u64> = expected.iter().copied().collect();
        assert_eq!(self.moved(), expected, "{what}");
        let sent = &self.wire.hosts[A].sent;
        assert!(sent.is_empty(), "{what} is answered: {sent:x?}");
        let usage = self.wire.stack(A).usage();
        assert_eq!((usage.half_open, usage.tcp_sockets), (0, 1), "{what}");
    }
}

fn counters(wire: &Wire) -> BTreeMap<&'static str, u64> {
    let stats = wire.hosts[A].stack.stats();
    let all = stats.net.iter().chain(stats.tcp.iter());
    all.chain(stats.udp.iter()).collect()
}

/// On the IP medium: `packet` moves exactly `counters`, by one each.
fn drops(what: &str, packet: Vec<u8>, counters: &[&'static str]) {
    let expected: Vec<_> = counters.iter().map(|name| (*name, 1)).collect();
    Target::new(Medium::Ip).check(what, vec![packet], &expected);
}

/// The same for a frame.
fn drops_frame(what: &str, frame: Vec<u8>, counters: &[&'static str]) {
    let expected: Vec<_> = counters.iter().map(|name| (*name, 1)).collect();
    Target::new(Medium::Ethernet).check(what, vec![frame], &expected);
}

fn ip_with(
    src: [u8; 4],
    dst: [u8; 4],
    proto: u8,
    payload: &[u8],
    change: impl FnOnce(&mut [u8]),
) -> Vec<u8> {
    let header =
        etherparse::Ipv4Header::new(payload.len() as u16, 64, proto.into(), src, dst).unwrap();
    let mut packet = header.to_bytes().to_vec();
    packet.extend_from_slice(payload);
    change(&mut packet);
    let header_len = usize::from(packet[0] & 15) * 4;
    packet[10..12].fill(0);
    if let Some(header) = packet.get(..header_len) {
        let sum = checksum(header);
        packet[10..12].copy_from_slice(&sum.to_be_bytes());
    }
    packet
}

fn ip(proto: u8, payload: &[u8]) -> Vec<u8> {
    ip_with(PEER, OURS, proto, payload, |_| ())
}

/// A transport's bytes with the checksum at `at` made right.
fn summed(src: [u8; 4], dst: [u8; 4], proto: u8, mut bytes: Vec<u8>, at: usize) -> Vec<u8> {
    bytes[at..at + 2].fill(0);
    let mut sum = match proto {
        ICMP => Checksum::new(),
        _ => Checksum::pseudo(src.into(), dst.into(), proto, bytes.len() as u32),
    };
    sum.add_bytes(&bytes);
    let sum = !sum.partial();
    bytes[at..at + 2].copy_from_slice(&sum.to_be_bytes());
    bytes
}

/// A SYN to the listener, `options` as they are.
fn syn_bytes(options: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0; 20];
    bytes[..2].copy_from_slice(&999_u16.to_be_bytes());
    bytes[2..4].copy_from_slice(&PORT.to_be_bytes());
    bytes[12] = ((20 + options.len()) / 4 * 16) as u8;
    bytes[13] = 2;
    bytes[14..16].copy_from_slice(&1000_u16.to_be_bytes());
    bytes.extend_from_slice(options);
    bytes
}

fn syn(src: [u8; 4], dst: [u8; 4]) -> Vec<u8> {
    let bytes = summed(src, dst, TCP, syn_bytes(&[]), 16);
    ip_with(src, dst, TCP, &bytes, |_| ())
}

fn udp_bytes(data: &[u8], len: u16) -> Vec<u8> {
    let mut bytes = vec![0; 8];
    bytes[..2].copy_from_slice(&999_u16.to_be_bytes());
    bytes[2..4].copy_from_slice(&PORT.to_be_bytes());
    bytes[4..6].copy_from_slice(&len.to_be_bytes());
    bytes.extend_from_slice(data);
    bytes
}

fn icmp(kind: u8, code: u8, rest: &[u8]) -> Vec<u8> {
    let bytes = [&[kind, code, 0, 0, 0, 0, 0, 0], rest].concat();
    ip(ICMP, &summed(PEER, OURS, ICMP, bytes, 2))
}

fn frame(dst: [u8; 6], kind: u16, payload: &[u8]) -> Vec<u8> {
    [&dst[..], &PEER_MAC, &kind.to_be_bytes(), payload].concat()
}

/// An ARP request for our address.
fn arp(change: impl FnOnce(&mut [u8])) -> Vec<u8> {
    let mut bytes = [
        &[0, 1, 8, 0, 6, 4, 0, 1][..],
        &PEER_MAC,
        &PEER,
        &[0; 6],
        &OURS,
    ]
    .concat();
    change(&mut bytes);
    frame([255; 6], 0x0806, &bytes)
}

/// Without this the rest would prove nothing: what is right does get through.
#[test]
fn what_is_right_is_answered() {
    let udp = summed(PEER, OURS, UDP, udp_bytes(b"data", 12), 6);
    let right = [
        syn(PEER, OURS),
        ip(UDP, &udp),
        icmp(8, 0, b"echo"),
        // An option of impossible length ends the list, and the segment counts.
        ip(TCP, &summed(PEER, OURS, TCP, syn_bytes(&[2, 9, 1, 1]), 16)),
    ];
    for packet in right {
        let mut target = Target::new(Medium::Ip);
        target.wire.inject(A, packet.clone());
        target.wire.step(A);
        let stats = target.wire.stack(A).stats();
        let answered = !target.wire.hosts[A].sent.is_empty();
        assert!(answered || stats.udp.v4.in_datagrams == 1, "{packet:x?}");
    }
    let mut target = Target::new(Medium::Ethernet);
    target.wire.inject(A, arp(|_| ()));
    target.wire.step(A);
    assert_eq!(target.wire.hosts[A].sent.len(), 1, "an ARP reply");
}

#[test]
fn frames() {
    drops_frame("13 bytes", vec![2; 13], &["LinkInTruncated"]);
    drops_frame("nothing", vec![], &["LinkInTruncated"]);
    let packet = syn(PEER, OURS);
    let other = frame([2, 0, 0, 0, 0, 9], 0x0800, &packet);
    drops_frame("another station's", other, &["LinkInOtherHost"]);
    let other = frame(OUR_MAC, 0x88cc, &packet);
    drops_frame("another type", other, &["LinkInUnknownType"]);
    let length = frame(OUR_MAC, 60, &packet);
    drops_frame("a length field", length, &["LinkInUnknownType"]);
    let tagged = frame(OUR_MAC, 0x8100, &[&[0, 5, 8, 0], &packet[..]].concat());
    drops_frame("another VLAN", tagged, &["LinkInUnknownType"]);
    let broadcast = frame([255; 6], 0x0800, &packet);
    drops_frame("unicast in a broadcast", broadcast, &["IpInLinkGroup"]);
    let empty = frame(OUR_MAC, 0x0800, &[]);
    drops_frame("an empty packet", empty, &["IpExtInTruncatedPkts"]);
}

#[test]
fn arp_nonsense() {
    drops_frame("short", arp(|_| ())[..41].to_vec(), &["ArpInErrors"]);
    let cases: [(&str, usize, &[u8]); 6] = [
        ("other hardware", 0, &[0, 6]),
        ("other protocol", 2, &[0x86, 0xdd]),
        ("hardware length", 4, &[8]),
        ("protocol length", 5, &[16]),
        ("operation", 6, &[0, 9]),
        ("a group as sender", 8, &[255; 6]),
    ];
    for (what, at, value) in cases {
        let frame = arp(|bytes| bytes[at..at + value.len()].copy_from_slice(value));
        drops_frame(what, frame, &["ArpInErrors"]);
    }
    let ours = arp(|bytes| bytes[8..14].copy_from_slice(&OUR_MAC));
    drops_frame("our own station", ours, &["ArpInErrors"]);
    for sender in [
        OURS,
        [127, 0, 0, 1],
        [224, 0, 0, 1],
        [255; 4],
        [10, 0, 0, 255],
    ] {
        let frame = arp(|bytes| bytes[14..18].copy_from_slice(&sender));
        drops_frame("a sender that cannot be", frame, &["ArpInBadSender"]);
    }
}

#[test]
fn ip_headers() {
    let good = syn(PEER, OURS);
    let changed = |at: usize, value: u8| {
        let bytes = summed(PEER, OURS, TCP, syn_bytes(&[]), 16);
        ip_with(PEER, OURS, TCP, &bytes, |packet| packet[at] = value)
    };
    for len in [0, 1, 19] {
        drops("short", good[..len].to_vec(), &["IpExtInTruncatedPkts"]);
    }
    drops("cut off", good[..39].to_vec(), &["IpExtInTruncatedPkts"]);
    drops("version 7", changed(0, 0x75), &["IpInHdrErrors"]);
    drops("version 0", changed(0, 0x05), &["IpInHdrErrors"]);
    drops("a header of 16", changed(0, 0x44), &["IpInHdrErrors"]);
    drops(
        "a header of 60",
        changed(0, 0x4f),
        &["IpExtInTruncatedPkts"],
    );
    drops("total below header", changed(3, 19), &["IpInHdrErrors"]);
    drops("total past end", changed(2, 1), &["IpExtInTruncatedPkts"]);
    let mut bad = good;
    bad[8] ^= 1;
    drops("checksum", bad, &["IpExtInCsumErrors"]);
    drops(
        "a protocol of nobody",
        {
            // Answered by ICMP if it came from a single host: from a broadcast address it is not even that.
            ip_with([10, 0, 0, 255], OURS, 200, b"data", |_| ())
        },
        &["IpInMartianSource"],
    );
}

#[test]
fn ip_options() {
    let with = |options: [u8; 4]| {
        let bytes = summed(PEER, OURS, TCP, syn_bytes(&[]), 16);
        let mut packet = ip(TCP, &bytes);
        packet.splice(20..20, options);
        packet[0] = 0x46;
        packet[3] += 4;
        packet[10..12].fill(0);
        let sum = checksum(&packet[..24]);
        packet[10..12].copy_from_slice(&sum.to_be_bytes());
        packet
    };
    drops(
        "loose source route",
        with([131, 3, 4, 0]),
        &["IpInSourceRoute"],
    );
    drops(
        "strict source route",
        with([137, 3, 4, 0]),
        &["IpInSourceRoute"],
    );
    drops(
        "longer than its list",
        with([7, 9, 4, 0]),
        &["IpInOptionErrors"],
    );
    drops("length 0", with([7, 0, 4, 0]), &["IpInOptionErrors"]);
    drops("length 1", with([7, 1, 4, 0]), &["IpInOptionErrors"]);
    drops("no length", with([1, 1, 1, 7]), &["IpInOptionErrors"]);
}

#[test]
fn addresses() {
    let martian = &["IpInMartianSource"];
    drops("land: our own address", syn(OURS, OURS), martian);
    drops("land by loopback", syn([127, 0, 0, 1], OURS), martian);
    drops("to loopback", syn(PEER, [127, 0, 0, 1]), martian);
    drops("multicast source", syn([224, 0, 0, 1], OURS), martian);
    drops("broadcast source", syn([255; 4], OURS), martian);
    drops(
        "the subnet's broadcast",
        syn([10, 0, 0, 255], OURS),
        martian,
    );
    drops("class E source", syn([240, 0, 0, 1], OURS), martian);
    drops("no source", syn([0; 4], OURS), martian);
    drops("0/8", syn([0, 1, 2, 3], OURS), martian);
    drops("not for us", syn(PEER, [10, 0, 0, 9]), &["IpInAddrErrors"]);
    let multicast = syn(PEER, [239, 1, 2, 3]);
    drops("a foreign group", multicast, &["IpInAddrErrors"]);
    for group in [[255; 4], [10, 0, 0, 255], [224, 0, 0, 1]] {
        drops("TCP to a group", syn(PEER, group), &["TcpInNotUnicast"]);
    }
}

#[test]
fn tcp() {
    let good = summed(PEER, OURS, TCP, syn_bytes(&[]), 16);
    let short = &["TcpInErrs", "TcpInTruncated"];
    drops("nothing", ip(TCP, &[]), short);
    drops("19 bytes", ip(TCP, &good[..19]), short);
    let offset = |value: u8| {
        let mut bytes = syn_bytes(&[]);
        bytes[12] = value << 4;
        ip(TCP, &summed(PEER, OURS, TCP, bytes, 16))
    };
    let header = &["TcpInErrs", "TcpInHdrErrors"];
    for value in [0, 4, 6, 15] {
        drops("data offset", offset(value), header);
    }
    let mut bad = good.clone();
    bad[16] ^= 1;
    drops("checksum", ip(TCP, &bad), &["TcpInErrs", "TcpInCsumErrors"]);
    // One of another pair of hosts: the pseudo header is part of it.
    let foreign = summed([10, 0, 0, 3], OURS, TCP, syn_bytes(&[]), 16);
    drops(
        "pseudo header",
        ip(TCP, &foreign),
        &["TcpInErrs", "TcpInCsumErrors"],
    );
    for flags in [0, 0x03, 0x04, 0x06, 0x29] {
        let mut bytes = syn_bytes(&[]);
        bytes[13] = flags;
        // Null, SYN-FIN, RST, SYN-RST and Xmas segments mean nothing to a listener.
        drops("flags", ip(TCP, &summed(PEER, OURS, TCP, bytes, 16)), &[]);
    }
}

#[test]
fn udp() {
    let good = summed(PEER, OURS, UDP, udp_bytes(b"data", 12), 6);
    let header = &["UdpInErrors", "UdpInHdrErrors"];
    drops("nothing", ip(UDP, &[]), header);
    drops("7 bytes", ip(UDP, &good[..7]), header);
    drops("length below 8", ip(UDP, &udp_bytes(b"data", 7)), header);
    drops("length past end", ip(UDP, &udp_bytes(b"data", 13)), header);
    let mut bad = good;
    bad[9] ^= 1;
    drops(
        "checksum",
        ip(UDP, &bad),
        &["UdpInErrors", "UdpInCsumErrors"],
    );
}

#[test]
fn icmp_messages() {
    drops("7 bytes", ip(ICMP, &[8; 7]), &["IcmpInErrors"]);
    let mut bad = icmp(8, 0, b"echo");
    bad[22] ^= 1;
    drops("checksum", bad, &["IcmpInErrors", "IcmpInCsumErrors"]);
    let quote = ["IcmpInDestUnreachs", "IcmpInErrors", "IcmpInQuoteErrors"];
    drops("no quote", icmp(3, 3, &[]), &quote);
    drops("19 bytes", icmp(3, 3, &[0x45; 19]), &quote);
    drops("zeros", icmp(3, 3, &[0; 40]), &quote);
    let ours = ip_with(OURS, PEER, UDP, &udp_bytes(b"", 8), |_| ());
    drops("half a UDP header", icmp(3, 3, &ours[..24]), &quote);
    let mut version = ours.clone();
    version[0] = 0x65;
    drops("a quote of IPv6", icmp(3, 3, &version), &quote);
    let foreign = ["IcmpInDestUnreachs", "IcmpInForeignQuotes"];
    drops("never sent", icmp(3, 3, &ours), &foreign);
    let theirs = ip_with(PEER, OURS, UDP, &udp_bytes(b"", 8), |_| ());
    drops("not from us", icmp(3, 3, &theirs), &foreign);
    let segment = ip_with(OURS, PEER, TCP, &syn_bytes(&[]), |_| ());
    drops("a segment of no connection", icmp(3, 4, &segment), &foreign);
    let exceeded = ["IcmpInTimeExcds", "IcmpInForeignQuotes"];
    drops("time exceeded", icmp(11, 0, &ours), &exceeded);
    drops(
        "a parameter problem",
        icmp(12, 0, &ours),
        &["IcmpInParmProbs", "IcmpInForeignQuotes"],
    );
    // Types that mean nothing to us are not answered (RFC 1122, 3.2.2).
    drops("an unknown type", icmp(77, 0, b"data"), &[]);
    drops("a redirect", icmp(5, 1, &ours), &[]);
}

/// A fragment of a UDP datagram.
fn fragment(id: u8, offset: usize, more: bool, data: &[u8]) -> Vec<u8> {
    ip_with(PEER, OURS, UDP, data, |packet| {
        packet[5] = id;
        let field = (offset / 8) as u16 | u16::from(more) << 13;
        packet[6..8].copy_from_slice(&field.to_be_bytes());
    })
}

#[test]
fn fragments() {
    let check =
        |what, packets, expected: &[_]| Target::new(Medium::Ip).check(what, packets, expected);
    let overlap = [("IpReasmFails", 1), ("IpExtReasmOverlaps", 1)];
    let teardrop = vec![
        fragment(1, 0, true, &[0; 40]),
        fragment(1, 24, false, &[0; 4]),
    ];
    check("teardrop", teardrop, &overlap);
    let rewritten = vec![
        fragment(1, 0, true, &[0; 16]),
        fragment(1, 0, true, &[1; 16]),
    ];
    check("a second version", rewritten, &overlap);
    let two_ends = vec![
        fragment(1, 16, false, &[0; 8]),
        fragment(1, 32, false, &[0; 8]),
    ];
    check("two ends", two_ends, &overlap);
    let refused = [("IpReasmFails", 1)];
    check(
        "not a multiple of 8",
        vec![fragment(1, 0, true, &[0; 9])],
        &refused,
    );
    check("empty", vec![fragment(1, 8, true, &[])], &refused);
    let ping_of_death = vec![fragment(1, 65_528, false, &[0; 100])];
    check("past 64 KiB", ping_of_death, &refused);
    // Nothing is wrong with these but that the rest never comes.
    let mut target = Target::new(Medium::Ip);
    for id in 0..10 {
        target.wire.inject(A, fragment(id, 8, true, &[0; 8]));
    }
    while target.wire.tick() {}
    let lost = [("IpReasmFails", 10), ("IpReasmTimeout", 10)];
    target.check("never whole", vec![], &lost);
}

/// What the kernel says of a super-packet can be wrong too: the pieces only count differently.
#[test]
fn odd_segment_sizes() {
    for (gro_size, proto) in [1, 3, 9, 1000, u16::MAX]
        .into_iter()
        .flat_map(|size| [(size, TCP), (size, UDP), (size, ICMP)])
    {
        let bytes = match proto {
            TCP => summed(PEER, OURS, TCP, [syn_bytes(&[]), vec![7; 100]].concat(), 16),
            UDP => summed(PEER, OURS, UDP, udp_bytes(&[7; 100], 108), 6),
            _ => vec![77; 100],
        };
        let mut target = Target::new(Medium::Ip);
        let mut packet = RxPacket::new(ip(proto, &bytes), target.wire.now);
        packet.gro_size = gro_size;
        packet.checksum = RxChecksum::Valid;
        let mut batch = RxBatch::new();
        batch.push(packet);
        let (now, iface) = (target.wire.now, target.wire.hosts[A].iface);
        target.wire.hosts[A].stack.receive(now, iface, &mut batch);
        let udp = target.wire.stack(A).stats().udp.v4.in_datagrams;
        let pieces = 100_u64.div_ceil(u64::from(gro_size));
        assert_eq!(udp, if proto == UDP { pieces } else { 0 }, "{gro_size}");
    }
}
