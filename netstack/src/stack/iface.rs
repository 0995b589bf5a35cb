//! An interface: addresses and a bounded transmit queue.

use std::net::{IpAddr, Ipv4Addr};

use smallvec::SmallVec;

use super::address::{Address, AddressOrigin};
use super::forward::LinkConfig;
use super::groups::Groups;
use super::intercept::is_host_address;
use super::nd::NdState;
use crate::buf::{TxBatch, TxPacket};
use crate::link::{DeviceCaps, MacAddr};
use crate::network::qdisc::{Qdisc, QdiscConfig};
use crate::network::source::Candidate;
use crate::socket::SocketId;
use crate::time::Instant;

/// What an interface is made from.
#[derive(Clone, Debug)]
pub struct InterfaceConfig {
    /// Its name, unique in the stack, at most 15 bytes (IFNAMSIZ).
    pub name: String,
    /// Its Ethernet address; not used on [`crate::link::Medium::Ip`].
    pub mac: MacAddr,
    /// What its device can do. With `gso_max` 0 the stack still builds super-packets: the driver
    /// cuts them (`link::segment`).
    pub caps: DeviceCaps,
}

/// What has passed an interface. Merged segments count as the one packet that the stack saw.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct IfaceCounters {
    /// Packets received.
    pub rx_packets: u64,
    /// Their bytes.
    pub rx_bytes: u64,
    /// Packets given to the device.
    pub tx_packets: u64,
    /// Their bytes.
    pub tx_bytes: u64,
}

/// The state of an interface.
#[derive(Debug)]
pub(crate) struct Iface {
    pub(super) name: String,
    pub(super) mac: MacAddr,
    pub(super) caps: DeviceCaps,
    /// Packets come back instead of leaving.
    pub(super) is_loopback: bool,
    pub(super) addrs: SmallVec<[Address; 2]>,
    pub(super) counters: IfaceCounters,
    /// Forwarding and what belongs to it.
    pub(super) conf: LinkConfig,
    /// Neighbour discovery.
    pub(super) nd: NdState,
    /// Groups of both families.
    pub(super) groups: Groups,
    /// Who is offered packets to addresses that are not ours, if they are taken.
    pub(super) interceptor: Option<SocketId>,
    /// ARP requests for all addresses but this one are answered, if there is one.
    pub(super) proxy_arp_except: Option<Ipv4Addr>,
    pub(super) qdisc: Qdisc,
    /// Somebody found the queue full and waits to hear of room.
    refused: bool,
}

impl Iface {
    pub(super) fn new(config: InterfaceConfig, is_loopback: bool, limits: (usize, usize)) -> Self {
        Self {
            name: config.name,
            mac: config.mac,
            caps: config.caps,
            is_loopback,
            addrs: SmallVec::new(),
            counters: IfaceCounters::default(),
            conf: LinkConfig::default(),
            nd: NdState::default(),
            groups: Groups::default(),
            interceptor: None,
            proxy_arp_except: None,
            qdisc: Qdisc::new(QdiscConfig::Pfifo {
                limit: limits.0,
                limit_bytes: limits.1,
            }),
            refused: false,
        }
    }

    /// True if ARP requests for an address that is not ours are answered here. Not those of who asks for
    /// the address that it has: it would take it for somebody else's (RFC 5227).
    pub(super) fn answers_for(&self, target: Ipv4Addr, sender: Ipv4Addr) -> bool {
        let peers = [sender, self.proxy_arp_except.unwrap_or(target)];
        !peers.contains(&target) && is_host_address(IpAddr::V4(target))
    }

    /// True if the queue takes `count` more packets; if not, room will be signalled.
    pub(super) fn has_room(&mut self, count: usize) -> bool {
        let fits = self.qdisc.has_room(count);
        self.refused |= !fits;
        fits
    }

    /// Queues a packet. The caller has asked for room, or the packet is one of the few (ARP) that
    /// are let through: their number is bounded by the neighbour table.
    pub(super) fn push(&mut self, packet: TxPacket) {
        self.counters.tx_packets += 1;
        self.counters.tx_bytes += packet.len() as u64;
        self.qdisc.push(packet);
    }

