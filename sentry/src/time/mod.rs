//! Clocks and timers.

use nix::time::{ClockId, clock_gettime};

/// Nanoseconds in a second.
pub const SECOND: u64 = 1_000_000_000;

fn read(clock: ClockId) -> u64 {
    // These clocks exist on every Linux; a failure would be the host's defect.
    clock_gettime(clock).map_or(0, |time| {
        (time.tv_sec() as u64)
            .wrapping_mul(SECOND)
            .wrapping_add(time.tv_nsec() as u64)
    })
}

/// The guest's CLOCK_MONOTONIC in nanoseconds. It is the host's, so that the vDSO and the Sentry agree.
pub fn monotonic_ns() -> u64 {
    read(ClockId::CLOCK_MONOTONIC)
}

/// The guest's CLOCK_REALTIME in nanoseconds since 1970.
pub fn realtime_ns() -> u64 {
    read(ClockId::CLOCK_REALTIME)
}

/// CPU time of the calling Sentry thread, nanoseconds.
pub fn thread_cpu_ns() -> u64 {
    read(ClockId::CLOCK_THREAD_CPUTIME_ID)
}
