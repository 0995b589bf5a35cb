//! CUBIC (RFC 9438). Windows in segments, time in seconds as `f64`: the stack runs where floats do.

use super::{AckSample, Algorithm, Window};
use crate::time::{Duration, Instant};

/// RFC 9438, 5: aggressiveness, in segments per second cubed.
const C: f64 = 0.4;
/// RFC 9438, 4.6: what is kept on congestion.
const BETA: f64 = 0.7;

/// One epoch is the time between two congestion events.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Cubic {
    /// Window before the last reduction.
    w_max: f64,
    epoch: Option<Epoch>,
}

#[derive(Clone, Copy, Debug)]
struct Epoch {
    start: Instant,
    /// Seconds from the start to the plateau.
    k: f64,
    /// Window at the plateau.
    origin: f64,
    /// What Reno would have (RFC 9438, 4.3).
    w_est: f64,
}

impl Cubic {
    /// Segments to be acknowledged for one more segment of window.
    fn pace(&mut self, window: &Window, sample: AckSample) -> u32 {
        let cwnd = f64::from(window.cwnd);
        let epoch = self.epoch.get_or_insert_with(|| {
            let (k, origin) = if cwnd < self.w_max {
                (((self.w_max - cwnd) / C).cbrt(), self.w_max)
            } else {
                (0.0, cwnd)
            };
            Epoch {
                start: sample.now,
                k,
                origin,
                w_est: cwnd,
            }
        });
        let t = sample.now.since(epoch.start) + sample.srtt;
        let target = epoch.origin + C * (t.as_secs_f64() - epoch.k).powi(3);
        let target = target.clamp(cwnd, cwnd * 1.5);
        // Alpha of RFC 9438, 4.3: makes the estimate as fair as Reno with this beta.
        let alpha = 3.0 * (1.0 - BETA) / (1.0 + BETA);
        epoch.w_est += alpha * f64::from(sample.acked) / cwnd;
        let per = if target > cwnd {
            cwnd / (target - cwnd)
        } else {
            100.0 * cwnd
        };
        let per = if epoch.w_est > cwnd {
            per.min(cwnd / (epoch.w_est - cwnd))
        } else {
            per
        };
        per.clamp(2.0, f64::from(u32::MAX / 2)) as u32
    }
}

impl Algorithm for Cubic {
    fn on_ack(&mut self, window: &mut Window, sample: AckSample) {
        let mut acked = sample.acked;
        if window.in_slow_start() {
            acked = window.slow_start(acked);
        }
        if acked > 0 {
            let per = self.pace(window, AckSample { acked, ..sample });
            window.grow_by_one_per(per, acked);
        }
    }

    fn on_congestion(&mut self, window: &Window) -> u32 {
        let cwnd = f64::from(window.cwnd);
        // Fast convergence (RFC 9438, 4.7): a flow that is losing ground leaves room.
        self.w_max = if cwnd < self.w_max {
            cwnd * (1.0 + BETA) / 2.0
        } else {
            cwnd
        };
        self.epoch = None;
        (cwnd * BETA) as u32
    }

    fn on_timeout(&mut self) {
        self.epoch = None;
    }

    fn on_restart(&mut self, idle: Duration) {
        // Time without data does not count as growth (RFC 9438, 5.8).
        if let Some(epoch) = &mut self.epoch {
            epoch.start += idle;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn returns_to_the_plateau_and_beyond() {
        let mut window = Window {
            cwnd: 100,
            ssthresh: 100,
            credit: 0,
        };
        let mut cubic = Cubic::default();
        let reduced = cubic.on_congestion(&window);
        assert_eq!(reduced, 70);
        (window.cwnd, window.ssthresh) = (reduced, reduced);
        let mut now = Instant::ZERO;
        let mut at_plateau = None;
        for round in 0..200 {
            let sample = AckSample {
                acked: window.cwnd,
                srtt: Duration::from_millis(100),
                now,
            };
            cubic.on_ack(&mut window, sample);
            now += Duration::from_millis(100);
            if window.cwnd >= 100 && at_plateau.is_none() {
                at_plateau = Some(round);
            }
        }
        // K = cbrt(30 / 0.4) = 4.2 s, that is 42 rounds.
        let rounds = at_plateau.expect("the plateau is reached");
        // The last segment is won from 1 below it on, at 2.8 s.
        assert!((28..45).contains(&rounds), "plateau after {rounds} rounds");
        assert!(window.cwnd > 150);
    }
}
