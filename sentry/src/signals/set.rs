//! Sets of signals.

use std::ops::{BitAnd, BitOr, Not};

/// Highest signal number (Linux's `_NSIG`).
pub const MAX_SIGNAL: i32 = 64;

/// First real-time signal as the kernel counts (libc keeps two for itself).
pub const FIRST_REALTIME: i32 = 32;

/// A set of signals: bit `n - 1` is signal `n`, as `sigset_t` has it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SigSet(pub u64);

impl SigSet {
    /// No signal.
    pub const EMPTY: Self = Self(0);

    /// SIGKILL and SIGSTOP, which can be neither blocked nor caught.
    pub const UNBLOCKABLE: Self = Self::of(&[libc::SIGKILL, libc::SIGSTOP]);

    /// Signals that stop a process unless they are caught.
    pub const STOPPING: Self =
        Self::of(&[libc::SIGSTOP, libc::SIGTSTP, libc::SIGTTIN, libc::SIGTTOU]);

    /// Signals that a fault of the running code raises; delivered before others.
    pub const SYNCHRONOUS: Self = Self::of(&[
        libc::SIGSEGV,
        libc::SIGBUS,
        libc::SIGILL,
        libc::SIGTRAP,
        libc::SIGFPE,
        libc::SIGSYS,
    ]);

    /// The set of these signals; numbers out of range are left out.
    pub const fn of(signals: &[i32]) -> Self {
        let mut bits = 0;
        let mut at = 0;
        while at < signals.len() {
            bits |= Self::bit(signals[at]);
            at += 1;
        }
        Self(bits)
    }

    const fn bit(signo: i32) -> u64 {
        if signo >= 1 && signo <= MAX_SIGNAL {
            1 << (signo - 1)
        } else {
            0
        }
    }

    /// True if `signo` is in it.
    pub const fn contains(self, signo: i32) -> bool {
        self.0 & Self::bit(signo) != 0
    }

    /// Adds `signo`.
    pub fn insert(&mut self, signo: i32) {
        self.0 |= Self::bit(signo);
    }

    /// Takes `signo` out.
    pub fn remove(&mut self, signo: i32) {
        self.0 &= !Self::bit(signo);
    }

    /// This set without `other`.
    pub const fn without(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }

    /// True if nothing is in it.
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// The signal that is delivered first: synchronous ones, then by number.
    pub fn first(self) -> Option<i32> {
        let urgent = self & Self::SYNCHRONOUS;
        let from = if urgent.is_empty() { self } else { urgent };
        (from.0 != 0).then(|| from.0.trailing_zeros() as i32 + 1)
    }
}

impl BitAnd for SigSet {
    type Output = Self;
    fn bitand(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }
}

impl BitOr for SigSet {
    type Output = Self;
    fn bitor(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

impl Not for SigSet {
    type Output = Self;
    fn not(self) -> Self {
        Self(!self.0)
    }
}

/// True for 1 to 64.
pub fn is_signal(signo: i32) -> bool {
    (1..=MAX_SIGNAL).contains(&signo)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn synchronous_signals_come_first_and_bad_numbers_are_ignored() {
        let set = SigSet::of(&[1, libc::SIGSEGV, 64, 0, 65, -1]);
        assert_eq!(set.first(), Some(libc::SIGSEGV));
        assert_eq!(set.without(SigSet::SYNCHRONOUS).first(), Some(1));
        assert!(set.contains(64) && !set.contains(65) && !set.contains(0));
        assert_eq!(SigSet::EMPTY.first(), None);
    }
}
