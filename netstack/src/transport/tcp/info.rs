//! TCP_INFO.

use super::Cx;
use super::engine::TcpEngine;
use super::slot::State;
use super::state::{Connection, Phase};
use crate::error::SocketError;
use crate::socket::SocketId;
use crate::socket::tcp::{TcpInfo, TcpState};
use crate::time::{Duration, Instant};

impl TcpEngine {
    /// The state of the socket (`tcpi_state`).
    ///
    /// # Errors
    /// `Invalid` if there is no such socket.
    pub fn state(&self, id: SocketId) -> Result<TcpState, SocketError> {
        let socket = self.held(id)?;
        Ok(match &socket.state {
            State::Idle => TcpState::Closed,
            State::Listen(_) => TcpState::Listen,
            State::SynSent(_) => TcpState::SynSent,
            State::SynReceived(_) => TcpState::SynReceived,
            State::Connected(connection)
                if connection.opening.is_some() && connection.phase == Phase::Established =>
            {
                TcpState::SynReceived
            }
            State::Connected(connection) => state_of(connection.phase),
        })
    }

    /// Everything that TCP_INFO tells.
    ///
    /// # Errors
    /// `Invalid` if there is no such socket.
    pub fn info(&self, cx: &Cx<'_>, id: SocketId) -> Result<TcpInfo, SocketError> {
        let socket = self.held(id)?;
        let state = self.state(id)?;
        Ok(match &socket.state {
            State::Connected(connection) => TcpInfo {
                state,
                ..connection.info(cx.now)
            },
            State::Listen(listen) => TcpInfo {
                state,
                unacked: listen.accept_queue.len() as u32,
                sacked: listen.accept_queue.bound(),
                ..TcpInfo::default()
            },
            _ => TcpInfo {
                state,
                ..TcpInfo::default()
            },
        })
    }
}

fn state_of(phase: Phase) -> TcpState {
    match phase {
        Phase::Established => TcpState::Established,
        Phase::FinWait1 => TcpState::FinWait1,
        Phase::FinWait2 => TcpState::FinWait2,
        Phase::CloseWait => TcpState::CloseWait,
        Phase::Closing => TcpState::Closing,
        Phase::LastAck => TcpState::LastAck,
        Phase::TimeWait => TcpState::TimeWait,
        Phase::Closed => TcpState::Closed,
    }
}

fn micros(time: Duration) -> u32 {
    u32::try_from(time.as_micros()).unwrap_or(u32::MAX)
}

fn millis_since(now: Instant, then: Instant) -> u32 {
    u32::try_from(now.since(then).as_millis()).unwrap_or(u32::MAX)
}

impl Connection {
    fn info(&self, now: Instant) -> TcpInfo {
        let counters = &self.counters;
        let window = &self.cc.window;
        let option = |on: bool, bit: u8| if on { bit } else { 0 };
        let headers = if self.key.local.is_ipv4() { 40 } else { 60 };
        let duplicates = if self.sack { 0 } else { self.recovery.dup_acks };
        let [busy_time, rwnd_limited, sndbuf_limited] = self.chrono.totals(now);
        let (delivery_rate, delivery_rate_app_limited) = self.rate.shown(self.snd.mss);
        TcpInfo {
            delivery_rate,
            delivery_rate_app_limited,
            busy_time: busy_time.as_micros() as u64,
            rwnd_limited: rwnd_limited.as_micros() as u64,
            sndbuf_limited: sndbuf_limited.as_micros() as u64,
            ca_state: self.recovery.belief as u8,
            retransmits: self.recovery.timeouts,
            probes: if self.flight.is_empty() {
                self.recovery.timeouts
            } else {
                0
            },
            backoff: self.rtt.backoff,
            options: option(self.ts.is_some(), 1)
                | option(self.sack, 2)
                | option(self.scaling, 4)
                | option(self.ecn.on, 8)
                | option(self.ecn.seen, 16)
                | option(self.opened.data_taken, 32)
                | option(self.opened.child, 128),
            fastopen_client_fail: self.opened.failure,
            snd_wscale: self.snd.wscale,
            rcv_wscale: self.rcv.window.wscale,
            rto: micros(self.rtt.rto()),
            ato: micros(self.acks.ato()),
            snd_mss: self.snd.mss,
            rcv_mss: u32::from(self.acks.rcv_mss),
            unacked: self.flight.packets,
            sacked: self.flight.sacked + duplicates,
            lost: self.flight.lost,
            retrans: self.flight.retrans,
            last_data_sent: millis_since(now, self.snd.last_sent),
            last_data_recv: millis_since(now, self.acks.last_data),
            last_ack_recv: millis_since(now, self.acks.last_heard),
            pmtu: u32::from(self.snd.path_mss) + headers,
            rcv_ssthresh: self.rcv.window.ssthresh,
            rtt: micros(self.rtt.srtt()),
            rttvar: micros(self.rtt.mdev()),
            snd_ssthresh: window.ssthresh.min(i32::MAX as u32),
            snd_cwnd: window.cwnd,
            advmss: u32::from(self.snd.path_mss),
            reordering: self.recovery.reordering,
            rcv_rtt: micros(self.autotune.rtt()),
            rcv_space: self.autotune.space(),
            total_retrans: counters.total_retrans,
            bytes_acked: counters.bytes_acked,
            bytes_received: counters.bytes_received,
            segs_out: counters.segs_out,
            segs_in: counters.segs_in,
            notsent_bytes: self.snd.queue.end() - self.snd.nxt.min(self.snd.queue.end()),
            min_rtt: match self.rtt.min_rtt() {
                Duration::MAX => 0,
                rtt => micros(rtt),
            },
            data_segs_in: counters.data_segs_in,
            data_segs_out: counters.data_segs_out,
            delivered: counters.delivered,
            delivered_ce: counters.delivered_ce,
            bytes_sent: counters.bytes_sent + counters.bytes_retrans,
            bytes_retrans: counters.bytes_retrans,
            dsack_dups: counters.dsack_dups,
            reord_seen: counters.reord_seen,
            rcv_ooopack: counters.rcv_ooopack,
            snd_wnd: self.snd.wnd,
            rcv_wnd: self.rcv.window.wnd,
            ..TcpInfo::default()
        }
    }
}
