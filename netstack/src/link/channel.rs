//! Links within the process, over `crossbeam-channel`: a pair of devices connected back to back
//! (veth), or one device whose other end is a plain pair of queues (for tests and embedders).
//!
//! A full channel takes nothing more: the packets stay with the sender, who is told through its own
//! descriptor when there is room again.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, TryRecvError, TrySendError, bounded};
use nix::sys::eventfd::{EfdFlags, EventFd};

use super::pool::RxPool;
use super::{Device, DeviceCaps, Medium};
use crate::buf::{Bytes, RxBatch, RxChecksum, RxPacket, TxBatch, TxPacket};
use crate::time::Instant;

/// What one side of the link can be told by the other.
#[derive(Debug)]
struct Bell {
    /// Readable when a packet has come, or room has.
    event: EventFd,
    /// Somebody has rung and nobody has looked since: ringing again would change nothing.
    rung: AtomicBool,
    /// This side found the channel full and waits for room.
    wants_room: AtomicBool,
}

impl Bell {
    fn new() -> io::Result<Arc<Self>> {
        Ok(Arc::new(Self {
            event: EventFd::from_flags(EfdFlags::EFD_NONBLOCK | EfdFlags::EFD_CLOEXEC)?,
            rung: AtomicBool::new(false),
            wants_room: AtomicBool::new(false),
        }))
    }

    fn ring(&self) {
        if !self.rung.swap(true, Ordering::AcqRel) {
            // The counter cannot overflow: it is written once for each time it is read.
            let _ = self.event.write(1);
        }
    }

    fn answer(&self) {
        if self.rung.load(Ordering::Acquire) {
            let _ = self.event.read();
            // Only after the read: a ring in between is seen by the receive that follows.
            self.rung.store(false, Ordering::Release);
        }
    }
}

/// One direction's sending half and the other direction's receiving half.
#[derive(Debug)]
struct Side {
    out: Sender<TxPacket>,
    incoming: Receiver<TxPacket>,
    ours: Arc<Bell>,
    theirs: Arc<Bell>,
}

impl Side {
    fn pair(capacity: usize) -> io::Result<(Self, Self)> {
        let (to_b, from_a) = bounded(capacity);
        let (to_a, from_b) = bounded(capacity);
        let (bell_a, bell_b) = (Bell::new()?, Bell::new()?);
        let a = Self {
            out: to_b,
            incoming: from_b,
            ours: bell_a.clone(),
            theirs: bell_b.clone(),
        };
        let b = Self {
            out: to_a,
            incoming: from_a,
            ours: bell_b,
            theirs: bell_a,
        };
        Ok((a, b))
    }

    /// Gives the packet back if the channel is full. Into a closed channel it is lost, as on a cut cable.
    fn send(&self, packet: TxPacket) -> Option<TxPacket> {
        let packet = match self.out.try_send(packet) {
            Err(TrySendError::Full(packet)) => packet,
            Ok(()) | Err(TrySendError::Disconnected(_)) => return None,
        };
        self.ours.wants_room.store(true, Ordering::SeqCst);
        // Room that came before the flag was seen would never be announced: look once more.
        match self.out.try_send(packet) {
            Err(TrySendError::Full(packet)) => Some(packet),
            Ok(()) | Err(TrySendError::Disconnected(_)) => None,
        }
    }

    fn announce_room(&self) {
        if self.theirs.wants_room.swap(false, Ordering::SeqCst) {
            self.theirs.ring();
        }
    }
}

/// One end of an in-memory link.
#[derive(Debug)]
pub struct ChannelDevice {
    side: Side,
    caps: DeviceCaps,
    pool: RxPool,
}

/// Two devices connected back to back, with room for `capacity` packets in each direction. With
/// `caps.tx_checksum` and `caps.gso_max` set, super-packets pass whole and checksums are never computed.
///
/// # Errors
/// If no event descriptor can be made.
pub fn veth(caps: DeviceCaps, capacity: usize) -> io::Result<(ChannelDevice, ChannelDevice)> {
    let (a, b) = Side::pair(capacity)?;
    let device = |side| ChannelDevice {
        side,
        caps,
        pool: RxPool::new(),
    };
    Ok((device(a), device(b)))
}

/// A device, and the queues at its other end.
///
/// # Errors
/// If no event descriptor can be made.
pub fn channel(caps: DeviceCaps, capacity: usize) -> io::Result<(ChannelDevice, ChannelEnd)> {
    let (device, end) = veth(caps, capacity)?;
    Ok((device, ChannelEnd { side: end.side }))
}

impl Device for ChannelDevice {
    fn caps(&self) -> DeviceCaps {
        self.caps
    }

    fn receive(&mut self, now: Instant, batch: &mut RxBatch) -> io::Result<usize> {
        self.side.ours.answer();
        let before = batch.len();
        while !batch.is_full() {
            let Ok(packet) = self.side.incoming.try_recv() else {
                break;
            };
            batch.push(received(&mut self.pool, self.caps.medium, &packet, now));
        }
        let got = batch.len() - before;
        if got > 0 {
            self.side.announce_room();
        }
        if !self.side.incoming.is_empty() {
            self.side.ours.ring();
        }
        Ok(got)
    }

    fn transmit(&mut self, _now: Instant, batch: &mut TxBatch) -> io::Result<usize> {
        let mut taken = 0;
        while let Some(first) = batch.get_mut(taken) {
            if let Some(packet) = self.side.send(std::mem::take(first)) {
                *first = packet;
                break;
            }
            taken += 1;
        }
        batch.drain(..taken);
        if taken > 0 {
            self.side.theirs.ring();
        }
        Ok(taken)
    }

