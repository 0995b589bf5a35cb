//! Random packets through tracking and translation.

use super::filter::*;
use super::filter_nat::{port, unreachable};
use super::router::*;
use super::*;
use crate::filter::NatRange;
use crate::filter::rules::*;
use proptest::prelude::*;

#[derive(Clone, Debug)]
enum Step {
    Udp(usize, u8, u8, u16, u16),
    Tcp(usize, u8, u8, u16, u16, u8, u32, u32),
    Echo(usize, u8, u8, u16, bool),
    /// What was sent last comes back turned round.
    Answer(u8),
    /// An error about what was sent last.
    Error,
    Wait(u64),
    Noise(usize, Vec<u8>),
}

fn step() -> impl Strategy<Value = Step> {
    let link = || 0_usize..3;
    let port = || 1000_u16..1004;
    prop_oneof![
        (link(), 0_u8..6, 0_u8..6, port(), port())
            .prop_map(|(l, a, b, p, q)| Step::Udp(l, a, b, p, q)),
        (
            link(),
            0_u8..6,
            0_u8..6,
            port(),
            port(),
            any::<u8>(),
            0_u32..9,
            0_u32..9
        )
            .prop_map(|(l, a, b, p, q, f, s, k)| Step::Tcp(l, a, b, p, q, f, s, k)),
        (link(), 0_u8..6, 0_u8..6, 0_u16..4, any::<bool>())
            .prop_map(|(l, a, b, id, reply)| Step::Echo(l, a, b, id, reply)),
        any::<u8>().prop_map(Step::Answer),
        any::<u8>().prop_map(Step::Answer),
        Just(Step::Error),
        (0_u64..40).prop_map(Step::Wait),
        (link(), proptest::collection::vec(any::<u8>(), 0..80))
            .prop_map(|(l, bytes)| Step::Noise(l, bytes)),
    ]
}

/// Addresses of both sides, the router's own among them.
fn addr(v6: bool, link: usize, n: u8) -> String {
    match (v6, n) {
        (false, 0) => format!("10.0.{link}.1"),
        (false, n) => format!("10.0.{}.{}", (link + usize::from(n)) % 3, 8 + n),
        (true, 0) => format!("fd00:{link}::1"),
        (true, n) => format!("fd00:{}::{}", (link + usize::from(n)) % 3, 8 + n),
    }
}

fn packet(step: &Step, v6: bool) -> Option<(usize, Vec<u8>)> {
    let src = |link: usize, n: u8| match v6 {
        false => format!("10.0.{link}.{}", 20 + n),
        true => format!("fd00:{link}::{}", 20 + n),
    };
    Some(match *step {
        Step::Udp(link, a, b, p, q) => {
            let (from, to) = (src(link, a), addr(v6, link, b));
            (link, udp_ports((&from, p), (&to, q), 9, 10))
        }
        Step::Tcp(link, a, b, p, q, flags, seq, ack) => {
            let (from, to) = (src(link, a), addr(v6, link, b));
            let names = ["S", "S.", ".", "F.", "R", ".P", "", "SF"];
            let flags = names[usize::from(flags) % names.len()];
            (link, tcp((&from, p), (&to, q), (flags, seq, ack), b"d"))
        }
        Step::Echo(link, a, b, id, reply) => {
            let (from, to) = (src(link, a), addr(v6, link, b));
            (link, echo(&from, &to, id, reply))
        }
        Step::Noise(link, ref bytes) => (link, bytes.clone()),
        _ => return None,
    })
}

fn answer_to(packet: &[u8], flags: u8) -> Option<Vec<u8>> {
    let it = seen(packet);
    let (src, dst) = (it.dst.to_string(), it.src.to_string());
    let ports = it.ports;
    Some(match it.proto {
        17 => udp_ports((&src, ports.1), (&dst, ports.0), 9, 5),
        6 => {
            let names = ["S.", ".", "F.", "R."];
            let be = |at: usize| u32::from_be_bytes(it.transport[at..at + 4].try_into().unwrap());
            let flags = names[usize::from(flags) % names.len()];
            let numbers = (flags, be(8), be(4).wrapping_add(1));
            tcp((&src, ports.1), (&dst, ports.0), numbers, b"")
        }
        1 | 58 if matches!(it.transport[0], 8 | 128) => echo(&src, &dst, ports.0, true),
        _ => return None,
    })
}

fn rules() -> Ruleset {
    let masquerade = Statement::Masquerade { ports: None };
    let dnat = |to: &str| Statement::Dnat(NatRange::to_port(ip(to), 1002));
    let redirect = Statement::Redirect {
        ports: Some((1000, 1001)),
    };
    table(vec![
        nat_chain(
            Hook::Postrouting,
            vec![
                Rule::new([out("eth1")], masquerade),
                Rule::new(
                    [out("eth2"), Test::Protocol(17)],
                    Statement::Snat(NatRange {
                        addrs: Some((ip("10.0.2.40"), ip("10.0.2.42"))),
                        ports: Some((1000, 1003)),
                        random: true,
                    }),
                ),
            ],
        ),
        nat_chain(
            Hook::Prerouting,
            vec![
                Rule::new([Test::Protocol(6), port(1001)], dnat("10.0.0.80")),
                Rule::new([Test::Protocol(17), port(1003)], redirect),
            ],
        ),
        chain(
            "forward",
            Some(base(Hook::Forward, 0, true)),
            vec![
                Rule::new(
                    [Test::State(States::INVALID)],
                    Statement::Reject(Reject::TcpReset),
                ),
                Rule::new([port(1000)], Statement::Reject(Reject::TcpReset)),
            ],
        ),
    ])
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    /// Whatever comes: checksums of what leaves are right (`seen` looks), the table keeps its bound, and
    /// after the longest timeout nothing is left.
    #[test]
    fn nothing_leaks_and_everything_fits(
        steps in proptest::collection::vec(step(), 1..150), v6 in any::<bool>()
    ) {
        let mut router = Router::new(Medium::Ip);
        router.set("nf_conntrack_max", "12");
        router.stack.set_ruleset(rules()).unwrap();
        let mut last: Option<(usize, Vec<u8>)> = None;
        for step in &steps {
            match step {
                Step::Wait(secs) => router.elapse(Duration::from_secs(*secs)),
                Step::Answer(flags) => {
                    if let Some((link, packet)) = &last
                        && let Some(answer) = answer_to(packet, *flags)
                    {
                        router.give(*link, answer);
                    }
                }
                Step::Error => {
                    if let Some((link, packet)) = &last {
                        let it = seen(packet);
                        let from = if it.src.is_ipv4() { "10.0.1.77" } else { "fd00:1::77" };
                        router.give(*link, unreachable(from, &it.src.to_string(), packet));
                    }
                }
                step => {
                    if let Some((link, packet)) = packet(step, v6) {
                        router.give(link, packet);
                    }
                }
            }
            for link in 0..3 {
                for packet in router.sent(link) {
                    seen(&packet);
                    last = Some((link, packet));
                }
            }
            prop_assert!(router.stack.connections().count() <= 12);
        }
        router.elapse(Duration::from_secs(1_000_000));
        prop_assert_eq!(router.stack.connections().count(), 0);
    }
}
