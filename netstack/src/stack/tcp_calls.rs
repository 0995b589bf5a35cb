//! The TCP socket calls. `close`, `shutdown`, addresses, errors and readiness are those of every
//! socket (`stack::sockets`).

use std::net::SocketAddr;

use smallvec::SmallVec;

use super::Stack;
use crate::buf::Bytes;
use crate::error::SocketError;
use crate::socket::tcp::{SendHow, TcpInfo, TcpOption, TcpOptionName, TcpState, UrgentRead};
use crate::socket::{Family, SocketId};
use crate::transport::tcp::TcpConfig;

impl Stack {
    /// The settings of TCP, to read or change at any time.
    pub fn tcp_config_mut(&mut self) -> &mut TcpConfig {
        &mut self.tcp_config
    }

    /// Forgets what TCP knows of peers (`ip tcp_metrics flush all`).
    pub fn tcp_forget_peers(&mut self) {
        self.tcp.forget_peers();
    }

    /// TCP connections with data, or an end of the stream, that the peer has not acknowledged, those that
    /// applications have closed included.
    pub fn tcp_undelivered(&self) -> usize {
        self.tcp.undelivered_len()
    }

    /// Opens a TCP socket of IPv4.
    pub fn tcp_open(&mut self) -> SocketId {
        self.tcp_open_of(Family::V4)
    }

    /// Opens a TCP socket. One of IPv6 speaks IPv4 too, unless IPV6_V6ONLY is set.
    pub fn tcp_open_of(&mut self, family: Family) -> SocketId {
        self.tcp_call(|tcp, cx| tcp.socket_of(cx, family))
    }

    /// Binds a socket; port 0 chooses an ephemeral one.
    ///
    /// # Errors
    /// `Invalid` if it is bound or connected, `AddrNotAvailable` if the address is not ours,
    /// `AddrInUse`.
    pub fn tcp_bind(&mut self, id: SocketId, local: SocketAddr) -> Result<(), SocketError> {
        self.tcp_call(|tcp, cx| tcp.bind(cx, id, local))
    }

    /// Makes a socket a listener, or gives a listener another backlog.
    ///
    /// # Errors
    /// `Invalid` if it is connected, `AddrInUse`.
    pub fn tcp_listen(&mut self, id: SocketId, backlog: i32) -> Result<(), SocketError> {
        self.tcp_call(|tcp, cx| tcp.listen(cx, id, backlog))
    }

    /// Begins a connection.
    ///
    /// # Errors
    /// `InProgress` when the handshake has begun: the socket becomes writable, or gets an error, when
    /// it has ended; `Already`, `IsConnected`, `NetUnreachable`, `AddrNotAvailable` without a port.
    pub fn tcp_connect(&mut self, id: SocketId, remote: SocketAddr) -> Result<(), SocketError> {
        self.tcp_call(|tcp, cx| tcp.connect(cx, id, remote))
    }

    /// How a connection that [`Stack::tcp_connect`] has begun went, for a caller that has waited.
    ///
    /// # Errors
    /// `InProgress` while its handshake goes on, else the error that it failed with, once.
    pub fn tcp_connect_result(&mut self, id: SocketId) -> Result<(), SocketError> {
        self.tcp_call(|tcp, _| tcp.connect_result(id))
    }

    /// Takes a complete connection from a listener, with its peer's address.
    ///
    /// # Errors
    /// `WouldBlock` if there is none, `Invalid` if the socket does not listen.
    pub fn tcp_accept(&mut self, id: SocketId) -> Result<(SocketId, SocketAddr), SocketError> {
        self.tcp_call(|tcp, cx| tcp.accept(cx, id))
    }

    /// Takes as much of `data` as there is room for, and sends what may be sent. `more`: more will
    /// follow at once (MSG_MORE).
    ///
    /// # Errors
    /// `WouldBlock` without room, `Pipe` after shutdown, `NotConnected`, the connection's error.
    pub fn tcp_send(
        &mut self,
        id: SocketId,
        data: &[u8],
        more: bool,
    ) -> Result<usize, SocketError> {
        let how = SendHow {
            more,
            ..SendHow::default()
        };
        self.tcp_send_with(id, data, how)
    }

    /// As [`Stack::tcp_send`], and more: MSG_FASTOPEN, MSG_EOR.
    ///
    /// # Errors
    /// As [`Stack::tcp_send`]. With [`SendHow::fast_open`]: `InProgress` if no data could go with the
    /// SYN, `NotSupported` if the setting is off, and the errors of [`Stack::tcp_connect`].
    pub fn tcp_send_with(
        &mut self,
        id: SocketId,
        data: &[u8],
        how: SendHow,
    ) -> Result<usize, SocketError> {
        self.tcp_call(|tcp, cx| tcp.send(cx, id, data, how))
    }

