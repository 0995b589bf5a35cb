//! Groups in virtual time: what the link is told in each version of IGMP and MLD, and who hears what.

use std::net::{IpAddr, Ipv4Addr};

use super::malformed6::{frame, icmp6};
use super::*;
use crate::error::SocketError;
use crate::network::multicast::{FilterMode, SourceFilter};
use crate::socket::GroupLink;
use crate::wire::checksum::checksum;
use crate::wire::igmp;

const GROUP: Ipv4Addr = Ipv4Addr::new(239, 1, 2, 3);
const OTHER: Ipv4Addr = Ipv4Addr::new(239, 1, 2, 4);
const ETH0: GroupLink = GroupLink::Iface(IfaceId(1));
const GROUP6: &str = "ff15::1234";

fn member(wire: &mut Wire, host: usize, port: u16, group: IpAddr) -> SocketId {
    let stack = wire.stack(host);
    let family = if group.is_ipv4() {
        Family::V4
    } else {
        Family::V6
    };
    let id = stack.udp_open(family);
    stack.udp_options_mut(id).unwrap().reuse_addr = true;
    let any = if group.is_ipv4() { "0.0.0.0" } else { "::" };
    stack
        .udp_bind(id, SocketAddr::new(any.parse().unwrap(), port))
        .unwrap();
    stack.join_group(id, group, ETH0).unwrap();
    id
}

fn run_for(wire: &mut Wire, seconds: u64) {
    let end = wire.now + Duration::from_secs(seconds);
    while let Some(next) = wire
        .hosts
        .iter()
        .filter_map(|host| host.stack.poll_timeout())
        .min()
        && next <= end
    {
        wire.tick();
    }
    wire.now = end;
    wire.run();
}

/// IGMP messages that a host has sent since the last look, with their destinations.
fn igmp_sent(wire: &mut Wire, host: usize) -> Vec<(Ipv4Addr, Vec<u8>)> {
    let sent = std::mem::take(&mut wire.hosts[host].sent);
    let is_igmp = |frame: &&Vec<u8>| frame[12..14] == [8, 0] && frame[14 + 9] == 2;
    let all = sent.iter().filter(is_igmp).map(|frame| {
        let ip = &frame[14..];
        assert_eq!((ip[0], ip[1], ip[8]), (0x46, 0xc0, 1), "options, TOS, TTL");
        assert_eq!(
            (&ip[20..24], checksum(&ip[..24]), checksum(&ip[24..])),
            (&[148, 4, 0, 0][..], 0, 0)
        );
        let dst = Ipv4Addr::new(ip[16], ip[17], ip[18], ip[19]);
        assert_eq!(frame[..6], MacAddr::of_ipv4_multicast(dst).0);
        (dst, ip[24..].to_vec())
    });
    all.collect()
}

/// Kind, group and sources of each record of the reports of version 3 sent.
fn records(wire: &mut Wire, host: usize) -> Vec<(u8, Ipv4Addr, Vec<Ipv4Addr>)> {
    let mut all = Vec::new();
    for (dst, message) in igmp_sent(wire, host) {
        assert_eq!((dst, message[0]), (igmp::ROUTERS3, igmp::kind::REPORT3));
        let mut rest = &message[8..];
        for _ in 0..message[7] {
            let addr =
                |at: usize| Ipv4Addr::new(rest[at], rest[at + 1], rest[at + 2], rest[at + 3]);
            let count = usize::from(rest[3]);
            let sources = (0..count).map(|n| addr(8 + 4 * n)).collect();
            all.push((rest[0], addr(4), sources));
            rest = &rest[8 + 4 * count..];
        }
        assert!(rest.is_empty());
    }
    all
}

