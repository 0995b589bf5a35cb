//! Sockets of the host (`--network=host`): AF_INET and AF_INET6, one host socket for each of the guest's.
//!
//! Each is non-blocking underneath. Its readiness comes from the thread that polls donated files
//! ([`crate::fs::host::poller`]); the waiting is done where all sockets wait (`syscalls::socket`).
//!
//! The Sentry may have capabilities that the guest has not: what the host would ask them for is checked
//! here against the guest's own (low ports, forced buffer sizes, binding to a device).

mod messages;
mod options;
mod socket;
mod sys;

use std::sync::Arc;

use sentry_abi::Errno;

use super::{Socket, SocketType};
use socket::HostSocket;

/// A new socket (socket(2)).
///
/// # Errors
/// The host's; EPROTONOSUPPORT and ESOCKTNOSUPPORT for raw and exotic sockets, which stay with the host.
pub(super) fn open(wanted: SocketType) -> Result<Arc<dyn Socket>, Errno> {
    let known = match wanted.kind {
        libc::SOCK_STREAM => &[0, libc::IPPROTO_TCP][..],
        libc::SOCK_DGRAM => &[
            0,
            libc::IPPROTO_UDP,
            libc::IPPROTO_ICMP,
            libc::IPPROTO_ICMPV6,
        ],
        _ => return Err(Errno::ESOCKTNOSUPPORT),
    };
    if !known.contains(&wanted.protocol) {
        return Err(Errno::EPROTONOSUPPORT);
    }
    HostSocket::own(sys::socket(wanted)?, wanted.family)
}
