//! Loss recovery: when the window shrinks, how it is spent meanwhile, and when it comes back
//! (RFC 5681, RFC 6582, RFC 6675, RFC 6937, RFC 8985; the states are Linux's).
//!
//! | file | what happens there |
//! | --- | --- |
//! | `alert` | what a doubtful acknowledgement means in each state |
//! | `loss` | the retransmission timeout, and F-RTO after it |
//! | `undo` | the way back when nothing was lost: Eifel, D-SACK |
//! | `reduction` | how the window comes down: proportional rate reduction |
//! | `rack` | time-based detection, tail loss probes |
//! | `selective` | what SACK blocks say, true or not |

mod alert;
mod loss;
mod rack;
mod reduction;
mod selective;
mod undo;

use super::seq::Seq;
use super::state::Connection;
use crate::time::Instant;
use rack::Rack;
use reduction::Reduction;
use undo::Undo;

/// Largest estimate of reordering (Linux `tcp_max_reordering`).
const REORDERING_MAX: u32 = 300;

/// What the sender believes of the network.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Belief {
    /// All is well.
    Open,
    /// Something arrived out of order.
    Disorder,
    /// The window is being reduced without a loss (local congestion, a mark of the network's).
    Reducing,
    /// Fast recovery.
    Recovery,
    /// After a retransmission timeout.
    Loss,
}

impl PartialOrd for Belief {
    fn partial_cmp(&self, other: &Self) -> Option<core::cmp::Ordering> {
        (*self as u8).partial_cmp(&(*other as u8))
    }
}

/// What the output that follows an acknowledgement sends first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Next {
    /// What is presumed lost, then new data.
    Lost,
    /// New data; what is presumed lost only if there is none (RFC 5682, 3.1, step 2b).
    New,
    /// New data alone: what is presumed lost seems to be on its way.
    OnlyNew,
}

/// A tail loss probe that is out.
#[derive(Clone, Copy, Debug)]
pub(super) struct Probe {
    /// `SND.NXT` when it left.
    pub(super) end: Seq,
    /// It was a retransmission.
    pub(super) again: bool,
}

/// The state of loss recovery.
#[derive(Clone, Debug)]
pub(super) struct Recovery {
    pub(super) belief: Belief,
    /// `SND.NXT` when the present episode began; it ends when this is acknowledged.
    pub(super) high: Seq,
    pub(super) undo: Undo,
    reduction: Reduction,
    /// Segments by which the network has been seen to reorder.
    pub(super) reordering: u32,
    /// Duplicate acknowledgements, for peers without SACK.
    pub(super) dup_acks: u32,
    /// Timeouts in a row.
    pub(super) timeouts: u8,
    /// When the present run of timeouts or probes began.
    pub(super) trouble_since: Option<Instant>,
    pub(super) probe: Option<Probe>,
    /// A timeout may have been spurious (F-RTO runs).
    forward: bool,
    /// The peer has dropped what it had selectively acknowledged.
    pub(super) reneged: bool,
    pub(super) next: Next,
    pub(super) rack: Rack,
}

impl Recovery {
    pub(super) fn new(reordering: u32, start: Seq) -> Self {
        Self {
            belief: Belief::Open,
            high: start,
            undo: Undo::default(),
            reduction: Reduction::default(),
            reordering: reordering.max(1),
            dup_acks: 0,
            timeouts: 0,
            trouble_since: None,
            probe: None,
            forward: false,
            reneged: false,
            next: Next::Lost,
            rack: Rack::default(),
        }
    }

    /// True while the window is on its way down to the threshold.
    pub(super) fn reduces(&self) -> bool {
        matches!(self.belief, Belief::Recovery | Belief::Reducing)
    }

    /// Counts segments sent while the window is being reduced.
    pub(super) fn on_sent(&mut self, segs: u32) {
        self.reduction.sent += segs;
    }

    /// A retransmission left.
    pub(super) fn on_retransmit(&mut self, segs: u32, now: Instant) {
        self.undo.on_retransmit(segs, now);
        self.trouble_since.get_or_insert(now);
    }
}

/// What the acknowledgement being processed says, beside `Covered`.
#[derive(Clone, Copy, Debug)]
pub(super) struct AckFacts {
    /// `SND.UNA` before it.
    pub(super) una_before: Seq,
    /// `SND.UNA` moved.
    pub(super) advanced: bool,
    /// A duplicate acknowledgement in the sense of RFC 5681, 2.
    pub(super) duplicate: bool,
    /// The peer reported a duplicate (D-SACK).
    pub(super) dsack: bool,
    /// It echoes a mark of the network's (ECN).
    pub(super) marked: bool,
    /// Echoed timestamp.
    pub(super) tsecr: Option<u32>,
    pub(super) now: Instant,
}

impl Connection {
    /// Segments in the network, duplicates of a SACK-less peer taken into account.
    pub(super) fn in_flight(&self) -> u32 {
        let emulated = if self.sack { 0 } else { self.recovery.dup_acks };
        self.flight.in_flight().saturating_sub(emulated)
    }

    /// Segments that the peer has, by its SACK blocks or its duplicates.
    pub(super) fn left_network(&self) -> u32 {
        self.flight.sacked + if self.sack { 0 } else { self.recovery.dup_acks }
    }
}
