//! Errors of the socket API: one small enum, turned into an errno at the edge of whoever embeds us.

use thiserror::Error;

/// Why a socket call failed. Each variant names the Linux errno that it stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum SocketError {
    /// EAGAIN: the call would have to wait.
    #[error("the operation would block")]
    WouldBlock,
    /// EINVAL: the call makes no sense in this state or with these arguments.
    #[error("invalid argument, or wrong state for this call")]
    Invalid,
    /// EADDRINUSE: another socket holds the address.
    #[error("address already in use")]
    AddrInUse,
    /// EADDRNOTAVAIL: no interface has the address, or no port is free.
    #[error("address not available")]
    AddrNotAvailable,
    /// EAFNOSUPPORT: the address is of another family.
    #[error("address family not supported by this socket")]
    AddrFamily,
    /// EISCONN: already connected.
    #[error("already connected")]
    IsConnected,
    /// ENOTCONN: not connected.
    #[error("not connected")]
    NotConnected,
    /// EINPROGRESS: the handshake has begun and goes on.
    #[error("connection in progress")]
    InProgress,
    /// EALREADY: an earlier connect is still going on.
    #[error("an earlier connection attempt is in progress")]
    Already,
    /// ECONNREFUSED: the peer answered with a reset or port unreachable.
    #[error("connection refused")]
    Refused,
    /// ECONNRESET: the peer reset the connection.
    #[error("connection reset by peer")]
    Reset,
    /// ECONNABORTED: the connection was aborted here before it was accepted.
    #[error("connection aborted")]
    Aborted,
    /// ETIMEDOUT: retransmission or keepalive gave up.
    #[error("connection timed out")]
    TimedOut,
    /// EPIPE: the send side is shut down.
    #[error("the send side is shut down")]
    Pipe,
    /// ENETUNREACH: no route.
    #[error("network is unreachable")]
    NetUnreachable,
    /// EHOSTUNREACH: the neighbour does not answer, or a router said so.
    #[error("host is unreachable")]
    HostUnreachable,
    /// ENOPROTOOPT: the peer's host has no such protocol, or there is no such option.
    #[error("protocol or option not available")]
    NoProtocol,
    /// ENODEV: there is no such interface.
    #[error("no such interface")]
    NoDevice,
    /// EPROTO: the peer's host did not understand a header.
    #[error("protocol error")]
    Protocol,
    /// EMSGSIZE: the datagram is larger than can be sent.
    #[error("message too long")]
    MessageTooLong,
    /// ENOBUFS / ENOMEM: a budget is exhausted.
    #[error("no buffer space")]
    NoBuffers,
    /// EPERM: a rule of the filter drops it.
    #[error("operation not permitted")]
    NotPermitted,
    /// EACCES: broadcast without SO_BROADCAST, or a prohibited route.
    #[error("permission denied")]
    Access,
    /// EOPNOTSUPP: the socket's type has no such operation.
    #[error("operation not supported on this socket")]
    NotSupported,
    /// EDESTADDRREQ: an unconnected datagram socket was given no destination.
    #[error("destination address required")]
    DestinationRequired,
}