fn igmp_packet(src: [u8; 4], dst: Ipv4Addr, message: &[u8]) -> Vec<u8> {
    let mut packet = vec![
        0x45,
        0,
        0,
        (20 + message.len()) as u8,
        0,
        0,
        0,
        0,
        1,
        2,
        0,
        0,
    ];
    packet.extend_from_slice(&src);
    packet.extend_from_slice(&dst.octets());
    let sum = checksum(&packet);
    packet[10..12].copy_from_slice(&sum.to_be_bytes());
    let mut message = message.to_vec();
    message[2..4].fill(0);
    packet.extend_from_slice(&igmp::with_checksum(message));
    let mut frame = MacAddr::of_ipv4_multicast(dst).0.to_vec();
    frame.extend_from_slice(&[2, 0, 0, 0, 0, 9, 8, 0]);
    frame.extend_from_slice(&packet);
    frame
}

/// A query of a router for all groups or one; `version` 3 for `sources` (their last bytes).
fn query(wire: &mut Wire, version: u8, tenths: u8, group: Ipv4Addr, sources: &[u8]) {
    let mut message = vec![
        igmp::kind::QUERY,
        if version == 1 { 0 } else { tenths },
        0,
        0,
    ];
    message.extend_from_slice(&group.octets());
    if version == 3 {
        message.extend_from_slice(&[2, 125, 0, sources.len() as u8]);
        sources
            .iter()
            .for_each(|n| message.extend_from_slice(&[10, 0, 0, *n]));
    }
    let to = if group.is_unspecified() {
        igmp::ALL_HOSTS
    } else {
        group
    };
    let frame = igmp_packet([10, 0, 0, 99], to, &message);
    wire.inject(A, frame);
}

fn source(n: u8) -> Ipv4Addr {
    Ipv4Addr::new(10, 0, 0, n)
}

#[test]
fn a_change_is_told_at_once_and_again() {
    let mut wire = Wire::new(Medium::Ethernet);
    let id = member(&mut wire, A, 7, GROUP.into());
    wire.tick();
    assert_eq!(records(&mut wire, A), [(4, GROUP, vec![])]);
    run_for(&mut wire, 1);
    assert_eq!(records(&mut wire, A), [(4, GROUP, vec![])]);
    // A second member changes nothing for the link.
    let second = member(&mut wire, A, 7, GROUP.into());
    run_for(&mut wire, 20);
    wire.stack(A).close(second);
    run_for(&mut wire, 20);
    assert_eq!(records(&mut wire, A), []);
    wire.stack(A).leave_group(id, GROUP.into(), ETH0).unwrap();
    run_for(&mut wire, 20);
    assert_eq!(
        records(&mut wire, A),
        [(3, GROUP, vec![]), (3, GROUP, vec![])]
    );
    assert_eq!(wire.stack(A).poll_timeout(), None);
    // Of the group of all hosts nothing is said.
    wire.stack(A)
        .join_group(id, igmp::ALL_HOSTS.into(), ETH0)
        .unwrap();
    run_for(&mut wire, 20);
    assert_eq!(records(&mut wire, A), []);
}

#[test]
fn sources_are_told_as_they_change() {
    let mut wire = Wire::new(Medium::Ethernet);
    let stack = wire.stack(A);
    let (one, two) = (stack.udp_open(Family::V4), stack.udp_open(Family::V4));
    let add = |wire: &mut Wire, id, n| {
        wire.stack(A)
            .join_source(id, GROUP.into(), ETH0, source(n).into())
    };
    add(&mut wire, one, 5).unwrap();
    wire.tick();
    assert_eq!(records(&mut wire, A), [(5, GROUP, vec![source(5)])]);
    run_for(&mut wire, 20);
    wire.hosts[A].sent.clear();
    add(&mut wire, two, 6).unwrap();
    wire.stack(A)
        .leave_source(one, GROUP.into(), ETH0, source(5).into())
        .unwrap();
    wire.tick();
    assert_eq!(
        records(&mut wire, A),
        [(5, GROUP, vec![source(6)]), (6, GROUP, vec![source(5)])]
    );
    run_for(&mut wire, 20);
    wire.hosts[A].sent.clear();
    // Who excludes makes it an exclusion of what nobody includes.
    wire.stack(A).join_group(one, GROUP.into(), ETH0).unwrap();
    for n in [6, 8] {
        wire.stack(A)
            .block_source(one, GROUP.into(), ETH0, source(n).into(), true)
            .unwrap();
    }
    wire.tick();
    assert_eq!(records(&mut wire, A), [(4, GROUP, vec![source(8)])]);
    run_for(&mut wire, 20);
    assert_eq!(records(&mut wire, A), [(4, GROUP, vec![source(8)])]);
    wire.stack(A).close(one);
    run_for(&mut wire, 20);
    assert_eq!(records(&mut wire, A)[0], (3, GROUP, vec![source(6)]));
}

