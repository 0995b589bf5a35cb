//! Receipts of what an application has sent: which calls' buffers are free (MSG_ZEROCOPY), and when data
//! left and was acknowledged (SO_TIMESTAMPING).
//!
//! Data is always copied, which a MSG_ZEROCOPY receipt says; it comes when the data is acknowledged.

use std::collections::VecDeque;

use super::seq::Seq;
use super::state::Connection;
use crate::error::SocketError;
use crate::socket::tcp::TxStamps;
use crate::socket::{ErrorQueue, ErrorReport, ReportOrigin, TxStage};
use crate::time::Instant;

/// Receipts that one connection may be waiting for: more would be memory that no buffer accounts for
/// (`optmem_max` in Linux).
const AWAITED_MAX: usize = 1024;

/// Something that was asked for, and comes once everything before `end` has come so far.
#[derive(Clone, Copy, Debug)]
struct Awaited {
    end: Seq,
    what: What,
}

#[derive(Clone, Copy, Debug)]
enum What {
    /// The number of the call.
    ZeroCopy(u32),
    Stamps {
        stamps: TxStamps,
        key: u32,
        sent: bool,
    },
}

/// A receipt that is due.
#[derive(Debug)]
enum Due {
    ZeroCopy(u32, Instant),
    Report(ErrorReport),
}

/// The receipts of one connection.
#[derive(Debug, Default)]
pub(super) struct Receipts {
    awaited: VecDeque<Awaited>,
    due: Vec<Due>,
    next_zero_copy: u32,
}

impl Receipts {
    fn stamp(&mut self, stage: TxStage, key: u32, at: Instant) {
        let report = ErrorReport {
            info: stage as u32,
            data: key,
            ..ErrorReport::new(ReportOrigin::Timestamp(stage), at)
        };
        self.due.push(Due::Report(report));
    }

    /// Bytes from `seq` to `end` leave for the first time.
    fn on_sent(&mut self, seq: Seq, end: Seq, now: Instant) {
        for index in 0..self.awaited.len() {
            let awaited = &mut self.awaited[index];
            let covered = awaited.end.after(seq) && awaited.end.at_or_before(end);
            let What::Stamps { stamps, key, sent } = &mut awaited.what else {
                continue;
            };
            if !covered || *sent {
                continue;
            }
            *sent = true;
            let (stamps, key) = (*stamps, *key);
            if stamps.contains(TxStamps::SCHEDULED) {
                self.stamp(TxStage::Scheduled, key, now);
            }
            if stamps.contains(TxStamps::SENT) {
                self.stamp(TxStage::Sent, key, now);
            }
        }
    }

    /// Everything before `una` is acknowledged.
    fn on_acked(&mut self, una: Seq, now: Instant) {
        while let Some(first) = self.awaited.front().copied() {
            if first.end.after(una) {
                break;
            }
            self.awaited.pop_front();
            match first.what {
                What::ZeroCopy(call) => self.due.push(Due::ZeroCopy(call, now)),
                What::Stamps { stamps, key, .. } if stamps.contains(TxStamps::ACKNOWLEDGED) => {
                    self.stamp(TxStage::Acknowledged, key, now);
                }
                What::Stamps { .. } => {}
            }
        }
        if self.awaited.is_empty() && self.awaited.capacity() > 64 {
            self.awaited = VecDeque::new();
        }
    }

    /// The data goes nowhere any more: its buffers are free all the same.
    fn on_end(&mut self, now: Instant) {
        for awaited in core::mem::take(&mut self.awaited) {
            if let What::ZeroCopy(call) = awaited.what {
                self.due.push(Due::ZeroCopy(call, now));
            }
        }
    }

    pub(super) fn is_due(&self) -> bool {
        !self.due.is_empty()
    }

    /// Moves what is due to the socket's queue; what finds no room there is lost, as in Linux.
    pub(super) fn deliver(&mut self, queue: &mut ErrorQueue, budget: usize) {
        for due in core::mem::take(&mut self.due) {
            match due {
                Due::ZeroCopy(call, at) => queue.push_zero_copy((call, call), true, at, budget),
                Due::Report(report) => queue.push(report, budget),
            };
        }
    }
}

impl Connection {
    /// A call has put bytes into the send queue, up to its end: notes which receipts it wants.
    pub(super) fn promise(&mut self, zero_copy: bool) {
        let stamps = self.opts.tx_stamps;
        let stamped = stamps.intersects(TxStamps::STAGES);
        if !zero_copy && !stamped {
            return;
        }
        let end = self.snd.queue.end();
        let run = self.snd.run_start;
        let receipts = self.receipts.get_or_insert_default();
        if stamped {
            // A buffer has one stamp: that of the last call that added to it (Linux `tcp_tx_timestamp`).
            let joins = |awaited: &Awaited| {
                matches!(awaited.what, What::Stamps { sent: false, .. }) && awaited.end.after(run)
            };
            if receipts.awaited.back().is_some_and(joins) {
                receipts.awaited.pop_back();
            }
            let key = match stamps.contains(TxStamps::NUMBERED) {
                true => (end - 1) - self.stamp_base,
                false => 0,
            };
            let what = What::Stamps {
                stamps,
                key,
                sent: false,
            };
            if receipts.awaited.len() < AWAITED_MAX {
                receipts.awaited.push_back(Awaited { end, what });
            }
        }
        if zero_copy {
            let call = receipts.next_zero_copy;
            receipts.next_zero_copy = call.wrapping_add(1);
            let what = What::ZeroCopy(call);
            receipts.awaited.push_back(Awaited { end, what });
        }
    }

    pub(super) fn receipts_on_sent(&mut self, seq: Seq, end: Seq, now: Instant) {
        if let Some(receipts) = &mut self.receipts {
            receipts.on_sent(seq, end, now);
        }
    }

    pub(super) fn receipts_on_acked(&mut self, now: Instant) {
        let una = self.snd.una;
        if let Some(receipts) = &mut self.receipts {
            receipts.on_acked(una, now);
        }
    }

    pub(super) fn receipts_on_end(&mut self, now: Instant) {
        if let Some(receipts) = &mut self.receipts {
            receipts.on_end(now);
        }
    }

    /// Numbers of timestamps count from here on (SOF_TIMESTAMPING_OPT_ID).
    pub(super) fn number_stamps(&mut self, from_written: bool) {
        self.stamp_base = match from_written {
            true => self.snd.queue.end(),
            false => self.snd.una,
        };
    }

    /// Refuses a MSG_ZEROCOPY call that could have no receipt.
    pub(super) fn check_promise(&self, zero_copy: bool) -> Result<(), SocketError> {
        let full = |receipts: &Receipts| receipts.awaited.len() >= AWAITED_MAX;
        match zero_copy && self.receipts.as_deref().is_some_and(full) {
            true => Err(SocketError::NoBuffers),
            false => Ok(()),
        }
    }
}
