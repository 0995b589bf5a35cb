//! What every netstack socket has: its handle, and a wait queue fed by the stack's readiness.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use netstack::error::SocketError;
use netstack::host::{Net, SubscriptionId, errno};
use netstack::socket::{Family, Readiness, Shutdown as StackShutdown, SocketId};
use netstack::stack::Stack;
use sentry_abi::Errno;

use crate::net::Shutdown;
use crate::net::addr::{emit_inet, family, parse_inet};
use crate::wait::{Ready, WaitQueue};

/// Bytes that move between guest and stack in one piece, through a buffer of the Sentry.
pub(super) const PIECE_MAX: usize = 64 << 10;

/// A handle to a socket of the stack; dropping it closes the socket.
pub(super) struct Endpoint {
    net: Net,
    id: SocketId,
    queue: Arc<WaitQueue>,
    subscription: SubscriptionId,
    /// SO_OOBINLINE of datagram sockets, where it means nothing: kept to be shown.
    pub(super) oob_inline: AtomicBool,
}

impl Endpoint {
    /// Owns `id` from now on.
    pub(super) fn new(net: &Net, id: SocketId) -> Self {
        let queue = Arc::new(WaitQueue::new());
        let waiting = Arc::clone(&queue);
        let subscription =
            net.subscribe(id, Arc::new(move |ready| waiting.notify(to_ready(ready))));
        Self {
            net: net.clone(),
            id,
            queue,
            subscription,
            oob_inline: AtomicBool::new(false),
        }
    }

    pub(super) fn net(&self) -> &Net {
        &self.net
    }

    pub(super) fn queue(&self) -> &WaitQueue {
        &self.queue
    }

    /// A call on the stack.
    pub(super) fn call<T>(
        &self,
        call: impl FnOnce(&mut Stack, SocketId) -> Result<T, SocketError>,
    ) -> Result<T, Errno> {
        self.net
            .with(|stack| call(stack, self.id))
            .map_err(to_errno)
    }

    /// A look at the stack that cannot fail.
    pub(super) fn look<T>(&self, look: impl FnOnce(&mut Stack, SocketId) -> T) -> T {
        self.net.with(|stack| look(stack, self.id))
    }

    pub(super) fn readiness(&self) -> Ready {
        self.look(|stack, id| stack.readiness(id))
            .map_or(Ready::NVAL, to_ready)
    }

    pub(super) fn shutdown(&self, how: Shutdown) -> Result<(), Errno> {
        let how = match how {
            Shutdown::Read => StackShutdown::Read,
            Shutdown::Write => StackShutdown::Write,
            Shutdown::Both => StackShutdown::Both,
        };
        self.call(|stack, id| stack.shutdown(id, how))
    }

    pub(super) fn local_addr(&self) -> Result<Vec<u8>, Errno> {
        let addr = self.look(|stack, id| stack.local_addr(id));
        // Only a socket that is closed has none.
        addr.map(emit_inet).map_err(to_errno)
    }

    pub(super) fn peer_addr(&self) -> Result<Vec<u8>, Errno> {
        self.call(|stack, id| stack.peer_addr(id)).map(emit_inet)
    }

    /// SO_ERROR: the pending error, once.
    pub(super) fn take_error(&self) -> i32 {
        self.look(|stack, id| stack.take_error(id)).map_or(0, errno)
    }
}

impl Drop for Endpoint {
    fn drop(&mut self) {
        self.net.unsubscribe(self.subscription);
        self.net.with(|stack| stack.close(self.id));
    }
}

/// The `AF_*` of a family.
pub(super) fn domain(family: Family) -> i32 {
    match family {
        Family::V4 => libc::AF_INET,
        Family::V6 => libc::AF_INET6,
    }
}

/// An address that a guest named for a socket of `own` family. AF_UNSPEC stands for the unspecified address in bind(2)
/// (`inet_bind` admits it for old programs).
pub(super) fn guest_addr(own: Family, addr: &[u8]) -> Result<SocketAddr, Errno> {
    if own == Family::V6 {
        return v6_addr(addr);
    }
    if addr.len() >= 16 && family(addr)? == libc::AF_UNSPEC && addr[4..8] == [0; 4] {
        let port = u16::from_be_bytes([addr[2], addr[3]]);
        return Ok((Ipv4Addr::UNSPECIFIED, port).into());
    }
    let addr = parse_inet(addr)?;
    if addr.is_ipv4() {
        Ok(addr)
    } else {
        Err(Errno::EAFNOSUPPORT)
    }
}

/// The same for a socket of IPv6 (`inet6_bind`): the length is looked at first.
fn v6_addr(addr: &[u8]) -> Result<SocketAddr, Errno> {
    if addr.len() < SIN6_LEN_RFC2133 {
        return Err(Errno::EINVAL);
    }
    match family(addr)? {
        libc::AF_INET6 => parse_inet(addr),
        _ => Err(Errno::EAFNOSUPPORT),
    }
}

/// A `struct sockaddr_in6` without its scope, which old programs do not give.
const SIN6_LEN_RFC2133: usize = 24;

/// A destination: the unspecified address means this host (`ip_route_output_key`; in IPv6 the stack
/// knows which family is meant).
pub(super) fn destination(own: Family, addr: &[u8]) -> Result<SocketAddr, Errno> {
    if own == Family::V6 {
        return v6_addr(addr);
    }
    let mut addr = parse_inet(addr)?;
    if !addr.is_ipv4() {
        return Err(Errno::EAFNOSUPPORT);
    }
    if addr.ip().is_unspecified() {
        addr.set_ip(Ipv4Addr::LOCALHOST.into());
    }
    Ok(addr)
}

pub(super) fn to_errno(error: SocketError) -> Errno {
    Errno(errno(error))
}

fn to_ready(ready: Readiness) -> Ready {
    let pairs = [
        (Readiness::READABLE, Ready::IN | Ready::RDNORM),
        (Readiness::WRITABLE, Ready::OUT | Ready::WRNORM),
        (Readiness::HUP, Ready::HUP),
        (Readiness::RDHUP, Ready::RDHUP),
        (Readiness::ERROR, Ready::ERR),
        (Readiness::PRIORITY, Ready::PRI),
        (Readiness::URGENT_NEWS, Ready::URGENT),
    ];
    pairs
        .into_iter()
        .filter(|(from, _)| ready.contains(*from))
        .fold(Ready::empty(), |all, (_, to)| all | to)
}
