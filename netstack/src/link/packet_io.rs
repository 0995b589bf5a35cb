//! Batches over a descriptor that carries one packet per read and write, with or without virtio
//! headers: what TUN, TAP and AF_PACKET have in common.

use std::io::{self, IoSlice};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use nix::fcntl::{FcntlArg, OFlag, fcntl};
use smallvec::SmallVec;

use super::pool::RxPool;
use super::sys::io::read_packet;
use super::vnet::{self, VNET_HEADER_LEN};
use super::{ETHERNET_HEADER_LEN, Medium};
use crate::buf::{RxBatch, RxChecksum, RxPacket, SUPER_PACKET_MAX, TxBatch, TxPacket};
use crate::time::Instant;

/// Room in front of a frame for an Ethernet header with a VLAN tag.
const LINK_HEADER_MAX: usize = ETHERNET_HEADER_LEN + 4;

/// A packet descriptor and its receive buffers.
#[derive(Debug)]
pub(crate) struct PacketIo {
    fd: OwnedFd,
    vnet: bool,
    /// Bytes that the largest packet to be received can have.
    room: usize,
    pool: RxPool,
    /// Packets that the kernel refused (interface down, no route for a too large packet ...).
    refused: u64,
}

impl PacketIo {
    /// Takes the descriptor over and makes it non-blocking.
    pub(crate) fn new(fd: OwnedFd, vnet: bool, mtu: u32) -> io::Result<Self> {
        let flags = OFlag::from_bits_retain(fcntl(&fd, FcntlArg::F_GETFL)?);
        if !flags.contains(OFlag::O_NONBLOCK) {
            fcntl(&fd, FcntlArg::F_SETFL(flags | OFlag::O_NONBLOCK))?;
        }
        let packet_max = if vnet { SUPER_PACKET_MAX } else { mtu as usize };
        Ok(Self {
            fd,
            vnet,
            room: packet_max + LINK_HEADER_MAX,
            pool: RxPool::new(),
            refused: 0,
        })
    }

    pub(crate) fn fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }

    pub(crate) fn refused(&self) -> u64 {
        self.refused
    }

    pub(crate) fn receive(&mut self, now: Instant, batch: &mut RxBatch) -> io::Result<usize> {
        let before = batch.len();
        while !batch.is_full() {
            match self.receive_one(now) {
                Ok(Some(packet)) => batch.push(packet),
                Ok(None) => {}
                Err(error) => match error.raw_os_error() {
                    Some(libc::EAGAIN) => break,
                    Some(libc::EINTR) => {}
                    // The interface went down: it may come up again, and says so by being readable.
                    Some(libc::ENETDOWN) => break,
                    _ => return Err(error),
                },
            }
        }
        Ok(batch.len() - before)
    }

    /// `None` for a read that held no whole packet.
    fn receive_one(&mut self, arrival: Instant) -> io::Result<Option<RxPacket>> {
        let mut header = [0; VNET_HEADER_LEN];
        let header_room = if self.vnet { VNET_HEADER_LEN } else { 0 };
        let room = self.pool.room(self.room);
        read_packet(self.fd.as_fd(), &mut header[..header_room], room)?;
        if room.is_empty() {
            return Ok(None);
        }
        let (checksum, gso_size) = if self.vnet {
            vnet::decode(&header)
        } else {
            (RxChecksum::Unverified, 0)
        };
        Ok(Some(RxPacket {
            data: self.pool.take(),
            arrival,
            checksum,
            gro_size: gso_size,
        }))
    }

    pub(crate) fn transmit(&mut self, medium: Medium, batch: &mut TxBatch) -> io::Result<usize> {
        let mut taken = 0;
        for packet in batch.iter_mut() {
            if medium == Medium::Ip && packet.link_header_len > 0 {
                packet.head.pop_front(usize::from(packet.link_header_len));
                packet.link_header_len = 0;
            }
            match self.send_one(packet) {
                Ok(()) => taken += 1,
                Err(error) => match error.raw_os_error() {
                    Some(libc::EAGAIN) => break,
                    // A packet that the kernel will not have now is lost, as on a wire.
                    Some(
                        libc::EINVAL | libc::EIO | libc::EMSGSIZE | libc::ENETDOWN | libc::ENOBUFS,
                    ) => {
                        self.refused += 1;
                        taken += 1;
                    }
                    _ => {
                        batch.drain(..taken);
                        return Err(error);
                    }
                },
            }
        }
        batch.drain(..taken);
        Ok(taken)
    }

    fn send_one(&self, packet: &TxPacket) -> io::Result<()> {
        let header = vnet::encode(packet);
        let mut parts: SmallVec<[IoSlice<'_>; 8]> = SmallVec::new();
        if self.vnet {
            parts.push(IoSlice::new(&header));
        }
        parts.push(IoSlice::new(packet.head.as_slice()));
        parts.extend(packet.body.iter().map(|range| IoSlice::new(range)));
        loop {
            match nix::sys::uio::writev(&self.fd, &parts) {
                Ok(_) => return Ok(()),
                Err(nix::Error::EINTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }
}
