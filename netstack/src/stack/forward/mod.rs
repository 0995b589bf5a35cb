//! Packets for others: what a router does with them (RFC 1812, RFC 8200).

mod config;
mod multicast;
mod pass;
mod unicast;

pub use config::{ForwardConfig, LinkConfig};
pub use multicast::MulticastRoute;
pub(super) use multicast::MulticastRoutes;

use std::net::IpAddr;

use super::ingress::Inbound;
use super::ip_in::Header;
use super::net::{Hop, Net, Path};
use crate::buf::{RxPacket, SUPER_PACKET_MAX};
use crate::filter::conntrack::Track;
use crate::network::IfaceId;
use crate::network::IpMeta;
use crate::network::route::{Flow, NoWay};

/// A packet for another host, on its way through.
#[derive(Clone, Debug)]
pub(super) struct Transit {
    /// From the IP header on, without padding.
    pub(super) packet: RxPacket,
    pub(super) header: Header,
    /// Where it came in.
    pub(super) iface: IfaceId,
    /// What the filter knows of it.
    pub(super) track: Track,
    /// It came in fragments, and may leave in some.
    pub(super) reassembled: bool,
}

impl Transit {
    /// Length of the packet, or of the longest that it is cut into.
    fn longest(&self) -> usize {
        match self.packet.gro_size {
            0 => self.packet.data.len(),
            size => {
                let headers = self.headers_len().unwrap_or(self.header.header_len);
                self.packet.data.len().min(headers + usize::from(size))
            }
        }
    }

    /// True if a router may cut it: IPv4 without DF or what was in pieces before, and no super-packet.
    fn may_be_fragmented(&self) -> bool {
        let allowed = self.header.src.is_ipv4() && !self.header.dont_fragment;
        (allowed || self.reassembled) && self.packet.gro_size == 0
    }

    /// The packet as an ICMP error quotes it.
    pub(super) fn as_inbound(&self) -> Inbound {
        Inbound {
            packet: self.packet.data.clone(),
            header_len: self.header.header_len,
            proto: self.header.proto,
            proto_at: self.header.proto_at,
            router_alert: false,
            track: Track::default(),
            meta: IpMeta {
                src: self.header.src,
                dst: self.header.dst,
                iface: self.iface,
                tos: self.header.tos,
                ttl: self.header.ttl,
                not_unicast: false,
                arrival: self.packet.arrival,
                checksum_valid: true,
                gro_size: 0,
            },
        }
    }
}

impl Net {
    /// The way of a packet for another host.
    ///
    /// # Errors
    /// Why there is none.
    pub(super) fn transit_path(&self, transit: &Transit) -> Result<Path, NoWay> {
        let header = &transit.header;
        let (proto, ports) = transit.ports();
        let flow = Flow {
            iif: Some(transit.iface),
            mark: transit.track.mark,
            tos: header.tos,
            proto,
            ports,
            by_ports: self.config.forward.fib_multipath_hash_policy == 1,
            ..Flow::to(header.dst, Some(header.src), None)
        };
        let (route, hop) = self.routes.lookup(&flow)?;
        let link = self.iface(hop.iface).ok_or(NoWay::NoRoute)?;
        let mtu = link.mtu_for(header.dst).min(SUPER_PACKET_MAX as u32);
        Ok(Path {
            iface: hop.iface,
            src: header.src,
            hop: Hop::Neighbor(hop.gateway.unwrap_or(header.dst)),
            mtu: route.mtu.map_or(mtu, |said| said.min(mtu)),
            metrics: route.metrics,
        })
    }

    /// True if a packet from `src` may have come in here: strictly, if answers would leave here (RFC 3704
    /// section 2.2); loosely, if they could leave at all (section 2.4).
    pub(super) fn reverse_path_passes(&self, src: IpAddr, id: IfaceId, strict: bool) -> bool {
        let back = Flow {
            iif: Some(id),
            ..Flow::to(src, None, None)
        };
        match self.routes.lookup(&back) {
            Ok((route, _)) if strict => route.hops().any(|hop| hop.iface == id),
            found => found.is_ok(),
        }
    }
}
