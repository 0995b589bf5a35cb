//! What the fuzzer of rules and connections runs: a router with a ruleset and a small table, and packets
//! that are made from few addresses and ports, so that they meet again.

use crate::buf::{RxBatch, RxPacket, TxBatch};
use crate::filter::NatRange;
use crate::filter::rules::{
    Base, Chain, ChainKind, Hook, Match, Reject, Rule, Ruleset, Statement, States, Table,
    TableFamily, Test,
};
use crate::link::{DeviceCaps, MacAddr, Medium};
use crate::network::IfaceId;
use crate::network::addr::Cidr;
use crate::stack::{InterfaceConfig, Stack, StackConfig};
use crate::time::{Duration, Instant};

/// Connections that the table may hold.
const CONNECTIONS_MAX: usize = 16;

/// A series of rules, a byte that ends them, and a series of packets; see [`Bytes`] for how they are read.
/// Nothing may panic, the table keeps its bound, and after the longest timeout it is empty. Returns how many
/// connections there were.
pub fn filter(data: &[u8]) -> u64 {
    let mut bytes = Bytes(data);
    let Some(mut router) = Router::new(&mut bytes) else {
        return 0;
    };
    while router.step(&mut bytes).is_some() {
        let usage = router.stack.usage();
        assert!(usage.connections <= CONNECTIONS_MAX, "{usage:?}");
        assert!(usage.fragment_bytes <= 4 << 20, "{usage:?}");
    }
    router.finish()
}

/// Takes values off the front of the input.
struct Bytes<'a>(&'a [u8]);

impl Bytes<'_> {
    fn byte(&mut self) -> Option<u8> {
        let (first, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(*first)
    }

    /// A port of four.
    fn port(&mut self) -> Option<u16> {
        Some(1000 + u16::from(self.byte()? & 3))
    }
}

struct Router {
    stack: Stack,
    links: [IfaceId; 2],
    now: Instant,
}

impl Router {
    fn new(bytes: &mut Bytes<'_>) -> Option<Self> {
        let mut stack = Stack::new(StackConfig::default(), [5; 16]);
        for (name, value) in [
            ("net.ipv4.ip_forward", "1"),
            ("net.ipv6.conf.all.forwarding", "1"),
            ("nf_conntrack_max", "16"),
        ] {
            stack.set_setting(name, value).ok()?;
        }
        let caps = DeviceCaps {
            medium: Medium::Ip,
            mtu: 1500,
            tx_checksum: false,
            gso_max: 0,
        };
        let mut link = |n: u8| {
            let config = InterfaceConfig {
                name: format!("eth{n}"),
                mac: MacAddr::default(),
                caps,
            };
            let id = stack.add_interface(config).ok()?;
            for text in [format!("10.0.{n}.1/24"), format!("fd00:{n}::1/64")] {
                stack.add_unique_address(id, text.parse().ok()?).ok()?;
            }
            Some(id)
        };
        let links = [link(0)?, link(1)?];
        // What is refused is refused: then there are no rules.
        let _ = stack.set_ruleset(ruleset(bytes)?);
        Some(Self {
            stack,
            links,
            now: Instant::from_millis(1000),
        })
    }

    /// Lets time pass, or gives the router a packet.
    fn step(&mut self, bytes: &mut Bytes<'_>) -> Option<()> {
        let control = bytes.byte()?;
        if control & 0xc0 == 0xc0 {
            self.elapse(Duration::from_secs(u64::from(control & 0x3f)));
            return Some(());
        }
        let link = usize::from(control & 1);
        let mut packet = packet(control, bytes)?;
        if control & 2 != 0 {
            super::fuzz::make_right(&mut packet, true, true);
        }
        let mut batch = RxBatch::new();
        batch.push(RxPacket::new(packet, self.now));
        self.stack.receive(self.now, self.links[link], &mut batch);
        self.drain();
        Some(())
    }

