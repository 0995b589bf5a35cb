//! ARP: what feeds the neighbour table, and what it asks for.

use std::net::{IpAddr, Ipv4Addr};

use super::net::Net;
use crate::buf::TxPacket;
use crate::link::MacAddr;
use crate::neighbor::{Action, Evidence};
use crate::network::IfaceId;
use crate::wire::arp::{self, ArpOp, ArpRepr};
use crate::wire::ethernet::{self, EthernetRepr, ethertype};

impl Net {
    /// Handles a received ARP packet; `for_us` if the frame was sent to our address alone.
    pub(super) fn arp_in(&mut self, id: IfaceId, bytes: &[u8], for_us: bool) {
        self.stats.link.arp_in += 1;
        let Ok(packet) = ArpRepr::parse(bytes) else {
            self.stats.link.arp_in_errors += 1;
            return;
        };
        let Some(iface) = self.iface(id) else {
            return;
        };
        let (sender, target) = (IpAddr::V4(packet.sender), IpAddr::V4(packet.target));
        if packet.sender_mac.is_group() || packet.sender_mac == iface.mac {
            self.stats.link.arp_in_errors += 1;
            return;
        }
        if self.cannot_send_arp(packet.sender) {
            self.stats.link.arp_in_bad_sender += 1;
            return;
        }
        let ours = iface.has_addr(target) || iface.answers_for(packet.target, packet.sender);
        let asks_us = packet.op == ArpOp::Request && ours;
        if self.may_be_neighbor(id, packet.sender) {
            let evidence = match packet.op {
                _ if sender == target => Evidence::Announcement,
                ArpOp::Reply if for_us => Evidence::Reply,
                ArpOp::Request if asks_us => Evidence::Request,
                _ => Evidence::Announcement,
            };
            self.arp_learn(id, sender, packet.sender_mac, evidence);
        }
        if asks_us {
            let reply = |mac| ArpRepr {
                op: ArpOp::Reply,
                sender_mac: mac,
                sender: packet.target,
                target_mac: packet.sender_mac,
                target: packet.sender,
            };
            self.send_arp(id, packet.sender_mac, reply);
        }
    }

    fn arp_learn(&mut self, id: IfaceId, addr: IpAddr, mac: MacAddr, evidence: Evidence) {
        let config = self.config.neighbor;
        let (now, rng) = (self.now, &mut self.rng);
        let key = (id, addr);
        let released = self.neighbors.learn(now, key, mac, evidence, &config, rng);
        for packet in released {
            self.send_framed(id, mac, packet);
        }
    }

    /// Addresses that nobody sends ARP from. Zero is that of a probe (RFC 5227).
    fn cannot_send_arp(&self, addr: Ipv4Addr) -> bool {
        let bad = addr.is_loopback() || addr.octets()[0] >= 224;
        let addr = IpAddr::V4(addr);
        bad || self.is_local(addr) || self.is_broadcast(addr)
    }

    /// False for addresses that no neighbour can have: none, group, broadcast, our own, and those
    /// that are not on the link.
    fn may_be_neighbor(&self, id: IfaceId, addr: Ipv4Addr) -> bool {
        let bad = addr.is_unspecified() || addr.is_loopback() || addr.octets()[0] >= 224;
        let addr = IpAddr::V4(addr);
        let on_link = self.routes.main(addr, Some(id));
        let on_link = on_link.is_some_and(|route| route.gateway.is_none());
        !bad && on_link && !self.is_local(addr) && !self.is_broadcast(addr)
    }

    /// Asks for a neighbour, by broadcast or at the address that it had.
    pub(super) fn solicit(&mut self, id: IfaceId, addr: IpAddr, mac: Option<MacAddr>) {
        let target = match addr {
            IpAddr::V4(target) => target,
            IpAddr::V6(target) => return self.solicit_v6(id, target, mac),
        };
        let source = self.iface(id).and_then(|iface| iface.source_for(target));
        let Some(IpAddr::V4(sender)) = source else {
            return;
        };
        let request = |ours| ArpRepr {
            op: ArpOp::Request,
            sender_mac: ours,
            sender,
            target_mac: MacAddr::default(),
            target,
        };
        self.send_arp(id, mac.unwrap_or(ethernet::BROADCAST), request);
    }

    /// Tells the link of our address (RFC 5227 section 3).
    pub(super) fn announce(&mut self, id: IfaceId, addr: Ipv4Addr) {
        let request = |ours| ArpRepr {
            op: ArpOp::Request,
            sender_mac: ours,
            sender: addr,
            target_mac: MacAddr::default(),
            target: addr,
        };
        self.send_arp(id, ethernet::BROADCAST, request);
    }

    fn send_arp(&mut self, id: IfaceId, dst: MacAddr, packet: impl FnOnce(MacAddr) -> ArpRepr) {
        let Some(iface) = self.ifaces.get_mut(usize::from(id.0)) else {
            return;
        };
        // A flood of requests must not grow the queue: an answer that finds no room is not sent.
        if !iface.has_room(1) {
            self.stats.link.neigh_out_discards += 1;
            return;
        }
        let mut frame = TxPacket::default();
        packet(iface.mac).emit(frame.head.push_front(arp::LEN));
        let header = EthernetRepr {
            dst,
            src: iface.mac,
            ethertype: ethertype::ARP,
        };
        header.emit(frame.head.push_front(ethernet::HEADER_LEN));
        frame.link_header_len = ethernet::HEADER_LEN as u8;
        iface.push(frame);
        self.stats.link.arp_out += 1;
    }

    /// Runs the timers of the neighbours.
    pub(super) fn neighbor_timers(&mut self) {
        let mut actions = core::mem::take(&mut self.actions);
        self.neighbors
            .handle_timeout(self.now, &self.config.neighbor, &mut actions);
        for action in actions.drain(..) {
            match action {
                Action::Solicit { iface, addr, mac } => self.solicit(iface, addr, mac),
                Action::Unreachable {
                    iface,
                    addr,
                    packets,
                } => {
                    self.stats.link.neigh_out_unreachable += packets.len() as u64;
                    self.undeliverable.extend(packets);
                    if addr.is_ipv6() {
                        self.neighbor_gone(iface, addr);
                    }
                }
            }
        }
        self.actions = actions;
    }
}
