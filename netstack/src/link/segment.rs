//! Software segmentation: cuts a TCP or UDP super-packet into packets that fit the link, and
//! completes checksums, for devices that do neither.

use smallvec::SmallVec;

use crate::buf::{Bytes, GsoKind, PartialChecksum, TxOffload, TxPacket};
use crate::wire::checksum::Checksum;

const IPV4_LEN: usize = 2;
const IPV4_ID: usize = 4;
const IPV4_CHECKSUM: usize = 10;
const IPV6_LEN: usize = 4;
const IPV6_HEADER: usize = 40;
const TCP_SEQ: usize = 4;
const TCP_FLAGS: usize = 13;
const TCP_CHECKSUM: u16 = 16;
const UDP_HEADER: usize = 8;
const UDP_LEN: usize = 4;
const UDP_CHECKSUM: u16 = 6;
const FIN: u8 = 0x01;
const PSH: u8 = 0x08;
const CWR: u8 = 0x80;

/// True if [`segment`] would do anything to the packet.
pub fn needs_work(packet: &TxPacket) -> bool {
    packet.offload != TxOffload::default()
}

/// Cuts `packet` as its offload says and hands each piece to `emit`, in order, with nothing left to
/// do. A packet without offload is passed on unchanged. One whose headers contradict its offload
/// (which the stack never builds) is dropped; returns false then.
pub fn segment(packet: TxPacket, mut emit: impl FnMut(TxPacket)) -> bool {
    let Some(layout) = Layout::of(&packet) else {
        if needs_work(&packet) {
            return false;
        }
        emit(packet);
        return true;
    };
    let payload: usize = packet.body.iter().map(Bytes::len).sum();
    let step = match packet.offload.gso_size {
        0 => payload.max(1),
        size => usize::from(size),
    };
    let mut cutter = Cutter::new(&packet.body);
    let count = payload.div_ceil(step).max(1);
    for index in 0..count {
        let mut piece = TxPacket {
            head: packet.head.clone(),
            body: cutter.take(step),
            link_header_len: packet.link_header_len,
            offload: TxOffload::default(),
            tag: packet.tag,
        };
        if count > 1 {
            layout.renumber(&mut piece, index, index + 1 == count, index * step);
        }
        layout.complete_checksum(&mut piece);
        emit(piece);
    }
    true
}

/// Where the headers are, counted from the start of `head`, and which they are.
struct Layout {
    network: usize,
    transport: usize,
    is_ipv4: bool,
    kind: Transport,
    checksum: PartialChecksum,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Transport {
    Tcp,
    Udp,
    /// Only the checksum is completed.
    Other,
}

impl Layout {
    /// `None` for a packet with nothing to do, or whose headers are not whole.
    fn of(packet: &TxPacket) -> Option<Self> {
        let checksum = packet.offload.checksum?;
        let head = packet.head.as_slice();
        let network = usize::from(packet.link_header_len);
        let transport = network + usize::from(checksum.start);
        let kind = match (packet.offload.gso_kind, checksum.offset) {
            (GsoKind::Tcp4 | GsoKind::Tcp6, TCP_CHECKSUM) => Transport::Tcp,
            (GsoKind::Udp, UDP_CHECKSUM) => Transport::Udp,
            (GsoKind::None, _) if packet.offload.gso_size == 0 => Transport::Other,
            _ => return None,
        };
        let (is_ipv4, network_header) = match head.get(network)? >> 4 {
            4 => (true, 20),
            6 => (false, IPV6_HEADER),
            _ => return None,
        };
        let transport_header = match kind {
            Transport::Tcp => usize::from(head.get(transport + 12)? >> 4) * 4,
            Transport::Udp => UDP_HEADER,
            Transport::Other => usize::from(checksum.offset) + 2,
        };
        let fits = transport >= network + network_header
            && head.len() >= transport + transport_header
            && head.len() >= transport + usize::from(checksum.offset) + 2
            && (kind == Transport::Other || head.len() == transport + transport_header);
        fits.then_some(Self {
            network,
            transport,
            is_ipv4,
            kind,
            checksum,
        })
    }

