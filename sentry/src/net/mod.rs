//! Sockets. System calls know only the [`Socket`] trait; behind it are the providers: Unix sockets
//! ([`unix`]), netstack ([`inet`]), the host's own sockets (`host`).
//!
//! Operations never block: they answer EAGAIN (or EINPROGRESS) and have a wait queue; the system
//! calls do the waiting (`syscalls::socket`).

pub mod addr;
pub mod control;
pub mod file;
mod host;
pub mod inet;
pub(crate) mod link;
mod netlink;
mod network;
pub mod unix;

use std::sync::Arc;

use sentry_abi::Errno;

use crate::mm::io::{IoDst, IoSrc};
use crate::vfs::PathContext;
use crate::wait::{Ready, WaitQueue};
use control::Control;

pub use network::Network;

/// Family, type and protocol of a socket, as socket(2) takes them (type without its flag bits).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SocketType {
    /// `AF_*`
    pub family: i32,
    /// `SOCK_*`
    pub kind: i32,
    /// `IPPROTO_*`
    pub protocol: i32,
}

/// Who calls, for operations that look up paths, check permissions or tell the peer who speaks.
pub struct Caller<'a> {
    /// Paths and identity.
    pub path: &'a PathContext,
}

/// What a message is sent with.
#[derive(Default)]
pub struct SendMeta<'a> {
    /// Destination (`struct sockaddr`), if one was given.
    pub to: Option<&'a [u8]>,
    /// Files and credentials that go along.
    pub control: Control,
    /// `MSG_*` flags that concern the provider (MSG_OOB, MSG_MORE, MSG_EOR, MSG_DONTROUTE).
    pub flags: i32,
}

/// Sends `src` as a stream through `send`, which takes a piece (the last one?) and says how much of it went.
/// Guest memory is read before, as it may fault; what there was no room for is read again by the next
/// attempt.
///
/// # Errors
/// EFAULT, and those of `send`, if nothing went before.
fn send_pieces(
    src: &mut dyn IoSrc,
    piece_max: usize,
    mut send: impl FnMut(&[u8], bool) -> Result<usize, Errno>,
) -> Result<usize, Errno> {
    let mut total = 0;
    loop {
        let mut piece = vec![0; src.remaining().min(piece_max)];
        let taken = match src.take(&mut piece) {
            // A piece that faults half-way is not sent.
            Ok(count) if count < piece.len() => Err(Errno::EFAULT),
            result => result,
        };
        let last = src.remaining() == 0;
        match taken.and_then(|count| send(&piece[..count], last)) {
            Ok(count) if count < piece.len() || last => return Ok(total + count),
            Ok(count) => total += count,
            Err(_) if total > 0 => return Ok(total),
            Err(error) => return Err(error),
        }
    }
}

/// What was received.
#[derive(Default)]
pub struct Received {
    /// Bytes that went into the destination, or with MSG_TRUNC the length of the datagram.
    pub len: usize,
    /// Sender's address (`struct sockaddr`), empty if the socket has none to tell.
    pub from: Vec<u8>,
    /// `MSG_*` flags to report (MSG_TRUNC, MSG_EOR ...).
    pub flags: i32,
    /// What came along.
    pub control: Control,
}

/// Which directions shutdown(2) ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shutdown {
    /// SHUT_RD
    Read,
    /// SHUT_WR
    Write,
    /// SHUT_RDWR
    Both,
}

impl Shutdown {
    /// From the argument of shutdown(2).
    ///
    /// # Errors
    /// EINVAL.
    pub fn from_how(how: i32) -> Result<Self, Errno> {
        match how {
            libc::SHUT_RD => Ok(Self::Read),
            libc::SHUT_WR => Ok(Self::Write),
            libc::SHUT_RDWR => Ok(Self::Both),
            _ => Err(Errno::EINVAL),
        }
    }

    /// True if reading ends.
    pub fn reads(self) -> bool {
        self != Self::Write
    }

    /// True if writing ends.
    pub fn writes(self) -> bool {
        self != Self::Read
    }
}

