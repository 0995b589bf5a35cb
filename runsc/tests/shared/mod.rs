//! What the harnesses of this crate's tests have in common.

pub(crate) mod capture;

use std::path::PathBuf;
use std::time::{Duration, Instant};

/// The search path of the tests' programs, whoever runs the tests.
pub(crate) const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// The program under test: the release build if there is one, as that is what users run.
pub(crate) fn runsc() -> PathBuf {
    let built = PathBuf::from(env!("CARGO_BIN_EXE_runsc"));
    let release = built
        .ancestors()
        .nth(2)
        .map(|target| target.join("release/runsc"));
    release.filter(|path| path.is_file()).unwrap_or(built)
}

/// A repeatable pattern.
pub(crate) fn pattern(len: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state as u8
    };
    (0..len).map(|_| next()).collect()
}

/// Looks until there is something to see; `None` if that is nothing within `limit`.
pub(crate) fn eventually<T>(limit: Duration, mut look: impl FnMut() -> Option<T>) -> Option<T> {
    let deadline = Instant::now() + limit;
    loop {
        let seen = look();
        if seen.is_some() || Instant::now() >= deadline {
            return seen;
        }
        std::thread::sleep(Duration::from_millis(2));
    }
}
