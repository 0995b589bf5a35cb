//! Sending and receiving.

use super::Cx;
use super::chrono::Waits;
use super::engine::TcpEngine;
use super::slot::State;
use super::state::{Connection, Phase};
use crate::buf::Bytes;
use crate::error::SocketError;
use crate::socket::SocketId;
use crate::socket::tcp::{SendHow, UrgentRead};
use smallvec::SmallVec;

impl TcpEngine {
    /// Copies as much of `data` into the send queue as there is room for, and sends what may be
    /// sent. MSG_MORE holds a last, partial segment back as TCP_CORK does.
    ///
    /// # Errors
    /// `WouldBlock` without room or during the handshake, `Pipe` if the send side is shut down or
    /// there is no connection, or the connection's pending error, once.
    pub fn send(
        &mut self,
        cx: &mut Cx<'_>,
        id: SocketId,
        data: &[u8],
        how: SendHow,
    ) -> Result<usize, SocketError> {
        if how.fast_open {
            return self.send_opening(cx, id, data, how);
        }
        let socket = self.owned(id)?;
        if let Some(error) = socket.error.take() {
            return Err(error);
        }
        let connection = match &mut socket.state {
            State::Connected(connection) => connection,
            State::SynSent(handshake) if handshake.is_deferred() => {
                return self.send_deferred(cx, id, data, how.waits);
            }
            State::SynSent(_) | State::SynReceived(_) => return Err(SocketError::WouldBlock),
            State::Idle | State::Listen(_) => return Err(SocketError::Pipe),
        };
        let sent = connection.write(cx, data, how);
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
        if !peek && !out.is_empty() {
            connection.pass_mark();
        }
        connection.check_readable(out.len())?;
        let ahead = connection.ahead_of_reader();
        let len = out.len().min(ahead.limit);
        let read = if peek {
            connection.rcv.queue.peek(ahead.skip, &mut out[..len])
        } else {
            let read = connection.rcv.queue.read(&mut out[..len]);
            connection.after_read(cx, read);
            read
        };
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
        if max > 0 {
            connection.pass_mark();
        }
        connection.check_readable(max)?;
        let max = max.min(connection.ahead_of_reader().limit);
        let bytes = connection.rcv.queue.read_bytes(max);
        connection.after_read(cx, bytes.len());
        self.settle(cx, id);
        Ok(bytes)
    }

