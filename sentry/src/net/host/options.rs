//! Which socket options pass between guest and host.
//!
//! A list and not a filter of bad ones: an option may hold a pointer, name a file or a program, or ask
//! for a capability that the Sentry has and the guest has not.

use std::os::fd::BorrowedFd;

use libc::*;
use sentry_abi::Errno;

use super::sys;
use crate::net::Caller;
use crate::vfs::creds::cap;

/// Which calls an option passes.
#[derive(Clone, Copy, PartialEq, Eq)]
enum May {
    Get,
    Both,
    /// Setting it needs this capability of the guest.
    SetWith(u32),
}

/// One option: level, name, most bytes of its value.
type Row = (i32, i32, usize, May);

const INT: usize = 4;

/// Congestion controls that a guest may choose: others could make the host load a module.
const CONGESTION: &[&[u8]] = &[b"reno", b"cubic", b"bbr"];

const TABLE: &[Row] = &[
    (SOL_SOCKET, SO_TYPE, INT, May::Get),
    (SOL_SOCKET, SO_DOMAIN, INT, May::Get),
    (SOL_SOCKET, SO_PROTOCOL, INT, May::Get),
    (SOL_SOCKET, SO_ACCEPTCONN, INT, May::Get),
    (SOL_SOCKET, SO_ERROR, INT, May::Get),
    (SOL_SOCKET, SO_INCOMING_CPU, INT, May::Get),
    (SOL_SOCKET, SO_COOKIE, 8, May::Get),
    (SOL_SOCKET, SO_REUSEADDR, INT, May::Both),
    (SOL_SOCKET, SO_REUSEPORT, INT, May::Both),
    (SOL_SOCKET, SO_KEEPALIVE, INT, May::Both),
    (SOL_SOCKET, SO_BROADCAST, INT, May::Both),
    (SOL_SOCKET, SO_OOBINLINE, INT, May::Both),
    (SOL_SOCKET, SO_DONTROUTE, INT, May::Both),
    (SOL_SOCKET, SO_NO_CHECK, INT, May::Both),
    (SOL_SOCKET, SO_SNDBUF, INT, May::Both),
    (SOL_SOCKET, SO_RCVBUF, INT, May::Both),
    (
        SOL_SOCKET,
        SO_SNDBUFFORCE,
        INT,
        May::SetWith(cap::NET_ADMIN),
    ),
    (
        SOL_SOCKET,
        SO_RCVBUFFORCE,
        INT,
        May::SetWith(cap::NET_ADMIN),
    ),
    (SOL_SOCKET, SO_MARK, INT, May::SetWith(cap::NET_ADMIN)),
    (
        SOL_SOCKET,
        SO_BINDTODEVICE,
        IFNAMSIZ,
        May::SetWith(cap::NET_RAW),
    ),
    (SOL_SOCKET, SO_RCVLOWAT, INT, May::Both),
    (SOL_SOCKET, SO_SNDLOWAT, INT, May::Get),
    (SOL_SOCKET, SO_LINGER, 8, May::Both),
    (SOL_SOCKET, SO_TIMESTAMP, INT, May::Both),
    (SOL_SOCKET, SO_TIMESTAMPNS, INT, May::Both),
    (SOL_SOCKET, SO_PRIORITY, INT, May::Both),
    (SOL_SOCKET, SO_RXQ_OVFL, INT, May::Both),
    (IPPROTO_IP, IP_TOS, INT, May::Both),
    (IPPROTO_IP, IP_TTL, INT, May::Both),
    (IPPROTO_IP, IP_RECVTOS, INT, May::Both),
    (IPPROTO_IP, IP_RECVTTL, INT, May::Both),
    (IPPROTO_IP, IP_PKTINFO, INT, May::Both),
    (IPPROTO_IP, IP_RECVERR, INT, May::Both),
    (IPPROTO_IP, IP_RECVORIGDSTADDR, INT, May::Both),
    (IPPROTO_IP, IP_MTU_DISCOVER, INT, May::Both),
    (IPPROTO_IP, IP_MTU, INT, May::Get),
    (IPPROTO_IP, IP_FREEBIND, INT, May::Both),
    (IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, INT, May::Both),
    (IPPROTO_IP, IP_MULTICAST_TTL, INT, May::Both),
    (IPPROTO_IP, IP_MULTICAST_LOOP, INT, May::Both),
    (IPPROTO_IP, IP_MULTICAST_IF, 12, May::Both),
    (IPPROTO_IP, IP_MULTICAST_ALL, INT, May::Both),
    (IPPROTO_IP, IP_ADD_MEMBERSHIP, 12, May::Both),
    (IPPROTO_IP, IP_DROP_MEMBERSHIP, 12, May::Both),
    (IPPROTO_IPV6, IPV6_V6ONLY, INT, May::Both),
    (IPPROTO_IPV6, IPV6_UNICAST_HOPS, INT, May::Both),
    (IPPROTO_IPV6, IPV6_TCLASS, INT, May::Both),
    (IPPROTO_IPV6, IPV6_RECVTCLASS, INT, May::Both),
    (IPPROTO_IPV6, IPV6_RECVHOPLIMIT, INT, May::Both),
    (IPPROTO_IPV6, IPV6_RECVPKTINFO, INT, May::Both),
    (IPPROTO_IPV6, IPV6_RECVERR, INT, May::Both),
    (IPPROTO_IPV6, IPV6_MTU_DISCOVER, INT, May::Both),
    (IPPROTO_IPV6, IPV6_MTU, INT, May::Get),
    (IPPROTO_IPV6, IPV6_MULTICAST_HOPS, INT, May::Both),
    (IPPROTO_IPV6, IPV6_MULTICAST_LOOP, INT, May::Both),
    (IPPROTO_IPV6, IPV6_MULTICAST_IF, INT, May::Both),
    (IPPROTO_IPV6, IPV6_ADD_MEMBERSHIP, 20, May::Both),
    (IPPROTO_IPV6, IPV6_DROP_MEMBERSHIP, 20, May::Both),
    (IPPROTO_TCP, TCP_NODELAY, INT, May::Both),
    (IPPROTO_TCP, TCP_CORK, INT, May::Both),
    (IPPROTO_TCP, TCP_MAXSEG, INT, May::Both),
    (IPPROTO_TCP, TCP_KEEPIDLE, INT, May::Both),
    (IPPROTO_TCP, TCP_KEEPINTVL, INT, May::Both),
    (IPPROTO_TCP, TCP_KEEPCNT, INT, May::Both),
    (IPPROTO_TCP, TCP_SYNCNT, INT, May::Both),
    (IPPROTO_TCP, TCP_LINGER2, INT, May::Both),
    (IPPROTO_TCP, TCP_DEFER_ACCEPT, INT, May::Both),
    (IPPROTO_TCP, TCP_WINDOW_CLAMP, INT, May::Both),
    (IPPROTO_TCP, TCP_QUICKACK, INT, May::Both),
    (IPPROTO_TCP, TCP_USER_TIMEOUT, INT, May::Both),
    (IPPROTO_TCP, TCP_NOTSENT_LOWAT, INT, May::Both),
    (IPPROTO_TCP, TCP_CONGESTION, 16, May::Both),
    (IPPROTO_TCP, TCP_INFO, 256, May::Get),
    (SOL_UDP, UDP_SEGMENT, INT, May::Both),
    (SOL_UDP, UDP_GRO, INT, May::Both),
];

