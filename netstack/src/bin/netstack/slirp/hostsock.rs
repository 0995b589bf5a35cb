//! Non-blocking sockets of the host.

use std::ffi::OsString;
use std::io;
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::{AsRawFd, OwnedFd};

use nix::errno::Errno;
use nix::sys::socket::{
    AddressFamily, Backlog, SockFlag, SockProtocol, SockType, SockaddrStorage, bind, connect,
    listen, setsockopt, socket, sockopt,
};

use netstack::socket::intercept::Unreachable;

use super::plan::Origin;

const ACCEPT_BACKLOG: i32 = 511;

fn family(addr: SocketAddr) -> AddressFamily {
    match addr {
        SocketAddr::V4(_) => AddressFamily::Inet,
        SocketAddr::V6(_) => AddressFamily::Inet6,
    }
}

fn open(addr: SocketAddr, kind: SockType, protocol: Option<SockProtocol>) -> io::Result<OwnedFd> {
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    Ok(socket(family(addr), kind, flags, protocol)?)
}

/// An interface comes first: an address may be one of its own only.
fn bind_to(fd: &OwnedFd, origin: Origin<'_>) -> io::Result<()> {
    if let Some(iface) = origin.iface {
        setsockopt(fd, sockopt::BindToDevice, &OsString::from(iface))?;
    }
    if let Some(addr) = origin.addr {
        bind(fd.as_raw_fd(), &SockaddrStorage::from(addr))?;
    }
    Ok(())
}

/// Begins to connect; the stream is writable, or has an error, when that has ended.
pub(super) fn tcp_connect(to: SocketAddr, from: Origin<'_>) -> io::Result<TcpStream> {
    let fd = open(to, SockType::Stream, None)?;
    // What comes from the namespace's sockets has been delayed there, if it was to be.
    setsockopt(&fd, sockopt::TcpNoDelay, &true)?;
    bind_to(&fd, from)?;
    match connect(fd.as_raw_fd(), &SockaddrStorage::from(to)) {
        Ok(()) | Err(Errno::EINPROGRESS) => Ok(TcpStream::from(fd)),
        Err(error) => Err(error.into()),
    }
}

/// A listening socket, of an interface's traffic only if one is named.
pub(super) fn tcp_listen(addr: SocketAddr, iface: Option<&str>) -> io::Result<TcpListener> {
    let fd = open(addr, SockType::Stream, None)?;
    setsockopt(&fd, sockopt::ReuseAddr, &true)?;
    bind_to(
        &fd,
        Origin {
            addr: Some(addr),
            iface,
        },
    )?;
    listen(&fd, Backlog::new(ACCEPT_BACKLOG)?)?;
    Ok(TcpListener::from(fd))
}

/// A UDP socket that is connected.
pub(super) fn udp_connect(to: SocketAddr, from: Origin<'_>) -> io::Result<UdpSocket> {
    let fd = open(to, SockType::Datagram, None)?;
    bind_to(&fd, from)?;
    connect(fd.as_raw_fd(), &SockaddrStorage::from(to))?;
    Ok(UdpSocket::from(fd))
}

/// A UDP socket that is bound.
pub(super) fn udp_bind(addr: SocketAddr, iface: Option<&str>) -> io::Result<UdpSocket> {
    let fd = open(addr, SockType::Datagram, None)?;
    bind_to(
        &fd,
        Origin {
            addr: Some(addr),
            iface,
        },
    )?;
    Ok(UdpSocket::from(fd))
}

/// An ICMP echo socket that is connected. EACCES unless net.ipv4.ping_group_range allows it.
pub(super) fn ping_connect(to: SocketAddr, from: Origin<'_>) -> io::Result<UdpSocket> {
    let fd = open(to, SockType::Datagram, Some(SockProtocol::Icmp))?;
    bind_to(&fd, from)?;
    connect(fd.as_raw_fd(), &SockaddrStorage::from(to))?;
    // It has the system calls of one.
    Ok(UdpSocket::from(fd))
}

/// Closing the stream resets its connection (SO_LINGER with zero seconds).
pub(super) fn reset_on_close(stream: &TcpStream) {
    let linger = libc::linger {
        l_onoff: 1,
        l_linger: 0,
    };
    // A connection that is gone already can't be reset.
    let _ = setsockopt(stream, sockopt::Linger, &linger);
}

/// How a failed connection looks to the namespace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Failure {
    /// A reset.
    Refused,
    /// An ICMP error.
    Unreachable(Unreachable),
    /// Nothing: the peer tries again, or gives up as it would have.
    Silent,
}

impl Failure {
    pub(super) fn of(error: &io::Error) -> Self {
        match error.raw_os_error() {
            Some(libc::ECONNREFUSED | libc::ECONNRESET) => Self::Refused,
            Some(libc::EHOSTUNREACH | libc::EHOSTDOWN) => Self::Unreachable(Unreachable::Host),
            Some(libc::ENETUNREACH | libc::ENETDOWN | libc::EAFNOSUPPORT) => {
                Self::Unreachable(Unreachable::Network)
            }
            Some(libc::EACCES | libc::EPERM) => Self::Unreachable(Unreachable::Prohibited),
            _ => Self::Silent,
        }
    }
}
