//! Hooks, rules, connection tracking and address translation. Nothing of it is there, and nothing of it
//! costs, until a ruleset is set.
//!
//! At a hook a packet meets, as in Linux: base chains below priority -200, tracking, base chains up to the
//! translation (-100 for destinations, 100 for sources), the translation, the other base chains. A
//! connection is remembered when its first packet has passed the last hook.

pub mod conntrack;
pub(crate) mod nat;
pub(crate) mod packet;
pub mod rules;

use std::net::IpAddr;

use smallvec::SmallVec;

use crate::network::stats::FilterStats;
use crate::rng::Rng;
use crate::time::Instant;
use conntrack::{ConntrackConfig, Direction, Inserted, Table, Track, Tracked, track};
pub use nat::NatRange;
use nat::{End, set_up, translate};
use packet::{Packet, Summary};
use rules::{ChainKind, Compiled, Hook, Ordered, Reject, Ruleset, RulesetError, Seen};
use rules::{States, Verdict, decide};

/// Where tracking is, among the priorities of chains.
const CONNTRACK: i32 = -200;
const DESTINATION_NAT: i32 = -100;
const SOURCE_NAT: i32 = 100;

/// A ruleset at work.
#[derive(Debug)]
pub(crate) struct Filter {
    ruleset: Ruleset,
    compiled: Compiled,
    pub(crate) conns: Table,
    /// The packet that what we send next is about, which is translated as its answer.
    pub(crate) about: Option<Track>,
    rng: Rng,
}

/// Where a packet is, and what belongs to that.
pub(crate) struct Place<'a> {
    pub(crate) now: Instant,
    pub(crate) hook: Hook,
    pub(crate) iif: Option<&'a str>,
    pub(crate) oif: Option<&'a str>,
    /// Our own address there, for masquerading and redirecting.
    pub(crate) own: Option<IpAddr>,
    pub(crate) config: &'a ConntrackConfig,
}

/// What becomes of a packet at a hook.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    Pass,
    Drop,
    Reject(Reject),
}

impl Filter {
    pub(crate) fn new(ruleset: Ruleset, rng: &mut Rng) -> Result<Self, RulesetError> {
        Ok(Self {
            compiled: Compiled::new(&ruleset)?,
            ruleset,
            conns: Table::new(rng),
            about: None,
            rng: rng.fork(),
        })
    }

    /// Sets other rules; connections stay.
    pub(crate) fn replace(&mut self, ruleset: Ruleset) -> Result<(), RulesetError> {
        self.compiled = Compiled::new(&ruleset)?;
        self.ruleset = ruleset;
        Ok(())
    }

    pub(crate) fn ruleset(&self) -> &Ruleset {
        &self.ruleset
    }

    /// Packets and bytes that the rules of a chain have fitted, in their order.
    pub(crate) fn counts(&self, table: &str, chain: &str) -> Option<Vec<(u64, u64)>> {
        let mut at = 0;
        for known in &self.ruleset.tables {
            for it in &known.chains {
                if known.name == table && it.name == chain {
                    return Some(self.compiled.counts(at));
                }
                at += 1;
            }
        }
        None
    }

    /// True if connections are tracked, for which datagrams have to be whole.
    pub(crate) fn tracks(&self) -> bool {
        self.compiled.tracks
    }

    /// Lets a packet through a hook; it may be changed.
    pub(crate) fn run(
        &mut self,
        place: &Place<'_>,
        packet: &mut Packet<'_>,
        track: &mut Track,
        stats: &mut FilterStats,
    ) -> Outcome {
        let Some(summary) = packet.summary() else {
            return Outcome::Drop;
        };
        let outcome = self.stages(place, packet, summary, track, stats);
        let drops = match place.hook {
            Hook::Prerouting => &mut stats.prerouting_drops,
            Hook::Input => &mut stats.input_drops,
            Hook::Forward => &mut stats.forward_drops,
            Hook::Output => &mut stats.output_drops,
            Hook::Postrouting => &mut stats.postrouting_drops,
        };
        *drops += u64::from(outcome != Outcome::Pass);
        stats.rejected += u64::from(matches!(outcome, Outcome::Reject(_)));
        outcome
    }

