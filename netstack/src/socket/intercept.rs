//! What an interceptor is told: connections, datagrams and echo requests to addresses that are not
//! the stack's own, before anything answers them.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use super::SocketId;
use crate::buf::Bytes;
use crate::time::{Duration, Instant};
use crate::wire::{icmpv4, icmpv6};

/// Bounds of an interceptor. What comes beyond them is dropped and counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InterceptConfig {
    /// Connection requests that wait for a decision.
    pub tcp_offers_max: usize,
    /// How long one waits; then it is forgotten, and the peer's next SYN makes another.
    pub tcp_offer_timeout: Duration,
    /// UDP flows, those included that are over and not closed yet.
    pub udp_flows_max: usize,
    /// How long a UDP flow lives without a datagram in either direction.
    pub udp_idle_timeout: Duration,
    /// Bytes that wait to be received on one UDP flow, overhead included.
    pub udp_recv_budget: usize,
    /// Echo requests that wait to be taken.
    pub echoes_max: usize,
    /// Answers ARP requests for every host address but this one, which is the peer's own: so the peer
    /// needs no gateway to reach what is on its own network (RFC 1027). `None`: only for the stack's.
    pub proxy_arp_except: Option<Ipv4Addr>,
}

impl Default for InterceptConfig {
    fn default() -> Self {
        Self {
            tcp_offers_max: 1024,
            // As long as Linux sends a SYN again (tcp_syn_retries 6).
            tcp_offer_timeout: Duration::from_secs(127),
            udp_flows_max: 1024,
            udp_idle_timeout: Duration::from_secs(120),
            udp_recv_budget: 212_992,
            echoes_max: 64,
            proxy_arp_except: None,
        }
    }
}

/// Names a connection request that waits for a decision.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct OfferId {
    pub(crate) index: u32,
    /// Tells it from others in the same place.
    pub(crate) number: u64,
}

/// Somebody wants to connect. Nothing has been answered yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TcpOffer {
    /// To decide about it.
    pub id: OfferId,
    /// Who.
    pub from: SocketAddr,
    /// Where to.
    pub to: SocketAddr,
}

/// The first datagram between two endpoints has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UdpFlow {
    /// A UDP socket with `to` as its own address and `from` as its peer. It has HUP when the flow
    /// has been idle for too long; the one who was told of it closes it.
    pub socket: SocketId,
    /// Who.
    pub from: SocketAddr,
    /// Where to.
    pub to: SocketAddr,
}

/// An ICMP echo request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EchoRequest {
    /// Who.
    pub from: IpAddr,
    /// Where to.
    pub to: IpAddr,
    /// Identifier.
    pub ident: u16,
    /// Sequence number.
    pub seq: u16,
    /// What follows the header.
    pub data: Bytes,
    /// When the link saw it.
    pub arrival: Instant,
}

/// Something for an address that is not the stack's own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Intercepted {
    /// To be decided with `Stack::offer_accept`, `offer_refuse`, `offer_unreachable` or `offer_drop`.
    Tcp(TcpOffer),
    /// To be received from and sent on as any UDP socket, and to be closed.
    Udp(UdpFlow),
    /// To be answered with `Stack::intercept_echo_reply`, or not.
    Echo(EchoRequest),
}

/// Why a destination cannot be reached, for the ICMP error that says so.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unreachable {
    /// No route.
    Network,
    /// The host does not answer.
    Host,
    /// Nobody has the port.
    Port,
    /// A policy forbids it.
    Prohibited,
}

impl Unreachable {
    /// The code in IPv4 (RFC 792, RFC 1812).
    pub(crate) fn code_v4(self) -> u8 {
        match self {
            Self::Network => icmpv4::unreachable::NET,
            Self::Host => icmpv4::unreachable::HOST,
            Self::Port => icmpv4::unreachable::PORT,
            Self::Prohibited => icmpv4::unreachable::PROHIBITED,
        }
    }

    /// The code in IPv6 (RFC 4443, 3.1).
    pub(crate) fn code_v6(self) -> u8 {
        match self {
            Self::Network => icmpv6::unreachable::NO_ROUTE,
            Self::Host => icmpv6::unreachable::ADDRESS,
            Self::Port => icmpv6::unreachable::PORT,
            Self::Prohibited => icmpv6::unreachable::PROHIBITED,
        }
    }
}