    /// Copies received data to `out`; 0 is the end of the stream. With `peek` the data stays.
    ///
    /// # Errors
    /// `WouldBlock` if nothing waits, `NotConnected`, the connection's error.
    pub fn tcp_recv(
        &mut self,
        id: SocketId,
        out: &mut [u8],
        peek: bool,
    ) -> Result<usize, SocketError> {
        self.tcp_call(|tcp, cx| tcp.recv(cx, id, out, peek))
    }

    /// Takes up to `max` bytes of received data without a copy; empty is the end of the stream.
    ///
    /// # Errors
    /// As [`Stack::tcp_recv`].
    pub fn tcp_recv_bytes(&mut self, id: SocketId, max: usize) -> Result<Bytes, SocketError> {
        self.tcp_call(|tcp, cx| tcp.recv_bytes(cx, id, max))
    }

    /// The first ranges of received data without a copy (at most 16); they stay until
    /// [`Stack::tcp_consume`]. Empty is the end of the stream.
    ///
    /// # Errors
    /// As [`Stack::tcp_recv`].
    pub fn tcp_peek_ranges(&mut self, id: SocketId) -> Result<SmallVec<[Bytes; 16]>, SocketError> {
        self.tcp.peek_ranges(id)
    }

    /// Removes received bytes that [`Stack::tcp_peek_ranges`] has shown. A relay that does so once they
    /// have gone on holds nothing of its own, and the peer's window is what its next hop takes.
    ///
    /// # Errors
    /// `NotConnected`.
    pub fn tcp_consume(&mut self, id: SocketId, len: usize) -> Result<usize, SocketError> {
        self.tcp_call(|tcp, cx| tcp.consume(cx, id, len))
    }

    /// recv(MSG_OOB): the urgent byte, which waits beside the stream unless
    /// [`TcpOption::OobInline`] is set.
    ///
    /// # Errors
    /// `Invalid` if there is none, `WouldBlock` if the pointer has come before its byte, `NotConnected`.
    pub fn tcp_recv_urgent(&mut self, id: SocketId, peek: bool) -> Result<UrgentRead, SocketError> {
        let read = self.tcp.recv_urgent(id, peek);
        self.settle();
        read
    }

    /// True if the next byte to read is the urgent one (SIOCATMARK).
    pub fn tcp_at_mark(&self, id: SocketId) -> bool {
        self.tcp.is_at_mark(id)
    }

    /// Bytes that [`Stack::tcp_send`] would take now; 0 without a connection.
    pub fn tcp_send_room(&self, id: SocketId) -> usize {
        self.tcp.send_room(id)
    }

    /// Ends a connection by a reset, and closes the socket.
    ///
    /// # Errors
    /// `Invalid` if there is no such socket.
    pub fn tcp_abort(&mut self, id: SocketId) -> Result<(), SocketError> {
        self.tcp_call(|tcp, cx| tcp.abort(cx, id))
    }

    /// Sets an option.
    ///
    /// # Errors
    /// `Invalid` for values that Linux refuses.
    pub fn tcp_set_option(&mut self, id: SocketId, option: TcpOption) -> Result<(), SocketError> {
        self.tcp_call(|tcp, cx| tcp.set_option(cx, id, option))
    }

    /// Reads an option.
    ///
    /// # Errors
    /// `Invalid` if there is no such socket.
    pub fn tcp_option(
        &mut self,
        id: SocketId,
        name: TcpOptionName,
    ) -> Result<TcpOption, SocketError> {
        self.with_tcp(|tcp, cx| tcp.option(cx, id, name))
    }

    /// What TCP_INFO tells.
    ///
    /// # Errors
    /// `Invalid` if there is no such socket.
    pub fn tcp_info(&mut self, id: SocketId) -> Result<TcpInfo, SocketError> {
        self.with_tcp(|tcp, cx| tcp.info(cx, id))
    }

    /// The state of a socket.
    ///
    /// # Errors
    /// `Invalid` if there is no such socket.
    pub fn tcp_state(&self, id: SocketId) -> Result<TcpState, SocketError> {
        self.tcp.state(id)
    }

    /// Bytes that can be read at once (SIOCINQ).
    pub fn tcp_readable_bytes(&self, id: SocketId) -> usize {
        self.tcp.readable_bytes(id)
    }

    /// Bytes written and not sent yet (SIOCOUTQNSD).
    pub fn tcp_unsent_bytes(&self, id: SocketId) -> usize {
        self.tcp.unsent_bytes(id)
    }

    /// Bytes written and not acknowledged (SIOCOUTQ).
    pub fn tcp_unacknowledged_bytes(&self, id: SocketId) -> usize {
        self.tcp.unacknowledged_bytes(id)
    }
}