    fn stages(
        &mut self,
        place: &Place<'_>,
        packet: &mut Packet<'_>,
        summary: Summary,
        track: &mut Track,
        stats: &mut FilterStats,
    ) -> Outcome {
        let first = matches!(place.hook, Hook::Prerouting | Hook::Output);
        let end = match place.hook {
            Hook::Prerouting | Hook::Output => Some((End::Destination, DESTINATION_NAT)),
            Hook::Input | Hook::Postrouting => Some((End::Source, SOURCE_NAT)),
            Hook::Forward => None,
        };
        if first {
            let outcome = self.chains(place, &summary, track, i32::MIN..CONNTRACK, stats);
            if outcome != Outcome::Pass {
                return outcome;
            }
            self.begin_tracking(place, packet, &summary, track, stats);
        }
        let from = if first { CONNTRACK } else { i32::MIN };
        let nat_at = end.map_or(i32::MAX, |(_, at)| at);
        let outcome = self.chains(place, &summary, track, from..nat_at, stats);
        if outcome != Outcome::Pass {
            return outcome;
        }
        if let Some((end, _)) = end
            && !self.translate(place, end, packet, &summary, track, stats)
        {
            return Outcome::Drop;
        }
        let Some(summary) = packet.summary() else {
            return Outcome::Drop;
        };
        let outcome = self.chains(place, &summary, track, nat_at..i32::MAX, stats);
        let last = matches!(place.hook, Hook::Input | Hook::Postrouting);
        if outcome == Outcome::Pass && last && !self.remember(place, track, stats) {
            return Outcome::Drop;
        }
        outcome
    }

    fn begin_tracking(
        &mut self,
        place: &Place<'_>,
        packet: &Packet<'_>,
        summary: &Summary,
        about: &mut Track,
        stats: &mut FilterStats,
    ) {
        if let Some(other) = self.about.take().filter(|_| place.hook == Hook::Output) {
            about.conn = as_answer(other.conn, summary);
        }
        if self.compiled.tracks && matches!(about.conn, Tracked::Unknown) {
            let conns = &mut self.conns;
            about.conn = track(conns, place.config, place.now, packet, summary, stats);
        }
    }

    /// Lets a packet through the base chains of some priorities.
    fn chains(
        &mut self,
        place: &Place<'_>,
        summary: &Summary,
        track: &mut Track,
        priorities: core::ops::Range<i32>,
        stats: &mut FilterStats,
    ) -> Outcome {
        let ipv6 = summary.src.is_ipv6();
        let chains = self.compiled.at(place.hook, ChainKind::Filter);
        let within = |it: &Ordered| priorities.contains(&it.base.priority) && it.is_for(ipv6);
        let chains: SmallVec<[Ordered; 4]> = chains.filter(within).collect();
        for base in chains {
            match self.decide(place, &base, summary, track, stats) {
                Verdict::Drop => return Outcome::Drop,
                Verdict::Reject(how) => return Outcome::Reject(how),
                _ => {}
            }
        }
        Outcome::Pass
    }

    fn decide(
        &mut self,
        place: &Place<'_>,
        base: &Ordered,
        summary: &Summary,
        track: &mut Track,
        stats: &mut FilterStats,
    ) -> Verdict {
        let (conn_mark, translated) = match &track.conn {
            Tracked::Known { id, .. } => self.conns.get(*id).map_or((0, (false, false)), |conn| {
                (conn.mark, (conn.snat, conn.dnat))
            }),
            Tracked::Begins { conn, .. } => (conn.mark, (conn.snat, conn.dnat)),
            _ => (0, (false, false)),
        };
        let mut seen = Seen {
            now: place.now,
            summary: *summary,
            iif: place.iif,
            oif: place.oif,
            states: states(&track.conn),
            mark: track.mark,
            conn_mark,
            translated,
            untrack: false,
            logged: 0,
        };
        let verdict = decide(&mut self.compiled, base, &mut seen);
        track.mark = seen.mark;
        stats.logged += seen.logged;
        if seen.untrack {
            track.conn = Tracked::Untracked;
        }
        if seen.conn_mark != conn_mark {
            match &mut track.conn {
                Tracked::Known { id, .. } => {
                    if let Some(conn) = self.conns.get_mut(*id) {
                        conn.mark = seen.conn_mark;
                    }
                }
                Tracked::Begins { conn, .. } => conn.mark = seen.conn_mark,
                _ => {}
            }
        }
        verdict
    }

    /// Chooses a translation for a connection that begins, and translates the packet. False if it has to
    /// be dropped.
    fn translate(
        &mut self,
        place: &Place<'_>,
        end: End,
        packet: &mut Packet<'_>,
        summary: &Summary,
        about: &mut Track,
        stats: &mut FilterStats,
    ) -> bool {
        let undecided = match &about.conn {
            Tracked::Begins { conn, error: false } => match end {
                End::Source => !conn.snat_done,
                End::Destination => !conn.dnat_done,
            },
            _ => false,
        };
        if undecided && !self.choose(place, end, summary, about, stats) {
            return false;
        }
        match &about.conn {
            Tracked::Known { id, dir, error, .. } => {
                if let Some(conn) = self.conns.get(*id) {
                    translate(conn, *dir, *error, end, packet, summary);
                }
            }
            Tracked::Begins { conn, error } => {
                let dir = match error {
                    false => Direction::Original,
                    true => Direction::Reply,
                };
                let is_error = summary.is_icmp_error();
                translate(conn, dir, is_error, end, packet, summary);
            }
            _ => {}
        }
        true
    }

