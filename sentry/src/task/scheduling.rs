//! What a task asks of a scheduler. It is kept, inherited and shown; the host's scheduler decides.

/// Least and greatest nice value.
pub(crate) const NICE: std::ops::RangeInclusive<i32> = -20..=19;

/// Scheduling attributes of one task.
#[derive(Clone, Debug, Default)]
pub(crate) struct Scheduling {
    /// Nice value.
    pub(crate) nice: i32,
    /// SCHED_OTHER, SCHED_BATCH or SCHED_IDLE.
    pub(crate) policy: i32,
    /// CPUs that it may run on, a bit each from the lowest of the first byte; all without it.
    pub(crate) affinity: Option<Box<[u8]>>,
}
