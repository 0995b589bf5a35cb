//! Generic receive offload in software: consecutive segments of one TCP connection within a batch
//! become one packet, so that the stack looks up and processes the connection once for all of them.
//!
//! Only what can be undone is merged: the same headers, consecutive sequence numbers, equal sizes
//! (the last may be shorter), no flags but ACK, and PSH and FIN on the last. Checksums are verified first.

use arrayvec::ArrayVec;
use smallvec::SmallVec;

use super::pool::RxPool;
use super::{ETHERNET_HEADER_LEN, Medium};
use crate::buf::{Bytes, RxBatch, RxChecksum, RxPacket, SUPER_PACKET_MAX};
use crate::wire::checksum::Checksum;

/// Connections that can be merged at the same time; packets of more are passed on singly.
const RUNS_MAX: usize = 8;
const PROTO_TCP: u8 = 6;
const FIN: u8 = 0x01;
const PSH: u8 = 0x08;
const ACK: u8 = 0x10;

/// Merges batches of one device.
#[derive(Debug)]
pub struct Merger {
    medium: Medium,
    pool: RxPool,
}

/// A TCP segment that arrived whole: where its parts are.
struct Segment {
    network: usize,
    transport: usize,
    payload: usize,
    /// End of the IP packet; what follows is padding.
    end: usize,
    is_ipv4: bool,
    /// Its checksum is right, and it may be the first of a run.
    mergeable: bool,
}

/// Segments that become one packet.
struct Run {
    /// Where the first one is in the batch.
    slot: usize,
    segment: Segment,
    next_seq: u32,
    /// Payload bytes of each segment but the last.
    size: usize,
    /// Length of the merged packet.
    len: usize,
    /// FIN and PSH of the last segment.
    flags: u8,
    /// Payloads of the second segment and later.
    more: SmallVec<[Bytes; 48]>,
    closed: bool,
}

impl Merger {
    /// A merger for packets of `medium`.
    pub fn new(medium: Medium) -> Self {
        Self {
            medium,
            pool: RxPool::new(),
        }
    }

    /// Merges what can be in `batch[from..]`. Each connection's packets stay in order.
    pub fn merge(&mut self, batch: &mut RxBatch, from: usize) {
        if batch.len() < from + 2 {
            return;
        }
        let mut runs: ArrayVec<Run, RUNS_MAX> = ArrayVec::new();
        let incoming: ArrayVec<RxPacket, { crate::buf::BATCH_MAX }> = batch.drain(from..).collect();
        for mut packet in incoming {
            let segment = Segment::parse(&mut packet, self.medium);
            if let Some(segment) = segment {
                let run = runs
                    .iter_mut()
                    .find(|run| !run.closed && same_flow(&batch[run.slot], run, &packet, &segment));
                if let Some(run) = run {
                    if run.append(&batch[run.slot].data, &packet, &segment) {
                        continue;
                    }
                    run.closed = true;
                }
                if segment.mergeable {
                    open_run(&mut runs, Run::new(batch.len(), &packet, segment));
                }
            }
            batch.push(packet);
        }
        for run in runs.iter().filter(|run| !run.more.is_empty()) {
            run.build(&mut self.pool, &mut batch[run.slot]);
        }
    }
}

/// Adds a run, in the place of one that is finished without having merged anything if need be.
fn open_run(runs: &mut ArrayVec<Run, RUNS_MAX>, run: Run) {
    if !runs.is_full() {
        runs.push(run);
    } else if let Some(idle) = runs.iter_mut().find(|r| r.closed && r.more.is_empty()) {
        *idle = run;
    }
}

impl Segment {
    /// `None` for anything but an unfragmented TCP segment without IP options or extension headers.
    fn parse(packet: &mut RxPacket, medium: Medium) -> Option<Self> {
        let data = &packet.data[..];
        let (network, ethertype) = match medium {
            Medium::Ip => (0, None),
            Medium::Ethernet => (ETHERNET_HEADER_LEN, Some(get16(data, 12)?)),
        };
        let ip = data.get(network..)?;
        let (is_ipv4, header, len) = match (ip.first()?, ethertype) {
            (0x45, None | Some(0x0800)) if *ip.get(9)? == PROTO_TCP => {
                let fragment = get16(ip, 6)? & 0x3fff;
                (fragment == 0).then_some((true, 20, usize::from(get16(ip, 2)?)))?
            }
            (0x60..=0x6f, None | Some(0x86dd)) if *ip.get(6)? == PROTO_TCP => {
                (false, 40, 40 + usize::from(get16(ip, 4)?))
            }
            _ => return None,
        };
        let transport = network + header;
        let end = network + len;
        let tcp = data.get(transport..end)?;
        let tcp_header = usize::from(*tcp.get(12)? >> 4) * 4;
        if tcp_header < 20 || tcp.len() < tcp_header {
            return None;
        }
        let flags = tcp[13];
        let plain = flags & !(FIN | PSH) == ACK && packet.gro_size == 0 && tcp.len() > tcp_header;
        let mut segment = Self {
            network,
            transport,
            payload: transport + tcp_header,
            end,
            is_ipv4,
            mergeable: false,
        };
        segment.mergeable = plain && segment.verify(packet);
        Some(segment)
    }

