//! A listener's connections whose handshake is not finished: data was taken on the word of a cookie,
//! so there is a limit to them (RFC 7413, 5.1; TCP_FASTOPEN).

use std::collections::VecDeque;

use crate::socket::SocketId;
use crate::time::{Duration, Instant};

/// How long an accepted connection that was reset in this state keeps its place: else a peer could send SYN
/// and RST without end (Linux `reqsk_fastopen_remove`).
const PENALTY: Duration = Duration::from_secs(60);

/// A place is given back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::transport::tcp) struct Leave {
    pub(in crate::transport::tcp) listener: SocketId,
    /// By a reset, before the handshake was complete and after `accept`.
    pub(in crate::transport::tcp) reset: bool,
}

/// The places taken.
#[derive(Clone, Debug, Default)]
pub(in crate::transport::tcp) struct PendingQueue {
    /// Connections that wait for the last ACK.
    waiting: u32,
    /// When the places of those that were reset become free, earliest first.
    penalties: VecDeque<Instant>,
}

impl PendingQueue {
    fn len(&self) -> u32 {
        self.waiting + self.penalties.len() as u32
    }

    /// True if there is a place for another connection, `most` being all there are.
    pub(in crate::transport::tcp) fn has_room(&mut self, most: u32, now: Instant) -> bool {
        if most == 0 {
            return false;
        }
        if self.len() >= most && self.penalties.front().is_some_and(|end| *end <= now) {
            self.penalties.pop_front();
        }
        self.len() < most
    }

    pub(in crate::transport::tcp) fn enter(&mut self) {
        self.waiting += 1;
    }

    /// A connection has left. `reset`: by a reset, before it was complete.
    pub(in crate::transport::tcp) fn leave(&mut self, reset: bool, now: Instant) {
        self.waiting = self.waiting.saturating_sub(1);
        if reset {
            self.penalties.push_back(now + PENALTY);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reset_keeps_its_place_for_a_minute() {
        let at = |secs: u64| Instant::from_millis(secs * 1000);
        let mut queue = PendingQueue::default();
        assert!(!queue.has_room(0, at(0)), "no queue at all");
        queue.enter();
        assert!(queue.has_room(2, at(0)));
        queue.enter();
        assert!(!queue.has_room(2, at(0)));
        queue.leave(false, at(0));
        assert!(queue.has_room(2, at(0)));
        queue.leave(true, at(1));
        assert!(!queue.has_room(1, at(60)));
        assert!(queue.has_room(1, at(61)));
        assert!(queue.has_room(1, at(61)), "it is free for good");
    }
}
