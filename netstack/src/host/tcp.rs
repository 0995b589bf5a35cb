//! TCP sockets in the manner of `std::net`.

use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use super::blocking::{Socket, family_of};
use super::errno::to_io;
use super::net::Net;
use crate::error::SocketError;
use crate::socket::tcp::TcpOption;
use crate::socket::{self, Family, Readiness, SocketId};

/// The accept queue's length that [`TcpListener::bind`] asks for, as the standard library does.
const BACKLOG: i32 = 128;

/// A listening TCP socket. Dropping it closes it.
pub struct TcpListener {
    socket: Socket,
}

impl TcpListener {
    /// Listens on `addr`; port 0 takes a free one.
    ///
    /// # Errors
    /// EADDRINUSE, EADDRNOTAVAIL.
    pub fn bind(net: &Net, addr: SocketAddr) -> io::Result<Self> {
        Self::bind_with_backlog(net, addr, BACKLOG)
    }

    /// As [`TcpListener::bind`], with the backlog of listen(2).
    ///
    /// # Errors
    /// As [`TcpListener::bind`].
    pub fn bind_with_backlog(net: &Net, addr: SocketAddr, backlog: i32) -> io::Result<Self> {
        let socket = new_socket(net, family_of(addr));
        // As the standard library: a port whose old connections are in TIME-WAIT can be listened on.
        socket.call(|stack, id| stack.tcp_set_option(id, TcpOption::ReuseAddr(true)))?;
        socket.call(|stack, id| stack.tcp_bind(id, addr))?;
        socket.call(|stack, id| stack.tcp_listen(id, backlog))?;
        Ok(Self { socket })
    }

    /// Waits for a connection.
    ///
    /// # Errors
    /// EAGAIN if non-blocking and there is none; EINVAL once the listener is shut down.
    pub fn accept(&self) -> io::Result<(TcpStream, SocketAddr)> {
        let socket = &self.socket;
        let (id, peer) = socket.block(socket.read_timeout(), |stack, id| stack.tcp_accept(id))?;
        Ok((TcpStream::own(socket.net(), id), peer))
    }

    /// The address that it listens on.
    ///
    /// # Errors
    /// None that a listener has.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.socket.call(|stack, id| stack.local_addr(id))
    }

    /// Stops listening: waiting calls of [`TcpListener::accept`] end with EINVAL, and connections
    /// that were not accepted are reset.
    ///
    /// # Errors
    /// ENOTCONN if it does not listen any more.
    pub fn shutdown(&self) -> io::Result<()> {
        self.socket
            .call(|stack, id| stack.shutdown(id, socket::Shutdown::Read))
    }

    /// Whether [`TcpListener::accept`] returns EAGAIN instead of waiting.
    pub fn set_nonblocking(&self, nonblocking: bool) {
        self.socket.set_nonblocking(nonblocking);
    }

    /// The socket's handle in the stack.
    pub fn id(&self) -> SocketId {
        self.socket.id()
    }
}

/// A TCP connection. Dropping the last handle closes it.
pub struct TcpStream {
    socket: Arc<Socket>,
}

impl TcpStream {
    /// Connects and waits for the handshake.
    ///
    /// # Errors
    /// ECONNREFUSED, ETIMEDOUT, ENETUNREACH, EHOSTUNREACH ...
    pub fn connect(net: &Net, addr: SocketAddr) -> io::Result<Self> {
        Self::connect_for(net, addr, None)
    }

    /// As [`TcpStream::connect`], for at most `timeout`.
    ///
    /// # Errors
    /// `TimedOut`, and as [`TcpStream::connect`].
    pub fn connect_timeout(net: &Net, addr: SocketAddr, timeout: Duration) -> io::Result<Self> {
        Self::connect_for(net, addr, Some(timeout)).map_err(|error| match error.kind() {
            io::ErrorKind::WouldBlock => io::ErrorKind::TimedOut.into(),
            _ => error,
        })
    }

