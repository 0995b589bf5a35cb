//! Segmentation and GRO against each other and against independent decoders.

use etherparse::{
    IpNumber, Ipv4Header, Ipv6Header, NetHeaders, PacketHeaders, TcpHeader, TransportHeader,
};
use proptest::prelude::*;

use super::Medium;
use super::gro::Merger;
use super::segment::segment;
use crate::buf::{
    Bytes, GsoKind, PartialChecksum, RxBatch, RxChecksum, RxPacket, TxOffload, TxPacket,
};
use crate::time::Instant;

const FIN: u8 = 0x01;
const PSH: u8 = 0x08;
const ACK: u8 = 0x10;
const CWR: u8 = 0x80;

#[derive(Clone, Debug)]
struct Shape {
    ipv6: bool,
    ethernet: bool,
    flags: u8,
    seq: u32,
    mss: u16,
    /// Lengths of the ranges of the body.
    ranges: Vec<usize>,
}

impl Shape {
    fn payload(&self) -> Vec<u8> {
        let len: usize = self.ranges.iter().sum();
        (0..len).map(|i| (i * 7 + i / 256) as u8).collect()
    }

    /// A super-packet as a stack hands it to a link, built by etherparse.
    fn packet(&self) -> TxPacket {
        let payload = self.payload();
        let mut tcp = TcpHeader::new(40_000, 80, self.seq, 500);
        tcp.acknowledgment_number = 77;
        tcp.ack = true;
        tcp.fin = self.flags & FIN != 0;
        tcp.psh = self.flags & PSH != 0;
        tcp.cwr = self.flags & CWR != 0;
        tcp.set_options_raw(&[1, 1, 8, 10, 0, 0, 0, 9, 0, 0, 0, 8])
            .unwrap();
        let tcp_len = tcp.header_len() + payload.len();
        let mut packet = TxPacket::default();
        let mut network = Vec::new();
        let pseudo = if self.ipv6 {
            let ip = Ipv6Header {
                payload_length: tcp_len as u16,
                next_header: IpNumber::TCP,
                hop_limit: 64,
                source: [1; 16],
                destination: [2; 16],
                ..Ipv6Header::default()
            };
            ip.write(&mut network).unwrap();
            [&[1; 16][..], &[2; 16]].concat()
        } else {
            let ip = Ipv4Header::new(
                tcp_len as u16,
                64,
                IpNumber::TCP,
                [10, 0, 0, 1],
                [10, 0, 0, 2],
            )
            .unwrap();
            ip.write(&mut network).unwrap();
            vec![10, 0, 0, 1, 10, 0, 0, 2]
        };
        let pseudo = [&pseudo[..], &[0, 6], &(tcp_len as u16).to_be_bytes()].concat();
        tcp.checksum = !pnet::packet::util::checksum(&pseudo, usize::MAX);
        let mut transport = Vec::new();
        tcp.write(&mut transport).unwrap();
        packet
            .head
            .push_front(transport.len())
            .copy_from_slice(&transport);
        packet
            .head
            .push_front(network.len())
            .copy_from_slice(&network);
        if self.ethernet {
            let kind = if self.ipv6 { 0x86dd } else { 0x0800u16 };
            let link = [&[2; 6][..], &[4; 6], &kind.to_be_bytes()].concat();
            packet.head.push_front(14).copy_from_slice(&link);
            packet.link_header_len = 14;
        }
        let mut rest = Bytes::from(payload);
        packet.body = self.ranges.iter().map(|len| rest.split_to(*len)).collect();
        packet.offload = TxOffload {
            checksum: Some(PartialChecksum {
                start: network.len() as u16,
                offset: 16,
            }),
            gso_size: self.mss,
            gso_kind: if self.ipv6 {
                GsoKind::Tcp6
            } else {
                GsoKind::Tcp4
            },
        };
        packet
    }

    fn medium(&self) -> Medium {
        if self.ethernet {
            Medium::Ethernet
        } else {
            Medium::Ip
        }
    }
}

