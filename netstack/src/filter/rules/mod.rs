//! The rule engine: tables of chains of rules, at hooks by priority. The shape holds what iptables says
//! (a table is chains at its priorities, a rule has one target) and what nftables says (rules are lists of
//! statements; a base chain that accepts lets the next one look).

mod check;
mod eval;

pub(crate) use check::{Compiled, Ordered};
pub use check::{RulesetError, limits};
pub(crate) use eval::{Seen, Verdict, decide};

use super::nat::NatRange;
use crate::network::addr::Cidr;
use crate::time::Duration;

/// Where packets meet rules.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Hook {
    /// Everything that comes in, before it is known where it goes.
    Prerouting,
    /// What is for us.
    Input,
    /// What is for others.
    Forward,
    /// What we send.
    Output,
    /// Everything that is about to leave.
    Postrouting,
}

/// All rules of a stack.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ruleset {
    /// In no order: priorities decide.
    pub tables: Vec<Table>,
    /// Connections are tracked even if no rule asks for it.
    pub track: bool,
}

/// A name space of chains.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Table {
    /// Its name.
    pub name: String,
    /// The packets that it is for.
    pub family: TableFamily,
    /// Its chains.
    pub chains: Vec<Chain>,
}

/// The packets that a table is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TableFamily {
    /// IPv4 (`ip`).
    V4,
    /// IPv6 (`ip6`).
    V6,
    /// Both (`inet`).
    Both,
}

/// A list of rules.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Chain {
    /// Its name, unique in the table.
    pub name: String,
    /// Where packets come to it by themselves; `None`: other chains jump to it.
    pub base: Option<Base>,
    /// In order.
    pub rules: Vec<Rule>,
}

/// Where a chain is hung up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Base {
    /// Where.
    pub hook: Hook,
    /// In ascending order (iptables: raw -300, mangle -150, nat -100 and 100, filter 0). Below -200 it comes
    /// before connections are tracked.
    pub priority: i32,
    /// What it is for.
    pub kind: ChainKind,
    /// What becomes of packets that come to its end.
    pub accept: bool,
}

/// What a base chain is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChainKind {
    /// To accept and drop, and mark.
    Filter,
    /// To choose translations: only the first packet of a connection comes here.
    Nat,
}

/// If all matches fit, the statements are carried out one after the other.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rule {
    /// All of them have to fit; none fits all.
    pub matches: Vec<Match>,
    /// In order, up to one that decides.
    pub statements: Vec<Statement>,
}

/// A condition, or its opposite.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Match {
    /// The condition.
    pub test: Test,
    /// It must not hold.
    pub negate: bool,
}

/// A condition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Test {
    /// The source is in one of these networks.
    Source(Vec<Cidr>),
    /// The destination is.
    Destination(Vec<Cidr>),
    /// Protocol of the transport.
    Protocol(u8),
    /// The source port of TCP or UDP is in one of these ranges.
    SourcePort(Vec<(u16, u16)>),
    /// The destination port is.
    DestinationPort(Vec<(u16, u16)>),
    /// It came in over the interface of this name; `eth+` is every one that begins so.
    In(String),
    /// It leaves over it.
    Out(String),
    /// Of these TCP flags exactly those are set.
    TcpFlags {
        /// Those that are looked at.
        mask: u8,
        /// Those that are set.
        set: u8,
    },
    /// Type of an ICMP message, and code.
    Icmp(u8, Option<u8>),
    /// Its connection is in one of these states.
    State(States),
    /// `mark & mask == value`.
    Mark {
        /// What is left.
        value: u32,
        /// What is looked at.
        mask: u32,
    },
    /// The same of the connection's mark.
    ConnMark {
        /// What is left.
        value: u32,
        /// What is looked at.
        mask: u32,
    },
    /// Its connection's source or destination is translated.
    Translated {
        /// The source.
        source: bool,
    },
    /// It is a fragment but the first.
    Fragment,
    /// DSCP.
    Dscp(u8),
    /// TTL or hop limit within these.
    Ttl(u8, u8),
    /// Length of the packet within these.
    Length(u16, u16),
    /// No more packets than this; it has to be the last condition to count only what the others let pass.
    Limit {
        /// One packet in this time.
        each: Duration,
        /// So many at once.
        burst: u32,
    },
}

bitflags::bitflags! {
    /// States of connections.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct States: u8 {
        /// Nothing has come back yet.
        const NEW = 1;
        /// Something has.
        const ESTABLISHED = 2;
        /// An ICMP error about one.
        const RELATED = 4;
        /// It fits none.
        const INVALID = 8;
        /// It is not tracked.
        const UNTRACKED = 16;
    }
}

/// What a rule does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Statement {
    /// The packet has passed this base chain.
    Accept,
    /// It is gone.
    Drop,
    /// It is gone, and its sender is told.
    Reject(Reject),
    /// Goes on in another chain of the table, and comes back from its end.
    Jump(String),
    /// The same without coming back.
    Goto(String),
    /// Back to where the chain was jumped to; from a base chain to its policy.
    Return,
    /// Counts it under `FilterLogged`.
    Log,
    /// `mark = mark & !mask | value`.
    SetMark {
        /// What is set.
        value: u32,
        /// What is cleared before.
        mask: u32,
    },
    /// The packet's mark becomes its connection's.
    SaveMark,
    /// The connection's mark becomes the packet's.
    RestoreMark,
    /// It is tracked as no connection's (below -200 only).
    NoTrack,
    /// Another source (Postrouting and Input).
    Snat(NatRange),
    /// Another destination (Prerouting and Output).
    Dnat(NatRange),
    /// The source becomes the address of the interface that it leaves over (Postrouting).
    Masquerade {
        /// The ports, as in [`NatRange`].
        ports: Option<(u16, u16)>,
    },
    /// The destination becomes ours (Prerouting and Output).
    Redirect {
        /// The ports, as in [`NatRange`].
        ports: Option<(u16, u16)>,
    },
}

/// How a sender is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reject {
    /// Port unreachable.
    Port,
    /// Host unreachable.
    Host,
    /// Net unreachable; in IPv6 "no route".
    Net,
    /// Administratively prohibited.
    Prohibited,
    /// A reset for TCP, port unreachable for everything else.
    TcpReset,
}

impl Match {
    /// A condition that has to hold.
    pub fn is(test: Test) -> Self {
        Self {
            test,
            negate: false,
        }
    }

    /// A condition that must not hold.
    pub fn not(test: Test) -> Self {
        Self { test, negate: true }
    }
}

impl Rule {
    /// A rule of conditions and statements.
    pub fn new(tests: impl IntoIterator<Item = Test>, statement: Statement) -> Self {
        Self {
            matches: tests.into_iter().map(Match::is).collect(),
            statements: vec![statement],
        }
    }
}
