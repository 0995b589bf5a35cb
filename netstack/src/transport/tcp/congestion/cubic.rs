//! CUBIC (RFC 9438) as Linux runs it: targets are whole segments, and a timeout forgets the plateau.
//! Windows in segments, time in seconds as `f64`: the stack runs where floats do.

use super::hystart::{Found, HyStart};
use super::{AckSample, Algorithm, RttSample, Window};
use crate::time::{Duration, Instant};
use crate::transport::tcp::recovery::Belief;

/// RFC 9438, 5: aggressiveness, in segments per second cubed.
const C: f64 = 0.4;
/// RFC 9438, 4.6: what is kept on congestion, in 1024ths.
const BETA: u64 = 717;
/// An answer holds for so long while the window stays the same.
const ANSWER_HOLDS: Duration = Duration::from_nanos(1_000_000_000 / 32);
/// After congestion so long no RTT counts.
const SETTLING: Duration = Duration::from_secs(1);

/// One epoch is the time between two congestion events.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Cubic {
    /// Window before the last reduction, or less (fast convergence); 0: there was none.
    w_max: u32,
    /// Least RTT.
    least: Option<Duration>,
    epoch: Option<Epoch>,
    /// The last answer: when, at which window, and what.
    answer: Option<(Instant, u32, u32)>,
    hystart: HyStart,
}

#[derive(Clone, Copy, Debug)]
struct Epoch {
    start: Instant,
    /// Seconds from the start to the plateau.
    k: f64,
    /// Window at the plateau.
    origin: u32,
    /// What Reno would have (RFC 9438, 4.3), and what was acknowledged since it last grew.
    w_est: u32,
    est_acked: u32,
}

impl Epoch {
    fn new(window: &Window, w_max: u32, now: Instant) -> Self {
        let cwnd = window.cwnd;
        let (k, origin) = match w_max > cwnd {
            true => ((f64::from(w_max - cwnd) / C).cbrt(), w_max),
            false => (0.0, cwnd),
        };
        Self {
            start: now,
            k,
            origin,
            w_est: cwnd,
            est_acked: 0,
        }
    }

    /// The curve after `t` (RFC 9438, 4.2), in whole segments counted from the plateau.
    fn target(&self, t: Duration) -> u32 {
        let offset = t.as_secs_f64() - self.k;
        let delta = (C * offset.abs().powi(3)).min(f64::from(u32::MAX / 4)) as u32;
        match offset < 0.0 {
            true => self.origin.saturating_sub(delta),
            false => self.origin.saturating_add(delta),
        }
    }

    /// What Reno with this beta would have: one segment more for each 1 / alpha windows, with alpha of
    /// RFC 9438, 4.3 in eighths.
    fn friendly(&mut self, cwnd: u32) -> u32 {
        let inverse_alpha = 8 * (1024 + BETA) / 3 / (1024 - BETA);
        let each = ((u64::from(cwnd) * inverse_alpha) >> 3).max(1) as u32;
        // One less than a multiple stays, as Linux counts.
        let grown = self.est_acked.saturating_sub(1) / each;
        self.est_acked -= grown * each;
        self.w_est = self.w_est.saturating_add(grown);
        self.w_est
    }
}

impl Cubic {
    /// Segments to be acknowledged for one more segment of window.
    fn pace(&mut self, window: &Window, sample: AckSample) -> u32 {
        let cwnd = window.cwnd;
        let w_max = self.w_max;
        let epoch = self
            .epoch
            .get_or_insert_with(|| Epoch::new(window, w_max, sample.now));
        epoch.est_acked = epoch.est_acked.saturating_add(sample.acked);
        if let Some((at, at_cwnd, per)) = self.answer
            && at_cwnd == cwnd
            && sample.now.since(at) <= ANSWER_HOLDS
        {
            return per;
        }
        let t = sample.now.since(epoch.start) + self.least.unwrap_or(Duration::ZERO);
        let target = epoch.target(t);
        let mut per = match target > cwnd {
            true => cwnd / (target - cwnd),
            false => cwnd.saturating_mul(100),
        };
        if w_max == 0 {
            // Nothing is known of the path: not too slow.
            per = per.min(20);
        }
        let friendly = epoch.friendly(cwnd);
        if friendly > cwnd {
            per = per.min(cwnd / (friendly - cwnd));
        }
        let per = per.max(2);
        self.answer = Some((sample.now, cwnd, per));
        per
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
        let cwnd = u64::from(window.cwnd);
        // Fast convergence (RFC 9438, 4.7): a flow that is losing ground leaves room.
        self.w_max = match window.cwnd < self.w_max {
            true => (cwnd * (1024 + BETA) / 2048) as u32,
            false => window.cwnd,
        };
        self.epoch = None;
        (cwnd * BETA / 1024) as u32
    }

    fn on_belief(&mut self, _window: &mut Window, belief: Belief) {
        if belief == Belief::Loss {
            // Linux forgets the plateau too (RFC 9438, 4.8 would keep it).
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
        assert_eq!(cubic.w_max, 100);
        // Congestion again before the plateau: the next one is lower than the window was.
        cubic.on_congestion(&window(90));
        assert_eq!(cubic.w_max, 90 * 1741 / 2048);
        cubic.on_congestion(&window(95));
        assert_eq!(cubic.w_max, 95);
    }

    #[test]
    fn small_windows_grow_as_fast_as_reno_would() {
        let mut cubic = Cubic::default();
        let reduced = cubic.on_congestion(&window(10));
        let mut window = window(reduced);
        // Reno with a beta of 0.7 wins a segment in 1.9 windows; the curve alone would take 20 rounds.
        let won = rounds(&mut cubic, &mut window, 9, 40).expect("it grows");
        assert!((2..8).contains(&won), "two segments in {won} rounds");
    }

    #[test]
    fn a_timeout_forgets_the_plateau() {
        let mut cubic = Cubic::default();
        cubic.on_congestion(&window(100));
        cubic.on_belief(&mut window(1), Belief::Loss);
        assert_eq!(cubic.w_max, 0);
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
