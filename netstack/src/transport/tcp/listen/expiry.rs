//! SYN-ACK timers: repeat, prune, expire (Linux `reqsk_timer_handler`).

use crate::time::Duration;
use crate::transport::tcp::Cx;
use crate::transport::tcp::engine::TcpEngine;
use crate::transport::tcp::rtt::{RTO_INITIAL, RTO_MAX};
use crate::transport::tcp::slot::State;

/// The timeout after `timeouts` of them: 1 s, doubling.
pub(super) fn interval(timeouts: u8) -> Duration {
    RTO_INITIAL
        .saturating_mul(1 << timeouts.min(16))
        .min(RTO_MAX)
}

impl TcpEngine {
    /// (Re)starts a record's timer from now.
    pub(super) fn restart_syn_ack_timer(&mut self, cx: &Cx<'_>, index: u32) {
        if let Some(record) = self.half_open.records.get(index) {
            let at = cx.now + interval(record.timeouts);
            self.half_open.timers.set(index, Some(at));
        }
    }

    /// A record's SYN-ACK has not been answered in time.
    pub(in crate::transport::tcp) fn half_open_timeout(&mut self, cx: &mut Cx<'_>, index: u32) {
        let Some(record) = self.half_open.records.get_mut(index) else {
            return;
        };
        let Some(socket) = self.sockets.get_mut(record.listener) else {
            self.forget_half_open(index);
            return;
        };
        let State::Listen(listen) = &mut socket.state else {
            self.forget_half_open(index);
            return;
        };
        let most = match socket.opts.syn_count {
            0 => cx.config.tcp_synack_retries.min(255) as u8,
            count => count,
        };
        let retries = listen.syn_queue.retries(most);
        let defer = socket.opts.defer_accept;
        let spent = record.timeouts >= retries;
        // TCP_DEFER_ACCEPT: an acknowledged record waits for data, silently, until its time ends.
        let expired = spent && (defer == 0 || !record.acked || record.timeouts >= defer);
        let repeat = defer == 0 || !record.acked || record.timeouts + 1 >= defer;
        if expired {
            cx.stats.req_timeouts += 1;
            cx.stats.attempt_fails += 1;
            self.forget_half_open(index);
            return;
        }
        if record.timeouts == 0 {
            listen.syn_queue.aged();
        }
        record.timeouts += 1;
        if repeat {
            record.retransmitted = true;
            record.send_syn_ack(cx, None);
            cx.stats.retrans_segs += 1;
        }
        self.restart_syn_ack_timer(cx, index);
    }
}
