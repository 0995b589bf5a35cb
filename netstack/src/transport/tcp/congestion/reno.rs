//! NewReno's window (RFC 5681).

use super::{AckSample, Algorithm, Window};

/// Half on congestion, one segment per round trip otherwise.
#[derive(Clone, Copy, Debug)]
pub(super) struct Reno;

impl Algorithm for Reno {
    fn on_ack(&mut self, window: &mut Window, sample: AckSample) {
        let mut acked = sample.acked;
        if window.in_slow_start() {
            acked = window.slow_start(acked);
        }
        if acked > 0 {
            window.grow_by_one_per(window.cwnd, acked);
        }
    }

    fn on_congestion(&mut self, window: &Window) -> u32 {
        window.cwnd / 2
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::time::Instant;

    #[test]
    fn slow_start_then_linear() {
        let mut window = Window {
            ssthresh: 12,
            ..Window::default()
        };
        let sample = |acked| AckSample {
            acked,
            now: Instant::ZERO,
        };
        Reno.on_ack(&mut window, sample(2));
        assert_eq!(window.cwnd, 12);
        Reno.on_ack(&mut window, sample(11));
        assert_eq!(window.cwnd, 12);
        Reno.on_ack(&mut window, sample(1));
        assert_eq!(window.cwnd, 13);
        assert_eq!(Reno.on_congestion(&window), 6);
    }
}
