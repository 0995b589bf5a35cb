//! Time and randomness from the operating system, for the stack that knows neither.

use std::io;

use crate::time::Instant;

/// CLOCK_MONOTONIC, counted from when the clock was made (a little after zero, so that the stack can
/// look back).
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    origin: std::time::Instant,
}

/// What the clock shows when it is made.
const START: Instant = Instant::from_millis(1_000);

impl Clock {
    /// Starts the clock.
    pub fn start() -> Self {
        Self {
            origin: std::time::Instant::now(),
        }
    }

    /// The present time.
    pub fn now(self) -> Instant {
        START + self.origin.elapsed()
    }

    /// The instant as the standard library names it.
    pub(super) fn to_std(self, at: Instant) -> std::time::Instant {
        self.origin + at.since(START)
    }
}

/// A seed for a stack from getrandom(2).
///
/// # Errors
/// If the system has no randomness to give.
pub fn seed() -> io::Result<[u8; 16]> {
    let mut seed = [0; 16];
    getrandom::fill(&mut seed)?;
    Ok(seed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_goes_forward_and_seeds_differ() {
        let clock = Clock::start();
        let first = clock.now();
        assert!(first >= START && clock.now() >= first);
        assert_ne!(seed().unwrap(), seed().unwrap());
    }
}
