//! What UDP, raw and echo sockets can be told, and what goes with one datagram.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use super::Family;
use super::tcp::MtuDiscover;
use crate::network::IfaceId;

/// Options of a UDP, raw or echo socket. Those about binding are read by `bind`, the others at each use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DatagramOptions {
    /// SO_REUSEADDR.
    pub reuse_addr: bool,
    /// SO_REUSEPORT.
    pub reuse_port: bool,
    /// SO_BROADCAST.
    pub broadcast: bool,
    /// SO_BINDTODEVICE.
    pub iface: Option<IfaceId>,
    /// IP_TTL; 0 means the stack's default.
    pub ttl: u8,
    /// IP_TOS.
    pub tos: u8,
    /// IP_MTU_DISCOVER.
    pub mtu_discover: MtuDiscover,
    /// IP_RECVERR: ICMP errors reach unconnected sockets too, soft ones as well.
    pub recv_errors: bool,
    /// SO_RCVBUF: bytes that wait to be received, overhead included.
    pub recv_budget: usize,
    /// IP_FREEBIND: bind to addresses that are not ours.
    pub freebind: bool,
    /// IP_TRANSPARENT: also send from them.
    pub transparent: bool,
    /// IP_BIND_ADDRESS_NO_PORT: bind to an address takes no port.
    pub bind_no_port: bool,
    /// UDP_CORK: what is sent is held back, and makes one datagram.
    pub cork: bool,
    /// UDP_SEGMENT: what is sent is cut into datagrams of this many bytes; 0: it is one.
    pub gso_size: u16,
    /// UDP_GRO: datagrams that the link merged are received as one.
    pub gro: bool,
    /// Groups of IPv4.
    pub groups4: GroupOptions,
    /// Groups of IPv6.
    pub groups6: GroupOptions,
}

/// How groups of one family are sent to and heard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GroupOptions {
    /// IP_MULTICAST_IF: the interface to send over.
    pub iface: Option<IfaceId>,
    /// IP_MULTICAST_IF: the address to send from.
    pub addr: Option<Ipv4Addr>,
    /// IP_MULTICAST_TTL: 0 does not leave the host.
    pub ttl: u8,
    /// IP_MULTICAST_LOOP: members on this host hear it too.
    pub loop_back: bool,
    /// IP_MULTICAST_ALL: a socket that is no member hears what others on the host are members of.
    pub all: bool,
}

impl DatagramOptions {
    pub(crate) fn new(family: Family, recv_budget: usize) -> Self {
        let groups = GroupOptions {
            iface: None,
            addr: None,
            ttl: 1,
            loop_back: true,
            all: true,
        };
        Self {
            reuse_addr: false,
            reuse_port: false,
            broadcast: false,
            iface: None,
            ttl: 0,
            tos: 0,
            mtu_discover: MtuDiscover::Want,
            recv_errors: false,
            recv_budget,
            freebind: false,
            transparent: false,
            bind_no_port: false,
            cork: false,
            gso_size: 0,
            gro: false,
            // Linux `inet6_create` leaves it off.
            groups4: GroupOptions {
                all: family == Family::V4,
                ..groups
            },
            groups6: groups,
        }
    }

    /// What goes for groups of the family of `addr`.
    pub(crate) fn groups(&self, addr: IpAddr) -> &GroupOptions {
        match addr {
            IpAddr::V4(_) => &self.groups4,
            IpAddr::V6(_) => &self.groups6,
        }
    }
}

/// What one datagram is sent with.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SendTo {
    /// Where to; `None`: to the peer.
    pub to: Option<SocketAddr>,
    /// From this address of ours (IP_PKTINFO, IPV6_PKTINFO).
    pub source: Option<IpAddr>,
    /// Over this interface (IP_PKTINFO, IPV6_PKTINFO).
    pub iface: Option<IfaceId>,
    /// TTL or hop limit (IP_TTL, IPV6_HOPLIMIT).
    pub ttl: Option<u8>,
    /// TOS or traffic class (IP_TOS, IPV6_TCLASS).
    pub tos: Option<u8>,
    /// Cut into datagrams of this many bytes (UDP_SEGMENT); 0: not.
    pub segment: Option<u16>,
    /// More of the same datagram will follow (MSG_MORE).
    pub more: bool,
}

impl From<Option<SocketAddr>> for SendTo {
    fn from(to: Option<SocketAddr>) -> Self {
        Self {
            to,
            ..Self::default()
        }
    }
}
