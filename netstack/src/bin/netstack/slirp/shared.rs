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
            forwards: (files / 8).min(4096),
        }
    }
}

/// The stack and what every part needs beside it.
pub(super) struct Shared {
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
