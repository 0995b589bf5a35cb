//! Groups that we listen to, told to the link's switches and routers (RFC 3810).

use std::net::{IpAddr, Ipv6Addr};

use crate::buf::Bytes;
use crate::link::Medium;
use crate::network::IfaceId;
use crate::network::source::is_link_local;
use crate::stack::ingress::Inbound;
use crate::stack::net::Net;
use crate::time::{Duration, Instant};
use crate::wire::ipv6::solicited_node;
use crate::wire::mld::{self, MldQuery, RecordKind};

/// A change is told so often (the robustness variable) ...
const ROBUSTNESS: u32 = 2;
/// ... within this time each.
const REPORT_WITHIN: Duration = Duration::from_secs(1);
/// Things to tell at most; what is more is learned by the next query.
const REPORTS_MAX: usize = 64;
/// Longest wait before a query is answered, whatever it allows.
const RESPONSE_MAX: Duration = Duration::from_secs(30);

/// Something to tell.
#[derive(Clone, Copy, Debug)]
pub(super) struct Report {
    kind: RecordKind,
    group: Ipv6Addr,
    left: u32,
    pub(super) at: Instant,
}

impl Net {
    pub(super) fn join(&mut self, id: IfaceId, group: Ipv6Addr) {
        self.tell_change(id, RecordKind::Joins, group);
    }

    pub(super) fn leave(&mut self, id: IfaceId, group: Ipv6Addr) {
        self.tell_change(id, RecordKind::Leaves, group);
    }

    fn tell_change(&mut self, id: IfaceId, kind: RecordKind, group: Ipv6Addr) {
        let at = self.now;
        self.tell(id, kind, group, ROBUSTNESS, at);
    }

    fn tell(&mut self, id: IfaceId, kind: RecordKind, group: Ipv6Addr, left: u32, at: Instant) {
        let Some(iface) = self.iface_mut(id) else {
            return;
        };
        if iface.caps.medium != Medium::Ethernet {
            return;
        }
        let reports = &mut iface.nd.reports;
        // A change says more than an answer, and the latest change counts.
        let answer = kind == RecordKind::Listens;
        if answer && reports.iter().any(|report| report.group == group) {
            return;
        }
        reports.retain(|report| report.group != group);
        if reports.len() < REPORTS_MAX {
            reports.push(Report {
                kind,
                group,
                left,
                at,
            });
        }
    }

    pub(super) fn report_timers(&mut self, id: IfaceId) {
        let now = self.now;
        let again = self.some_time(REPORT_WITHIN);
        let Some(nd) = self.nd_of(id) else {
            return;
        };
        let mut due = Vec::new();
        for report in nd.reports.iter_mut().filter(|report| report.at <= now) {
            due.push((report.kind, report.group));
            report.left -= 1;
            report.at = again;
        }
        nd.reports.retain(|report| report.left > 0);
        if due.is_empty() {
            return;
        }
        // Who has no link-local address yet speaks as nobody (RFC 3590).
        let own = self.iface(id).and_then(|iface| {
            let mut usable = iface.addrs.iter().filter(|own| own.is_usable());
            usable.find_map(|own| match own.ip() {
                IpAddr::V6(addr) if is_link_local(addr) => Some(addr),
                _ => None,
            })
        });
        let src = own.unwrap_or(Ipv6Addr::UNSPECIFIED);
        self.stats.nd.out_mld_reports += 1;
        self.send_nd(id, (src, mld::ROUTERS), None, &mld::report(&due), true);
    }

    /// A router asks who listens.
    pub(super) fn mld_query_in(&mut self, inbound: &Inbound, src: Ipv6Addr, message: &Bytes) {
        self.stats.nd.in_group_queries += 1;
        let meta = &inbound.meta;
        if meta.ttl != 1 || !inbound.router_alert {
            self.stats.nd.in_bad_hop_limit += 1;
            return;
        }
        let Ok(query) = MldQuery::parse(message) else {
            self.stats.icmp6.in_errors += 1;
            self.stats.nd.in_malformed += 1;
            return;
        };
        if !is_link_local(src) {
            self.stats.nd.in_bad_address += 1;
            return;
        }
        let within = Duration::from_millis(u64::from(query.max_response_ms)).min(RESPONSE_MAX);
        let at = self.some_time(within);
        let id = meta.iface;
        let groups = self.iface(id).map(|iface| {
            let mut groups: Vec<Ipv6Addr> = iface
                .addrs
                .iter()
                .filter_map(|own| match own.ip() {
                    IpAddr::V6(addr) => Some(solicited_node(addr)),
                    IpAddr::V4(_) => None,
                })
                .collect();
            groups.sort_unstable();
            groups.dedup();
            groups
        });
        for group in groups.into_iter().flatten() {
            if query.group.is_none_or(|asked| asked == group) {
                self.tell(id, RecordKind::Listens, group, 1, at);
            }
        }
    }
}
