//! Fair queueing: flows take turns by bytes, those that are new before those that have queued for long.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};
use std::hash::{BuildHasher, Hasher};

use super::tbf::nanos_of;
use crate::buf::TxPacket;
use crate::filter::packet::Summary;
use crate::rng::{KeyedState, Rng};
use crate::time::{Duration, Instant};

/// Queues; flows with the same hash share one.
const FLOWS: usize = 1024;

#[derive(Debug)]
pub(super) struct Fq {
    flows: Vec<Flow>,
    /// In turn: those that have just become busy, and the others.
    fresh: VecDeque<u16>,
    old: VecDeque<u16>,
    /// Those that have to wait for their time.
    throttled: BinaryHeap<Reverse<(Instant, u16)>>,
    flow_limit: usize,
    quantum: i64,
    max_rate: Option<u64>,
    hash: KeyedState,
}

#[derive(Debug, Default)]
struct Flow {
    queue: VecDeque<TxPacket>,
    /// Bytes that it may still send in this turn.
    credit: i64,
    /// Its next packet leaves no earlier.
    next_at: Instant,
    place: Place,
}

/// Which list a flow is in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Place {
    #[default]
    None,
    Listed,
    Throttled,
}

impl Fq {
    pub(super) fn new(flow_limit: usize, quantum: u32, max_rate: Option<u64>) -> Self {
        let mut flows = Vec::new();
        flows.resize_with(FLOWS, Flow::default);
        Self {
            flows,
            fresh: VecDeque::new(),
            old: VecDeque::new(),
            throttled: BinaryHeap::new(),
            flow_limit: flow_limit.max(1),
            quantum: i64::from(quantum.max(1)),
            max_rate: max_rate.filter(|rate| *rate > 0),
            // Which flows share a queue does no harm if somebody knows it: the limits hold.
            hash: KeyedState::new(&mut Rng::from_seed([0x5f; 16])),
        }
    }

    /// False if the flow has as many packets as it may.
    pub(super) fn push(&mut self, packet: TxPacket) -> bool {
        let at = self.flow_of(&packet);
        let flow = &mut self.flows[usize::from(at)];
        if flow.queue.len() >= self.flow_limit {
            return false;
        }
        flow.queue.push_back(packet);
        if flow.place == Place::None {
            flow.place = Place::Listed;
            flow.credit = flow.credit.max(self.quantum);
            self.fresh.push_back(at);
        }
        true
    }

    pub(super) fn pop(&mut self, now: Instant) -> Option<TxPacket> {
        self.release(now);
        loop {
            let is_fresh = !self.fresh.is_empty();
            let list = match is_fresh {
                true => &mut self.fresh,
                false => &mut self.old,
            };
            let at = *list.front()?;
            let flow = &mut self.flows[usize::from(at)];
            if flow.credit <= 0 {
                flow.credit += self.quantum;
                list.pop_front();
                self.old.push_back(at);
                continue;
            }
            let Some(packet) = flow.queue.front() else {
                list.pop_front();
                // A flow that was new gets one more turn, so that it does not stay new by pausing.
                match is_fresh && !self.old.is_empty() {
                    true => self.old.push_back(at),
                    false => flow.place = Place::None,
                }
                continue;
            };
            if flow.next_at > now {
                flow.place = Place::Throttled;
                list.pop_front();
                self.throttled.push(Reverse((flow.next_at, at)));
                continue;
            }
            let len = packet.len() as u64;
            flow.credit -= len as i64;
            if let Some(rate) = self.max_rate {
                flow.next_at = flow.next_at.max(now) + Duration::from_nanos(nanos_of(len, rate));
            }
            return flow.queue.pop_front();
        }
    }

    /// Puts flows back into the turn whose time has come.
    fn release(&mut self, now: Instant) {
        while let Some(Reverse((at, flow))) = self.throttled.peek().copied() {
            if at > now {
                break;
            }
            self.throttled.pop();
            self.flows[usize::from(flow)].place = Place::Listed;
            self.old.push_back(flow);
        }
    }

    pub(super) fn ready_at(&self) -> Option<Instant> {
        let listed = self.fresh.iter().chain(&self.old);
        let mut busy = listed.filter(|at| !self.flows[usize::from(**at)].queue.is_empty());
        match busy.next() {
            // Some of them may have to wait, which the next look finds out.
            Some(at) if self.max_rate.is_some() => {
                let rest = busy.map(|at| self.flows[usize::from(*at)].next_at);
                let listed = rest.fold(self.flows[usize::from(*at)].next_at, Instant::min);
                let throttled = self.throttled.peek().map(|Reverse((at, _))| *at);
                Some(throttled.map_or(listed, |at| at.min(listed)))
            }
            Some(_) => Some(Instant::ZERO),
            None => self.throttled.peek().map(|Reverse((at, _))| *at),
        }
    }

    fn flow_of(&self, packet: &TxPacket) -> u16 {
        let mut hash = self.hash.build_hasher();
        let head = packet.head.as_slice();
        let network = head.get(usize::from(packet.link_header_len)..);
        // Forwarded packets have only their IP header in front.
        let mut joined = [0; 64];
        let mut len = 0;
        let ranges = packet.body.iter().map(|range| &range[..]);
        for range in network.into_iter().chain(ranges) {
            let take = range.len().min(joined.len() - len);
            joined[len..len + take].copy_from_slice(&range[..take]);
            len += take;
        }
        if let Some(summary) = Summary::of_quote(&joined[..len]) {
            let bits = |addr: std::net::IpAddr| match addr {
                std::net::IpAddr::V4(addr) => u128::from(u32::from(addr)),
                std::net::IpAddr::V6(addr) => u128::from(addr),
            };
            hash.write_u128(bits(summary.src));
            hash.write_u128(bits(summary.dst));
            let (src, dst) = summary.ports().unwrap_or((0, 0));
            hash.write_u16(src);
            hash.write_u16(dst);
            hash.write_u8(summary.proto);
        }
        (hash.finish() % FLOWS as u64) as u16
    }
}
