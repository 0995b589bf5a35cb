//! The way up: from a received packet to a transport. Each reason to drop has its counter.

use std::net::IpAddr;

use super::Stack;
use super::intercept::is_host_address;
use super::net::LOOPBACK;
use bytes::Buf;

use crate::buf::{Bytes, RxPacket};
use crate::filter::conntrack::Track;
use crate::link::Medium;
use crate::network::addr::is_bad_source;
use crate::network::icmp_error::Problem;
use crate::network::{IfaceId, IpMeta, proto};
use crate::socket::packet::PacketKind;
use crate::wire::WireError;
use crate::wire::ethernet::{self, EthernetRepr, ethertype};
use crate::wire::ipv6_ext;

/// A packet for us on its way to a transport.
#[derive(Clone, Debug)]
pub(super) struct Inbound {
    /// The whole packet from its IP header on; a reassembled one has the header of its first fragment.
    pub(super) packet: Bytes,
    /// Where its payload starts.
    pub(super) header_len: usize,
    /// Protocol of the payload.
    pub(super) proto: u8,
    /// Offset of the field that names the protocol.
    pub(super) proto_at: usize,
    /// An option of its IPv6 headers asks routers to look at it (RFC 2711).
    pub(super) router_alert: bool,
    /// What transports learn of the header.
    pub(super) meta: IpMeta,
    /// What the filter knows of it.
    pub(super) track: Track,
}

impl Inbound {
    /// The packet as a filter sees it that begins at `start`. There is no link header any more.
    pub(super) fn filter_view(&self, start: usize, hardware: u16) -> crate::bpf::Packet<'_> {
        crate::bpf::Packet {
            bytes: &self.packet,
            start,
            network: 0,
            has_link: false,
            protocol: match self.meta.src {
                IpAddr::V4(_) => ethertype::IPV4,
                IpAddr::V6(_) => ethertype::IPV6,
            },
            packet_type: match (self.meta.not_unicast, self.meta.dst.is_multicast()) {
                (false, _) => PacketKind::Host as u8,
                (true, true) => PacketKind::Multicast as u8,
                (true, false) => PacketKind::Broadcast as u8,
            },
            ifindex: self.meta.iface.index(),
            hardware,
        }
    }

    /// The transport header and what follows it.
    pub(super) fn payload(&self) -> Bytes {
        self.packet.slice(self.header_len..)
    }
}

/// Where a packet goes whose addresses are right.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Way {
    /// To us; perhaps to others on the link too.
    Up { not_unicast: bool },
    /// To another host, by way of us.
    Through,
    /// To a group whose packets we forward; `member`: it is for us too.
    Group { member: bool },
}

/// What the link header said.
#[derive(Clone, Copy, Debug)]
pub(super) struct LinkInfo {
    pub(super) iface: IfaceId,
    /// The frame was addressed to more than us.
    pub(super) group: bool,
    /// We sent it: a broadcast that comes back to us.
    pub(super) echo: bool,
    /// It has been put together from fragments already.
    pub(super) reassembled: bool,
    /// What we have put beside a packet that we sent to ourselves.
    pub(super) tag: u64,
}

impl LinkInfo {
    fn new(iface: IfaceId) -> Self {
        Self {
            iface,
            group: false,
            echo: false,
            reassembled: false,
            tag: 0,
        }
    }

    /// True for a broadcast of ours that comes back to us.
    pub(super) fn is_echo(&self) -> bool {
        self.echo
    }
}

impl Stack {
    /// Handles one received packet of `iface`.
    pub(super) fn packet_in(&mut self, iface: IfaceId, mut packet: RxPacket) {
        self.tap_in(iface, &packet);
        let Some(state) = self.net.iface_mut(iface) else {
            return;
        };
        state.counters.rx_packets += 1;
        state.counters.rx_bytes += packet.data.len() as u64;
        let mut link = LinkInfo::new(iface);
        if state.caps.medium == Medium::Ethernet {
            let mac = state.mac;
            let (header, len) = match EthernetRepr::parse(&packet.data) {
                Ok(parsed) => parsed,
                Err(WireError::Truncated) => {
                    self.net.stats.link.link_in_truncated += 1;
                    return;
                }
                Err(_) => {
                    self.net.stats.link.link_in_unknown_type += 1;
                    return;
                }
            };
            link.group = header.dst.is_group();
            if header.dst != mac && !link.group {
                self.net.stats.link.link_in_other_host += 1;
                return;
            }
            packet.data.advance(len);
            match header.ethertype {
                ethertype::IPV4 => return self.ipv4_in(link, packet),
                ethertype::IPV6 => return self.ipv6_in(link, packet),
                ethertype::ARP => return self.net.arp_in(iface, &packet.data, !link.group),
                _ => {
                    self.net.stats.link.link_in_unknown_type += 1;
                    return;
                }
            }
        }
        self.ip_in(link, packet);
    }

