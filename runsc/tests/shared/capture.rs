//! Frames as they pass the devices of this machine (or of the caller's network namespace), seen from
//! the kernel's side.

use std::os::fd::{AsRawFd, OwnedFd};

use nix::sys::socket::sockopt::RcvBufForce;
use nix::sys::socket::{
    AddressFamily, LinkAddr, SockFlag, SockProtocol, SockType, recvfrom, setsockopt, socket,
};

/// What is kept of a frame: all headers, and a little of the payload.
const SNAP_LEN: usize = 192;

/// What the kernel may hold until it is read.
const QUEUE_BYTES: usize = 256 << 20;

/// Direction and link types (linux/if_packet.h, linux/if_arp.h).
const PACKET_OUTGOING: u8 = 4;
const ARPHRD_NONE: u16 = 0xfffe;

/// One frame.
#[derive(Clone, Debug)]
pub(crate) struct Frame {
    /// The kernel sent it; otherwise it came from the other end of the link.
    pub(crate) from_kernel: bool,
    /// Its first bytes, from the link's header if it has one.
    pub(crate) bytes: Vec<u8>,
    /// Where the network header begins.
    pub(crate) network: usize,
}

/// Holds every frame from its start on.
pub(crate) struct Capture(OwnedFd);

impl Capture {
    /// Starts it. Frames are kept from now on.
    pub(crate) fn start() -> Self {
        let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
        let protocol = SockProtocol::EthAll;
        let socket = socket(AddressFamily::Packet, SockType::Raw, flags, protocol);
        let socket = socket.expect("a packet socket (needs root)");
        setsockopt(&socket, RcvBufForce, &QUEUE_BYTES).expect("a large queue");
        Self(socket)
    }

    /// What has come since the last look.
    pub(crate) fn frames(&self) -> Vec<Frame> {
        let mut frames = Vec::new();
        let mut buffer = [0; SNAP_LEN];
        while let Ok((len, from)) = recvfrom::<LinkAddr>(self.0.as_raw_fd(), &mut buffer) {
            let from = from.expect("packet sockets name the link");
            let has_header = from.hatype() != ARPHRD_NONE;
            frames.push(Frame {
                from_kernel: from.pkttype() == PACKET_OUTGOING,
                bytes: buffer[..len.min(SNAP_LEN)].to_vec(),
                network: if has_header { 14 } else { 0 },
            });
        }
        frames
    }
}
