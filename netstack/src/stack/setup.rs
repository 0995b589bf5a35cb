//! Interfaces, addresses, routes, neighbours: what an administrator sets.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use thiserror::Error;

use super::Stack;
use super::address::{Address, AddressState};
use super::iface::{IfaceCounters, InterfaceConfig};
use super::net::LOOPBACK;
use crate::error::SocketError;
use crate::link::{DeviceCaps, MacAddr, Medium};
use crate::neighbor::NeighborState;
use crate::network::addr::Cidr;
use crate::network::qdisc::{Qdisc, QdiscConfig, QdiscCounters};
use crate::network::route::{Route, RouteKind, Rule};
use crate::network::source::is_link_local;
use crate::network::{IfaceId, IpOutput, RouteInfo};
use crate::wire::{ipv4, ipv6};

/// Next hops that a route can have.
const NEXT_HOPS_MAX: usize = 64;

/// Why the set-up was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum ConfigError {
    /// There is no such interface.
    #[error("no such interface")]
    NoInterface,
    /// The name is empty, too long, or taken.
    #[error("the interface name is empty, longer than 15 bytes, or taken")]
    BadName,
    /// The MTU is below 68 (RFC 791), or below 1280 where an IPv6 address is added (RFC 8200).
    #[error("the MTU is below 68 bytes, or for IPv6 below 1280")]
    BadMtu,
    /// The address cannot be an interface's: unspecified, multicast or broadcast.
    #[error("not an address that an interface can have")]
    BadAddress,
    /// The address is set already, or the route exists.
    #[error("already exists")]
    Exists,
    /// There is no such address or route.
    #[error("no such address or route")]
    Missing,
    /// The gateway is not on a network of the interface.
    #[error("the gateway is not on the link")]
    BadGateway,
    /// A route with more than 64 next hops, or one that leads nowhere and has several.
    #[error("not a route: too many next hops, or several of a route that leads nowhere")]
    BadRoute,
    /// 65,535 interfaces exist, or 256 routing tables.
    #[error("too many interfaces or routing tables")]
    TooMany,
}

/// What there is to know of an interface.
#[derive(Clone, Debug)]
pub struct InterfaceInfo {
    /// Its handle.
    pub id: IfaceId,
    /// Its name.
    pub name: String,
    /// Its Ethernet address.
    pub mac: MacAddr,
    /// Its device.
    pub caps: DeviceCaps,
    /// Its addresses.
    pub addrs: Vec<Cidr>,
    /// The same with what is known of each.
    pub addresses: Vec<Address>,
    /// It is the loopback interface.
    pub is_loopback: bool,
    /// What has passed it.
    pub counters: IfaceCounters,
}

/// What there is to know of a neighbour.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NeighborInfo {
    /// Its interface.
    pub iface: IfaceId,
    /// Its address.
    pub addr: IpAddr,
    /// Its state.
    pub state: NeighborState,
    /// Its Ethernet address, if known.
    pub mac: Option<MacAddr>,
}

impl Stack {
    /// Adds an interface without addresses.
    ///
    /// # Errors
    /// `BadName`, `BadMtu`, `TooMany`.
    pub fn add_interface(&mut self, config: InterfaceConfig) -> Result<IfaceId, ConfigError> {
        let taken = self.interface_by_name(&config.name).is_some();
        if config.name.is_empty() || config.name.len() > 15 || taken {
            return Err(ConfigError::BadName);
        }
        if config.caps.mtu < ipv4::MTU_MIN {
            return Err(ConfigError::BadMtu);
        }
        if self.net.ifaces.len() >= usize::from(u16::MAX) {
            return Err(ConfigError::TooMany);
        }
        Ok(self.net.push_iface(config, false))
    }

    /// The interface of that name.
    pub fn interface_by_name(&self, name: &str) -> Option<IfaceId> {
        let at = self
            .net
            .ifaces
            .iter()
            .position(|iface| iface.name == name)?;
        Some(IfaceId(at as u16))
    }

    /// All interfaces, the loopback interface first.
    pub fn interfaces(&self) -> impl Iterator<Item = InterfaceInfo> {
        let numbered = self.net.ifaces.iter().enumerate();
        numbered.map(|(at, iface)| InterfaceInfo {
            id: IfaceId(at as u16),
            name: iface.name.clone(),
            mac: iface.mac,
            caps: iface.caps,
            addrs: iface.addrs.iter().map(|own| own.cidr).collect(),
            addresses: iface.addrs.to_vec(),
            is_loopback: iface.is_loopback,
            counters: iface.counters,
        })
    }

    /// Gives an interface an address, and adds the route to its network. An IPv6 address on Ethernet may
    /// be used once the link has been asked for it (RFC 4862 section 5.4), after a second or two.
    ///
    /// # Errors
    /// `NoInterface`, `BadAddress`, `Exists`; `BadMtu` for IPv6 on a link with a small MTU.
    pub fn add_address(&mut self, id: IfaceId, cidr: Cidr) -> Result<(), ConfigError> {
        self.add_address_as(id, cidr, true)
    }

