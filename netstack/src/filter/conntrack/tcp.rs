//! TCP connections as somebody between the ends sees them: the states of Linux's tracker, and the window
//! within which segments must lie ("Real Stateful TCP Packet Filtering in IP Filter", van Rooij 2000).

use super::config::ConntrackConfig;
use super::{Direction, TcpState};
use crate::filter::packet::TcpInner;
use crate::wire::tcp::TcpFlags;
use crate::wire::tcp::TcpOptions;

/// Acknowledgements older than this many bytes are not believed.
const MAX_ACK_WINDOW: u32 = 66_000;

/// What is known of a connection.
#[derive(Clone, Debug, Default)]
pub(super) struct TcpTrack {
    pub(super) state: TcpState,
    sides: [Side; 2],
    /// Who sent the last FIN.
    closer: Option<Direction>,
}

/// One end, by what it has sent.
#[derive(Clone, Copy, Debug, Default)]
struct Side {
    /// After the last byte that it sent.
    end: u32,
    /// After the last byte that it may send, by what the other end has said.
    max_end: u32,
    /// The largest window that it announced.
    max_window: u32,
    /// Its window shift, with a SYN.
    scale: Option<u8>,
    shift: u8,
    /// Something of it has been seen.
    seen: bool,
}

/// What becomes of a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Judged {
    Valid,
    /// It does not fit the connection.
    Invalid,
    /// It begins another connection in the place of this one.
    Reopens,
}

/// What a segment is, in the order in which Linux looks.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Syn,
    SynAck,
    Fin,
    Ack,
    Rst,
    Nonsense,
}

impl Kind {
    fn of(flags: TcpFlags) -> Self {
        let has = |flag| flags.contains(flag);
        let (syn, ack, fin) = (has(TcpFlags::SYN), has(TcpFlags::ACK), has(TcpFlags::FIN));
        match () {
            () if has(TcpFlags::RST) && !syn && !fin => Self::Rst,
            () if has(TcpFlags::RST) || (syn && fin) => Self::Nonsense,
            () if syn && ack => Self::SynAck,
            () if syn => Self::Syn,
            () if fin && ack => Self::Fin,
            () if ack => Self::Ack,
            () => Self::Nonsense,
        }
    }
}

impl TcpTrack {
    /// Begins with a connection's first segment; `None` if that can be none.
    pub(super) fn begin(tcp: &TcpInner, header: &[u8], config: &ConntrackConfig) -> Option<Self> {
        let state = match Kind::of(tcp.flags) {
            Kind::Syn => TcpState::SynSent,
            Kind::Ack if config.tcp_loose => TcpState::Established,
            _ => return None,
        };
        let picked_up = state == TcpState::Established;
        let mut track = Self {
            state,
            ..Self::default()
        };
        track.sides[0] = Side::begin(tcp, header);
        if picked_up {
            // Nothing is known of shifts: the largest counts.
            track.sides[0].shift = 14;
            track.sides[0].max_window = u32::from(tcp.window.max(1)) << 14;
            track.sides[0].max_end = track.sides[0].end.wrapping_add(track.sides[0].max_window);
        }
        Some(track)
    }

    /// Takes a segment in.
    pub(super) fn segment(
        &mut self,
        dir: Direction,
        tcp: &TcpInner,
        header: &[u8],
        config: &ConntrackConfig,
    ) -> Judged {
        let kind = Kind::of(tcp.flags);
        if kind == Kind::Nonsense {
            return Judged::Invalid;
        }
        let over = matches!(self.state, TcpState::TimeWait | TcpState::Close);
        if kind == Kind::Syn && over && dir == Direction::Original {
            return Judged::Reopens;
        }
        let Some(next) = self.next(dir, kind) else {
            return Judged::Invalid;
        };
        let fits = self.in_window(dir, kind, tcp, header);
        if !fits && !config.tcp_be_liberal {
            return Judged::Invalid;
        }
        if kind == Kind::Fin {
            self.closer = Some(dir);
        }
        self.state = next;
        Judged::Valid
    }

