use super::*;
use crate::buf::Bytes;
use crate::time::Duration;
use std::collections::HashMap;

/// A UDP packet of a flow, of `len` bytes.
fn packet(flow: u16, len: usize) -> TxPacket {
    let mut bytes = vec![0; len];
    bytes[0] = 0x45;
    bytes[2..4].copy_from_slice(&(len as u16).to_be_bytes());
    bytes[9] = 17;
    bytes[20..22].copy_from_slice(&flow.to_be_bytes());
    let mut packet = TxPacket::default();
    packet.head.push_front(28).copy_from_slice(&bytes[..28]);
    packet.body.push(Bytes::from(bytes.split_off(28)));
    packet
}

fn flow_of(packet: &TxPacket) -> u16 {
    let head = packet.head.as_slice();
    u16::from_be_bytes([head[20], head[21]])
}

fn fq(flow_max_rate: Option<u64>) -> Qdisc {
    Qdisc::new(QdiscConfig::Fq {
        limit: 1000,
        flow_limit: 100,
        quantum: 3000,
        flow_max_rate,
    })
}

#[test]
fn first_in_first_out_within_its_limits() {
    let mut qdisc = Qdisc::new(QdiscConfig::Pfifo {
        limit: 3,
        limit_bytes: 4000,
    });
    for flow in 0..3 {
        assert!(qdisc.has_room(1));
        qdisc.push(packet(flow, 100));
    }
    assert!(!qdisc.has_room(1) && !qdisc.is_half_empty());
    let out: Vec<u16> = std::iter::from_fn(|| qdisc.pop(Instant::ZERO))
        .map(|packet| flow_of(&packet))
        .collect();
    assert_eq!(out, [0, 1, 2]);
    let counters = qdisc.counters();
    assert_eq!(
        (counters.packets, counters.bytes, counters.backlog),
        (3, 300, 0)
    );
    assert_eq!(qdisc.ready_at(), None);
}

#[test]
fn flows_share_by_bytes_and_a_new_one_goes_first() {
    let mut qdisc = fq(None);
    for _ in 0..80 {
        qdisc.push(packet(1, 1500));
        qdisc.push(packet(2, 500));
        qdisc.push(packet(2, 500));
    }
    // The limit of one flow.
    assert_eq!(qdisc.counters().drops, 60);
    let mut bytes = HashMap::<u16, usize>::new();
    for n in 0..80 {
        if n == 40 {
            qdisc.push(packet(3, 100));
            let next = qdisc.pop(Instant::ZERO).unwrap();
            assert_eq!(flow_of(&next), 3);
        }
        let packet = qdisc.pop(Instant::ZERO).unwrap();
        *bytes.entry(flow_of(&packet)).or_default() += packet.len();
    }
    let (one, two) = (bytes[&1] as i64, bytes[&2] as i64);
    assert!((one - two).abs() <= 2 * 3000, "{bytes:?}");
    while qdisc.pop(Instant::ZERO).is_some() {}
    assert_eq!(
        (qdisc.counters().backlog, qdisc.counters().backlog_bytes),
        (0, 0)
    );
}

#[test]
fn each_flow_keeps_its_rate() {
    let mut qdisc = fq(Some(100_000));
    for _ in 0..50 {
        qdisc.push(packet(1, 1000));
        qdisc.push(packet(2, 1000));
    }
    let (mut now, mut left) = (Instant::from_millis(1), Vec::new());
    while let Some(at) = qdisc.ready_at() {
        now = now.max(at);
        while let Some(packet) = qdisc.pop(now) {
            left.push((now, flow_of(&packet)));
        }
    }
    assert_eq!(left.len(), 100);
    for flow in [1, 2] {
        let of_flow = left.iter().filter(|(_, it)| *it == flow);
        let times: Vec<Instant> = of_flow.map(|(at, _)| *at).collect();
        let gaps = times.windows(2).map(|pair| pair[1].since(pair[0]));
        assert!(gaps.into_iter().all(|gap| gap == Duration::from_millis(10)));
    }
    assert!(qdisc.counters().overlimits > 0);
}

#[test]
fn all_together_keep_the_rate_of_a_bucket() {
    let mut qdisc = Qdisc::new(QdiscConfig::Tbf {
        rate: 1_000_000,
        burst: 5000,
        limit_bytes: 1 << 20,
    });
    for flow in 0..100 {
        qdisc.push(packet(flow, 1000));
    }
    qdisc.push(packet(7, 6000));
    assert_eq!(qdisc.counters().drops, 1, "it could never leave");
    let start = Instant::from_millis(5);
    let (mut now, mut count) = (start, 0);
    while qdisc.pop(now).is_some() {
        count += 1;
    }
    assert_eq!(count, 5, "the burst");
    while let Some(at) = qdisc.ready_at() {
        now = now.max(at);
        while qdisc.pop(now).is_some() {
            count += 1;
        }
    }
    assert_eq!((count, now.since(start)), (100, Duration::from_millis(95)));
}
