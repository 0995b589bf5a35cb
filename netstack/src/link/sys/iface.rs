//! The kernel's side of an interface: its MTU, address and state, by the classic `SIOC*` ioctls,
//! so that nothing depends on the `ip` command.

// ioctls are unsafe in `nix`, and `ifreq` is a union.
#![allow(unsafe_code)]

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::os::fd::{AsRawFd, OwnedFd};

use nix::sys::socket::{AddressFamily, SockFlag, SockType, socket};

use crate::link::{MacAddr, Medium};

/// linux/sockios.h; `libc` does not have it.
const SIOCDIFADDR: libc::Ioctl = 0x8936;

/// The bare calls: the macros make them public.
mod raw {
    use super::SIOCDIFADDR;
    nix::ioctl_read_bad!(get_mtu, libc::SIOCGIFMTU, libc::ifreq);
    nix::ioctl_write_ptr_bad!(set_mtu, libc::SIOCSIFMTU, libc::ifreq);
    nix::ioctl_read_bad!(get_hwaddr, libc::SIOCGIFHWADDR, libc::ifreq);
    nix::ioctl_read_bad!(get_flags, libc::SIOCGIFFLAGS, libc::ifreq);
    nix::ioctl_write_ptr_bad!(set_flags, libc::SIOCSIFFLAGS, libc::ifreq);
    nix::ioctl_write_ptr_bad!(set_addr, libc::SIOCSIFADDR, libc::ifreq);
    nix::ioctl_write_ptr_bad!(set_addr6, libc::SIOCSIFADDR, libc::in6_ifreq);
    nix::ioctl_write_ptr_bad!(delete_addr6, SIOCDIFADDR, libc::in6_ifreq);
    nix::ioctl_write_ptr_bad!(set_netmask, libc::SIOCSIFNETMASK, libc::ifreq);
    nix::ioctl_write_ptr_bad!(set_hwaddr, libc::SIOCSIFHWADDR, libc::ifreq);
    nix::ioctl_write_ptr_bad!(add_route, libc::SIOCADDRT, libc::rtentry);
}

/// An `ifreq` for `name`, all else zero.
pub(crate) fn new_ifreq(name: &str) -> io::Result<libc::ifreq> {
    // SAFETY: `ifreq` is plain old data for which all zeroes is a valid value.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    let bytes = name.as_bytes();
    if bytes.len() >= request.ifr_name.len() || bytes.contains(&0) {
        return Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            format!("{name:?} cannot be the name of an interface (at most 15 bytes)"),
        ));
    }
    for (to, from) in request.ifr_name.iter_mut().zip(bytes) {
        *to = *from as libc::c_char;
    }
    Ok(request)
}

/// The name that the kernel wrote into a request.
pub(crate) fn ifreq_name(request: &libc::ifreq) -> String {
    let bytes: Vec<u8> = request
        .ifr_name
        .iter()
        .map(|&c| c as u8)
        .take_while(|&b| b != 0)
        .collect();
    String::from_utf8_lossy(&bytes).into_owned()
}

fn control_socket() -> io::Result<OwnedFd> {
    Ok(socket(
        AddressFamily::Inet,
        SockType::Datagram,
        SockFlag::SOCK_CLOEXEC,
        None,
    )?)
}

/// The interface's MTU in bytes (SIOCGIFMTU).
///
/// # Errors
/// ENODEV if there is no such interface.
pub fn mtu(name: &str) -> io::Result<u32> {
    let mut request = new_ifreq(name)?;
    // SAFETY: the kernel fills in a whole `ifreq`.
    unsafe { raw::get_mtu(control_socket()?.as_raw_fd(), &mut request) }?;
    // SAFETY: SIOCGIFMTU sets this member of the union.
    let mtu = unsafe { request.ifr_ifru.ifru_mtu };
    u32::try_from(mtu).map_err(|_| io::ErrorKind::InvalidData.into())
}

/// Sets the interface's MTU in bytes (SIOCSIFMTU).
///
/// # Errors
/// EPERM without CAP_NET_ADMIN, EINVAL if the interface cannot do it.
pub fn set_mtu(name: &str, mtu: u32) -> io::Result<()> {
    let mut request = new_ifreq(name)?;
    request.ifr_ifru.ifru_mtu = mtu as libc::c_int;
    // SAFETY: the kernel reads a whole `ifreq`.
    unsafe { raw::set_mtu(control_socket()?.as_raw_fd(), &request) }?;
    Ok(())
}

