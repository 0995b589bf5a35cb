//! Devices. The core only knows batches of packets; whoever drives a stack moves the batches between
//! it and a [`Device`]. Decorators (faults, capture) wrap a device and are one themselves.

pub mod af_packet;
pub mod capture;
pub mod channel;
pub mod fault;
pub mod gro;
pub mod loopback;
pub mod monitor;
#[cfg(test)]
mod offload_tests;
mod packet_io;
pub(crate) mod pool;
pub mod segment;
pub mod soft;
pub mod sys;
pub mod tun;
mod vnet;

use crate::buf::{RxBatch, TxBatch};
use crate::time::Instant;
use std::io;
use std::os::fd::BorrowedFd;

/// Length of an Ethernet header without VLAN tag.
pub const ETHERNET_HEADER_LEN: usize = 14;

/// An Ethernet address.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct MacAddr(pub [u8; 6]);

/// What the bytes on a link look like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Medium {
    /// Packets start at the IP header (TUN).
    Ip,
    /// Frames start at an Ethernet header (TAP, AF_PACKET, channel).
    Ethernet,
}

/// What a device can do, read once when its interface is added to a stack.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DeviceCaps {
    /// Framing.
    pub medium: Medium,
    /// Largest network-layer packet on the wire, in bytes.
    pub mtu: u32,
    /// The device completes [`crate::buf::TxOffload::checksum`].
    pub tx_checksum: bool,
    /// The device cuts TCP super-packets up to this many bytes (0: the link layer does it in software).
    pub gso_max: u32,
}

/// A packet device. Not `Send`-bound or locked here: the driver decides who calls it.
pub trait Device {
    /// What it can do.
    fn caps(&self) -> DeviceCaps;

    /// Appends what has arrived to `batch` until it is full or nothing more waits; never blocks.
    /// Returns how many packets were added.
    ///
    /// # Errors
    /// The operating system's, if the device has failed (unplugged, closed).
    fn receive(&mut self, now: Instant, batch: &mut RxBatch) -> io::Result<usize>;

    /// Sends from the front of `batch`, removing what was taken. What stays could not be taken now
    /// (backpressure): the caller keeps it and comes back when the device is writable.
    ///
    /// # Errors
    /// As for [`Device::receive`].
    fn transmit(&mut self, now: Instant, batch: &mut TxBatch) -> io::Result<usize>;

    /// When the device itself next has something to do (a decorator that delays packets).
    fn poll_timeout(&self) -> Option<Instant> {
        None
    }

    /// True if the device holds packets that it has taken but can't send yet (a decorator that cuts
    /// or delays). Call [`Device::transmit`] when it is writable, even with an empty batch.
    fn transmit_pending(&self) -> bool {
        false
    }

    /// The descriptor that becomes readable when there is something to receive, for devices that have one.
    fn fd(&self) -> Option<BorrowedFd<'_>> {
        None
    }

    /// True if that descriptor becomes writable when [`Device::transmit`] can go on. If not, room
    /// is announced by its becoming readable, or by [`Device::poll_timeout`].
    fn announces_room(&self) -> bool {
        false
    }
}

impl<D: Device + ?Sized> Device for Box<D> {
    fn caps(&self) -> DeviceCaps {
        (**self).caps()
    }

    fn receive(&mut self, now: Instant, batch: &mut RxBatch) -> io::Result<usize> {
        (**self).receive(now, batch)
    }

    fn transmit(&mut self, now: Instant, batch: &mut TxBatch) -> io::Result<usize> {
        (**self).transmit(now, batch)
    }

    fn poll_timeout(&self) -> Option<Instant> {
        (**self).poll_timeout()
    }

    fn transmit_pending(&self) -> bool {
        (**self).transmit_pending()
    }

    fn fd(&self) -> Option<BorrowedFd<'_>> {
        (**self).fd()
    }

    fn announces_room(&self) -> bool {
        (**self).announces_room()
    }
}
