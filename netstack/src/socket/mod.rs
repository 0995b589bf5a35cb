//! The non-blocking socket API: handles, options, readiness.
//!
//! Sockets are named by [`SocketId`], a generational handle that says which table it belongs to.
//! Nothing here blocks: a call that would have to wait returns
//! [`crate::error::SocketError::WouldBlock`], and the stack reports the socket in
//! [`crate::stack::Stack::drain_events`] when its [`Readiness`] may have changed.

mod datagram;
mod error_queue;
mod events;
mod filter;
pub mod intercept;
mod membership;
mod names;
pub mod packet;
mod raw;
mod receive_queue;
mod table;
pub mod tcp;

pub use datagram::{DatagramOptions, GroupOptions, SendTo};
pub(crate) use error_queue::ErrorQueue;
pub use error_queue::{ErrorReport, ReportOrigin, TxStage};
pub use events::EventQueue;
pub use filter::{FilterError, SocketFilter};
pub use membership::GroupLink;
pub(crate) use membership::{GROUPS6_MAX, Membership, Memberships};
pub use names::Names;
pub(crate) use names::needs_scope;
pub use raw::RawKind;
pub(crate) use raw::RawSocket;
pub(crate) use receive_queue::ReceiveQueue;
pub use receive_queue::ReceivedDatagram;
pub use table::SocketTable;

use bitflags::bitflags;

/// Which table a socket is in, and so what it can do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
pub enum SocketKind {
    /// A TCP listener or connection.
    Tcp,
    /// A UDP socket.
    Udp,
    /// A raw IP or ICMP echo socket.
    Raw,
    /// An interceptor of what is for other addresses.
    Intercept,
    /// A packet socket.
    Packet,
}

impl SocketKind {
    /// How many kinds there are.
    pub const COUNT: usize = 5;
}

/// Names a socket of one stack. A closed socket's handle never names a later one (until a slot has
/// been reused 2^32 times).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SocketId {
    kind: SocketKind,
    index: u32,
    generation: u32,
}

impl SocketId {
    /// Which table the socket is in.
    pub fn kind(self) -> SocketKind {
        self.kind
    }

    /// Its slot in that table, for tables that run beside it.
    pub(crate) fn index(self) -> u32 {
        self.index
    }
}

/// The address family of a socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Family {
    /// AF_INET.
    V4,
    /// AF_INET6.
    V6,
}

/// Which directions shutdown(2) ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Shutdown {
    /// SHUT_RD.
    Read,
    /// SHUT_WR.
    Write,
    /// SHUT_RDWR.
    Both,
}

bitflags! {
    /// What a socket is ready for, with the meaning of Linux poll(2).
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
    pub struct Readiness: u8 {
        /// POLLIN: data, end of file, a connection to accept, or an error to collect.
        const READABLE = 0x01;
        /// POLLOUT: room to send.
        const WRITABLE = 0x02;
        /// POLLHUP: both directions are shut down, or the socket never was connected.
        const HUP = 0x04;
        /// POLLRDHUP: the peer sends no more, or we read no more.
        const RDHUP = 0x08;
        /// POLLERR: an error waits to be collected.
        const ERROR = 0x10;
        /// POLLPRI: an urgent byte can be read.
        const PRIORITY = 0x20;
        /// An urgent pointer has come (SIGURG). Told once, and only with the event.
        const URGENT_NEWS = 0x40;
    }
}
