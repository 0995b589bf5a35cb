//! Memory that passes from one connection to the next: an idle connection holds none for its queues, and
//! one that becomes busy allocates none.

use std::collections::VecDeque;

use super::records::Mark;
use super::recv_queue::RecvStore;
use super::sack::Sent;
use super::send_queue::SendStore;
use super::state::Connection;

/// Stores of each kind that are kept.
const KEPT_MAX: usize = 64;
/// Bytes that a kept store may have: one that a burst has made larger is freed.
const STORE_BYTES_MAX: usize = 512 * 1024;
/// Bytes of all that is kept.
const BYTES_MAX: usize = 4 * 1024 * 1024;

/// The memory that no connection has at present.
#[derive(Debug, Default)]
pub struct Spares {
    sending: Vec<Sending>,
    #[expect(clippy::vec_box, reason = "the box itself moves to the connection")]
    receiving: Vec<Box<RecvStore>>,
    bytes: usize,
}

/// What a connection needs as long as something that it has sent is not acknowledged.
#[derive(Debug)]
struct Sending {
    store: Box<SendStore>,
    records: VecDeque<Mark>,
    flight: VecDeque<Sent>,
}

impl Sending {
    fn bytes(&self) -> usize {
        self.store.bytes()
            + self.records.capacity() * size_of::<Mark>()
            + self.flight.capacity() * size_of::<Sent>()
    }
}

impl Spares {
    /// True if `bytes` more may be kept.
    fn take_in(&mut self, bytes: usize) -> bool {
        let kept = bytes <= STORE_BYTES_MAX && self.bytes + bytes <= BYTES_MAX;
        self.bytes += if kept { bytes } else { 0 };
        kept
    }
}

impl Connection {
    /// Takes memory for what is about to be sent.
    pub(super) fn equip_sender(&mut self, spares: &mut Spares) {
        if self.snd.queue.store_mut().is_some() {
            return;
        }
        if let Some(sending) = spares.sending.pop() {
            spares.bytes -= sending.bytes();
            *self.snd.queue.store_mut() = Some(sending.store);
            // A FIN may be in flight without a byte.
            if self.flight.is_empty() {
                *self.flight.memory_mut() = sending.flight;
            }
            *self.snd.records.memory_mut() = sending.records;
        }
    }

    /// Takes memory for what is about to arrive.
    pub(super) fn equip_receiver(&mut self, spares: &mut Spares) {
        let store = self.rcv.queue.store_mut();
        if store.is_none()
            && let Some(spare) = spares.receiving.pop()
        {
            spares.bytes -= spare.bytes();
            *store = Some(spare);
        }
    }

    /// Gives memory back that is not needed at present.
    pub(super) fn rest(&mut self, spares: &mut Spares) {
        if self.snd.queue.len() == 0
            && self.flight.is_empty()
            && let Some(store) = self.snd.queue.store_mut().take()
        {
            let mut records = std::mem::take(self.snd.records.memory_mut());
            records.clear();
            let flight = std::mem::take(self.flight.memory_mut());
            let sending = Sending {
                store,
                records,
                flight,
            };
            if spares.sending.len() < KEPT_MAX && spares.take_in(sending.bytes()) {
                spares.sending.push(sending);
            }
        }
        if self.rcv.queue.is_empty()
            && let Some(store) = self.rcv.queue.store_mut().take()
            && spares.receiving.len() < KEPT_MAX
            && spares.take_in(store.bytes())
        {
            spares.receiving.push(store);
        }
    }
}
