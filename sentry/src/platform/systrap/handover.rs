//! Waiting for guest code: polling while there are CPUs to spare, else sleeping.

use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

/// How many contexts run guest code, against how many CPUs there are.
pub(super) struct Load {
    running: AtomicUsize,
    cpus: usize,
}

/// TSC cycles of polling before sleeping: 25 to 50 us, about what a wake across CPUs costs.
const POLL: u32 = 100_000;

/// One context in guest code, for as long as this lives.
pub(super) struct Running<'a>(&'a Load);

impl Load {
    pub(super) fn new() -> Self {
        Self {
            running: AtomicUsize::new(0),
            cpus: crate::platform::cpus(),
        }
    }

    /// Counts a context in.
    pub(super) fn enter(&self) -> Running<'_> {
        self.running.fetch_add(1, Relaxed);
        Running(self)
    }

    /// For how many TSC cycles both sides may poll now. Each running context has two threads, one
    /// of which works while the other polls.
    pub(super) fn poll_cycles(&self) -> u32 {
        match self.running.load(Relaxed) * 2 <= self.cpus {
            true => POLL,
            false => 0,
        }
    }
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        self.0.running.fetch_sub(1, Relaxed);
    }
}
