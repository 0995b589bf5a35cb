//! What the link is told of groups: changes at once and again, and answers to routers.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::{Group, is_silent};
use crate::buf::TxPacket;
use crate::network::multicast::{FilterMode, SourceFilter};
use crate::network::route::RouteMetrics;
use crate::network::source::is_link_local;
use crate::network::{IfaceId, proto};
use crate::stack::net::{Hop, Net, Path};
use crate::time::{Duration, Instant};
use crate::wire::checksum::Checksum;
use crate::wire::ipv4::{self, Ipv4Repr, ROUTER_ALERT};
use crate::wire::ipv6::{self, Ipv6Repr};
use crate::wire::membership::{Record, RecordKind, Version, reports};
use crate::wire::{icmpv6, igmp, ipv6_ext, mld};

/// Changes are told again within this time (RFC 3376 section 8.11, RFC 3810 section 9.11).
const AGAIN_WITHIN: Duration = Duration::from_secs(1);
/// The same in the older versions (RFC 2236 section 8.10, RFC 2710 section 7.10).
const OLDER_AGAIN_WITHIN: Duration = Duration::from_secs(10);
/// TOS of IGMP: precedence "internetwork control" (RFC 2236 section 2 leaves it open; Linux has it).
const IGMP_TOS: u8 = 0xc0;
/// Bytes of a report at most, where the MTU is larger.
const REPORT_MAX: usize = 1280;

/// What is still to be told of one group, each so many times.
#[derive(Debug, Default)]
pub(super) struct Pending {
    /// The whole filter, as its mode has changed.
    mode: u8,
    allow: Vec<(IpAddr, u8)>,
    block: Vec<(IpAddr, u8)>,
}

/// An answer to a router.
#[derive(Debug)]
pub(super) struct Response {
    pub(super) at: Instant,
    /// The sources that it asked for; none: all.
    pub(super) sources: Vec<IpAddr>,
}

impl Pending {
    pub(super) fn is_empty(&self) -> bool {
        self.mode == 0 && self.allow.is_empty() && self.block.is_empty()
    }

    pub(super) fn clear(&mut self) {
        *self = Self::default();
    }

    /// Notes the difference between two filters (RFC 3376 section 5.1).
    fn note(&mut self, before: &SourceFilter, after: &SourceFilter, times: u8) {
        // What is told of the mode tells the sources too.
        if before.mode != after.mode || self.mode > 0 {
            self.clear();
            self.mode = times;
            return;
        }
        let (more, less) = match after.mode {
            FilterMode::Include => (&mut self.allow, &mut self.block),
            FilterMode::Exclude => (&mut self.block, &mut self.allow),
        };
        for source in after.sources.iter().filter(|it| !before.names(**it)) {
            move_to(more, less, *source, times);
        }
        for source in before.sources.iter().filter(|it| !after.names(**it)) {
            move_to(less, more, *source, times);
        }
    }

    /// The records to send now; each counts down.
    fn take(&mut self, group: IpAddr, filter: &SourceFilter) -> Vec<Record> {
        if self.mode > 0 {
            self.mode -= 1;
            let kind = match filter.mode {
                FilterMode::Include => RecordKind::ToInclude,
                FilterMode::Exclude => RecordKind::ToExclude,
            };
            let sources = filter.sources.clone();
            return vec![Record {
                kind,
                group,
                sources,
            }];
        }
        let lists = [
            (RecordKind::Allow, &mut self.allow),
            (RecordKind::Block, &mut self.block),
        ];
        let mut records = Vec::new();
        for (kind, list) in lists {
            let sources: Vec<IpAddr> = list.iter().map(|(source, _)| *source).collect();
            if !sources.is_empty() {
                records.push(Record {
                    kind,
                    group,
                    sources,
                });
            }
            list.iter_mut().for_each(|(_, left)| *left -= 1);
            list.retain(|(_, left)| *left > 0);
        }
        records
    }
}

/// The latest change of a source counts, and is told `times` times.
fn move_to(to: &mut Vec<(IpAddr, u8)>, from: &mut Vec<(IpAddr, u8)>, source: IpAddr, times: u8) {
    from.retain(|(other, _)| *other != source);
    to.retain(|(other, _)| *other != source);
    to.push((source, times));
}

/// What a group is now, as an answer.
fn current(group: IpAddr, filter: SourceFilter) -> Record {
    let kind = match filter.mode {
        FilterMode::Include => RecordKind::IsInclude,
        FilterMode::Exclude => RecordKind::IsExclude,
    };
    let sources = filter.sources;
    Record {
        kind,
        group,
        sources,
    }
}

impl Net {
    /// What is wanted of a group has changed.
    pub(super) fn tell_change(
        &mut self,
        id: IfaceId,
        group: IpAddr,
        before: &SourceFilter,
        after: &SourceFilter,
    ) {
        let version = self.report_version(id, group);
        let speaks = self.iface(id).is_some_and(|iface| !iface.is_loopback);
        if !speaks || is_silent(group) {
            return;
        }
        if version < Version::Three {
            return self.tell_older(id, group, before, after);
        }
        let now = self.now;
        let Some(iface) = self.iface_mut(id) else {
            return;
        };
        let querier = iface.groups.querier_mut(group.is_ipv4());
        querier.changes_at = Some(now);
        let times = querier.robustness.max(1);
        if let Some(entry) = iface.groups.list.get_mut(&group) {
            entry.pending.note(before, after, times);
        }
    }

