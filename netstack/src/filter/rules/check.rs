//! A ruleset is checked as a whole before it counts: then nothing in it can loop, and every chain is found.

use thiserror::Error;

use super::eval::RuleState;
use super::{Base, ChainKind, Hook, Rule, Ruleset, Statement, TableFamily, Test};
use crate::filter::nat::End;

/// Bounds of a ruleset.
pub mod limits {
    /// Rules in all.
    pub const RULES: usize = 65_536;
    /// Chains in all.
    pub const CHAINS: usize = 4096;
    /// Chains that jump to one another.
    pub const DEPTH: usize = 16;
    /// Conditions, and statements, of a rule.
    pub const OF_A_RULE: usize = 64;
}

/// Where connections begin to be tracked.
const CONNTRACK: i32 = -200;

/// Why a ruleset is refused.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum RulesetError {
    /// More than [`limits`] allow.
    #[error("too many rules, chains, conditions or statements")]
    TooMany,
    /// Two chains of a table have one name.
    #[error("chain {0} is there twice")]
    Twice(String),
    /// A jump leads to no chain of the table, or to a base chain.
    #[error("there is no chain {0} to jump to")]
    NoChain(String),
    /// Jumps lead in a circle, or deeper than [`limits::DEPTH`].
    #[error("chain {0} is jumped to from itself, or too deep")]
    TooDeep(String),
    /// A statement that has no place in its chain.
    #[error("a statement has no place in chain {0}")]
    Misplaced(String),
}

/// A chain whose jumps are numbers.
#[derive(Clone, Debug)]
pub(crate) struct CheckedChain {
    pub(super) rules: Vec<(Rule, RuleState)>,
    /// Where the jump of each rule leads, if it has one.
    pub(super) jumps: Vec<Option<usize>>,
}

/// A base chain in its place.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ordered {
    pub(crate) chain: usize,
    pub(crate) base: Base,
    family: TableFamily,
}

/// A ruleset that has been checked.
#[derive(Clone, Debug, Default)]
pub(crate) struct Compiled {
    pub(super) chains: Vec<CheckedChain>,
    /// Base chains by priority.
    ordered: Vec<Ordered>,
    /// Some rule needs connections.
    pub(crate) tracks: bool,
}

impl Ordered {
    pub(crate) fn is_for(&self, ipv6: bool) -> bool {
        match self.family {
            TableFamily::V4 => !ipv6,
            TableFamily::V6 => ipv6,
            TableFamily::Both => true,
        }
    }
}

impl Compiled {
    /// Checks a ruleset.
    pub(crate) fn new(ruleset: &Ruleset) -> Result<Self, RulesetError> {
        check_size(ruleset)?;
        let mut compiled = Self {
            tracks: ruleset.track,
            ..Self::default()
        };
        for table in &ruleset.tables {
            let first = compiled.chains.len();
            let number = |name: &str| {
                let found = table.chains.iter().position(|chain| chain.name == name);
                found.filter(|at| table.chains[*at].base.is_none())
            };
            for (at, chain) in table.chains.iter().enumerate() {
                let named = table.chains.iter().filter(|it| it.name == chain.name);
                if named.count() > 1 {
                    return Err(RulesetError::Twice(chain.name.clone()));
                }
                let mut jumps = Vec::with_capacity(chain.rules.len());
                for rule in &chain.rules {
                    jumps.push(match target(rule) {
                        Some(name) => {
                            let to = number(name);
                            Some(first + to.ok_or_else(|| RulesetError::NoChain(name.into()))?)
                        }
                        None => None,
                    });
                }
                let rules = chain.rules.iter().cloned();
                compiled.chains.push(CheckedChain {
                    rules: rules.map(|rule| (rule, RuleState::default())).collect(),
                    jumps,
                });
                if let Some(base) = chain.base {
                    let chain = first + at;
                    compiled.ordered.push(Ordered {
                        chain,
                        base,
                        family: table.family,
                    });
                }
            }
            let names = table.chains.iter().map(|chain| chain.name.as_str());
            compiled.check_places(first, &names.collect::<Vec<_>>())?;
        }
        compiled.ordered.sort_by_key(|it| it.base.priority);
        compiled.tracks |= compiled.needs_connections();
        Ok(compiled)
    }

    /// Base chains of a hook, of one kind, in order.
    pub(crate) fn at(&self, hook: Hook, kind: ChainKind) -> impl Iterator<Item = Ordered> {
        let at = move |it: &&Ordered| it.base.hook == hook && it.base.kind == kind;
        self.ordered.iter().filter(at).copied()
    }

    /// Packets and bytes that the rules of a chain have fitted.
    pub(crate) fn counts(&self, chain: usize) -> Vec<(u64, u64)> {
        let rules = self.chains[chain].rules.iter();
        rules.map(|(_, state)| state.counts()).collect()
    }