    fn connect_for(net: &Net, addr: SocketAddr, timeout: Option<Duration>) -> io::Result<Self> {
        let socket = new_socket(net, family_of(addr));
        let begun = net.with(|stack| stack.tcp_connect(socket.id(), addr));
        match begun {
            Ok(()) => {}
            Err(SocketError::InProgress) => wait_connected(&socket, timeout)?,
            Err(error) => return Err(to_io(error)),
        }
        Ok(Self {
            socket: Arc::new(socket),
        })
    }

    /// Waits until the handshake of a connection that was accepted before it was complete has ended.
    pub(super) fn wait_connected(&self) -> io::Result<()> {
        wait_connected(&self.socket, None)
    }

    pub(super) fn own(net: &Net, id: SocketId) -> Self {
        Self {
            socket: Arc::new(Socket::new(net, id)),
        }
    }

    /// Another handle to the same connection, with the same timeouts and mode.
    ///
    /// # Errors
    /// None.
    pub fn try_clone(&self) -> io::Result<Self> {
        Ok(Self {
            socket: self.socket.clone(),
        })
    }

    /// The peer's address.
    ///
    /// # Errors
    /// ENOTCONN.
    pub fn peer_addr(&self) -> io::Result<SocketAddr> {
        self.socket.call(|stack, id| stack.peer_addr(id))
    }

    /// Our address.
    ///
    /// # Errors
    /// None that a connection has.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.socket.call(|stack, id| stack.local_addr(id))
    }

    /// Ends one direction, or both.
    ///
    /// # Errors
    /// ENOTCONN.
    pub fn shutdown(&self, how: Shutdown) -> io::Result<()> {
        let how = match how {
            Shutdown::Read => socket::Shutdown::Read,
            Shutdown::Write => socket::Shutdown::Write,
            Shutdown::Both => socket::Shutdown::Both,
        };
        self.socket.call(|stack, id| stack.shutdown(id, how))
    }

    /// How long a read waits before it fails with EAGAIN; `None`: for ever.
    ///
    /// # Errors
    /// `InvalidInput` for zero.
    pub fn set_read_timeout(&self, timeout: Option<Duration>) -> io::Result<()> {
        self.socket.read_timeout().set(timeout)
    }

    /// How long a write waits before it fails with EAGAIN; `None`: for ever.
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

    /// Whether small segments leave at once (TCP_NODELAY) instead of waiting for an acknowledgement.
    ///
    /// # Errors
    /// None that a connection has.
    pub fn set_nodelay(&self, nodelay: bool) -> io::Result<()> {
        self.socket
            .call(|stack, id| stack.tcp_set_option(id, TcpOption::NoDelay(nodelay)))
    }

    /// The error that waits to be collected (SO_ERROR), which clears it.
    pub fn take_error(&self) -> Option<io::Error> {
        let id = self.socket.id();
        self.socket
            .net()
            .with(|stack| stack.take_error(id))
            .map(to_io)
    }

    /// The socket's handle in the stack.
    pub fn id(&self) -> SocketId {
        self.socket.id()
    }
}

/// Waits until a handshake has ended.
fn wait_connected(socket: &Socket, timeout: Option<Duration>) -> io::Result<()> {
    let ended = Readiness::WRITABLE | Readiness::ERROR | Readiness::HUP;
    socket.block_for(timeout, |stack, id| {
        if !stack.readiness(id).is_some_and(|r| r.intersects(ended)) {
            return Err(SocketError::WouldBlock);
        }
        stack.take_error(id).map_or(Ok(()), Err)
    })
}

fn new_socket(net: &Net, family: Family) -> Socket {
    let id = net.with(|stack| stack.tcp_open_of(family));
    Socket::new(net, id)
}

impl Read for &TcpStream {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let socket = &*self.socket;
        socket.block(socket.read_timeout(), |stack, id| {
            stack.tcp_recv(id, buffer, false)
        })
    }
}

impl Write for &TcpStream {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        let socket = &*self.socket;
        socket.block(socket.write_timeout(), |stack, id| {
            stack.tcp_send(id, data, false)
        })
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Read for TcpStream {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        (&*self).read(buffer)
    }
}

impl Write for TcpStream {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        (&*self).write(data)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