/// The interface's hardware address (SIOCGIFHWADDR).
///
/// # Errors
/// ENODEV if there is no such interface.
pub fn mac(name: &str) -> io::Result<MacAddr> {
    let mut request = new_ifreq(name)?;
    // SAFETY: the kernel fills in a whole `ifreq`.
    unsafe { raw::get_hwaddr(control_socket()?.as_raw_fd(), &mut request) }?;
    // SAFETY: SIOCGIFHWADDR sets this member of the union.
    let data = unsafe { request.ifr_ifru.ifru_hwaddr.sa_data };
    Ok(MacAddr(std::array::from_fn(|i| data[i] as u8)))
}

/// What an interface's frames look like (the ARPHRD_ type of SIOCGIFHWADDR); `None` for a kind that is
/// neither Ethernet-like nor bare IP.
///
/// # Errors
/// ENODEV if there is no such interface.
pub fn medium(name: &str) -> io::Result<Option<Medium>> {
    let mut request = new_ifreq(name)?;
    // SAFETY: the kernel fills in a whole `ifreq`.
    unsafe { raw::get_hwaddr(control_socket()?.as_raw_fd(), &mut request) }?;
    // SAFETY: SIOCGIFHWADDR sets this member of the union.
    let kind = unsafe { request.ifr_ifru.ifru_hwaddr.sa_family };
    Ok(match kind {
        libc::ARPHRD_ETHER | libc::ARPHRD_LOOPBACK => Some(Medium::Ethernet),
        libc::ARPHRD_NONE => Some(Medium::Ip),
        _ => None,
    })
}

/// Brings the interface up (SIOCSIFFLAGS with IFF_UP).
///
/// # Errors
/// EPERM without CAP_NET_ADMIN.
pub fn set_up(name: &str) -> io::Result<()> {
    let socket = control_socket()?;
    let mut request = new_ifreq(name)?;
    // SAFETY: the kernel fills in a whole `ifreq`.
    unsafe { raw::get_flags(socket.as_raw_fd(), &mut request) }?;
    // SAFETY: SIOCGIFFLAGS sets this member of the union.
    let flags = unsafe { request.ifr_ifru.ifru_flags };
    request.ifr_ifru.ifru_flags = flags | libc::IFF_UP as libc::c_short;
    // SAFETY: the kernel reads a whole `ifreq`.
    unsafe { raw::set_flags(socket.as_raw_fd(), &request) }?;
    Ok(())
}