    fn drain(&mut self) {
        let mut batch = TxBatch::new();
        for link in self.links {
            while self.stack.poll_transmit(self.now, link, &mut batch) > 0 {
                batch.clear();
            }
        }
    }

    fn elapse(&mut self, time: Duration) {
        self.now += time;
        self.stack.handle_timeout(self.now);
        self.drain();
    }

    fn finish(mut self) -> u64 {
        self.elapse(Duration::from_secs(1_000_000));
        assert_eq!(self.stack.usage().connections, 0);
        self.stack.stats().net.filter.conntrack_inserted
    }
}

/// A packet whose header says what the bytes say, within few addresses and ports.
fn packet(control: u8, bytes: &mut Bytes<'_>) -> Option<Vec<u8>> {
    let (link, other) = (control & 1, 1 - (control & 1));
    let hosts = bytes.byte()?;
    let (src, dst) = (hosts & 3, hosts >> 2 & 3);
    let kind = bytes.byte()?;
    let proto = match (kind & 3, control & 4 != 0) {
        (0, _) => 17,
        (1, _) => 6,
        (2, false) => 1,
        (2, true) => 58,
        _ => bytes.byte()?,
    };
    let mut out = Vec::with_capacity(80);
    let fragment = if kind & 0x80 != 0 { bytes.byte()? } else { 0 };
    if control & 4 == 0 {
        out.extend([
            0x45,
            0,
            0,
            0,
            0,
            1,
            fragment & 0x60,
            fragment & 0x1f,
            64,
            proto,
            0,
            0,
        ]);
        out.extend([
            10,
            0,
            link,
            1 + src,
            10,
            0,
            if dst == 0 { link } else { other },
            1 + dst,
        ]);
    } else {
        out.extend([0x60, 0, 0, 0, 0, 0, proto, 64]);
        for (net, host) in [
            (link, 1 + src),
            (if dst == 0 { link } else { other }, 1 + dst),
        ] {
            out.extend([0xfd, 0, 0, net, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, host]);
        }
    }
    let header_len = out.len();
    let (from, to) = (bytes.port()?, bytes.port()?);
    match proto {
        6 => {
            out.extend(from.to_be_bytes().into_iter().chain(to.to_be_bytes()));
            out.extend([0, 0, 0, bytes.byte()?, 0, 0, 0, bytes.byte()?]);
            out.extend([0x50, bytes.byte()?, 0xff, 0xff, 0, 0, 0, 0]);
        }
        17 => {
            out.extend(from.to_be_bytes().into_iter().chain(to.to_be_bytes()));
            out.extend([0, 12, 0, 0, 1, 2, 3, 4]);
        }
        _ => out.extend([bytes.byte()?, bytes.byte()?, 0, 0, 0, from as u8, 0, 1]),
    }
    // What an error quotes.
    let more = usize::from(kind >> 2 & 0x1f).min(bytes.0.len());
    let (tail, rest) = bytes.0.split_at(more);
    out.extend(tail);
    bytes.0 = rest;
    let total = out.len() as u16;
    match control & 4 == 0 {
        true => out[2..4].copy_from_slice(&total.to_be_bytes()),
        false => out[4..6].copy_from_slice(&(total - header_len as u16).to_be_bytes()),
    }
    Some(out)
}

/// Up to eight chains, each with rules up to a byte that ends it.
fn ruleset(bytes: &mut Bytes<'_>) -> Option<Ruleset> {
    let count = bytes.byte()? & 7;
    let mut chains = Vec::new();
    for n in 0..count {
        let (about, priority) = (bytes.byte()?, bytes.byte()?);
        let hooks = [
            Hook::Prerouting,
            Hook::Input,
            Hook::Forward,
            Hook::Output,
            Hook::Postrouting,
        ];
        let base = Base {
            hook: hooks[usize::from(about & 0x0f) % hooks.len()],
            priority: (i32::from(priority) - 128) * 3,
            kind: match about & 0x40 {
                0 => ChainKind::Filter,
                _ => ChainKind::Nat,
            },
            accept: about & 0x20 == 0,
        };
        let mut rules = Vec::new();
        while rules.len() < 16 {
            let first = bytes.byte()?;
            if first & 0xf0 == 0 {
                break;
            }
            rules.push(rule(first, bytes)?);
        }
        chains.push(Chain {
            name: format!("c{n}"),
            base: (about & 0x80 == 0).then_some(base),
            rules,
        });
    }
    Some(Ruleset {
        tables: vec![Table {
            name: "t".to_owned(),
            family: TableFamily::Both,
            chains,
        }],
        track: true,
    })
}

