//! TUN and TAP interfaces: packets (TUN) or frames (TAP) exchanged with this machine's kernel.

use std::io;
use std::net::IpAddr;
use std::os::fd::{BorrowedFd, OwnedFd};

use super::packet_io::PacketIo;
use super::sys::{self, iface};
use super::{Device, DeviceCaps, Medium};
use crate::buf::{RxBatch, SUPER_PACKET_MAX, TxBatch};
use crate::time::Instant;

/// How packets are exchanged with a TUN or TAP descriptor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TunConfig {
    /// [`Medium::Ip`] for TUN, [`Medium::Ethernet`] for TAP.
    pub medium: Medium,
    /// A 10-byte virtio header precedes each packet (IFF_VNET_HDR): checksums and the cutting of
    /// TCP super-packets are left to the kernel.
    pub vnet: bool,
    /// The interface's MTU in bytes.
    pub mtu: u32,
}

/// A TUN or TAP interface.
#[derive(Debug)]
pub struct TunDevice {
    io: PacketIo,
    config: TunConfig,
    name: String,
}

impl TunDevice {
    /// Opens the interface called `name`, or creates it for as long as this device lives. An empty
    /// name, or one with `%d`, lets the kernel choose.
    ///
    /// # Errors
    /// `NotFound` without /dev/net/tun, `PermissionDenied` without CAP_NET_ADMIN, EBUSY if somebody
    /// else has the interface open.
    pub fn open(name: &str, medium: Medium, vnet: bool) -> io::Result<Self> {
        // Refused here, before a longer name could be cut off silently.
        iface::new_ifreq(name)?;
        let (fd, name) = if vnet {
            sys::tun::open_offloading(name, medium)?
        } else {
            sys::tun::open_plain(name, medium)?
        };
        let mtu = iface::mtu(&name)?;
        let config = TunConfig { medium, vnet, mtu };
        Self::with_name(fd, config, name)
    }

    /// As [`TunDevice::open`], but leaves the descriptor to be given to another process, with the
    /// interface's name.
    ///
    /// # Errors
    /// As [`TunDevice::open`].
    pub fn open_fd(name: &str, medium: Medium, vnet: bool) -> io::Result<(OwnedFd, String)> {
        iface::new_ifreq(name)?;
        if vnet {
            sys::tun::open_offloading(name, medium)
        } else {
            sys::tun::open_plain(name, medium)
        }
    }

    /// Takes over a descriptor that somebody else has opened and set up as `config` says (with
    /// IFF_NO_PI, and a virtio header of 10 bytes if any). No further privilege is needed.
    ///
    /// # Errors
    /// If the descriptor cannot be made non-blocking.
    pub fn from_fd(fd: OwnedFd, config: TunConfig) -> io::Result<Self> {
        Self::with_name(fd, config, String::new())
    }

    fn with_name(fd: OwnedFd, config: TunConfig, name: String) -> io::Result<Self> {
        Ok(Self {
            io: PacketIo::new(fd, config.vnet, config.mtu)?,
            config,
            name,
        })
    }

    /// The interface's name; empty for a donated descriptor.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Gives the kernel's end of the link an address and brings it up.
    ///
    /// # Errors
    /// `PermissionDenied` without CAP_NET_ADMIN.
    pub fn configure_host(&self, addr: impl Into<IpAddr>, prefix_len: u8) -> io::Result<()> {
        match addr.into() {
            IpAddr::V4(addr) => iface::set_ipv4(&self.name, addr, prefix_len)?,
            IpAddr::V6(addr) => iface::add_ipv6(&self.name, addr, prefix_len)?,
        }
        iface::set_up(&self.name)
    }

    /// Packets that the kernel refused to take (the interface was down, for example).
    pub fn refused(&self) -> u64 {
        self.io.refused()
    }
}

impl Device for TunDevice {
    fn caps(&self) -> DeviceCaps {
        DeviceCaps {
            medium: self.config.medium,
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
        self.io.transmit(self.config.medium, batch)
    }

    fn fd(&self) -> Option<BorrowedFd<'_>> {
        Some(self.io.fd())
    }

    fn announces_room(&self) -> bool {
        true
    }
}