    /// True if the checksums are right; the packet then says so.
    fn verify(&self, packet: &mut RxPacket) -> bool {
        let data = &packet.data[..];
        let ip = &data[self.network..self.transport];
        if self.is_ipv4 && !sums_up(&[ip], 0) {
            return false;
        }
        if packet.checksum == RxChecksum::Valid {
            return true;
        }
        let addresses = if self.is_ipv4 { &ip[12..] } else { &ip[8..] };
        let len = (self.end - self.transport) as u16;
        let tcp = &data[self.transport..self.end];
        let pseudo = u32::from(len) + u32::from(PROTO_TCP);
        let valid = sums_up(&[addresses, tcp], pseudo);
        if valid {
            packet.checksum = RxChecksum::Valid;
        }
        valid
    }
}

/// True if the ranges (each of even length but the last) and `extra` have a correct checksum.
fn sums_up(ranges: &[&[u8]], extra: u32) -> bool {
    let mut sum = Checksum::default();
    sum.add_u16((extra >> 16) as u16);
    sum.add_u16(extra as u16);
    ranges.iter().for_each(|range| sum.add_bytes(range));
    sum.partial() == 0xffff
}

/// True if addresses and ports are the same.
fn same_flow(first: &RxPacket, run: &Run, packet: &RxPacket, segment: &Segment) -> bool {
    fn key<'a>(data: &'a [u8], s: &Segment) -> &'a [u8] {
        let addresses = s.network + if s.is_ipv4 { 12 } else { 8 };
        &data[addresses..s.transport + 4]
    }
    run.segment.is_ipv4 == segment.is_ipv4
        && key(&first.data, &run.segment) == key(&packet.data, segment)
}

/// True if the two headers differ in nothing that merging would lose.
fn same_headers(a: &[u8], b: &[u8], segment: &Segment) -> bool {
    let (net, tcp) = (segment.network, segment.transport);
    let same = |from: usize, to: usize| a[from..to] == b[from..to];
    let network_same = if segment.is_ipv4 {
        // TOS; flags without the identification; TTL and protocol.
        same(net, net + 2) && same(net + 6, net + 10)
    } else {
        same(net, net + 4) && same(net + 6, net + 8)
    };
    // Link header; acknowledgement and header length; window; options. The urgent pointer means nothing.
    same(0, net)
        && network_same
        && same(tcp + 8, tcp + 13)
        && same(tcp + 14, tcp + 16)
        && same(tcp + 20, segment.payload)
}

impl Run {
    fn new(slot: usize, packet: &RxPacket, segment: Segment) -> Self {
        let size = segment.end - segment.payload;
        let flags = packet.data[segment.transport + 13] & (FIN | PSH);
        Self {
            slot,
            next_seq: seq(&packet.data, &segment).wrapping_add(size as u32),
            size,
            len: segment.end,
            flags,
            more: SmallVec::new(),
            closed: flags != 0,
            segment,
        }
    }

    /// Takes the segment in if it continues the run.
    fn append(&mut self, first: &[u8], packet: &RxPacket, segment: &Segment) -> bool {
        let size = segment.end - segment.payload;
        let fits = segment.mergeable
            && segment.payload == self.segment.payload
            && size <= self.size
            && seq(&packet.data, segment) == self.next_seq
            && self.len - self.segment.network + size <= SUPER_PACKET_MAX
            && same_headers(first, &packet.data, segment);
        if !fits {
            return false;
        }
        self.more
            .push(packet.data.slice(segment.payload..segment.end));
        self.next_seq = self.next_seq.wrapping_add(size as u32);
        self.len += size;
        self.flags = packet.data[segment.transport + 13] & (FIN | PSH);
        self.closed = self.flags != 0 || size < self.size;
        true
    }

    /// Makes the first packet of the run the whole of it.
    fn build(&self, pool: &mut RxPool, first: &mut RxPacket) {
        let buffer = pool.room(self.len);
        buffer.extend_from_slice(&first.data[..self.segment.end]);
        self.more.iter().for_each(|p| buffer.extend_from_slice(p));
        let network = self.segment.network;
        let len = self.len - network;
        buffer[self.segment.transport + 13] |= self.flags;
        if self.segment.is_ipv4 {
            put16(buffer, network + 2, len as u16);
            put16(buffer, network + 10, 0);
            let mut sum = Checksum::default();
            sum.add_bytes(&buffer[network..self.segment.transport]);
            put16(buffer, network + 10, sum.finish());
        } else {
            put16(buffer, network + 4, (len - 40) as u16);
        }
        first.data = pool.take();
        first.gro_size = self.size as u16;
    }
}

fn seq(data: &[u8], segment: &Segment) -> u32 {
    let at = segment.transport + 4;
    u32::from_be_bytes([data[at], data[at + 1], data[at + 2], data[at + 3]])
}

fn get16(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_be_bytes([*bytes.get(at)?, *bytes.get(at + 1)?]))
}

fn put16(bytes: &mut [u8], at: usize, value: u16) {
    bytes[at..at + 2].copy_from_slice(&value.to_be_bytes());
}