#[test]
fn queries_are_answered_within_their_time() {
    let mut wire = Wire::new(Medium::Ethernet);
    let one = member(&mut wire, A, 7, GROUP.into());
    member(&mut wire, A, 8, OTHER.into());
    wire.stack(A)
        .block_source(one, GROUP.into(), ETH0, source(5).into(), true)
        .unwrap();
    run_for(&mut wire, 20);
    wire.hosts[A].sent.clear();
    query(&mut wire, 3, 20, Ipv4Addr::UNSPECIFIED, &[]);
    run_for(&mut wire, 2);
    assert_eq!(
        records(&mut wire, A),
        [(2, GROUP, vec![source(5)]), (2, OTHER, vec![])]
    );
    query(&mut wire, 3, 20, OTHER, &[]);
    run_for(&mut wire, 2);
    assert_eq!(records(&mut wire, A), [(2, OTHER, vec![])]);
    // Asked for sources, it names those that it wants.
    query(&mut wire, 3, 20, GROUP, &[4, 5, 6]);
    run_for(&mut wire, 2);
    assert_eq!(
        records(&mut wire, A),
        [(1, GROUP, vec![source(4), source(6)])]
    );
    query(&mut wire, 3, 20, GROUP, &[5]);
    query(&mut wire, 3, 20, Ipv4Addr::new(239, 9, 9, 9), &[]);
    run_for(&mut wire, 20);
    assert_eq!(records(&mut wire, A), []);
    let stats = wire.stack(A).stats().net.igmp;
    // That of a group without members did not come so far.
    assert_eq!((stats.in_queries, stats.in_errors), (4, 0));
}

#[test]
fn older_routers_are_talked_to_as_they_understand() {
    let mut wire = Wire::new(Medium::Ethernet);
    let id = member(&mut wire, A, 7, GROUP.into());
    run_for(&mut wire, 20);
    wire.hosts[A].sent.clear();
    query(&mut wire, 2, 100, Ipv4Addr::UNSPECIFIED, &[]);
    run_for(&mut wire, 10);
    assert_eq!(
        igmp_sent(&mut wire, A),
        [(GROUP, igmp::message(igmp::kind::REPORT2, GROUP))]
    );
    let other = member(&mut wire, A, 8, OTHER.into());
    run_for(&mut wire, 20);
    let report = (OTHER, igmp::message(igmp::kind::REPORT2, OTHER));
    assert_eq!(igmp_sent(&mut wire, A), [report.clone(), report]);
    // Another host has answered: this one need not, and does not say that it leaves.
    query(&mut wire, 2, 100, OTHER, &[]);
    let theirs = igmp::message(igmp::kind::REPORT2, OTHER);
    wire.inject(A, igmp_packet([10, 0, 0, 7], OTHER, &theirs));
    wire.stack(A)
        .leave_group(other, OTHER.into(), ETH0)
        .unwrap();
    run_for(&mut wire, 20);
    assert_eq!(igmp_sent(&mut wire, A), []);
    wire.stack(A).leave_group(id, GROUP.into(), ETH0).unwrap();
    wire.run();
    assert_eq!(
        igmp_sent(&mut wire, A),
        [(igmp::ROUTERS, igmp::message(igmp::kind::LEAVE, GROUP))]
    );
    // Long after the last such query it is version 3 again.
    run_for(&mut wire, 600);
    wire.stack(A).join_group(id, GROUP.into(), ETH0).unwrap();
    wire.tick();
    assert_eq!(records(&mut wire, A), [(4, GROUP, vec![])]);
    query(&mut wire, 1, 0, Ipv4Addr::UNSPECIFIED, &[]);
    run_for(&mut wire, 10);
    assert_eq!(
        igmp_sent(&mut wire, A),
        [(GROUP, igmp::message(igmp::kind::REPORT1, GROUP))]
    );
    wire.stack(A).leave_group(id, GROUP.into(), ETH0).unwrap();
    run_for(&mut wire, 20);
    assert_eq!(igmp_sent(&mut wire, A), []);
}

