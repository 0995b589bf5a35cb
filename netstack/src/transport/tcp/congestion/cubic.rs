//! CUBIC (RFC 9438), with HyStart. Windows in segments, time in seconds as `f64`: the stack runs where
//! floats do. Linux has whole segments and a clock of 1/32 s for the same curves, and so grows more slowly
//! where windows are small or round trips short.

use super::hystart::{Found, HyStart};
use super::{AckSample, Algorithm, RttSample, Window};
use crate::time::{Duration, Instant};
use crate::transport::tcp::recovery::Belief;

/// RFC 9438, 5: aggressiveness, in segments per second cubed.
const C: f64 = 0.4;
/// RFC 9438, 4.6: what is kept on congestion.
const BETA: f64 = 0.7;
/// After congestion so long no RTT counts.
const SETTLING: Duration = Duration::from_secs(1);

/// One epoch is the time between two congestion events.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Cubic {
    /// Window before the last reduction, or less (fast convergence); 0: there was none.
    w_max: f64,
    /// Window before the last reduction.
    prior: f64,
    /// Least RTT.
    least: Option<Duration>,
    epoch: Option<Epoch>,
    hystart: HyStart,
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

impl Epoch {
    fn new(cwnd: f64, w_max: f64, now: Instant) -> Self {
        let (k, origin) = match w_max > cwnd {
            true => (((w_max - cwnd) / C).cbrt(), w_max),
            false => (0.0, cwnd),
        };
        Self {
            start: now,
            k,
            origin,
            w_est: cwnd,
        }
    }

    /// The curve after `t` (RFC 9438, 4.2).
    fn target(&self, t: Duration) -> f64 {
        self.origin + C * (t.as_secs_f64() - self.k).powi(3)
    }

    /// What Reno with this beta would have; as fast as Reno itself once it is where the window was
    /// (RFC 9438, 4.3).
    fn friendly(&mut self, cwnd: f64, prior: f64, acked: u32) -> f64 {
        let alpha = match self.w_est < prior {
            true => 3.0 * (1.0 - BETA) / (1.0 + BETA),
            false => 1.0,
        };
        self.w_est += alpha * f64::from(acked) / cwnd;
        self.w_est
    }
}

impl Cubic {
    /// Segments to be acknowledged for one more segment of window.
    fn pace(&mut self, window: &Window, sample: AckSample) -> u32 {
        let cwnd = f64::from(window.cwnd);
        let (w_max, prior) = (self.w_max, self.prior);
        let epoch = self
            .epoch
            .get_or_insert_with(|| Epoch::new(cwnd, w_max, sample.now));
        let t = sample.now.since(epoch.start) + self.least.unwrap_or(Duration::ZERO);
        let target = epoch.target(t).clamp(cwnd, cwnd * 1.5);
        let mut per = match target > cwnd {
            true => cwnd / (target - cwnd),
            false => 100.0 * cwnd,
        };
        if w_max == 0.0 {
            // Nothing is known of the path: not too slow.
            per = per.min(20.0);
        }
        let friendly = epoch.friendly(cwnd, prior, sample.acked);
        if friendly > cwnd {
            per = per.min(cwnd / (friendly - cwnd));
        }
        per.clamp(2.0, f64::from(u32::MAX / 2)) as u32
    }
}

