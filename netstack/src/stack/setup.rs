//! Interfaces, addresses, routes, neighbours: what an administrator sets.

use std::net::{IpAddr, Ipv4Addr};

use thiserror::Error;

use super::Stack;
use super::iface::{IfaceCounters, InterfaceConfig};
use super::net::LOOPBACK;
use crate::link::{DeviceCaps, MacAddr, Medium};
use crate::neighbor::NeighborState;
use crate::network::IfaceId;
use crate::network::addr::Cidr;
use crate::network::route::Route;
use crate::wire::ipv4;

/// Why the set-up was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum ConfigError {
    /// There is no such interface.
    #[error("no such interface")]
    NoInterface,
    /// The name is empty, too long, or taken.
    #[error("the interface name is empty, longer than 15 bytes, or taken")]
    BadName,
    /// The MTU is below 68 (RFC 791).
    #[error("the MTU is below 68 bytes")]
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
    /// 65,535 interfaces exist.
    #[error("too many interfaces")]
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
            addrs: iface.addrs.to_vec(),
            is_loopback: iface.is_loopback,
            counters: iface.counters,
        })
    }

    /// Gives an interface an address, and adds the route to its network.
    ///
    /// # Errors
    /// `NoInterface`, `BadAddress`, `Exists`.
    pub fn add_address(&mut self, id: IfaceId, cidr: Cidr) -> Result<(), ConfigError> {
        let addr = cidr.addr();
        let broadcast = cidr.broadcast() == Some(addr) || addr == IpAddr::V4(Ipv4Addr::BROADCAST);
        let class_e = matches!(addr, IpAddr::V4(v4) if v4.octets()[0] >= 240);
        if addr.is_unspecified() || addr.is_multicast() || broadcast || class_e {
            return Err(ConfigError::BadAddress);
        }
        let iface = self.net.iface_mut(id).ok_or(ConfigError::NoInterface)?;
        if iface.addrs.iter().any(|other| other.addr() == addr) {
            return Err(ConfigError::Exists);
        }
        iface.addrs.push(cidr);
        let announces = iface.caps.medium == Medium::Ethernet;
        if !iface.is_loopback {
            self.net.routes.add(connected(id, cidr));
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
        let at = iface.addrs.iter().position(|cidr| cidr.addr() == addr);
        let cidr = iface.addrs.remove(at.ok_or(ConfigError::Missing)?);
        let network = cidr.network();
        let shared = iface.addrs.iter().find(|other| other.network() == network);
        let shared = shared.copied();
        self.net.routes.remove(cidr, id);
        if let Some(other) = shared {
            self.net.routes.add(connected(id, other));
        }
        Ok(())
    }

    /// Adds a route.
    ///
    /// # Errors
    /// `NoInterface`; `BadGateway` if the gateway is one of ours or cannot be reached directly.
    pub fn add_route(&mut self, route: Route) -> Result<(), ConfigError> {
        let iface = self
            .net
            .iface(route.iface)
            .ok_or(ConfigError::NoInterface)?;
        if let Some(gateway) = route.gateway {
            let ethernet = iface.caps.medium == Medium::Ethernet;
            let on_link = self.net.routes.lookup(gateway, Some(route.iface));
            let reachable = on_link.is_some_and(|route| route.gateway.is_none());
            if self.net.is_local(gateway) || (ethernet && !reachable) {
                return Err(ConfigError::BadGateway);
            }
        }
        self.net.routes.add(route);
        Ok(())
    }

    /// Adds the default route for IPv4 over a gateway.
    ///
    /// # Errors
    /// As [`Stack::add_route`].
    pub fn add_default_route(
        &mut self,
        iface: IfaceId,
        gateway: IpAddr,
    ) -> Result<(), ConfigError> {
        self.add_route(Route {
            dest: Cidr::all_v4(),
            gateway: Some(gateway),
            iface,
            metric: 0,
            src: None,
            mtu: None,
        })
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

    /// All routes, best first.
    pub fn routes(&self) -> impl Iterator<Item = Route> {
        self.net.routes.iter().copied()
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
        let cidr = Cidr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 8);
        if let (Some(iface), Some(cidr)) = (self.net.iface_mut(LOOPBACK), cidr) {
            iface.addrs.push(cidr);
        }
    }
}

/// The route to an interface's own network.
fn connected(iface: IfaceId, cidr: Cidr) -> Route {
    Route {
        dest: cidr,
        gateway: None,
        iface,
        metric: 0,
        src: Some(cidr.addr()),
        mtu: None,
    }
}
