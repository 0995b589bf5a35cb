//! Congestion control behind a narrow trait. Windows are in segments, as in Linux: loss recovery
//! counts segments, and an algorithm only decides how far the window grows and shrinks.

mod cubic;
mod hystart;
mod reno;

use super::recovery::Belief;
use super::seq::Seq;
use crate::time::{Duration, Instant};
pub(super) use hystart::Found;

/// Segments that may be in flight before anything is known of the path (RFC 6928).
pub(super) const INITIAL_WINDOW: u32 = 10;
/// Slow start has no end before the first loss.
pub(super) const SSTHRESH_INFINITE: u32 = u32::MAX;

/// What an algorithm sees of an acknowledgement.
#[derive(Clone, Copy, Debug)]
pub(super) struct AckSample {
    /// Segments newly acknowledged or selectively acknowledged.
    pub(super) acked: u32,
    /// When it arrived.
    pub(super) now: Instant,
}

/// What it sees of an RTT.
#[derive(Clone, Copy, Debug)]
pub(super) struct RttSample {
    /// Of the last segment that the acknowledgement covers.
    pub(super) rtt: Duration,
    pub(super) now: Instant,
    /// `SND.UNA`.
    pub(super) una: Seq,
    /// `SND.NXT`.
    pub(super) nxt: Seq,
    /// Bytes per second at which data leaves; 0: not known.
    pub(super) pacing_rate: u64,
    /// Bytes that may leave at once.
    pub(super) burst_bytes: u64,
    /// Data leaves at that rate and no faster.
    pub(super) paced: bool,
}

/// The window, and what an algorithm may change of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Window {
    /// Congestion window in segments; at least 1.
    pub(super) cwnd: u32,
    /// Slow start threshold in segments.
    pub(super) ssthresh: u32,
    /// Segments acknowledged since the window last grew.
    pub(super) credit: u32,
}

impl Default for Window {
    fn default() -> Self {
        Self {
            cwnd: INITIAL_WINDOW,
            ssthresh: SSTHRESH_INFINITE,
            credit: 0,
        }
    }
}

impl Window {
    /// True below the threshold.
    pub(super) fn in_slow_start(&self) -> bool {
        self.cwnd < self.ssthresh
    }

    /// Exponential growth (RFC 5681, 3.1, with byte counting); returns what is left of `acked` when
    /// the threshold is reached.
    fn slow_start(&mut self, acked: u32) -> u32 {
        let target = self.cwnd.saturating_add(acked).min(self.ssthresh);
        let left = acked - (target - self.cwnd);
        self.cwnd = target;
        left
    }

    /// One segment more for each `per` segments acknowledged. Credit that was gathered at a larger `per`
    /// is worth one segment at most (Linux `tcp_cong_avoid_ai`).
    fn grow_by_one_per(&mut self, per: u32, acked: u32) {
        let per = per.max(1);
        if self.credit >= per {
            self.credit = 0;
            self.cwnd += 1;
        }
        self.credit += acked;
        self.cwnd += self.credit / per;
        self.credit %= per;
    }
}

/// An algorithm.
trait Algorithm {
    /// An RTT was measured, whatever the state.
    fn on_rtt(&mut self, _window: &mut Window, _sample: &RttSample) -> Option<Found> {
        None
    }
    /// The window may grow: it was in full use, and nothing is wrong.
    fn on_ack(&mut self, window: &mut Window, sample: AckSample);
    /// Congestion was seen: the new threshold.
    fn on_congestion(&mut self, window: &Window) -> u32;
    /// Loss recovery believes something else of the network.
    fn on_belief(&mut self, _window: &mut Window, _belief: Belief) {}
    /// Sending starts again after a pause of `idle`.
    fn on_start(&mut self, _now: Instant, _idle: Duration) {}
}

/// The algorithm of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum CongestionKind {
    /// CUBIC (RFC 9438), the default.
    #[default]
    Cubic,
    /// NewReno (RFC 5681, RFC 6582).
    Reno,
}

impl CongestionKind {
    /// The algorithm called `name` by Linux.
    pub fn from_name(name: &str) -> Option<Self> {
        match name {
            "cubic" => Some(Self::Cubic),
            "reno" => Some(Self::Reno),
            _ => None,
        }
    }

    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Cubic => "cubic",
            Self::Reno => "reno",
        }
    }
}

/// True if there is an algorithm of this name.
pub(super) fn is_known(name: &str) -> bool {
    CongestionKind::from_name(name).is_some()
}

#[derive(Clone, Debug)]
enum State {
    Cubic(cubic::Cubic),
    Reno(reno::Reno),
}

