//! A bad network, on purpose: loses, duplicates, delays, reorders and damages packets with given
//! probabilities, the same way each time for the same seed.
//!
//! Place it below [`super::soft::SoftOffload`], so that what it loses is a packet and not a super-packet.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::io;
use std::os::fd::BorrowedFd;

use super::{Device, DeviceCaps};
use crate::buf::{Bytes, RxBatch, RxChecksum, RxPacket, TxBatch, TxPacket};
use crate::rng::Rng;
use crate::time::{Duration, Instant};

/// How often what goes wrong. Each direction is treated alike, on its own.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct FaultConfig {
    /// Probability that a packet is lost (0 to 1).
    pub loss: f64,
    /// Probability that a packet arrives twice.
    pub duplicate: f64,
    /// Probability that a packet is held back by `reorder_delay`, so that later ones overtake it.
    pub reorder: f64,
    /// How long a reordered packet is held back, beyond `delay`.
    pub reorder_delay: Duration,
    /// How long each packet is on its way.
    pub delay: Duration,
    /// Each packet's delay varies evenly by up to this much more. Packets may overtake each other.
    pub jitter: Duration,
    /// Probability that one bit of a packet is flipped.
    pub corrupt: f64,
    /// Packets in flight per direction; when there are as many, sending pushes back and receiving waits.
    pub limit: usize,
}

impl Default for FaultConfig {
    /// Nothing goes wrong; reordered packets would be 1 ms late; 4,096 packets in flight.
    fn default() -> Self {
        Self {
            loss: 0.0,
            duplicate: 0.0,
            reorder: 0.0,
            reorder_delay: Duration::from_millis(1),
            delay: Duration::ZERO,
            jitter: Duration::ZERO,
            corrupt: 0.0,
            limit: 4_096,
        }
    }
}

/// What has been done to packets so far, both directions together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FaultStats {
    /// Packets that came in from either side.
    pub packets: u64,
    /// Packets lost.
    pub lost: u64,
    /// Packets sent twice.
    pub duplicated: u64,
    /// Packets held back for reordering.
    pub reordered: u64,
    /// Packets with a flipped bit.
    pub corrupted: u64,
}

/// A packet on its way, ordered by when it gets there and then by when it left.
#[derive(Debug)]
struct InFlight<P> {
    due: Instant,
    order: u64,
    packet: P,
}

impl<P> PartialEq for InFlight<P> {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl<P> Eq for InFlight<P> {}

impl<P> PartialOrd for InFlight<P> {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl<P> Ord for InFlight<P> {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.due, self.order).cmp(&(other.due, other.order))
    }
}

/// One direction's packets in flight.
#[derive(Debug)]
struct Wire<P> {
    heap: BinaryHeap<Reverse<InFlight<P>>>,
    order: u64,
}

impl<P> Wire<P> {
    fn new() -> Self {
        Self {
            heap: BinaryHeap::new(),
            order: 0,
        }
    }

    fn push(&mut self, due: Instant, packet: P) {
        self.order += 1;
        self.heap.push(Reverse(InFlight {
            due,
            order: self.order,
            packet,
        }));
    }

    fn next_due(&self) -> Option<Instant> {
        self.heap.peek().map(|first| first.0.due)
    }

    fn pop_due(&mut self, now: Instant) -> Option<(Instant, P)> {
        if self.next_due()? > now {
            return None;
        }
        self.heap.pop().map(|first| (first.0.due, first.0.packet))
    }
}

/// What the dice say about one packet.
struct Fate {
    copies: usize,
    damaged_bit: Option<u32>,
    delay: Duration,
}

/// A device with faults.
#[derive(Debug)]
pub struct Fault<D> {
    inner: D,
    config: FaultConfig,
    rng: Rng,
    stats: FaultStats,
    outgoing: Wire<TxPacket>,
    incoming: Wire<RxPacket>,
    /// Released packets that the device below has not taken yet.
    blocked: TxBatch,
}

impl<D: Device> Fault<D> {
    /// Puts faults in front of `inner`; the same seed and packets give the same faults.
    pub fn new(inner: D, config: FaultConfig, seed: [u8; 16]) -> Self {
        Self {
            inner,
            config,
            rng: Rng::from_seed(seed),
            stats: FaultStats::default(),
            outgoing: Wire::new(),
            incoming: Wire::new(),
            blocked: TxBatch::new(),
        }
    }

    /// What has been done so far.
    pub fn stats(&self) -> FaultStats {
        self.stats
    }

    fn chance(&mut self, probability: f64) -> bool {
        // 53 bits make a uniform number in [0, 1).
        let uniform = (self.rng.next_u64() >> 11) as f64 / (1u64 << 53) as f64;
        uniform < probability
    }

