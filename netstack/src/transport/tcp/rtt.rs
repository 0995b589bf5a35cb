//! Round-trip estimation and the retransmission timeout (RFC 6298, with Linux's bounds).

use super::filter::Filter;
use crate::time::{Duration, Instant};

/// The timeout before any sample (RFC 6298, 2.1).
pub(super) const RTO_INITIAL: Duration = Duration::from_secs(1);
/// Upper bound of the timeout (Linux `TCP_RTO_MAX`).
pub(super) const RTO_MAX: Duration = Duration::from_secs(120);

/// How long the least RTT is remembered (Linux `tcp_min_rtt_wlen`).
const MIN_RTT_WINDOW: Duration = Duration::from_secs(300);

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
    /// Least RTT of the last [`MIN_RTT_WINDOW`], in nanoseconds.
    least: Filter,
    /// What the present acknowledgement tells: the RTT of the last segment that it covers.
    pub(super) of_ack: Option<Duration>,
}

impl RttEstimator {
    pub(super) fn new(rto_min: Duration) -> Self {
        Self {
            srtt: 0,
            mdev: 0,
            rto_min,
            backoff: 0,
            least: Filter::default(),
            of_ack: None,
        }
    }

    /// Takes a sample, of the first segment that an acknowledgement covers, and of the last, which says
    /// more of the path; the caller has made sure that no retransmission is ambiguous (Karn).
    pub(super) fn sample(&mut self, now: Instant, rtt: Duration, of_last: Duration) {
        let rtt_ns = (rtt.as_nanos() as u64).max(1);
        let least = (of_last.as_nanos() as u64).max(1);
        self.least
            .min(MIN_RTT_WINDOW.as_nanos() as u64, now.as_nanos(), least);
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

    /// Least RTT seen lately; `Duration::MAX` before the first sample.
    pub(super) fn min_rtt(&self) -> Duration {
        match self.least.best() {
            0 => Duration::MAX,
            nanos => Duration::from_nanos(nanos),
        }
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
        let sample = |rtt: &mut RttEstimator, ms| {
            let sample = Duration::from_millis(ms);
            rtt.sample(Instant::ZERO, sample, sample);
        };
        sample(&mut rtt, 100);
        assert_eq!(rtt.srtt(), Duration::from_millis(100));
        assert_eq!(rtt.rto(), Duration::from_millis(300));
        for _ in 0..200 {
            sample(&mut rtt, 10);
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
