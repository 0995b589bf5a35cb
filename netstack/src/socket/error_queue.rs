//! What a socket learns beside its data (MSG_ERRQUEUE): errors that the network told of, when something
//! left, which buffers are free again. One queue type for TCP, UDP and raw sockets.

use std::collections::VecDeque;
use std::net::{IpAddr, SocketAddr};

use crate::buf::Bytes;
use crate::error::SocketError;
use crate::network::IfaceId;
use crate::time::Instant;

/// What a report costs beside its bytes.
const OVERHEAD: usize = 512;
/// Most bytes of the packet that a report is about; what is longer is cut.
const QUOTE_MAX: usize = 64 << 10;

/// How far a segment or datagram has come (`SCM_TSTAMP_`, with Linux's values).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum TxStage {
    /// It was handed to the device.
    Sent = 0,
    /// It entered the transmit queue.
    Scheduled = 1,
    /// The peer has acknowledged it all.
    Acknowledged = 2,
}

/// Where a report comes from (`ee_origin`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ReportOrigin {
    /// This stack.
    Local,
    /// An ICMP message of this type and code.
    Icmp {
        /// Type.
        kind: u8,
        /// Code.
        code: u8,
    },
    /// An ICMPv6 message of this type and code.
    Icmp6 {
        /// Type.
        kind: u8,
        /// Code.
        code: u8,
    },
    /// Something that was sent has come so far.
    Timestamp(TxStage),
    /// The buffers of the calls from `info` to `data` are free again (MSG_ZEROCOPY).
    ZeroCopy {
        /// The data was copied after all.
        copied: bool,
    },
}

impl ReportOrigin {
    /// `ee_origin`, `ee_type` and `ee_code`.
    pub fn numbers(self) -> (u8, u8, u8) {
        match self {
            Self::Local => (1, 0, 0),
            Self::Icmp { kind, code } => (2, kind, code),
            Self::Icmp6 { kind, code } => (3, kind, code),
            Self::Timestamp(_) => (4, 0, 0),
            Self::ZeroCopy { copied } => (5, 0, u8::from(copied)),
        }
    }

    /// True for what a host or router on the way has said.
    fn is_icmp(self) -> bool {
        matches!(self, Self::Icmp { .. } | Self::Icmp6 { .. })
    }
}

/// One report.
#[derive(Clone, Debug)]
pub struct ErrorReport {
    /// The error (`ee_errno`); `None` for what is none. Timestamps are ENOMSG in the ABI.
    pub error: Option<SocketError>,
    /// Where it comes from.
    pub origin: ReportOrigin,
    /// `ee_info`: the MTU, the stage of a timestamp, the first call of MSG_ZEROCOPY.
    pub info: u32,
    /// `ee_data`: the key of a timestamp, the last call of MSG_ZEROCOPY.
    pub data: u32,
    /// Who said so (SO_EE_OFFENDER).
    pub offender: Option<IpAddr>,
    /// Where the packet was to go (`msg_name`).
    pub to: Option<SocketAddr>,
    /// Where the message came in.
    pub iface: Option<IfaceId>,
    /// When it happened.
    pub at: Instant,
    /// Payload of the packet that it is about.
    pub payload: Bytes,
}

impl ErrorReport {
    /// A report about nothing in particular.
    pub fn new(origin: ReportOrigin, at: Instant) -> Self {
        Self {
            error: None,
            origin,
            info: 0,
            data: 0,
            offender: None,
            to: None,
            iface: None,
            at,
            payload: Bytes::new(),
        }
    }

    fn cost(&self) -> usize {
        self.payload.len() + OVERHEAD
    }
}

/// What taking a report makes of the socket's pending error (Linux `sock_dequeue_err_skb`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum PendingError {
    /// Nothing.
    Keep,
    /// There is none any more.
    Clear,
    /// The next report's takes its place.
    Replace(Option<SocketError>),
}

/// The reports of one socket, oldest first.
#[derive(Debug, Default)]
pub(crate) struct ErrorQueue {
    queue: VecDeque<ErrorReport>,
    queued: usize,
}

impl ErrorQueue {
    /// Queues a report; false if the budget is used up, and the report is lost.
    pub(crate) fn push(&mut self, mut report: ErrorReport, budget: usize) -> bool {
        report.payload.truncate(QUOTE_MAX);
        if self.queued + report.cost() > budget {
            return false;
        }
        // A few bytes must not pin a large receive chunk.
        report.payload = Bytes::copy_from_slice(&report.payload);
        self.queued += report.cost();
        self.queue.push_back(report);
        true
    }