    /// The same without asking the link: the address is known to be nobody else's.
    ///
    /// # Errors
    /// As [`Stack::add_address`].
    pub fn add_unique_address(&mut self, id: IfaceId, cidr: Cidr) -> Result<(), ConfigError> {
        self.add_address_as(id, cidr, false)
    }

    /// Lets an Ethernet interface give itself an IPv6 link-local address, ask for routers, and make
    /// addresses from what they advertise.
    ///
    /// # Errors
    /// `NoInterface`; `BadMtu` on a link with an MTU below 1280.
    pub fn autoconfigure_ipv6(&mut self, id: IfaceId) -> Result<(), ConfigError> {
        let iface = self.net.iface(id).ok_or(ConfigError::NoInterface)?;
        if iface.caps.mtu < ipv6::MTU_MIN {
            return Err(ConfigError::BadMtu);
        }
        self.net.nd_autoconfigure(id);
        Ok(())
    }

    fn add_address_as(&mut self, id: IfaceId, cidr: Cidr, dad: bool) -> Result<(), ConfigError> {
        let addr = cidr.addr();
        let broadcast = cidr.broadcast() == Some(addr) || addr == IpAddr::V4(Ipv4Addr::BROADCAST);
        let class_e = matches!(addr, IpAddr::V4(v4) if v4.octets()[0] >= 240);
        if addr.is_unspecified() || addr.is_multicast() || broadcast || class_e {
            return Err(ConfigError::BadAddress);
        }
        let iface = self.net.iface_mut(id).ok_or(ConfigError::NoInterface)?;
        if iface.address(addr).is_some() {
            return Err(ConfigError::Exists);
        }
        if addr.is_ipv6() && iface.caps.mtu < ipv6::MTU_MIN {
            return Err(ConfigError::BadMtu);
        }
        let asked = dad && addr.is_ipv6();
        let state = match asked {
            true => AddressState::Tentative,
            false => AddressState::Usable,
        };
        iface.addrs.push(Address::manual(cidr, state));
        let announces = iface.caps.medium == Medium::Ethernet;
        if !iface.is_loopback {
            self.net.routes.add(connected(id, cidr));
        }
        if let IpAddr::V6(v6) = addr {
            self.net.address_added(id, v6, asked);
        }
        if let IpAddr::V4(v4) = addr
            && announces
            && self.net.config.arp_notify
        {
            self.net.announce(id, v4);
        }
        Ok(())
    }

    /// Takes an address from an interface, and the route to its network with it.
    ///
    /// # Errors
    /// `NoInterface`, `Missing`.
    pub fn remove_address(&mut self, id: IfaceId, addr: IpAddr) -> Result<(), ConfigError> {
        let iface = self.net.iface_mut(id).ok_or(ConfigError::NoInterface)?;
        let at = iface.addrs.iter().position(|own| own.ip() == addr);
        let cidr = iface.addrs.remove(at.ok_or(ConfigError::Missing)?).cidr;
        let network = cidr.network();
        let mut others = iface.addrs.iter().map(|own| own.cidr);
        let shared = others.find(|other| other.network() == network);
        self.net.routes.remove(cidr, id);
        if let Some(other) = shared {
            self.net.routes.add(connected(id, other));
        }
        if let Some(filter) = &mut self.net.filter {
            filter.conns.forget_masquerade(addr);
        }
        if let IpAddr::V6(addr) = addr {
            self.net.address_removed(id, addr);
        }
        Ok(())
    }

    /// Adds a route.
    ///
    /// # Errors
    /// `NoInterface`; `BadGateway` if a gateway is one of ours or cannot be reached directly; `BadRoute`;
    /// `TooMany` tables.
    pub fn add_route(&mut self, route: Route) -> Result<(), ConfigError> {
        for hop in route.hops() {
            let iface = self.net.iface(hop.iface).ok_or(ConfigError::NoInterface)?;
            let Some(gateway) = hop.gateway else {
                continue;
            };
            let ethernet = iface.caps.medium == Medium::Ethernet;
            let on_link = self.net.routes.main(gateway, Some(hop.iface));
            let reachable = on_link.is_some_and(|route| route.gateway.is_none())
                || matches!(gateway, IpAddr::V6(addr) if is_link_local(addr));
            let family = gateway.is_ipv4() == route.dest.addr().is_ipv4();
            if self.net.is_local(gateway) || !family || (ethernet && !reachable) {
                return Err(ConfigError::BadGateway);
            }
        }
        if route.more.len() >= NEXT_HOPS_MAX
            || (route.kind != RouteKind::Unicast && !route.more.is_empty())
        {
            return Err(ConfigError::BadRoute);
        }
        match self.net.routes.add(route) {
            true => Ok(()),
            false => Err(ConfigError::TooMany),
        }
    }

    /// Removes one very route, wherever it is.
    ///
    /// # Errors
    /// `Missing`.
    pub fn remove_exact_route(&mut self, route: &Route) -> Result<(), ConfigError> {
        match self.net.routes.remove_exact(route) {
            true => Ok(()),
            false => Err(ConfigError::Missing),
        }
    }

