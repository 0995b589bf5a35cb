//! The way up: from a received packet to a transport. Each reason to drop has its counter.

use std::net::{IpAddr, Ipv4Addr};

use super::Stack;
use super::intercept::is_host_address;
use super::net::LOOPBACK;
use bytes::Buf;

use crate::buf::{Bytes, RxChecksum, RxPacket};
use crate::link::Medium;
use crate::network::addr::is_bad_source;
use crate::network::{IfaceId, IpMeta, proto};
use crate::wire::WireError;
use crate::wire::ethernet::{self, EthernetRepr, ethertype};
use crate::wire::icmpv4::{Icmpv4Repr, unreachable};
use crate::wire::ipv4::{Ipv4Options, Ipv4Repr, Ipv4View};

/// A packet for us on its way to a transport.
#[derive(Clone, Debug)]
pub(super) struct Inbound {
    /// The whole packet from its IP header on; a reassembled one has the header of its first fragment.
    pub(super) packet: Bytes,
    /// Where its payload starts.
    pub(super) header_len: usize,
    /// Protocol of the payload.
    pub(super) proto: u8,
    /// What transports learn of the header.
    pub(super) meta: IpMeta,
}

impl Inbound {
    /// The transport header and what follows it.
    pub(super) fn payload(&self) -> Bytes {
        self.packet.slice(self.header_len..)
    }
}

/// What the link header said.
#[derive(Clone, Copy, Debug)]
struct LinkInfo {
    iface: IfaceId,
    /// The frame was addressed to more than us.
    group: bool,
    /// We sent it: a broadcast that comes back to us.
    echo: bool,
}

impl Stack {
    /// Handles one received packet of `iface`.
    pub(super) fn packet_in(&mut self, iface: IfaceId, mut packet: RxPacket) {
        let Some(state) = self.net.iface_mut(iface) else {
            return;
        };
        state.counters.rx_packets += 1;
        state.counters.rx_bytes += packet.data.len() as u64;
        let mut link = LinkInfo {
            iface,
            group: false,
            echo: false,
        };
        if state.caps.medium == Medium::Ethernet {
            let mac = state.mac;
            let (header, len) = match EthernetRepr::parse(&packet.data) {
                Ok(parsed) => parsed,
                Err(WireError::Truncated) => {
                    self.net.stats.link_in_truncated += 1;
                    return;
                }
                Err(_) => {
                    self.net.stats.link_in_unknown_type += 1;
                    return;
                }
            };
            link.group = header.dst.is_group();
            if header.dst != mac && !link.group {
                self.net.stats.link_in_other_host += 1;
                return;
            }
            packet.data.advance(len);
            match header.ethertype {
                ethertype::IPV4 => {}
                ethertype::ARP => return self.net.arp_in(iface, &packet.data, !link.group),
                _ => {
                    self.net.stats.link_in_unknown_type += 1;
                    return;
                }
            }
        }
        self.ipv4_in(link, packet);
    }

    fn ipv4_in(&mut self, link: LinkInfo, mut packet: RxPacket) {
        let stats = &mut self.net.stats;
        stats.ip_in_receives += 1;
        stats.ip_in_octets += packet.data.len() as u64;
        let view = match Ipv4View::new(&packet.data) {
            Ok(view) => view,
            Err(error) => {
                match error {
                    WireError::Truncated => stats.ip_in_truncated_pkts += 1,
                    WireError::BadChecksum => stats.ip_in_csum_errors += 1,
                    _ => stats.ip_in_hdr_errors += 1,
                }
                return;
            }
        };
        let repr = Ipv4Repr::parse(&view);
        let (header_len, total) = (view.header_len(), view.total_len());
        if !view.options().is_empty() && !self.options_pass(&view) {
            return;
        }
        let Some(not_unicast) = self.addresses_pass(link, &repr) else {
            return;
        };
        // Padding of short frames.
        packet.data.truncate(total);
        let inbound = Inbound {
            packet: packet.data,
            header_len,
            proto: repr.proto,
            meta: IpMeta {
                src: IpAddr::V4(repr.src),
                dst: IpAddr::V4(repr.dst),
                iface: link.iface,
                tos: repr.tos,
                ttl: repr.ttl,
                not_unicast,
                arrival: packet.arrival,
                checksum_valid: packet.checksum == RxChecksum::Valid,
                gro_size: packet.gro_size,
            },
        };
        if repr.is_fragment() {
            self.fragment_in(inbound, &repr);
        } else {
            self.deliver(inbound);
        }
    }