    /// Makes the headers of a copy those of the piece number `index`, whose payload starts at `offset`.
    fn renumber(&self, piece: &mut TxPacket, index: usize, last: bool, offset: usize) {
        let total = piece.len() - self.network;
        let transport_len = (piece.len() - self.transport) as u16;
        let head = piece.head.as_mut_slice();
        let (network, transport) = head[self.network..].split_at_mut(self.transport - self.network);
        let old_len = self.set_network_len(network, total, index);
        match self.kind {
            Transport::Tcp => {
                let seq = get32(transport, TCP_SEQ).wrapping_add(offset as u32);
                transport[TCP_SEQ..TCP_SEQ + 4].copy_from_slice(&seq.to_be_bytes());
                if !last {
                    transport[TCP_FLAGS] &= !(FIN | PSH);
                }
                if index > 0 {
                    transport[TCP_FLAGS] &= !CWR;
                }
            }
            Transport::Udp => put16(transport, UDP_LEN, transport_len),
            Transport::Other => {}
        }
        // The field holds the pseudo-header sum over the super-packet's length: exchange the length.
        let field = usize::from(self.checksum.offset);
        let mut sum = Checksum::default();
        sum.add_u16(get16(transport, field));
        sum.add_u16(!old_len);
        sum.add_u16(transport_len);
        let partial = sum.partial();
        put16(transport, field, partial);
    }

    /// Sets length and identification. Returns the transport length that the super-packet had.
    fn set_network_len(&self, network: &mut [u8], total: usize, index: usize) -> u16 {
        if !self.is_ipv4 {
            let old = get16(network, IPV6_LEN);
            put16(network, IPV6_LEN, (total - IPV6_HEADER) as u16);
            return old - (network.len() - IPV6_HEADER) as u16;
        }
        let old = get16(network, IPV4_LEN);
        put16(network, IPV4_LEN, total as u16);
        let id = get16(network, IPV4_ID).wrapping_add(index as u16);
        put16(network, IPV4_ID, id);
        put16(network, IPV4_CHECKSUM, 0);
        let mut sum = Checksum::default();
        sum.add_bytes(network);
        put16(network, IPV4_CHECKSUM, sum.finish());
        old - network.len() as u16
    }

    fn complete_checksum(&self, piece: &mut TxPacket) {
        let mut sum = Checksum::default();
        sum.add_bytes(&piece.head.as_slice()[self.transport..]);
        piece.body.iter().for_each(|range| sum.add_bytes(range));
        let mut value = sum.finish();
        // Zero in a UDP header means that there is no checksum (RFC 768).
        if value == 0 && self.checksum.offset == UDP_CHECKSUM {
            value = 0xffff;
        }
        let field = self.transport + usize::from(self.checksum.offset);
        put16(piece.head.as_mut_slice(), field, value);
    }
}

/// Hands out a list of ranges in pieces of a given size, without copying.
struct Cutter<'a> {
    rest: &'a [Bytes],
    /// Bytes of the first of `rest` that are handed out already.
    used: usize,
}

impl<'a> Cutter<'a> {
    fn new(body: &'a [Bytes]) -> Self {
        Self {
            rest: body,
            used: 0,
        }
    }

    fn take(&mut self, mut want: usize) -> SmallVec<[Bytes; 4]> {
        let mut piece = SmallVec::new();
        while let Some(first) = self.rest.first() {
            let count = want.min(first.len() - self.used);
            if count > 0 {
                piece.push(first.slice(self.used..self.used + count));
            }
            self.used += count;
            want -= count;
            if self.used < first.len() {
                break;
            }
            self.rest = &self.rest[1..];
            self.used = 0;
            if want == 0 {
                break;
            }
        }
        piece
    }
}

fn get16(bytes: &[u8], at: usize) -> u16 {
    u16::from_be_bytes([bytes[at], bytes[at + 1]])
}

fn get32(bytes: &[u8], at: usize) -> u32 {
    u32::from_be_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}

fn put16(bytes: &mut [u8], at: usize, value: u16) {
    bytes[at..at + 2].copy_from_slice(&value.to_be_bytes());
}
