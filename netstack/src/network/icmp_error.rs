//! ICMP errors of both families: what those we receive mean to the transport of the packet concerned,
//! and what we have to say of packets that we receive.

use std::net::{Ipv4Addr, SocketAddr};

use crate::error::SocketError;
use crate::wire::icmpv4::{self, Icmpv4Repr, unreachable};
use crate::wire::icmpv6::{self, Icmpv6Repr, parameter};

/// An ICMP error about a packet that we sent (or the same news from our own neighbour table).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IcmpError {
    /// Our end of the packet concerned.
    pub local: SocketAddr,
    /// The other end.
    pub remote: SocketAddr,
    /// The four bytes after the ports: for TCP the sequence number. An error whose sequence number
    /// is not in flight was forged (RFC 5927).
    pub seq: u32,
    /// What it means.
    pub cause: IcmpCause,
}

/// What an ICMP error means to a socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IcmpCause {
    /// The error that the socket reports.
    pub error: SocketError,
    /// Hard errors end a connection attempt, soft ones only explain a later timeout (RFC 1122, 4.2.3.9).
    pub hard: bool,
    /// The path MTU in bytes, with "fragmentation needed".
    pub mtu: Option<u32>,
}

impl IcmpCause {
    /// The meaning of a message, as Linux has it (`icmp_err_convert`). `None` if it is no error that
    /// a transport hears of.
    pub(crate) fn of(message: &Icmpv4Repr) -> Option<Self> {
        use SocketError as E;
        let (error, hard) = match *message {
            Icmpv4Repr::Unreachable { code, mtu } => {
                if code == unreachable::FRAGMENTATION_NEEDED {
                    return Some(Self {
                        error: E::MessageTooLong,
                        hard: false,
                        mtu: Some(u32::from(mtu)),
                    });
                }
                match code {
                    unreachable::NET | 11 => (E::NetUnreachable, false),
                    unreachable::HOST | 12 => (E::HostUnreachable, false),
                    unreachable::PROTOCOL => (E::NoProtocol, true),
                    unreachable::PORT => (E::Refused, true),
                    unreachable::SOURCE_ROUTE => (E::NotSupported, false),
                    unreachable::NET_UNKNOWN | 9 => (E::NetUnreachable, true),
                    7 | 8 | 10 | unreachable::PROHIBITED..=15 => (E::HostUnreachable, true),
                    _ => return None,
                }
            }
            Icmpv4Repr::TimeExceeded { .. } => (E::HostUnreachable, false),
            Icmpv4Repr::ParameterProblem { .. } => (E::Protocol, true),
            _ => return None,
        };
        Some(Self {
            error,
            hard,
            mtu: None,
        })
    }

    /// The same for IPv6 (Linux `icmpv6_err_convert`).
    pub(crate) fn of_v6(message: &Icmpv6Repr) -> Option<Self> {
        use SocketError as E;
        use icmpv6::unreachable;
        let (error, hard) = match *message {
            Icmpv6Repr::PacketTooBig { mtu } => {
                return Some(Self {
                    error: E::MessageTooLong,
                    hard: false,
                    mtu: Some(mtu),
                });
            }
            Icmpv6Repr::Unreachable { code } => match code {
                unreachable::NO_ROUTE => (E::NetUnreachable, false),
                unreachable::SCOPE | unreachable::ADDRESS => (E::HostUnreachable, false),
                unreachable::PORT => (E::Refused, true),
                // Prohibited, source address failed a policy, route rejected.
                unreachable::PROHIBITED | 5 | 6 => (E::Access, true),
                _ => return None,
            },
            Icmpv6Repr::TimeExceeded { .. } => (E::HostUnreachable, false),
            Icmpv6Repr::ParameterProblem { .. } => (E::Protocol, true),
            _ => return None,
        };
        Some(Self {
            error,
            hard,
            mtu: None,
        })
    }
}

