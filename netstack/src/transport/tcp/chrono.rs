//! What a sender with data waits for, and how long it has (`tcpi_busy_time`, `tcpi_rwnd_limited`,
//! `tcpi_sndbuf_limited`; Linux `tcp_chrono_start`).

use crate::time::{Duration, Instant};

/// What it waits for; of several the last counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Waits {
    /// There is nothing to send.
    #[default]
    Idle,
    /// Acknowledgements.
    Network,
    /// The peer's window.
    Window,
    /// The application, which has met a full send buffer.
    Buffer,
}

/// The time spent so far.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Chrono {
    waits: Waits,
    since: Instant,
    spent: [Duration; 3],
}

impl Chrono {
    fn set(&mut self, waits: Waits, now: Instant) {
        if let Some(spent) = self.spent.get_mut((self.waits as usize).wrapping_sub(1)) {
            *spent += now.since(self.since);
        }
        (self.waits, self.since) = (waits, now);
    }

    /// From now on it waits for this too.
    pub(super) fn start(&mut self, waits: Waits, now: Instant) {
        if waits > self.waits {
            self.set(waits, now);
        }
    }

    /// It does not wait for this any more.
    pub(super) fn stop(&mut self, waits: Waits, now: Instant) {
        if waits == self.waits {
            self.set(Waits::Network, now);
        }
    }

    /// All has been acknowledged.
    pub(super) fn rest(&mut self, now: Instant) {
        if self.waits != Waits::Idle {
            self.set(Waits::Idle, now);
        }
    }

    /// Time with data to send, and the parts of it that went by for the peer's window and for the send
    /// buffer.
    pub(super) fn totals(&self, now: Instant) -> [Duration; 3] {
        let mut settled = *self;
        settled.set(self.waits, now);
        let [network, window, buffer] = settled.spent;
        [network + window + buffer, window, buffer]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_strongest_reason_counts() {
        let at = Instant::from_millis;
        let ms = Duration::from_millis;
        let mut chrono = Chrono::default();
        chrono.start(Waits::Network, at(10));
        chrono.start(Waits::Window, at(20));
        chrono.start(Waits::Network, at(25));
        chrono.stop(Waits::Buffer, at(26));
        chrono.stop(Waits::Window, at(30));
        assert_eq!(chrono.totals(at(35)), [ms(25), ms(10), ms(0)]);
        chrono.start(Waits::Buffer, at(40));
        chrono.rest(at(45));
        assert_eq!(chrono.totals(at(99)), [ms(35), ms(10), ms(5)]);
    }
}
