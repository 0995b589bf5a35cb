//! Datagrams that wait to be received, within a budget: shared by UDP and raw sockets.

use std::collections::VecDeque;
use std::net::{IpAddr, SocketAddr};

use crate::buf::Bytes;
use crate::error::SocketError;
use crate::network::IfaceId;
use crate::time::Instant;

/// What a queued datagram costs beside its bytes.
const OVERHEAD: usize = 512;
/// Datagrams up to this size are copied: a few bytes must not pin a large receive chunk.
const COPY_MAX: usize = 8192;

/// A received datagram.
#[derive(Clone, Debug)]
pub struct ReceivedDatagram {
    /// Sender; the port is 0 where there are none.
    pub from: SocketAddr,
    /// The address that it was sent to (IP_PKTINFO).
    pub to: IpAddr,
    /// Where it came in.
    pub iface: IfaceId,
    /// TOS byte (IP_RECVTOS).
    pub tos: u8,
    /// TTL (IP_RECVTTL).
    pub ttl: u8,
    /// When the link saw it (SO_TIMESTAMP).
    pub arrival: Instant,
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
    /// Queues a datagram; false if the budget is used up. As in Linux the last one may go over it.
    pub(crate) fn push(&mut self, mut datagram: ReceivedDatagram, budget: usize) -> bool {
        if self.queued >= budget {
            self.drops += 1;
            return false;
        }
        if datagram.data.len() <= COPY_MAX {
            datagram.data = Bytes::copy_from_slice(&datagram.data);
        }
        self.queued += datagram.data.len() + OVERHEAD;
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
        self.queued -= datagram.data.len() + OVERHEAD;
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

    /// True if an error waits.
    pub(crate) fn has_error(&self) -> bool {
        self.error.is_some()
    }
}