    fn options_pass(&mut self, view: &Ipv4View<'_>) -> bool {
        match Ipv4Options::parse(view.options()) {
            Ok(options) if options.source_route => {
                self.net.stats.ip_in_source_route += 1;
                false
            }
            Ok(_) => true,
            Err(_) => {
                self.net.stats.ip_in_option_errors += 1;
                false
            }
        }
    }

    /// Checks both addresses; `None` if the packet is not for us or cannot have come from where it
    /// says, otherwise whether it is for more than us.
    fn addresses_pass(&mut self, link: LinkInfo, repr: &Ipv4Repr) -> Option<bool> {
        let (src, dst) = (IpAddr::V4(repr.src), IpAddr::V4(repr.dst));
        let on_wire = link.iface != LOOPBACK;
        // Our own address on the wire is a lie (the "land" attack) unless it is our own broadcast.
        let ours = !link.echo && self.net.is_local(src);
        let spoofed = on_wire && (src.is_loopback() || dst.is_loopback() || ours);
        // "This host on this network" speaks only to everybody (RFC 1122, 3.2.1.3; DHCP).
        let nameless = repr.src.octets()[0] == 0 && !repr.dst.is_broadcast();
        let spoofed = spoofed || nameless;
        if is_bad_source(src) || spoofed || self.net.is_broadcast(src) {
            self.net.stats.ip_in_martian_src += 1;
            return None;
        }
        let group = dst.is_multicast() || self.net.is_broadcast(dst);
        if group {
            // Every host is in the all-systems group; others are joined with the next release.
            let member = !dst.is_multicast() || repr.dst == Ipv4Addr::new(224, 0, 0, 1);
            if !member {
                self.net.stats.ip_in_addr_errors += 1;
            }
            return member.then_some(true);
        }
        let foreign = !self.net.is_local(dst);
        let taken = foreign
            && is_host_address(dst)
            && self
                .net
                .iface(link.iface)
                .is_some_and(|iface| iface.interceptor.is_some());
        if foreign && !taken {
            self.net.stats.ip_in_addr_errors += 1;
            return None;
        }
        if link.group {
            // RFC 1122 section 3.3.6: a link broadcast must not carry a unicast packet.
            self.net.stats.ip_in_link_group += 1;
            return None;
        }
        Some(false)
    }

    /// Hands a whole datagram to raw sockets and to its transport.
    pub(super) fn deliver(&mut self, inbound: Inbound) {
        let raw = self.raw_in(&inbound);
        let known = matches!(inbound.proto, proto::TCP | proto::UDP | proto::ICMP);
        self.net.stats.ip_in_delivers += u64::from(raw || known);
        match inbound.proto {
            proto::TCP => self.tcp_in(&inbound),
            proto::UDP => self.udp_in(&inbound),
            proto::ICMP => self.icmp_in(&inbound),
            _ if raw => {}
            _ => {
                self.net.stats.ip_in_unknown_protos += 1;
                let code = unreachable::PROTOCOL;
                self.send_icmp_error(&inbound, Icmpv4Repr::Unreachable { code, mtu: 0 });
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
                    iface,
                    group: true,
                    echo: true,
                };
                self.ipv4_in(link, packet);
                continue;
            }
            let now = self.net.now;
            let Some(packet) = self.net.ifaces[usize::from(LOOPBACK.0)].pop() else {
                return true;
            };
            let packet =
                crate::link::channel::received(&mut self.net.pool, Medium::Ip, &packet, now);
            self.packet_in(LOOPBACK, packet);
        }
        self.net.ifaces[usize::from(LOOPBACK.0)].is_idle()
    }
}

/// Packets received from ourselves in one go; what is left is a timer that is due.
const LOOPBACK_BUDGET: usize = 512;

const _: () = assert!(ethernet::HEADER_LEN == crate::link::ETHERNET_HEADER_LEN);
