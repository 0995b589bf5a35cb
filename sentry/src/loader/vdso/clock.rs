//! The parameters by which the vDSO turns the time-stamp counter into the host's clocks.
//!
//! The rate comes from two readings of counter and clock that lie well apart. Parameters hold for a
//! while only; after that the vDSO asks the kernel, and serving that call makes new ones: an idle
//! sandbox keeps no clock. New parameters never tell an earlier monotonic time than old ones did.

use super::code;

/// Least distance of the two readings.
const BASELINE_NS: u64 = 10_000_000;
/// Parameters hold for this many baselines, at most [`HOLD_NS`].
const HOLD_BASELINES: u64 = 10;
const HOLD_NS: u64 = 1_000_000_000;
/// Baselines longer than this start anew, so that the rate follows the host's corrections.
const LONG_NS: u64 = 64_000_000_000;
/// A clock that is further ahead than this was set: follow it.
const STEP_NS: u64 = 1_000_000;
/// Readings of which the quickest counts.
const TRIES: usize = 4;

/// Counter and clocks at one moment.
#[derive(Clone, Copy, Debug)]
struct Reading {
    counter: u64,
    mono: u64,
    real: u64,
}

impl Reading {
    fn take() -> Option<Self> {
        let mut best: Option<(u64, Self)> = None;
        for _ in 0..TRIES {
            let before = code::counter()?;
            let mono = crate::time::monotonic_ns();
            let after = code::counter()?;
            let real = crate::time::realtime_ns();
            let took = after.saturating_sub(before);
            let reading = Self {
                counter: before + took / 2,
                mono,
                real,
            };
            if best.is_none_or(|(least, _)| took < least) {
                best = Some((took, reading));
            }
        }
        best.map(|(_, reading)| reading)
    }
}

/// What the code reads, in its order.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Params {
    pub(super) counter: u64,
    pub(super) hold: u64,
    /// Nanoseconds per cycle, 32.32.
    pub(super) rate: u64,
    pub(super) mono: u64,
    pub(super) real: u64,
}

impl Params {
    /// The monotonic time that these tell at `counter` (at the end of their time, if that is past).
    fn mono_at(&self, counter: u64) -> u64 {
        let cycles = counter.saturating_sub(self.counter).min(self.hold);
        self.mono + ((u128::from(cycles) * u128::from(self.rate)) >> 32) as u64
    }
}

/// The calibration so far.
#[derive(Default)]
pub(super) struct Clock {
    first: Option<Reading>,
    params: Option<Params>,
}

impl Clock {
    /// New parameters if it is time for them.
    pub(super) fn next(&mut self) -> Option<Params> {
        let now = code::counter()?;
        if let Some(params) = &self.params
            && now.saturating_sub(params.counter) < params.hold / 2
        {
            return None;
        }
        let reading = Reading::take()?;
        let first = *self.first.get_or_insert(reading);
        let params = derive(&first, &reading, self.params.as_ref())?;
        if reading.mono - first.mono > LONG_NS {
            self.first = Some(reading);
        }
        self.params = Some(params);
        Some(params)
    }
}

/// Parameters from a baseline; `None` if it is too short.
fn derive(first: &Reading, now: &Reading, old: Option<&Params>) -> Option<Params> {
    let elapsed = now.mono.checked_sub(first.mono)?;
    let cycles = now.counter.checked_sub(first.counter)?;
    let (elapsed, cycles) = match (elapsed >= BASELINE_NS, old) {
        (true, _) => (elapsed, cycles),
        // Just after a new start: the old rate serves on.
        (false, Some(old)) => (old.rate, 1 << 32),
        (false, None) => return None,
    };
    let rate = (u128::from(elapsed) << 32) / u128::from(cycles.max(1));
    let rate = u64::try_from(rate).ok().filter(|&rate| rate > 0)?;
    let hold_ns = elapsed
        .saturating_mul(HOLD_BASELINES)
        .clamp(BASELINE_NS, HOLD_NS);
    let hold = ((u128::from(hold_ns) << 32) / u128::from(rate)) as u64;
    let told = old.map_or(0, |old| old.mono_at(now.counter));
    let ahead = told.saturating_sub(now.mono);
    let mut params = Params {
        counter: now.counter,
        hold,
        rate,
        mono: now.mono,
        real: now.real,
    };
    // The old parameters ran ahead: stay there, and go slower until the host has caught up.
    if ahead > 0 && ahead < STEP_NS {
        params.mono += ahead;
        params.rate -= (u128::from(rate) * u128::from(ahead) / u128::from(hold_ns)) as u64;
    }
    Some(params)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_does_not_go_back_when_the_rate_was_too_high() {
        let reading = |counter, mono| Reading {
            counter,
            mono,
            real: mono + 5,
        };
        // Three cycles a nanosecond.
        let first = reading(0, 1_000);
        let second = reading(60_000_000, 20_001_000);
        assert!(derive(&first, &reading(3_000, 2_000), None).is_none());
        let old = derive(&first, &second, None).unwrap();
        assert_eq!(old.mono_at(60_000_003), 20_001_000 + 1 - 1);
        assert_eq!(old.hold / 3 / 1_000_000, 200);
        // The host's clock fell back by 500 ns against the counter.
        let third = reading(360_000_000, 120_000_500);
        let new = derive(&first, &third, Some(&old)).unwrap();
        assert!(new.mono >= old.mono_at(third.counter));
        let end = third.counter + new.hold;
        let host = third.mono + new.hold / 3;
        assert!(new.mono_at(end).abs_diff(host) < 100_000);
    }
}