impl Algorithm for Cubic {
    fn on_rtt(&mut self, window: &mut Window, sample: &RttSample) -> Option<Found> {
        let settling = |epoch: Epoch| sample.now.since(epoch.start) < SETTLING;
        if self.epoch.is_some_and(settling) {
            return None;
        }
        let rtt = sample.rtt.max(Duration::from_micros(1));
        let least = self.least.map_or(rtt, |least| least.min(rtt));
        self.least = Some(least);
        self.hystart.on_rtt(window, sample, least)
    }

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
        self.w_max = match cwnd < self.w_max {
            true => cwnd * (1.0 + BETA) / 2.0,
            false => cwnd,
        };
        self.prior = cwnd;
        self.epoch = None;
        (cwnd * BETA) as u32
    }

    fn on_belief(&mut self, _window: &mut Window, belief: Belief) {
        if belief == Belief::Loss {
            // The plateau is forgotten (RFC 9438, 4.8).
            *self = Self::default();
        }
    }

    fn on_start(&mut self, now: Instant, idle: Duration) {
        // Time without data does not count as growth (RFC 9438, 5.8).
        if let Some(epoch) = &mut self.epoch {
            epoch.start = (epoch.start + idle).min(now);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn window(cwnd: u32) -> Window {
        Window {
            cwnd,
            ssthresh: cwnd,
            credit: 0,
        }
    }

    /// Rounds of 100 ms in which a whole window is acknowledged, until `enough`.
    fn rounds(cubic: &mut Cubic, window: &mut Window, enough: u32, most: u32) -> Option<u32> {
        let mut now = Instant::ZERO;
        cubic.least = Some(Duration::from_millis(100));
        (0..most).find(|_| {
            let acked = window.cwnd;
            cubic.on_ack(window, AckSample { acked, now });
            now += Duration::from_millis(100);
            window.cwnd >= enough
        })
    }

    #[test]
    fn returns_to_the_plateau_and_beyond() {
        let mut cubic = Cubic::default();
        let reduced = cubic.on_congestion(&window(100));
        assert_eq!(reduced, 70);
        let mut window = window(reduced);
        // K = cbrt(30 / 0.4) = 4.2 s, that is 42 rounds; whole targets are won a little earlier.
        let plateau = rounds(&mut cubic, &mut window, 100, 200);
        let plateau = plateau.expect("the plateau is reached");
        assert!(
            (24..45).contains(&plateau),
            "plateau after {plateau} rounds"
        );
        assert!(rounds(&mut cubic, &mut window, 150, 200).is_some());
    }

    #[test]
    fn a_flow_that_loses_ground_leaves_room() {
        let mut cubic = Cubic::default();
        cubic.on_congestion(&window(100));
        assert!((cubic.w_max - 100.0).abs() < 0.1);
        // Congestion again before the plateau: the next one is lower than the window was.
        cubic.on_congestion(&window(90));
        assert!((cubic.w_max - 76.5).abs() < 0.1);
        cubic.on_congestion(&window(95));
        assert!((cubic.w_max - 95.0).abs() < 0.1);
    }

    #[test]
    fn the_estimate_of_reno_is_that_of_the_rfc() {
        let mut epoch = Epoch::new(70.0, 100.0, Instant::ZERO);
        // Alpha is 0.529 below the prior window, and 1 from there on.
        assert!((epoch.friendly(70.0, 100.0, 70) - 70.529).abs() < 0.001);
        epoch.w_est = 100.0;
        assert!((epoch.friendly(100.0, 100.0, 100) - 101.0).abs() < 0.001);
    }

    #[test]
    fn a_timeout_forgets_the_plateau() {
        let mut cubic = Cubic::default();
        cubic.on_congestion(&window(100));
        cubic.on_belief(&mut window(1), Belief::Loss);
        assert!(cubic.w_max < 0.1);
        let mut window = window(70);
        let sample = AckSample {
            acked: 20,
            now: Instant::from_millis(1),
        };
        cubic.on_ack(&mut window, sample);
        assert_eq!(window.cwnd, 71, "one in twenty without a plateau");
    }

    proptest! {
        /// The window never grows faster than by half of what is acknowledged, and never shrinks.
        #[test]
        fn growth_is_bounded(acks in proptest::collection::vec((1u32..50, 1u64..500), 1..200), start in 2u32..5000) {
            let mut cubic = Cubic::default();
            let reduced = cubic.on_congestion(&window(start)).max(2);
            let mut window = window(reduced);
            let mut now = Instant::ZERO;
            for (acked, ms) in acks {
                let (before, credit) = (window.cwnd, window.credit);
                now += Duration::from_millis(ms);
                cubic.on_ack(&mut window, AckSample { acked, now });
                prop_assert!(window.cwnd >= before);
                prop_assert!(window.cwnd - before <= (acked + credit) / 2);
            }
        }
    }
}
