//! SYN-RECEIVED after a simultaneous open (RFC 9293, 3.5 and 3.10.7.4). The passive one is a
//! half-open record of a listener.

use super::{Opening, Step};
use crate::error::SocketError;
use crate::time::{Duration, Instant};
use crate::transport::tcp::Cx;
use crate::transport::tcp::flow::FlowKey;
use crate::transport::tcp::options::SocketOptions;
use crate::transport::tcp::segment::{Outgoing, Segment, send_reset};
use crate::transport::tcp::state::Negotiated;
use crate::wire::tcp::TcpFlags;

/// Both SYNs are out.
#[derive(Debug)]
pub(in crate::transport::tcp) struct SynReceived {
    opening: Opening,
    agreed: Negotiated,
    answered: Option<Instant>,
}

impl SynReceived {
    /// Answers the peer's SYN, which crossed ours.
    pub(in crate::transport::tcp) fn start(
        cx: &mut Cx<'_>,
        opts: &SocketOptions,
        mut opening: Opening,
        syn: &Segment,
    ) -> Self {
        let agreed = opening.agree(cx, syn);
        // The SYN-ACK offers what both want.
        opening.scaling = agreed.snd_wscale.is_some();
        opening.sack = agreed.sack;
        opening.ecn = agreed.ecn;
        opening.timestamps = agreed.timestamps.is_some();
        let mut state = Self {
            opening,
            agreed,
            answered: None,
        };
        state.send_syn_ack(cx, opts);
        state
    }

    fn send_syn_ack(&mut self, cx: &mut Cx<'_>, opts: &SocketOptions) {
        let recent = self.agreed.timestamps.map_or(0, |ts| ts.recent);
        self.opening.send(cx, opts, Some((self.agreed.irs, recent)));
    }

    pub(in crate::transport::tcp) fn key(&self) -> FlowKey {
        self.opening.key
    }

    pub(in crate::transport::tcp) fn key_ref(&self) -> &FlowKey {
        &self.opening.key
    }

    pub(in crate::transport::tcp) fn deadline(&self) -> Instant {
        self.opening.deadline
    }

    /// The SYN-ACK was not answered in time.
    pub(in crate::transport::tcp) fn handle_timeout(
        mut self: Box<Self>,
        cx: &mut Cx<'_>,
        opts: &SocketOptions,
    ) -> Step {
        let most = Opening::retries(cx.config.tcp_synack_retries, opts);
        if !self.opening.may_retry(cx, opts, most, 0) {
            return Step::Failed(self.opening.failure());
        }
        cx.stats.retrans_segs += 1;
        self.send_syn_ack(cx, opts);
        Step::Received(self)
    }

    pub(in crate::transport::tcp) fn segment_in(
        mut self: Box<Self>,
        cx: &mut Cx<'_>,
        opts: &SocketOptions,
        mut segment: Segment,
    ) -> Step {
        let expected = self.agreed.irs + 1;
        let mut answers_syn = false;
        if segment.syn() && segment.seq == self.agreed.irs {
            // The peer's SYN-ACK for our SYN, or its SYN again: what it says beyond is what counts.
            if !segment.is_ack() {
                self.send_syn_ack(cx, opts);
                return Step::Received(self);
            }
            segment.flags.remove(TcpFlags::SYN);
            segment.seq += 1;
            answers_syn = true;
        }
        let in_window = segment.seq.within(expected, expected + self.agreed.rcv_wnd)
            || (segment.seq.before(expected) && segment.end().at_or_after(expected));
        if !in_window || segment.syn() {
            self.answer(cx, opts);
            return Step::Received(self);
        }
        if segment.rst() {
            let exact = segment.seq == expected;
            return if exact {
                Step::Failed(SocketError::Refused)
            } else {
                Step::Received(self)
            };
        }
        if !segment.is_ack() {
            return Step::Received(self);
        }
        let opening = &self.opening;
        if !segment.ack.within(opening.iss + 1, opening.nxt()) {
            send_reset(cx, &opening.key, &segment, opts.ip);
            return Step::Received(self);
        }
        let repeated = opening.timeouts > 0;
        let theirs = &segment.options;
        let reply = opening
            .attempt
            .reply(theirs.mss, theirs.fast_open, repeated);
        let irs = self.agreed.irs;
        let Self {
            opening, agreed, ..
        } = *self;
        let mut connection = opening.connect(cx, opts, &agreed, segment.ack);
        connection.take_first_window(&segment);
        connection.flight.mark_lost(|_| true);
        connection.segment_in(cx, segment);
        if answers_syn {
            // Both sides opened at once: the peer waits for this as we did. We have its SYN twice.
            if connection.sack && cx.config.tcp_dsack != 0 {
                connection.rcv.dsack = Some((irs, irs + 1));
            }
            connection.send_ack(cx);
        }
        Step::Established(Box::new(connection), reply)
    }

    /// Acknowledges what we expect, at most once in `tcp_invalid_ratelimit` milliseconds.
    fn answer(&mut self, cx: &mut Cx<'_>, opts: &SocketOptions) {
        let gap = Duration::from_millis(u64::from(cx.config.tcp_invalid_ratelimit));
        if self.answered.is_some_and(|at| cx.now.since(at) < gap) {
            return;
        }
        self.answered = Some(cx.now);
        let ack = Outgoing {
            seq: self.agreed.iss + 1,
            ack: self.agreed.irs + 1,
            flags: TcpFlags::ACK,
            window: (self.agreed.rcv_wnd >> self.agreed.rcv_wscale).min(65_535) as u16,
            ..Outgoing::default()
        };
        let _ = ack.send(cx, &self.opening.key, opts.ip);
    }
}
