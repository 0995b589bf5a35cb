//! TIME-WAIT (RFC 9293, 3.10.7.4; RFC 6191): a compact record in place of the connection.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::Cx;
use super::engine::TcpEngine;
use super::flow::{CompactKey, Flow, FlowKey};
use super::isn::timestamp_clock;
use super::segment::{IpOptions, Outgoing, Segment};
use super::seq::Seq;
use super::state::Connection;
use crate::network::{IfaceId, IpMeta};
use crate::table::Slab;
use crate::time::{Duration, Instant};
use crate::transport::ports::{Claim, Ports};
use crate::wire::tcp::{TcpFlags, TcpOptions, Timestamps};

/// How long a record stays (Linux `TCP_TIMEWAIT_LEN`).
pub(super) const TIME_WAIT: Duration = Duration::from_secs(60);

/// What is left of a connection whose two FINs are through.
#[derive(Clone, Debug)]
pub(super) struct TimeWait {
    key: CompactKey,
    hold: Option<Hold>,
    /// When it goes.
    deadline: Instant,
    /// The records that go before and after it.
    earlier: u32,
    later: u32,
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

/// What a record holds of its port, in less space than a [`Claim`]: the address is any, or the record's own.
#[derive(Clone, Copy, Debug)]
struct Hold {
    addr: HeldAddr,
    iface: Option<IfaceId>,
    reuse_addr: bool,
    reuse_port: bool,
    listening: bool,
    by_connect: bool,
}

#[derive(Clone, Copy, Debug)]
enum HeldAddr {
    Any,
    Any4,
    Any6,
    Own,
}

impl Hold {
    fn of(claim: &Claim) -> Self {
        Self {
            addr: match claim.addr {
                None => HeldAddr::Any,
                Some(IpAddr::V4(Ipv4Addr::UNSPECIFIED)) => HeldAddr::Any4,
                Some(IpAddr::V6(Ipv6Addr::UNSPECIFIED)) => HeldAddr::Any6,
                Some(_) => HeldAddr::Own,
            },
            iface: claim.iface,
            reuse_addr: claim.reuse_addr,
            reuse_port: claim.reuse_port,
            listening: claim.listening,
            by_connect: claim.by_connect,
        }
    }

    fn claim(&self, key: &FlowKey) -> Claim {
        Claim {
            port: key.local.port(),
            addr: match self.addr {
                HeldAddr::Any => None,
                HeldAddr::Any4 => Some(Ipv4Addr::UNSPECIFIED.into()),
                HeldAddr::Any6 => Some(Ipv6Addr::UNSPECIFIED.into()),
                HeldAddr::Own => Some(key.local.ip()),
            },
            iface: self.iface,
            reuse_addr: self.reuse_addr,
            reuse_port: self.reuse_port,
            listening: self.listening,
            by_connect: self.by_connect,
        }
    }
}

impl TimeWait {
    pub(super) fn of(connection: &Connection, claim: Option<Claim>) -> Self {
        let ts = connection.ts.unwrap_or_default();
        Self {
            key: CompactKey::from(&connection.key),
            hold: claim.map(|claim| Hold::of(&claim)),
            deadline: Instant::ZERO,
            earlier: NONE,
            later: NONE,
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

    /// Gives the port back.
    fn release(&self, ports: &mut Ports) {
        if let Some(hold) = self.hold {
            ports.release(&hold.claim(&FlowKey::from(&self.key)));
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
            &FlowKey::from(&self.key),
            IpOptions {
                tos: self.tos,
                ..IpOptions::default()
            },
        );
    }
}

/// No record.
const NONE: u32 = u32::MAX;

/// All TIME-WAIT records. They all stay for the same time: the order in which their time began is that in
/// which it ends.
#[derive(Debug)]
pub(super) struct TimeWaitTable {
    records: Slab<TimeWait>,
    /// The record that goes next, and the one that goes last.
    first: u32,
    last: u32,
}

impl Default for TimeWaitTable {
    fn default() -> Self {
        Self {
            records: Slab::default(),
            first: NONE,
            last: NONE,
        }
    }
}

impl TimeWaitTable {
    pub(super) fn len(&self) -> usize {
        self.records.len()
    }

    pub(super) fn has_key(&self, index: u32, key: &FlowKey) -> bool {
        let record = self.records.get(index);
        record.is_some_and(|record| record.key == CompactKey::from(key))
    }

    /// When the next record goes.
    pub(super) fn earliest(&self) -> Option<Instant> {
        self.records.get(self.first).map(|record| record.deadline)
    }

    /// The next record, if its time is over.
    pub(super) fn due(&self, now: Instant) -> Option<u32> {
        self.earliest()
            .is_some_and(|deadline| deadline <= now)
            .then_some(self.first)
    }

    /// A record's time begins (again).
    fn start(&mut self, index: u32, now: Instant) {
        let last = self.last;
        if let Some(record) = self.records.get_mut(index) {
            record.deadline = now + TIME_WAIT;
            (record.earlier, record.later) = (last, NONE);
        }
        match self.records.get_mut(last) {
            Some(record) => record.later = index,
            None => self.first = index,
        }
        self.last = index;
    }

    /// Takes a record from the order of going.
    fn unlink(&mut self, index: u32) {
        let Some(record) = self.records.get(index) else {
            return;
        };
        let (earlier, later) = (record.earlier, record.later);
        match self.records.get_mut(earlier) {
            Some(record) => record.later = later,
            None => self.first = later,
        }
        match self.records.get_mut(later) {
            Some(record) => record.earlier = earlier,
            None => self.last = earlier,
        }
    }

    fn restart(&mut self, index: u32, now: Instant) {
        self.unlink(index);
        self.start(index, now);
    }

    fn remove(&mut self, index: u32) -> Option<TimeWait> {
        self.unlink(index);
        self.records.remove(index)
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
            record.release(&mut self.ports);
            return;
        }
        cx.stats.time_wait += 1;
        let index = self.time_wait.records.insert(record);
        self.flows.insert(&key, Flow::TimeWait(index));
        self.time_wait.start(index, cx.now);
    }

    /// A record's time is over.
    pub(super) fn expire_time_wait(&mut self, index: u32) {
        if let Some(record) = self.time_wait.remove(index) {
            self.flows
                .remove(&FlowKey::from(&record.key), Flow::TimeWait(index));
            record.release(&mut self.ports);
        }
    }

    pub(super) fn time_wait_segment(
        &mut self,
        cx: &mut Cx<'_>,
        index: u32,
        meta: &IpMeta,
        segment: Segment,
    ) {
        let Some(record) = self.time_wait.records.get_mut(index) else {
            return;
        };
        match record.judge(&segment, cx.config.tcp_rfc1337 != 0) {
            Verdict::Drop => {}
            Verdict::Forget => self.expire_time_wait(index),
            Verdict::Extend => {
                if let Some(ts) = segment.options.timestamps.filter(|_| record.timestamps) {
                    record.ts_recent = ts.val;
                }
                self.time_wait.restart(index, cx.now);
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
                    self.time_wait.restart(index, cx.now);
                }
            }
            Verdict::Recycle(isn) => {
                let key = FlowKey::from(&record.key);
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
            size_of::<TimeWait>() <= 96,
            "{} bytes",
            size_of::<TimeWait>()
        );
    }
}
