//! Opening an AF_PACKET socket on one interface.

// `bind` with a link-layer address and the SOL_PACKET options have no safe wrapper in `nix`.
#![allow(unsafe_code)]

use std::io;
use std::mem::size_of;
use std::os::fd::{AsRawFd, OwnedFd};

use nix::sys::socket::{AddressFamily, SockFlag, SockType, socket};

/// linux/if_packet.h
const PACKET_STATISTICS: libc::c_int = 6;
/// linux/if_packet.h
const PACKET_VNET_HDR: libc::c_int = 15;
/// linux/if_packet.h, since Linux 4.20.
const PACKET_IGNORE_OUTGOING: libc::c_int = 23;

/// Opens a raw packet socket that sees what an interface receives and sends, without virtio headers.
pub(crate) fn open_monitor(ifindex: u32) -> io::Result<OwnedFd> {
    open_with(ifindex, &[])
}

/// Packets that the kernel has dropped because nobody read them, since the last call.
pub(crate) fn take_drops(fd: &OwnedFd) -> io::Result<u32> {
    // linux/if_packet.h: struct tpacket_stats is tp_packets, tp_drops.
    let mut stats = [0_u32; 2];
    let mut len = size_of_val(&stats) as libc::socklen_t;
    // SAFETY: the kernel writes at most `len` bytes, which is the true length.
    let done = unsafe {
        libc::getsockopt(
            fd.as_raw_fd(),
            libc::SOL_PACKET,
            PACKET_STATISTICS,
            stats.as_mut_ptr().cast(),
            &raw mut len,
        )
    };
    if done != 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(stats[1])
}

/// Opens a raw packet socket, bound to all protocols of the interface, that does not see what this
/// host sends. Each packet has a virtio header in front.
pub(crate) fn open(ifindex: u32) -> io::Result<OwnedFd> {
    open_with(ifindex, &[PACKET_IGNORE_OUTGOING, PACKET_VNET_HDR])
}

fn open_with(ifindex: u32, options: &[libc::c_int]) -> io::Result<OwnedFd> {
    // Protocol 0 until the bind: no packet of another interface gets in between.
    let fd = socket(
        AddressFamily::Packet,
        SockType::Raw,
        SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK,
        None,
    )?;
    for option in options {
        set_option(&fd, *option)?;
    }
    let address = libc::sockaddr_ll {
        sll_family: libc::AF_PACKET as u16,
        sll_protocol: (libc::ETH_P_ALL as u16).to_be(),
        sll_ifindex: ifindex as libc::c_int,
        sll_hatype: 0,
        sll_pkttype: 0,
        sll_halen: 0,
        sll_addr: [0; 8],
    };
    // SAFETY: `address` is a whole `sockaddr_ll` and its true length is given.
    let done = unsafe {
        libc::bind(
            fd.as_raw_fd(),
            (&raw const address).cast(),
            size_of::<libc::sockaddr_ll>() as libc::socklen_t,
        )
    };
    if done != 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(fd)
}

fn set_option(fd: &OwnedFd, option: libc::c_int) -> io::Result<()> {
    let on: libc::c_int = 1;
    // SAFETY: the kernel reads one int, whose true length is given.
    let done = unsafe {
        libc::setsockopt(
            fd.as_raw_fd(),
            libc::SOL_PACKET,
            option,
            (&raw const on).cast(),
            size_of::<libc::c_int>() as libc::socklen_t,
        )
    };
    if done != 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}
