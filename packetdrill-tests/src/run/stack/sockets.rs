//! Socket calls of the script as calls of netstack.

use std::net::SocketAddr;

use super::super::target::{Received, SysResult};
use netstack::error::SocketError;
use netstack::socket::tcp::{SendHow, TcpState, UrgentRead};
use netstack::socket::{Family, SocketId, SocketKind};
use netstack::stack::Stack;
use nix::errno::Errno;

/// The errno of Linux for an error of netstack.
pub(super) fn errno(error: SocketError) -> Errno {
    match error {
        SocketError::WouldBlock => Errno::EAGAIN,
        SocketError::Invalid => Errno::EINVAL,
        SocketError::AddrInUse => Errno::EADDRINUSE,
        SocketError::AddrNotAvailable => Errno::EADDRNOTAVAIL,
        SocketError::AddrFamily => Errno::EAFNOSUPPORT,
        SocketError::IsConnected => Errno::EISCONN,
        SocketError::NotConnected => Errno::ENOTCONN,
        SocketError::InProgress => Errno::EINPROGRESS,
        SocketError::Already => Errno::EALREADY,
        SocketError::Refused => Errno::ECONNREFUSED,
        SocketError::Reset => Errno::ECONNRESET,
        SocketError::Aborted => Errno::ECONNABORTED,
        SocketError::TimedOut => Errno::ETIMEDOUT,
        SocketError::Pipe => Errno::EPIPE,
        SocketError::NetUnreachable => Errno::ENETUNREACH,
        SocketError::HostUnreachable => Errno::EHOSTUNREACH,
        SocketError::Protocol => Errno::EPROTO,
        SocketError::NoDevice => Errno::ENODEV,
        SocketError::NoProtocol => Errno::ENOPROTOOPT,
        SocketError::MessageTooLong => Errno::EMSGSIZE,
        SocketError::NoBuffers => Errno::ENOBUFS,
        SocketError::Access => Errno::EACCES,
        SocketError::NotSupported => Errno::EOPNOTSUPP,
        SocketError::DestinationRequired => Errno::EDESTADDRREQ,
        SocketError::NotPermitted => Errno::EPERM,
    }
}

/// socket(2), for streams and datagrams.
pub(super) fn open(
    stack: &mut Stack,
    domain: i32,
    kind: i32,
    protocol: i32,
) -> SysResult<SocketId> {
    let family = match domain {
        libc::AF_INET => Family::V4,
        libc::AF_INET6 => Family::V6,
        _ => return Err(Errno::EAFNOSUPPORT),
    };
    match (kind, protocol) {
        (libc::SOCK_STREAM, 0 | libc::IPPROTO_TCP) => Ok(stack.tcp_open_of(family)),
        (libc::SOCK_DGRAM, 0 | libc::IPPROTO_UDP) => Ok(stack.udp_open(family)),
        _ => Err(Errno::EPROTONOSUPPORT),
    }
}

fn is_tcp(id: SocketId) -> bool {
    id.kind() == SocketKind::Tcp
}

/// bind(2).
pub(super) fn bind(stack: &mut Stack, id: SocketId, address: SocketAddr) -> SysResult<()> {
    if is_tcp(id) {
        stack.tcp_bind(id, address).map_err(errno)
    } else {
        stack.udp_bind(id, address).map_err(errno)
    }
}

/// listen(2).
pub(super) fn listen(stack: &mut Stack, id: SocketId, backlog: i32) -> SysResult<()> {
    if !is_tcp(id) {
        return Err(Errno::EOPNOTSUPP);
    }
    stack.tcp_listen(id, backlog).map_err(errno)
}

/// accept(2).
pub(super) fn accept(stack: &mut Stack, id: SocketId) -> SysResult<(SocketId, SocketAddr)> {
    if !is_tcp(id) {
        return Err(Errno::EOPNOTSUPP);
    }
    stack.tcp_accept(id).map_err(errno)
}

/// connect(2).
pub(super) fn connect(stack: &mut Stack, id: SocketId, address: SocketAddr) -> SysResult<()> {
    if is_tcp(id) {
        stack.tcp_connect(id, address).map_err(errno)
    } else {
        stack.udp_connect(id, address).map_err(errno)
    }
}

