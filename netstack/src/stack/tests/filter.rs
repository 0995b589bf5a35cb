//! Rules, connections and translation in a router, in virtual time.

use super::filter_nat::{forwarding_ports, port};
use super::router::*;
use super::*;
use crate::buf::Bytes;
use crate::filter::NatRange;
use crate::filter::conntrack::TcpState;
use crate::filter::rules::*;
use crate::network::route::Route;

pub(super) fn base(hook: Hook, priority: i32, accept: bool) -> Base {
    Base {
        hook,
        priority,
        kind: ChainKind::Filter,
        accept,
    }
}

pub(super) fn chain(name: &str, base: Option<Base>, rules: Vec<Rule>) -> Chain {
    Chain {
        name: name.to_owned(),
        base,
        rules,
    }
}

pub(super) fn nat_chain(hook: Hook, rules: Vec<Rule>) -> Chain {
    let base = Base {
        kind: ChainKind::Nat,
        ..base(hook, 0, true)
    };
    chain(&format!("{hook:?}"), Some(base), rules)
}

pub(super) fn table(chains: Vec<Chain>) -> Ruleset {
    Ruleset {
        tables: vec![Table {
            name: "t".to_owned(),
            family: TableFamily::Both,
            chains,
        }],
        track: false,
    }
}

pub(super) fn out(name: &str) -> Test {
    Test::Out(name.to_owned())
}

/// A router that gives what leaves over link 1 its own address.
pub(super) fn masquerading() -> Router {
    let mut router = Router::new(Medium::Ip);
    router.route("172.16.0.0/16", "10.0.1.9", 1);
    router.route("fd77::/32", "fd00:1::9", 1);
    let rule = Rule::new([out("eth1")], Statement::Masquerade { ports: None });
    let rules = table(vec![nat_chain(Hook::Postrouting, vec![rule])]);
    router.stack.set_ruleset(rules).unwrap();
    router
}

/// Only what was asked for from inside comes back in.
pub(super) fn stateful(refuse: Statement) -> Ruleset {
    let known = Test::State(States::ESTABLISHED | States::RELATED);
    let from_inside = Test::In("eth0".to_owned());
    table(vec![chain(
        "forward",
        Some(base(Hook::Forward, 0, true)),
        vec![
            Rule::new([known], Statement::Accept),
            Rule::new([Test::State(States::INVALID)], Statement::Drop),
            Rule::new([from_inside], Statement::Accept),
            Rule::new([], refuse),
        ],
    )])
}

#[test]
fn only_answers_come_in() {
    let mut router = Router::new(Medium::Ip);
    router.stack.set_ruleset(stateful(Statement::Drop)).unwrap();
    let (a, b) = (("10.0.0.9", 1000), ("10.0.1.9", 80));
    router.give(1, tcp(b, a, ("S", 1, 0), b""));
    router.silent();
    assert_eq!(router.count("FilterForwardDrops"), 1);
    assert_eq!(router.stack.connections().count(), 0, "it never passed");
    let state = |router: &Router| {
        let conn = router.stack.connections().next().unwrap();
        (conn.tcp.unwrap(), conn.assured)
    };
    router.give(0, tcp(a, b, ("S", 100, 0), b""));
    router.only(1);
    assert_eq!(state(&router), (TcpState::SynSent, false));
    router.give(1, tcp(b, a, ("S.", 500, 101), b""));
    router.only(0);
    assert_eq!(state(&router), (TcpState::SynRecv, false));
    router.give(0, tcp(a, b, (".", 101, 501), b""));
    router.only(1);
    assert_eq!(state(&router), (TcpState::Established, true));
    // Far outside of the window.
    router.give(1, tcp(b, a, (".P", 500_000_000, 101), b"guess"));
    router.give(1, tcp(b, a, ("R", 700_000_000, 0), b""));
    router.silent();
    assert_eq!(router.count("ConntrackInvalid"), 2);
    router.give(1, tcp(b, a, (".P", 501, 101), b"hello"));
    router.only(0);
    router.give(0, tcp(a, b, ("F.", 101, 506), b""));
    router.only(1);
    assert_eq!(state(&router).0, TcpState::FinWait);
    router.give(1, tcp(b, a, (".", 506, 102), b""));
    router.only(0);
    assert_eq!(state(&router).0, TcpState::CloseWait);
    router.give(1, tcp(b, a, ("F.", 506, 102), b""));
    router.only(0);
    assert_eq!(state(&router).0, TcpState::LastAck);
    router.give(0, tcp(a, b, (".", 102, 507), b""));
    router.only(1);
    assert_eq!(state(&router).0, TcpState::TimeWait);
    // The same ends begin again.
    router.give(0, tcp(a, b, ("S", 9000, 0), b""));
    router.only(1);
    assert_eq!(state(&router), (TcpState::SynSent, false));
    router.elapse(Duration::from_secs(121));
    assert_eq!(router.stack.connections().count(), 0);
    assert_eq!(router.stack.poll_timeout(), None);
}

