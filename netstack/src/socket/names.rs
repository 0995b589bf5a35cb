//! Addresses as a socket of one family takes and shows them. Inside the stack an IPv4 address is one,
//! also where an AF_INET6 socket names it `::ffff:1.2.3.4` (RFC 3493 section 3.7), and a scope is an
//! interface: nothing else has to know of either.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6};

use super::Family;
use crate::error::SocketError;
use crate::network::IfaceId;
use crate::network::source::is_link_local;

/// The family of a socket, and whether it keeps to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Names {
    /// The family.
    pub family: Family,
    /// IPV6_V6ONLY.
    pub v6only: bool,
}

/// An address as the stack knows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Inward {
    pub(crate) addr: SocketAddr,
    /// The link that a link-local address is of.
    pub(crate) iface: Option<IfaceId>,
}

impl Inward {
    /// The interface that a socket bound to `bound` has to use for the address, if any.
    ///
    /// # Errors
    /// `Invalid` for a link-local address of no link, or of another than `bound`.
    pub(crate) fn link(&self, bound: Option<IfaceId>) -> Result<Option<IfaceId>, SocketError> {
        match (self.iface, bound) {
            (Some(named), Some(bound)) if named != bound => Err(SocketError::Invalid),
            (None, None) if is_scoped_unicast(self.addr.ip()) => Err(SocketError::Invalid),
            (named, bound) => Ok(named.or(bound)),
        }
    }
}

fn is_scoped_unicast(addr: IpAddr) -> bool {
    matches!(addr, IpAddr::V6(v6) if is_link_local(v6))
}

impl Names {
    /// A socket of `family`; one of IPv6 speaks IPv4 too.
    pub const fn of(family: Family) -> Self {
        Self {
            family,
            v6only: false,
        }
    }

    /// The address that stands for all.
    pub(crate) fn unspecified(self) -> IpAddr {
        match self.family {
            Family::V4 => Ipv4Addr::UNSPECIFIED.into(),
            Family::V6 => Ipv6Addr::UNSPECIFIED.into(),
        }
    }

    /// Takes an address that an application names.
    ///
    /// # Errors
    /// `AddrFamily` for one of the other family.
    pub(crate) fn inward(self, addr: SocketAddr) -> Result<Inward, SocketError> {
        let (ip, scope) = match (self.family, addr) {
            (Family::V4, SocketAddr::V4(v4)) => (IpAddr::V4(*v4.ip()), 0),
            (Family::V4, SocketAddr::V6(_)) => return Err(SocketError::AddrFamily),
            // Programs of this stack may name IPv4 addresses plainly.
            (Family::V6, SocketAddr::V4(v4)) => (IpAddr::V4(*v4.ip()), 0),
            (Family::V6, SocketAddr::V6(v6)) => (v6.ip().to_canonical(), v6.scope_id()),
        };
        let scoped = needs_scope(ip);
        Ok(Inward {
            addr: SocketAddr::new(ip, addr.port()),
            iface: match scope {
                scope if scope > 0 && scoped => {
                    Some(IfaceId::from_index(scope).ok_or(SocketError::NoDevice)?)
                }
                _ => None,
            },
        })
    }

    /// Shows an address to the application; `iface` is where a link-local one is from.
    pub(crate) fn outward(self, addr: SocketAddr, iface: Option<IfaceId>) -> SocketAddr {
        match (self.family, addr) {
            (Family::V6, SocketAddr::V4(v4)) => {
                SocketAddr::new(v4.ip().to_ipv6_mapped().into(), v4.port())
            }
            (Family::V6, SocketAddr::V6(v6)) if is_link_local(*v6.ip()) => {
                let scope = iface.map_or(0, IfaceId::index);
                SocketAddrV6::new(*v6.ip(), v6.port(), 0, scope).into()
            }
            _ => addr,
        }
    }

    /// True if packets to `addr` can be for a socket that is bound to no address.
    pub(crate) fn speaks(self, addr: IpAddr) -> bool {
        match (self.family, addr) {
            (Family::V4, IpAddr::V4(_)) | (Family::V6, IpAddr::V6(_)) => true,
            (Family::V6, IpAddr::V4(_)) => !self.v6only,
            (Family::V4, IpAddr::V6(_)) => false,
        }
    }

    /// What a port is held for by a socket bound to `addr`: `None` is every address of both families.
    pub(crate) fn claimed(self, addr: IpAddr) -> Option<IpAddr> {
        match addr {
            IpAddr::V6(v6) if v6.is_unspecified() && !self.v6only => None,
            addr => Some(addr),
        }
    }
}

/// True for addresses that mean something on one link only.
pub(crate) fn needs_scope(addr: IpAddr) -> bool {
    match addr {
        IpAddr::V4(_) => false,
        IpAddr::V6(v6) => {
            is_link_local(v6) || matches!(v6.octets(), [0xff, scope, ..] if scope & 15 <= 2)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const V6: Names = Names::of(Family::V6);

    fn addr(text: &str) -> SocketAddr {
        text.parse().unwrap()
    }

    #[test]
    fn mapped_addresses_are_ipv4_inside() {
        let mapped = addr("[::ffff:10.0.0.1]:80");
        let inward = V6.inward(mapped).unwrap();
        assert_eq!(inward.addr, addr("10.0.0.1:80"));
        assert_eq!(V6.outward(inward.addr, None), mapped);
        let plain = Names::of(Family::V4);
        assert_eq!(plain.outward(inward.addr, None), inward.addr);
        assert_eq!(plain.inward(mapped), Err(SocketError::AddrFamily));
    }

    #[test]
    fn a_scope_is_an_interface() {
        let inward = V6.inward(addr("[fe80::1%3]:5")).unwrap();
        assert_eq!(inward.link(None), Ok(Some(IfaceId(2))));
        assert_eq!(inward.link(Some(IfaceId(1))), Err(SocketError::Invalid));
        let bare = V6.inward(addr("[fe80::1]:5")).unwrap();
        assert_eq!(bare.link(None), Err(SocketError::Invalid));
        assert_eq!(bare.link(Some(IfaceId(1))), Ok(Some(IfaceId(1))));
        assert_eq!(inward.addr, addr("[fe80::1]:5"));
        assert_eq!(inward.iface, Some(IfaceId(2)));
        assert_eq!(V6.outward(inward.addr, inward.iface), addr("[fe80::1%3]:5"));
        // Of other addresses it says nothing.
        assert_eq!(V6.inward(addr("[2001:db8::1%3]:5")).unwrap().iface, None);
        assert_eq!(
            V6.inward(addr("[fe80::1%70000]:5")),
            Err(SocketError::NoDevice)
        );
    }

    #[test]
    fn v6only_keeps_ipv4_out() {
        let only = Names { v6only: true, ..V6 };
        let (v4, any) = (IpAddr::from([10, 0, 0, 1]), V6.unspecified());
        assert!(V6.speaks(v4) && !only.speaks(v4) && only.speaks(any));
        assert_eq!((V6.claimed(any), only.claimed(any)), (None, Some(any)));
    }
}
