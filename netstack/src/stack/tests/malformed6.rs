//! As `malformed`, for IPv6: one packet for each reason to drop, and exactly its counters move. What is
//! answered all the same, as the RFCs demand, says so.

use std::collections::BTreeMap;
use std::net::Ipv6Addr;

use super::*;
use crate::wire::checksum::Checksum;
use crate::wire::icmpv6::Icmpv6Repr;
use crate::wire::ipv6::Ipv6Repr;
use crate::wire::ipv6_ext::FragmentRepr;
use crate::wire::ndp;

const OURS: Ipv6Addr = Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, 1);
const PEER: Ipv6Addr = Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, 2);
const OUR_MAC: [u8; 6] = [2, 0, 0, 0, 0, 1];
const PEER_MAC: [u8; 6] = [2, 0, 0, 0, 0, 2];
const ICMP: u8 = 58;
const UDP: u8 = 17;
const PORT: u16 = 7;

/// Counters that say how much came or went, not what was wrong with it.
const VOLUME: [&str; 8] = [
    "Ip6InReceives",
    "Ip6InOctets",
    "Ip6InDelivers",
    "Ip6ReasmReqds",
    "Icmp6InMsgs",
    "TcpInSegs",
    "Ip6OutRequests",
    "Icmp6OutMsgs",
];

struct Target {
    wire: Wire,
    before: BTreeMap<&'static str, u64>,
}

impl Target {
    fn new(medium: Medium) -> Self {
        let mut wire = Wire::new_v6(medium);
        let stack = wire.stack(A);
        let id = stack.udp_open(Family::V6);
        stack
            .udp_bind(id, SocketAddr::from((Ipv6Addr::UNSPECIFIED, PORT)))
            .unwrap();
        let before = counters(&wire);
        Self { wire, before }
    }

    fn moved(&self) -> BTreeMap<&'static str, u64> {
        counters(&self.wire)
            .into_iter()
            .filter(|(name, _)| !VOLUME.contains(name))
            .map(|(name, value)| (name, value - self.before[name]))
            .filter(|(_, by)| *by > 0)
            .collect()
    }

    fn check(mut self, what: &str, packets: Vec<Vec<u8>>, names: &[&'static str], answers: usize) {
        for packet in packets {
            self.wire.inject(A, packet);
        }
        self.wire.step(A);
        let expected: BTreeMap<&str, u64> = names.iter().map(|name| (*name, 1)).collect();
        assert_eq!(self.moved(), expected, "{what}");
        let sent = &self.wire.hosts[A].sent;
        assert_eq!(sent.len(), answers, "{what}: {sent:x?}");
    }
}

fn counters(wire: &Wire) -> BTreeMap<&'static str, u64> {
    let stats = wire.hosts[A].stack.stats();
    let all = stats.net.iter().chain(stats.tcp.iter());
    all.chain(stats.udp.iter()).collect()
}