    fn fd(&self) -> Option<BorrowedFd<'_>> {
        Some(self.side.ours.event.as_fd())
    }
}

/// The packet as the other end sees it: contiguous, its unfinished checksum vouched for.
pub(crate) fn received(
    pool: &mut RxPool,
    medium: Medium,
    packet: &TxPacket,
    arrival: Instant,
) -> RxPacket {
    let skip = match medium {
        Medium::Ip => usize::from(packet.link_header_len),
        Medium::Ethernet => 0,
    };
    let buffer = pool.room(packet.len());
    buffer.extend_from_slice(&packet.head.as_slice()[skip.min(packet.head.len())..]);
    packet
        .body
        .iter()
        .for_each(|range| buffer.extend_from_slice(range));
    RxPacket {
        data: pool.take(),
        arrival,
        checksum: match packet.offload.checksum {
            Some(_) => RxChecksum::Valid,
            None => RxChecksum::Unverified,
        },
        gro_size: packet.offload.gso_size,
    }
}

/// The other end of a [`ChannelDevice`], for whoever plays the network.
#[derive(Debug)]
pub struct ChannelEnd {
    side: Side,
}

impl ChannelEnd {
    /// Hands a packet to the device. Gives it back if the channel is full.
    ///
    /// # Errors
    /// The packet itself, if there is no room for it now.
    pub fn inject(&self, packet: impl Into<Bytes>) -> Result<(), Bytes> {
        let mut carrier = TxPacket::default();
        carrier.body.push(packet.into());
        let sent = self.side.send(carrier);
        self.side.theirs.ring();
        match sent.and_then(|packet| packet.body.into_iter().next()) {
            Some(packet) => Err(packet),
            None => Ok(()),
        }
    }

    /// The next packet that the device has sent, if there is one.
    pub fn try_recv(&self) -> Option<TxPacket> {
        match self.side.incoming.try_recv() {
            Ok(packet) => {
                self.side.announce_room();
                Some(packet)
            }
            Err(TryRecvError::Empty | TryRecvError::Disconnected) => None,
        }
    }

    /// Waits for the next packet that the device sends.
    ///
    /// # Errors
    /// `TimedOut`, or `BrokenPipe` if the device is gone.
    pub fn recv_timeout(&self, timeout: Duration) -> io::Result<TxPacket> {
        let packet = self
            .side
            .incoming
            .recv_timeout(timeout)
            .map_err(|error| match error {
                RecvTimeoutError::Timeout => io::Error::from(io::ErrorKind::TimedOut),
                RecvTimeoutError::Disconnected => io::ErrorKind::BrokenPipe.into(),
            })?;
        self.side.announce_room();
        Ok(packet)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CAPS: DeviceCaps = DeviceCaps {
        medium: Medium::Ip,
        mtu: 1_500,
        tx_checksum: false,
        gso_max: 0,
    };

    fn packet(text: &str) -> TxPacket {
        let mut packet = TxPacket::default();
        packet.head.push_front(1)[0] = b'>';
        packet.body.push(Bytes::copy_from_slice(text.as_bytes()));
        packet
    }

    fn readable(device: &ChannelDevice) -> bool {
        use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
        let fd = device.side.ours.event.as_fd();
        poll(&mut [PollFd::new(fd, PollFlags::POLLIN)], PollTimeout::ZERO) == Ok(1)
    }

    #[test]
    fn what_one_end_sends_the_other_receives() {
        let (mut a, mut b) = veth(CAPS, 4).unwrap();
        let mut out: TxBatch = [packet("one"), packet("two")].into_iter().collect();
        assert_eq!(a.transmit(Instant::ZERO, &mut out).unwrap(), 2);
        assert!(readable(&b));
        let mut got = RxBatch::new();
        assert_eq!(b.receive(Instant::from_millis(3), &mut got).unwrap(), 2);
        assert_eq!(
            (&got[0].data[..], &got[1].data[..]),
            (&b">one"[..], &b">two"[..])
        );
        assert_eq!(got[0].arrival, Instant::from_millis(3));
        assert!(!readable(&b));
    }

    #[test]
    fn a_full_channel_pushes_back_and_announces_room() {
        let (mut a, mut b) = veth(CAPS, 1).unwrap();
        let mut out: TxBatch = [packet("one"), packet("two")].into_iter().collect();
        assert_eq!(a.transmit(Instant::ZERO, &mut out).unwrap(), 1);
        assert_eq!(out.len(), 1, "the second stays with the sender");
        assert!(!readable(&a));
        b.receive(Instant::ZERO, &mut RxBatch::new()).unwrap();
        assert!(readable(&a), "room is announced");
        a.receive(Instant::ZERO, &mut RxBatch::new()).unwrap();
        assert_eq!(a.transmit(Instant::ZERO, &mut out).unwrap(), 1);
    }

    #[test]
    fn the_plain_end_injects_and_takes() {
        let (mut device, end) = channel(CAPS, 1).unwrap();
        end.inject("in").unwrap();
        assert_eq!(end.inject("more").unwrap_err(), "more");
        let mut got = RxBatch::new();
        device.receive(Instant::ZERO, &mut got).unwrap();
        assert_eq!(&got[0].data[..], b"in");
        let mut out: TxBatch = [packet("out")].into_iter().collect();
        device.transmit(Instant::ZERO, &mut out).unwrap();
        assert_eq!(end.try_recv().unwrap().to_vec(), b">out");
        assert!(end.try_recv().is_none());
    }
}