#[test]
fn who_is_refused_is_told() {
    let cases = [
        (Reject::TcpReset, None),
        (Reject::Port, Some(((3, 3), (1, 4)))),
        (Reject::Host, Some(((3, 1), (1, 3)))),
        (Reject::Net, Some(((3, 0), (1, 0)))),
        (Reject::Prohibited, Some(((3, 13), (1, 1)))),
    ];
    for (how, said) in cases {
        for (src, dst) in [("10.0.1.9", "10.0.0.9"), ("fd00:1::9", "fd00:0::9")] {
            let mut router = Router::new(Medium::Ip);
            let rules = stateful(Statement::Reject(how));
            router.stack.set_ruleset(rules).unwrap();
            router.give(1, tcp((src, 80), (dst, 9), ("S", 41, 0), b""));
            let told = seen(&router.only(1));
            assert_eq!(told.dst, ip(src), "{how:?}");
            let Some((v4, v6)) = said else {
                // The segment that it answers: acknowledged, from the host that it was for.
                assert_eq!((told.src, told.ports), (ip(dst), (9, 80)));
                assert_eq!((told.transport[13], told.transport[11]), (0x14, 42));
                continue;
            };
            let code = if src.contains(':') { v6 } else { v4 };
            assert_eq!((told.transport[0], told.transport[1]), code, "{how:?}");
            assert_eq!(router.count("FilterRejected"), 1);
        }
    }
}

/// What a refused host is told names the addresses that it knows.
#[test]
fn refusals_behind_a_translation() {
    for how in [Reject::TcpReset, Reject::Port] {
        let mut router = forwarding_ports();
        let mut rules = router.stack.ruleset();
        let inside = Test::Destination(vec![cidr("10.0.0.80/32")]);
        rules.tables[0].chains.push(chain(
            "refuse",
            Some(base(Hook::Forward, 0, true)),
            vec![Rule::new([inside], Statement::Reject(how))],
        ));
        router.stack.set_ruleset(rules).unwrap();
        let packet = tcp(("10.0.1.9", 5000), ("10.0.1.1", 8080), ("S", 9, 0), b"");
        router.give(1, packet.clone());
        let told = seen(&router.only(1));
        assert_eq!((told.src, told.dst), (ip("10.0.1.1"), ip("10.0.1.9")));
        match how {
            Reject::TcpReset => assert_eq!(told.ports, (8080, 5000)),
            _ => assert_eq!(told.transport[8..28], packet[..20]),
        }
        assert_eq!(router.stack.connections().count(), 0);
    }
}

#[test]
fn chains_marks_limits_and_counters() {
    let mut router = Router::new(Medium::Ip);
    let special = Route {
        table: 100,
        ..Route::via(cidr("0.0.0.0/0"), ip("10.0.2.9"), router.links[2])
    };
    router.stack.add_route(special).unwrap();
    let rule = crate::network::route::Rule {
        fwmark: Some((5, 0xff)),
        ..crate::network::route::Rule::lookup(false, 10, 100)
    };
    router.stack.add_rule(rule).unwrap();
    let jump = |to: &str| Statement::Jump(to.to_owned());
    let limit = Test::Limit {
        each: Duration::from_secs(1),
        burst: 3,
    };
    let rules = table(vec![
        chain(
            "mangle",
            Some(base(Hook::Prerouting, -150, true)),
            vec![
                Rule::new([port(5)], jump("mark")),
                Rule::new([], Statement::Log),
            ],
        ),
        chain(
            "mark",
            None,
            vec![
                Rule {
                    matches: vec![Match::not(Test::Source(vec![cidr("10.0.0.9/32")]))],
                    statements: vec![Statement::Return],
                },
                Rule::new([], Statement::SetMark { value: 5, mask: !0 }),
            ],
        ),
        chain(
            "limit",
            Some(base(Hook::Forward, 0, false)),
            vec![Rule::new([port(9), limit], Statement::Accept), {
                let other = Match::not(port(9));
                Rule {
                    matches: vec![other],
                    statements: vec![Statement::Accept],
                }
            }],
        ),
    ]);
    router.stack.set_ruleset(rules).unwrap();
    let to = |from: &str, port: u16| udp_ports((from, 1), ("10.0.1.9", port), 9, 1);
    router.give(0, to("10.0.0.9", 5));
    router.only(2);
    router.give(0, to("10.0.0.8", 5));
    router.only(1);
    for _ in 0..10 {
        router.give(0, to("10.0.0.9", 9));
    }
    assert_eq!(router.sent(1).len(), 3);
    router.elapse(Duration::from_secs(2));
    for _ in 0..10 {
        router.give(0, to("10.0.0.9", 9));
    }
    assert_eq!(router.sent(1).len(), 2);
    let counts = router.stack.rule_counts("t", "mark").unwrap();
    assert_eq!(counts, [(1, 29), (1, 29)]);
    assert_eq!(router.count("FilterLogged"), 22);
    assert_eq!(
        router.stack.connections().count(),
        0,
        "nobody asked for them"
    );
}

