//! One socket of the guest over one of the host.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;

use sentry_abi::Errno;

use super::{messages, options, sys};
use crate::fs::host::poller::{self, Watch};
use crate::mm::io::{IoDst, IoSrc};
use crate::net::addr::family;
use crate::net::{
    Caller, Received, SendMeta, Shutdown, Socket, SocketType, option_int, send_pieces,
};
use crate::vfs::creds::cap;
use crate::wait::{Ready, WaitQueue};

/// Bytes that move between guest and host in one piece, through a buffer of the Sentry. No datagram is larger.
const PIECE_MAX: usize = 64 << 10;

/// Ports below need CAP_NET_BIND_SERVICE.
const UNPRIVILEGED_PORT_START: u16 = 1024;

/// Flags of send calls that the host is to see.
const SEND_FLAGS: i32 =
    libc::MSG_OOB | libc::MSG_MORE | libc::MSG_EOR | libc::MSG_DONTROUTE | libc::MSG_CONFIRM;

/// Flags of receive calls that the host is to see.
const RECV_FLAGS: i32 = libc::MSG_PEEK | libc::MSG_TRUNC | libc::MSG_OOB | libc::MSG_ERRQUEUE;

/// A socket of the host that belongs to the guest.
pub(super) struct HostSocket {
    // Before the descriptor: the watch ends before the descriptor closes.
    _watch: Watch,
    fd: Arc<OwnedFd>,
    socket_type: SocketType,
    queue: Arc<WaitQueue>,
}

impl HostSocket {
    /// Serves `fd`, a socket of `family`.
    pub(super) fn own(fd: OwnedFd, family: i32) -> Result<Arc<dyn Socket>, Errno> {
        let int = |name| option_int(&sys::option(fd.as_fd(), libc::SOL_SOCKET, name, 4)?);
        let socket_type = SocketType {
            family,
            kind: int(libc::SO_TYPE)?,
            protocol: int(libc::SO_PROTOCOL)?,
        };
        let fd = Arc::new(fd);
        let queue = Arc::new(WaitQueue::new());
        Ok(Arc::new(Self {
            _watch: poller::watch_edges(&fd, &queue)?,
            fd,
            socket_type,
            queue,
        }))
    }

    fn fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }

    fn stream(&self) -> bool {
        self.socket_type.kind == libc::SOCK_STREAM
    }

    /// Sends all of `src` as a stream: pieces, until the host takes no more.
    fn send_stream(&self, src: &mut dyn IoSrc, flags: i32) -> Result<usize, Errno> {
        send_pieces(src, PIECE_MAX, |piece, last| {
            let more = if last { 0 } else { libc::MSG_MORE };
            sys::send(self.fd(), piece, None, &[], flags | more)
        })
    }

    fn send_datagram(
        &self,
        src: &mut dyn IoSrc,
        meta: &SendMeta<'_>,
        flags: i32,
    ) -> Result<usize, Errno> {
        if src.remaining() > PIECE_MAX {
            return Err(Errno::EMSGSIZE);
        }
        let mut data = vec![0; src.remaining()];
        let mut filled = 0;
        while filled < data.len() {
            filled += src.take(&mut data[filled..])?;
        }
        let control = messages::outgoing(&meta.control)?;
        sys::send(self.fd(), &data, meta.to, &control, flags)
    }

    /// Receives one message, or as much of a stream as one piece holds.
    fn receive_one(&self, dst: &mut dyn IoDst, flags: i32) -> Result<Received, Errno> {
        // With MSG_TRUNC a stream's bytes are discarded, not copied (tcp(7)).
        let discard = self.stream() && flags & libc::MSG_TRUNC != 0;
        let mut piece = vec![0; dst.remaining().min(PIECE_MAX)];
        let message = sys::receive(self.fd(), &mut piece, flags)?;
        let here = message.len.min(piece.len());
        let copied = match here {
            0 => 0,
            _ if discard => message.len,
            here => dst.put(&piece[..here])?,
        };
        let whole_datagram = !self.stream() && flags & libc::MSG_TRUNC != 0;
        Ok(Received {
            len: if whole_datagram { message.len } else { copied },
            from: message.from,
            flags: message.flags & !libc::MSG_CMSG_CLOEXEC,
            control: messages::incoming(&message.control),
        })
    }
}

impl Socket for HostSocket {
    fn socket_type(&self) -> SocketType {
        self.socket_type
    }

