//! Socket errors as the operating system's, for std-like results.

use std::io;

use crate::error::SocketError;

/// The Linux errno that the error stands for.
pub fn errno(error: SocketError) -> i32 {
    match error {
        SocketError::WouldBlock => libc::EAGAIN,
        SocketError::Invalid => libc::EINVAL,
        SocketError::AddrInUse => libc::EADDRINUSE,
        SocketError::AddrNotAvailable => libc::EADDRNOTAVAIL,
        SocketError::AddrFamily => libc::EAFNOSUPPORT,
        SocketError::IsConnected => libc::EISCONN,
        SocketError::NotConnected => libc::ENOTCONN,
        SocketError::InProgress => libc::EINPROGRESS,
        SocketError::Already => libc::EALREADY,
        SocketError::Refused => libc::ECONNREFUSED,
        SocketError::Reset => libc::ECONNRESET,
        SocketError::Aborted => libc::ECONNABORTED,
        SocketError::TimedOut => libc::ETIMEDOUT,
        SocketError::Pipe => libc::EPIPE,
        SocketError::NetUnreachable => libc::ENETUNREACH,
        SocketError::HostUnreachable => libc::EHOSTUNREACH,
        SocketError::Protocol => libc::EPROTO,
        SocketError::NoDevice => libc::ENODEV,
        SocketError::NoProtocol => libc::ENOPROTOOPT,
        SocketError::MessageTooLong => libc::EMSGSIZE,
        SocketError::NoBuffers => libc::ENOBUFS,
        SocketError::Access => libc::EACCES,
        SocketError::NotSupported => libc::EOPNOTSUPP,
        SocketError::DestinationRequired => libc::EDESTADDRREQ,
        SocketError::NotPermitted => libc::EPERM,
    }
}

/// The error as the standard library's sockets report it.
pub(super) fn to_io(error: SocketError) -> io::Error {
    io::Error::from_raw_os_error(errno(error))
}