#[test]
fn what_is_wrong_with_rules_is_said() {
    let mut router = Router::new(Medium::Ip);
    let jump = |to: &str| Rule::new([], Statement::Jump(to.to_owned()));
    let hung = || Some(base(Hook::Input, 0, true));
    let twice = table(vec![chain("a", None, vec![]), chain("a", None, vec![])]);
    let nowhere = table(vec![chain("a", hung(), vec![jump("b")])]);
    let to_base = table(vec![chain("a", hung(), vec![jump("a")])]);
    let circle = table(vec![
        chain("a", None, vec![jump("b")]),
        chain("b", None, vec![jump("a")]),
    ]);
    let snat = Rule::new([], Statement::Snat(NatRange::to(ip("1.2.3.4"))));
    let misplaced = table(vec![nat_chain(Hook::Prerouting, vec![snat.clone()])]);
    let in_filter = table(vec![chain("a", hung(), vec![snat])]);
    let track = Rule::new([], Statement::NoTrack);
    let late = table(vec![chain("a", hung(), vec![track])]);
    let many = table(vec![chain(
        "a",
        None,
        vec![Rule::default(); limits::RULES + 1],
    )]);
    for (rules, error) in [
        (twice, RulesetError::Twice("a".into())),
        (nowhere, RulesetError::NoChain("b".into())),
        (to_base, RulesetError::NoChain("a".into())),
        (circle, RulesetError::TooDeep("a".into())),
        (misplaced, RulesetError::Misplaced("Prerouting".into())),
        (in_filter, RulesetError::Misplaced("a".into())),
        (late, RulesetError::Misplaced("a".into())),
        (many, RulesetError::TooMany),
    ] {
        let refused = router.stack.set_ruleset(rules).unwrap_err();
        let kind = |error: &RulesetError| core::mem::discriminant(error);
        assert_eq!(kind(&refused), kind(&error), "{refused}");
    }
    assert_eq!(router.stack.ruleset(), Ruleset::default());
}

#[test]
fn own_packets_are_filtered_and_translated() {
    let mut router = Router::new(Medium::Ip);
    let dnat = Statement::Dnat(NatRange::to_port(ip("127.0.0.1"), 99));
    let rules = table(vec![
        nat_chain(
            Hook::Output,
            vec![Rule::new([Test::Protocol(17), port(53)], dnat)],
        ),
        chain(
            "output",
            Some(base(Hook::Output, 0, true)),
            vec![Rule::new([port(1)], Statement::Drop)],
        ),
    ]);
    router.stack.set_ruleset(rules).unwrap();
    let client = router.stack.udp_open(Family::V4);
    let server = router.stack.udp_open(Family::V4);
    let own = SocketAddr::new(ip("127.0.0.1"), 99);
    router.stack.udp_bind(server, own).unwrap();
    let to = |port| Some(SocketAddr::new(ip("10.0.1.9"), port));
    let refused = router.stack.udp_send(client, "x", to(1));
    assert_eq!(refused, Err(crate::error::SocketError::NotPermitted));
    router.silent();
    router.stack.udp_send(client, "x", to(53)).unwrap();
    router.silent();
    let got = router.stack.udp_recv(server).unwrap();
    assert_eq!(got.to, ip("127.0.0.1"));
    router
        .stack
        .udp_send(server, "back", Some(got.from))
        .unwrap();
    let back = router.stack.udp_recv(client).unwrap();
    assert_eq!((back.data, Some(back.from)), (Bytes::from("back"), to(53)));
    assert_eq!(router.stack.connections().count(), 1);
}

#[test]
fn a_connection_of_our_own_through_a_reject_is_refused() {
    let mut router = Router::new(Medium::Ip);
    let rules = table(vec![chain(
        "input",
        Some(base(Hook::Input, 0, true)),
        vec![Rule::new(
            [Test::Protocol(6), port(80)],
            Statement::Reject(Reject::TcpReset),
        )],
    )]);
    router.stack.set_ruleset(rules).unwrap();
    let listener = router.stack.tcp_open();
    router.stack.tcp_bind(listener, any_addr(80)).unwrap();
    router.stack.tcp_listen(listener, 5).unwrap();
    let client = router.stack.tcp_open();
    let to = SocketAddr::new(ip("10.0.0.1"), 80);
    let _ = router.stack.tcp_connect(client, to);
    router.elapse(Duration::from_millis(10));
    assert_eq!(router.count("FilterInputDrops"), 1);
    let again = router.stack.tcp_connect(client, to);
    assert_eq!(again, Err(crate::error::SocketError::Refused));
}

