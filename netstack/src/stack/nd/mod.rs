//! Neighbour discovery for IPv6 (RFC 4861, RFC 4862): who is on the link, which addresses are ours, which
//! routers there are. ARP's counterpart feeds the same neighbour table.

mod address;
mod config;
mod lifetime;
mod neighbor;
mod router;

pub use config::NdConfig;

use std::net::{IpAddr, Ipv6Addr};

use super::ingress::Inbound;
use super::net::Net;
use crate::buf::{Bytes, TxPacket};
use crate::link::{MacAddr, Medium};
use crate::network::route::Route;
use crate::network::{IfaceId, IpMeta, proto};
use crate::time::{Duration, Instant};
use crate::wire::WireError;
use crate::wire::checksum::Checksum;
use crate::wire::icmpv6::kind;
use crate::wire::ipv6::{self, Ipv6Repr};
use crate::wire::ndp::{NdOptions, NdRepr};
use address::Probe;
use router::{OnLink, Redirect, Router, Solicits};

/// Hop limit of every message: one that has crossed a router has less (RFC 4861 section 3.1).
const HOP_LIMIT: u8 = 255;

/// What an interface knows.
#[derive(Debug, Default)]
pub(super) struct NdState {
    /// It makes addresses for itself and listens to routers.
    autoconf: bool,
    /// Addresses that are being asked for.
    probes: Vec<Probe>,
    /// Routers are being asked for.
    solicits: Option<Solicits>,
    routers: Vec<Router>,
    /// The default route over one of the routers.
    default: Option<Route>,
    on_link: Vec<OnLink>,
    redirects: Vec<Redirect>,
    /// What routers say of the link.
    pub(super) hop_limit: Option<u8>,
    pub(super) mtu: Option<u32>,
    pub(super) reachable: Option<Duration>,
    pub(super) retrans: Option<Duration>,
}

impl Net {
    /// Handles a message of neighbour discovery or about groups.
    pub(super) fn nd_in(&mut self, inbound: &Inbound, message: &Bytes) {
        let meta = &inbound.meta;
        let (IpAddr::V6(src), IpAddr::V6(dst)) = (meta.src, meta.dst) else {
            return;
        };
        // A link without link addresses has no neighbours to discover.
        let ethernet = self
            .iface(meta.iface)
            .is_some_and(|iface| iface.caps.medium == Medium::Ethernet);
        match message[0] {
            kind::MLD_QUERY => self.mld_query_in(inbound, src, message),
            kind::MLD_REPORT => self.mld_report_in(inbound, src, message),
            kind::ROUTER_SOLICIT..=kind::REDIRECT => {
                if let Some((repr, options)) = self.nd_parse(meta, message)
                    && ethernet
                {
                    self.nd_message_in(meta.iface, (src, dst), repr, &options);
                }
            }
            _ => {}
        }
        self.nd_schedule();
    }

    fn nd_parse(&mut self, meta: &IpMeta, message: &[u8]) -> Option<(NdRepr, NdOptions)> {
        let stats = &mut self.stats.nd;
        match message[0] {
            kind::ROUTER_SOLICIT => stats.in_router_solicits += 1,
            kind::ROUTER_ADVERT => stats.in_router_adverts += 1,
            kind::NEIGHBOR_SOLICIT => stats.in_neighbor_solicits += 1,
            kind::NEIGHBOR_ADVERT => stats.in_neighbor_adverts += 1,
            _ => stats.in_redirects += 1,
        }
        if meta.ttl != HOP_LIMIT {
            stats.in_bad_hop_limit += 1;
            return None;
        }
        let parsed: Result<_, WireError> = NdRepr::parse(message);
        if parsed.is_err() {
            self.stats.icmp6.in_errors += 1;
            self.stats.nd.in_malformed += 1;
        }
        parsed.ok()
    }

