//! The extreme of a quantity over a sliding window, in constant memory (the three-sample estimator of
//! Kathleen Nichols, as in Linux `lib/win_minmax.c` and BBR).

/// One observation: when, in whatever unit the window is given in, and what.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Seen {
    at: u64,
    value: u64,
}

/// Best, second and third best of a window; each is later than the one before it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Filter {
    best: [Seen; 3],
}

impl Filter {
    /// The best value of the window; 0 before the first.
    pub(super) fn best(&self) -> u64 {
        self.best[0].value
    }

    /// Forgets everything but `value`.
    pub(super) fn reset(&mut self, at: u64, value: u64) -> u64 {
        self.best = [Seen { at, value }; 3];
        value
    }

    #[cfg_attr(not(test), expect(dead_code, reason = "for BBR"))]
    /// Takes an observation into a running maximum over `window`.
    pub(super) fn max(&mut self, window: u64, at: u64, value: u64) -> u64 {
        self.update(window, at, value, |new, old| new >= old)
    }

    /// Takes an observation into a running minimum over `window`.
    pub(super) fn min(&mut self, window: u64, at: u64, value: u64) -> u64 {
        self.update(window, at, value, |new, old| new <= old)
    }

    fn update(&mut self, window: u64, at: u64, value: u64, beats: fn(u64, u64) -> bool) -> u64 {
        let new = Seen { at, value };
        let stale = at.saturating_sub(self.best[2].at) > window;
        if self.best[0] == Seen::default() || stale || beats(value, self.best[0].value) {
            return self.reset(at, value);
        }
        if beats(value, self.best[1].value) {
            (self.best[1], self.best[2]) = (new, new);
        } else if beats(value, self.best[2].value) {
            self.best[2] = new;
        }
        self.age(window, new);
        self.best[0].value
    }

    /// Lets the best go when its window has passed, and keeps the others from being all alike.
    fn age(&mut self, window: u64, new: Seen) {
        let since = |seen: Seen| new.at.saturating_sub(seen.at);
        if since(self.best[0]) > window {
            self.best = [self.best[1], self.best[2], new];
            if since(self.best[0]) > window {
                self.best = [self.best[1], self.best[2], new];
            }
        } else if self.best[1].at == self.best[0].at && since(self.best[0]) > window / 4 {
            (self.best[1], self.best[2]) = (new, new);
        } else if self.best[2].at == self.best[1].at && since(self.best[0]) > window / 2 {
            self.best[2] = new;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        /// The estimate is an observation of the window, and never worse than what came last.
        #[test]
        fn is_within_the_window(values in proptest::collection::vec((0u64..30, 1u64..1000), 1..200)) {
            let (mut low, mut high) = (Filter::default(), Filter::default());
            let (mut at, mut seen) = (1, Vec::new());
            for (step, value) in values {
                at += step;
                seen.push((at, value));
                let (min, max) = (low.min(100, at, value), high.max(100, at, value));
                let inside = |x| seen.iter().any(|(when, v)| at - when <= 100 && *v == x);
                prop_assert!(min <= value && value <= max);
                prop_assert!(inside(min) && inside(max), "{min} {max} {seen:?}");
            }
        }
    }

    #[test]
    fn forgets_after_the_window() {
        let mut low = Filter::default();
        assert_eq!(low.min(100, 1, 5), 5);
        assert_eq!(low.min(100, 40, 9), 5);
        assert_eq!(low.min(100, 90, 8), 5);
        assert_eq!(low.min(100, 102, 20), 8);
    }
}