fn shapes() -> impl Strategy<Value = Shape> {
    (
        any::<bool>(),
        any::<bool>(),
        prop::sample::subsequence(vec![FIN, PSH, CWR], 0..=3),
        any::<u32>(),
        1_000u16..1_460,
        prop::collection::vec(0usize..9_000, 0..6),
    )
        .prop_map(|(ipv6, ethernet, flags, seq, mss, ranges)| Shape {
            ipv6,
            ethernet,
            flags: flags.into_iter().fold(ACK, |all, f| all | f),
            seq,
            mss,
            ranges,
        })
}

fn cut(packet: TxPacket) -> Vec<TxPacket> {
    let mut pieces = Vec::new();
    assert!(segment(packet, |piece| pieces.push(piece)));
    pieces
}

fn decode(bytes: &[u8], medium: Medium) -> PacketHeaders<'_> {
    match medium {
        Medium::Ip => PacketHeaders::from_ip_slice(bytes).unwrap(),
        Medium::Ethernet => PacketHeaders::from_ethernet_slice(bytes).unwrap(),
    }
}

fn tcp_of(headers: &PacketHeaders<'_>) -> TcpHeader {
    match &headers.transport {
        Some(TransportHeader::Tcp(tcp)) => tcp.clone(),
        other => panic!("not TCP: {other:?}"),
    }
}

fn expected_tcp_checksum(headers: &PacketHeaders<'_>) -> u16 {
    let tcp = tcp_of(headers);
    let payload = headers.payload.slice();
    match headers.net.as_ref().unwrap() {
        NetHeaders::Ipv4(ip, _) => tcp.calc_checksum_ipv4(ip, payload).unwrap(),
        NetHeaders::Ipv6(ip, _) => tcp.calc_checksum_ipv6(ip, payload).unwrap(),
        NetHeaders::Arp(_) => panic!("ARP"),
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn pieces_are_right_by_an_independent_decoder(shape in shapes()) {
        let pieces = cut(shape.packet());
        let last = pieces.len() - 1;
        let mut payload = Vec::new();
        for (i, piece) in pieces.iter().enumerate() {
            let bytes = piece.to_vec();
            let headers = decode(&bytes, shape.medium());
            let tcp = tcp_of(&headers);
            prop_assert_eq!(tcp.checksum, expected_tcp_checksum(&headers));
            if let Some(NetHeaders::Ipv4(ip, _)) = &headers.net {
                prop_assert_eq!(ip.header_checksum, ip.calc_header_checksum());
                prop_assert_eq!(usize::from(ip.identification), i);
            }
            prop_assert_eq!(tcp.sequence_number, shape.seq.wrapping_add(payload.len() as u32));
            prop_assert_eq!(tcp.fin, i == last && shape.flags & FIN != 0);
            prop_assert_eq!(tcp.psh, i == last && shape.flags & PSH != 0);
            prop_assert_eq!(tcp.cwr, i == 0 && shape.flags & CWR != 0);
            let part = headers.payload.slice();
            prop_assert!(part.len() <= usize::from(shape.mss));
            prop_assert!(i == last || part.len() == usize::from(shape.mss));
            payload.extend_from_slice(part);
        }
        prop_assert_eq!(payload, shape.payload());
    }

    #[test]
    fn segment_then_merge_is_identity(mut shape in shapes()) {
        // A segment with CWR is never merged.
        shape.flags &= !CWR;
        let packet = shape.packet();
        let whole = cut(TxPacket { offload: TxOffload { gso_size: 0, gso_kind: GsoKind::None, ..packet.offload }, ..packet.clone() });
        let mut batch: RxBatch = cut(packet)
            .iter()
            .map(|piece| RxPacket::new(piece.to_vec(), Instant::ZERO))
            .collect();
        let pieces = batch.len();
        Merger::new(shape.medium()).merge(&mut batch, 0);
        prop_assert_eq!(batch.len(), 1);
        let mut merged = batch[0].data.to_vec();
        let mut whole = whole[0].to_vec();
        if pieces > 1 {
            prop_assert_eq!(batch[0].checksum, RxChecksum::Valid);
            prop_assert_eq!(batch[0].gro_size, shape.mss);
            // The checksum of the first segment is left in the header: it was verified.
            let at = whole.len() - shape.payload().len() - 32 + 16;
            merged[at..at + 2].fill(0);
            whole[at..at + 2].fill(0);
        }
        prop_assert_eq!(merged, whole);
    }

    #[test]
    fn hostile_frames_pass_unchanged_in_number(frames in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..80), 2..8), starts in prop::sample::select(vec![0x45u8, 0x60, 0x46])) {
        let mut batch: RxBatch = frames
            .into_iter()
            .map(|mut frame| {
                if let Some(first) = frame.first_mut() {
                    *first = starts;
                }
                if let Some(proto) = frame.get_mut(if starts == 0x60 { 6 } else { 9 }) {
                    *proto = 6;
                }
                RxPacket::new(frame, Instant::ZERO)
            })
            .collect();
        let before: Vec<Bytes> = batch.iter().map(|p| p.data.clone()).collect();
        Merger::new(Medium::Ip).merge(&mut batch, 0);
        prop_assert!(batch.iter().map(|p| p.data.clone()).eq(before));
    }
}

