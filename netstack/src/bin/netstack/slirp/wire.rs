//! The TAP interface and the stack behind it, driven by the program's own loop.

use std::io;
use std::os::fd::BorrowedFd;

use netstack::buf::{BATCH_MAX, RxBatch, TxBatch};
use netstack::link::Device;
use netstack::network::IfaceId;
use netstack::stack::Stack;
use netstack::time::Instant;

/// Batches that are received before anything else gets its turn.
const BATCHES_PER_ROUND: usize = 4;

/// The device, and packets that it has not taken yet.
pub(super) struct Wire {
    device: Box<dyn Device + Send>,
    iface: IfaceId,
    rx: RxBatch,
    tx: TxBatch,
}

impl Wire {
    pub(super) fn new(device: Box<dyn Device + Send>, iface: IfaceId) -> Self {
        Self {
            device,
            iface,
            rx: RxBatch::new(),
            tx: TxBatch::new(),
        }
    }

    pub(super) fn fd(&self) -> Option<BorrowedFd<'_>> {
        self.device.fd()
    }

    /// Hands what has arrived to the stack. What is left is announced again: the descriptor is
    /// level-triggered.
    pub(super) fn receive(&mut self, stack: &mut Stack, now: Instant) -> io::Result<()> {
        for _ in 0..BATCHES_PER_ROUND {
            self.rx.clear();
            let got = self.device.receive(now, &mut self.rx)?;
            if got > 0 {
                stack.receive(now, self.iface, &mut self.rx);
            }
            if got < BATCH_MAX {
                break;
            }
        }
        Ok(())
    }

    /// Sends what the stack has to send. False if the device takes no more for now.
    pub(super) fn transmit(&mut self, stack: &mut Stack, now: Instant) -> io::Result<bool> {
        loop {
            stack.poll_transmit(now, self.iface, &mut self.tx);
            if self.tx.is_empty() && !self.device.transmit_pending() {
                return Ok(true);
            }
            self.device.transmit(now, &mut self.tx)?;
            if !self.tx.is_empty() || self.device.transmit_pending() {
                return Ok(false);
            }
        }
    }
}
