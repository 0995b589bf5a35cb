//! The network layer's state: interfaces, routes, neighbours. Everything that sends borrows only this,
//! so that transports can be borrowed beside it.

use std::collections::VecDeque;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::config::NetConfig;
use super::iface::{Iface, InterfaceConfig};
use crate::buf::{RxPacket, SUPER_PACKET_MAX, TxPacket};
use crate::error::SocketError;
use crate::filter::Filter;
use crate::link::pool::RxPool;
use crate::link::{DeviceCaps, MacAddr, Medium};
use crate::neighbor::{Action, NeighborTable};
use crate::network::IfaceId;
use crate::network::ident::Identifiers;
use crate::network::pmtu::PmtuCache;
use crate::network::route::{Flow, RouteMetrics, Routes};
use crate::network::source::{is_link_local, select};
use crate::network::stats::NetStats;
use crate::rng::Rng;
use crate::time::Instant;

/// The loopback interface: always the first one.
pub const LOOPBACK: IfaceId = IfaceId(0);

/// Interfaces, routes, neighbours and what else sending needs.
#[derive(Debug)]
pub(crate) struct Net {
    pub(super) now: Instant,
    pub(super) config: NetConfig,
    pub(super) ifaces: Vec<Iface>,
    pub(super) routes: Routes,
    /// Rules and connections, if there are any.
    pub(super) filter: Option<Box<Filter>>,
    pub(super) neighbors: NeighborTable,
    pub(super) pmtu: PmtuCache,
    pub(super) idents: Identifiers,
    pub(super) rng: Rng,
    pub(super) stats: NetStats,
    /// When neighbour discovery has something to do.
    pub(super) nd_wake: Option<Instant>,
    /// When something is to be told of groups.
    pub(super) groups_wake: Option<Instant>,
    /// What stable identifiers depend on.
    pub(super) nd_key: [u64; 2],
    /// Our own copies of broadcasts and multicasts that we sent, still to be received.
    pub(super) echoes: VecDeque<(IfaceId, RxPacket)>,
    /// Buffers for packets that never leave.
    pub(super) pool: RxPool,
    /// Packets whose neighbour does not answer; their sockets are still to be told.
    pub(super) undeliverable: Vec<TxPacket>,
    /// Kept between timeouts for its memory.
    pub(super) actions: Vec<Action>,
}

/// How a packet leaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Hop {
    /// It does not.
    Local,
    /// To everybody on the link.
    Broadcast,
    /// To a group.
    Multicast,
    /// To this neighbour.
    Neighbor(IpAddr),
}

/// Where a packet goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Path {
    pub(super) iface: IfaceId,
    pub(super) src: IpAddr,
    pub(super) hop: Hop,
    /// MTU of interface and route, without what routers have said.
    pub(super) mtu: u32,
    /// What the route says that connections begin with.
    pub(super) metrics: RouteMetrics,
}

impl Net {
    pub(super) fn new(config: NetConfig, mut rng: Rng) -> Self {
        let mut net = Self {
            now: Instant::ZERO,
            ifaces: Vec::new(),
            routes: Routes::new(&mut rng),
            filter: None,
            neighbors: NeighborTable::new(&mut rng),
            pmtu: PmtuCache::new(&mut rng),
            idents: Identifiers::new(&mut rng),
            nd_wake: None,
            groups_wake: None,
            nd_key: rng.key(),
            rng,
            stats: NetStats::default(),
            echoes: VecDeque::new(),
            pool: RxPool::new(),
            undeliverable: Vec::new(),
            actions: Vec::new(),
            config,
        };
        let loopback = InterfaceConfig {
            name: "lo".to_owned(),
            mac: MacAddr::default(),
            caps: DeviceCaps {
                medium: Medium::Ip,
                mtu: SUPER_PACKET_MAX as u32,
                tx_checksum: true,
                gso_max: SUPER_PACKET_MAX as u32,
            },
        };
        net.push_iface(loopback, true);
        net
    }