fn received(pieces: &[TxPacket]) -> Vec<RxPacket> {
    pieces
        .iter()
        .map(|piece| RxPacket::new(piece.to_vec(), Instant::ZERO))
        .collect()
}

const FOUR_SEGMENTS: Shape = Shape {
    ipv6: false,
    ethernet: false,
    flags: ACK,
    seq: u32::MAX - 500,
    mss: 1_000,
    ranges: Vec::new(),
};

#[test]
fn a_gap_a_damaged_segment_or_another_acknowledgement_ends_a_run() {
    let shape = Shape {
        ranges: vec![4_000],
        ..FOUR_SEGMENTS
    };
    let pieces = received(&cut(shape.packet()));
    let merge = |mut packets: Vec<RxPacket>| {
        let mut batch: RxBatch = packets.drain(..).collect();
        Merger::new(Medium::Ip).merge(&mut batch, 0);
        batch.iter().map(|p| p.data.len()).collect::<Vec<_>>()
    };
    assert_eq!(merge(pieces.clone()), [52 + 4_000]);

    let gap = vec![pieces[0].clone(), pieces[2].clone(), pieces[3].clone()];
    assert_eq!(merge(gap), [52 + 1_000, 52 + 2_000]);

    let mut damaged = pieces.clone();
    let mut bytes = damaged[1].data.to_vec();
    bytes[100] ^= 1;
    damaged[1].data = bytes.into();
    assert_eq!(merge(damaged), [52 + 1_000, 52 + 1_000, 52 + 2_000]);
}

#[test]
fn two_connections_are_merged_side_by_side() {
    let one = Shape {
        ranges: vec![3_000],
        ..FOUR_SEGMENTS
    };
    let two = Shape {
        ipv6: true,
        ..one.clone()
    };
    let (a, b) = (received(&cut(one.packet())), received(&cut(two.packet())));
    let mut batch: RxBatch = a.into_iter().zip(b).flat_map(|(a, b)| [a, b]).collect();
    Merger::new(Medium::Ip).merge(&mut batch, 0);
    let lens: Vec<usize> = batch.iter().map(|p| p.data.len()).collect();
    assert_eq!(lens, [52 + 3_000, 72 + 3_000]);
}

#[test]
fn contradictory_offload_is_dropped() {
    let mut packet = Shape {
        ranges: vec![3_000],
        ..FOUR_SEGMENTS
    }
    .packet();
    packet.offload.checksum = Some(PartialChecksum {
        start: 100,
        offset: 16,
    });
    assert!(!segment(packet, |_| panic!("nothing comes out")));
}
