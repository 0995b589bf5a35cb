//! Urgent data (RFC 9293, 3.8.5; RFC 6093), as Linux has it: one byte, the last that the urgent pointer
//! covers, is kept beside the stream unless SO_OOBINLINE is set, and ordinary reads stop before it.

use super::Cx;
use super::segment::Segment;
use super::seq::Seq;
use super::state::{Connection, Phase};
use crate::error::SocketError;
use crate::socket::tcp::UrgentRead;
use crate::wire::tcp::TcpFlags;

/// What has become of the byte that the newest urgent pointer names (Linux `urg_data`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum UrgentByte {
    /// No pointer, or the reader is past it.
    #[default]
    None,
    /// The pointer came before its byte.
    Awaited,
    Here(u8),
    /// A reader has taken it.
    Taken,
}

/// The urgent data that a peer has sent.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Urgent {
    byte: UrgentByte,
    /// Sequence number of the byte.
    at: Seq,
    /// A pointer has come that nobody has been told of (SIGURG).
    news: bool,
}

/// What lies between a reader and the next bytes of the stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Ahead {
    /// Bytes to pass over: the urgent one.
    pub(super) skip: usize,
    /// Bytes up to the mark.
    pub(super) limit: usize,
}

impl Urgent {
    /// True if a pointer has come since this was last asked.
    pub(super) fn take_news(&mut self) -> bool {
        core::mem::take(&mut self.news)
    }

    pub(super) fn has_news(&self) -> bool {
        self.news
    }

    /// The byte can be read (POLLPRI).
    pub(super) fn is_here(&self) -> bool {
        matches!(self.byte, UrgentByte::Here(_))
    }

    fn is_marked(&self) -> bool {
        self.byte != UrgentByte::None
    }
}

impl Connection {
    /// Looks for an urgent pointer, and for the byte that it names (Linux `tcp_urg`).
    pub(super) fn urgent_in(&mut self, cx: &Cx<'_>, seg: &Segment) {
        if seg.has(TcpFlags::URG) {
            self.urgent_pointer_in(cx, seg);
        }
        let urgent = &mut self.rcv.urgent;
        if urgent.byte == UrgentByte::Awaited && !urgent.at.before(seg.seq) {
            let offset = (urgent.at - seg.seq) as usize;
            if let Some(byte) = seg.payload.get(offset) {
                urgent.byte = UrgentByte::Here(*byte);
            }
        }
    }

    /// A pointer counts if it is ahead of what has been received and of the last one (Linux
    /// `tcp_check_urg`). It names the byte before it, as BSD has it, unless `tcp_stdurg` is set.
    fn urgent_pointer_in(&mut self, cx: &Cx<'_>, seg: &Segment) {
        let mut pointer = u32::from(seg.urgent);
        if pointer > 0 && cx.config.tcp_stdurg == 0 {
            pointer -= 1;
        }
        let at = seg.seq + pointer;
        let old = at.before(self.rcv.nxt) || self.rcv.read.after(at);
        let known = self.rcv.urgent.is_marked() && at.at_or_before(self.rcv.urgent.at);
        if old || known {
            return;
        }
        // The reader stands at the last mark: its byte gives way to the new one.
        let passed = self.is_at_mark() && !self.opts.oob_inline && self.rcv.queue.readable() > 0;
        if passed {
            self.pass_over(1);
        }
        self.rcv.urgent = Urgent {
            byte: UrgentByte::Awaited,
            at,
            news: true,
        };
    }

    fn pass_over(&mut self, len: usize) {
        let len = self.rcv.queue.consume(len);
        self.note_read(len);
    }

    /// `len` bytes have left the receive queue.
    pub(super) fn note_read(&mut self, len: usize) {
        self.rcv.read += len as u32;
        if self.rcv.urgent.is_marked() && self.rcv.read.after(self.rcv.urgent.at) {
            self.rcv.urgent.byte = UrgentByte::None;
        }
    }

    /// The next byte to read is the urgent one (SIOCATMARK).
    pub(super) fn is_at_mark(&self) -> bool {
        self.rcv.urgent.is_marked() && self.rcv.urgent.at == self.rcv.read
    }

    /// What an ordinary read finds before it (Linux `tcp_recvmsg_locked`).
    pub(super) fn ahead_of_reader(&self) -> Ahead {
        let urgent = &self.rcv.urgent;
        let free = Ahead {
            skip: 0,
            limit: usize::MAX,
        };
        if !urgent.is_marked() || urgent.at.before(self.rcv.read) {
            return free;
        }
        match (urgent.at - self.rcv.read) as usize {
            0 if self.opts.oob_inline => free,
            0 => Ahead { skip: 1, ..free },
            limit => Ahead { limit, ..free },
        }
    }

    /// Passes over the urgent byte if it is next and does not belong to the stream.
    pub(super) fn pass_mark(&mut self) {
        let skip = self.ahead_of_reader().skip;
        if skip > 0 && self.rcv.queue.readable() > 0 {
            self.pass_over(skip);
        }
    }

    /// Bytes that reading gets before the mark (SIOCINQ).
    pub(super) fn bytes_to_mark(&self) -> usize {
        let all = self.rcv.queue.readable();
        if self.opts.oob_inline || !self.rcv.urgent.is_marked() {
            return all;
        }
        match self.rcv.urgent.at {
            at if at.before(self.rcv.read) => all,
            at => all.min((at - self.rcv.read) as usize),
        }
    }

    /// recv(MSG_OOB), which never waits (Linux `tcp_recv_urg`).
    pub(super) fn read_urgent(&mut self, peek: bool) -> Result<UrgentRead, SocketError> {
        let byte = match self.rcv.urgent.byte {
            _ if self.opts.oob_inline => return Err(SocketError::Invalid),
            UrgentByte::None | UrgentByte::Taken => return Err(SocketError::Invalid),
            byte => byte,
        };
        let over = self.phase == Phase::Closed;
        if over && !self.rcv.fin {
            return Err(SocketError::NotConnected);
        }
        match byte {
            UrgentByte::Here(byte) => {
                if !peek {
                    self.rcv.urgent.byte = UrgentByte::Taken;
                }
                Ok(UrgentRead::Byte(byte))
            }
            _ if over || self.rcv.fin || self.rcv.shutdown => Ok(UrgentRead::End),
            _ => Err(SocketError::WouldBlock),
        }
    }

    /// Urgent data of ours is not acknowledged yet (Linux `tcp_urg_mode`).
    pub(super) fn in_urgent_mode(&self) -> bool {
        self.snd.up != self.snd.una
    }

    /// What is in the queue up to here is urgent.
    pub(super) fn mark_urgent(&mut self) {
        self.snd.up = self.snd.queue.end();
    }

    /// `SND.UNA` has moved from `before` on.
    pub(super) fn urgent_acked(&mut self, before: Seq) {
        if !self.snd.up.before(before) && self.snd.up.at_or_before(self.snd.una) {
            self.snd.up = self.snd.una;
        }
    }

    /// Flag and pointer of a segment that begins at `seq`: the pointer names the byte after the urgent
    /// one, and lies at most 64 KiB ahead.
    pub(super) fn urgent_field(&self, seq: Seq) -> (TcpFlags, u16) {
        if !self.in_urgent_mode() || !seq.before(self.snd.up) {
            return (TcpFlags::empty(), 0);
        }
        match u16::try_from(self.snd.up - seq) {
            Ok(pointer) => (TcpFlags::URG, pointer),
            Err(_) if (seq + 0xffff).after(self.snd.nxt) => (TcpFlags::URG, 0xffff),
            Err(_) => (TcpFlags::empty(), 0),
        }
    }
}
