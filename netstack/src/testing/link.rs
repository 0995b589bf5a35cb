//! One direction of a virtual link: a queue with a rate in front of a wire with a delay and faults.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use crate::buf::{Bytes, TxPacket};
use crate::link::ETHERNET_HEADER_LEN;
use crate::link::segment::segment;
use crate::rng::Rng;
use crate::time::{Duration, Instant};

/// How a link behaves, in each direction on its own.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LinkConfig {
    /// Bits per second; `None` for no limit.
    pub rate: Option<u64>,
    /// Bytes that may wait for the rate; more are dropped at the tail.
    pub queue_bytes: usize,
    /// Propagation delay.
    pub delay: Duration,
    /// Probability that a packet is lost on the wire (0 to 1).
    pub loss: f64,
    /// Probability that a packet arrives twice.
    pub duplicate: f64,
    /// Probability that a packet takes `reorder_delay` longer.
    pub reorder: f64,
    /// See `reorder`.
    pub reorder_delay: Duration,
    /// Probability that one bit of a packet, beyond its link header and not in ARP, is turned over.
    pub corrupt: f64,
}

impl Default for LinkConfig {
    /// 1 Gbit/s with 1 ms delay and a queue of 1 MiB, without faults.
    fn default() -> Self {
        Self {
            rate: Some(1_000_000_000),
            queue_bytes: 1 << 20,
            delay: Duration::from_millis(1),
            loss: 0.0,
            duplicate: 0.0,
            reorder: 0.0,
            reorder_delay: Duration::from_millis(1),
            corrupt: 0.0,
        }
    }
}

/// What has happened in one direction of a link.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LinkStats {
    /// Packets offered, after segmentation.
    pub packets: u64,
    /// Bytes of those.
    pub bytes: u64,
    /// Packets dropped because the queue was full.
    pub dropped: u64,
    /// Packets lost on the wire.
    pub lost: u64,
    /// Packets with a bit turned over.
    pub corrupted: u64,
}

/// One direction.
#[derive(Debug)]
pub(super) struct Direction {
    config: LinkConfig,
    rng: Rng,
    /// When the last packet in the queue will have left it.
    busy_until: Instant,
    arrivals: BinaryHeap<Reverse<(Instant, u64, Bytes)>>,
    order: u64,
    pub(super) stats: LinkStats,
}

impl Direction {
    pub(super) fn new(config: LinkConfig, rng: Rng) -> Self {
        Self {
            config,
            rng,
            busy_until: Instant::ZERO,
            arrivals: BinaryHeap::new(),
            order: 0,
            stats: LinkStats::default(),
        }
    }

    /// Takes a packet, cut to size if it is a super-packet.
    pub(super) fn send(&mut self, now: Instant, packet: TxPacket) {
        segment(packet, |piece| {
            self.send_one(now, Bytes::from(piece.to_vec()))
        });
    }

    fn send_one(&mut self, now: Instant, packet: Bytes) {
        self.stats.packets += 1;
        self.stats.bytes += packet.len() as u64;
        let Some(left) = self.queue(now, packet.len()) else {
            self.stats.dropped += 1;
            return;
        };
        if self.chance(self.config.loss) {
            self.stats.lost += 1;
            return;
        }
        let packet = self.damage(packet);
        let mut due = left + self.config.delay;
        if self.chance(self.config.reorder) {
            due += self.config.reorder_delay;
        }
        let copies = if self.chance(self.config.duplicate) {
            2
        } else {
            1
        };
        for _ in 0..copies {
            self.order += 1;
            self.arrivals
                .push(Reverse((due, self.order, packet.clone())));
        }
    }

    /// When the packet's last bit leaves the queue; `None` if there is no room for it.
    fn queue(&mut self, now: Instant, len: usize) -> Option<Instant> {
        let Some(rate) = self.config.rate else {
            return Some(now);
        };
        let backlog = self.busy_until.since(now).as_nanos() * u128::from(rate) / 8_000_000_000;
        if backlog + len as u128 > self.config.queue_bytes as u128 {
            return None;
        }
        let nanos = len as u64 * 8_000_000_000 / rate.max(1);
        self.busy_until = self.busy_until.max(now) + Duration::from_nanos(nanos);
        Some(self.busy_until)
    }

    /// The packet, with a bit turned over if it is this one's turn.
    fn damage(&mut self, packet: Bytes) -> Bytes {
        // Without faults of this kind the others happen as before.
        let turn = self.config.corrupt > 0.0 && self.chance(self.config.corrupt);
        let is_arp = packet.get(12..14) == Some(&[0x08, 0x06]);
        if !turn || is_arp || packet.len() <= ETHERNET_HEADER_LEN {
            return packet;
        }
        self.stats.corrupted += 1;
        let bits = (packet.len() - ETHERNET_HEADER_LEN) * 8;
        let bit = self.rng.next_u32() as usize % bits;
        let mut bytes = packet.to_vec();
        bytes[ETHERNET_HEADER_LEN + bit / 8] ^= 1 << (bit % 8);
        bytes.into()
    }

    fn chance(&mut self, probability: f64) -> bool {
        f64::from(self.rng.next_u32()) < probability * 4_294_967_296.0
    }

    /// When the next packet arrives.
    pub(super) fn next_arrival(&self) -> Option<Instant> {
        self.arrivals.peek().map(|first| first.0.0)
    }

    /// The next packet, if it has arrived.
    pub(super) fn arrived(&mut self, now: Instant) -> Option<Bytes> {
        if self.next_arrival()? > now {
            return None;
        }
        self.arrivals.pop().map(|first| first.0.2)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn packet(len: usize) -> TxPacket {
        let mut packet = TxPacket::default();
        packet.body.push(Bytes::from(vec![0; len]));
        packet
    }

    #[test]
    fn rate_and_delay_add_up_and_the_queue_is_bounded() {
        let config = LinkConfig {
            rate: Some(8_000_000),
            queue_bytes: 2_000,
            delay: Duration::from_millis(5),
            ..LinkConfig::default()
        };
        let mut wire = Direction::new(config, Rng::from_seed([0; 16]));
        for _ in 0..3 {
            wire.send(Instant::ZERO, packet(1_000));
        }
        assert_eq!(wire.stats.dropped, 1);
        assert_eq!(wire.next_arrival(), Some(Instant::from_millis(6)));
        assert!(wire.arrived(Instant::from_millis(5)).is_none());
        assert!(wire.arrived(Instant::from_millis(6)).is_some());
        assert_eq!(wire.next_arrival(), Some(Instant::from_millis(7)));
    }
}