    fn roll(&mut self, bytes: usize) -> Fate {
        let config = self.config;
        self.stats.packets += 1;
        let mut fate = Fate {
            copies: 1,
            damaged_bit: None,
            delay: config.delay,
        };
        if self.chance(config.loss) {
            self.stats.lost += 1;
            fate.copies = 0;
        } else if self.chance(config.duplicate) {
            self.stats.duplicated += 1;
            fate.copies = 2;
        }
        if self.chance(config.reorder) {
            self.stats.reordered += 1;
            fate.delay += config.reorder_delay;
        }
        if !config.jitter.is_zero() {
            let share = f64::from(self.rng.next_u32()) / f64::from(u32::MAX);
            fate.delay += config.jitter.mul_f64(share);
        }
        if bytes > 0 && self.chance(config.corrupt) {
            self.stats.corrupted += 1;
            fate.damaged_bit = Some(self.rng.below(bytes as u32 * 8));
        }
        fate
    }

    /// Takes from the front of `batch` what there is room for.
    fn take_outgoing(&mut self, now: Instant, batch: &mut TxBatch) -> usize {
        let room = self
            .config
            .limit
            .saturating_sub(self.outgoing.heap.len() + self.blocked.len());
        let count = batch.len().min(room);
        for mut packet in batch.drain(..count) {
            let fate = self.roll(packet.len());
            if let Some(bit) = fate.damaged_bit {
                damage_outgoing(&mut packet, bit);
            }
            for _ in 0..fate.copies {
                self.outgoing.push(now + fate.delay, packet.clone());
            }
        }
        count
    }

    /// Hands what is due to the device below, as far as that takes it.
    fn release_outgoing(&mut self, now: Instant) -> io::Result<()> {
        loop {
            while !self.blocked.is_full() {
                match self.outgoing.pop_due(now) {
                    Some((_, packet)) => self.blocked.push(packet),
                    None => break,
                }
            }
            if self.blocked.is_empty() || self.inner.transmit(now, &mut self.blocked)? == 0 {
                return Ok(());
            }
        }
    }

    /// Takes what the device below has received, until there is no more or no room.
    fn take_incoming(&mut self, now: Instant) -> io::Result<()> {
        let mut batch = RxBatch::new();
        while self.incoming.heap.len() < self.config.limit
            && self.inner.receive(now, &mut batch)? > 0
        {
            for mut packet in batch.drain(..) {
                let fate = self.roll(packet.data.len());
                if let Some(bit) = fate.damaged_bit {
                    damage_incoming(&mut packet, bit);
                }
                for _ in 0..fate.copies {
                    self.incoming.push(now + fate.delay, packet.clone());
                }
            }
        }
        Ok(())
    }
}

fn damage_outgoing(packet: &mut TxPacket, bit: u32) {
    let mut at = bit as usize / 8;
    let mask = 1 << (bit % 8);
    if let Some(byte) = packet.head.as_mut_slice().get_mut(at) {
        *byte ^= mask;
        return;
    }
    at -= packet.head.len();
    for range in &mut packet.body {
        if at < range.len() {
            let mut copy = range.to_vec();
            copy[at] ^= mask;
            *range = Bytes::from(copy);
            return;
        }
        at -= range.len();
    }
}

fn damage_incoming(packet: &mut RxPacket, bit: u32) {
    let mut copy = packet.data.to_vec();
    copy[bit as usize / 8] ^= 1 << (bit % 8);
    packet.data = Bytes::from(copy);
    packet.checksum = RxChecksum::Unverified;
}

impl<D: Device> Device for Fault<D> {
    /// As the device below, but a damaged packet must be recognisable: checksums are complete, and
    /// packets no larger than the MTU.
    fn caps(&self) -> DeviceCaps {
        DeviceCaps {
            tx_checksum: false,
            gso_max: 0,
            ..self.inner.caps()
        }
    }

    fn receive(&mut self, now: Instant, batch: &mut RxBatch) -> io::Result<usize> {
        self.take_incoming(now)?;
        let before = batch.len();
        while !batch.is_full() {
            let Some((due, mut packet)) = self.incoming.pop_due(now) else {
                break;
            };
            packet.arrival = packet.arrival.max(due);
            batch.push(packet);
        }
        Ok(batch.len() - before)
    }

    fn transmit(&mut self, now: Instant, batch: &mut TxBatch) -> io::Result<usize> {
        self.release_outgoing(now)?;
        let taken = self.take_outgoing(now, batch);
        self.release_outgoing(now)?;
        Ok(taken)
    }

    fn poll_timeout(&self) -> Option<Instant> {
        // What the device below does not take waits for that device, not for a time.
        let outgoing = if self.blocked.is_empty() {
            self.outgoing.next_due()
        } else {
            None
        };
        [
            outgoing,
            self.incoming.next_due(),
            self.inner.poll_timeout(),
        ]
        .into_iter()
        .flatten()
        .min()
    }