    /// The state after a segment; `None` if there is no place for it.
    fn next(&self, dir: Direction, kind: Kind) -> Option<TcpState> {
        use Direction::{Original, Reply};
        use TcpState as S;
        let state = self.state;
        Some(match (kind, dir, state) {
            (Kind::Rst, _, _) => S::Close,
            (Kind::Syn, Original, S::SynSent | S::SynSent2) => state,
            // A repetition, or one that the ends will answer with a challenge.
            (Kind::Syn, Original, _) => state,
            (Kind::Syn, Reply, S::SynSent | S::SynSent2) => S::SynSent2,
            (Kind::Syn, Reply, S::TimeWait) => S::SynSent,
            (Kind::Syn, Reply, _) => return None,
            (Kind::SynAck, Original, S::SynSent2 | S::SynRecv) => S::SynRecv,
            (Kind::SynAck, Original, _) => return None,
            (Kind::SynAck, Reply, S::SynSent | S::SynSent2) => S::SynRecv,
            (Kind::SynAck, Reply, _) => state,
            (Kind::Fin, _, S::SynRecv | S::Established) => S::FinWait,
            (Kind::Fin, _, S::FinWait | S::CloseWait) => match self.closer == Some(dir) {
                true => state,
                false => S::LastAck,
            },
            (Kind::Fin, _, S::LastAck | S::TimeWait | S::Close) => state,
            (Kind::Fin, _, _) => return None,
            (Kind::Ack, Original, S::SynRecv) => S::Established,
            (Kind::Ack, Reply, S::SynRecv) => state,
            (Kind::Ack, Original, S::SynSent) => return None,
            (Kind::Ack, Reply, S::SynSent | S::SynSent2) => state,
            (Kind::Ack, _, S::FinWait) => match self.closer == Some(dir) {
                true => state,
                false => S::CloseWait,
            },
            // Only what answers the last FIN ends it.
            (Kind::Ack, _, S::LastAck) => match self.closer == Some(dir) {
                true => state,
                false => S::TimeWait,
            },
            (Kind::Ack, _, _) => state,
            (Kind::Nonsense, _, _) => return None,
        })
    }

    /// True if a segment lies where the ends may have sent it; notes what it says then.
    fn in_window(&mut self, dir: Direction, kind: Kind, tcp: &TcpInner, header: &[u8]) -> bool {
        let (own, other) = (dir as usize, 1 - dir as usize);
        let seq = tcp.seq;
        let flags = u32::from(tcp.flags.contains(TcpFlags::SYN))
            + u32::from(tcp.flags.contains(TcpFlags::FIN));
        let end = seq.wrapping_add(tcp.data_len).wrapping_add(flags);
        if !self.sides[own].seen {
            // The first of this end.
            self.sides[own] = Side::begin(tcp, header);
            if !tcp.flags.contains(TcpFlags::SYN) {
                self.sides[own].shift = self.sides[other].shift;
            } else if let (Some(_), Some(_)) = (self.sides[0].scale, self.sides[1].scale) {
                for side in &mut self.sides {
                    side.shift = side.scale.unwrap_or(0);
                }
            }
        } else if kind == Kind::Syn || (kind == Kind::SynAck && self.state != TcpState::Established)
        {
            // Sent again, perhaps with another number.
            if matches!(self.state, TcpState::SynSent | TcpState::SynSent2) {
                let shift = self.sides[own].shift;
                self.sides[own] = Side::begin(tcp, header);
                self.sides[own].shift = shift;
            }
        }
        let (sender, receiver) = (self.sides[own], self.sides[other]);
        let acks = tcp.flags.contains(TcpFlags::ACK);
        let ack = match acks {
            true => tcp.ack,
            // Nothing is said: as if all were acknowledged.
            false => receiver.end,
        };
        // A reset that answers a SYN has no number of its own.
        let bare_rst = kind == Kind::Rst && tcp.seq == 0 && acks;
        let window = sender.shifted(tcp);
        let fits = !receiver.seen
            || bare_rst
            || (not_after(seq, sender.max_end)
                && not_after(
                    sender.end.wrapping_sub(receiver.max_window.max(1)),
                    end.wrapping_add(1),
                )
                && not_after(ack, receiver.end)
                && not_after(
                    receiver
                        .end
                        .wrapping_sub(MAX_ACK_WINDOW.max(sender.max_window)),
                    ack,
                ));
        if !fits {
            return false;
        }
        let own_side = &mut self.sides[own];
        if after(end, own_side.end) && kind != Kind::Rst {
            own_side.end = end;
        }
        own_side.max_window = own_side.max_window.max(window.max(1));
        let allowed = ack.wrapping_add(window.max(1));
        let other_side = &mut self.sides[other];
        if acks && after(allowed, other_side.max_end) {
            other_side.max_end = allowed;
        }
        true
    }
}

impl Side {
    fn begin(tcp: &TcpInner, header: &[u8]) -> Self {
        let syn = tcp.flags.contains(TcpFlags::SYN);
        let flags = u32::from(syn) + u32::from(tcp.flags.contains(TcpFlags::FIN));
        let end = tcp.seq.wrapping_add(tcp.data_len).wrapping_add(flags);
        let options = header
            .get(20..tcp.header_len)
            .filter(|_| syn)
            .map(|list| TcpOptions::parse(list, true));
        let window = u32::from(tcp.window).max(1);
        Self {
            end,
            // Until the other end has spoken, what it has sent is all that it may.
            max_end: end.wrapping_add(u32::from(u16::MAX)),
            max_window: window,
            scale: options.and_then(|options| options.window_scale),
            shift: 0,
            seen: true,
        }
    }

    /// The window of a segment; that of a SYN is not scaled.
    fn shifted(&self, tcp: &TcpInner) -> u32 {
        match tcp.flags.contains(TcpFlags::SYN) {
            true => u32::from(tcp.window),
            false => u32::from(tcp.window) << self.shift,
        }
    }
}

fn after(a: u32, b: u32) -> bool {
    (b.wrapping_sub(a) as i32) < 0
}

fn not_after(a: u32, b: u32) -> bool {
    !after(a, b)
}
