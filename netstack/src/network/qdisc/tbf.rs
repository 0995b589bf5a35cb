//! A token bucket in front of a queue.

use std::collections::VecDeque;

use crate::buf::TxPacket;
use crate::link::segment::segment;
use crate::network::token_bucket::Bucket;
use crate::time::{Duration, Instant};

#[derive(Debug)]
pub(super) struct Tbf {
    rate: u64,
    burst: u32,
    bucket: Option<Bucket>,
    queue: VecDeque<TxPacket>,
    /// The first packet has to wait until then.
    not_before: Instant,
}

impl Tbf {
    pub(super) fn new(rate: u64, burst: u32) -> Self {
        Self {
            rate: rate.max(1),
            burst,
            bucket: None,
            queue: VecDeque::new(),
            not_before: Instant::ZERO,
        }
    }

    /// Queues a packet, in pieces if it is longer than may ever leave at once; `taken` hears the length of
    /// each, and the number of those dropped is returned.
    pub(super) fn push(&mut self, packet: TxPacket, mut taken: impl FnMut(usize)) -> u64 {
        let (burst, queue) = (self.burst as usize, &mut self.queue);
        if packet.len() <= burst {
            taken(packet.len());
            queue.push_back(packet);
            return 0;
        }
        let mut dropped = 0;
        let whole = segment(packet, |piece| match piece.len() <= burst {
            true => {
                taken(piece.len());
                queue.push_back(piece);
            }
            false => dropped += 1,
        });
        dropped + u64::from(!whole)
    }

    pub(super) fn pop(&mut self, now: Instant) -> Option<TxPacket> {
        let len = self.queue.front()?.len();
        let cost = nanos_of(len as u64, self.rate);
        let most = nanos_of(u64::from(self.burst), self.rate);
        let bucket = self.bucket.get_or_insert_with(|| Bucket::full(now));
        match bucket.spend(now, cost, most.max(cost)) {
            Ok(()) => {
                self.not_before = Instant::ZERO;
                self.queue.pop_front()
            }
            Err(wait) => {
                self.not_before = now + Duration::from_nanos(wait);
                None
            }
        }
    }

    pub(super) fn ready_at(&self) -> Instant {
        self.not_before
    }
}

/// How long `bytes` take at a rate.
pub(super) fn nanos_of(bytes: u64, rate: u64) -> u64 {
    let nanos = u128::from(bytes) * 1_000_000_000 / u128::from(rate);
    u64::try_from(nanos).unwrap_or(u64::MAX)
}
