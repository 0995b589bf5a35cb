//! Raw IP sockets and ICMP echo ("ping") sockets: what they are for, and their state.

use std::net::IpAddr;

use super::{
    DatagramOptions, ErrorQueue, Family, Memberships, Names, Readiness, ReceiveQueue, SocketFilter,
};
use crate::network::{IpMeta, proto};
use crate::wire::icmpv6;

/// What a raw socket sees.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RawKind {
    /// SOCK_RAW: whole IP packets of a protocol, in IPv6 without their headers. On sending the stack
    /// writes the IP header.
    Ip(u8),
    /// SOCK_DGRAM with IPPROTO_ICMP or IPPROTO_ICMPV6: echo replies to its own identifier, as messages without IP
    /// header. On sending the stack writes the identifier and the checksum.
    Echo,
}

/// The state of a socket.
#[derive(Debug)]
pub(crate) struct RawSocket {
    pub(crate) kind: RawKind,
    /// How it names addresses.
    pub(crate) names: Names,
    pub(crate) options: DatagramOptions,
    /// SO_ATTACH_FILTER.
    pub(crate) filter: SocketFilter,
    /// IP_RECVERR: what is told of errors on the way.
    pub(crate) errors: ErrorQueue,
    /// IP_HDRINCL: what is sent has its IP header.
    pub(crate) header_included: bool,
    /// IPV6_CHECKSUM: where the checksum is in what follows the IP header.
    pub(crate) checksum_at: Option<u16>,
    /// ICMP_FILTER: a bit for each of the first 32 types that the socket does not see.
    pub(crate) icmp4_filter: u32,
    /// The local address was chosen by `connect`, and goes with it.
    pub(crate) local_by_connect: bool,
    /// ICMP6_FILTER: a bit for each type that the socket does not see.
    pub(crate) icmp6_filter: [u32; 8],
    /// Groups that it has joined.
    pub(crate) memberships: Memberships,
    /// The local address; unspecified until bound.
    pub(crate) local: IpAddr,
    /// The peer, once connected.
    pub(crate) remote: Option<IpAddr>,
    /// The port that was named with it, which means nothing.
    pub(crate) remote_port: u16,
    /// Identifier of an echo socket, once it has one.
    pub(crate) ident: Option<u16>,
    pub(crate) queue: ReceiveQueue,
    /// A send found the transmit queue full; room will be signalled.
    pub(crate) blocked: bool,
}

impl RawSocket {
    pub(crate) fn new(kind: RawKind, names: Names, recv_budget: usize) -> Self {
        Self {
            kind,
            names,
            options: DatagramOptions {
                // Linux INET_PROTOSW_REUSE.
                reuse_addr: true,
                ..DatagramOptions::new(names.family, recv_budget)
            },
            filter: SocketFilter::default(),
            errors: ErrorQueue::default(),
            header_included: kind == RawKind::Ip(proto::RAW),
            checksum_at: match (kind, names.family) {
                (RawKind::Ip(proto::ICMPV6), Family::V6) => Some(icmpv6::CHECKSUM_OFFSET),
                _ => None,
            },
            icmp4_filter: 0,
            local_by_connect: false,
            icmp6_filter: [0; 8],
            memberships: Memberships::default(),
            local: names.unspecified(),
            remote: None,
            remote_port: 0,
            ident: None,
            queue: ReceiveQueue::default(),
            blocked: false,
        }
    }

    /// IP protocol of what it sends.
    pub(crate) fn proto(&self) -> u8 {
        match self.kind {
            RawKind::Ip(proto) => proto,
            RawKind::Echo if self.names.family == Family::V6 => proto::ICMPV6,
            RawKind::Echo => proto::ICMP,
        }
    }

    /// True if a packet between these addresses is for it.
    pub(crate) fn matches(&self, meta: &IpMeta) -> bool {
        let local = self.local.is_unspecified() || self.local == meta.dst;
        let remote = self.remote.is_none_or(|remote| remote == meta.src);
        let iface = self.options.iface.is_none_or(|iface| iface == meta.iface);
        let family = self.local.is_ipv4() == meta.dst.is_ipv4();
        local && remote && iface && family && self.memberships.allow(meta, &self.options)
    }

    /// True if ICMP messages of this type, of its own family, are for the socket.
    pub(crate) fn passes(&self, kind: u8) -> bool {
        if self.names.family == Family::V4 {
            return kind >= 32 || self.icmp4_filter & 1 << kind == 0;
        }
        self.icmp6_filter[usize::from(kind >> 5)] & 1 << (kind & 31) == 0
    }

    pub(crate) fn readiness(&self) -> Readiness {
        let mut ready = Readiness::empty();
        ready.set(Readiness::READABLE, !self.queue.is_empty());
        ready.set(Readiness::WRITABLE, !self.blocked);
        if self.queue.has_error() || !self.errors.is_empty() {
            ready |= Readiness::ERROR | Readiness::READABLE;
        }
        ready
    }
}