#[test]
fn a_version_can_be_forced() {
    let mut wire = Wire::new(Medium::Ethernet);
    wire.stack(A)
        .set_setting("net.ipv4.conf.all.force_igmp_version", "2")
        .unwrap();
    member(&mut wire, A, 7, GROUP.into());
    wire.tick();
    assert_eq!(
        igmp_sent(&mut wire, A),
        [(GROUP, igmp::message(igmp::kind::REPORT2, GROUP))]
    );
}

#[test]
fn malformed_messages_are_counted() {
    let mut wire = Wire::new(Medium::Ethernet);
    member(&mut wire, A, 7, GROUP.into());
    run_for(&mut wire, 20);
    wire.hosts[A].sent.clear();
    wire.inject(
        A,
        igmp_packet(
            [10, 0, 0, 99],
            igmp::ALL_HOSTS,
            &[igmp::kind::QUERY, 1, 0, 0],
        ),
    );
    let mut bad = igmp_packet(
        [10, 0, 0, 99],
        igmp::ALL_HOSTS,
        &[igmp::kind::QUERY, 1, 0, 0, 0, 0, 0, 0],
    );
    *bad.last_mut().unwrap() ^= 1;
    wire.inject(A, bad);
    run_for(&mut wire, 60);
    let stats = wire.stack(A).stats().net.igmp;
    assert_eq!(
        (stats.in_msgs, stats.in_errors, stats.in_csum_errors),
        (2, 2, 1)
    );
    assert_eq!(igmp_sent(&mut wire, A), []);
}

/// MLD messages that a host has sent since the last look: from the type on, without checksums.
fn mld_sent(wire: &mut Wire, host: usize) -> Vec<(IpAddr, Vec<u8>)> {
    let sent = std::mem::take(&mut wire.hosts[host].sent);
    let is_mld =
        |frame: &&Vec<u8>| frame[12..14] == [0x86, 0xdd] && frame[20] == 0 && frame[54] == 58;
    let all = sent.iter().filter(is_mld).map(|frame| {
        assert_eq!(
            (frame[21], &frame[54..62]),
            (1, &[58, 0, 5, 2, 0, 0, 1, 0][..])
        );
        let dst: [u8; 16] = frame[38..54].try_into().unwrap();
        let mut message = frame[62..].to_vec();
        message[2..4].fill(0);
        (dst.into(), message)
    });
    all.collect()
}

fn mld(wire: &mut Wire, src: &str, dst: &str, message: Vec<u8>) {
    let plain = icmp6(src.parse().unwrap(), dst.parse().unwrap(), 1, message);
    let mut packet = plain[..40].to_vec();
    packet[6] = 0;
    packet[5] += 8;
    packet.extend_from_slice(&[58, 0, 5, 2, 0, 0, 1, 0]);
    packet.extend_from_slice(&plain[40..]);
    let to = MacAddr::of_ipv6_multicast(dst.parse().unwrap());
    wire.inject(A, frame(to.0, &packet));
}