    pub(super) fn push_iface(&mut self, config: InterfaceConfig, is_loopback: bool) -> IfaceId {
        let id = IfaceId(self.ifaces.len() as u16);
        let limits = (self.config.tx_queue_len, self.config.tx_queue_bytes);
        let mut iface = Iface::new(config, is_loopback, limits);
        iface.conf = self.config.forward.default;
        self.ifaces.push(iface);
        id
    }

    pub(super) fn iface(&self, id: IfaceId) -> Option<&Iface> {
        self.ifaces.get(usize::from(id.0))
    }

    pub(super) fn iface_mut(&mut self, id: IfaceId) -> Option<&mut Iface> {
        self.ifaces.get_mut(usize::from(id.0))
    }

    /// True if packets to `addr` are for us alone.
    pub(crate) fn is_local(&self, addr: IpAddr) -> bool {
        addr.is_loopback() || self.ifaces.iter().any(|iface| iface.has_addr(addr))
    }

    /// True if an interface takes packets to any address.
    pub(super) fn intercepts(&self) -> bool {
        self.ifaces.iter().any(|iface| iface.interceptor.is_some())
    }

    /// True if `addr` is the limited broadcast address or that of a network of ours.
    pub(crate) fn is_broadcast(&self, addr: IpAddr) -> bool {
        addr == IpAddr::V4(Ipv4Addr::BROADCAST)
            || self.ifaces.iter().any(|iface| iface.is_broadcast(addr))
    }

    /// Finds the way to `dst`.
    ///
    /// # Errors
    /// `NetUnreachable` without a route, `AddrNotAvailable` if `src` is not ours.
    pub(super) fn path(
        &self,
        dst: IpAddr,
        src: Option<IpAddr>,
        bound: Option<IfaceId>,
    ) -> Result<Path, SocketError> {
        self.path_of(&Flow::to(dst, src, bound))
    }

    /// The same for a packet of which more is known. It is sent from here.
    ///
    /// # Errors
    /// As [`Net::path`]; `Invalid`, `HostUnreachable` or `Access` for a route that leads nowhere.
    pub(super) fn path_of(&self, flow: &Flow) -> Result<Path, SocketError> {
        let (dst, src, bound) = (flow.dst, flow.src, flow.oif);
        let src = src.filter(|src| !src.is_unspecified());
        let foreign = src.is_some_and(|src| !self.is_local(src));
        if foreign && !self.intercepts() {
            return Err(SocketError::AddrNotAvailable);
        }
        if self.is_local(dst) {
            return Ok(Path {
                iface: LOOPBACK,
                src: src.unwrap_or(dst),
                hop: Hop::Local,
                mtu: SUPER_PACKET_MAX as u32,
                metrics: RouteMetrics::default(),
            });
        }
        let limited = dst == IpAddr::V4(Ipv4Addr::BROADCAST);
        let group = limited || dst.is_multicast();
        let mut chosen = bound.or_else(|| src.and_then(|src| self.iface_of(src)));
        if dst.is_ipv6() && group {
            // Every link of IPv6 has all groups; without a choice it is the first.
            chosen = chosen.or_else(|| self.first_ipv6_link());
        }
        if group && let Some(id) = chosen {
            // The loopback interface has no route to the groups of IPv6.
            if dst.is_ipv6() && id == LOOPBACK {
                return Err(SocketError::NetUnreachable);
            }
            let hop = if limited {
                Hop::Broadcast
            } else {
                Hop::Multicast
            };
            return self.path_on_link(id, dst, dst, src, hop);
        }
        let flow = Flow {
            src,
            iif: Some(LOOPBACK),
            by_ports: self.config.forward.fib_multipath_hash_policy == 1,
            ..*flow
        };
        let (route, chosen) = self.routes.lookup(&flow)?;
        // Of several next hops one over the link that has the source address is the better one.
        let has_src = |id: IfaceId| {
            let iface = self.iface(id);
            src.is_none_or(|src| iface.is_some_and(|iface| iface.has_addr(src)))
        };
        let mut hops = route.hops();
        let better = (!route.more.is_empty() && !has_src(chosen.iface))
            .then(|| hops.find(|hop| has_src(hop.iface) && bound.is_none_or(|id| id == hop.iface)));
        let chosen = better.flatten().unwrap_or(chosen);
        let next = chosen.gateway.unwrap_or(dst);
        let hop = match () {
            () if limited => Hop::Broadcast,
            () if dst.is_multicast() => Hop::Multicast,
            () if self.is_broadcast(dst) => Hop::Broadcast,
            () => Hop::Neighbor(next),
        };
        let path = self.path_on_link(chosen.iface, dst, next, src.or(route.src), hop)?;
        // Only where packets to any address come in do packets from any address go out.
        if foreign
            && self
                .iface(path.iface)
                .is_none_or(|iface| iface.interceptor.is_none())
        {
            return Err(SocketError::AddrNotAvailable);
        }
        Ok(Path {
            mtu: route.mtu.map_or(path.mtu, |mtu| mtu.min(path.mtu)),
            metrics: route.metrics,
            ..path
        })
    }