    fn nd_message_in(
        &mut self,
        id: IfaceId,
        (src, dst): (Ipv6Addr, Ipv6Addr),
        repr: NdRepr,
        options: &NdOptions,
    ) {
        let done = match repr {
            NdRepr::NeighborSolicit { target } => {
                self.neighbor_solicit_in(id, (src, dst), target, options)
            }
            NdRepr::NeighborAdvert { .. } => self.neighbor_advert_in(id, dst, repr, options),
            // A router does not listen to routers (RFC 4861 section 6.2.7).
            NdRepr::RouterAdvert { .. } if self.forwards(id, true) => Some(()),
            NdRepr::RouterAdvert { .. } => self.router_advert_in(id, src, repr, options),
            NdRepr::Redirect { target, dst } => self.redirect_in(id, src, (target, dst), options),
            // Nobody is given prefixes by us.
            NdRepr::RouterSolicit => Some(()),
        };
        if done.is_none() {
            self.stats.nd.in_bad_address += 1;
        }
    }

    /// Sends a message, whose checksum field is zero, over a link; to `mac` if that is known better than
    /// the neighbour table knows it.
    fn send_nd(
        &mut self,
        id: IfaceId,
        (src, dst): (Ipv6Addr, Ipv6Addr),
        mac: Option<MacAddr>,
        message: &[u8],
    ) {
        let Some(iface) = self.iface_mut(id) else {
            return;
        };
        // A flood of requests must not grow the queue: an answer that finds no room is not sent.
        if !iface.has_room(1) {
            self.stats.link.neigh_out_discards += 1;
            return;
        }
        let mut sum = Checksum::pseudo(src.into(), dst.into(), proto::ICMPV6, message.len() as u32);
        sum.add_bytes(message);
        let mut message = message.to_vec();
        message[2..4].copy_from_slice(&sum.finish().to_be_bytes());
        let mut packet = TxPacket::default();
        packet.body.push(message.into());
        let repr = Ipv6Repr {
            src,
            dst,
            next_header: proto::ICMPV6,
            traffic_class: 0,
            flow_label: 0,
            hop_limit: HOP_LIMIT,
            payload_len: packet.len() as u16,
        };
        repr.emit(packet.head.push_front(ipv6::HEADER_LEN));
        self.stats.ip6.out_requests += 1;
        self.stats.icmp6.out_msgs += 1;
        match mac {
            Some(mac) => self.send_framed(id, mac, packet),
            None if dst.is_multicast() => {
                self.send_framed(id, MacAddr::of_ipv6_multicast(dst), packet);
            }
            None => self.send_to_neighbor(id, dst.into(), packet),
        }
    }

    /// Notes when [`Net::nd_timers`] next has something to do.
    pub(super) fn nd_schedule(&mut self) {
        let all = self.ifaces.iter().filter_map(|iface| {
            let own = iface.nd.deadline();
            own.into_iter()
                .chain(iface.addresses_deadline(self.now))
                .min()
        });
        self.nd_wake = all.min();
    }

    /// Runs what is due.
    pub(super) fn nd_timers(&mut self) {
        if self.nd_wake.is_none_or(|wake| self.now < wake) {
            return;
        }
        for at in 0..self.ifaces.len() {
            let id = IfaceId(at as u16);
            self.probe_timers(id);
            self.solicit_timers(id);
            self.lifetime_timers(id);
        }
        self.nd_schedule();
    }

    /// A time from now on, at random within `within`: so that hosts that start together do not speak
    /// together.
    pub(super) fn some_time(&mut self, within: Duration) -> Instant {
        let thousandths = self.rng.below(1001);
        self.now + within * thousandths / 1000
    }

    fn nd_of(&mut self, id: IfaceId) -> Option<&mut NdState> {
        Some(&mut self.iface_mut(id)?.nd)
    }
}

impl NdState {
    fn deadline(&self) -> Option<Instant> {
        let probes = self.probes.iter().map(|probe| probe.next);
        let solicits = self.solicits.iter().map(|solicits| solicits.next);
        let routers = self.routers.iter().map(|router| router.until);
        let on_link = self.on_link.iter().filter_map(|prefix| prefix.until);
        let redirects = self.redirects.iter().map(|redirect| redirect.until);
        let all = probes.chain(solicits).chain(routers);
        all.chain(on_link).chain(redirects).min()
    }
}