#[test]
fn the_same_in_ipv6() {
    let mut wire = Wire::new_v6(Medium::Ethernet);
    let group: IpAddr = GROUP6.parse().unwrap();
    let octets = |addr: IpAddr| match addr {
        IpAddr::V6(addr) => addr.octets(),
        IpAddr::V4(_) => [0; 16],
    };
    let record = |kind: u8| {
        let mut message = vec![143, 0, 0, 0, 0, 0, 0, 1, kind, 0, 0, 0];
        message.extend_from_slice(&octets(group));
        ("ff02::16".parse::<IpAddr>().unwrap(), message)
    };
    let id = member(&mut wire, A, 7, group);
    run_for(&mut wire, 5);
    assert_eq!(mld_sent(&mut wire, A), [record(4), record(4)]);
    // A router that knows version 1.
    let mut query = vec![130, 0, 0, 0, 0x07, 0xd0, 0, 0];
    query.extend_from_slice(&[0; 16]);
    mld(&mut wire, "fe80::99", "ff02::1", query);
    run_for(&mut wire, 2);
    let older = |kind: u8, to: &str| {
        let mut message = vec![kind, 0, 0, 0, 0, 0, 0, 0];
        message.extend_from_slice(&octets(group));
        (to.parse::<IpAddr>().unwrap(), message)
    };
    let sent = mld_sent(&mut wire, A);
    assert!(sent.contains(&older(131, GROUP6)), "{sent:?}");
    assert_eq!(sent.len(), 2, "of the address of ours too");
    wire.stack(A)
        .leave_group(id, group, GroupLink::Any)
        .unwrap();
    run_for(&mut wire, 2);
    assert_eq!(mld_sent(&mut wire, A), [older(132, "ff02::2")]);
    wire.stack(A).join_group(id, group, ETH0).unwrap();
    wire.tick();
    assert_eq!(mld_sent(&mut wire, A), [older(131, GROUP6)]);
    // Somebody else reports it: not again, and no word when it is left.
    mld(&mut wire, "fe80::7", GROUP6, older(131, GROUP6).1);
    wire.stack(A).leave_group(id, group, ETH0).unwrap();
    run_for(&mut wire, 20);
    assert_eq!(mld_sent(&mut wire, A), []);
}

#[test]
fn members_on_the_link_and_on_this_host_hear() {
    for (medium, group) in [
        (Medium::Ethernet, IpAddr::V4(GROUP)),
        (Medium::Ip, IpAddr::V4(GROUP)),
        (Medium::Ethernet, GROUP6.parse().unwrap()),
        (Medium::Ip, GROUP6.parse().unwrap()),
    ] {
        let mut wire = Wire::new_v6(medium);
        let (ours, theirs) = (
            member(&mut wire, A, 7, group),
            member(&mut wire, B, 7, group),
        );
        let also = member(&mut wire, B, 7, group);
        let to = SocketAddr::new(group, 7);
        let family = if group.is_ipv4() {
            Family::V4
        } else {
            Family::V6
        };
        let sender = wire.stack(A).udp_open(family);
        let set = |wire: &mut Wire, loop_back, ttl| {
            let options = wire.stack(A).udp_options_mut(sender).unwrap();
            for groups in [&mut options.groups4, &mut options.groups6] {
                (groups.iface, groups.loop_back, groups.ttl) = (Some(IfaceId(1)), loop_back, ttl);
            }
        };
        let heard = |wire: &mut Wire| {
            wire.run();
            let all = [(A, ours), (B, theirs), (B, also)];
            all.map(|(host, id)| {
                wire.stack(host)
                    .udp_recv(id)
                    .map(|got| (got.data[0], got.ttl))
                    .ok()
            })
        };
        set(&mut wire, true, 1);
        wire.stack(A).udp_send(sender, &b"1"[..], Some(to)).unwrap();
        assert_eq!(heard(&mut wire), [Some((b'1', 1)); 3], "{medium:?} {group}");
        set(&mut wire, false, 5);
        wire.stack(A).udp_send(sender, &b"2"[..], Some(to)).unwrap();
        assert_eq!(heard(&mut wire), [None, Some((b'2', 5)), Some((b'2', 5))]);
        set(&mut wire, true, 0);
        wire.stack(A).udp_send(sender, &b"3"[..], Some(to)).unwrap();
        assert_eq!(heard(&mut wire), [Some((b'3', 0)), None, None]);
        wire.stack(B).leave_group(also, group, ETH0).unwrap();
        set(&mut wire, true, 1);
        wire.stack(A).udp_send(sender, &b"4"[..], Some(to)).unwrap();
        // Who is no member hears what others on the host are members of.
        assert_eq!(heard(&mut wire), [Some((b'4', 1)); 3]);
        wire.stack(B).close(theirs);
        wire.stack(A).udp_send(sender, &b"5"[..], Some(to)).unwrap();
        assert_eq!(heard(&mut wire), [Some((b'5', 1)), None, None]);
    }
}