/// Dropped without a word.
fn drops(what: &str, packet: Vec<u8>, names: &[&'static str]) {
    Target::new(Medium::Ip).check(what, vec![packet], names, 0);
}

/// Dropped, and the sender is told with a parameter problem of this code at this offset.
fn problem(what: &str, packet: Vec<u8>, names: &[&'static str], code: u8, pointer: u32) {
    let mut target = Target::new(Medium::Ip);
    target.wire.inject(A, packet);
    target.wire.step(A);
    let mut names: Vec<&str> = names.to_vec();
    names.push("Icmp6OutParmProblems");
    let expected: BTreeMap<&str, u64> = names.iter().map(|name| (*name, 1)).collect();
    assert_eq!(target.moved(), expected, "{what}");
    let sent = &target.wire.hosts[A].sent[0];
    let repr = Icmpv6Repr::parse(&sent[40..]).unwrap();
    let told = Icmpv6Repr::ParameterProblem { code, pointer };
    assert_eq!(repr, told, "{what}");
}

fn ip(src: Ipv6Addr, dst: Ipv6Addr, next_header: u8, hop_limit: u8, payload: &[u8]) -> Vec<u8> {
    let repr = Ipv6Repr {
        src,
        dst,
        next_header,
        traffic_class: 0,
        flow_label: 0,
        hop_limit,
        payload_len: payload.len() as u16,
    };
    let mut packet = vec![0; 40];
    repr.emit(&mut packet);
    packet.extend_from_slice(payload);
    packet
}

fn from_peer(next_header: u8, payload: &[u8]) -> Vec<u8> {
    ip(PEER, OURS, next_header, 64, payload)
}

fn summed(src: Ipv6Addr, dst: Ipv6Addr, proto: u8, mut bytes: Vec<u8>, at: usize) -> Vec<u8> {
    bytes[at..at + 2].fill(0);
    let mut sum = Checksum::pseudo(src.into(), dst.into(), proto, bytes.len() as u32);
    sum.add_bytes(&bytes);
    let sum = sum.finish();
    bytes[at..at + 2].copy_from_slice(&sum.to_be_bytes());
    bytes
}

/// A packet with an ICMPv6 message whose checksum is made right.
pub(super) fn icmp6(src: Ipv6Addr, dst: Ipv6Addr, hop_limit: u8, message: Vec<u8>) -> Vec<u8> {
    let message = summed(src, dst, ICMP, message, 2);
    ip(src, dst, ICMP, hop_limit, &message)
}

fn udp(data: &[u8]) -> Vec<u8> {
    let mut bytes = vec![3, 231, 0, PORT as u8, 0, 8 + data.len() as u8, 0, 0];
    bytes.extend_from_slice(data);
    summed(PEER, OURS, UDP, bytes, 6)
}

pub(super) fn frame(dst: [u8; 6], packet: &[u8]) -> Vec<u8> {
    [&dst[..], &PEER_MAC, &[0x86, 0xdd], packet].concat()
}

fn fragment(offset: u16, more: bool, payload: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0; 8];
    let repr = FragmentRepr {
        next_header: UDP,
        offset,
        more,
        id: 7,
    };
    repr.emit(&mut bytes);
    bytes.extend_from_slice(payload);
    from_peer(44, &bytes)
}

/// Without this the rest would prove nothing.
#[test]
fn what_is_right_gets_through() {
    let destination = [&[UDP, 0, 1, 4, 0, 0, 0, 0][..], &udp(b"data")].concat();
    // RFC 6946: a fragment of one.
    let atomic = fragment(0, false, &udp(b"data"));
    let right = [
        from_peer(UDP, &udp(b"data")),
        from_peer(60, &destination),
        from_peer(0, &destination),
        atomic,
    ];
    for packet in right {
        let mut target = Target::new(Medium::Ip);
        target.wire.inject(A, packet.clone());
        let delivered = target.wire.stack(A).stats().udp.v6.in_datagrams;
        assert_eq!(delivered, 1, "{packet:x?}");
    }
    let mut target = Target::new(Medium::Ip);
    let whole = udp(&[9; 100]);
    target.wire.inject(A, fragment(64, false, &whole[64..]));
    target.wire.inject(A, fragment(0, true, &whole[..64]));
    assert_eq!(target.wire.stack(A).stats().udp.v6.in_datagrams, 1);
    assert_eq!(target.wire.stack(A).usage().fragment_bytes, 0);
}

#[test]
fn headers() {
    let good = from_peer(UDP, &udp(b"data"));
    for len in [1, 39, 51] {
        drops("short", good[..len].to_vec(), &["Ip6InTruncatedPkts"]);
    }
    let version = frame(OUR_MAC, &[&[0x45], &good[1..]].concat());
    let names = ["Ip6InHdrErrors"];
    Target::new(Medium::Ethernet).check("version 4", vec![version], &names, 0);
    let (any, mapped) = (Ipv6Addr::UNSPECIFIED, "::ffff:10.0.0.2".parse().unwrap());
    let group = "ff02::1".parse().unwrap();
    for src in [group, Ipv6Addr::LOCALHOST, OURS, any, mapped] {
        let packet = ip(src, OURS, UDP, 64, &udp(b"data"));
        drops("a source that cannot be", packet, &["Ip6InMartianSource"]);
    }
    for dst in [
        "fd00::9",
        "ff02::9",
        "ff02::1:ff00:9",
        "::",
        "::ffff:10.0.0.1",
    ] {
        let packet = ip(PEER, dst.parse().unwrap(), UDP, 64, &udp(b"data"));
        drops("not for us", packet, &["Ip6InAddrErrors"]);
    }
    let loopback = ip(PEER, Ipv6Addr::LOCALHOST, UDP, 64, &udp(b"data"));
    drops("loopback on a wire", loopback, &["Ip6InMartianSource"]);
    let broadcast = frame([0x33, 0x33, 0, 0, 0, 1], &good);
    let names = ["Ip6InLinkGroup"];
    Target::new(Medium::Ethernet).check("unicast to all", vec![broadcast], &names, 0);
    let nobody = from_peer(200, &[0; 8]);
    problem(
        "a protocol of nobody",
        nobody,
        &["Ip6InUnknownProtos"],
        1,
        6,
    );
    drops("nothing follows", from_peer(59, &[]), &[]);
}

#[test]
fn extension_headers() {
    let ext = |kind: u8, bytes: &[u8]| from_peer(kind, &[bytes, &udp(b"data")].concat());
    let options = ["Ip6InOptionErrors"];
    let routing = ["Ip6InRoutingHeaders"];
    problem(
        "type 0",
        ext(43, &[UDP, 0, 0, 0, 0, 0, 0, 0]),
        &routing,
        0,
        42,
    );
    problem(
        "segments left",
        ext(43, &[UDP, 0, 4, 1, 0, 0, 0, 0]),
        &routing,
        0,
        42,
    );
    let late = ext(60, &[0, 0, 1, 4, 0, 0, 0, 0]);
    problem("hop-by-hop later", late, &["Ip6InUnknownProtos"], 1, 40);
    problem(
        "an unknown option",
        ext(60, &[UDP, 0, 0x9e, 4, 0, 0, 0, 0]),
        &options,
        2,
        42,
    );
    problem(
        "a jumbogram",
        ext(0, &[UDP, 0, 0xc2, 4, 0, 1, 0, 0]),
        &options,
        2,
        42,
    );
    drops(
        "a silent option",
        ext(60, &[UDP, 0, 0x5e, 4, 0, 0, 0, 0]),
        &options,
    );
    drops(
        "an option past the end",
        ext(60, &[UDP, 0, 5, 9, 0, 0, 0, 0]),
        &options,
    );
    drops(
        "too much padding",
        ext(60, &[UDP, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]),
        &options,
    );
    let many = [60, 0, 1, 4, 0, 0, 0, 0].repeat(40);
    drops("too many headers", ext(60, &many), &options);
    drops(
        "past the end",
        from_peer(60, &[UDP, 9, 1, 4, 0, 0, 0, 0]),
        &["Ip6InTruncatedPkts"],
    );
    drops(
        "cut off",
        from_peer(44, &[UDP, 0, 0]),
        &["Ip6InTruncatedPkts"],
    );
    let twice = [
        &[44, 0, 0, 0, 0, 0, 0, 1][..],
        &[UDP, 0, 0, 0, 0, 0, 0, 1],
        &udp(b"data"),
    ]
    .concat();
    drops(
        "a fragment header in a fragment",
        from_peer(44, &twice),
        &["Ip6InHdrErrors"],
    );
}

#[test]
fn fragments() {
    let fails = ["Ip6ReasmFails", "Ip6InHdrErrors"];
    let whole = udp(&[9; 100]);
    problem(
        "an odd length",
        fragment(0, true, &whole[..63]),
        &fails,
        0,
        4,
    );
    problem(
        "past 64 KiB",
        fragment(65_528, false, &[0; 16]),
        &fails,
        0,
        42,
    );
    problem("no transport header", fragment(0, true, &[]), &fails, 3, 0);
    let check = |what: &str, packets: Vec<Vec<u8>>, names: &[&'static str]| {
        Target::new(Medium::Ip).check(what, packets, names, 0);
    };
    check(
        "an empty one",
        vec![fragment(8, true, &[])],
        &["Ip6ReasmFails"],
    );
    let overlap = ["Ip6ReasmFails", "Ip6ReasmOverlaps"];
    let first = fragment(0, true, &whole[..64]);
    let second = fragment(56, false, &whole[56..]);
    check("an overlap", vec![first, second], &overlap);
    // Time that ends is told to who sent the first fragment.
    let mut target = Target::new(Medium::Ip);
    target.wire.inject(A, fragment(0, true, &whole[..64]));
    target.wire.tick();
    let names = ["Ip6ReasmFails", "Ip6ReasmTimeout", "Icmp6OutTimeExcds"];
    let expected: BTreeMap<&str, u64> = names.iter().map(|name| (*name, 1)).collect();
    assert_eq!(target.moved(), expected);
    let sent = &target.wire.hosts[A].sent[0];
    assert_eq!((sent[40], sent[41]), (3, 1));
    assert_eq!(sent[48..], fragment(0, true, &whole[..64])[..]);
}

#[test]
fn transports() {
    let mut bad = udp(b"data");
    bad[6] ^= 1;
    drops(
        "a checksum",
        from_peer(UDP, &bad),
        &["Udp6InErrors", "Udp6InCsumErrors"],
    );
    bad[6..8].fill(0);
    drops(
        "no checksum",
        from_peer(UDP, &bad),
        &["Udp6InErrors", "Udp6InCsumErrors"],
    );
    drops(
        "short",
        from_peer(UDP, &bad[..7]),
        &["Udp6InErrors", "Udp6InHdrErrors"],
    );
    let mut segment = vec![0; 20];
    segment[12] = 0x50;
    drops(
        "TCP",
        from_peer(6, &segment),
        &["TcpInErrs", "TcpInCsumErrors"],
    );
}

#[test]
fn icmp_messages() {
    let errors = ["Icmp6InErrors"];
    drops("short", from_peer(ICMP, &[128, 0, 0, 0, 0, 0, 0]), &errors);
    let sums = ["Icmp6InErrors", "Icmp6InCsumErrors"];
    drops(
        "a checksum",
        from_peer(ICMP, &[128, 0, 1, 1, 0, 0, 0, 0]),
        &sums,
    );
    let said = |kind: u8, code: u8, rest: &[u8]| {
        icmp6(
            PEER,
            OURS,
            64,
            [&[kind, code, 0, 0, 0, 0, 5, 0], rest].concat(),
        )
    };
    let quote = ["Icmp6InErrors", "Icmp6InQuoteErrors"];
    for (kind, name) in [
        (1, "Icmp6InDestUnreachs"),
        (2, "Icmp6InPktTooBigs"),
        (3, "Icmp6InTimeExcds"),
        (4, "Icmp6InParmProblems"),
    ] {
        let names = [&[name][..], &quote].concat();
        drops("no quote", said(kind, 0, b""), &names);
        let v4 = etherparse::PacketBuilder::ipv4([10, 0, 0, 1], [10, 0, 0, 2], 64);
        let mut packet = Vec::new();
        v4.udp(1, 2).write(&mut packet, b"").unwrap();
        drops("a quote of IPv4", said(kind, 0, &packet), &names);
        let ours = ip(OURS, PEER, UDP, 64, &[0, 9, 0, 9, 0, 8, 0, 0]);
        let names = [name, "Icmp6InForeignQuotes"];
        drops("not of a socket", said(kind, 0, &ours), &names);
    }
    drops("an unknown error", said(99, 0, b""), &[]);
    drops("an unknown message", said(200, 0, b""), &[]);
    // An error is not answered, whatever is wrong with it.
    let error = summed(PEER, OURS, ICMP, vec![1, 0, 0, 0, 0, 0, 0, 0], 2);
    let packet = from_peer(60, &[&[ICMP, 0, 0x9e, 4, 0, 0, 0, 0][..], &error].concat());
    drops("an option before an error", packet, &["Ip6InOptionErrors"]);
}

/// As [`drops`], in a frame.
fn drops_frame(what: &str, packet: Vec<u8>, names: &[&'static str]) {
    let frame = frame(OUR_MAC, &packet);
    Target::new(Medium::Ethernet).check(what, vec![frame], names, 0);
}

#[test]
fn neighbor_solicitations() {
    let group = crate::wire::ipv6::solicited_node(OURS);
    let mac = Some(MacAddr(PEER_MAC));
    let solicit = |src, dst, hops, target, mac: Option<MacAddr>| {
        icmp6(src, dst, hops, ndp::neighbor_solicit(target, mac).to_vec())
    };
    let (ns, bad) = ("Icmp6InNeighborSolicits", "NdInBadAddress");
    drops_frame(
        "beyond the link",
        solicit(PEER, OURS, 254, OURS, mac),
        &[ns, "NdInBadHopLimit"],
    );
    drops_frame(
        "a group as target",
        solicit(PEER, OURS, 255, group, mac),
        &[ns, bad],
    );
    let group_mac = Some(MacAddr([1, 0, 0, 0, 0, 1]));
    drops_frame(
        "a group as link address",
        solicit(PEER, OURS, 255, OURS, group_mac),
        &[ns, bad],
    );
    let any = Ipv6Addr::UNSPECIFIED;
    drops_frame(
        "a probe with a link address",
        solicit(any, group, 255, OURS, mac),
        &[ns, bad],
    );
    let all = "ff02::1".parse().unwrap();
    drops_frame(
        "a probe to all",
        solicit(any, all, 255, OURS, None),
        &[ns, bad],
    );
    drops_frame(
        "not our target",
        solicit(PEER, OURS, 255, PEER, mac),
        &[ns, bad],
    );
    let malformed = |bytes: Vec<u8>, what: &str, name| {
        let packet = icmp6(PEER, OURS, 255, bytes);
        drops_frame(what, packet, &[name, "Icmp6InErrors", "NdInMalformed"]);
    };
    let mut bytes = ndp::neighbor_solicit(OURS, mac).to_vec();
    bytes[25] = 0;
    malformed(bytes.clone(), "an empty option", ns);
    bytes[25] = 9;
    malformed(bytes.clone(), "an option past the end", ns);
    malformed(bytes[..23].to_vec(), "short", ns);
    (bytes[1], bytes[25]) = (1, 1);
    malformed(bytes, "a code", ns);
}

#[test]
fn advertisements_redirects_and_queries() {
    let (bad, all) = ("NdInBadAddress", "ff02::1".parse().unwrap());
    let na = "Icmp6InNeighborAdvertisements";
    let advert = |target, solicited, dst| {
        let message = ndp::neighbor_advert(target, MacAddr(PEER_MAC), solicited, false).to_vec();
        icmp6(PEER, dst, 255, message)
    };
    drops_frame("an answer to all", advert(PEER, true, all), &[na, bad]);
    drops_frame("of our own address", advert(OURS, false, OURS), &[na, bad]);
    let ra = "Icmp6InRouterAdvertisements";
    let router = |src: Ipv6Addr, hops| {
        let message = [&[134, 0, 0, 0, 64, 0, 7, 8][..], &[0; 8]].concat();
        icmp6(src, all, hops, message)
    };
    drops_frame("not of the link", router(PEER, 255), &[ra, bad]);
    let link = "fe80::2".parse().unwrap();
    drops_frame("from beyond", router(link, 64), &[ra, "NdInBadHopLimit"]);
    let redirect = [
        &[137, 0, 0, 0, 0, 0, 0, 0][..],
        &link.octets(),
        &PEER.octets(),
    ]
    .concat();
    let packet = icmp6(PEER, OURS, 255, redirect.clone());
    drops_frame(
        "a redirect of no router",
        packet,
        &["Icmp6InRedirects", bad],
    );
    let packet = icmp6(link, OURS, 255, redirect);
    drops_frame("a redirect of another", packet, &["Icmp6InRedirects", bad]);
    let query = [&[130, 0, 0, 0, 0, 0, 0, 0][..], &[0; 16]].concat();
    let packet = icmp6(link, all, 1, query);
    drops_frame(
        "a query without alert",
        packet,
        &["Icmp6InGroupMembQueries", "NdInBadHopLimit"],
    );
}
