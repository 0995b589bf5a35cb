//! Policy rules: which table a packet's route is looked for in (Linux `ip rule`).

use std::net::IpAddr;

use super::{Flow, table};
use crate::network::IfaceId;
use crate::network::addr::Cidr;

/// Rules that a family can have.
pub const RULES_MAX: usize = 1024;

/// One rule. A packet that fits all that is named does what the rule says; what is not named fits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rule {
    /// Rules are tried in ascending order.
    pub priority: u32,
    /// The family that it is for.
    pub ipv6: bool,
    /// Source network.
    pub from: Option<Cidr>,
    /// Destination network.
    pub to: Option<Cidr>,
    /// Where the packet came in; the loopback interface for packets that are sent from here.
    pub iif: Option<IfaceId>,
    /// The interface that a socket is bound to.
    pub oif: Option<IfaceId>,
    /// Mark and mask: fits if `packet & mask == mark`.
    pub fwmark: Option<(u32, u32)>,
    /// TOS without the ECN bits.
    pub tos: Option<u8>,
    /// What follows.
    pub action: RuleAction,
}

/// What a rule does with the packets that fit it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RuleAction {
    /// Looks for a route in a table; if there is none, the next rule is tried.
    Table(u32),
    /// Drops the packet.
    Blackhole,
    /// Drops it and says that the net is unreachable.
    Unreachable,
    /// Drops it and says that it is prohibited.
    Prohibit,
}

impl Rule {
    /// A rule for all packets of a family.
    pub fn lookup(ipv6: bool, priority: u32, table: u32) -> Self {
        Self {
            priority,
            ipv6,
            from: None,
            to: None,
            iif: None,
            oif: None,
            fwmark: None,
            tos: None,
            action: RuleAction::Table(table),
        }
    }

    pub(super) fn fits(&self, flow: &Flow) -> bool {
        let within = |net: Cidr, addr: Option<IpAddr>| match addr {
            Some(addr) => net.contains(addr),
            // No source is chosen yet: only a rule for all of them is for this one.
            None => net.prefix_len() == 0,
        };
        self.from.is_none_or(|net| within(net, flow.src))
            && self.to.is_none_or(|net| net.contains(flow.dst))
            && self.iif.is_none_or(|iface| flow.iif == Some(iface))
            && self.oif.is_none_or(|iface| flow.oif == Some(iface))
            && self
                .fwmark
                .is_none_or(|(mark, mask)| flow.mark & mask == mark)
            && self.tos.is_none_or(|tos| flow.tos & !3 == tos)
    }
}

/// The rules of one family, in order.
#[derive(Clone, Debug)]
pub(super) struct Rules {
    pub(super) list: Vec<Rule>,
}

impl Rules {
    /// Those that every Linux has: the main table, then the default one. (What is local is not looked
    /// for in a table here.)
    pub(super) fn usual(ipv6: bool) -> Self {
        let mut list = vec![Rule::lookup(ipv6, 32_766, table::MAIN)];
        if !ipv6 {
            list.push(Rule::lookup(ipv6, 32_767, table::DEFAULT));
        }
        Self { list }
    }

    /// Adds a rule behind those of the same priority. False if there is the same one, or no room.
    pub(super) fn add(&mut self, rule: Rule) -> bool {
        if self.list.len() >= RULES_MAX || self.list.contains(&rule) {
            return false;
        }
        let at = self
            .list
            .partition_point(|old| old.priority <= rule.priority);
        self.list.insert(at, rule);
        true
    }

    /// Removes one very rule.
    pub(super) fn remove(&mut self, rule: &Rule) -> bool {
        let at = self.list.iter().position(|old| old == rule);
        at.map(|at| self.list.remove(at)).is_some()
    }
}
