//! Neighbour solicitations and advertisements (RFC 4861 section 7).

use std::net::{IpAddr, Ipv6Addr};

use crate::link::{MacAddr, Medium};
use crate::neighbor::{Evidence, NeighborConfig};
use crate::network::IfaceId;
use crate::network::source::is_link_local;
use crate::stack::address::AddressState;
use crate::stack::net::Net;
use crate::time::Duration;
use crate::wire::ipv6::solicited_node;
use crate::wire::ndp::{self, NdOptions, NdRepr};

/// All nodes of the link.
pub(super) const ALL_NODES: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1);

impl Net {
    /// Somebody asks for an address. `None` if the addresses cannot be.
    pub(super) fn neighbor_solicit_in(
        &mut self,
        id: IfaceId,
        (src, dst): (Ipv6Addr, Ipv6Addr),
        target: Ipv6Addr,
        options: &NdOptions,
    ) -> Option<()> {
        let probe = src.is_unspecified();
        // A probe goes to the group and tells no link address.
        let odd = probe && (dst != solicited_node(target) || options.source.is_some());
        if target.is_multicast() || odd || options.source.is_some_and(MacAddr::is_group) {
            return None;
        }
        let state = self.iface(id)?.address(target.into())?.state;
        match state {
            AddressState::Usable => {}
            // Two ask for the same address at the same time: neither may have it.
            AddressState::Tentative if probe => {
                self.dad_failed(id, target);
                return Some(());
            }
            AddressState::Tentative | AddressState::Duplicate => return Some(()),
        }
        if let Some(mac) = options.source {
            self.nd_learn(id, src, mac, Evidence::Request);
        }
        let mac = self.iface(id)?.mac;
        let (to, known) = match probe {
            true => (ALL_NODES, None),
            // The answer goes to who asked, whatever the table has room for.
            false => (src, options.source),
        };
        let message = ndp::neighbor_advert(target, mac, !probe, self.forwards(id, true));
        self.stats.nd.out_neighbor_adverts += 1;
        self.send_nd(id, (target, to), known, &message);
        Some(())
    }

    /// Somebody tells of an address. `None` if the addresses cannot be.
    pub(super) fn neighbor_advert_in(
        &mut self,
        id: IfaceId,
        dst: Ipv6Addr,
        repr: NdRepr,
        options: &NdOptions,
    ) -> Option<()> {
        let NdRepr::NeighborAdvert {
            target,
            router,
            solicited,
            overrides,
        } = repr
        else {
            return None;
        };
        let odd = solicited && dst.is_multicast();
        if target.is_multicast() || odd || options.target.is_some_and(MacAddr::is_group) {
            return None;
        }
        match self.iface(id)?.address(target.into()).map(|own| own.state) {
            Some(AddressState::Tentative) => {
                self.dad_failed(id, target);
                return Some(());
            }
            // RFC 4861 section 7.2.5 leaves the case open; whoever was first keeps the address.
            Some(_) => return None,
            None => {}
        }
        let known = self.neighbors.known(id, target.into());
        if let Some(mac) = options.target.or(known) {
            let evidence = Evidence::Advert {
                solicited,
                overrides,
            };
            self.nd_learn(id, target, mac, evidence);
        }
        if !router {
            self.no_router_any_more(id, target);
        }
        Some(())
    }

    /// Learns a link address, if the neighbour can be one.
    pub(super) fn nd_learn(
        &mut self,
        id: IfaceId,
        addr: Ipv6Addr,
        mac: MacAddr,
        evidence: Evidence,
    ) {
        if !self.may_be_neighbor_v6(id, addr) {
            return;
        }
        let config = self.neighbor_config(id, addr.into());
        let (now, key) = (self.now, (id, IpAddr::V6(addr)));
        let rng = &mut self.rng;
        let released = self.neighbors.learn(now, key, mac, evidence, &config, rng);
        for packet in released {
            self.send_framed(id, mac, packet);
        }
    }

    fn may_be_neighbor_v6(&self, id: IfaceId, addr: Ipv6Addr) -> bool {
        let ip = IpAddr::V6(addr);
        let bad = addr.is_unspecified() || addr.is_multicast() || self.is_local(ip);
        let on_link = self.routes.main(ip, Some(id));
        let on_link = on_link.is_some_and(|route| route.gateway.is_none());
        !bad && (on_link || is_link_local(addr))
    }

    /// Asks for a neighbour, in its group or at the link address that it had.
    pub(in crate::stack) fn solicit_v6(
        &mut self,
        id: IfaceId,
        target: Ipv6Addr,
        mac: Option<MacAddr>,
    ) {
        let Some(IpAddr::V6(src)) = self.source_v6(target, id) else {
            return;
        };
        let Some(iface) = self.iface(id) else {
            return;
        };
        if iface.caps.medium != Medium::Ethernet {
            return;
        }
        let message = ndp::neighbor_solicit(target, Some(iface.mac));
        let dst = match mac {
            Some(_) => target,
            None => solicited_node(target),
        };
        self.stats.nd.out_neighbor_solicits += 1;
        self.send_nd(id, (src, dst), mac, &message);
    }

    /// The settings for a neighbour: in IPv6 routers have a say, and nobody has to wait before an address
    /// may change (Linux `nd_tbl`).
    pub(in crate::stack) fn neighbor_config(&self, id: IfaceId, addr: IpAddr) -> NeighborConfig {
        let config = self.config.neighbor;
        let nd = match (addr, self.iface(id)) {
            (IpAddr::V6(_), Some(iface)) => &iface.nd,
            _ => return config,
        };
        NeighborConfig {
            base_reachable_time: nd.reachable.unwrap_or(config.base_reachable_time),
            retrans_time: nd.retrans.unwrap_or(config.retrans_time),
            locktime: Duration::ZERO,
            ..config
        }
    }
}
