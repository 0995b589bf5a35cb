//! TIME-WAIT (RFC 9293, 3.10.7.4; RFC 6191): a compact record in place of the connection.

use slab::Slab;

use super::Cx;
use super::engine::TcpEngine;
use super::flow::{Flow, FlowKey};
use super::isn::timestamp_clock;
use super::segment::{IpOptions, Outgoing, Segment};
use super::seq::Seq;
use super::state::Connection;
use super::timer_heap::TimerHeap;
use crate::network::IpMeta;
use crate::time::{Duration, Instant};
use crate::transport::ports::Claim;
use crate::wire::tcp::{TcpFlags, TcpOptions, Timestamps};

/// How long a record stays (Linux `TCP_TIMEWAIT_LEN`).
pub(super) const TIME_WAIT: Duration = Duration::from_secs(60);

/// What is left of a connection whose two FINs are through.
#[derive(Clone, Debug)]
pub(super) struct TimeWait {
    key: FlowKey,
    claim: Option<Claim>,
    rcv_nxt: Seq,
    snd_nxt: Seq,
    rcv_wnd: u32,
    ts_recent: u32,
    ts_offset: u32,
    timestamps: bool,
    tos: u8,
    /// Millisecond clock when the last answer left.
    answered: u32,
}

impl TimeWait {
    pub(super) fn of(connection: &Connection, claim: Option<Claim>) -> Self {
        let ts = connection.ts.unwrap_or_default();
        Self {
            key: connection.key,
            claim,
            rcv_nxt: connection.rcv.nxt,
            snd_nxt: connection.snd.nxt,
            rcv_wnd: connection.rcv.window.left(connection.rcv.nxt) >> connection.rcv.window.wscale,
            ts_recent: ts.recent,
            ts_offset: ts.offset,
            timestamps: connection.ts.is_some(),
            tos: connection.opts.ip.tos,
            answered: 0,
        }
    }

    fn acknowledge(&self, cx: &mut Cx<'_>) {
        let timestamps = self.timestamps.then(|| Timestamps {
            val: timestamp_clock(cx.now).wrapping_add(self.ts_offset),
            ecr: self.ts_recent,
        });
        let ack = Outgoing {
            seq: self.snd_nxt,
            ack: self.rcv_nxt,
            flags: TcpFlags::ACK,
            window: self.rcv_wnd.min(65_535) as u16,
            options: TcpOptions {
                timestamps,
                ..TcpOptions::default()
            },
            ..Outgoing::default()
        };
        // Best effort: the peer asks again.
        let _ = ack.send(
            cx,
            &self.key,
            IpOptions {
                tos: self.tos,
                ..IpOptions::default()
            },
        );
    }
}

/// All TIME-WAIT records.
#[derive(Debug, Default)]
pub(super) struct TimeWaitTable {
    records: Slab<TimeWait>,
    pub(super) timers: TimerHeap,
}

impl TimeWaitTable {
    pub(super) fn len(&self) -> usize {
        self.records.len()
    }
}

/// What a segment does to a TIME-WAIT record.
enum Verdict {
    Drop,
    Acknowledge,
    /// The record's time starts again.
    Extend,
    Forget,
    /// A new incarnation may begin, with this initial sequence number.
    Recycle(Seq),
}

impl TimeWait {
    /// Judges a segment (Linux `tcp_timewait_state_process`).
    fn judge(&self, segment: &Segment, rfc1337: bool) -> Verdict {
        let theirs = segment.options.timestamps.filter(|_| self.timestamps);
        let behind = theirs.is_some_and(|ts| (ts.val.wrapping_sub(self.ts_recent) as i32) < 0);
        if segment.rst() {
            let exact = segment.seq == self.rcv_nxt && !behind;
            return if exact && !rfc1337 {
                Verdict::Forget
            } else {
                Verdict::Drop
            };
        }
        if segment.syn() && !segment.is_ack() && !behind {
            let newer_clock =
                theirs.is_some_and(|ts| (ts.val.wrapping_sub(self.ts_recent) as i32) > 0);
            if segment.seq.after(self.rcv_nxt) || newer_clock {
                // Above anything the old incarnation can have used.
                let isn = self.snd_nxt + 65_537;
                return Verdict::Recycle(if isn.0 == 0 { Seq(1) } else { isn });
            }
        }
        if !behind && segment.seq == self.rcv_nxt && segment.seq_len() == 0 {
            return if segment.is_ack() {
                Verdict::Extend
            } else {
                Verdict::Drop
            };
        }
        if segment.is_ack() || segment.syn() {
            Verdict::Acknowledge
        } else {
            Verdict::Drop
        }
    }
}

impl TcpEngine {
    /// Enters a record for `key`; the caller has taken its hold on the port.
    pub(super) fn enter_time_wait(&mut self, cx: &mut Cx<'_>, key: FlowKey, record: TimeWait) {
        if self.time_wait.records.len() >= cx.config.tcp_max_tw_buckets as usize {
            cx.stats.time_wait_overflow += 1;
            if let Some(claim) = record.claim {
                self.ports.release(&claim);
            }
            return;
        }
        cx.stats.time_wait += 1;
        let index = self.time_wait.records.insert(record) as u32;
        self.flows.insert(key, Flow::TimeWait(index));
        self.time_wait.timers.set(index, Some(cx.now + TIME_WAIT));
    }

    /// A record's time is over.
    pub(super) fn expire_time_wait(&mut self, index: u32) {
        self.time_wait.timers.remove(index);
        if let Some(record) = self.time_wait.records.try_remove(index as usize) {
            self.flows.remove(&record.key, Flow::TimeWait(index));
            if let Some(claim) = record.claim {
                self.ports.release(&claim);
            }
        }
    }

    pub(super) fn time_wait_segment(
        &mut self,
        cx: &mut Cx<'_>,
        index: u32,
        meta: &IpMeta,
        segment: Segment,
    ) {
        let Some(record) = self.time_wait.records.get_mut(index as usize) else {
            return;
        };
        let deadline: Instant = cx.now + TIME_WAIT;
        match record.judge(&segment, cx.config.tcp_rfc1337 != 0) {
            Verdict::Drop => {}
            Verdict::Forget => self.expire_time_wait(index),
            Verdict::Extend => {
                if let Some(ts) = segment.options.timestamps.filter(|_| record.timestamps) {
                    record.ts_recent = ts.val;
                }
                self.time_wait.timers.set(index, Some(deadline));
            }
            Verdict::Acknowledge => {
                let clock = timestamp_clock(cx.now).max(1);
                let dataless = segment.payload.is_empty() && !segment.fin();
                let recent = clock.wrapping_sub(record.answered) < cx.config.tcp_invalid_ratelimit;
                if !(dataless && record.answered != 0 && recent) {
                    record.answered = clock;
                    record.acknowledge(cx);
                }
                if !segment.syn() {
                    self.time_wait.timers.set(index, Some(deadline));
                }
            }
            Verdict::Recycle(isn) => {
                let key = record.key;
                if self
                    .listeners
                    .find(&self.sockets, &key, meta, self.secrets.select)
                    .is_some()
                {
                    self.expire_time_wait(index);
                    self.listener_segment(cx, &key, meta, segment, Some(isn));
                } else {
                    record.acknowledge(cx);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_is_compact() {
        assert!(
            size_of::<TimeWait>() <= 128,
            "{} bytes",
            size_of::<TimeWait>()
        );
    }
}