/// send(2) and sendto(2).
pub(super) fn send(
    stack: &mut Stack,
    id: SocketId,
    data: &[u8],
    flags: i32,
    to: Option<SocketAddr>,
) -> SysResult<usize> {
    let known = libc::MSG_DONTWAIT
        | libc::MSG_NOSIGNAL
        | libc::MSG_MORE
        | libc::MSG_FASTOPEN
        | libc::MSG_EOR
        | libc::MSG_OOB
        | libc::MSG_ZEROCOPY;
    if flags & !known != 0 {
        return Err(Errno::EOPNOTSUPP);
    }
    if is_tcp(id) {
        let has = |flag| flags & flag != 0;
        let how = SendHow {
            more: has(libc::MSG_MORE),
            end_of_record: has(libc::MSG_EOR),
            urgent: has(libc::MSG_OOB),
            zero_copy: has(libc::MSG_ZEROCOPY),
            partial: false,
            fast_open: has(libc::MSG_FASTOPEN),
            to,
            waits: !has(libc::MSG_DONTWAIT),
        };
        stack.tcp_send_with(id, data, how).map_err(errno)
    } else {
        stack.udp_send(id, data.to_vec(), to).map_err(errno)
    }
}

/// recv(2).
pub(super) fn recv(stack: &mut Stack, id: SocketId, len: usize, flags: i32) -> SysResult<Received> {
    let known = libc::MSG_DONTWAIT | libc::MSG_PEEK | libc::MSG_TRUNC | libc::MSG_OOB;
    if flags & !known != 0 {
        return Err(Errno::EOPNOTSUPP);
    }
    let peek = flags & libc::MSG_PEEK != 0;
    if !is_tcp(id) {
        return recv_datagram(stack, id, len, flags);
    }
    if flags & libc::MSG_OOB != 0 {
        return recv_urgent(stack, id, len, peek);
    }
    let mut data = vec![0; len];
    let count = stack.tcp_recv(id, &mut data, peek).map_err(errno)?;
    data.truncate(count);
    if flags & libc::MSG_TRUNC != 0 {
        data.clear();
    }
    Ok(Received {
        data,
        len: count,
        ..Received::default()
    })
}

/// recv(MSG_OOB).
fn recv_urgent(stack: &mut Stack, id: SocketId, len: usize, peek: bool) -> SysResult<Received> {
    let read = stack.tcp_recv_urgent(id, peek).map_err(errno)?;
    let data = match read {
        UrgentRead::Byte(byte) if len > 0 => vec![byte],
        _ => Vec::new(),
    };
    Ok(Received {
        len: data.len(),
        data,
        flags: libc::MSG_OOB,
        ..Received::default()
    })
}

fn recv_datagram(stack: &mut Stack, id: SocketId, len: usize, flags: i32) -> SysResult<Received> {
    let datagram = if flags & libc::MSG_PEEK != 0 {
        stack.udp_peek(id).map_err(errno)?.clone()
    } else {
        stack.udp_recv(id).map_err(errno)?
    };
    let mut data = datagram.data.to_vec();
    let whole = data.len();
    data.truncate(len);
    Ok(Received {
        len: if flags & libc::MSG_TRUNC != 0 {
            whole
        } else {
            data.len()
        },
        flags: if whole > len { libc::MSG_TRUNC } else { 0 },
        source: Some(datagram.from),
        control: Vec::new(),
        data,
    })
}

/// ioctl(2) of a TCP socket.
pub(super) fn ioctl(stack: &Stack, id: SocketId, request: u64) -> SysResult<i32> {
    const SIOCINQ: u64 = 0x541b;
    const SIOCOUTQ: u64 = 0x5411;
    const SIOCATMARK: u64 = 0x8905;
    const SIOCOUTQNSD: u64 = 0x894b;
    if !is_tcp(id) {
        return Err(Errno::EOPNOTSUPP);
    }
    // Linux `tcp_ioctl`.
    let listens = stack.tcp_state(id).map_err(errno)? == TcpState::Listen;
    if listens && request != SIOCATMARK {
        return Err(Errno::EINVAL);
    }
    let count = match request {
        SIOCINQ => stack.tcp_readable_bytes(id),
        SIOCOUTQ => stack.tcp_unacknowledged_bytes(id),
        SIOCOUTQNSD => stack.tcp_unsent_bytes(id),
        SIOCATMARK => usize::from(stack.tcp_at_mark(id)),
        _ => return Err(Errno::ENOTTY),
    };
    Ok(i32::try_from(count).unwrap_or(i32::MAX))
}
