//! AF_PACKET: frames of an existing interface (one end of a veth pair, a physical card), beside or
//! instead of the kernel's own stack.

use std::io;
use std::os::fd::{OwnedFd, RawFd};

use super::packet_io::PacketIo;
use super::sys::{self, iface};
use super::{Device, DeviceCaps, MacAddr, Medium};
use crate::buf::{RxBatch, SUPER_PACKET_MAX, TxBatch};
use crate::time::Instant;

/// How frames are exchanged with a packet socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AfPacketConfig {
    /// A 10-byte virtio header precedes each frame (PACKET_VNET_HDR).
    pub vnet: bool,
    /// The interface's MTU in bytes.
    pub mtu: u32,
}

/// A raw packet socket bound to one interface.
#[derive(Debug)]
pub struct AfPacketDevice {
    io: PacketIo,
    config: AfPacketConfig,
}

impl AfPacketDevice {
    /// Binds to the interface called `name`.
    ///
    /// # Errors
    /// `PermissionDenied` without CAP_NET_RAW, ENODEV if there is no such interface.
    pub fn open(name: &str, vnet: bool) -> io::Result<Self> {
        let fd = Self::open_fd(name, vnet)?;
        let mtu = iface::mtu(name)?;
        Self::from_fd(fd, AfPacketConfig { vnet, mtu })
    }

    /// Opens only the descriptor, to be donated to a confined process that passes it to
    /// [`AfPacketDevice::from_fd`].
    ///
    /// # Errors
    /// As [`AfPacketDevice::open`].
    pub fn open_fd(name: &str, vnet: bool) -> io::Result<OwnedFd> {
        sys::packet::open(nix::net::if_::if_nametoindex(name)?, vnet)
    }

    /// Takes over a packet socket that somebody else has bound and set up as `config` says. Copies
    /// of outgoing frames must be off (PACKET_IGNORE_OUTGOING), as [`AfPacketDevice::open_fd`] does.
    ///
    /// # Errors
    /// If the descriptor cannot be made non-blocking.
    pub fn from_fd(fd: OwnedFd, config: AfPacketConfig) -> io::Result<Self> {
        Ok(Self {
            io: PacketIo::new(fd, config.vnet, config.mtu)?,
            config,
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
            mtu: self.config.mtu,
            tx_checksum: self.config.vnet,
            gso_max: if self.config.vnet {
                SUPER_PACKET_MAX as u32
            } else {
                0
            },
        }
    }

    fn receive(&mut self, now: Instant, batch: &mut RxBatch) -> io::Result<usize> {
        self.io.receive(now, batch)
    }

    fn transmit(&mut self, _now: Instant, batch: &mut TxBatch) -> io::Result<usize> {
        self.io.transmit(Medium::Ethernet, batch)
    }

    fn raw_fd(&self) -> Option<RawFd> {
        Some(self.io.raw_fd())
    }

    fn writable_fd(&self) -> Option<RawFd> {
        Some(self.io.raw_fd())
    }
}