    /// The same in the older versions, which know only members and others.
    fn tell_older(
        &mut self,
        id: IfaceId,
        group: IpAddr,
        before: &SourceFilter,
        after: &SourceFilter,
    ) {
        let (was, is) = (*before != SourceFilter::NONE, *after != SourceFilter::NONE);
        let now = self.now;
        let Some(iface) = self.iface_mut(id) else {
            return;
        };
        let times = iface.groups.querier(group).robustness.max(1);
        let Some(entry) = iface.groups.list.get_mut(&group) else {
            return;
        };
        if is && !was {
            entry.unasked = times;
            entry.response = Some(Response {
                at: now,
                sources: Vec::new(),
            });
        }
        if was && !is {
            (entry.unasked, entry.response) = (0, None);
            if core::mem::take(&mut entry.last_reporter) {
                self.send_leave(id, group);
            }
        }
    }

    /// Sends what is due.
    pub(in crate::stack) fn group_timers(&mut self) {
        if self.groups_wake.is_none_or(|wake| self.now < wake) {
            return;
        }
        for at in 0..self.ifaces.len() {
            let id = IfaceId(at as u16);
            for v4 in [true, false] {
                self.changes_due(id, v4);
                self.answers_due(id, v4);
            }
            self.forget_left(id);
        }
        self.groups_schedule();
    }

    fn changes_due(&mut self, id: IfaceId, v4: bool) {
        let now = self.now;
        let again = self.some_time(AGAIN_WITHIN);
        let Some(iface) = self.iface_mut(id) else {
            return;
        };
        if iface
            .groups
            .querier_mut(v4)
            .changes_at
            .is_none_or(|at| now < at)
        {
            return;
        }
        let (mut records, mut more) = (Vec::new(), false);
        for (addr, group) in iface
            .groups
            .list
            .iter_mut()
            .filter(|(addr, _)| addr.is_ipv4() == v4)
        {
            if !group.pending.is_empty() {
                records.extend(group.pending.take(*addr, &group.interest.filter()));
                more |= !group.pending.is_empty();
            }
        }
        iface.groups.querier_mut(v4).changes_at = more.then_some(again);
        self.send_records(id, v4, records);
    }

    fn answers_due(&mut self, id: IfaceId, v4: bool) {
        let now = self.now;
        let Some(iface) = self.iface_mut(id) else {
            return;
        };
        let mut records = Vec::new();
        let querier = iface.groups.querier_mut(v4);
        let all = querier.all_at.is_some_and(|at| at <= now);
        if all {
            querier.all_at = None;
        }
        let mut due = Vec::new();
        for (addr, group) in iface
            .groups
            .list
            .iter_mut()
            .filter(|(addr, _)| addr.is_ipv4() == v4)
        {
            let asked = group.response.take_if(|response| response.at <= now);
            if is_silent(*addr) || !group.has_members() {
                continue;
            }
            if all {
                records.push(current(*addr, group.interest.filter()));
            } else if let Some(asked) = asked {
                due.push(*addr);
                records.extend(answer(*addr, group, &asked.sources));
            }
        }
        let older = due
            .first()
            .map_or(Version::Three, |group| self.report_version(id, *group));
        if older == Version::Three {
            return self.send_records(id, v4, records);
        }
        for group in due {
            self.send_older_report(id, group, older);
        }
    }

    fn send_older_report(&mut self, id: IfaceId, group: IpAddr, version: Version) {
        let again = self.some_time(OLDER_AGAIN_WITHIN);
        if let Some(iface) = self.iface_mut(id)
            && let Some(entry) = iface.groups.list.get_mut(&group)
        {
            entry.last_reporter = true;
            entry.unasked = entry.unasked.saturating_sub(1);
            entry.response = (entry.unasked > 0).then_some(Response {
                at: again,
                sources: Vec::new(),
            });
        }
        let message = match group {
            IpAddr::V4(addr) if version == Version::One => igmp::message(igmp::kind::REPORT1, addr),
            IpAddr::V4(addr) => igmp::message(igmp::kind::REPORT2, addr),
            IpAddr::V6(addr) => mld::message(icmpv6::kind::MLD_REPORT, addr),
        };
        self.count_report(group.is_ipv4());
        self.send_membership(id, group, message);
    }

    fn send_leave(&mut self, id: IfaceId, group: IpAddr) {
        match group {
            // Version 1 has no such message.
            IpAddr::V4(_) if self.report_version(id, group) == Version::One => {}
            IpAddr::V4(addr) => {
                self.stats.igmp.out_leaves += 1;
                let message = igmp::message(igmp::kind::LEAVE, addr);
                self.send_membership(id, igmp::ROUTERS.into(), message);
            }
            IpAddr::V6(addr) => {
                self.stats.nd.out_group_reductions += 1;
                let message = mld::message(icmpv6::kind::MLD_DONE, addr);
                self.send_membership(id, mld::ROUTERS.into(), message);
            }
        }
    }

