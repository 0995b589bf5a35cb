//! Clocks and timers.

pub(crate) mod cpu_timers;
pub mod queue;
pub mod timers;

use nix::time::{ClockId, clock_gettime};
use sentry_abi::Errno;

use crate::task::Task;

/// Nanoseconds in a clock tick (USER_HZ is 100).
pub const TICK_NS: u64 = 10_000_000;

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

/// The moment on the monotonic clock at which the real-time clock will show `at_ns`, if nobody sets it.
pub fn monotonic_of_realtime(at_ns: u64) -> u64 {
    let ahead = i128::from(at_ns) - i128::from(realtime_ns());
    let at = i128::from(monotonic_ns()) + ahead;
    u64::try_from(at.max(0)).unwrap_or(u64::MAX)
}

/// Reads a `struct timespec` as nanoseconds.
///
/// # Errors
/// EFAULT; EINVAL if it is negative or its nanoseconds are no fraction of a second.
pub fn read_timespec(task: &Task, addr: u64) -> Result<u64, Errno> {
    let [sec, nsec]: [i64; 2] = task.mm.read_val(addr)?;
    timespec_ns(sec, nsec)
}

/// Seconds and nanoseconds as nanoseconds; far away times are as far as can be counted.
///
/// # Errors
/// EINVAL as [`read_timespec`].
pub fn timespec_ns(sec: i64, nsec: i64) -> Result<u64, Errno> {
    if sec < 0 || !(0..SECOND as i64).contains(&nsec) {
        return Err(Errno::EINVAL);
    }
    Ok((sec as u64)
        .saturating_mul(SECOND)
        .saturating_add(nsec as u64))
}

/// Nanoseconds as `struct timespec`.
pub fn to_timespec(ns: u64) -> [i64; 2] {
    [(ns / SECOND) as i64, (ns % SECOND) as i64]
}

/// Nanoseconds as `struct timeval`, rounded up.
pub fn to_timeval(ns: u64) -> [i64; 2] {
    let micros = ns.div_ceil(1000);
    [(micros / 1_000_000) as i64, (micros % 1_000_000) as i64]
}
