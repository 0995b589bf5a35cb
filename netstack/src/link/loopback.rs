//! A device that returns what it is given.

use std::collections::VecDeque;
use std::io;

use super::channel::received;
use super::pool::RxPool;
use super::{Device, DeviceCaps, Medium};
use crate::buf::{RxBatch, SUPER_PACKET_MAX, TxBatch, TxPacket};
use crate::time::Instant;

/// Packets that wait to be received again before transmit pushes back.
const QUEUE_MAX: usize = 1_024;

/// The loopback device. Checksums are never computed and super-packets stay whole: nothing can
/// damage a packet on its way.
#[derive(Debug)]
pub struct Loopback {
    queue: VecDeque<TxPacket>,
    pool: RxPool,
}

impl Default for Loopback {
    fn default() -> Self {
        Self {
            queue: VecDeque::new(),
            pool: RxPool::new(),
        }
    }
}

impl Device for Loopback {
    fn caps(&self) -> DeviceCaps {
        DeviceCaps {
            medium: Medium::Ip,
            mtu: SUPER_PACKET_MAX as u32,
            tx_checksum: true,
            gso_max: SUPER_PACKET_MAX as u32,
        }
    }

    fn receive(&mut self, now: Instant, batch: &mut RxBatch) -> io::Result<usize> {
        let count = self.queue.len().min(batch.remaining_capacity());
        for packet in self.queue.drain(..count) {
            batch.push(received(&mut self.pool, Medium::Ip, &packet, now));
        }
        Ok(count)
    }

    fn transmit(&mut self, _now: Instant, batch: &mut TxBatch) -> io::Result<usize> {
        let count = batch.len().min(QUEUE_MAX - self.queue.len());
        self.queue.extend(batch.drain(..count));
        Ok(count)
    }

    fn poll_timeout(&self) -> Option<Instant> {
        (!self.queue.is_empty()).then_some(Instant::ZERO)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::buf::Bytes;

    #[test]
    fn packets_come_back_in_order() {
        let mut device = Loopback::default();
        let mut out: TxBatch = (0..3u8)
            .map(|i| {
                let mut packet = TxPacket::default();
                packet.body.push(Bytes::from(vec![i; 4]));
                packet
            })
            .collect();
        assert_eq!(device.poll_timeout(), None);
        device.transmit(Instant::ZERO, &mut out).unwrap();
        assert_eq!(device.poll_timeout(), Some(Instant::ZERO));
        let mut got = RxBatch::new();
        assert_eq!(device.receive(Instant::ZERO, &mut got).unwrap(), 3);
        assert!((0..3u8).all(|i| got[usize::from(i)].data[..] == [i; 4]));
    }
}
