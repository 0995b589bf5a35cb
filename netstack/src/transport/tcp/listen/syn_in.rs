//! A segment that meets no flow: a SYN for a listener, an ACK that may carry a cookie, or neither.

use super::half_open::HalfOpen;
use crate::network::IpMeta;
use crate::socket::SocketId;
use crate::transport::tcp::Cx;
use crate::transport::tcp::cookies::HiddenOptions;
use crate::transport::tcp::ecn;
use crate::transport::tcp::engine::TcpEngine;
use crate::transport::tcp::flow::FlowKey;
use crate::transport::tcp::isn::timestamp_clock;
use crate::transport::tcp::options::SocketOptions;
use crate::transport::tcp::segment::Segment;
use crate::transport::tcp::seq::Seq;
use crate::transport::tcp::slot::State;
use crate::transport::tcp::window;

/// MSS of a peer that says nothing (RFC 9293, 3.7.1).
const DEFAULT_MSS: u16 = 536;

/// What is done with a SYN.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Admission {
    /// A record is made.
    Record,
    /// A cookie is sent, nothing is stored.
    Cookie,
    /// Nothing.
    Drop,
}

impl TcpEngine {
    /// A segment without a flow. `recycled`: it recycles a TIME-WAIT record, and we answer with
    /// this sequence number.
    pub(in crate::transport::tcp) fn listener_segment(
        &mut self,
        cx: &mut Cx<'_>,
        key: &FlowKey,
        meta: &IpMeta,
        segment: Segment,
        recycled: Option<Seq>,
    ) {
        let Some(listener) = self
            .listeners
            .find(&self.sockets, key, meta, self.secrets.select)
        else {
            if !self.offer_in(cx, key, meta, &segment, recycled) {
                self.no_such_flow(cx, key, &segment);
            }
            return;
        };
        // RFC 9293, 3.10.7.2: first RST, then ACK, then SYN.
        if segment.rst() {
            return;
        }
        if segment.is_ack() {
            if segment.syn() || !self.cookie_in(cx, listener, key, meta, &segment) {
                self.no_such_flow(cx, key, &segment);
            }
        } else if segment.syn() && !segment.fin() {
            self.syn_in(cx, listener, key, &segment, recycled);
        }
    }

    fn syn_in(
        &mut self,
        cx: &mut Cx<'_>,
        listener: SocketId,
        key: &FlowKey,
        segment: &Segment,
        recycled: Option<Seq>,
    ) {
        let admission = self.admit(cx, listener, key, recycled.is_some());
        let Some(opts) = self.sockets.get(listener).map(|socket| socket.opts) else {
            return;
        };
        match admission {
            Admission::Drop => cx.stats.listen_drops += 1,
            Admission::Cookie => self.answer_with_cookie(cx, listener, &opts, key, segment),
            Admission::Record => {
                let Some(mut record) = self.record_for(cx, listener, &opts, key, segment) else {
                    return;
                };
                record.iss = recycled.unwrap_or_else(|| self.secrets.isn(key, cx.now));
                let answer = self.fast_open_answer(cx, listener, &opts, key, segment);
                if answer.connect && self.open_fast(cx, record.clone(), answer.cookie, segment) {
                    return;
                }
                record.send_syn_ack(cx, answer.cookie);
                record.ts_sent.0 = record.ts_sent.1;
                self.enter_half_open(cx, record);
            }
        }
    }

    /// The two gates, in the order of Linux `tcp_conn_request`.
    fn admit(
        &mut self,
        cx: &mut Cx<'_>,
        listener: SocketId,
        key: &FlowKey,
        recycles: bool,
    ) -> Admission {
        let Some(State::Listen(listen)) = self.sockets.get(listener).map(|socket| &socket.state)
        else {
            return Admission::Drop;
        };
        let cookies = cx.config.tcp_syncookies;
        let crowded = listen.syn_queue.is_full();
        let cookie = !recycles && cookies != 0 && (crowded || cookies == 2);
        if crowded && cookies == 0 && !recycles {
            cx.stats.req_q_full_drop += 1;
            return Admission::Drop;
        }
        if listen.accept_queue.is_full() {
            cx.stats.listen_overflows += 1;
            return Admission::Drop;
        }
        if cookie {
            cx.stats.req_q_full_cookies += u64::from(crowded);
            return Admission::Cookie;
        }
        let unproven_refused = listen
            .syn_queue
            .refuses_unproven(cx.config.tcp_max_syn_backlog);
        if cookies == 0 && !recycles && unproven_refused && !self.peers.is_proven(key, cx.now) {
            return Admission::Drop;
        }
        Admission::Record
    }

