//! Watching an interface of this machine: what it receives and sends, beside whoever uses it.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use nix::sys::socket::{LinkAddr, recvfrom};

use super::capture::Direction;
use super::sys::{self, iface};
use super::{ETHERNET_HEADER_LEN, Medium};
use crate::buf::SUPER_PACKET_MAX;

/// A packet socket that only looks.
#[derive(Debug)]
pub struct Monitor {
    fd: OwnedFd,
    medium: Medium,
    buffer: Vec<u8>,
    drops: u64,
}

impl Monitor {
    /// Begins to watch the interface called `name`.
    ///
    /// # Errors
    /// `PermissionDenied` without CAP_NET_RAW, ENODEV if there is no such interface, `Unsupported` for one
    /// whose frames are neither Ethernet nor bare IP.
    pub fn open(name: &str) -> io::Result<Self> {
        let index = nix::net::if_::if_nametoindex(name)?;
        let medium = iface::medium(name)?.ok_or(io::ErrorKind::Unsupported)?;
        Ok(Self {
            fd: sys::packet::open_monitor(index)?,
            medium,
            // Super-packets are seen whole; the kernel's VLAN tag would come on top.
            buffer: vec![0; SUPER_PACKET_MAX + ETHERNET_HEADER_LEN + 4],
            drops: 0,
        })
    }

    /// What the packets look like.
    pub fn medium(&self) -> Medium {
        self.medium
    }

    /// The next packet, if one waits.
    ///
    /// # Errors
    /// The kernel's, ENETDOWN when the interface goes down.
    pub fn try_next(&mut self) -> io::Result<Option<(Direction, &[u8])>> {
        let (len, from) = match recvfrom::<LinkAddr>(self.fd.as_raw_fd(), &mut self.buffer) {
            Ok(got) => got,
            Err(nix::Error::EAGAIN) => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        let kind = from.map(|from| {
            let raw: &libc::sockaddr_ll = from.as_ref();
            raw.sll_pkttype
        });
        let direction = match kind {
            Some(libc::PACKET_OUTGOING) => Direction::Out,
            _ => Direction::In,
        };
        Ok(Some((direction, &self.buffer[..len])))
    }

    /// Packets that came too fast, so far.
    pub fn drops(&mut self) -> u64 {
        // It fails for no packet socket.
        self.drops += u64::from(sys::packet::take_drops(&self.fd).unwrap_or(0));
        self.drops
    }

    /// Readable when a packet waits.
    pub fn fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}
