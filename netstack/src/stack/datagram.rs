//! How datagrams leave, whichever socket sends them: the choice of interface, source address and TTL, for
//! groups too.

use std::net::IpAddr;

use super::Stack;
use super::egress::DatagramOut;
use crate::error::SocketError;
use crate::network::{IfaceId, IpOutput, RouteInfo};
use crate::socket::tcp::MtuDiscover;
use crate::socket::{DatagramOptions, SendTo};

/// The way of one datagram as its socket and its call want it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Way {
    pub(super) iface: Option<IfaceId>,
    pub(super) src: Option<IpAddr>,
    /// 0: the default.
    pub(super) ttl: u8,
    pub(super) tos: u8,
    mtu_discover: MtuDiscover,
    /// The source address was named by the call.
    named: bool,
    pub(super) out: DatagramOut,
}

impl Way {
    /// Whether DF is set, or the packet refused if it is too long; `fits`: it is not.
    pub(super) fn dont_fragment(&self, fits: bool) -> bool {
        match self.mtu_discover {
            // What fits is not to be fragmented on the way, what does not is here.
            MtuDiscover::Want => fits,
            MtuDiscover::Do | MtuDiscover::Probe => true,
            MtuDiscover::Dont | MtuDiscover::Omit => false,
            // Without DF, but not in fragments either.
            MtuDiscover::Interface => !fits,
        }
    }
}

impl Stack {
    /// Puts together what the socket's options and the call say of a datagram to `to`.
    pub(super) fn datagram_way(
        &self,
        options: &DatagramOptions,
        local: Option<IpAddr>,
        (to, iface): (IpAddr, Option<IfaceId>),
        how: &SendTo,
    ) -> Way {
        let group = to.is_multicast();
        let groups = options.groups(to);
        let of_group = |iface: Option<IfaceId>| iface.filter(|_| group);
        let local = local.filter(|local| !local.is_unspecified() && !self.is_group(*local));
        let group_addr = groups.addr.filter(|_| group && to.is_ipv4());
        let ttl = match group {
            true => groups.ttl,
            false => options.ttl,
        };
        Way {
            iface: how.iface.or(iface).or_else(|| of_group(groups.iface)),
            src: how.source.or(local).or(group_addr.map(IpAddr::V4)),
            ttl: how.ttl.unwrap_or(ttl),
            tos: how.tos.unwrap_or(options.tos),
            mtu_discover: options.mtu_discover,
            named: how.source.is_some(),
            out: DatagramOut {
                loop_back: !group || groups.loop_back,
                leaves: !group || how.ttl.unwrap_or(ttl) > 0,
                ignore_pmtu: matches!(
                    options.mtu_discover,
                    MtuDiscover::Probe | MtuDiscover::Interface | MtuDiscover::Omit
                ),
                any_source: options.transparent,
            },
        }
    }

    /// The route that a datagram takes.
    pub(super) fn datagram_route(&self, to: IpAddr, way: &Way) -> Result<RouteInfo, SocketError> {
        if way.iface.is_some_and(|id| self.net.iface(id).is_none()) {
            return Err(SocketError::NoDevice);
        }
        let asked = way.src.filter(|_| !way.out.any_source);
        let route = self
            .net
            .route(to, asked, way.iface)
            .map_err(|error| match error {
                // An address that is not ours (`ip_route_output_key_hash_rcu`, `ip6_datagram_send_ctl`).
                SocketError::AddrNotAvailable if to.is_ipv4() => SocketError::NetUnreachable,
                SocketError::AddrNotAvailable if way.named => SocketError::Invalid,
                error => error,
            })?;
        let mtu = match way.out.ignore_pmtu {
            true => self.net.path(to, asked, way.iface)?.mtu,
            false => route.mtu,
        };
        let src = way.src.filter(|_| way.out.any_source).unwrap_or(route.src);
        Ok(RouteInfo { src, mtu, ..route })
    }
}