    fn transmit_pending(&self) -> bool {
        !self.blocked.is_empty() || self.inner.transmit_pending()
    }

    fn fd(&self) -> Option<BorrowedFd<'_>> {
        self.inner.fd()
    }

    fn announces_room(&self) -> bool {
        self.inner.announces_room()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::link::loopback::Loopback;

    fn numbered(i: u8) -> TxPacket {
        let mut packet = TxPacket::default();
        packet.head.push_front(1)[0] = i;
        packet.body.push(Bytes::from(vec![i; 31]));
        packet
    }

    /// Sends 50 packets and steps the clock until nothing is on its way. Returns what came back, and when.
    fn round_trip(config: FaultConfig, seed: u8) -> (Vec<(Instant, Bytes)>, FaultStats) {
        let mut device = Fault::new(Loopback::default(), config, [seed; 16]);
        let mut out: TxBatch = (0..50).map(numbered).collect();
        let mut now = Instant::from_millis(1);
        device.transmit(now, &mut out).unwrap();
        assert!(out.is_empty());
        let mut seen = Vec::new();
        while let Some(next) = device.poll_timeout() {
            now = now.max(next);
            device.transmit(now, &mut TxBatch::new()).unwrap();
            let mut batch = RxBatch::new();
            device.receive(now, &mut batch).unwrap();
            seen.extend(batch.into_iter().map(|p| (p.arrival, p.data)));
        }
        (seen, device.stats())
    }

    #[test]
    fn without_faults_everything_comes_back_in_order_at_once() {
        let (seen, stats) = round_trip(FaultConfig::default(), 1);
        assert!(seen.iter().map(|(_, p)| p[0]).eq(0..50));
        assert!(seen.iter().all(|(at, _)| *at == Instant::from_millis(1)));
        assert_eq!(stats.packets, 100, "fifty in each direction");
    }

    #[test]
    fn loss_and_duplication_are_counted_exactly() {
        let config = FaultConfig {
            loss: 0.2,
            duplicate: 0.2,
            ..FaultConfig::default()
        };
        let (seen, stats) = round_trip(config, 2);
        assert!(stats.lost > 0 && stats.duplicated > 0);
        // 50 were sent; each direction adds its duplicates and takes away its losses.
        assert_eq!(seen.len() as u64, 50 + stats.duplicated - stats.lost);
    }

    #[test]
    fn delay_holds_in_both_directions() {
        let config = FaultConfig {
            delay: Duration::from_millis(10),
            ..FaultConfig::default()
        };
        let (seen, _) = round_trip(config, 3);
        assert_eq!(seen.len(), 50);
        assert!(seen.iter().all(|(at, _)| *at == Instant::from_millis(21)));
    }

    #[test]
    fn reordering_changes_the_order_and_loses_nothing() {
        let config = FaultConfig {
            reorder: 0.3,
            ..FaultConfig::default()
        };
        let (seen, stats) = round_trip(config, 4);
        let mut order: Vec<u8> = seen.iter().map(|(_, p)| p[0]).collect();
        assert!(!order.is_sorted() && stats.reordered > 0);
        order.sort_unstable();
        assert!(order.into_iter().eq(0..50));
    }

    #[test]
    fn damage_is_one_bit() {
        let config = FaultConfig {
            corrupt: 0.2,
            ..FaultConfig::default()
        };
        let (seen, stats) = round_trip(config, 5);
        let flipped: u32 = seen
            .iter()
            .enumerate()
            .flat_map(|(i, (_, packet))| packet.iter().map(move |b| (b ^ i as u8).count_ones()))
            .sum();
        // A packet hit in both directions has two; the same bit twice would show none.
        assert_eq!(u64::from(flipped), stats.corrupted);
        assert!(stats.corrupted > 0);
    }

    #[test]
    fn the_same_seed_gives_the_same_run() {
        let config = FaultConfig {
            loss: 0.1,
            duplicate: 0.1,
            reorder: 0.1,
            jitter: Duration::from_millis(2),
            corrupt: 0.1,
            ..FaultConfig::default()
        };
        assert_eq!(round_trip(config, 6), round_trip(config, 6));
        assert_ne!(round_trip(config, 6).0, round_trip(config, 7).0);
    }

    #[test]
    fn a_full_wire_pushes_back() {
        let config = FaultConfig {
            delay: Duration::from_millis(1),
            limit: 3,
            ..FaultConfig::default()
        };
        let mut device = Fault::new(Loopback::default(), config, [0; 16]);
        let mut out: TxBatch = (0..5).map(numbered).collect();
        assert_eq!(device.transmit(Instant::ZERO, &mut out).unwrap(), 3);
        assert_eq!(out.len(), 2);
        let later = device.poll_timeout().unwrap();
        assert_eq!(device.transmit(later, &mut out).unwrap(), 2);
    }
}
