//! When events are due.

use crate::ast::{Micros, When};

/// The time that an event is due.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Due {
    /// When it should happen.
    pub(super) start: Micros,
    /// The latest it may, for a range.
    pub(super) end: Micros,
    /// Any time will do.
    pub(super) any: bool,
    /// What relative times of the event count from.
    pub(super) base: Micros,
    /// The time of the event before: the share of tolerance counts from there.
    pub(super) before: Micros,
}

/// The time of the event before, which relative times count from.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Clock {
    last: Micros,
    /// The last event had no exact time, so that the next counts from when it happened.
    loose: bool,
}

impl Clock {
    /// The time that an event is due; `now` is the time on the target's clock.
    pub(super) fn resolve(&mut self, when: When, now: Micros) -> Due {
        let before = self.last;
        // As the tool does: an event on the heels of one without an exact time counts from the clock.
        let exact = !matches!(when, When::Any | When::AfterBetween(..));
        let base = if self.loose || !exact { now } else { self.last };
        let (start, end, base) = match when {
            When::At(at) => (at, at, 0),
            When::Between(from, to) => (from, to, 0),
            When::After(delay) => (base + delay, base + delay, base),
            When::AfterBetween(from, to) => (base + from, base + to, base),
            When::Any => (base, base, base),
        };
        self.last = start;
        self.loose = matches!(when, When::Any | When::Between(..) | When::AfterBetween(..));
        Due {
            start,
            end,
            any: when == When::Any,
            base,
            before,
        }
    }
}

impl Clock {
    /// The last event happened at `at`, and the next counts from there.
    pub(super) fn happened(&mut self, at: Micros) {
        self.last = at;
        self.loose = false;
    }
}

impl Due {
    /// How far a clock that started with the script may be off by now.
    pub(super) fn tolerance_from_start(&self, fixed: Micros, percent: f64) -> Micros {
        fixed.max((self.end as f64 * percent / 100.0) as Micros)
    }

    /// How far from the due time an event may lie.
    pub(super) fn tolerance(&self, fixed: Micros, percent: f64) -> Micros {
        let share = (self.end - self.before) as f64 * percent / 100.0;
        fixed.max(share as Micros)
    }
}

/// A time in seconds, as scripts write it.
pub(super) fn text(micros: Micros) -> String {
    let sign = if micros < 0 { "-" } else { "" };
    let micros = micros.unsigned_abs();
    format!("{sign}{}.{:06}", micros / 1_000_000, micros % 1_000_000)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn relative_times_count_from_the_script_until_something_loose_happens() {
        let mut clock = Clock::default();
        assert_eq!(clock.resolve(When::At(100), 130).start, 100);
        assert_eq!(clock.resolve(When::After(50), 160).start, 150);
        assert!(clock.resolve(When::Any, 170).any);
        assert_eq!(clock.resolve(When::After(50), 400).start, 450);
    }

    #[test]
    fn tolerance_is_the_larger_of_the_two() {
        let mut clock = Clock::default();
        let due = clock.resolve(When::At(1_000_000), 0);
        assert_eq!(due.tolerance(4_000, 1.0), 10_000);
        assert_eq!(due.tolerance(4_000, 0.0), 4_000);
    }
}
