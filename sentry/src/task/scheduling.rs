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
    /// SCHED_RESET_ON_FORK: children begin anew.
    pub(crate) reset_on_fork: bool,
    /// CPUs that it may run on, a bit each from the lowest of the first byte; all without it.
    pub(crate) affinity: Option<Box<[u8]>>,
}

impl Scheduling {
    /// What a child begins with (`sched_fork`; there are no real-time policies to give up).
    pub(crate) fn of_child(&self) -> Self {
        let mut child = self.clone();
        if std::mem::take(&mut child.reset_on_fork) {
            child.nice = child.nice.max(0);
        }
        child
    }
}