    fn needs_connections(&self) -> bool {
        let nat = self.ordered.iter().any(|it| it.base.kind == ChainKind::Nat);
        let rules = self.chains.iter().flat_map(|chain| &chain.rules);
        nat || rules.into_iter().any(|(rule, _)| {
            rule.matches.iter().any(|it| {
                matches!(
                    it.test,
                    Test::State(_) | Test::ConnMark { .. } | Test::Translated { .. }
                )
            })
        })
    }

    /// Every statement has to make sense wherever a packet can come to it.
    fn check_places(&self, first: usize, names: &[&str]) -> Result<(), RulesetError> {
        for base in self.ordered.iter().filter(|it| it.chain >= first) {
            self.check_chain(base.chain, &base.base, 0, first, names)?;
        }
        // Chains that nobody comes to must not loop either: somebody may jump there later.
        for chain in first..self.chains.len() {
            self.depth(chain, 0, first, names)?;
        }
        Ok(())
    }

    fn depth(
        &self,
        chain: usize,
        depth: usize,
        first: usize,
        names: &[&str],
    ) -> Result<(), RulesetError> {
        if depth > limits::DEPTH {
            return Err(RulesetError::TooDeep(names[chain - first].into()));
        }
        let mut seen = Vec::new();
        for to in self.chains[chain].jumps.iter().flatten() {
            // A chain's depth does not depend on which rule jumps to it.
            if !seen.contains(to) {
                seen.push(*to);
                self.depth(*to, depth + 1, first, names)?;
            }
        }
        Ok(())
    }

    fn check_chain(
        &self,
        chain: usize,
        base: &Base,
        depth: usize,
        first: usize,
        names: &[&str],
    ) -> Result<(), RulesetError> {
        if depth > limits::DEPTH {
            return Err(RulesetError::TooDeep(names[chain - first].into()));
        }
        let checked = &self.chains[chain];
        let statements = checked.rules.iter().flat_map(|(rule, _)| &rule.statements);
        if !statements.into_iter().all(|it| has_place(it, base)) {
            return Err(RulesetError::Misplaced(names[chain - first].into()));
        }
        let mut seen = Vec::new();
        for to in checked.jumps.iter().flatten() {
            if !seen.contains(to) {
                seen.push(*to);
                self.check_chain(*to, base, depth + 1, first, names)?;
            }
        }
        Ok(())
    }
}

fn check_size(ruleset: &Ruleset) -> Result<(), RulesetError> {
    let chains = || ruleset.tables.iter().flat_map(|table| &table.chains);
    let rules = || chains().flat_map(|chain| &chain.rules);
    let long = |rule: &Rule| {
        let lists = rule.matches.iter().map(|it| match &it.test {
            Test::Source(list) | Test::Destination(list) => list.len(),
            Test::SourcePort(list) | Test::DestinationPort(list) => list.len(),
            _ => 0,
        });
        lists.max().unwrap_or(0) > limits::RULES
            || rule.matches.len().max(rule.statements.len()) > limits::OF_A_RULE
    };
    let jumps = |rule: &Rule| {
        let jumps = rule.statements.iter().filter(|it| is_jump(it));
        jumps.count()
    };
    let too_many = chains().count() > limits::CHAINS
        || rules().count() > limits::RULES
        || rules().any(|rule| long(rule) || jumps(rule) > 1);
    match too_many {
        true => Err(RulesetError::TooMany),
        false => Ok(()),
    }
}

fn is_jump(statement: &Statement) -> bool {
    matches!(statement, Statement::Jump(_) | Statement::Goto(_))
}

fn target(rule: &Rule) -> Option<&str> {
    rule.statements.iter().find_map(|it| match it {
        Statement::Jump(name) | Statement::Goto(name) => Some(name.as_str()),
        _ => None,
    })
}

fn has_place(statement: &Statement, base: &Base) -> bool {
    let nat = base.kind == ChainKind::Nat;
    let end = match base.hook {
        Hook::Prerouting | Hook::Output => End::Destination,
        _ => End::Source,
    };
    match statement {
        Statement::Snat(_) => nat && end == End::Source,
        Statement::Masquerade { .. } => nat && base.hook == Hook::Postrouting,
        Statement::Dnat(_) | Statement::Redirect { .. } => nat && end == End::Destination,
        Statement::NoTrack => !nat && base.priority < CONNTRACK,
        Statement::Reject(_) => {
            let hooks = matches!(base.hook, Hook::Input | Hook::Forward | Hook::Output);
            !nat && hooks
        }
        // There is nothing to translate in Forward.
        _ => !(nat && base.hook == Hook::Forward),
    }
}