#[test]
fn filters_are_each_sockets_own() {
    let mut wire = Wire::new(Medium::Ethernet);
    let all = member(&mut wire, B, 7, GROUP.into());
    let only = wire.stack(B).udp_open(Family::V4);
    wire.stack(B).udp_options_mut(only).unwrap().reuse_addr = true;
    wire.stack(B).udp_bind(only, any_addr(7)).unwrap();
    wire.stack(B)
        .join_source(only, GROUP.into(), ETH0, source(77).into())
        .unwrap();
    let sender = wire.bind(A, 5000);
    wire.stack(A).udp_options_mut(sender).unwrap().groups4.iface = Some(IfaceId(1));
    let send = |wire: &mut Wire| {
        wire.stack(A)
            .udp_send(sender, &b"x"[..], Some((GROUP, 7).into()))
            .unwrap();
        wire.run();
        [all, only].map(|id| wire.stack(B).udp_recv(id).is_ok())
    };
    assert_eq!(send(&mut wire), [true, false]);
    let stack = wire.stack(B);
    let filter = SourceFilter::new(FilterMode::Include, vec![source(1).into()]);
    stack
        .set_group_filter(only, GROUP.into(), ETH0, filter.clone())
        .unwrap();
    assert_eq!(stack.group_filter(only, GROUP.into(), ETH0), Ok(filter));
    stack
        .block_source(all, GROUP.into(), ETH0, source(1).into(), true)
        .unwrap();
    assert_eq!(send(&mut wire), [false, true]);
    // A member of the group on the loopback interface only is none here.
    wire.stack(B).close(only);
    let lo = GroupLink::Addr(Ipv4Addr::LOCALHOST);
    wire.stack(B).leave_group(all, GROUP.into(), ETH0).unwrap();
    wire.stack(B).join_group(all, GROUP.into(), lo).unwrap();
    let errors = wire.stack(B).stats().net.ip4.in_addr_errors;
    assert!(!send(&mut wire)[0]);
    assert_eq!(wire.stack(B).stats().net.ip4.in_addr_errors, errors + 1);
}

#[test]
fn limits() {
    let mut wire = Wire::new(Medium::Ethernet);
    let stack = wire.stack(A);
    let id = stack.udp_open(Family::V4);
    for n in 0..20 {
        stack
            .join_group(id, Ipv4Addr::new(239, 0, 0, n).into(), ETH0)
            .unwrap();
    }
    assert_eq!(
        stack.join_group(id, GROUP.into(), ETH0),
        Err(SocketError::NoBuffers)
    );
    stack
        .set_setting("net.ipv4.igmp_max_memberships", "21")
        .unwrap();
    assert_eq!(
        stack.join_source(id, GROUP.into(), ETH0, source(0).into()),
        Ok(())
    );
    for n in 1..10 {
        stack
            .join_source(id, GROUP.into(), ETH0, source(n).into())
            .unwrap();
    }
    let more = stack.join_source(id, GROUP.into(), ETH0, source(10).into());
    assert_eq!(more, Err(SocketError::NoBuffers));
    assert_eq!(
        stack.groups().filter(|(_, group)| group.is_ipv4()).count(),
        21
    );
    stack.close(id);
    assert_eq!(
        stack.groups().filter(|(_, group)| group.is_ipv4()).count(),
        0
    );
}
