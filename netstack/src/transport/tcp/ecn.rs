//! Explicit congestion notification (RFC 3168): marks instead of losses. The data receiver echoes a
//! mark (ECE) until the sender says that it has reacted (CWR).

use super::Cx;
use super::recovery::Belief;
use super::segment::Segment;
use super::state::Connection;
use crate::wire::tcp::TcpFlags;

/// The two ECN bits of an IP header.
const ECN_MASK: u8 = 3;
/// "Capable", as we say it.
const ECT_0: u8 = 2;
/// "Congestion experienced".
const CE: u8 = 3;

/// ECN of one connection; all false without it.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Ecn {
    /// Both ends want it.
    pub(super) on: bool,
    /// The window was reduced: the next new data says so.
    announce: bool,
    /// A mark has arrived, and the peer has not said yet that it knows.
    echo: bool,
    /// The peer has sent something that could have been marked.
    pub(super) seen: bool,
}

impl Ecn {
    pub(super) fn new(on: bool) -> Self {
        Self {
            on,
            ..Self::default()
        }
    }
}

/// True if a SYN asks for ECN (RFC 3168, 6.1.1). One that is itself marked as capable does not follow
/// the rules and gets none (Linux `tcp_ecn_create_request`).
pub(super) fn requested(syn: &Segment) -> bool {
    syn.has(TcpFlags::ECE | TcpFlags::CWR) && syn.ecn == 0
}

/// True if a SYN-ACK grants it.
pub(super) fn granted(syn_ack: &Segment) -> bool {
    syn_ack.has(TcpFlags::ECE) && !syn_ack.has(TcpFlags::CWR)
}

/// The ECN bits of a received TOS byte.
pub(super) fn bits(tos: u8) -> u8 {
    tos & ECN_MASK
}

/// A TOS byte as an application may set it: the ECN bits are not its affair.
pub(super) fn without_bits(tos: u8) -> u8 {
    tos & !ECN_MASK
}

impl Connection {
    /// What a segment says beside its other flags, and its TOS byte. `fresh`: it carries data that is
    /// sent for the first time; only that is marked as capable (RFC 3168, 6.1.4 to 6.1.6).
    pub(super) fn ecn_marks(&self, fresh: bool) -> (TcpFlags, u8) {
        let tos = self.opts.ip.tos;
        if !self.ecn.on {
            return (TcpFlags::empty(), tos);
        }
        let mut flags = TcpFlags::empty();
        flags.set(TcpFlags::ECE, self.ecn.echo);
        flags.set(TcpFlags::CWR, fresh && self.ecn.announce);
        let ect = if fresh { ECT_0 } else { 0 };
        (flags, tos | ect)
    }

    /// New data has left: it has said that the window was reduced.
    pub(super) fn ecn_announced(&mut self) {
        self.ecn.announce = false;
    }

    /// A segment with data, or a FIN, that has come in.
    pub(super) fn ecn_data_in(&mut self, segment: &Segment) {
        if !self.ecn.on {
            return;
        }
        if segment.has(TcpFlags::CWR) {
            self.ecn.echo = false;
            // The peer's window may be very small now.
            self.acks.pending = true;
            self.acks.now = true;
        }
        if segment.payload.is_empty() {
            return;
        }
        match segment.ecn {
            // Not capable although others were: most likely a retransmission.
            0 if self.ecn.seen => self.acks.enter_quick(self.rcv.window.wnd),
            0 => {}
            CE => {
                if !self.ecn.echo {
                    self.acks.enter_quick(self.rcv.window.wnd);
                }
                (self.ecn.echo, self.ecn.seen) = (true, true);
            }
            _ => self.ecn.seen = true,
        }
    }

    /// True if an acknowledgement echoes a mark: the window is reduced as for a loss, once per round trip
    /// (RFC 3168, 6.1.2).
    pub(super) fn ecn_ack_in(&mut self, cx: &mut Cx<'_>, segment: &Segment) -> bool {
        let echoed = self.ecn.on && segment.has(TcpFlags::ECE) && !segment.syn();
        cx.stats.ecn_reductions += u64::from(echoed && self.recovery.belief <= Belief::Disorder);
        echoed
    }

    /// The window is smaller than it was believed to be: the peer is told.
    pub(super) fn ecn_announce(&mut self) {
        self.ecn.announce = self.ecn.on;
    }

    /// It is not, after all.
    pub(super) fn ecn_withdraw(&mut self) {
        self.ecn.announce = false;
    }
}
