//! HyStart: slow start ends before it overflows a queue, when acknowledgements arrive in a train as long
//! as a round trip, or when round trips become longer (Ha and Rhee 2011; the thresholds are those of
//! Linux's CUBIC. RFC 9406 keeps a slower growth for a while instead; Linux does not).

use super::{RttSample, Window};
use crate::time::{Duration, Instant};
use crate::transport::tcp::seq::Seq;

/// Below this window slow start goes on in any case.
const LOW_WINDOW: u32 = 16;
/// Samples of a round before its least RTT means something.
const SAMPLES: u32 = 8;
/// How far the RTT may grow.
const DELAY_MIN: Duration = Duration::from_millis(4);
const DELAY_MAX: Duration = Duration::from_millis(16);
/// Acknowledgements closer than this are one train.
const ACK_DELTA: Duration = Duration::from_millis(2);
/// Longest time that a super-segment may add.
const BURST_MAX: Duration = Duration::from_millis(1);

/// What ended slow start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in super::super) enum Found {
    /// A train of acknowledgements.
    Train,
    /// A longer round trip.
    Delay,
}

/// The present round of slow start.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct HyStart {
    found: bool,
    start: Instant,
    last_ack: Instant,
    end: Option<Seq>,
    least: Option<Duration>,
    samples: u32,
}

impl HyStart {
    fn begin_round(&mut self, sample: &RttSample) {
        *self = Self {
            found: self.found,
            start: sample.now,
            last_ack: sample.now,
            end: Some(sample.nxt),
            least: None,
            samples: 0,
        };
    }

    /// An RTT in slow start; `least` is the least of all. Lowers the threshold when it is time.
    pub(super) fn on_rtt(
        &mut self,
        window: &mut Window,
        sample: &RttSample,
        least: Duration,
    ) -> Option<Found> {
        if self.found || !window.in_slow_start() {
            return None;
        }
        if self.end.is_none_or(|end| sample.una.after(end)) {
            self.begin_round(sample);
        }
        if window.cwnd < LOW_WINDOW {
            return None;
        }
        let found = self
            .train(sample, least)
            .or_else(|| self.delay(sample, least))?;
        self.found = true;
        window.ssthresh = window.cwnd;
        Some(found)
    }

    fn train(&mut self, sample: &RttSample, least: Duration) -> Option<Found> {
        if sample.now.since(self.last_ack) > ACK_DELTA {
            return None;
        }
        self.last_ack = sample.now;
        let burst = match sample.pacing_rate {
            0 => Duration::ZERO,
            rate => Duration::from_micros(sample.burst_bytes * 4 * 1_000_000 / rate).min(BURST_MAX),
        };
        let whole = least + burst;
        let limit = if sample.paced { whole } else { whole / 2 };
        (sample.now.since(self.start) > limit).then_some(Found::Train)
    }

    fn delay(&mut self, sample: &RttSample, least: Duration) -> Option<Found> {
        let round = self.least.map_or(sample.rtt, |known| known.min(sample.rtt));
        self.least = Some(round);
        if self.samples < SAMPLES {
            self.samples += 1;
            return None;
        }
        let limit = least + (least / 8).clamp(DELAY_MIN, DELAY_MAX);
        (round > limit).then_some(Found::Delay)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(now_ms: u64, rtt_ms: u64) -> RttSample {
        RttSample {
            rtt: Duration::from_millis(rtt_ms),
            now: Instant::from_millis(now_ms),
            una: Seq(1),
            nxt: Seq(100_000),
            pacing_rate: 0,
            burst_bytes: 0,
            paced: false,
        }
    }

    fn slow_start(cwnd: u32) -> Window {
        Window {
            cwnd,
            ..Window::default()
        }
    }

    #[test]
    fn a_train_of_half_a_round_trip_ends_slow_start() {
        let least = Duration::from_millis(20);
        let (mut hystart, mut window) = (HyStart::default(), slow_start(20));
        for ms in 0..=10 {
            assert_eq!(
                hystart.on_rtt(&mut window, &sample(100 + ms, 20), least),
                None
            );
        }
        let found = hystart.on_rtt(&mut window, &sample(111, 20), least);
        assert_eq!((found, window.ssthresh), (Some(Found::Train), 20));
    }

    #[test]
    fn gaps_end_a_train_and_small_windows_grow() {
        let least = Duration::from_millis(20);
        let (mut hystart, mut window) = (HyStart::default(), slow_start(20));
        for step in 0..12 {
            assert_eq!(
                hystart.on_rtt(&mut window, &sample(100 + 3 * step, 20), least),
                None
            );
        }
        let (mut hystart, mut window) = (HyStart::default(), slow_start(15));
        for ms in 0..40 {
            assert_eq!(
                hystart.on_rtt(&mut window, &sample(100 + ms, 60), least),
                None
            );
        }
    }

    #[test]
    fn a_longer_round_trip_ends_slow_start() {
        let least = Duration::from_millis(80);
        let run = |rtt_ms| {
            let (mut hystart, mut window) = (HyStart::default(), slow_start(20));
            (0..9).find_map(|step| {
                hystart.on_rtt(&mut window, &sample(100 + 3 * step, rtt_ms), least)
            })
        };
        assert_eq!(run(90), None);
        assert_eq!(run(91), Some(Found::Delay));
    }
}
