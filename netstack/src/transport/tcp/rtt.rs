//! Round-trip estimation and the retransmission timeout (RFC 6298, with Linux's bounds).

use crate::time::Duration;

/// The timeout before any sample (RFC 6298, 2.1).
pub(super) const RTO_INITIAL: Duration = Duration::from_secs(1);
/// Upper bound of the timeout (Linux `TCP_RTO_MAX`).
pub(super) const RTO_MAX: Duration = Duration::from_secs(120);

/// Smoothed round-trip time and its variation.
#[derive(Clone, Debug)]
pub(super) struct RttEstimator {
    /// Smoothed RTT in nanoseconds; 0 before the first sample.
    srtt: u64,
    /// Mean deviation in nanoseconds.
    mdev: u64,
    rto_min: Duration,
    /// Doublings since the last timely acknowledgement.
    pub(super) backoff: u8,
    /// Least RTT seen; `Duration::MAX` before the first sample.
    pub(super) min_rtt: Duration,
    /// The latest sample.
    pub(super) latest: Duration,
}

impl RttEstimator {
    pub(super) fn new(rto_min: Duration) -> Self {
        Self {
            srtt: 0,
            mdev: 0,
            rto_min,
            backoff: 0,
            min_rtt: Duration::MAX,
            latest: Duration::ZERO,
        }
    }

    /// Takes a sample; the caller has made sure that no retransmission is ambiguous (Karn).
    pub(super) fn sample(&mut self, rtt: Duration) {
        let rtt_ns = (rtt.as_nanos() as u64).max(1);
        self.latest = rtt;
        self.min_rtt = self.min_rtt.min(rtt);
        if self.srtt == 0 {
            self.srtt = rtt_ns;
            self.mdev = rtt_ns / 2;
            return;
        }
        let error = self.srtt.abs_diff(rtt_ns);
        // A sample far below the mean must not raise the timeout as one above it does.
        let gain = if rtt_ns < self.srtt && error > self.mdev {
            32
        } else {
            4
        };
        self.mdev = self.mdev - self.mdev / gain + error / gain;
        self.srtt = self.srtt - self.srtt / 8 + rtt_ns / 8;
    }

    /// True once there has been a sample.
    pub(super) fn has_sample(&self) -> bool {
        self.srtt != 0
    }

    /// Smoothed RTT, zero before the first sample.
    pub(super) fn srtt(&self) -> Duration {
        Duration::from_nanos(self.srtt)
    }

    /// Mean deviation.
    pub(super) fn mdev(&self) -> Duration {
        Duration::from_nanos(self.mdev)
    }

    /// The timeout without backoff.
    pub(super) fn base_rto(&self) -> Duration {
        if self.srtt == 0 {
            return RTO_INITIAL;
        }
        let variation = Duration::from_nanos(self.mdev * 4).max(self.rto_min);
        (self.srtt() + variation).min(RTO_MAX)
    }

    /// The timeout with backoff.
    pub(super) fn rto(&self) -> Duration {
        self.base_rto()
            .saturating_mul(1 << self.backoff.min(16))
            .min(RTO_MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rto_follows_the_samples() {
        let mut rtt = RttEstimator::new(Duration::from_millis(200));
        assert_eq!(rtt.rto(), RTO_INITIAL);
        rtt.sample(Duration::from_millis(100));
        assert_eq!(rtt.srtt(), Duration::from_millis(100));
        assert_eq!(rtt.rto(), Duration::from_millis(300));
        for _ in 0..200 {
            rtt.sample(Duration::from_millis(10));
        }
        let rto = rtt.rto().as_millis();
        assert!(
            (209..=212).contains(&rto),
            "floor of the variation is 200 ms: {rto}"
        );
        rtt.backoff = 2;
        assert!(rtt.rto() >= Duration::from_millis(836));
        rtt.backoff = 40;
        assert_eq!(rtt.rto(), RTO_MAX);
    }
}
