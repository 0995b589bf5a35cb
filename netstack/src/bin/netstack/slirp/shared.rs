//! What all parts of the program work with: the stack, epoll, the plan, counters.

use std::collections::HashMap;
use std::io;
use std::os::fd::AsFd;

use netstack::host::Clock;
use netstack::socket::SocketId;
use netstack::stack::Stack;
use nix::sys::epoll::{Epoll, EpollEvent, EpollFlags};

use super::plan::{Plan, Target};
use super::resolver::Resolver;
use super::table::{Key, Token};

/// Largest piece that is read from a host socket at once.
pub(super) const SCRATCH: usize = 64 * 1024;

/// Buffers of one connection in the stack, in each direction: the way to the namespace is short.
const BUFFER_MAX: usize = 2 * 1024 * 1024;
/// What all are to fill together, in each direction, when there are many.
const BUFFERS_BUDGET: usize = 256 * 1024 * 1024;
/// But none is smaller than the stack's initial window needs.
const BUFFER_MIN: usize = 128 * 1024;

/// How far a buffer may grow while there are `count` connections.
fn buffer_max(count: usize) -> u32 {
    (BUFFERS_BUDGET / count.max(1)).clamp(BUFFER_MIN, BUFFER_MAX) as u32
}

/// Who is told of a socket of the stack.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Owner {
    Interceptor,
    Dhcp,
    Relay(Key),
    Flow(Key),
    /// A client of a forwarded UDP port.
    Client(Key),
}

/// Declares the counters with the names that `netstack stats` shows.
macro_rules! counters {
    ($($(#[$meta:meta])* $name:ident),* $(,)?) => {
        /// What has passed, and what was dropped and why.
        #[derive(Clone, Debug, Default)]
        pub(super) struct Counters { $($(#[$meta])* pub(super) $name: u64),* }

        impl Counters {
            /// Every counter with its name.
            pub(super) fn iter(&self) -> impl Iterator<Item = (&'static str, u64)> {
                [$((stringify!($name), self.$name)),*].into_iter()
            }
        }
    };
}

counters! {
    /// Connections of the namespace's that the host's world has answered.
    tcp_out,
    /// Connections to forwarded ports.
    tcp_in,
    /// Connections of the namespace's that were refused or led nowhere.
    tcp_refused,
    /// Connections that were reset by either end.
    tcp_resets,
    /// Connections beyond the limit, or without a descriptor.
    tcp_dropped,
    tcp_bytes_out,
    tcp_bytes_in,
    udp_flows,
    udp_out,
    udp_in,
    /// Datagrams that a full socket or queue did not take, or beyond a limit.
    udp_dropped,
    echo_out,
    echo_in,
    /// Echo requests beyond the limit, or without permission for ping sockets.
    echo_dropped,
    dhcp_answers,
    /// DHCP messages that are malformed or find no free address.
    dhcp_dropped,
}

/// What there may be at a time; each has a descriptor.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    /// TCP connections.
    pub(super) relays: usize,
    /// UDP flows of the namespace's.
    pub(super) flows: usize,
    /// Forwarded ports.
    pub(super) forwards: usize,
}

impl Limits {
    /// For a process that may have so many descriptors: some are left for all else.
    pub(super) fn new(files: usize) -> Self {
        let files = files.saturating_sub(128);
        Self {
            relays: (files / 2).min(8192),
            flows: (files / 4).min(1024),
            forwards: (files / 8).min(65_536),
        }
    }
}

/// The stack and what every part needs beside it.
pub(super) struct Shared {
    pub(super) program: &'static str,
    pub(super) stack: Stack,
    pub(super) clock: Clock,
    pub(super) epoll: Epoll,
    pub(super) plan: Plan,
    pub(super) resolver: Resolver,
    pub(super) counters: Counters,
    pub(super) owners: HashMap<SocketId, Owner>,
    pub(super) scratch: Vec<u8>,
    pub(super) limits: Limits,
}

impl Shared {
    /// What `to` leads to.
    pub(super) fn target(&mut self, to: std::net::SocketAddr) -> Target {
        let server = self.resolver.server();
        self.plan.target(to, server)
    }

    /// Sees to it that many connections don't each grow to what a few may have. Those that have grown
    /// already stay, so that all can hold a few times the budget and no more.
    pub(super) fn size_buffers(&mut self, count: usize) {
        let most = buffer_max(count);
        let config = self.stack.tcp_config_mut();
        config.tcp_rmem[2] = most;
        config.tcp_wmem[2] = most;
    }

    /// Watches a descriptor for as long as it is open.
    pub(super) fn watch(&self, fd: impl AsFd, flags: EpollFlags, token: Token) -> io::Result<()> {
        Ok(self.epoll.add(fd, EpollEvent::new(flags, token.to_u64()))?)
    }

    /// Watches a stream: edges of everything.
    pub(super) fn watch_edges(&self, fd: impl AsFd, token: Token) -> io::Result<()> {
        let flags = EpollFlags::EPOLLIN
            | EpollFlags::EPOLLOUT
            | EpollFlags::EPOLLRDHUP
            | EpollFlags::EPOLLET;
        self.watch(fd, flags, token)
    }

    /// Closes a socket of the stack.
    pub(super) fn close(&mut self, id: SocketId) {
        self.owners.remove(&id);
        self.stack.close(id);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buffers_shrink_as_connections_become_many() {
        assert_eq!(buffer_max(0), BUFFER_MAX as u32);
        assert_eq!(buffer_max(128), BUFFER_MAX as u32);
        assert_eq!(buffer_max(1024), (BUFFER_MAX / 8) as u32);
        assert_eq!(buffer_max(8192), BUFFER_MIN as u32);
    }

    #[test]
    fn descriptors_are_shared_out() {
        let few = Limits::new(1024);
        assert_eq!((few.relays, few.flows, few.forwards), (448, 224, 112));
        assert!(few.relays + few.flows + few.forwards + 128 < 1024);
        assert_eq!(Limits::new(1 << 20).relays, 8192);
        assert_eq!(Limits::new(100).forwards, 0);
    }
}