#[test]
fn datagrams_in_pieces_are_put_together_and_cut_again() {
    const MORE: u16 = 0x2000;
    let mut router = masquerading();
    let whole = udp_ports(("10.0.0.9", 1000), ("172.16.0.1", 53), 9, 3000);
    let pieces = |whole: &[u8], router: &mut Router, link: usize| {
        for at in (0..whole.len() - 20).step_by(1200) {
            let end = (at + 1200).min(whole.len() - 20);
            let mut piece = whole[..20].to_vec();
            piece.extend(&whole[20 + at..20 + end]);
            let total = piece.len() as u16;
            piece[2..4].copy_from_slice(&total.to_be_bytes());
            let more = if end < whole.len() - 20 { MORE } else { 0 };
            router.give(link, with_flags(piece, more | (at / 8) as u16));
        }
    };
    pieces(&whole, &mut router, 0);
    let out = router.sent(1);
    assert_eq!(out.len(), 3);
    assert!(
        out.iter()
            .all(|piece| piece.len() <= 1500 && piece[12..16] == [10, 0, 1, 1])
    );
    let together: Vec<u8> = out.iter().flat_map(|piece| piece[20..].to_vec()).collect();
    assert_eq!(together[8..], whole[28..]);
    assert_eq!(router.count("IpReasmOKs"), 1);
    // Whole, as another parser sees it: its checksum knows of the translation.
    let mut joined = out[0][..20].to_vec();
    joined.extend(together);
    let total = joined.len() as u16;
    joined[2..4].copy_from_slice(&total.to_be_bytes());
    assert_eq!(seen(&with_flags(joined, 0)).ports, (1000, 53));
}

#[test]
fn ipv6_datagrams_in_pieces_likewise() {
    let mut router = masquerading();
    let whole = udp_ports(("fd00:0::9", 1000), ("fd77::1", 53), 9, 3000);
    for at in (0..whole.len() - 40).step_by(1200) {
        let end = (at + 1200).min(whole.len() - 40);
        let mut piece = whole[..40].to_vec();
        let more = u16::from(end < whole.len() - 40);
        let field = (at as u16) | more;
        piece.extend([17, 0]);
        piece.extend(field.to_be_bytes());
        piece.extend([0, 0, 0, 7]);
        piece.extend(&whole[40 + at..40 + end]);
        piece[6] = 44;
        let len = (piece.len() - 40) as u16;
        piece[4..6].copy_from_slice(&len.to_be_bytes());
        router.give(0, piece);
    }
    let out = router.sent(1);
    assert_eq!(out.len(), 3);
    let mut together = out[0][..40].to_vec();
    for piece in &out {
        assert!(piece.len() <= 1500 && piece[6] == 44);
        together.extend(&piece[48..]);
    }
    together[6] = 17;
    let len = (together.len() - 40) as u16;
    together[4..6].copy_from_slice(&len.to_be_bytes());
    let seen = seen(&together);
    assert_eq!((seen.src, seen.ports), (ip("fd00:1::1"), (1000, 53)));
    assert_eq!(seen.transport.len(), 3008);
}

#[test]
fn the_table_is_bounded_and_drops_the_unproven_first() {
    let mut router = masquerading();
    router.set("nf_conntrack_max", "20");
    // One that has proven itself.
    let (a, b) = (("10.0.0.9", 1000), ("172.16.0.1", 80));
    router.give(0, tcp(a, b, ("S", 100, 0), b""));
    let port = seen(&router.only(1)).ports.0;
    let own = ("10.0.1.1", port);
    router.give(1, tcp(b, own, ("S.", 500, 101), b""));
    router.give(0, tcp(a, b, (".", 101, 501), b""));
    for n in 0..200 {
        router.give(0, udp_ports(("10.0.0.9", n), ("172.16.0.1", 9), 9, 1));
        assert!(router.stack.connections().count() <= 20);
    }
    assert!(router.stack.connections().any(|conn| conn.assured));
    let (dropped, full) = (
        router.count("ConntrackEarlyDrop"),
        router.count("ConntrackFull"),
    );
    assert_eq!(dropped + full, 200 - 19);
    router.elapse(Duration::from_secs(500_000));
    assert_eq!(router.stack.connections().count(), 0);
}

#[test]
fn an_address_that_goes_takes_its_masquerades_along() {
    let mut router = masquerading();
    router.give(0, udp_ports(("10.0.0.9", 1000), ("172.16.0.1", 53), 9, 20));
    assert_eq!(router.stack.connections().count(), 1);
    let link = router.links[1];
    router.stack.remove_address(link, ip("10.0.1.1")).unwrap();
    assert_eq!(router.stack.connections().count(), 0);
}
