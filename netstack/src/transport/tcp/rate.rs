//! Samples of the delivery rate (draft-cheng-iccrg-delivery-rate-estimation; Linux `tcp_rate.c`): what was
//! delivered between two acknowledgements, over the longer of the times that it took to send and to
//! be acknowledged.

use super::sack::Sent;
use super::state::Connection;
use crate::time::{Duration, Instant};

/// What was known when a segment left.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Snapshot {
    /// Segments delivered.
    pub(super) delivered: u32,
    /// When the last of them was.
    pub(super) delivered_at: Instant,
    /// When the first segment of the present sample left.
    pub(super) first_sent: Instant,
    /// The application gave less than could have been sent.
    pub(super) app_limited: bool,
}

/// The rate of one connection.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Rate {
    delivered_at: Instant,
    first_sent: Instant,
    /// Until so much is delivered samples tell of the application.
    app_limited: Option<u32>,
    /// What TCP_INFO shows: segments, the time they took, and whether the application was the limit.
    shown: Option<(u32, Duration, bool)>,
}

/// One sample.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct RateSample {
    /// Segments delivered since, and the time that it took; `None`: nothing can be said.
    pub(super) rate: Option<(u32, Duration)>,
}

impl Rate {
    /// What a segment that leaves `at` is to remember; `idle`: nothing is in flight.
    fn snapshot(&mut self, at: Instant, idle: bool, delivered: u32) -> Snapshot {
        if idle {
            (self.first_sent, self.delivered_at) = (at, at);
        }
        Snapshot {
            delivered,
            delivered_at: self.delivered_at,
            first_sent: self.first_sent,
            app_limited: self.app_limited.is_some(),
        }
    }

    /// The sample of an acknowledgement that delivers `newly` segments, `delivered` in all, of which
    /// `latest` left last.
    fn generate(
        &mut self,
        now: Instant,
        latest: Option<&Sent>,
        newly: u32,
        delivered: u32,
        min_rtt: Duration,
    ) -> RateSample {
        if self
            .app_limited
            .is_some_and(|until| (delivered.wrapping_sub(until) as i32) > 0)
        {
            self.app_limited = None;
        }
        if newly > 0 {
            self.delivered_at = now;
        }
        let Some(latest) = latest else {
            return RateSample::default();
        };
        self.first_sent = latest.at;
        let then = latest.then;
        let took = latest
            .at
            .since(then.first_sent)
            .max(now.since(then.delivered_at));
        let mut sample = RateSample { rate: None };
        // Shorter than any round trip: acknowledgements came compressed.
        if took < min_rtt || took.is_zero() {
            return sample;
        }
        let count = delivered.wrapping_sub(then.delivered);
        sample.rate = Some((count, took));
        let faster = self.shown.is_none_or(|(shown, time, _)| {
            u128::from(count) * time.as_micros() >= u128::from(shown) * took.as_micros()
        });
        if !then.app_limited || faster {
            self.shown = Some((count, took, then.app_limited));
        }
        sample
    }

    /// Bytes per second as TCP_INFO shows it, and whether the application was the limit.
    pub(super) fn shown(&self, mss: u32) -> (u64, bool) {
        self.shown.map_or((0, false), |(count, time, limited)| {
            let bytes = u64::from(count) * u64::from(mss) * 1_000_000;
            (bytes / (time.as_micros().max(1) as u64), limited)
        })
    }
}

impl Connection {
    /// What a segment that leaves now is to remember.
    pub(super) fn rate_snapshot(&mut self, now: Instant) -> Snapshot {
        let idle = self.flight.is_empty();
        self.rate.snapshot(now, idle, self.counters.delivered)
    }

    pub(super) fn rate_sample(
        &mut self,
        now: Instant,
        latest: Option<&Sent>,
        newly: u32,
    ) -> RateSample {
        let (delivered, min_rtt) = (self.counters.delivered, self.rtt.min_rtt());
        let min_rtt = if min_rtt == Duration::MAX {
            Duration::ZERO
        } else {
            min_rtt
        };
        let latest = latest.filter(|_| !self.recovery.reneged);
        self.rate.generate(now, latest, newly, delivered, min_rtt)
    }

    /// The application writes (or the timers look): has it kept the network waiting?
    pub(super) fn check_app_limited(&mut self) {
        let end = self.snd.queue.end();
        let unsent = if end.after(self.snd.nxt) {
            end - self.snd.nxt
        } else {
            0
        };
        if unsent < self.snd.mss
            && self.in_flight() < self.cc.window.cwnd
            && self.flight.lost <= self.flight.retrans
        {
            let until = self.counters.delivered.wrapping_add(self.in_flight());
            self.rate.app_limited = Some(until);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::seq::Seq;
    use super::*;

    fn sent(at: Instant, then: Snapshot) -> Sent {
        Sent {
            at,
            then,
            ..Sent::new(Seq(0), Seq(1000), at, 1)
        }
    }

    #[test]
    fn the_slower_of_sending_and_acknowledging_counts() {
        let ms = Instant::from_millis;
        let mut rate = Rate::default();
        let first = sent(ms(10), rate.snapshot(ms(10), true, 0));
        let last = sent(ms(40), rate.snapshot(ms(40), false, 0));
        let min_rtt = Duration::from_millis(20);
        let sample = rate.generate(ms(30), Some(&first), 1, 1, min_rtt);
        assert_eq!(sample.rate, Some((1, Duration::from_millis(20))));
        // Ten segments more, sent within 30 ms and acknowledged 50 ms after the first left.
        let sample = rate.generate(ms(60), Some(&last), 10, 11, min_rtt);
        assert_eq!(sample.rate, Some((11, Duration::from_millis(50))));
        assert_eq!(rate.shown(1000), (220_000, false));
        // Acknowledgements that come all at once say nothing.
        let burst = sent(ms(61), rate.snapshot(ms(61), false, 11));
        let least = Duration::from_millis(40);
        assert_eq!(rate.generate(ms(62), Some(&burst), 1, 12, least).rate, None);
    }
}