    fn bind(&self, caller: &Caller<'_>, addr: &[u8]) -> Result<(), Errno> {
        // Port 0 asks for any; an address without a port is the host's to refuse.
        let port = addr
            .get(2..4)
            .map_or(0, |b| u16::from_be_bytes([b[0], b[1]]));
        let low = (1..UNPRIVILEGED_PORT_START).contains(&port);
        if low && !caller.path.creds.has(cap::NET_BIND_SERVICE) {
            return Err(Errno::EACCES);
        }
        sys::bind(self.fd(), addr)
    }

    fn listen(&self, _: &Caller<'_>, backlog: i32) -> Result<(), Errno> {
        sys::listen(self.fd(), backlog)
    }

    fn accept(&self) -> Result<Arc<dyn Socket>, Errno> {
        Self::own(sys::accept(self.fd())?, self.socket_type.family)
    }

    fn connect(&self, _: &Caller<'_>, addr: &[u8]) -> Result<(), Errno> {
        family(addr)?;
        sys::connect(self.fd(), addr)
    }

    /// The host tells it once, to whoever connects next (`__inet_stream_connect`): asking for SO_ERROR
    /// instead would leave ECONNABORTED behind. The address is not looked at.
    fn connect_result(&self) -> Result<(), Errno> {
        let mut any = [0; 28];
        any[..2].copy_from_slice(&(self.socket_type().family as u16).to_ne_bytes());
        sys::connect(self.fd(), &any)
    }

    fn send(
        &self,
        _: &Caller<'_>,
        src: &mut dyn IoSrc,
        meta: SendMeta<'_>,
    ) -> Result<usize, Errno> {
        if meta.flags & libc::MSG_FASTOPEN != 0 {
            return Err(Errno::EOPNOTSUPP);
        }
        let flags = meta.flags & SEND_FLAGS;
        if self.stream() {
            // An address is passed over on a connected stream, control messages concern none of TCP.
            return self.send_stream(src, flags);
        }
        self.send_datagram(src, &meta, flags)
    }

    fn recv(&self, dst: &mut dyn IoDst, flags: i32) -> Result<Received, Errno> {
        let flags = flags & RECV_FLAGS;
        let mut received = self.receive_one(dst, flags)?;
        // A stream's buffer is filled as far as it goes, like one recvmsg of the host would.
        let once = libc::MSG_PEEK | libc::MSG_TRUNC | libc::MSG_OOB | libc::MSG_ERRQUEUE;
        if !self.stream() || flags & once != 0 {
            return Ok(received);
        }
        let mut last = received.len;
        while last == PIECE_MAX && dst.remaining() > 0 {
            match self.receive_one(dst, flags) {
                Ok(next) => last = next.len,
                Err(_) => break,
            }
            received.len += last;
        }
        Ok(received)
    }

    fn shutdown(&self, how: Shutdown) -> Result<(), Errno> {
        let how = match how {
            Shutdown::Read => libc::SHUT_RD,
            Shutdown::Write => libc::SHUT_WR,
            Shutdown::Both => libc::SHUT_RDWR,
        };
        sys::shutdown(self.fd(), how)
    }

    fn local_addr(&self) -> Result<Vec<u8>, Errno> {
        sys::address(self.fd(), false)
    }

    fn peer_addr(&self) -> Result<Vec<u8>, Errno> {
        sys::address(self.fd(), true)
    }

    fn get_option(&self, level: i32, name: i32) -> Result<Vec<u8>, Errno> {
        options::get(self.fd(), level, name)
    }

    fn set_option(
        &self,
        caller: &Caller<'_>,
        level: i32,
        name: i32,
        value: &[u8],
    ) -> Result<(), Errno> {
        options::set(self.fd(), caller, level, name, value)
    }

    fn readable_bytes(&self) -> usize {
        let waiting = sys::queue_len(self.fd(), libc::FIONREAD);
        waiting.map_or(0, |count| usize::try_from(count).unwrap_or(0))
    }

    fn unsent_bytes(&self) -> usize {
        let waiting = sys::queue_len(self.fd(), libc::TIOCOUTQ);
        waiting.map_or(0, |count| usize::try_from(count).unwrap_or(0))
    }

    fn readiness(&self) -> Ready {
        sys::poll(self.fd()).map_or(Ready::ERR, poller::to_ready)
    }

    fn wait_queue(&self) -> &WaitQueue {
        &self.queue
    }
}