    /// Adds a policy rule.
    ///
    /// # Errors
    /// `Exists`, if there is the same one (or no room for more).
    pub fn add_rule(&mut self, rule: Rule) -> Result<(), ConfigError> {
        match self.net.routes.add_rule(rule) {
            true => Ok(()),
            false => Err(ConfigError::Exists),
        }
    }

    /// Removes one very policy rule.
    ///
    /// # Errors
    /// `Missing`.
    pub fn remove_rule(&mut self, rule: &Rule) -> Result<(), ConfigError> {
        match self.net.routes.remove_rule(rule) {
            true => Ok(()),
            false => Err(ConfigError::Missing),
        }
    }

    /// The policy rules of a family, in the order in which they are tried.
    pub fn rules(&self, ipv6: bool) -> impl Iterator<Item = Rule> {
        self.net.routes.rules(ipv6).iter().copied()
    }

    /// Adds the default route for the gateway's family.
    ///
    /// # Errors
    /// As [`Stack::add_route`].
    pub fn add_default_route(
        &mut self,
        iface: IfaceId,
        gateway: IpAddr,
    ) -> Result<(), ConfigError> {
        self.add_route(Route::via(Cidr::all_of(gateway), gateway, iface))
    }

    /// Removes the routes to `dest` over an interface.
    ///
    /// # Errors
    /// `Missing`.
    pub fn remove_route(&mut self, dest: Cidr, iface: IfaceId) -> Result<(), ConfigError> {
        match self.net.routes.remove(dest, iface) {
            true => Ok(()),
            false => Err(ConfigError::Missing),
        }
    }

    /// The way to `dst`, from `src` and over `iface` if they are given (`ip route get`).
    ///
    /// # Errors
    /// As a socket would be told: `NetUnreachable`, `AddrNotAvailable` if `src` is not ours; `Invalid`,
    /// `HostUnreachable` or `Access` for a route that leads nowhere.
    pub fn route_get(
        &self,
        dst: IpAddr,
        src: Option<IpAddr>,
        iface: Option<IfaceId>,
    ) -> Result<RouteInfo, SocketError> {
        self.net.route(dst, src, iface)
    }

    /// All routes of all tables: the longest prefixes first, then the lowest metrics.
    pub fn routes(&self) -> impl Iterator<Item = Route> {
        self.net.routes.all().into_iter()
    }

    /// Gives an interface another queue discipline. Packets that wait in the old one are lost.
    ///
    /// # Errors
    /// `NoInterface`; the loopback interface has none.
    pub fn set_qdisc(&mut self, id: IfaceId, config: QdiscConfig) -> Result<(), ConfigError> {
        let iface = self.net.iface_mut(id).filter(|_| id != LOOPBACK);
        let iface = iface.ok_or(ConfigError::NoInterface)?;
        iface.qdisc = Qdisc::new(config);
        Ok(())
    }

    /// The queue discipline of an interface, and what has passed it.
    pub fn qdisc(&self, id: IfaceId) -> Option<(QdiscConfig, QdiscCounters)> {
        let qdisc = &self.net.iface(id)?.qdisc;
        Some((qdisc.config(), qdisc.counters()))
    }

    /// All neighbours.
    pub fn neighbors(&self) -> impl Iterator<Item = NeighborInfo> {
        let all = self.net.neighbors.iter(self.net.now);
        all.map(|(iface, addr, state, mac)| NeighborInfo {
            iface,
            addr,
            state,
            mac,
        })
    }

    /// Sets a neighbour's address by hand.
    ///
    /// # Errors
    /// `NoInterface`.
    pub fn set_neighbor(
        &mut self,
        iface: IfaceId,
        addr: IpAddr,
        mac: MacAddr,
    ) -> Result<(), ConfigError> {
        self.net.iface(iface).ok_or(ConfigError::NoInterface)?;
        for packet in self.net.neighbors.set_permanent(iface, addr, mac) {
            self.net.send_framed(iface, mac, packet);
        }
        Ok(())
    }

    /// True if `addr` is one of ours.
    pub fn is_local(&self, addr: IpAddr) -> bool {
        self.net.is_local(addr)
    }

    pub(super) fn set_up_loopback(&mut self) {
        let v4 = Cidr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 8);
        let v6 = Cidr::new(IpAddr::V6(Ipv6Addr::LOCALHOST), 128);
        if let Some(iface) = self.net.iface_mut(LOOPBACK) {
            let both = v4.into_iter().chain(v6);
            iface
                .addrs
                .extend(both.map(|cidr| Address::manual(cidr, AddressState::Usable)));
        }
        self.net.sync_own_groups(LOOPBACK);
    }
}

/// The route to an interface's own network.
pub(super) fn connected(iface: IfaceId, cidr: Cidr) -> Route {
    Route {
        // IPv6 chooses among all addresses (RFC 6724).
        src: Some(cidr.addr()).filter(|addr| addr.is_ipv4()),
        ..Route::new(cidr, iface)
    }
}