    /// Checks both addresses; `None` if the packet is for nobody, or cannot have come from where it says.
    pub(super) fn addresses_pass(
        &mut self,
        link: LinkInfo,
        src: IpAddr,
        dst: IpAddr,
    ) -> Option<Way> {
        let on_wire = link.iface != LOOPBACK;
        // Our own address on the wire is a lie (the "land" attack) unless it is our own broadcast.
        let ours = !link.echo && self.net.is_local(src) && !self.net.accepts_local(link.iface);
        let spoofed = on_wire && (src.is_loopback() || dst.is_loopback() || ours);
        if is_bad_source(src) || is_nameless(src, dst) || spoofed || self.net.is_broadcast(src) {
            self.net.stats.ip(src).in_martian_src += 1;
            return None;
        }
        if on_wire && !link.echo && !self.reverse_path(link.iface, src) {
            return None;
        }
        let group = dst.is_multicast() || self.net.is_broadcast(dst);
        if group && dst.is_multicast() && self.net.forwards_groups(link.iface, dst.is_ipv6()) {
            let member = self.net.is_member(link.iface, dst, src);
            return Some(Way::Group { member });
        }
        if group {
            let member = !dst.is_multicast() || self.net.is_member(link.iface, dst, src);
            if !member {
                self.net.stats.ip(dst).in_addr_errors += 1;
            }
            return member.then_some(Way::Up { not_unicast: true });
        }
        let foreign = !self.net.is_local(dst);
        let taken = foreign
            && is_host_address(dst)
            && self
                .net
                .iface(link.iface)
                .is_some_and(|iface| iface.interceptor.is_some());
        let through = foreign && !taken && self.net.forwards(link.iface, dst.is_ipv6());
        if foreign && !taken && !through {
            self.net.stats.ip(dst).in_addr_errors += 1;
            return None;
        }
        if link.group {
            // RFC 1122 section 3.3.6: a link broadcast must not carry a unicast packet.
            self.net.stats.ip(dst).in_link_group += 1;
            return None;
        }
        Some(match through {
            true => Way::Through,
            false => Way::Up { not_unicast: false },
        })
    }

    /// Applies the reverse path filter of IPv4.
    fn reverse_path(&mut self, iface: IfaceId, src: IpAddr) -> bool {
        let filter = self.net.rp_filter(iface);
        let passes = filter == 0
            || src.is_ipv6()
            || src.is_unspecified()
            || self.net.reverse_path_passes(src, iface, filter == 1);
        self.net.stats.ip4.in_reverse_path += u64::from(!passes);
        passes
    }

    /// Hands a whole datagram to raw sockets and to its transport.
    pub(super) fn deliver(&mut self, mut inbound: Inbound) {
        if self.net.filter.is_some() && !self.input_hook(&mut inbound) {
            return;
        }
        let raw = self.raw_in(&inbound);
        let icmp = match inbound.meta.src {
            IpAddr::V4(_) => proto::ICMP,
            IpAddr::V6(_) => proto::ICMPV6,
        };
        // IPv6 has a number for "nothing follows".
        let empty = !inbound.meta.src.is_ipv4() && inbound.proto == ipv6_ext::next_header::NONE;
        let igmp = inbound.meta.src.is_ipv4() && inbound.proto == proto::IGMP;
        let known =
            matches!(inbound.proto, proto::TCP | proto::UDP) || inbound.proto == icmp || igmp;
        self.net.stats.ip(inbound.meta.src).in_delivers += u64::from(raw || known || empty);
        match inbound.proto {
            proto::TCP => self.tcp_in(&inbound),
            proto::UDP => self.udp_in(&inbound),
            proto if proto == icmp => self.icmp_in(&inbound),
            _ if igmp => self.net.igmp_in(&inbound),
            _ if raw || empty => {}
            _ => {
                self.net.stats.ip(inbound.meta.src).in_unknown_protos += 1;
                let at = inbound.proto_at;
                self.send_icmp_error(&inbound, Problem::Protocol { at });
            }
        }
    }

    /// Receives what we sent to ourselves, up to a bound; returns true if nothing is left. Packets
    /// that answer others wait in the queue for their turn: nothing recurses.
    pub(super) fn run_loopback(&mut self) -> bool {
        for _ in 0..LOOPBACK_BUDGET {
            if let Some((iface, packet)) = self.net.echoes.pop_front() {
                // Ethernet headers are not part of an echo.
                let link = LinkInfo {
                    group: true,
                    echo: true,
                    ..LinkInfo::new(iface)
                };
                self.ip_in(link, packet);
                continue;
            }
            let now = self.net.now;
            let Some(packet) = self.net.ifaces[usize::from(LOOPBACK.0)].pop(now) else {
                return true;
            };
            let link = LinkInfo {
                tag: packet.tag,
                ..LinkInfo::new(LOOPBACK)
            };
            self.tap_out(LOOPBACK, core::slice::from_ref(&packet));
            let packet =
                crate::link::channel::received(&mut self.net.pool, Medium::Ip, &packet, now);
            let counters = &mut self.net.ifaces[usize::from(LOOPBACK.0)].counters;
            counters.rx_packets += 1;
            counters.rx_bytes += packet.data.len() as u64;
            self.tap_in(LOOPBACK, &packet);
            self.ip_in(link, packet);
        }
        self.net.ifaces[usize::from(LOOPBACK.0)].is_idle()
    }
}

/// "This host on this network" speaks only to everybody (RFC 1122 section 3.2.1.3; DHCP). In IPv6 who has
/// no address yet speaks to groups (RFC 4861, RFC 3810).
fn is_nameless(src: IpAddr, dst: IpAddr) -> bool {
    match (src, dst) {
        // Switches that ask for the members of groups have no address (Linux `ip_mc_validate_source`).
        (IpAddr::V4(src), IpAddr::V4(dst)) => {
            src.octets()[0] == 0 && !dst.is_broadcast() && !dst.octets().starts_with(&[224, 0, 0])
        }
        _ => src.is_unspecified() && !dst.is_multicast(),
    }
}

/// Packets received from ourselves in one go; what is left is a timer that is due.
const LOOPBACK_BUDGET: usize = 512;

const _: () = assert!(ethernet::HEADER_LEN == crate::link::ETHERNET_HEADER_LEN);