    fn send_records(&mut self, id: IfaceId, v4: bool, records: Vec<Record>) {
        if records.is_empty() {
            return;
        }
        let mtu = self.iface(id).map_or(0, |iface| iface.caps.mtu as usize);
        let (kind, headers, to): (_, _, IpAddr) = match v4 {
            true => (
                igmp::kind::REPORT3,
                ipv4::HEADER_LEN + ROUTER_ALERT.len(),
                igmp::ROUTERS3.into(),
            ),
            false => (
                icmpv6::kind::MLD2_REPORT,
                ipv6::HEADER_LEN + ipv6_ext::ROUTER_ALERT_LEN,
                mld::ROUTERS2.into(),
            ),
        };
        for message in reports(kind, records, mtu.min(REPORT_MAX).saturating_sub(headers)) {
            self.count_report(v4);
            let message = match v4 {
                true => igmp::with_checksum(message),
                false => message,
            };
            self.send_membership(id, to, message);
        }
    }

    fn count_report(&mut self, v4: bool) {
        match v4 {
            true => self.stats.igmp.out_reports += 1,
            false => self.stats.nd.out_mld_reports += 1,
        }
    }

    /// Sends a message with a TTL of 1 and the router alert option.
    fn send_membership(&mut self, id: IfaceId, dst: IpAddr, message: Vec<u8>) {
        let Some(iface) = self.iface_mut(id) else {
            return;
        };
        if !iface.has_room(1) {
            self.stats.ip(dst).out_discards += 1;
            return;
        }
        let mut packet = TxPacket::default();
        let src: IpAddr = match dst {
            IpAddr::V4(dst) => {
                let src = match iface.source_for(dst) {
                    Some(IpAddr::V4(src)) => src,
                    _ => Ipv4Addr::UNSPECIFIED,
                };
                packet.body.push(message.into());
                push_igmp_header(&mut packet, src, dst);
                src.into()
            }
            IpAddr::V6(dst) => {
                let src = self.mld_source(id);
                let mut sum =
                    Checksum::pseudo(src.into(), dst.into(), proto::ICMPV6, message.len() as u32);
                sum.add_bytes(&message);
                let mut message = message;
                message[2..4].copy_from_slice(&sum.finish().to_be_bytes());
                packet.body.push(message.into());
                push_mld_headers(&mut packet, src, dst);
                self.stats.icmp6.out_msgs += 1;
                src.into()
            }
        };
        self.stats.ip(dst).out_requests += 1;
        let hop = Hop::Multicast;
        let path = Path {
            iface: id,
            src,
            hop,
            mtu: 0,
            metrics: RouteMetrics::default(),
        };
        self.send_on_link(&path, packet);
    }

    /// Who has no link-local address yet speaks as nobody (RFC 3590).
    fn mld_source(&self, id: IfaceId) -> Ipv6Addr {
        let own = self.iface(id).and_then(|iface| {
            let mut usable = iface.addrs.iter().filter(|own| own.is_usable());
            usable.find_map(|own| match own.ip() {
                IpAddr::V6(addr) if is_link_local(addr) => Some(addr),
                _ => None,
            })
        });
        own.unwrap_or(Ipv6Addr::UNSPECIFIED)
    }
}

/// The answer for one group: of the sources asked for, those that are wanted (RFC 3376 section 5.2).
fn answer(addr: IpAddr, group: &Group, asked: &[IpAddr]) -> Option<Record> {
    if asked.is_empty() {
        return Some(current(addr, group.interest.filter()));
    }
    let wanted = asked
        .iter()
        .filter(|source| group.interest.allows(**source));
    let sources: Vec<IpAddr> = wanted.copied().collect();
    (!sources.is_empty()).then_some(Record {
        kind: RecordKind::IsInclude,
        group: addr,
        sources,
    })
}

fn push_igmp_header(packet: &mut TxPacket, src: Ipv4Addr, dst: Ipv4Addr) {
    let repr = Ipv4Repr {
        src,
        dst,
        proto: proto::IGMP,
        tos: IGMP_TOS,
        ttl: 1,
        id: 0,
        dont_fragment: true,
        more_fragments: false,
        fragment_offset: 0,
        payload_len: packet.len() as u16,
    };
    let room = packet
        .head
        .push_front(ipv4::HEADER_LEN + ROUTER_ALERT.len());
    repr.emit_with_options(&ROUTER_ALERT, room);
}

fn push_mld_headers(packet: &mut TxPacket, src: Ipv6Addr, dst: Ipv6Addr) {
    let room = packet.head.push_front(ipv6_ext::ROUTER_ALERT_LEN);
    ipv6_ext::emit_router_alert(proto::ICMPV6, room);
    let repr = Ipv6Repr {
        src,
        dst,
        next_header: ipv6_ext::next_header::HOP_BY_HOP,
        traffic_class: 0,
        flow_label: 0,
        hop_limit: 1,
        payload_len: packet.len() as u16,
    };
    repr.emit(packet.head.push_front(ipv6::HEADER_LEN));
}
