//! ICMP errors as the transport of the packet concerned sees them.

use std::net::SocketAddr;

use crate::error::SocketError;
use crate::wire::icmpv4::{Icmpv4Repr, unreachable};

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
            Icmpv4Repr::ParameterProblem { .. } => (E::NoProtocol, true),
            _ => return None,
        };
        Some(Self {
            error,
            hard,
            mtu: None,
        })
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
}
