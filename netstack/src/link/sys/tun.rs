//! Opening /dev/net/tun: plainly through `tun-tap`, or with virtio headers, which that crate cannot do.

// ioctls are unsafe in `nix`, and a raw descriptor of `tun-tap` has to be owned again.
#![allow(unsafe_code)]

use std::fs::OpenOptions;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, IntoRawFd, OwnedFd};
use std::os::unix::fs::OpenOptionsExt;

use super::iface::{ifreq_name, new_ifreq};
use crate::link::Medium;
use crate::link::vnet::VNET_HEADER_LEN;

nix::ioctl_readwrite_bad!(tun_set_iff, libc::TUNSETIFF, libc::ifreq);
nix::ioctl_write_ptr_bad!(tun_set_vnet_hdr_sz, libc::TUNSETVNETHDRSZ, libc::c_int);
nix::ioctl_write_int_bad!(tun_set_offload, libc::TUNSETOFFLOAD);

/// Opens or creates the interface without virtio headers. Returns the descriptor and the true name.
pub(crate) fn open_plain(name: &str, medium: Medium) -> io::Result<(OwnedFd, String)> {
    let mode = match medium {
        Medium::Ip => tun_tap::Mode::Tun,
        Medium::Ethernet => tun_tap::Mode::Tap,
    };
    let iface = tun_tap::Iface::without_packet_info(name, mode)?;
    let name = iface.name().to_owned();
    // SAFETY: `into_raw_fd` hands over the only owner of an open descriptor.
    let fd = unsafe { OwnedFd::from_raw_fd(iface.into_raw_fd()) };
    Ok((fd, name))
}

/// Opens or creates the interface with virtio headers, and offers the kernel to take packets
/// without checksums and TCP super-packets of both families.
pub(crate) fn open_offloading(name: &str, medium: Medium) -> io::Result<(OwnedFd, String)> {
    let fd: OwnedFd = OpenOptions::new()
        .read(true)
        .write(true)
        .custom_flags(libc::O_CLOEXEC)
        .open("/dev/net/tun")?
        .into();
    let kind = match medium {
        Medium::Ip => libc::IFF_TUN,
        Medium::Ethernet => libc::IFF_TAP,
    };
    let mut request = new_ifreq(name)?;
    request.ifr_ifru.ifru_flags = (kind | libc::IFF_NO_PI | libc::IFF_VNET_HDR) as libc::c_short;
    // SAFETY: `request` is a whole `ifreq`, which the kernel reads and writes the name back into.
    unsafe { tun_set_iff(fd.as_raw_fd(), &mut request) }?;
    let header_len = VNET_HEADER_LEN as libc::c_int;
    // SAFETY: the kernel reads one int.
    unsafe { tun_set_vnet_hdr_sz(fd.as_raw_fd(), &header_len) }?;
    let offload = libc::TUN_F_CSUM | libc::TUN_F_TSO4 | libc::TUN_F_TSO6 | libc::TUN_F_TSO_ECN;
    // SAFETY: the argument is a plain number.
    unsafe { tun_set_offload(fd.as_raw_fd(), offload as libc::c_int) }?;
    Ok((fd, ifreq_name(&request)))
}