fn row(level: i32, name: i32) -> Result<&'static Row, Errno> {
    let found = TABLE.iter().find(|row| (row.0, row.1) == (level, name));
    found.ok_or(Errno::ENOPROTOOPT)
}

/// getsockopt(2).
///
/// # Errors
/// ENOPROTOOPT for an option that is not on the list; the host's.
pub(super) fn get(fd: BorrowedFd<'_>, level: i32, name: i32) -> Result<Vec<u8>, Errno> {
    // A level that nobody has is told from a missing option when it is asked for, not when it is set.
    if !TABLE.iter().any(|row| row.0 == level) {
        return Err(Errno::EOPNOTSUPP);
    }
    let row = row(level, name)?;
    sys::option(fd, level, name, row.2)
}

/// setsockopt(2).
///
/// # Errors
/// As [`get`]; EPERM without the capability that the option needs.
pub(super) fn set(
    fd: BorrowedFd<'_>,
    caller: &Caller<'_>,
    level: i32,
    name: i32,
    value: &[u8],
) -> Result<(), Errno> {
    let row = row(level, name)?;
    match row.3 {
        May::Get => return Err(Errno::ENOPROTOOPT),
        May::SetWith(capability) => caller.path.creds.require(capability)?,
        May::Both => {}
    }
    if (level, name) == (SOL_SOCKET, SO_PRIORITY)
        && !(0..=6).contains(&crate::net::option_int(value)?)
    {
        caller.path.creds.require(cap::NET_ADMIN)?;
    }
    if (level, name) == (IPPROTO_TCP, TCP_CONGESTION) {
        let asked = value.split(|&byte| byte == 0).next().unwrap_or_default();
        if !CONGESTION.contains(&asked) {
            return Err(Errno::ENOENT);
        }
    }
    sys::set_option(fd, level, name, &value[..value.len().min(row.2)])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_that_hold_pointers_or_programs_are_not_listed() {
        for name in [SO_ATTACH_FILTER, SO_ATTACH_BPF, SO_PEEK_OFF, SO_ZEROCOPY] {
            assert!(row(SOL_SOCKET, name).is_err());
        }
        assert!(row(IPPROTO_TCP, TCP_ULP).is_err());
        assert!(row(IPPROTO_IP, IP_TRANSPARENT).is_err());
    }

    #[test]
    fn no_option_is_listed_twice() {
        for (at, row) in TABLE.iter().enumerate() {
            let again = TABLE[at + 1..].iter().any(|r| (r.0, r.1) == (row.0, row.1));
            assert!(!again, "{}, {}", row.0, row.1);
        }
    }
}
