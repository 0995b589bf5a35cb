//! What the rules say to one packet.

use super::check::{Compiled, Ordered};
use super::{Match, Reject, Rule, Statement, States, Test};
use crate::filter::nat::NatRange;
use crate::filter::packet::{Inner, Summary};
use crate::network::token_bucket::Bucket;
use crate::time::Instant;

/// What a rule remembers.
#[derive(Clone, Debug, Default)]
pub(crate) struct RuleState {
    packets: u64,
    bytes: u64,
    bucket: Option<Bucket>,
}

impl RuleState {
    pub(crate) fn counts(&self) -> (u64, u64) {
        (self.packets, self.bytes)
    }
}

/// A packet and what is known of it, as rules see it.
pub(crate) struct Seen<'a> {
    pub(crate) now: Instant,
    pub(crate) summary: Summary,
    pub(crate) iif: Option<&'a str>,
    pub(crate) oif: Option<&'a str>,
    pub(crate) states: States,
    pub(crate) mark: u32,
    pub(crate) conn_mark: u32,
    /// Source and destination of its connection are translated.
    pub(crate) translated: (bool, bool),
    pub(crate) untrack: bool,
    pub(crate) logged: u64,
}

/// What is to become of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    Accept,
    Drop,
    Reject(Reject),
    /// Another source or destination, from this range.
    Nat(NatRange),
    /// Ours, with these ports.
    NatToOwn(Option<(u16, u16)>),
    /// The end of the base chain was reached without a decision.
    Undecided,
}

/// Lets a packet through one base chain and those that it jumps to. Work is bounded by the number of
/// rules, each of which is met at most once for each way that leads there.
pub(crate) fn decide(compiled: &mut Compiled, base: &Ordered, seen: &mut Seen<'_>) -> Verdict {
    let mut steps = STEPS_MAX;
    let verdict = run_chain(compiled, base.chain, seen, &mut steps);
    match verdict {
        Step::Decided(verdict) => verdict,
        Step::End if base.base.accept => Verdict::Undecided,
        Step::End => Verdict::Drop,
    }
}

/// Rules that one packet meets in one base chain at most; it is dropped at more. (Chains that jump to one
/// another several times each could otherwise multiply.)
const STEPS_MAX: u32 = 1 << 20;

enum Step {
    Decided(Verdict),
    /// The end of the chain.
    End,
}

fn run_chain(compiled: &mut Compiled, chain: usize, seen: &mut Seen<'_>, steps: &mut u32) -> Step {
    for at in 0..compiled.chains[chain].rules.len() {
        let Some(left) = steps.checked_sub(1) else {
            return Step::Decided(Verdict::Drop);
        };
        *steps = left;
        let (rule, state) = &mut compiled.chains[chain].rules[at];
        if !rule.matches.iter().all(|it| fits(it, seen, state)) {
            continue;
        }
        state.packets += 1;
        state.bytes += seen.summary.len as u64;
        match carry_out(rule, seen) {
            Done::Next => {}
            Done::Return => return Step::End,
            Done::Decided(verdict) => return Step::Decided(verdict),
            Done::Jump { back } => {
                let Some(to) = compiled.chains[chain].jumps[at] else {
                    continue;
                };
                match run_chain(compiled, to, seen, steps) {
                    Step::End if back => {}
                    other => return other,
                }
            }
        }
    }
    Step::End
}

enum Done {
    Next,
    Return,
    Decided(Verdict),
    Jump { back: bool },
}

/// Carries a rule's statements out, up to one that decides; a jump is the last one too.
fn carry_out(rule: &Rule, seen: &mut Seen<'_>) -> Done {
    for statement in &rule.statements {
        let verdict = match statement {
            Statement::Accept => Verdict::Accept,
            Statement::Drop => Verdict::Drop,
            Statement::Reject(how) => Verdict::Reject(*how),
            Statement::Snat(range) | Statement::Dnat(range) => Verdict::Nat(*range),
            Statement::Masquerade { ports } | Statement::Redirect { ports } => {
                Verdict::NatToOwn(*ports)
            }
            Statement::Jump(_) => return Done::Jump { back: true },
            Statement::Goto(_) => return Done::Jump { back: false },
            Statement::Return => return Done::Return,
            Statement::Log => {
                seen.logged += 1;
                continue;
            }
            Statement::SetMark { value, mask } => {
                seen.mark = seen.mark & !mask | value;
                continue;
            }
            Statement::SaveMark => {
                seen.conn_mark = seen.mark;
                continue;
            }
            Statement::RestoreMark => {
                seen.mark = seen.conn_mark;
                continue;
            }
            Statement::NoTrack => {
                seen.untrack = true;
                continue;
            }
        };
        return Done::Decided(verdict);
    }
    Done::Next
}

fn fits(it: &Match, seen: &Seen<'_>, state: &mut RuleState) -> bool {
    holds(&it.test, seen, state) != it.negate
}

fn holds(test: &Test, seen: &Seen<'_>, state: &mut RuleState) -> bool {
    let summary = &seen.summary;
    let within = |ranges: &[(u16, u16)], port: Option<u16>| {
        let inside = |port| {
            ranges
                .iter()
                .any(|(low, high)| (*low..=*high).contains(&port))
        };
        port.is_some_and(inside)
    };
    match test {
        Test::Source(nets) => nets.iter().any(|net| net.contains(summary.src)),
        Test::Destination(nets) => nets.iter().any(|net| net.contains(summary.dst)),
        Test::Protocol(proto) => summary.proto == *proto,
        Test::SourcePort(ranges) => within(ranges, summary.ports().map(|ports| ports.0)),
        Test::DestinationPort(ranges) => within(ranges, summary.ports().map(|ports| ports.1)),
        Test::In(name) => is_named(name, seen.iif),
        Test::Out(name) => is_named(name, seen.oif),
        Test::TcpFlags { mask, set } => match summary.inner {
            Inner::Tcp(tcp) => tcp.flags.bits() as u8 & mask == *set,
            _ => false,
        },
        Test::Icmp(wanted, code) => match summary.inner {
            Inner::Icmp {
                kind, code: said, ..
            } => kind == *wanted && code.is_none_or(|code| code == said),
            _ => false,
        },
        Test::State(states) => states.intersects(seen.states),
        Test::Mark { value, mask } => seen.mark & mask == *value,
        Test::ConnMark { value, mask } => seen.conn_mark & mask == *value,
        Test::Translated { source: true } => seen.translated.0,
        Test::Translated { source: false } => seen.translated.1,
        Test::Fragment => summary.is_later_fragment,
        Test::Dscp(dscp) => summary.tos >> 2 == *dscp,
        Test::Ttl(low, high) => (*low..=*high).contains(&summary.ttl),
        Test::Length(low, high) => (usize::from(*low)..=usize::from(*high)).contains(&summary.len),
        Test::Limit { each, burst } => {
            let cost = u64::try_from(each.as_nanos()).unwrap_or(u64::MAX);
            let bucket = state.bucket.get_or_insert_with(|| Bucket::full(seen.now));
            bucket.take(seen.now, cost, *burst)
        }
    }
}

fn is_named(pattern: &str, name: Option<&str>) -> bool {
    let Some(name) = name else {
        return false;
    };
    match pattern.strip_suffix('+') {
        Some(start) => name.starts_with(start),
        None => name == pattern,
    }
}
