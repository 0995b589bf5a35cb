//! AF_PACKET: frames of an existing interface (one end of a veth pair, a physical card), beside or
//! instead of the kernel's own stack.

use std::io;
use std::os::fd::{BorrowedFd, OwnedFd};

use super::packet_io::PacketIo;
use super::sys::{self, iface};
use super::{Device, DeviceCaps, MacAddr, Medium};
use crate::buf::{RxBatch, SUPER_PACKET_MAX, TxBatch};
use crate::time::Instant;

/// A raw packet socket bound to one interface.
///
/// Each frame has a virtio header (PACKET_VNET_HDR) in front: what another interface of this machine
/// sends (the other end of a veth pair) may be a super-packet and has no checksum yet, and only the
/// header tells.
#[derive(Debug)]
pub struct AfPacketDevice {
    io: PacketIo,
    mtu: u32,
}

impl AfPacketDevice {
    /// Binds to the interface called `name`.
    ///
    /// # Errors
    /// `PermissionDenied` without CAP_NET_RAW, ENODEV if there is no such interface.
    pub fn open(name: &str) -> io::Result<Self> {
        let fd = Self::open_fd(name)?;
        Self::from_fd(fd, iface::mtu(name)?)
    }

    /// Opens only the descriptor, to be donated to a confined process that passes it to
    /// [`AfPacketDevice::from_fd`].
    ///
    /// # Errors
    /// As [`AfPacketDevice::open`].
    pub fn open_fd(name: &str) -> io::Result<OwnedFd> {
        sys::packet::open(nix::net::if_::if_nametoindex(name)?)
    }

    /// Takes over a packet socket from [`AfPacketDevice::open_fd`], for an interface with this MTU in
    /// bytes. No further privilege is needed.
    ///
    /// # Errors
    /// If the descriptor cannot be made non-blocking.
    pub fn from_fd(fd: OwnedFd, mtu: u32) -> io::Result<Self> {
        Ok(Self {
            io: PacketIo::new(fd, true, mtu)?,
            mtu,
        })
    }

    /// The hardware address of an interface, which a stack behind this device takes as its own.
    ///
    /// # Errors
    /// ENODEV if there is no such interface.
    pub fn mac_of(name: &str) -> io::Result<MacAddr> {
        iface::mac(name)
    }

    /// Frames that the kernel refused to take (the interface was down, for example).
    pub fn refused(&self) -> u64 {
        self.io.refused()
    }
}

impl Device for AfPacketDevice {
    fn caps(&self) -> DeviceCaps {
        DeviceCaps {
            medium: Medium::Ethernet,
            mtu: self.mtu,
            tx_checksum: true,
            gso_max: SUPER_PACKET_MAX as u32,
        }
    }

    fn receive(&mut self, now: Instant, batch: &mut RxBatch) -> io::Result<usize> {
        self.io.receive(now, batch)
    }

    fn transmit(&mut self, _now: Instant, batch: &mut TxBatch) -> io::Result<usize> {
        self.io.transmit(Medium::Ethernet, batch)
    }

    fn fd(&self) -> Option<BorrowedFd<'_>> {
        Some(self.io.fd())
    }

    fn announces_room(&self) -> bool {
        true
    }
}
