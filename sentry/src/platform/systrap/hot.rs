//! Which call sites trap often: a small table that forgets what it has no room for.

/// Entries; a power of two.
const ENTRIES: usize = 64;

/// Traps counted by the address after the `syscall`.
pub(super) struct HotSites {
    entries: Box<[(u64, u32); ENTRIES]>,
    last: u32,
}

impl HotSites {
    pub(super) fn new() -> Self {
        Self {
            entries: Box::new([(0, 0); ENTRIES]),
            last: 0,
        }
    }

    /// Counts a trap.
    pub(super) fn note(&mut self, rip: u64) {
        let hash = rip.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 58;
        let (at, count) = &mut self.entries[hash as usize % ENTRIES];
        if *at != rip {
            (*at, *count) = (rip, 0);
        }
        *count = count.saturating_add(1);
        self.last = *count;
    }

    /// The last call did not trap.
    pub(super) fn pass(&mut self) {
        self.last = 0;
    }

    /// How often the place of the last call has trapped.
    pub(super) fn last(&self) -> u32 {
        self.last
    }
}