    fn path_on_link(
        &self,
        id: IfaceId,
        dst: IpAddr,
        next: IpAddr,
        src: Option<IpAddr>,
        hop: Hop,
    ) -> Result<Path, SocketError> {
        let iface = self.iface(id).ok_or(SocketError::NetUnreachable)?;
        let src = src.or_else(|| match (dst, next) {
            (IpAddr::V6(dst), _) => self.source_v6(dst, id),
            (_, IpAddr::V4(next)) => self.source_v4(id, next),
            _ => None,
        });
        Ok(Path {
            iface: id,
            src: src.ok_or(SocketError::AddrNotAvailable)?,
            hop,
            mtu: iface.mtu_for(dst).min(SUPER_PACKET_MAX as u32),
            metrics: RouteMetrics::default(),
        })
    }

    /// The IPv4 source address for packets by way of `next`: one of the interface's, else one of another
    /// interface that is good beyond its link (Linux `inet_select_addr`).
    pub(super) fn source_v4(&self, id: IfaceId, next: Ipv4Addr) -> Option<IpAddr> {
        let own = self.iface(id)?.source_for(next);
        let mut others = self.ifaces.iter().filter(|iface| !iface.is_loopback);
        own.or_else(|| others.find_map(Iface::global_v4))
    }

    /// The source address for `dst` over an interface: of those of the interface, or else of others
    /// (RFC 6724 section 5, Linux `ipv6_dev_get_saddr`).
    pub(super) fn source_v6(&self, dst: Ipv6Addr, id: IfaceId) -> Option<IpAddr> {
        let own = |at: usize| at == usize::from(id.0);
        let all = self.ifaces.iter().enumerate().flat_map(|(at, iface)| {
            let candidates = iface.candidates(self.now, own(at));
            // A link-local address means nothing on another link.
            candidates.filter(move |it| own(at) || !is_link_local(it.addr))
        });
        let all = all.filter(|it| !it.addr.is_loopback());
        select(dst, all).map(|found| found.addr.into())
    }

    fn first_ipv6_link(&self) -> Option<IfaceId> {
        let has_ipv6 = |iface: &Iface| {
            let mut usable = iface.addrs.iter().filter(|own| own.is_usable());
            !iface.is_loopback && usable.any(|own| own.ip().is_ipv6())
        };
        let at = self.ifaces.iter().position(has_ipv6)?;
        Some(IfaceId(at as u16))
    }

    /// The interface that has the address.
    pub(super) fn iface_of(&self, addr: IpAddr) -> Option<IfaceId> {
        let at = self.ifaces.iter().position(|iface| iface.has_addr(addr))?;
        Some(IfaceId(at as u16))
    }

    /// When a queue that holds its packets back lets the next one go; those that may leave now are no
    /// timer's affair.
    pub(super) fn queues_wake(&self) -> Option<Instant> {
        let times = self.ifaces.iter().filter_map(|link| link.qdisc.ready_at());
        times.filter(|at| *at > self.now).min()
    }

    /// True if some interface's queue, found full, has drained since the last call.
    pub(super) fn take_room_signal(&mut self) -> bool {
        let mut any = false;
        for iface in &mut self.ifaces {
            any |= iface.take_room_signal();
        }
        any
    }
}
