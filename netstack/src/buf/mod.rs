//! Packets in flight: reference-counted ranges of pooled chunks.
//!
//! User data is copied once into a chunk on send and once out of one on receive; in between it moves
//! as [`Bytes`] ranges. A received frame is one range; an outgoing one is a small header buffer
//! followed by ranges of the send queue.

pub(crate) mod arena;

use arrayvec::ArrayVec;
pub use bytes::{Bytes, BytesMut};
use smallvec::SmallVec;

use crate::time::Instant;

/// Room for the headers of one outgoing packet: link 14 (+4 VLAN), IPv6 40, TCP 60.
pub const HEAD_MAX: usize = 128;

/// The largest packet the stack hands to or takes from a link in one piece (IP length field).
pub const SUPER_PACKET_MAX: usize = 65_535;

/// The headers of an outgoing packet, written back to front: the transport header first, then each
/// lower layer in front of it.
#[derive(Clone, Debug)]
pub struct Head {
    bytes: [u8; HEAD_MAX],
    start: u8,
}

impl Default for Head {
    fn default() -> Self {
        Self {
            bytes: [0; HEAD_MAX],
            start: HEAD_MAX as u8,
        }
    }
}

impl Head {
    /// Makes room for `len` bytes in front of what is there, and returns that room (zeroed).
    ///
    /// # Panics
    /// If the headers would exceed [`HEAD_MAX`]; the sum of all header sizes is bounded below it.
    pub fn push_front(&mut self, len: usize) -> &mut [u8] {
        let start = usize::from(self.start)
            .checked_sub(len)
            .expect("headers fit in HEAD_MAX");
        self.start = start as u8;
        &mut self.bytes[start..start + len]
    }

    /// Removes `len` bytes from the front (a device that does not carry the link header).
    pub fn pop_front(&mut self, len: usize) {
        self.start = (usize::from(self.start) + len).min(HEAD_MAX) as u8;
    }

    /// The header bytes, lowest layer first.
    pub fn as_slice(&self) -> &[u8] {
        &self.bytes[usize::from(self.start)..]
    }

    /// The header bytes, to patch (checksums, lengths).
    pub fn as_mut_slice(&mut self) -> &mut [u8] {
        &mut self.bytes[usize::from(self.start)..]
    }

    /// Length in bytes.
    pub fn len(&self) -> usize {
        HEAD_MAX - usize::from(self.start)
    }

    /// True if no header has been written.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// What a link still has to do to an outgoing packet. Offsets count from the start of the network
/// header, so that adding or dropping a link header does not change them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TxOffload {
    /// The transport checksum field holds only the pseudo-header sum; the link completes it.
    pub checksum: Option<PartialChecksum>,
    /// Cut the payload into segments of this many bytes (0: send as it is).
    pub gso_size: u16,
    /// Which transport is cut.
    pub gso_kind: GsoKind,
}

/// A checksum that covers from `start` to the end of the packet, to be stored at `start + offset`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PartialChecksum {
    /// Bytes from the start of the network header to where summing starts (the transport header).
    pub start: u16,
    /// Bytes from there to the checksum field.
    pub offset: u16,
}

/// The transport that segmentation cuts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum GsoKind {
    /// Not a super-packet.
    #[default]
    None,
    /// TCP over IPv4.
    Tcp4,
    /// TCP over IPv6.
    Tcp6,
    /// UDP (either family).
    Udp,
}

/// An outgoing packet: headers, payload ranges, and what the link has to finish.
#[derive(Clone, Debug, Default)]
pub struct TxPacket {
    /// Link (if the medium has one), network and transport headers.
    pub head: Head,
    /// Payload ranges in order.
    pub body: SmallVec<[Bytes; 4]>,
    /// Length of the link header at the front of `head` (14 on Ethernet, 0 on TUN).
    pub link_header_len: u8,
    /// What the link has to finish.
    pub offload: TxOffload,
    /// What the network layer wants to know again of a packet that it sends to itself; devices pass it by.
    pub tag: u64,
}

impl TxPacket {
    /// Total length in bytes, headers and payload.
    pub fn len(&self) -> usize {
        self.head.len() + self.body.iter().map(Bytes::len).sum::<usize>()
    }

    /// True if there is nothing to send.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The whole packet in one contiguous vector (tests, captures, devices without scatter-gather).
    pub fn to_vec(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(self.len());
        out.extend_from_slice(self.head.as_slice());
        self.body
            .iter()
            .for_each(|range| out.extend_from_slice(range));
        out
    }
}

/// What the link knows about a received packet's transport checksum.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum RxChecksum {
    /// Nothing: the stack verifies it.
    #[default]
    Unverified,
    /// Verified, or never computed because the peer is on this machine (VIRTIO F_DATA_VALID, F_NEEDS_CSUM).
    Valid,
}

/// A received packet, starting at its link header (Ethernet) or network header (TUN).
#[derive(Clone, Debug)]
pub struct RxPacket {
    /// The bytes.
    pub data: Bytes,
    /// When the link saw it. RACK and the RTT estimate use this, never the time of processing.
    pub arrival: Instant,
    /// What is known about its checksum.
    pub checksum: RxChecksum,
    /// Payload bytes per original segment if the link merged several (0: a single packet).
    pub gro_size: u16,
}

impl RxPacket {
    /// A single packet with an unverified checksum.
    pub fn new(data: impl Into<Bytes>, arrival: Instant) -> Self {
        Self {
            data: data.into(),
            arrival,
            checksum: RxChecksum::Unverified,
            gro_size: 0,
        }
    }
}

/// Packets handed over in one call.
pub const BATCH_MAX: usize = 64;

/// Received packets, in order of arrival.
pub type RxBatch = ArrayVec<RxPacket, BATCH_MAX>;

/// Packets to transmit, in order.
pub type TxBatch = ArrayVec<TxPacket, BATCH_MAX>;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn head_grows_towards_the_front() {
        let mut head = Head::default();
        head.push_front(2).copy_from_slice(&[3, 4]);
        head.push_front(2).copy_from_slice(&[1, 2]);
        assert_eq!(head.as_slice(), [1, 2, 3, 4]);
        head.pop_front(2);
        assert_eq!(head.as_slice(), [3, 4]);
    }
}