fn rule(first: u8, bytes: &mut Bytes<'_>) -> Option<Rule> {
    let mut matches = Vec::new();
    for _ in 0..first & 3 {
        let about = bytes.byte()?;
        matches.push(Match {
            test: test(about & 0x0f, bytes)?,
            negate: about & 0x80 != 0,
        });
    }
    let statements = match first & 4 {
        0 => vec![statement(bytes)?],
        _ => vec![statement(bytes)?, statement(bytes)?],
    };
    Some(Rule {
        matches,
        statements,
    })
}

fn test(kind: u8, bytes: &mut Bytes<'_>) -> Option<Test> {
    let value = bytes.byte()?;
    let net = || Cidr::new([10, 0, value & 1, value >> 4].into(), 32 - (value >> 1 & 7));
    let port = 1000 + u16::from(value & 3);
    Some(match kind {
        0 => Test::Source(vec![net()?]),
        1 => Test::Destination(vec![net()?]),
        2 => Test::Protocol([6, 17, 1, 58][usize::from(value & 3)]),
        3 => Test::SourcePort(vec![(1000, port)]),
        4 => Test::DestinationPort(vec![(1000, port)]),
        5 => Test::In(format!("eth{}", value & 1)),
        6 => Test::Out(format!("eth{}", value & 1)),
        7 => Test::TcpFlags {
            mask: value,
            set: bytes.byte()?,
        },
        8 => Test::State(States::from_bits_truncate(value)),
        9 => Test::Mark {
            value: u32::from(value & 3),
            mask: 3,
        },
        10 => Test::ConnMark {
            value: u32::from(value & 3),
            mask: 3,
        },
        11 => Test::Icmp(value, None),
        12 => Test::Fragment,
        13 => Test::Length(0, u16::from(value)),
        14 => Test::Translated {
            source: value & 1 == 0,
        },
        _ => Test::Limit {
            each: Duration::from_millis(u64::from(value)),
            burst: 3,
        },
    })
}

fn statement(bytes: &mut Bytes<'_>) -> Option<Statement> {
    let kind = bytes.byte()?;
    let value = kind >> 4;
    let port = 1000 + u16::from(value & 3);
    let ports = (value & 4 != 0).then_some((1000, port));
    let range = NatRange {
        ports,
        random: value & 8 != 0,
        ..NatRange::to([10, 0, value & 1, 1 + (value >> 1 & 3)].into())
    };
    Some(match kind & 0x0f {
        0 => Statement::Accept,
        1 => Statement::Drop,
        2 => Statement::Reject(
            [
                Reject::Port,
                Reject::Host,
                Reject::Net,
                Reject::Prohibited,
                Reject::TcpReset,
            ][usize::from(value) % 5],
        ),
        3 => Statement::Jump(format!("c{}", value & 7)),
        4 => Statement::Goto(format!("c{}", value & 7)),
        5 => Statement::Return,
        6 => Statement::Log,
        7 => Statement::SetMark {
            value: u32::from(value),
            mask: !0,
        },
        8 => Statement::SaveMark,
        9 => Statement::RestoreMark,
        10 => Statement::NoTrack,
        11 => Statement::Snat(range),
        12 => Statement::Dnat(range),
        13 => Statement::Masquerade { ports },
        _ => Statement::Redirect { ports },
    })
}