    /// Takes the next packet whose time has come.
    pub(super) fn pop(&mut self, now: Instant) -> Option<TxPacket> {
        self.qdisc.pop(now)
    }

    /// Moves packets to `batch` until it is full; returns how many.
    pub(super) fn fill(&mut self, now: Instant, batch: &mut TxBatch) -> usize {
        let before = batch.len();
        while !batch.is_full() {
            match self.pop(now) {
                Some(packet) => batch.push(packet),
                None => break,
            }
        }
        batch.len() - before
    }

    /// True if nothing is queued.
    pub(super) fn is_idle(&self) -> bool {
        self.qdisc.is_empty()
    }

    /// True once after the queue was found full and has drained to half.
    pub(super) fn take_room_signal(&mut self) -> bool {
        let signal = self.refused && self.qdisc.is_half_empty();
        self.refused &= !signal;
        signal
    }

    /// True if `addr` is an address of this interface that may be used.
    pub(super) fn has_addr(&self, addr: IpAddr) -> bool {
        let usable = |own: &Address| own.ip() == addr && own.is_usable();
        // All of 127/8 is the loopback interface's.
        self.addrs.iter().any(usable) || (self.is_loopback && addr.is_loopback())
    }

    /// The address as it is known here, whatever its state.
    pub(super) fn address(&self, addr: IpAddr) -> Option<&Address> {
        self.addrs.iter().find(|own| own.ip() == addr)
    }

    /// True if `addr` is in a network of one of its addresses.
    pub(super) fn is_on_link(&self, addr: IpAddr) -> bool {
        self.addrs.iter().any(|own| own.cidr.contains(addr))
    }

    /// True if `addr` is the broadcast address of one of its networks.
    pub(super) fn is_broadcast(&self, addr: IpAddr) -> bool {
        self.addrs
            .iter()
            .any(|own| own.cidr.broadcast() == Some(addr))
    }

    /// The IPv4 source address for packets to `next_hop`: one of its network, else the first that is
    /// good beyond the link, else the first.
    pub(super) fn source_for(&self, next_hop: Ipv4Addr) -> Option<IpAddr> {
        let next_hop = IpAddr::V4(next_hop);
        let on_link = |own: &&Address| own.cidr.contains(next_hop);
        let found = self.addrs.iter().find(on_link).map(Address::ip);
        let first = || self.addrs.iter().find(|own| own.ip().is_ipv4());
        let first = || first().map(Address::ip);
        found.or_else(|| self.global_v4()).or_else(first)
    }

    /// Its first IPv4 address that is good beyond the link (not one of RFC 3927).
    pub(super) fn global_v4(&self) -> Option<IpAddr> {
        let mut addrs = self.addrs.iter().map(Address::ip);
        addrs.find(|addr| matches!(addr, IpAddr::V4(v4) if !v4.is_link_local()))
    }

    /// The MTU for packets to `dst`: in IPv6 routers may say a smaller one.
    pub(super) fn mtu_for(&self, dst: IpAddr) -> u32 {
        match self.nd.mtu {
            Some(mtu) if dst.is_ipv6() => mtu.min(self.caps.mtu),
            _ => self.caps.mtu,
        }
    }

    /// The addresses that packets of IPv6 can come from.
    pub(super) fn candidates(
        &self,
        now: Instant,
        outgoing: bool,
    ) -> impl Iterator<Item = Candidate> {
        let usable = self.addrs.iter().filter(|own| own.is_usable());
        usable.filter_map(move |own| {
            let IpAddr::V6(addr) = own.ip() else {
                return None;
            };
            Some(Candidate {
                addr,
                prefix_len: own.cidr.prefix_len(),
                deprecated: own.is_deprecated(now),
                temporary: own.origin == AddressOrigin::Temporary,
                outgoing,
            })
        })
    }
}
