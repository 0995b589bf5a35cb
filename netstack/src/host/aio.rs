//! Sockets for async programs (feature `tokio`): tokio's [`AsyncRead`] and [`AsyncWrite`], and futures that
//! any executor can run. No runtime is needed: the stack's own threads wake the tasks.
//!
//! Dropping a future takes nothing back that was done and loses nothing that was not.

use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use parking_lot::Mutex;
use smallvec::SmallVec;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::blocking::family_of;
use super::errno::to_io;
use super::net::Net;
use super::subscribe::SubscriptionId;
use crate::buf::Bytes;
use crate::error::SocketError;
use crate::socket::tcp::TcpOption;
use crate::socket::{Readiness, Shutdown, SocketId};
use crate::stack::Stack;

/// The accept queue's length that [`TcpListener::bind`] asks for.
const BACKLOG: i32 = 128;

/// Tasks that wait for a socket, whichever way: a change wakes them all, and each looks for itself.
type Waiting = Arc<Mutex<SmallVec<[Waker; 2]>>>;

/// A socket that is closed when it is dropped.
struct Socket {
    net: Net,
    id: SocketId,
    waiting: Waiting,
    subscription: SubscriptionId,
}

impl Socket {
    fn new(net: &Net, id: SocketId) -> Self {
        let waiting = Waiting::default();
        let list = waiting.clone();
        let wake = move |_| {
            let wakers = std::mem::take(&mut *list.lock());
            wakers.into_iter().for_each(Waker::wake);
        };
        Self {
            net: net.clone(),
            id,
            waiting,
            subscription: net.subscribe(id, Arc::new(wake)),
        }
    }

    /// One call that does not wait.
    fn call<R>(
        &self,
        f: impl FnOnce(&mut Stack, SocketId) -> Result<R, SocketError>,
    ) -> io::Result<R> {
        self.net.with(|stack| f(stack, self.id)).map_err(to_io)
    }

    /// One call; if it would have to wait, the task is woken when it is worth another.
    fn poll<R>(
        &self,
        cx: &Context<'_>,
        f: impl FnOnce(&mut Stack, SocketId) -> Result<R, SocketError>,
    ) -> Poll<io::Result<R>> {
        let result = self.net.with(|stack| {
            let result = f(stack, self.id);
            if matches!(result, Err(SocketError::WouldBlock)) {
                // Under the stack's lock, so that no change comes between the look and this.
                let mut waiting = self.waiting.lock();
                if !waiting.iter().any(|waker| waker.will_wake(cx.waker())) {
                    waiting.push(cx.waker().clone());
                }
            }
            result
        });
        match result {
            Err(SocketError::WouldBlock) => Poll::Pending,
            result => Poll::Ready(result.map_err(to_io)),
        }
    }

    async fn wait<R>(
        &self,
        mut f: impl FnMut(&mut Stack, SocketId) -> Result<R, SocketError>,
    ) -> io::Result<R> {
        poll_fn(|cx| self.poll(cx, &mut f)).await
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        self.net.unsubscribe(self.subscription);
        self.net.with(|stack| stack.close(self.id));
    }
}

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
        let socket = Socket::new(net, net.with(Stack::tcp_open));
        socket.call(|stack, id| {
            stack.tcp_set_option(id, TcpOption::ReuseAddr(true))?;
            stack.tcp_bind(id, addr)?;
            stack.tcp_listen(id, BACKLOG)
        })?;
        Ok(Self { socket })
    }

    /// Waits for a connection.
    ///
    /// # Errors
    /// EINVAL once the listener is shut down.
    pub async fn accept(&self) -> io::Result<(TcpStream, SocketAddr)> {
        let (id, peer) = self.socket.wait(Stack::tcp_accept).await?;
        let socket = Socket::new(&self.socket.net, id);
        Ok((TcpStream { socket }, peer))
    }

    /// The address that it listens on.
    ///
    /// # Errors
    /// None that a listener has.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.socket.call(|stack, id| stack.local_addr(id))
    }
}

/// A TCP connection. Dropping it closes it.
pub struct TcpStream {
    socket: Socket,
}

impl TcpStream {
    /// Connects.
    ///
    /// # Errors
    /// ECONNREFUSED, ETIMEDOUT, ENETUNREACH, EHOSTUNREACH ...
    pub async fn connect(net: &Net, addr: SocketAddr) -> io::Result<Self> {
        let socket = Socket::new(net, net.with(Stack::tcp_open));
        match net.with(|stack| stack.tcp_connect(socket.id, addr)) {
            Ok(()) => return Ok(Self { socket }),
            Err(SocketError::InProgress) => {}
            Err(error) => return Err(to_io(error)),
        }
        let ended = Readiness::WRITABLE | Readiness::ERROR | Readiness::HUP;
        let wait = socket.wait(|stack, id| {
            if !stack
                .readiness(id)
                .is_some_and(|ready| ready.intersects(ended))
            {
                return Err(SocketError::WouldBlock);
            }
            stack.take_error(id).map_or(Ok(()), Err)
        });
        wait.await?;
        Ok(Self { socket })
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

    /// Whether small segments leave at once (TCP_NODELAY).
    ///
    /// # Errors
    /// None that a connection has.
    pub fn set_nodelay(&self, nodelay: bool) -> io::Result<()> {
        let option = TcpOption::NoDelay(nodelay);
        self.socket
            .call(|stack, id| stack.tcp_set_option(id, option))
    }

    /// The socket's handle in the stack.
    pub fn id(&self) -> SocketId {
        self.socket.id
    }
}

impl AsyncRead for TcpStream {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let room = buffer.initialize_unfilled();
        let read = self
            .socket
            .poll(cx, |stack, id| stack.tcp_recv(id, room, false));
        read.map_ok(|len| buffer.advance(len))
    }
}

impl AsyncWrite for TcpStream {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        data: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.socket
            .poll(cx, |stack, id| stack.tcp_send(id, data, false))
    }

    fn poll_flush(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        // The stack sends by itself.
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let done = self
            .socket
            .call(|stack, id| stack.shutdown(id, Shutdown::Write));
        Poll::Ready(done)
    }
}

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
    /// ECONNREFUSED if the peer's host said so.
    pub async fn recv_from(&self, buffer: &mut [u8]) -> io::Result<(usize, SocketAddr)> {
        let datagram = self.socket.wait(Stack::udp_recv).await?;
        let len = datagram.data.len().min(buffer.len());
        buffer[..len].copy_from_slice(&datagram.data[..len]);
        Ok((len, datagram.from))
    }

    /// Sends a datagram to `addr`, or to the peer for `None`.
    ///
    /// # Errors
    /// EMSGSIZE, ENETUNREACH, EDESTADDRREQ.
    pub async fn send_to(&self, data: &[u8], addr: Option<SocketAddr>) -> io::Result<usize> {
        let data = Bytes::copy_from_slice(data);
        let send = |stack: &mut Stack, id| stack.udp_send(id, data.clone(), addr);
        self.socket.wait(send).await
    }

    /// Our address.
    ///
    /// # Errors
    /// None.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.socket.call(|stack, id| stack.local_addr(id))
    }
}