    /// Queues that the buffers of the MSG_ZEROCOPY calls `first` to `last` are free; joins the newest
    /// report if they follow its own (Linux `skb_zerocopy_notify_extend`).
    pub(crate) fn push_zero_copy(
        &mut self,
        (first, last): (u32, u32),
        copied: bool,
        at: Instant,
        budget: usize,
    ) -> bool {
        let origin = ReportOrigin::ZeroCopy { copied };
        if let Some(newest) = self.queue.back_mut()
            && newest.origin == origin
            && newest.data.wrapping_add(1) == first
        {
            newest.data = last;
            return true;
        }
        let report = ErrorReport {
            info: first,
            data: last,
            ..ErrorReport::new(origin, at)
        };
        self.push(report, budget)
    }

    /// Takes the oldest report, and what that makes of the pending error.
    pub(crate) fn pop(&mut self) -> Option<(ErrorReport, PendingError)> {
        let report = self.queue.pop_front()?;
        self.queued -= report.cost();
        if self.queue.is_empty() && self.queue.capacity() > 64 {
            self.queue = VecDeque::new();
        }
        let pending = match self.queue.front() {
            Some(next) if next.origin.is_icmp() => PendingError::Replace(next.error),
            _ if report.origin.is_icmp() => PendingError::Clear,
            _ => PendingError::Keep,
        };
        Some((report, pending))
    }

    /// True if no report waits.
    pub(crate) fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }
}

impl PendingError {
    /// Does so to `error`.
    pub(crate) fn apply(self, error: &mut Option<SocketError>) {
        match self {
            Self::Keep => {}
            Self::Clear => *error = None,
            Self::Replace(next) => *error = next,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BUDGET: usize = 4 * OVERHEAD;

    fn icmp(error: SocketError) -> ErrorReport {
        let origin = ReportOrigin::Icmp { kind: 3, code: 1 };
        ErrorReport {
            error: Some(error),
            ..ErrorReport::new(origin, Instant::default())
        }
    }

    #[test]
    fn a_report_that_is_taken_makes_the_next_one_the_pending_error() {
        let mut queue = ErrorQueue::default();
        assert!(queue.push(icmp(SocketError::HostUnreachable), BUDGET));
        assert!(queue.push(icmp(SocketError::Refused), BUDGET));
        let stamp = ReportOrigin::Timestamp(TxStage::Sent);
        assert!(queue.push(ErrorReport::new(stamp, Instant::default()), BUDGET));
        let mut error = Some(SocketError::HostUnreachable);
        for (taken, left) in [
            (
                Some(SocketError::HostUnreachable),
                Some(SocketError::Refused),
            ),
            (Some(SocketError::Refused), None),
            (None, None),
        ] {
            let (report, pending) = queue.pop().expect("a report");
            pending.apply(&mut error);
            assert_eq!((report.error, error), (taken, left));
        }
        error = Some(SocketError::Reset);
        assert!(queue.push(ErrorReport::new(stamp, Instant::default()), BUDGET));
        queue.pop().expect("a report").1.apply(&mut error);
        assert_eq!(error, Some(SocketError::Reset), "a timestamp is no error");
        assert!(queue.is_empty() && queue.queued == 0);
    }

    #[test]
    fn the_budget_holds() {
        let mut queue = ErrorQueue::default();
        let fitting = (0..10).filter(|_| queue.push(icmp(SocketError::Refused), BUDGET));
        assert_eq!(fitting.count(), 4);
        queue.pop();
        let large = ErrorReport {
            payload: Bytes::from(vec![0; 1]),
            ..icmp(SocketError::Refused)
        };
        assert!(!queue.push(large, BUDGET), "its bytes count");
        assert!(queue.push(icmp(SocketError::Refused), BUDGET));
    }

    #[test]
    fn ranges_of_zero_copy_join() {
        let mut queue = ErrorQueue::default();
        let at = Instant::default();
        assert!(queue.push_zero_copy((0, 0), true, at, BUDGET));
        assert!(queue.push_zero_copy((1, 3), true, at, BUDGET));
        assert!(queue.push_zero_copy((4, 4), false, at, BUDGET));
        let (first, _) = queue.pop().expect("a report");
        assert_eq!((first.info, first.data), (0, 3));
        assert_eq!(first.origin.numbers(), (5, 0, 1));
        let (second, _) = queue.pop().expect("a report");
        assert_eq!((second.info, second.data), (4, 4));
        assert_eq!(second.origin.numbers(), (5, 0, 0));
    }
}