/// What is wrong with a packet that we received, to be said to who sent it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Problem {
    /// Nobody listens on its port.
    Port,
    /// Nobody handles its protocol, which is named at this offset.
    Protocol { at: usize },
    /// The rest of its fragments did not come in time.
    ReassemblyTime,
    /// The field at this offset has a bad value (IPv6).
    Field { at: usize },
    /// The option at this offset is unknown; `multicast`: this is said of packets to groups too (IPv6).
    Option { at: usize, multicast: bool },
    /// A first fragment without the whole header chain (IPv6, RFC 7112).
    HeaderChain,
    /// It cannot or may not be delivered: the codes of "unreachable".
    Unreachable { v4: u8, v6: u8 },
    /// It has passed as many routers as it may.
    TransitTime,
    /// It is longer than the next link takes.
    TooBig { mtu: u32 },
    /// There is a better router for it (IPv4).
    Redirect { gateway: Ipv4Addr },
}

impl Problem {
    /// The message in IPv4; `None` for what only IPv6 has.
    pub(crate) fn to_v4(self) -> Option<Icmpv4Repr> {
        let unreachable = |code| Some(Icmpv4Repr::Unreachable { code, mtu: 0 });
        match self {
            Self::Port => unreachable(icmpv4::unreachable::PORT),
            Self::Protocol { .. } => unreachable(icmpv4::unreachable::PROTOCOL),
            Self::ReassemblyTime => Some(Icmpv4Repr::TimeExceeded { code: 1 }),
            Self::TransitTime => Some(Icmpv4Repr::TimeExceeded { code: 0 }),
            Self::Unreachable { v4, .. } => unreachable(v4),
            Self::TooBig { mtu } => Some(Icmpv4Repr::Unreachable {
                code: icmpv4::unreachable::FRAGMENTATION_NEEDED,
                mtu: mtu.min(u32::from(u16::MAX)) as u16,
            }),
            Self::Redirect { gateway } => Some(Icmpv4Repr::Other {
                kind: icmpv4::kind::REDIRECT,
                // For this host alone.
                code: 1,
                rest: gateway.into(),
            }),
            Self::Field { .. } | Self::Option { .. } | Self::HeaderChain => None,
        }
    }

    /// The message in IPv6 (a redirect is one of neighbour discovery there).
    pub(crate) fn to_v6(self) -> Icmpv6Repr {
        let (code, at) = match self {
            Self::Port => {
                return Icmpv6Repr::Unreachable {
                    code: icmpv6::unreachable::PORT,
                };
            }
            Self::ReassemblyTime => return Icmpv6Repr::TimeExceeded { code: 1 },
            Self::TransitTime => return Icmpv6Repr::TimeExceeded { code: 0 },
            Self::Unreachable { v6, .. } => return Icmpv6Repr::Unreachable { code: v6 },
            Self::TooBig { mtu } => return Icmpv6Repr::PacketTooBig { mtu },
            Self::Protocol { at } => (parameter::NEXT_HEADER, at),
            Self::Field { at } => (parameter::FIELD, at),
            Self::Option { at, .. } => (parameter::OPTION, at),
            Self::HeaderChain | Self::Redirect { .. } => (parameter::HEADER_CHAIN, 0),
        };
        Icmpv6Repr::ParameterProblem {
            code,
            pointer: at as u32,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn port_unreachable_is_hard_and_host_unreachable_is_not() {
        let cause = |code| IcmpCause::of(&Icmpv4Repr::Unreachable { code, mtu: 1300 });
        assert_eq!(cause(3).unwrap().error, SocketError::Refused);
        assert!(cause(3).unwrap().hard && !cause(1).unwrap().hard);
        assert_eq!(cause(4).unwrap().mtu, Some(1300));
        assert_eq!(cause(16), None);
        assert_eq!(
            IcmpCause::of(&Icmpv4Repr::EchoReply { ident: 0, seq: 0 }),
            None
        );
    }

    #[test]
    fn ipv6_says_the_same_in_other_numbers() {
        let cause = |code| IcmpCause::of_v6(&Icmpv6Repr::Unreachable { code });
        assert_eq!(cause(4).unwrap().error, SocketError::Refused);
        assert_eq!(cause(1).unwrap().error, SocketError::Access);
        assert!(cause(4).unwrap().hard && !cause(3).unwrap().hard);
        assert_eq!(cause(7), None);
        let too_big = IcmpCause::of_v6(&Icmpv6Repr::PacketTooBig { mtu: 1300 });
        assert_eq!(too_big.unwrap().mtu, Some(1300));
    }
}
