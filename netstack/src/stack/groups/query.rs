//! What routers ask, and what other hosts say of groups.

use std::net::{IpAddr, Ipv6Addr};

use super::report::Response;
use super::{Group, is_silent};
use crate::buf::Bytes;
use crate::network::IfaceId;
use crate::network::source::is_link_local;
use crate::stack::ingress::Inbound;
use crate::stack::net::Net;
use crate::time::{Duration, Instant};
use crate::wire::membership::{Query, Version};
use crate::wire::{WireError, igmp, mld};

/// Longest wait before a query is answered, whatever it allows.
const RESPONSE_MAX: Duration = Duration::from_secs(30);
/// Sources that a router asks for which are remembered; with more it gets the whole state.
const SOURCES_MAX: usize = 64;

impl Net {
    /// A message of IGMP.
    pub(in crate::stack) fn igmp_in(&mut self, inbound: &Inbound) {
        self.stats.igmp.in_msgs += 1;
        match igmp::Message::parse(&inbound.payload()) {
            Ok(igmp::Message::Query(query)) => {
                self.stats.igmp.in_queries += 1;
                self.query_in(inbound.meta.iface, true, query);
            }
            Ok(igmp::Message::Report(group)) => {
                self.stats.igmp.in_reports += 1;
                self.other_reports(inbound.meta.iface, group.into());
            }
            Ok(igmp::Message::Other) => {}
            Err(error) => {
                self.stats.igmp.in_errors += 1;
                self.stats.igmp.in_csum_errors += u64::from(error == WireError::BadChecksum);
            }
        }
        self.groups_schedule();
    }

    /// A router asks who listens (IPv6).
    pub(in crate::stack) fn mld_query_in(
        &mut self,
        inbound: &Inbound,
        src: Ipv6Addr,
        message: &Bytes,
    ) {
        self.stats.nd.in_group_queries += 1;
        if !self.mld_passes(inbound, src) {
            return;
        }
        match mld::parse_query(message) {
            Ok(query) => self.query_in(inbound.meta.iface, false, query),
            Err(_) => self.mld_malformed(),
        }
        self.groups_schedule();
    }

    /// Another host reports a group in version 1 of MLD.
    pub(in crate::stack) fn mld_report_in(
        &mut self,
        inbound: &Inbound,
        src: Ipv6Addr,
        message: &Bytes,
    ) {
        self.stats.nd.in_group_responses += 1;
        if !self.mld_passes(inbound, src) {
            return;
        }
        match mld::parse_report(message) {
            Ok(group) => self.other_reports(inbound.meta.iface, group.into()),
            Err(_) => self.mld_malformed(),
        }
        self.groups_schedule();
    }

    /// RFC 3810 sections 5.1.14 and 6.2, RFC 2710 section 5.
    fn mld_passes(&mut self, inbound: &Inbound, src: Ipv6Addr) -> bool {
        if inbound.meta.ttl != 1 || !inbound.router_alert {
            self.stats.nd.in_bad_hop_limit += 1;
            return false;
        }
        if !is_link_local(src) {
            self.stats.nd.in_bad_address += 1;
            return false;
        }
        true
    }

    fn mld_malformed(&mut self) {
        self.stats.icmp6.in_errors += 1;
        self.stats.nd.in_malformed += 1;
    }

    fn query_in(&mut self, id: IfaceId, v4: bool, query: Query) {
        let now = self.now;
        let allowed = Duration::from_millis(u64::from(query.max_response_ms)).min(RESPONSE_MAX);
        let Some(iface) = self.iface_mut(id) else {
            return;
        };
        if iface.is_loopback {
            return;
        }
        let querier = iface.groups.querier_mut(v4);
        let version_was_three = querier
            .older_until
            .iter()
            .all(|until| until.is_none_or(|until| until <= now));
        match query.version {
            Version::Three => {
                if query.robustness > 0 {
                    querier.robustness = query.robustness;
                }
                if query.interval_s > 0 {
                    querier.interval = Duration::from_secs(query.interval_s.into());
                }
            }
            older => {
                // RFC 3376 section 8.12: the older version querier present timeout.
                let timeout = querier.interval * u32::from(querier.robustness) + allowed;
                querier.older_until[older as usize] = Some(now + timeout);
                (querier.changes_at, querier.all_at) = (None, None);
                for group in iface.groups.list.values_mut() {
                    group.pending.clear();
                }
            }
        }
        let all = query.group.is_none() && query.version == Version::Three && version_was_three;
        if all {
            let at = self.some_time(allowed);
            if let Some(iface) = self.iface_mut(id) {
                iface.groups.querier_mut(v4).all_at = Some(at);
            }
            return;
        }
        self.answer_each(id, v4, &query, allowed);
    }

    /// Has the group that is asked for, or each, answer within `allowed`.
    fn answer_each(&mut self, id: IfaceId, v4: bool, query: &Query, allowed: Duration) {
        let wanted = |addr: &IpAddr, group: &Group| {
            let asked = query.group.is_none_or(|asked| asked == *addr);
            asked && addr.is_ipv4() == v4 && !is_silent(*addr) && group.has_members()
        };
        let Some(iface) = self.iface(id) else {
            return;
        };
        let all = iface.groups.list.iter();
        let groups: Vec<IpAddr> = all
            .filter(|(addr, group)| wanted(addr, group))
            .map(|(addr, _)| *addr)
            .collect();
        for group in groups {
            let at = self.some_time(allowed);
            if let Some(iface) = self.iface_mut(id)
                && let Some(entry) = iface.groups.list.get_mut(&group)
            {
                entry.asked(at, &query.sources);
            }
        }
    }

    /// Somebody else has answered for a group: in the older versions one answer is enough.
    fn other_reports(&mut self, id: IfaceId, group: IpAddr) {
        if let Some(iface) = self.iface_mut(id)
            && let Some(entry) = iface.groups.list.get_mut(&group)
        {
            entry.response = None;
            entry.last_reporter = false;
        }
    }
}

impl Group {
    /// A router asks for the group: an answer that is due sooner stays, and covers both questions (RFC 3376
    /// section 5.2).
    fn asked(&mut self, at: Instant, sources: &[IpAddr]) {
        let pending = self.response.take();
        let at = pending.as_ref().map_or(at, |pending| pending.at.min(at));
        let mut all = match pending {
            Some(pending) if pending.sources.is_empty() => Vec::new(),
            Some(pending) if !sources.is_empty() => [&pending.sources, sources].concat(),
            _ => sources.to_vec(),
        };
        all.sort_unstable();
        all.dedup();
        if all.len() > SOURCES_MAX {
            all.clear();
        }
        self.response = Some(Response { at, sources: all });
    }
}
