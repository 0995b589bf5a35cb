//! Datagrams that wait to be received, within a budget: shared by UDP and raw sockets.

use std::collections::VecDeque;
use std::net::{IpAddr, SocketAddr};

use crate::buf::Bytes;
use crate::error::SocketError;
use crate::network::IfaceId;
use crate::time::Instant;

/// Datagrams up to this size are copied: a few bytes must not pin a large receive chunk.
const COPY_MAX: usize = 8192;

/// A received datagram.
#[derive(Clone, Debug)]
pub struct ReceivedDatagram {
    /// Sender; the port is 0 where there are none.
    pub from: SocketAddr,
    /// The address that it was sent to (IP_PKTINFO).
    pub to: IpAddr,
    /// The port that it was sent to; 0 where there are none.
    pub to_port: u16,
    /// Where it came in.
    pub iface: IfaceId,
    /// TOS byte (IP_RECVTOS).
    pub tos: u8,
    /// TTL (IP_RECVTTL).
    pub ttl: u8,
    /// When the link saw it (SO_TIMESTAMP).
    pub arrival: Instant,
    /// UDP: bytes of each datagram, if this is several that the link merged; else 0 (UDP_GRO).
    pub gro_size: u16,
    /// Datagrams that found no room before this one (SO_RXQ_OVFL).
    pub drops: u64,
    /// UDP: the payload. ICMP echo sockets: the message. Raw sockets: the whole IP packet.
    pub data: Bytes,
}

/// Datagrams in order of arrival, and the error that is reported before them.
#[derive(Debug, Default)]
pub(crate) struct ReceiveQueue {
    queue: VecDeque<ReceivedDatagram>,
    queued: usize,
    error: Option<SocketError>,
    /// Datagrams dropped for want of budget (SO_RXQ_OVFL).
    drops: u64,
}

impl ReceiveQueue {
    /// Queues a datagram; false if the budget is used up. As in Linux (`__udp_enqueue_schedule_skb`) what
    /// comes to a queue that is half empty may go over it.
    pub(crate) fn push(&mut self, mut datagram: ReceivedDatagram, budget: usize) -> bool {
        let cost = cost(datagram.data.len());
        if self.queued > budget / 2 && self.queued + cost > budget {
            self.drops += 1;
            return false;
        }
        if datagram.data.len() <= COPY_MAX {
            datagram.data = Bytes::copy_from_slice(&datagram.data);
        }
        datagram.drops = self.drops;
        self.queued += cost;
        self.queue.push_back(datagram);
        true
    }

    /// Takes the pending error or the oldest datagram.
    ///
    /// # Errors
    /// The pending error; `WouldBlock` if nothing waits.
    pub(crate) fn pop(&mut self) -> Result<ReceivedDatagram, SocketError> {
        if let Some(error) = self.error.take() {
            return Err(error);
        }
        let datagram = self.queue.pop_front().ok_or(SocketError::WouldBlock)?;
        self.queued -= cost(datagram.data.len());
        if self.queue.is_empty() && self.queue.capacity() > 64 {
            self.queue.shrink_to(16);
        }
        Ok(datagram)
    }

    /// The oldest datagram (MSG_PEEK).
    pub(crate) fn peek(&self) -> Option<&ReceivedDatagram> {
        self.queue.front()
    }

    /// True if no datagram waits.
    pub(crate) fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }

    /// How many datagrams found no room.
    pub(crate) fn drops(&self) -> u64 {
        self.drops
    }

    /// Sets the error that the next call reports.
    pub(crate) fn set_error(&mut self, error: SocketError) {
        self.error = Some(error);
    }

    /// Takes the pending error (SO_ERROR).
    pub(crate) fn take_error(&mut self) -> Option<SocketError> {
        self.error.take()
    }

    /// The pending error, to change it.
    pub(crate) fn error_mut(&mut self) -> &mut Option<SocketError> {
        &mut self.error
    }

    /// True if an error waits.
    pub(crate) fn has_error(&self) -> bool {
        self.error.is_some()
    }
}

/// What a datagram takes of the budget: what it takes of memory in Linux, if it was sent on the same host
/// (`truesize`: a descriptor of 256 bytes, and a buffer with 320 bytes behind the data, from a slab of a
/// power of two, or from pages).
pub(super) fn cost(len: usize) -> usize {
    const DESCRIPTOR: usize = 256;
    const SMALL: usize = 576;
    const HEADERS: usize = 60;
    const BEHIND: usize = 320;
    const SLAB_MAX: usize = 16 << 10;
    match len + HEADERS + BEHIND {
        ..=SMALL => DESCRIPTOR + SMALL,
        needed @ ..=SLAB_MAX => DESCRIPTOR + needed.next_power_of_two(),
        _ => len + DESCRIPTOR + SMALL,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_budget_holds_as_many_as_linux() {
        let count = |len| 212_992 / cost(len);
        let sizes = [1, 100, 300, 1000, 1400, 2000, 4000, 9000, 20_000, 65_000];
        assert_eq!(sizes.map(count), [256, 256, 166, 92, 92, 48, 25, 12, 10, 3]);
    }
}
