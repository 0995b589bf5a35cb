//! ICMP errors about our segments (RFC 1122, 4.2.3.9; RFC 5927; RFC 1191).

use super::Cx;
use super::engine::TcpEngine;
use super::flow::{Flow, FlowKey};
use super::handshake::Step;
use super::seq::Seq;
use super::slot::State;
use super::state::Connection;
use crate::network::icmp_error::IcmpError;

impl TcpEngine {
    /// True if the segment that `error` quotes is one of ours and in flight: only then may the error
    /// change anything (RFC 5927).
    pub fn in_flight(&self, error: &IcmpError) -> bool {
        let key = FlowKey {
            local: error.local,
            remote: error.remote,
        };
        let slot = match self.flow(&key) {
            Some(Flow::Socket(slot)) => slot,
            Some(Flow::HalfOpen(index)) => {
                return self.half_open.is_ours(index, Seq(error.seq));
            }
            Some(Flow::TimeWait(_) | Flow::Offer(_)) | None => return false,
        };
        let id = self.sockets.at(slot);
        match id
            .and_then(|id| self.sockets.get(id))
            .map(|socket| &socket.state)
        {
            Some(State::SynSent(handshake)) => handshake.sent(Seq(error.seq)),
            Some(State::Connected(connection)) => connection.has_sent(Seq(error.seq)),
            _ => false,
        }
    }

    /// True if the error is about a conversation that there is, whatever it quotes.
    pub fn has_flow(&self, error: &IcmpError) -> bool {
        let key = FlowKey {
            local: error.local,
            remote: error.remote,
        };
        self.flow(&key).is_some()
    }

    /// An ICMP error about a segment of ours. Believed only if its sequence number is in flight
    /// (RFC 5927).
    pub fn icmp_error(&mut self, cx: &mut Cx<'_>, error: &IcmpError) {
        let key = FlowKey {
            local: error.local,
            remote: error.remote,
        };
        let slot = match self.flow(&key) {
            Some(Flow::Socket(slot)) => slot,
            Some(Flow::HalfOpen(index)) => return self.half_open_error(cx, index, error),
            Some(Flow::TimeWait(_) | Flow::Offer(_)) | None => return,
        };
        let Some(id) = self.sockets.at(slot) else {
            return;
        };
        let Some(socket) = self.sockets.get_mut(id) else {
            return;
        };
        match &mut socket.state {
            State::SynSent(handshake) if handshake.sent(Seq(error.seq)) => {
                if let Some(mtu) = error.cause.mtu {
                    handshake.lower_path_mtu(cx, &socket.opts, mtu);
                } else {
                    // Linux's answer to RFC 1122, 4.2.3.9: an attempt does not wait for better times.
                    self.after_step(cx, id, key, Step::Failed(error.cause.error));
                }
            }
            State::Connected(connection) if connection.has_sent(Seq(error.seq)) => {
                let unaccepted = connection.opening.as_ref().is_some_and(|o| !o.accepted);
                match error.cause.mtu {
                    // Nobody holds it yet, and its handshake will not end (Linux `tcp_v4_err`).
                    None if unaccepted => connection.finish(Some(error.cause.error)),
                    Some(mtu) => connection.lower_path_mtu(cx, mtu),
                    // RFC 1122, 4.2.3.9: hard errors do not end a synchronised connection.
                    None if connection.opts.recv_errors => {
                        connection.error = Some(error.cause.error);
                    }
                    None => connection.soft_error = Some(error.cause.error),
                }
            }
            _ => {}
        }
        self.settle(cx, id);
    }
}

impl Connection {
    fn has_sent(&self, seq: Seq) -> bool {
        let first = match self.opening {
            // The SYN-ACK is out, too.
            Some(_) => self.snd.una - 1,
            None => self.snd.una,
        };
        seq.at_or_after(first) && seq.before(self.snd.nxt)
    }

    /// RFC 1191: smaller segments, and what is out is sent again.
    fn lower_path_mtu(&mut self, cx: &mut Cx<'_>, mtu: u32) {
        let headers = if self.key.local.is_ipv4() { 40 } else { 60 };
        let path_mss = mtu.max(552).saturating_sub(headers).min(65_535) as u16;
        if path_mss >= self.snd.path_mss {
            return;
        }
        let before = self.snd.mss;
        self.snd.path_mss = path_mss;
        self.update_mss(cx);
        if self.snd.mss < before {
            self.flight.mark_lost(|sent| sent.end - sent.seq > 0);
            self.output(cx);
        }
    }
}
