//! One packet for another host: the checks of RFC 1812 section 5.2 and RFC 8200, the way, what its sender
//! is told.

use std::net::IpAddr;

use super::Transit;
use crate::network::addr::is_bad_source;
use crate::network::icmp_error::Problem;
use crate::network::route::NoWay;
use crate::network::source::is_link_local;
use crate::stack::Stack;
use crate::stack::net::{Hop, Path};
use crate::wire::{icmpv4, icmpv6};

impl Stack {
    /// Sends a packet that came in for another host on its way, or tells its sender why not.
    pub(in crate::stack) fn forward(&mut self, transit: Transit) {
        let (src, dst) = (transit.header.src, transit.header.dst);
        if !may_pass(src, dst) {
            self.net.stats.ip(dst).in_addr_errors += 1;
            return;
        }
        // RFC 4291 section 2.5.6: beyond its link the address means nothing.
        if matches!(src, IpAddr::V6(src) if is_link_local(src)) {
            self.net.stats.ip(dst).in_addr_errors += 1;
            let code = icmpv6::unreachable::SCOPE;
            return self.tell_sender(&transit, Problem::Unreachable { v4: 0, v6: code });
        }
        let path = match self.net.transit_path(&transit) {
            Ok(path) => path,
            Err(why) => return self.no_way(&transit, why),
        };
        if transit.header.ttl <= 1 {
            self.net.stats.ip(dst).in_hdr_errors += 1;
            return self.tell_sender(&transit, Problem::TransitTime);
        }
        if path.iface == transit.iface {
            self.redirect(&transit, &path);
        }
        if let Some(transit) = self.forward_hooks(transit, &path) {
            self.send_transit(transit, &path);
        }
    }

    /// Sends the packet over its way if it fits; counts it.
    fn send_transit(&mut self, transit: Transit, path: &Path) {
        let dst = transit.header.dst;
        let too_long = transit.longest() > path.mtu as usize;
        if too_long && !transit.may_be_fragmented() {
            let stats = self.net.stats.ip(dst);
            stats.frag_fails += 1;
            stats.in_too_big += 1;
            return self.tell_sender(&transit, Problem::TooBig { mtu: path.mtu });
        }
        match self.net.pass_on(transit, path, too_long) {
            true => self.net.stats.ip(dst).forw_datagrams += 1,
            false => self.net.stats.ip(dst).out_discards += 1,
        }
    }

    fn no_way(&mut self, transit: &Transit, why: NoWay) {
        use icmpv4::unreachable as v4;
        use icmpv6::unreachable as v6;
        self.net.stats.ip(transit.header.dst).in_no_routes += 1;
        let (v4, v6) = match why {
            NoWay::Blackhole => return,
            NoWay::NoRoute => (v4::NET, v6::NO_ROUTE),
            NoWay::Unreachable => (v4::HOST, v6::NO_ROUTE),
            NoWay::Prohibited => (v4::PROHIBITED, v6::PROHIBITED),
        };
        self.tell_sender(transit, Problem::Unreachable { v4, v6 });
    }

    /// Says what is wrong, unless the packet is one that nothing is said of.
    pub(in crate::stack) fn tell_sender(&mut self, transit: &Transit, problem: Problem) {
        if !transit.header.is_later_fragment {
            self.send_icmp_error(&transit.as_inbound(), problem);
        }
    }

    /// The sender could send directly to the next hop, which is on its link (RFC 1812 section 5.2.7.2, RFC
    /// 4861 section 8.2).
    fn redirect(&mut self, transit: &Transit, path: &Path) {
        let Hop::Neighbor(next) = path.hop else {
            return;
        };
        if transit.header.is_later_fragment || !self.net.sends_redirects(path.iface) {
            return;
        }
        match (transit.header.src, transit.header.dst, next) {
            (IpAddr::V4(_), _, IpAddr::V4(next)) => {
                self.tell_sender(transit, Problem::Redirect { gateway: next });
            }
            (IpAddr::V6(src), IpAddr::V6(dst), IpAddr::V6(next)) => {
                let link = self.net.iface(path.iface);
                let on_link = link.is_some_and(|link| link.is_on_link(src.into()));
                if !on_link && !is_link_local(src) {
                    return;
                }
                let limits = self.net.config.icmp_limits;
                if !self.icmp_limit.allow(self.net.now, src.into(), &limits) {
                    self.net.stats.icmp6.out_rate_limited += 1;
                    return;
                }
                let packet = &transit.packet.data;
                self.net.send_redirect(path.iface, src, (next, dst), packet);
            }
            _ => {}
        }
    }
}

/// False for addresses that nothing is forwarded from or to (RFC 1812 sections 5.3.7, 4.2.2.11).
fn may_pass(src: IpAddr, dst: IpAddr) -> bool {
    let nobody = |addr: IpAddr| match addr {
        IpAddr::V4(addr) => addr.octets()[0] == 0 || addr.octets()[0] >= 240,
        IpAddr::V6(addr) => addr.is_unspecified() || is_link_local(addr),
    };
    !(nobody(dst) || dst.is_loopback() || src.is_unspecified() || is_bad_source(src))
}
