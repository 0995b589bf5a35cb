//! Devices. The core only knows batches of packets; whoever drives a stack moves the batches between
//! it and a [`Device`]. Decorators (faults, capture) wrap a device and are one themselves.

use crate::buf::{RxBatch, TxBatch};
use crate::time::Instant;
use std::io;
use std::os::fd::RawFd;

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

    /// The descriptor to wait on, for devices that have one.
    fn raw_fd(&self) -> Option<RawFd> {
        None
    }
}
