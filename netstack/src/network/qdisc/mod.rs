//! Queue disciplines: in what order and when the packets of an interface leave.

mod fq;
mod tbf;
#[cfg(test)]
mod tests;

use std::collections::VecDeque;

use crate::buf::TxPacket;
use crate::time::Instant;
use fq::Fq;
use tbf::Tbf;

/// Which discipline, and how it is set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum QdiscConfig {
    /// First in, first out.
    Pfifo {
        /// Packets at most.
        limit: usize,
        /// Bytes at most.
        limit_bytes: usize,
    },
    /// A queue for each flow, in turn by bytes (deficit round robin), each at most as fast as it may be
    /// (Linux `fq`, with a fixed number of queues).
    Fq {
        /// Packets at most.
        limit: usize,
        /// Packets of one flow at most; more are dropped.
        flow_limit: usize,
        /// Bytes that a flow may send in its turn.
        quantum: u32,
        /// Bytes a second that a flow may send at most.
        flow_max_rate: Option<u64>,
    },
    /// All packets together at most as fast as this (Linux `tbf`).
    Tbf {
        /// Bytes a second.
        rate: u64,
        /// Bytes that may leave at once after a pause. Packets that are longer are cut if they are
        /// super-packets, and dropped otherwise.
        burst: u32,
        /// Bytes that wait at most.
        limit_bytes: usize,
    },
}

/// What has passed a discipline.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct QdiscCounters {
    /// Packets that have left.
    pub packets: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Packets that were dropped.
    pub drops: u64,
    /// Times that packets had to wait for their time.
    pub overlimits: u64,
    /// Packets that wait.
    pub backlog: usize,
    /// Their bytes.
    pub backlog_bytes: usize,
}

/// A discipline at work.
#[derive(Debug)]
pub(crate) struct Qdisc {
    config: QdiscConfig,
    counters: QdiscCounters,
    queue: Queue,
}

#[derive(Debug)]
enum Queue {
    Fifo(VecDeque<TxPacket>),
    Fq(Box<Fq>),
    Tbf(Tbf),
}

impl Qdisc {
    pub(crate) fn new(config: QdiscConfig) -> Self {
        let queue = match config {
            QdiscConfig::Pfifo { .. } => Queue::Fifo(VecDeque::new()),
            QdiscConfig::Fq {
                flow_limit,
                quantum,
                flow_max_rate,
                ..
            } => Queue::Fq(Box::new(Fq::new(flow_limit, quantum, flow_max_rate))),
            QdiscConfig::Tbf { rate, burst, .. } => Queue::Tbf(Tbf::new(rate, burst)),
        };
        Self {
            config,
            counters: QdiscCounters::default(),
            queue,
        }
    }

    pub(crate) fn config(&self) -> QdiscConfig {
        self.config
    }

    pub(crate) fn counters(&self) -> QdiscCounters {
        self.counters
    }

    /// True if `count` more packets find room. A datagram in more fragments than there is room for must
    /// pass an empty queue.
    pub(crate) fn has_room(&self, count: usize) -> bool {
        let (packets, bytes) = self.limits();
        self.counters.backlog == 0
            || (self.counters.backlog + count <= packets && self.counters.backlog_bytes < bytes)
    }

    /// True if at most half of the room is used.
    pub(crate) fn is_half_empty(&self) -> bool {
        let (packets, bytes) = self.limits();
        self.counters.backlog <= packets / 2 && self.counters.backlog_bytes <= bytes / 2
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.counters.backlog == 0
    }

    fn limits(&self) -> (usize, usize) {
        match self.config {
            QdiscConfig::Pfifo { limit, limit_bytes } => (limit, limit_bytes),
            QdiscConfig::Fq { limit, .. } => (limit, usize::MAX),
            QdiscConfig::Tbf { limit_bytes, .. } => (usize::MAX, limit_bytes),
        }
    }

    /// Takes a packet; what is too much for it is dropped and counted.
    pub(crate) fn push(&mut self, packet: TxPacket) {
        let counters = &mut self.counters;
        let mut taken = |len: usize| {
            counters.backlog += 1;
            counters.backlog_bytes += len;
        };
        let len = packet.len();
        let dropped = match &mut self.queue {
            Queue::Fifo(queue) => {
                queue.push_back(packet);
                taken(len);
                0
            }
            Queue::Fq(fq) => match fq.push(packet) {
                true => {
                    taken(len);
                    0
                }
                false => 1,
            },
            Queue::Tbf(tbf) => tbf.push(packet, taken),
        };
        self.counters.drops += dropped;
    }

    /// Gives the next packet whose time has come.
    pub(crate) fn pop(&mut self, now: Instant) -> Option<TxPacket> {
        let packet = match &mut self.queue {
            Queue::Fifo(queue) => queue.pop_front(),
            Queue::Fq(fq) => fq.pop(now),
            Queue::Tbf(tbf) => tbf.pop(now),
        };
        let counters = &mut self.counters;
        let Some(packet) = packet else {
            counters.overlimits += u64::from(counters.backlog > 0);
            return None;
        };
        counters.backlog -= 1;
        counters.backlog_bytes -= packet.len();
        counters.packets += 1;
        counters.bytes += packet.len() as u64;
        Some(packet)
    }

    /// When a packet may leave: a time that has come if one may now; `None` if there is none.
    pub(crate) fn ready_at(&self) -> Option<Instant> {
        match &self.queue {
            _ if self.is_empty() => None,
            Queue::Fifo(_) => Some(Instant::ZERO),
            Queue::Fq(fq) => fq.ready_at(),
            Queue::Tbf(tbf) => Some(tbf.ready_at()),
        }
    }
}
