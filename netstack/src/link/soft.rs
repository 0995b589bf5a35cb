//! Gives a device without offloads what the stack likes best: it may send super-packets with
//! unfinished checksums (segmentation in software), and receives merged segments (GRO).

use std::collections::VecDeque;
use std::io;
use std::os::fd::BorrowedFd;

use super::gro::Merger;
use super::segment::segment;
use super::{Device, DeviceCaps};
use crate::buf::{RxBatch, SUPER_PACKET_MAX, TxBatch, TxPacket};
use crate::time::Instant;

/// Software segmentation and GRO around a device.
#[derive(Debug)]
pub struct SoftOffload<D> {
    inner: D,
    /// Pieces that the device below has not taken yet: at most those of one super-packet and a batch.
    pieces: VecDeque<TxPacket>,
    merger: Merger,
}

impl<D: Device> SoftOffload<D> {
    /// Wraps `inner`. Pointless, but harmless, around a device that has the offloads itself.
    pub fn new(inner: D) -> Self {
        let medium = inner.caps().medium;
        Self {
            inner,
            pieces: VecDeque::new(),
            merger: Merger::new(medium),
        }
    }

    /// The device below.
    pub fn inner(&self) -> &D {
        &self.inner
    }

    /// Hands pieces down until none is left (true) or the device takes no more.
    fn send_pieces(&mut self, now: Instant) -> io::Result<bool> {
        let mut batch = TxBatch::new();
        while !self.pieces.is_empty() {
            let count = self.pieces.len().min(batch.capacity());
            batch.extend(self.pieces.drain(..count));
            let sent = self.inner.transmit(now, &mut batch);
            let all = batch.is_empty();
            batch
                .drain(..)
                .rev()
                .for_each(|p| self.pieces.push_front(p));
            sent?;
            if !all {
                return Ok(false);
            }
        }
        Ok(true)
    }
}

impl<D: Device> Device for SoftOffload<D> {
    fn caps(&self) -> DeviceCaps {
        DeviceCaps {
            tx_checksum: true,
            gso_max: SUPER_PACKET_MAX as u32,
            ..self.inner.caps()
        }
    }

    fn receive(&mut self, now: Instant, batch: &mut RxBatch) -> io::Result<usize> {
        let before = batch.len();
        self.inner.receive(now, batch)?;
        self.merger.merge(batch, before);
        Ok(batch.len() - before)
    }

    fn transmit(&mut self, now: Instant, batch: &mut TxBatch) -> io::Result<usize> {
        let mut taken = 0;
        while self.send_pieces(now)? && !batch.is_empty() {
            // As many packets at once as make about one batch of pieces.
            let mut used = 0;
            for packet in batch.iter_mut() {
                used += 1;
                segment(std::mem::take(packet), |piece| self.pieces.push_back(piece));
                if self.pieces.len() >= crate::buf::BATCH_MAX {
                    break;
                }
            }
            batch.drain(..used);
            taken += used;
        }
        if taken == 0 && batch.is_empty() {
            // A decorator below may have delayed packets to release.
            self.inner.transmit(now, &mut TxBatch::new())?;
        }
        Ok(taken)
    }

    fn poll_timeout(&self) -> Option<Instant> {
        self.inner.poll_timeout()
    }

    fn transmit_pending(&self) -> bool {
        !self.pieces.is_empty() || self.inner.transmit_pending()
    }

    fn fd(&self) -> Option<BorrowedFd<'_>> {
        self.inner.fd()
    }

    fn announces_room(&self) -> bool {
        self.inner.announces_room()
    }
}
