//! The network layer, family-neutral where it can be: transports see [`IpMeta`] and [`IpOutput`] only.

pub mod addr;
pub mod icmp_error;
pub mod icmp_limit;
pub(crate) mod ident;
pub mod multicast;
pub(crate) mod pmtu;
pub mod qdisc;
pub(crate) mod quote;
pub(crate) mod reassembly;
pub mod route;
pub(crate) mod source;
pub mod stats;
pub(crate) mod token_bucket;

use std::net::IpAddr;

use crate::buf::{Bytes, GsoKind};
use crate::error::SocketError;
use crate::time::Instant;
use smallvec::SmallVec;

/// Index of an interface in its stack.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct IfaceId(pub u16);

impl IfaceId {
    /// The number that applications know it by (`if_nametoindex`, scopes of addresses): from 1 on.
    pub fn index(self) -> u32 {
        u32::from(self.0) + 1
    }

    /// The interface with a number; `None` for what can be nobody's.
    pub fn from_index(index: u32) -> Option<Self> {
        u16::try_from(index.checked_sub(1)?).ok().map(Self)
    }
}

/// IP protocol numbers that the stack handles.
pub mod proto {
    /// ICMP.
    pub const ICMP: u8 = 1;
    /// IGMP.
    pub const IGMP: u8 = 2;
    /// TCP.
    pub const TCP: u8 = 6;
    /// UDP.
    pub const UDP: u8 = 17;
    /// ICMPv6.
    pub const ICMPV6: u8 = 58;
    /// Any: raw sockets that only send, with headers of their own.
    pub const RAW: u8 = 255;
}

/// [`TransportOut::checksum_offset`] of a transport that has no checksum of ours (raw sockets).
pub const NO_CHECKSUM: u16 = u16::MAX;

/// What a transport learns of the IP header of a received packet.
#[derive(Clone, Copy, Debug)]
pub struct IpMeta {
    /// Sender.
    pub src: IpAddr,
    /// Destination: one of ours, or multicast or broadcast.
    pub dst: IpAddr,
    /// Where it came in.
    pub iface: IfaceId,
    /// TOS or traffic class, the ECN bits included.
    pub tos: u8,
    /// TTL or hop limit.
    pub ttl: u8,
    /// True if `dst` is a broadcast or multicast address, or the link frame was not for us alone.
    pub not_unicast: bool,
    /// When the link saw it.
    pub arrival: Instant,
    /// The transport checksum needs no verification.
    pub checksum_valid: bool,
    /// Payload bytes per original segment when the link merged several (0: single).
    pub gro_size: u16,
}

/// The route to a destination, as a transport needs it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RouteInfo {
    /// Outgoing interface.
    pub iface: IfaceId,
    /// Our address for it.
    pub src: IpAddr,
    /// Path MTU in bytes, IP header included.
    pub mtu: u32,
    /// Largest super-packet worth building, IP header included (at least `mtu`).
    pub gso_max: u32,
    /// What the route says that connections begin with.
    pub metrics: route::RouteMetrics,
}

/// A transport packet on its way down. The checksum field in `header` holds zero: the network layer
/// writes the pseudo-header sum and either completes it or leaves that to the device.
#[derive(Debug)]
pub struct TransportOut<'a> {
    /// Our address.
    pub src: IpAddr,
    /// The peer's address.
    pub dst: IpAddr,
    /// The interface that the socket is bound to, if any.
    pub iface: Option<IfaceId>,
    /// IP protocol number.
    pub proto: u8,
    /// TOS or traffic class.
    pub tos: u8,
    /// TTL or hop limit; 0 means the stack's default.
    pub ttl: u8,
    /// Don't Fragment.
    pub dont_fragment: bool,
    /// Transport header (TCP with its options: at most 60 bytes).
    pub header: &'a [u8],
    /// Offset of the 16-bit checksum field within `header`, or [`NO_CHECKSUM`].
    pub checksum_offset: u16,
    /// Payload ranges in order.
    pub body: SmallVec<[Bytes; 4]>,
    /// Payload bytes per segment if `body` is to be cut; 0 if not.
    pub gso_size: u16,
    /// Which transport is cut.
    pub gso_kind: GsoKind,
}

/// The way down from a transport. Implemented by the stack's egress, and by recorders in unit tests.
pub trait IpOutput {
    /// Finds the route to `dst`, with `src` as our address if the socket has chosen one.
    ///
    /// # Errors
    /// `NetUnreachable` without a route, `AddrNotAvailable` if `src` is not ours.
    fn route(
        &self,
        dst: IpAddr,
        src: Option<IpAddr>,
        iface: Option<IfaceId>,
    ) -> Result<RouteInfo, SocketError>;

    /// Queues one packet (or super-packet) for the interface that its route names.
    ///
    /// # Errors
    /// As [`IpOutput::route`]; `MessageTooLong` if it does not fit and may not be fragmented;
    /// `NoBuffers` if the transmit queue is full, in which case nothing was queued and the
    /// caller tries again when the stack tells it that there is room.
    fn output(&mut self, packet: TransportOut<'_>) -> Result<(), SocketError>;

    /// Notes that `dst` has answered us lately (an acknowledgement of new data), which proves that
    /// the neighbour on the way is reachable (RFC 4861 section 7.3.1). Cheap enough for each one.
    fn confirm(&mut self, dst: IpAddr) {
        let _ = dst;
    }
}
