//! Token buckets, counted in nanoseconds of credit.

use crate::time::Instant;

/// What has been saved up, at some time.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bucket {
    credit: u64,
    at: Instant,
}

impl Bucket {
    /// A full one, whatever it holds.
    pub(crate) fn full(at: Instant) -> Self {
        Self {
            credit: u64::MAX,
            at,
        }
    }

    /// When it was last used.
    pub(crate) fn used_at(&self) -> Instant {
        self.at
    }

    /// Takes one token of `cost` nanoseconds from a bucket that holds at most `burst` of them.
    pub(crate) fn take(&mut self, now: Instant, cost: u64, burst: u32) -> bool {
        self.fill(now, cost.saturating_mul(u64::from(burst)));
        let enough = self.credit >= cost;
        self.credit -= if enough { cost } else { 0 };
        enough
    }

    /// Takes `cost` nanoseconds from a bucket that holds at most `most`; else how long that takes to come.
    pub(crate) fn spend(&mut self, now: Instant, cost: u64, most: u64) -> Result<(), u64> {
        self.fill(now, most);
        match self.credit.checked_sub(cost) {
            Some(left) => {
                self.credit = left;
                Ok(())
            }
            None => Err(cost - self.credit),
        }
    }

    fn fill(&mut self, now: Instant, most: u64) {
        let gained = u64::try_from(now.since(self.at).as_nanos()).unwrap_or(u64::MAX);
        self.credit = self.credit.saturating_add(gained).min(most);
        self.at = now;
    }
}