/// Gives the interface an IPv4 address and prefix length (SIOCSIFADDR, SIOCSIFNETMASK); the kernel
/// adds the connected route when the interface is up.
///
/// # Errors
/// EPERM without CAP_NET_ADMIN; `InvalidInput` for a prefix over 32.
pub fn set_ipv4(name: &str, addr: Ipv4Addr, prefix_len: u8) -> io::Result<()> {
    if prefix_len > 32 {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    let mask = u32::MAX
        .checked_shl(32 - u32::from(prefix_len))
        .unwrap_or(0);
    let socket = control_socket()?;
    let mut request = new_ifreq(name)?;
    request.ifr_ifru.ifru_addr = sockaddr(addr);
    // SAFETY: the kernel reads a whole `ifreq`.
    unsafe { raw::set_addr(socket.as_raw_fd(), &request) }?;
    request.ifr_ifru.ifru_netmask = sockaddr(Ipv4Addr::from(mask));
    // SAFETY: the kernel reads a whole `ifreq`.
    unsafe { raw::set_netmask(socket.as_raw_fd(), &request) }?;
    Ok(())
}

/// Adds an IPv6 address (SIOCSIFADDR of an AF_INET6 socket); the kernel adds the route to its prefix.
/// On Ethernet it may be used once the kernel has found that nobody else has it.
///
/// # Errors
/// EPERM without CAP_NET_ADMIN, EEXIST if it has the address; `InvalidInput` for a prefix over 128.
pub fn add_ipv6(name: &str, addr: Ipv6Addr, prefix_len: u8) -> io::Result<()> {
    let (socket, request) = request6(name, addr, prefix_len)?;
    // SAFETY: the kernel reads a whole `in6_ifreq`.
    unsafe { raw::set_addr6(socket.as_raw_fd(), &request) }?;
    Ok(())
}

/// Takes an IPv6 address away (SIOCDIFADDR), and the kernel's route to its prefix with it.
///
/// # Errors
/// EPERM without CAP_NET_ADMIN, EADDRNOTAVAIL if the interface does not have it.
pub fn remove_ipv6(name: &str, addr: Ipv6Addr, prefix_len: u8) -> io::Result<()> {
    let (socket, request) = request6(name, addr, prefix_len)?;
    // SAFETY: the kernel reads a whole `in6_ifreq`.
    unsafe { raw::delete_addr6(socket.as_raw_fd(), &request) }?;
    Ok(())
}

/// A control socket of IPv6, and what to ask it for.
fn request6(name: &str, addr: Ipv6Addr, len: u8) -> io::Result<(OwnedFd, libc::in6_ifreq)> {
    if len > 128 {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    let index = nix::net::if_::if_nametoindex(name)?;
    let request = libc::in6_ifreq {
        ifr6_addr: libc::in6_addr {
            s6_addr: addr.octets(),
        },
        ifr6_prefixlen: u32::from(len),
        ifr6_ifindex: index as libc::c_int,
    };
    let (family, kind) = (AddressFamily::Inet6, SockType::Datagram);
    let socket = socket(family, kind, SockFlag::SOCK_CLOEXEC, None)?;
    Ok((socket, request))
}

/// Takes the interface's primary IPv4 address away (SIOCSIFADDR with 0.0.0.0), and the kernel's routes
/// through it; harmless when there is none.
///
/// # Errors
/// EPERM without CAP_NET_ADMIN, ENODEV if there is no such interface.
pub fn clear_ipv4(name: &str) -> io::Result<()> {
    let mut request = new_ifreq(name)?;
    request.ifr_ifru.ifru_addr = sockaddr(Ipv4Addr::UNSPECIFIED);
    // SAFETY: the kernel reads a whole `ifreq`.
    unsafe { raw::set_addr(control_socket()?.as_raw_fd(), &request) }?;
    Ok(())
}

/// Sets the interface's Ethernet address (SIOCSIFHWADDR).
///
/// # Errors
/// EPERM without CAP_NET_ADMIN, EADDRNOTAVAIL if it is no unicast address, EBUSY if the interface is up
/// and cannot change it then.
pub fn set_mac(name: &str, mac: MacAddr) -> io::Result<()> {
    let mut request = new_ifreq(name)?;
    let mut data = [0; 14];
    for (to, from) in data.iter_mut().zip(mac.0) {
        *to = from as libc::c_char;
    }
    request.ifr_ifru.ifru_hwaddr = libc::sockaddr {
        sa_family: libc::ARPHRD_ETHER,
        sa_data: data,
    };
    // SAFETY: the kernel reads a whole `ifreq`.
    unsafe { raw::set_hwaddr(control_socket()?.as_raw_fd(), &request) }?;
    Ok(())
}

/// Adds the kernel's default route for IPv4 through the interface (SIOCADDRT), over `gateway` or, without
/// one, to whoever is on the link.
///
/// # Errors
/// EPERM without CAP_NET_ADMIN, EEXIST, ENETUNREACH if the gateway is not on the link, ENETDOWN.
pub fn add_default_route(name: &str, gateway: Option<Ipv4Addr>) -> io::Result<()> {
    new_ifreq(name)?;
    let mut device: Vec<libc::c_char> = name.bytes().map(|byte| byte as libc::c_char).collect();
    device.push(0);
    // SAFETY: `rtentry` is plain old data for which all zeroes is a valid value.
    let mut route: libc::rtentry = unsafe { std::mem::zeroed() };
    route.rt_dst = sockaddr(Ipv4Addr::UNSPECIFIED);
    route.rt_genmask = sockaddr(Ipv4Addr::UNSPECIFIED);
    route.rt_gateway = sockaddr(gateway.unwrap_or(Ipv4Addr::UNSPECIFIED));
    route.rt_flags = libc::RTF_UP;
    if gateway.is_some() {
        route.rt_flags |= libc::RTF_GATEWAY;
    }
    route.rt_dev = device.as_mut_ptr();
    // SAFETY: the kernel reads a whole `rtentry`, and the name that it points to, which ends in a zero
    // and lives until after the call.
    unsafe { raw::add_route(control_socket()?.as_raw_fd(), &route) }?;
    Ok(())
}

/// The generic form of an IPv4 socket address with port 0: family, then port and address in `sa_data`.
fn sockaddr(addr: Ipv4Addr) -> libc::sockaddr {
    let mut data = [0; 14];
    for (to, from) in data[2..6].iter_mut().zip(addr.octets()) {
        *to = from as libc::c_char;
    }
    libc::sockaddr {
        sa_family: libc::AF_INET as libc::sa_family_t,
        sa_data: data,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_do_not_fit_are_refused() {
        assert!(new_ifreq("a-name-of-16-byt").is_err());
        assert!(new_ifreq("nul\0").is_err());
        assert_eq!(ifreq_name(&new_ifreq("lo").unwrap()), "lo");
    }

    #[test]
    fn loopback_has_an_mtu() {
        assert!(mtu("lo").unwrap() >= 1_280);
        assert_eq!(mac("lo").unwrap(), MacAddr([0; 6]));
    }
}