/// How far the window was used, by what was sent since a round trip ago (RFC 7661's concern; Linux
/// `tcp_cwnd_validate`).
#[derive(Clone, Copy, Debug, Default)]
struct Usage {
    /// The window held the sender back.
    limited: bool,
    /// Most segments out.
    most_out: u32,
    /// When this is acknowledged, the round trip is over.
    until: Option<Seq>,
}

/// The congestion controller of a connection.
#[derive(Clone, Debug)]
pub(super) struct Congestion {
    /// The window.
    pub(super) window: Window,
    usage: Usage,
    state: State,
}

impl Congestion {
    pub(super) fn new(kind: CongestionKind) -> Self {
        Self {
            window: Window::default(),
            usage: Usage::default(),
            state: Self::state_of(kind),
        }
    }

    fn state_of(kind: CongestionKind) -> State {
        match kind {
            CongestionKind::Cubic => State::Cubic(cubic::Cubic::default()),
            CongestionKind::Reno => State::Reno(reno::Reno),
        }
    }

    /// Which algorithm it is.
    pub(super) fn kind(&self) -> CongestionKind {
        match self.state {
            State::Cubic(_) => CongestionKind::Cubic,
            State::Reno(_) => CongestionKind::Reno,
        }
    }

    /// Goes on with another algorithm from the present window.
    pub(super) fn switch(&mut self, kind: CongestionKind) {
        if kind != self.kind() {
            self.state = Self::state_of(kind);
        }
    }

    /// Something was sent, or would have been but for the window (`limited`). `out` segments are out
    /// from `una` to `nxt`.
    pub(super) fn note_use(&mut self, out: u32, limited: bool, una: Seq, nxt: Seq) {
        let usage = &mut self.usage;
        let over = usage.until.is_none_or(|until| una.at_or_after(until));
        if over || limited || (!usage.limited && out > usage.most_out) {
            *usage = Usage {
                limited,
                most_out: out,
                until: Some(nxt),
            };
        }
    }

    /// True if the window is what holds the sender back. In slow start it may run ahead of its use by a
    /// factor of two (Linux `tcp_is_cwnd_limited`).
    pub(super) fn is_limiting(&self) -> bool {
        let ahead = self.window.cwnd < self.usage.most_out.saturating_mul(2);
        self.usage.limited || (self.window.in_slow_start() && ahead)
    }

    fn split(&mut self) -> (&mut Window, &mut dyn Algorithm) {
        let algorithm: &mut dyn Algorithm = match &mut self.state {
            State::Cubic(cubic) => cubic,
            State::Reno(reno) => reno,
        };
        (&mut self.window, algorithm)
    }

    /// The window was in full use and `sample` was acknowledged.
    pub(super) fn on_ack(&mut self, sample: AckSample) {
        let (window, algorithm) = self.split();
        algorithm.on_ack(window, sample);
    }

    /// Congestion: lowers the threshold. The caller brings the window down to it.
    pub(super) fn on_congestion(&mut self) {
        let (window, algorithm) = self.split();
        window.ssthresh = algorithm.on_congestion(window).max(2);
        window.credit = 0;
    }

    /// True if the algorithm sets the window by itself, in recovery too.
    pub(super) fn has_own_control(&self) -> bool {
        false
    }

    /// An RTT was measured. Tells if slow start ends by it.
    pub(super) fn on_rtt(&mut self, sample: &RttSample) -> Option<Found> {
        let (window, algorithm) = self.split();
        algorithm.on_rtt(window, sample)
    }

    /// The reduction from `before` was a mistake.
    pub(super) fn undo(&mut self, before: u32) {
        self.window.cwnd = self.window.cwnd.max(before);
    }

    /// Loss recovery believes something else of the network.
    pub(super) fn on_belief(&mut self, belief: Belief) {
        let (window, algorithm) = self.split();
        algorithm.on_belief(window, belief);
    }

    /// Sending starts again, with nothing in flight, after a pause of `idle`.
    pub(super) fn on_start(&mut self, now: Instant, idle: Duration) {
        let (_, algorithm) = self.split();
        algorithm.on_start(now, idle);
    }

    /// After a pause of `idle`, longer than the timeout `rto`, the window decays by half for each
    /// timeout, not below the initial one (RFC 2861, Linux `tcp_cwnd_restart`).
    pub(super) fn decay(&mut self, idle: Duration, rto: Duration) {
        let window = &mut self.window;
        window.ssthresh = window.ssthresh.max(window.cwnd / 4 * 3);
        let restart = window.cwnd.min(INITIAL_WINDOW);
        let mut left = idle;
        while left > rto && window.cwnd > restart {
            window.cwnd /= 2;
            left -= rto;
        }
        window.cwnd = window.cwnd.max(restart);
    }
}