    fn choose(
        &mut self,
        place: &Place<'_>,
        end: End,
        summary: &Summary,
        about: &mut Track,
        stats: &mut FilterStats,
    ) -> bool {
        let Some((range, is_own)) = self.wanted(place, summary, about, stats) else {
            return false;
        };
        let Tracked::Begins { conn, .. } = &mut about.conn else {
            return true;
        };
        match end {
            End::Source => conn.snat_done = true,
            End::Destination => conn.dnat_done = true,
        }
        // Without a rule a source must still not be taken for that of another connection.
        let range = match (range, end) {
            (Some(range), _) => range,
            (None, End::Source) => NatRange::default(),
            (None, End::Destination) => return true,
        };
        let done = set_up(conn, end, &range, &self.conns, &mut self.rng);
        stats.nat_no_port += u64::from(!done);
        if is_own && end == End::Source {
            conn.masquerade = place.own;
        }
        done
    }

    /// What the rules want an end to become, and whether that is an address of ours; `None`: the packet is
    /// to be dropped.
    fn wanted(
        &mut self,
        place: &Place<'_>,
        summary: &Summary,
        about: &mut Track,
        stats: &mut FilterStats,
    ) -> Option<(Option<NatRange>, bool)> {
        let ipv6 = summary.src.is_ipv6();
        let chains = self.compiled.at(place.hook, ChainKind::Nat);
        let chains: SmallVec<[Ordered; 4]> = chains.filter(|it| it.is_for(ipv6)).collect();
        for base in chains {
            match self.decide(place, &base, summary, about, stats) {
                Verdict::Nat(range) => return Some((Some(range), false)),
                Verdict::NatToOwn(ports) => {
                    let own = place.own.filter(|own| own.is_ipv6() == ipv6)?;
                    let range = NatRange {
                        ports,
                        ..NatRange::to(own)
                    };
                    return Some((Some(range), true));
                }
                Verdict::Accept => return Some((None, false)),
                Verdict::Drop | Verdict::Reject(_) => return None,
                Verdict::Undecided => {}
            }
        }
        Some((None, false))
    }

    /// Remembers a connection whose first packet has passed. False if there is no room.
    fn remember(&mut self, place: &Place<'_>, track: &mut Track, stats: &mut FilterStats) -> bool {
        let Tracked::Begins { conn, error: false } = &mut track.conn else {
            return true;
        };
        let original = conn.tuples[0];
        let max = place.config.max;
        let id = match self.conns.insert((**conn).clone(), max, &mut self.rng) {
            Inserted::Done(id) => id,
            Inserted::MadeRoom(id) => {
                stats.conntrack_early_drop += 1;
                id
            }
            Inserted::Full => {
                stats.conntrack_full += 1;
                return false;
            }
            // Another copy of the same packet was here first (multicast).
            Inserted::Clash => match self.conns.find(&original) {
                Some((id, Direction::Original)) => id,
                _ => {
                    stats.conntrack_clash += 1;
                    return false;
                }
            },
        };
        stats.conntrack_inserted += 1;
        track.conn = Tracked::Known {
            id,
            dir: Direction::Original,
            is_new: true,
            error: false,
        };
        true
    }
}

/// The connection of what we say about a packet: it goes the other way.
fn as_answer(conn: Tracked, summary: &Summary) -> Tracked {
    match conn {
        Tracked::Known { id, dir, .. } => Tracked::Known {
            id,
            dir: dir.other(),
            is_new: false,
            error: summary.is_icmp_error(),
        },
        Tracked::Begins { conn, .. } => Tracked::Begins { conn, error: true },
        other => other,
    }
}

fn states(conn: &Tracked) -> States {
    match conn {
        Tracked::Unknown | Tracked::Untracked => States::UNTRACKED,
        Tracked::Invalid => States::INVALID,
        Tracked::Known { error: true, .. } | Tracked::Begins { error: true, .. } => States::RELATED,
        Tracked::Known { is_new: false, .. } => States::ESTABLISHED,
        Tracked::Known { .. } | Tracked::Begins { .. } => States::NEW,
    }
}
