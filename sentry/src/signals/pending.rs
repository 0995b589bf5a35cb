//! Signals that were raised and not yet delivered.

use std::collections::VecDeque;

use sentry_abi::Errno;

use crate::signals::info::SigInfo;
use crate::signals::set::{FIRST_REALTIME, SigSet};

/// Most real-time signals that wait in one queue (RLIMIT_SIGPENDING's ceiling here).
pub const MAX_QUEUED: usize = 4096;

/// Pending signals of a task or of a process. A standard signal is pending once; real-time signals
/// queue up in order.
#[derive(Debug, Default)]
pub struct Pending {
    set: SigSet,
    queue: VecDeque<SigInfo>,
}

impl Pending {
    /// Which signals are pending.
    pub fn set(&self) -> SigSet {
        self.set
    }

    /// Adds a signal.
    ///
    /// # Errors
    /// EAGAIN if a real-time signal's queue is full (a standard signal is then pending without its
    /// information).
    pub fn push(&mut self, info: SigInfo) -> Result<(), Errno> {
        self.push_within(info, u64::MAX)
    }

    /// As [`Pending::push`]; no more than `limit` real-time signals queue up (RLIMIT_SIGPENDING).
    ///
    /// # Errors
    /// As [`Pending::push`].
    pub fn push_within(&mut self, info: SigInfo, limit: u64) -> Result<(), Errno> {
        let realtime = info.signo >= FIRST_REALTIME;
        if !realtime && self.set.contains(info.signo) {
            return Ok(());
        }
        let limit = usize::try_from(limit).unwrap_or(MAX_QUEUED).min(MAX_QUEUED);
        if realtime && self.queue.len() >= limit {
            return Err(Errno::EAGAIN);
        }
        self.set.insert(info.signo);
        self.queue.push_back(info);
        Ok(())
    }

    /// Takes the first signal that is in `wanted`.
    pub fn take(&mut self, wanted: SigSet) -> Option<SigInfo> {
        let signo = (self.set & wanted).first()?;
        let at = self.queue.iter().position(|info| info.signo == signo)?;
        let info = self.queue.remove(at)?;
        if !self.queue.iter().any(|other| other.signo == signo) {
            self.set.remove(signo);
        }
        Some(info)
    }

    /// Drops all pending signals of `gone`.
    pub fn discard(&mut self, gone: SigSet) {
        if !(self.set & gone).is_empty() {
            self.queue.retain(|info| !gone.contains(info.signo));
            self.set = self.set.without(gone);
        }
    }

    /// How many are queued.
    pub fn len(&self) -> usize {
        self.queue.len()
    }

    /// True if none is pending.
    pub fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn standard_signals_merge_and_realtime_ones_queue_in_order() {
        let mut pending = Pending::default();
        for pid in 1..=2 {
            pending.push(SigInfo::user(10, 0, pid, 0)).unwrap();
            pending.push(SigInfo::user(40, -1, pid, 0)).unwrap();
        }
        let all = SigSet(u64::MAX);
        assert_eq!(pending.take(all).map(|i| (i.signo, i.pid())), Some((10, 1)));
        assert_eq!(pending.take(all).map(|i| (i.signo, i.pid())), Some((40, 1)));
        assert!(pending.set().contains(40));
        assert_eq!(pending.take(all).map(|i| (i.signo, i.pid())), Some((40, 2)));
        assert!(pending.is_empty() && pending.set().is_empty());
    }

    #[test]
    fn a_full_queue_refuses_realtime_signals() {
        let mut pending = Pending::default();
        for _ in 0..MAX_QUEUED {
            pending.push(SigInfo::user(40, -1, 1, 0)).unwrap();
        }
        assert_eq!(
            pending.push(SigInfo::user(40, -1, 1, 0)),
            Err(Errno::EAGAIN)
        );
        pending.push(SigInfo::user(10, 0, 1, 0)).unwrap();
        pending.discard(SigSet::of(&[40]));
        assert_eq!(pending.len(), 1);
    }
}
