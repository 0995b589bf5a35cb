//! UDP sockets in the manner of `std::net`.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use super::blocking::{Socket, family_of};
use super::net::Net;
use crate::buf::Bytes;
use crate::error::SocketError;
use crate::socket::{Readiness, SocketId};
use crate::stack::Stack;

/// A UDP socket. Dropping it closes it.
pub struct UdpSocket {
    socket: Socket,
}

impl UdpSocket {
    /// Opens a socket on `addr`; port 0 takes a free one.
    ///
    /// # Errors
    /// EADDRINUSE, EADDRNOTAVAIL.
    pub fn bind(net: &Net, addr: SocketAddr) -> io::Result<Self> {
        let id = net.with(|stack| stack.udp_open(family_of(addr)));
        let socket = Socket::new(net, id);
        socket.call(|stack, id| stack.udp_bind(id, addr))?;
        Ok(Self { socket })
    }

    pub(super) fn own(net: &Net, id: SocketId) -> Self {
        Self {
            socket: Socket::new(net, id),
        }
    }

    /// Receives from and sends to `addr` only, from now on.
    ///
    /// # Errors
    /// ENETUNREACH.
    pub fn connect(&self, addr: SocketAddr) -> io::Result<()> {
        self.socket.call(|stack, id| stack.udp_connect(id, addr))
    }

    /// Waits for a datagram. What does not fit `buffer` is cut off.
    ///
    /// # Errors
    /// EAGAIN if non-blocking or timed out; ECONNREFUSED if the peer's host said so; `UnexpectedEof` once
    /// reading is shut down (a flow of an interceptor that was idle for too long).
    pub fn recv_from(&self, buffer: &mut [u8]) -> io::Result<(usize, SocketAddr)> {
        let socket = &self.socket;
        let datagram = socket.block(socket.read_timeout(), |stack, id| {
            match stack.udp_recv(id) {
                Err(SocketError::WouldBlock) if is_shut(stack, id) => Ok(None),
                received => received.map(Some),
            }
        })?;
        let datagram = datagram.ok_or(io::ErrorKind::UnexpectedEof)?;
        let len = datagram.data.len().min(buffer.len());
        buffer[..len].copy_from_slice(&datagram.data[..len]);
        Ok((len, datagram.from))
    }

    /// Waits for a datagram, as [`UdpSocket::recv_from`].
    ///
    /// # Errors
    /// As [`UdpSocket::recv_from`].
    pub fn recv(&self, buffer: &mut [u8]) -> io::Result<usize> {
        Ok(self.recv_from(buffer)?.0)
    }

    /// Sends a datagram to `addr`.
    ///
    /// # Errors
    /// EMSGSIZE, ENETUNREACH, EAGAIN.
    pub fn send_to(&self, data: &[u8], addr: SocketAddr) -> io::Result<usize> {
        self.send_impl(data, Some(addr))
    }

    /// Sends a datagram to the connected peer.
    ///
    /// # Errors
    /// EDESTADDRREQ, and as [`UdpSocket::send_to`].
    pub fn send(&self, data: &[u8]) -> io::Result<usize> {
        self.send_impl(data, None)
    }

    fn send_impl(&self, data: &[u8], to: Option<SocketAddr>) -> io::Result<usize> {
        let socket = &self.socket;
        let data = Bytes::copy_from_slice(data);
        socket.block(socket.write_timeout(), |stack, id| {
            stack.udp_send(id, data.clone(), to)
        })
    }

    /// Our address.
    ///
    /// # Errors
    /// None.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.socket.call(|stack, id| stack.local_addr(id))
    }

    /// The connected peer's address.
    ///
    /// # Errors
    /// ENOTCONN.
    pub fn peer_addr(&self) -> io::Result<SocketAddr> {
        self.socket.call(|stack, id| stack.peer_addr(id))
    }

    /// How long a receive waits before it fails with EAGAIN; `None`: for ever.
    ///
    /// # Errors
    /// `InvalidInput` for zero.
    pub fn set_read_timeout(&self, timeout: Option<Duration>) -> io::Result<()> {
        self.socket.read_timeout().set(timeout)
    }

    /// How long a send waits before it fails with EAGAIN; `None`: for ever.
    ///
    /// # Errors
    /// `InvalidInput` for zero.
    pub fn set_write_timeout(&self, timeout: Option<Duration>) -> io::Result<()> {
        self.socket.write_timeout().set(timeout)
    }

    /// Whether calls return EAGAIN instead of waiting.
    pub fn set_nonblocking(&self, nonblocking: bool) {
        self.socket.set_nonblocking(nonblocking);
    }

    /// The socket's handle in the stack.
    pub fn id(&self) -> SocketId {
        self.socket.id()
    }
}

fn is_shut(stack: &Stack, id: SocketId) -> bool {
    let ready = stack.readiness(id);
    ready.is_none_or(|ready| ready.contains(Readiness::RDHUP))
}
