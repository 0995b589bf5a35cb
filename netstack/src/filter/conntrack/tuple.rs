//! What names one direction of a connection.

use std::net::IpAddr;

use crate::filter::packet::{Inner, Summary};
use crate::network::proto;
use crate::wire::{icmpv4, icmpv6};

/// Both ends of one direction. The identifier of an echo request is its source port, that of a reply its
/// destination port, so that turning a tuple round gives the answer's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Tuple {
    /// Source address.
    pub src: IpAddr,
    /// Destination address.
    pub dst: IpAddr,
    /// Source port, 0 for protocols without.
    pub src_port: u16,
    /// Destination port.
    pub dst_port: u16,
    /// Protocol number.
    pub proto: u8,
}

impl Tuple {
    /// That of a packet; `None` for what begins or belongs to no connection (most of ICMP).
    pub(crate) fn of(summary: &Summary) -> Option<Self> {
        let (src_port, dst_port) = match (summary.inner, summary.proto) {
            (Inner::Tcp(tcp), _) => (tcp.src, tcp.dst),
            (Inner::Udp { src, dst }, _) => (src, dst),
            (Inner::Icmp { kind, ident, .. }, proto) => match (proto, kind) {
                (proto::ICMP, icmpv4::kind::ECHO_REQUEST)
                | (proto::ICMPV6, icmpv6::kind::ECHO_REQUEST) => (ident, 0),
                (proto::ICMP, icmpv4::kind::ECHO_REPLY)
                | (proto::ICMPV6, icmpv6::kind::ECHO_REPLY) => (0, ident),
                _ => return None,
            },
            (Inner::Other, _) => (0, 0),
            (Inner::Broken, _) => return None,
        };
        Some(Self {
            src: summary.src,
            dst: summary.dst,
            src_port,
            dst_port,
            proto: summary.proto,
        })
    }

    /// That of the answer.
    #[must_use]
    pub fn turned(&self) -> Self {
        Self {
            src: self.dst,
            dst: self.src,
            src_port: self.dst_port,
            dst_port: self.src_port,
            proto: self.proto,
        }
    }

    /// True for an echo request or reply.
    pub(crate) fn is_echo(&self) -> bool {
        matches!(self.proto, proto::ICMP | proto::ICMPV6)
    }
}
