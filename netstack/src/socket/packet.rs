//! Packet sockets: what passes the links, in both directions (packet(7)).

use std::collections::VecDeque;

use super::receive_queue::cost;
use super::{Readiness, SocketFilter};
use crate::buf::Bytes;
use crate::link::MacAddr;
use crate::network::IfaceId;
use crate::time::Instant;

/// Every protocol (ETH_P_ALL), in both directions.
pub const ALL_PROTOCOLS: u16 = 0x0003;

/// To whom a packet was sent (`PACKET_*`, with Linux's values).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum PacketKind {
    /// To us.
    Host = 0,
    /// To everybody.
    Broadcast = 1,
    /// To a group.
    Multicast = 2,
    /// To somebody else.
    OtherHost = 3,
    /// From us.
    Outgoing = 4,
}

/// A packet as it passed a link.
#[derive(Clone, Debug)]
pub struct PassedPacket {
    /// The bytes, with the link header if the socket sees it; as many as the filter wants.
    pub data: Bytes,
    /// How many there were.
    pub len: usize,
    /// Offset of the network header in `data`.
    pub network: usize,
    /// The link's number for the protocol (ETH_P_IP ...).
    pub protocol: u16,
    /// The link.
    pub iface: IfaceId,
    /// To whom it was sent.
    pub kind: PacketKind,
    /// The station that sent it, on links with stations.
    pub from: Option<MacAddr>,
    /// When the link saw it.
    pub at: Instant,
    /// Its checksums are right, or left to the device.
    pub checksum: PacketChecksum,
}

/// What is known of the checksum of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PacketChecksum {
    /// Nothing.
    Unknown,
    /// It is right.
    Valid,
    /// The device fills it in.
    Pending,
}

/// What a packet socket can be told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PacketOptions {
    /// SO_RCVBUF: bytes that wait to be received, overhead included.
    pub recv_budget: usize,
    /// PACKET_IGNORE_OUTGOING: what we send is not heard.
    pub ignore_outgoing: bool,
}

/// The counts of PACKET_STATISTICS.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PacketCounts {
    /// Packets that passed the filter, those included that found no room.
    pub packets: u32,
    /// Packets that found no room.
    pub drops: u32,
}

/// The state of a socket.
#[derive(Debug)]
pub(crate) struct PacketSocket {
    /// SOCK_DGRAM: without link headers.
    pub(crate) cooked: bool,
    /// The protocol that it hears; 0: none.
    pub(crate) protocol: u16,
    /// The only link that it hears.
    pub(crate) iface: Option<IfaceId>,
    pub(crate) options: PacketOptions,
    pub(crate) filter: SocketFilter,
    pub(crate) counts: PacketCounts,
    /// A send found the transmit queue full; room will be signalled.
    pub(crate) blocked: bool,
    queue: VecDeque<PassedPacket>,
    queued: usize,
}

impl PacketSocket {
    pub(crate) fn new(cooked: bool, protocol: u16, recv_budget: usize) -> Self {
        Self {
            cooked,
            protocol,
            iface: None,
            options: PacketOptions {
                recv_budget,
                ignore_outgoing: false,
            },
            filter: SocketFilter::default(),
            counts: PacketCounts::default(),
            blocked: false,
            queue: VecDeque::new(),
            queued: 0,
        }
    }

    /// True if it hears such packets. Only who hears all protocols hears what we send.
    pub(crate) fn hears(&self, iface: IfaceId, protocol: u16, kind: PacketKind) -> bool {
        let outgoing = kind == PacketKind::Outgoing;
        let protocol = match self.protocol {
            ALL_PROTOCOLS => !outgoing || !self.options.ignore_outgoing,
            own => own == protocol && !outgoing,
        };
        protocol && self.iface.is_none_or(|own| own == iface)
    }

    /// Queues a packet; false if there is no room.
    pub(crate) fn push(&mut self, packet: PassedPacket) -> bool {
        self.counts.packets = self.counts.packets.wrapping_add(1);
        if self.queued >= self.options.recv_budget {
            self.counts.drops = self.counts.drops.wrapping_add(1);
            return false;
        }
        self.queued += cost(packet.data.len());
        self.queue.push_back(packet);
        true
    }

    /// Takes the oldest packet.
    pub(crate) fn pop(&mut self) -> Option<PassedPacket> {
        let packet = self.queue.pop_front()?;
        self.queued -= cost(packet.data.len());
        if self.queue.is_empty() && self.queue.capacity() > 64 {
            self.queue.shrink_to(16);
        }
        Some(packet)
    }

    /// The oldest packet, which stays.
    pub(crate) fn peek(&self) -> Option<&PassedPacket> {
        self.queue.front()
    }

    pub(crate) fn readiness(&self) -> Readiness {
        let mut ready = Readiness::empty();
        ready.set(Readiness::READABLE, !self.queue.is_empty());
        ready.set(Readiness::WRITABLE, !self.blocked);
        ready
    }
}