    /// The record for a SYN, all but our sequence number. `None`: there is no way back to the peer.
    fn record_for(
        &self,
        cx: &Cx<'_>,
        listener: SocketId,
        opts: &SocketOptions,
        key: &FlowKey,
        segment: &Segment,
    ) -> Option<HalfOpen> {
        let path_mss = path_mss(cx, key, opts)?;
        let offered = &segment.options;
        let scaling = cx.config.tcp_window_scaling != 0 && offered.window_scale.is_some();
        let timestamps = cx.config.tcp_timestamps != 0 && offered.timestamps.is_some();
        let segment_size = window::full_segment(path_mss, timestamps);
        let first = window::initial(cx.config, opts, segment_size, scaling);
        Some(HalfOpen {
            key: *key,
            listener,
            iss: Seq(0),
            irs: segment.seq,
            rcv_nxt: segment.seq + 1,
            rcv_wnd: first.window,
            peer_mss: offered.mss.unwrap_or(DEFAULT_MSS),
            path_mss,
            snd_wscale: offered.window_scale.filter(|_| scaling),
            rcv_wscale: first.wscale,
            sack: cx.config.tcp_sack != 0 && offered.sack_permitted,
            ecn: cx.config.tcp_ecn != 0 && ecn::requested(segment),
            timestamps,
            ts_recent: offered.timestamps.map_or(0, |ts| ts.val),
            ts_offset: self.secrets.timestamp_offset(key, cx.config.tcp_timestamps),
            ts_sent: (0, 0),
            first_sent: cx.now,
            timeouts: 0,
            retransmitted: false,
            acked: false,
            answered: None,
            ip: opts.ip,
        })
    }

    /// A SYN-ACK that holds the record in its numbers. It is never repeated.
    fn answer_with_cookie(
        &mut self,
        cx: &mut Cx<'_>,
        listener: SocketId,
        opts: &SocketOptions,
        key: &FlowKey,
        segment: &Segment,
    ) {
        self.stamp_overflow(cx, listener);
        let Some(mut record) = self.record_for(cx, listener, opts, key, segment) else {
            return;
        };
        let (cookie, _) = self
            .cookies
            .make(cx.rng, key, segment.seq, record.peer_mss, cx.now);
        record.iss = cookie;
        if record.timestamps {
            let hidden = HiddenOptions {
                wscale: record.snd_wscale,
                sack: record.sack,
                ecn: record.ecn,
            };
            // The record sends clock + offset: shift the offset so that the options are there.
            let clock = timestamp_clock(cx.now);
            let shift = hidden.hide(clock).wrapping_sub(clock);
            record.ts_offset = record.ts_offset.wrapping_add(shift);
        } else {
            // Only the MSS fits.
            (record.snd_wscale, record.sack, record.ecn) = (None, false, false);
        }
        record.send_syn_ack(cx, None);
        cx.stats.syncookies_sent += 1;
    }

    /// Notes that cookies are in use, for the whole SO_REUSEPORT group.
    fn stamp_overflow(&mut self, cx: &Cx<'_>, listener: SocketId) {
        let mut members = self.listeners.group_of(&self.sockets, listener);
        members.push(listener);
        for id in members {
            if let Some(State::Listen(listen)) = self.sockets.get_mut(id).map(|s| &mut s.state) {
                listen.overflowed = Some(cx.now);
            }
        }
    }
}

/// The MSS that the route to the peer allows, SO_MAXSEG included. `None`: no route.
pub(in crate::transport::tcp) fn path_mss(
    cx: &Cx<'_>,
    key: &FlowKey,
    opts: &SocketOptions,
) -> Option<u16> {
    let route = cx
        .out
        .route(key.remote.ip(), Some(key.local.ip()), opts.ip.iface)
        .ok()?;
    let headers = if key.local.is_ipv4() { 40 } else { 60 };
    let mss = route.mtu.saturating_sub(headers).clamp(88, 65_535) as u16;
    Some(if opts.maxseg == 0 {
        mss
    } else {
        mss.min(opts.maxseg)
    })
}