    /// The first ranges of received data, urgent or not, which stay until [`TcpEngine::consume`]; empty at
    /// the end of the stream.
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
        connection.map_or(0, Connection::bytes_to_mark)
    }

    /// recv(MSG_OOB): the urgent byte. `peek` leaves it there.
    ///
    /// # Errors
    /// `Invalid` if there is none, `WouldBlock` if the pointer has come before its byte, `NotConnected`.
    pub fn recv_urgent(&mut self, id: SocketId, peek: bool) -> Result<UrgentRead, SocketError> {
        let socket = self.owned(id)?;
        match &mut socket.state {
            State::Connected(connection) => connection.read_urgent(peek),
            State::Listen(_) => Err(SocketError::NotConnected),
            _ => Err(SocketError::Invalid),
        }
    }

    /// True if the next byte to read is the urgent one (SIOCATMARK).
    pub fn is_at_mark(&self, id: SocketId) -> bool {
        let connection = self.sockets.get(id).and_then(|socket| socket.connection());
        connection.is_some_and(Connection::is_at_mark)
    }

    /// True if an urgent pointer has come since this was last asked (SIGURG).
    pub(crate) fn take_urgent_news(&mut self, id: SocketId) -> bool {
        let connection = self.sockets.get_mut(id);
        connection
            .and_then(|socket| socket.connection_mut())
            .is_some_and(|connection| connection.rcv.urgent.take_news())
    }

    /// Bytes written and not sent yet (SIOCOUTQNSD), a FIN that waits included.
    pub fn unsent_bytes(&self, id: SocketId) -> usize {
        let connection = self.sockets.get(id).and_then(|socket| socket.connection());
        connection.map_or(0, |connection| {
            (connection.snd.end() - connection.snd.nxt.min(connection.snd.end())) as usize
        })
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
    fn write(&mut self, cx: &mut Cx<'_>, data: &[u8], how: SendHow) -> Result<usize, SocketError> {
        if let Some(error) = self.error.take() {
            return Err(error);
        }
        let fin_waits = self.opening.as_ref().is_some_and(|open| open.fin_waits);
        if !self.phase.may_send() || fin_waits {
            return Err(SocketError::Pipe);
        }
        if data.is_empty() {
            return Ok(0);
        }
        let zero_copy = how.zero_copy && self.opts.zero_copy;
        self.check_promise(zero_copy)?;
        self.equip_sender(cx.spares);
        self.check_app_limited();
        let len = self.queue_up(cx, data, how.urgent);
        self.snd.no_space |= len < data.len();
        if len == 0 {
            return Err(SocketError::WouldBlock);
        }
        if how.urgent {
            self.mark_urgent();
        }
        if !how.partial {
            self.promise(zero_copy);
        }
        let whole = len == data.len();
        let end = self.snd.queue.end();
        // What did not fit comes later, but nobody knows when.
        let (more, eor) = (how.more && whole, how.end_of_record && whole);
        let run = self.snd.run_start.max(self.snd.nxt.min(end));
        self.snd.records.wrote(end, run, more, eor);
        if !more {
            self.snd.pushed = end;
        }
        let corked = self.opts.cork;
        self.opts.cork |= how.more;
        self.output(cx);
        self.opts.cork = corked;
        Ok(len)
    }

    /// Copies into the queue what there is room for, run by run, sending on the way. As in Linux
    /// (`tcp_sendmsg_locked`) only the beginning of a run is subject to TCP_NOTSENT_LOWAT.
    fn queue_up(&mut self, cx: &mut Cx<'_>, data: &[u8], urgent: bool) -> usize {
        let goal = match urgent {
            true => self.bounded_mss() as usize,
            false => self.run_length(),
        };
        self.snd.notsent_low = match self.opts.notsent_lowat {
            0 => cx.config.tcp_notsent_lowat,
            bytes => bytes,
        };
        let mut written = 0;
        loop {
            let end = self.snd.queue.end();
            let mut start = self.snd.run_start.max(self.snd.nxt.min(end));
            let mut run = (end - start) as usize;
            if run >= goal || self.snd.records.record_ends_at(end) {
                let unsent = end - self.snd.nxt.min(end);
                if unsent >= self.snd.notsent_low {
                    return written;
                }
                self.snd.run_start = end;
                (start, run) = (end, 0);
            }
            let rest = &data[written..];
            let len = rest.len().min(goal - run).min(self.snd.room());
            self.snd.queue.append(&rest[..len]);
            if len > 0 {
                self.chrono.start(Waits::Network, cx.now);
            }
            written += len;
            if len == 0 || written == data.len() {
                return written;
            }
            let end = self.snd.queue.end();
            // After half a window the peer should not wait for the rest (Linux `forced_push`).
            let push = end - self.snd.pushed > self.snd.max_wnd / 2 && !urgent;
            if push {
                self.snd.pushed = end;
            }
            self.snd.records.wrote(end, start, !push, false);
            if !urgent {
                self.output(cx);
            }
        }
    }

    /// Bytes in a run: what can leave as one, in whole segments, and half a window at most (Linux
    /// `tcp_xmit_size_goal`).
    fn run_length(&self) -> usize {
        const MOST: u32 = 65_535 - 100;
        let mss = self.bounded_mss();
        let most = match self.snd.max_wnd / 2 {
            0 => MOST,
            half => MOST.min(half),
        };
        (most / mss * mss).max(mss) as usize
    }

    /// Decides what a read finds: `Ok` if there is data or the end of the stream.
    fn check_readable(&mut self, wanted: usize) -> Result<(), SocketError> {
        let skip = self.ahead_of_reader().skip;
        if self.rcv.queue.readable() > skip || wanted == 0 {
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
        self.note_read(len);
        if len == 0 || !self.phase.may_receive() {
            return;
        }
        self.adjust_receive_buffer(cx.now, cx.config);
        let unacked = self.rcv.nxt - self.rcv.window.wup;
        let overdue = self.acks.pending && unacked > u32::from(self.acks.rcv_mss);
        if overdue || self.window_worth_announcing() {
            self.send_ack(cx);
        }
    }
}
