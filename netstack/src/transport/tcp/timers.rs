//! The timers of one connection: an enum-indexed array, of which the engine's heap holds the earliest.

use crate::time::Instant;

/// What can be waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Timer {
    /// Retransmission timeout (RFC 6298).
    Retransmit,
    /// Tail loss probe (RFC 8985, 7).
    LossProbe,
    /// RACK's reordering window ends (RFC 8985, 6.2).
    Reorder,
    /// Zero-window probe (RFC 9293, 3.8.6.1).
    Persist,
    /// Delayed acknowledgement.
    DelayedAck,
    /// Keepalive.
    Keepalive,
    /// An orphan's stay in FIN-WAIT-2.
    FinWait2,
    /// The SYN-ACK of a connection that a SYN with data has made.
    SynAck,
}

/// Of two that are due at the same time the earlier in this list comes first: a probe takes the place of
/// the timeout that it coincides with (Linux has one timer for both).
const ALL: [Timer; 8] = [
    Timer::LossProbe,
    Timer::Retransmit,
    Timer::Reorder,
    Timer::Persist,
    Timer::DelayedAck,
    Timer::Keepalive,
    Timer::FinWait2,
    Timer::SynAck,
];

/// Deadlines by [`Timer`]; [`Instant::FAR_FUTURE`] is "not set".
#[derive(Clone, Copy, Debug)]
pub(super) struct Timers([Instant; ALL.len()]);

impl Default for Timers {
    fn default() -> Self {
        Self([Instant::FAR_FUTURE; ALL.len()])
    }
}

impl Timers {
    pub(super) fn set(&mut self, timer: Timer, at: Instant) {
        self.0[timer as usize] = at;
    }

    pub(super) fn stop(&mut self, timer: Timer) {
        self.0[timer as usize] = Instant::FAR_FUTURE;
    }

    /// Stops all.
    pub(super) fn clear(&mut self) {
        *self = Self::default();
    }

    pub(super) fn get(&self, timer: Timer) -> Option<Instant> {
        let at = self.0[timer as usize];
        (at != Instant::FAR_FUTURE).then_some(at)
    }

    pub(super) fn is_set(&self, timer: Timer) -> bool {
        self.get(timer).is_some()
    }

    /// The earliest deadline.
    pub(super) fn earliest(&self) -> Option<Instant> {
        self.0
            .iter()
            .min()
            .copied()
            .filter(|at| *at != Instant::FAR_FUTURE)
    }

    /// Stops and returns one timer that is due; the earlier deadline first.
    pub(super) fn pop_due(&mut self, now: Instant) -> Option<Timer> {
        let due = ALL
            .into_iter()
            .filter(|timer| self.0[*timer as usize] <= now);
        let timer = due.min_by_key(|timer| self.0[*timer as usize])?;
        self.stop(timer);
        Some(timer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn due_timers_come_in_order() {
        let mut timers = Timers::default();
        assert_eq!(timers.earliest(), None);
        timers.set(Timer::Keepalive, Instant::from_millis(5));
        timers.set(Timer::DelayedAck, Instant::from_millis(3));
        timers.set(Timer::Retransmit, Instant::from_millis(9));
        assert_eq!(timers.earliest(), Some(Instant::from_millis(3)));
        let now = Instant::from_millis(6);
        assert_eq!(timers.pop_due(now), Some(Timer::DelayedAck));
        assert_eq!(timers.pop_due(now), Some(Timer::Keepalive));
        assert_eq!(timers.pop_due(now), None);
        assert!(timers.is_set(Timer::Retransmit));
    }
}
