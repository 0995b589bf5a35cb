//! One segment: its flags, options and size, and the acknowledgements and probes that carry no data.

use arrayvec::ArrayVec;

use super::Cx;
use super::segment::{Body, IpOptions, Outgoing};
use super::seq::Seq;
use super::state::Connection;
use super::timers::Timer;
use crate::error::SocketError;
use crate::time::Instant;
use crate::wire::tcp::{TcpFlags, TcpOptions, Timestamps};

/// Whether something could be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sending {
    Done,
    /// The transmit queue is full; `transmit_room` goes on.
    Blocked,
}

/// Bytes of an option with `blocks` SACK blocks, with the two bytes that align it.
fn sack_len(blocks: usize) -> u32 {
    4 + 8 * blocks as u32
}

/// How many blocks an option may have in `bytes` of a segment.
fn sack_blocks_within(bytes: u32) -> usize {
    (bytes.saturating_sub(sack_len(0)) / 8) as usize
}

impl Connection {
    /// The segment size for new data: the MSS less the SACK option that goes along (RFC 6691, 2), and at most
    /// half of the largest window that the peer has offered, so that acknowledgements keep coming
    /// whatever the MSS is (RFC 9293, 3.8.6.2.1; Linux `tcp_current_mss`, `tcp_bound_to_half_wnd`).
    pub(super) fn bounded_mss(&self) -> u32 {
        const SMALL_WINDOW: u32 = 536;
        const LEAST: u32 = 48;
        let mss = match self.sack_wanted().len() {
            0 => self.snd.mss,
            blocks => self.snd.mss.saturating_sub(sack_len(blocks)).max(8),
        };
        let half = match self.snd.max_wnd {
            0 => return mss,
            window @ ..=SMALL_WINDOW => window,
            window => window / 2,
        };
        mss.min(half.max(LEAST))
    }

    /// Emits the bytes from `seq` to `end` (which may include the FIN) with what goes on every
    /// segment. Changes no state but that of acknowledgements.
    pub(super) fn transmit(&mut self, cx: &mut Cx<'_>, seq: Seq, end: Seq) -> Sending {
        let data_end = self.snd.queue.end().min(end);
        let len = if data_end.after(seq) {
            data_end - seq
        } else {
            0
        };
        let body = self.snd.queue.range(seq, len as usize);
        let mut flags = TcpFlags::ACK;
        // As Linux does, a super-packet is pushed too: its last piece carries the flag.
        let pushed = self.snd.records.ends_at(data_end) || len > self.snd.mss;
        flags.set(TcpFlags::PSH, len > 0 && pushed);
        flags.set(TcpFlags::FIN, end.after(self.snd.queue.end()));
        let sending = self.emit(cx, seq, flags, body, len);
        if sending == Sending::Done {
            let segs = len.div_ceil(self.snd.mss).max(1);
            self.counters.data_segs_out += if len > 0 { segs } else { 0 };
        }
        sending
    }

    fn emit(
        &mut self,
        cx: &mut Cx<'_>,
        seq: Seq,
        flags: TcpFlags,
        body: Body,
        len: u32,
    ) -> Sending {
        let saved = self.rcv.window;
        let mut options = TcpOptions {
            timestamps: self.timestamps_option(cx.now),
            ..TcpOptions::default()
        };
        let wanted = self.sack_wanted();
        let fits = sack_blocks_within(self.snd.mss.saturating_sub(len));
        options.sack = wanted.iter().copied().take(fits).collect();
        // What had no room follows in an acknowledgement of its own, which stays due.
        let told = options.sack.len() == wanted.len();
        let fresh = len > 0 && !seq.before(self.snd.nxt);
        let (marks, tos) = self.ecn_marks(fresh);
        let (urg, urgent) = self.urgent_field(seq);
        let segment = Outgoing {
            seq,
            ack: self.rcv.nxt,
            flags: flags | marks | urg,
            window: self.announce_window(),
            urgent,
            options,
            body,
            gso_size: if len > self.snd.mss {
                self.snd.mss as u16
            } else {
                0
            },
        };
        let ip = IpOptions {
            tos,
            ..self.opts.ip
        };
        match segment.send(cx, &self.key, ip) {
            Err(SocketError::NoBuffers) => {
                self.rcv.window = saved;
                return Sending::Blocked;
            }
            Err(SocketError::MessageTooLong) => {
                // The path has become narrower; the timers send it again, smaller.
                self.soft_error = Some(SocketError::MessageTooLong);
            }
            // As good as lost on the way: the timers try again and in the end give up.
            Err(error) => self.soft_error = Some(error),
            Ok(()) => {}
        }
        if fresh {
            self.ecn_announced();
        }
        self.counters.segs_out += len.div_ceil(self.snd.mss).max(1);
        if told {
            self.rcv.dsack = None;
            self.acks.on_ack_sent(self.rcv.nxt);
            self.timers.stop(Timer::DelayedAck);
        }
        Sending::Done
    }

    fn timestamps_option(&self, now: Instant) -> Option<Timestamps> {
        let val = self.timestamp_now(now)?;
        self.ts.map(|ts| Timestamps {
            val,
            ecr: ts.recent,
        })
    }

    /// The blocks that the peer should be told of: a duplicate (RFC 2883), then what lies beyond holes.
    fn sack_wanted(&self) -> ArrayVec<(u32, u32), 4> {
        let mut blocks = ArrayVec::new();
        if !self.sack {
            return blocks;
        }
        let most = if self.ts.is_some() { 3 } else { 4 };
        blocks.extend(self.rcv.dsack.map(|(low, high)| (low.0, high.0)));
        if self.rcv.queue.has_hole() {
            blocks.extend(self.rcv.queue.sack_blocks(most - blocks.len()));
        }
        blocks
    }

    /// Sends a bare acknowledgement now.
    pub(super) fn send_ack(&mut self, cx: &mut Cx<'_>) {
        self.acks.now = true;
        if self.emit(cx, self.snd.nxt, TcpFlags::ACK, Body::new(), 0) == Sending::Blocked {
            self.blocked = true;
        }
    }

    /// Sends a segment that the peer must answer: one old sequence number, no data (keepalive,
    /// zero-window probe).
    pub(super) fn send_probe(&mut self, cx: &mut Cx<'_>) {
        let (old, first) = (self.snd.una - 1, self.snd.una);
        // Urgent data that the window holds back is told of (Linux `tcp_write_wakeup`).
        let urgent = self.in_urgent_mode() && self.snd.up.at_or_before(first + 0xffff);
        let told = match urgent {
            true => self.emit(cx, first, TcpFlags::ACK, Body::new(), 0),
            false => Sending::Done,
        };
        if told == Sending::Blocked
            || self.emit(cx, old, TcpFlags::ACK, Body::new(), 0) == Sending::Blocked
        {
            self.blocked = true;
        }
    }
}