/// A socket of any family. Addresses are `struct sockaddr` in bytes, of the length the caller gave.
///
/// Errors are those of the system call of the same name; EAGAIN means that it would have to wait for
/// [`Socket::wait_queue`].
#[allow(clippy::missing_errors_doc)] // said once, above
pub trait Socket: Send + Sync {
    /// Family, type and protocol.
    fn socket_type(&self) -> SocketType;

    /// bind(2)
    fn bind(&self, caller: &Caller<'_>, addr: &[u8]) -> Result<(), Errno>;

    /// listen(2)
    fn listen(&self, caller: &Caller<'_>, backlog: i32) -> Result<(), Errno>;

    /// accept(2): the new socket.
    fn accept(&self) -> Result<Arc<dyn Socket>, Errno>;

    /// connect(2): EINPROGRESS once when a handshake has begun, EALREADY while it goes on.
    fn connect(&self, caller: &Caller<'_>, addr: &[u8]) -> Result<(), Errno>;

    /// How a handshake that [`Socket::connect`] has begun went, once it has ended.
    fn connect_result(&self) -> Result<(), Errno> {
        let error = self.get_option(libc::SOL_SOCKET, libc::SO_ERROR)?;
        match option_int(&error)? {
            0 => Ok(()),
            errno => Err(Errno(errno)),
        }
    }

    /// send(2) and its relatives: how many bytes were taken.
    fn send(
        &self,
        caller: &Caller<'_>,
        src: &mut dyn IoSrc,
        meta: SendMeta<'_>,
    ) -> Result<usize, Errno>;

    /// recv(2) and its relatives; `flags` holds MSG_PEEK, MSG_TRUNC and MSG_OOB.
    fn recv(&self, dst: &mut dyn IoDst, flags: i32) -> Result<Received, Errno>;

    /// shutdown(2)
    fn shutdown(&self, how: Shutdown) -> Result<(), Errno>;

    /// getsockname(2)
    fn local_addr(&self) -> Result<Vec<u8>, Errno>;

    /// getpeername(2)
    fn peer_addr(&self) -> Result<Vec<u8>, Errno>;

    /// getsockopt(2): the value's bytes, which the caller cuts to the space there is.
    fn get_option(&self, level: i32, name: i32) -> Result<Vec<u8>, Errno>;

    /// getsockopt(2) of an option whose value says first what is asked for.
    fn ask_option(&self, level: i32, name: i32, asked: &[u8]) -> Result<Vec<u8>, Errno> {
        let _ = asked;
        self.get_option(level, name)
    }

    /// setsockopt(2)
    fn set_option(
        &self,
        caller: &Caller<'_>,
        level: i32,
        name: i32,
        value: &[u8],
    ) -> Result<(), Errno>;

    /// Bytes that can be read now (SIOCINQ, FIONREAD).
    fn readable_bytes(&self) -> usize;

    /// Bytes that were written and not yet taken by the peer (SIOCOUTQ).
    fn unsent_bytes(&self) -> usize {
        0
    }

    /// Of these, the bytes that have not been sent even once (SIOCOUTQNSD); `None` where there is no
    /// such thing.
    fn never_sent_bytes(&self) -> Option<usize> {
        None
    }

    /// False for a listener, which has no queues to ask about.
    fn has_queues(&self) -> bool {
        true
    }

    /// The next byte to read is an urgent one (SIOCATMARK); `None` where there is no such thing.
    fn is_at_mark(&self) -> Option<bool> {
        None
    }

    /// What is ready now.
    fn readiness(&self) -> Ready;

    /// Notified when readiness may have changed.
    fn wait_queue(&self) -> &WaitQueue;
}

/// An `int` option's value.
///
/// # Errors
/// EINVAL if there are fewer than four bytes.
pub fn option_int(value: &[u8]) -> Result<i32, Errno> {
    match value.first_chunk() {
        Some(bytes) => Ok(i32::from_ne_bytes(*bytes)),
        None => Err(Errno::EINVAL),
    }
}
