use super::*;
use crate::wire::icmpv4::Icmpv4Repr;

#[test]
fn a_large_datagram_arrives_whole() {
    let mut wire = Wire::new(Medium::Ethernet);
    let (client, server, to) = (wire.bind(A, 5000), wire.bind(B, 7), wire.at(B, 7));
    let data: Vec<u8> = (0..65_507_u32).map(|n| (n % 253) as u8).collect();
    wire.stack(A)
        .udp_send(client, data.clone(), Some(to))
        .unwrap();
    wire.run();
    assert_eq!(wire.stack(B).udp_recv(server).unwrap().data, data);
    assert!(wire.hosts[A].sent.iter().all(|frame| frame.len() <= 1514));
}

#[test]
fn a_lost_fragment_is_reported_after_its_time() {
    let mut wire = Wire::new(Medium::Ip);
    let (client, to) = (wire.bind(A, 5000), wire.at(B, 7));
    wire.bind(B, 7);
    wire.lose = |packet| packet[6] & 0x20 == 0 && packet[9] == 17;
    wire.stack(A)
        .udp_send(client, vec![1; 3000], Some(to))
        .unwrap();
    wire.run();
    while wire.tick() {}
    assert_eq!(wire.now, Instant::from_millis(31_000));
    let error = Icmpv4Repr::parse(&wire.hosts[B].sent[0][20..]).unwrap();
    assert_eq!(error, Icmpv4Repr::TimeExceeded { code: 1 });
    assert_eq!(wire.stack(B).stats().net.ip4.reasm_timeout, 1);
    assert_eq!(wire.stack(A).stats().net.icmp4.in_time_excds, 1);
}
