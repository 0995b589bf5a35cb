//! Sending and receiving.

use super::Cx;
use super::engine::TcpEngine;
use super::slot::State;
use super::state::{Connection, Phase};
use crate::buf::Bytes;
use crate::error::SocketError;
use crate::socket::SocketId;
use smallvec::SmallVec;

impl TcpEngine {
    /// Copies as much of `data` into the send queue as there is room for, and sends what may be
    /// sent. `more` (MSG_MORE) holds a last, partial segment back as TCP_CORK does.
    ///
    /// # Errors
    /// `WouldBlock` without room or during the handshake, `Pipe` if the send side is shut down or
    /// there is no connection, or the connection's pending error, once.
    pub fn send(
        &mut self,
        cx: &mut Cx<'_>,
        id: SocketId,
        data: &[u8],
        more: bool,
    ) -> Result<usize, SocketError> {
        let socket = self.owned(id)?;
        if let Some(error) = socket.error.take() {
            return Err(error);
        }
        let connection = match &mut socket.state {
            State::Connected(connection) => connection,
            State::SynSent(_) | State::SynReceived(_) => return Err(SocketError::WouldBlock),
            State::Idle | State::Listen(_) => return Err(SocketError::Pipe),
        };
        let sent = connection.write(cx, data, more);
        self.settle(cx, id);
        sent
    }

    /// Reads up to `out.len()` bytes; 0 at the end of the stream. `peek` leaves them there.
    ///
    /// # Errors
    /// `WouldBlock` if nothing is there, `NotConnected`, or the connection's pending error, once.
    pub fn recv(
        &mut self,
        cx: &mut Cx<'_>,
        id: SocketId,
        out: &mut [u8],
        peek: bool,
    ) -> Result<usize, SocketError> {
        let connection = self.readable(id)?;
        connection.check_readable(out.len())?;
        let read = connection.rcv.queue.read(out, peek);
        if !peek {
            connection.after_read(cx, read);
        }
        self.settle(cx, id);
        Ok(read)
    }

    /// Takes up to `max` bytes without copying; empty at the end of the stream.
    ///
    /// # Errors
    /// As [`TcpEngine::recv`].
    pub fn recv_bytes(
        &mut self,
        cx: &mut Cx<'_>,
        id: SocketId,
        max: usize,
    ) -> Result<Bytes, SocketError> {
        let connection = self.readable(id)?;
        connection.check_readable(max)?;
        let bytes = connection.rcv.queue.read_bytes(max);
        connection.after_read(cx, bytes.len());
        self.settle(cx, id);
        Ok(bytes)
    }

    /// The first ranges of received data, which stay until [`TcpEngine::consume`]; empty at the end of
    /// the stream.
    ///
    /// # Errors
    /// As [`TcpEngine::recv`].
    pub fn peek_ranges(&mut self, id: SocketId) -> Result<SmallVec<[Bytes; 16]>, SocketError> {
        let connection = self.readable(id)?;
        connection.check_readable(1)?;
        Ok(connection.rcv.queue.peek_ranges())
    }

    /// Removes received bytes that were looked at: only now may the window open. Returns how many.
    ///
    /// # Errors
    /// `NotConnected`.
    pub fn consume(
        &mut self,
        cx: &mut Cx<'_>,
        id: SocketId,
        len: usize,
    ) -> Result<usize, SocketError> {
        let connection = self.readable(id)?;
        let consumed = connection.rcv.queue.consume(len);
        connection.after_read(cx, consumed);
        self.settle(cx, id);
        Ok(consumed)
    }

    /// Bytes that [`TcpEngine::send`] would take now.
    pub fn send_room(&self, id: SocketId) -> usize {
        let connection = self.sockets.get(id).and_then(|socket| socket.connection());
        let connection = connection.filter(|connection| connection.phase.may_send());
        connection.map_or(0, |connection| connection.snd.room())
    }

    fn readable(&mut self, id: SocketId) -> Result<&mut Connection, SocketError> {
        let socket = self.owned(id)?;
        if let Some(error) = socket.error.take() {
            return Err(error);
        }
        match &mut socket.state {
            State::Connected(connection) => Ok(connection),
            State::SynSent(_) | State::SynReceived(_) => Err(SocketError::WouldBlock),
            State::Idle | State::Listen(_) => Err(SocketError::NotConnected),
        }
    }

    /// Bytes that can be read now (FIONREAD).
    pub fn readable_bytes(&self, id: SocketId) -> usize {
        let connection = self.sockets.get(id).and_then(|socket| socket.connection());
        connection.map_or(0, |connection| connection.rcv.queue.readable())
    }

    /// Bytes written and not acknowledged (SIOCOUTQ), a FIN under way included.
    pub fn unacknowledged_bytes(&self, id: SocketId) -> usize {
        let connection = self.sockets.get(id).and_then(|socket| socket.connection());
        connection.map_or(0, |connection| {
            (connection.snd.end() - connection.snd.una) as usize
        })
    }
}

impl Connection {
    fn write(&mut self, cx: &mut Cx<'_>, data: &[u8], more: bool) -> Result<usize, SocketError> {
        if let Some(error) = self.error.take() {
            return Err(error);
        }
        if !self.phase.may_send() {
            return Err(SocketError::Pipe);
        }
        if data.is_empty() {
            return Ok(0);
        }
        let len = data.len().min(self.snd.room());
        if len == 0 {
            return Err(SocketError::WouldBlock);
        }
        self.snd.queue.append(&data[..len]);
        let corked = self.opts.cork;
        self.opts.cork |= more;
        self.output(cx);
        self.opts.cork = corked;
        Ok(len)
    }

    /// Decides what a read finds: `Ok` if there is data or the end of the stream.
    fn check_readable(&mut self, wanted: usize) -> Result<(), SocketError> {
        if self.rcv.queue.readable() > 0 || wanted == 0 {
            return Ok(());
        }
        if let Some(error) = self.error.take() {
            return Err(error);
        }
        let ended = self.rcv.fin || self.rcv.shutdown || self.phase == Phase::Closed;
        if ended {
            Ok(())
        } else {
            Err(SocketError::WouldBlock)
        }
    }

    /// The application has read: the window may have opened enough to tell the peer (Linux
    /// `tcp_cleanup_rbuf`).
    fn after_read(&mut self, cx: &mut Cx<'_>, len: usize) {
        if len == 0 || !self.phase.may_receive() {
            return;
        }
        self.rcv.read += len as u32;
        self.adjust_receive_buffer(cx.now, cx.config);
        let unacked = self.rcv.nxt - self.rcv.window.wup;
        let overdue = self.acks.pending && unacked > u32::from(self.acks.rcv_mss);
        if overdue || self.window_worth_announcing() {
            self.send_ack(cx);
        }
    }
}
