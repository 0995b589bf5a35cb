use super::*;
use proptest::prelude::*;

/// A packet that is right but for one thing, and the counter that tells.
fn defect(change: impl FnOnce(&mut Vec<u8>), counter: &str) {
    let builder = etherparse::PacketBuilder::ipv4([10, 0, 0, 2], [10, 0, 0, 1], 64).udp(5000, 7);
    let mut packet = Vec::new();
    builder.write(&mut packet, b"data").unwrap();
    change(&mut packet);
    let mut wire = Wire::new(Medium::Ip);
    wire.bind(A, 7);
    let before = wire.stack(A).stats().net;
    wire.inject(A, packet);
    let after = wire.stack(A).stats().net;
    let value = |stats: &crate::network::stats::NetStats| {
        stats.iter().find(|(name, _)| *name == counter).unwrap().1
    };
    assert_eq!(value(&after), value(&before) + 1, "{counter}");
    assert_eq!(wire.stack(A).stats().udp.v4.in_datagrams, 0, "{counter}");
    assert_eq!(after.ip4.in_delivers, 0, "{counter}");
}

/// Changes a header byte and makes the checksum right again.
fn with(at: usize, value: u8) -> impl FnOnce(&mut Vec<u8>) {
    move |packet| {
        packet[at] = value;
        packet[10..12].fill(0);
        let sum = crate::wire::checksum::checksum(&packet[..20]);
        packet[10..12].copy_from_slice(&sum.to_be_bytes());
    }
}

#[test]
fn each_defect_has_its_counter() {
    defect(|packet| packet[8] = 1, "IpExtInCsumErrors");
    defect(|packet| packet.truncate(24), "IpExtInTruncatedPkts");
    defect(|packet| packet.truncate(0), "IpExtInTruncatedPkts");
    defect(with(0, 0x75), "IpInHdrErrors");
    defect(with(0, 0x44), "IpInHdrErrors");
    defect(with(3, 19), "IpInHdrErrors");
    defect(with(19, 9), "IpInAddrErrors");
    defect(with(16, 239), "IpInAddrErrors");
    defect(with(12, 224), "IpInMartianSource");
    defect(with(12, 127), "IpInMartianSource");
    defect(with(16, 127), "IpInMartianSource");
    defect(with(15, 255), "IpInMartianSource");
    defect(with(6, 0x20), "IpReasmReqds");
}

#[test]
fn options_are_checked() {
    let options = |bytes: &[u8]| {
        let mut ip =
            etherparse::Ipv4Header::new(4, 64, 17.into(), [10, 0, 0, 2], [10, 0, 0, 1]).unwrap();
        ip.options = bytes.try_into().unwrap();
        ip.total_len += bytes.len() as u16;
        ip.header_checksum = ip.calc_header_checksum();
        let mut packet = ip.to_bytes().to_vec();
        packet.extend_from_slice(b"data");
        move |out: &mut Vec<u8>| *out = packet
    };
    defect(options(&[131, 3, 4, 0]), "IpInSourceRoute");
    defect(options(&[7, 9, 4, 0]), "IpInOptionErrors");
}

#[test]
fn frames_for_others_are_counted() {
    let mut wire = Wire::new(Medium::Ethernet);
    for bytes in [vec![0; 13], vec![4; 60]] {
        wire.inject(A, bytes);
    }
    let mut other = vec![0; 60];
    other[..6].copy_from_slice(&[2, 0, 0, 0, 0, 1]);
    other[12..14].copy_from_slice(&[0x88, 0xcc]);
    wire.inject(A, other);
    let stats = wire.stack(A).stats().net;
    assert_eq!(stats.link.link_in_truncated, 1);
    assert_eq!(
        stats.link.link_in_unknown_type + stats.link.link_in_other_host,
        2
    );
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    /// Anything at all, and packets that are right as far as the transport, leave the stack working.
    #[test]
    fn any_bytes_are_survived(
        ethernet: bool, shape in 0..4, proto in prop_oneof![Just(1_u8), Just(6), Just(17), any::<u8>()],
        fragment in any::<u16>(), bytes in proptest::collection::vec(any::<u8>(), 0..120),
    ) {
        let medium = if ethernet { Medium::Ethernet } else { Medium::Ip };
        let mut wire = Wire::new(medium);
        wire.bind(A, 7);
        let mut packet = bytes;
        if shape >= 1 {
            let mut ip = etherparse::Ipv4Header::new(packet.len() as u16, 64, proto.into(), [10, 0, 0, 2], [10, 0, 0, 1]).unwrap();
            if shape >= 2 {
                ip.more_fragments = fragment & 1 != 0;
                ip.fragment_offset = etherparse::IpFragOffset::try_new(fragment >> 3).unwrap();
            }
            ip.header_checksum = ip.calc_header_checksum();
            packet = [&ip.to_bytes()[..], &packet].concat();
        }
        if ethernet && shape >= 1 {
            let kind = if shape == 3 { [8, 6] } else { [8, 0] };
            packet = [&[2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2][..], &kind, &packet].concat();
        }
        wire.inject(A, packet);
        wire.run();
        while wire.tick() {}
    }
}
