//! ioctls on sockets about network interfaces (netdevice(7)).

use std::net::{IpAddr, Ipv4Addr};

use netstack::stack::InterfaceInfo;
use sentry_abi::Errno;

use crate::net::addr::emit_inet;
use crate::net::file::SocketFile;
use crate::net::link::{self, LinkKind};
use crate::syscalls::at::done;
use crate::syscalls::{Args, SysResult};
use crate::task::Task;
use crate::vfs::OpenFile;

const SIOCGIFNAME: u32 = 0x8910;
const SIOCGIFCONF: u32 = 0x8912;
const SIOCGIFFLAGS: u32 = 0x8913;
const SIOCGIFADDR: u32 = 0x8915;
const SIOCGIFDSTADDR: u32 = 0x8917;
const SIOCGIFBRDADDR: u32 = 0x8919;
const SIOCGIFNETMASK: u32 = 0x891b;
const SIOCGIFMETRIC: u32 = 0x891d;
const SIOCGIFMTU: u32 = 0x8921;
const SIOCGIFHWADDR: u32 = 0x8927;
const SIOCGIFINDEX: u32 = 0x8933;
const SIOCGIFTXQLEN: u32 = 0x8942;

/// Bytes of an interface's name, with its NUL.
const NAME: usize = 16;
/// Size of `struct ifreq`.
const IFREQ: usize = 40;

/// Those requests; `None` for others, for other files, and for sockets of the host's interfaces.
pub(super) fn ioctl(task: &mut Task, file: &OpenFile, args: &Args) -> Option<SysResult> {
    SocketFile::of(file).ok()?;
    let interfaces = task.kernel.network().interfaces()?;
    let (request, at) = (args.uint(1), args.ptr(2));
    Some(match request {
        SIOCGIFCONF => list(task, &interfaces, at),
        SIOCGIFNAME => name_of(task, &interfaces, at),
        SIOCGIFFLAGS | SIOCGIFADDR | SIOCGIFDSTADDR | SIOCGIFBRDADDR | SIOCGIFNETMASK
        | SIOCGIFMETRIC | SIOCGIFMTU | SIOCGIFHWADDR | SIOCGIFINDEX | SIOCGIFTXQLEN => {
            ask(task, &interfaces, request, at)
        }
        _ => return None,
    })
}

/// The first IPv4 address and its prefix length.
fn first_v4(interface: &InterfaceInfo) -> Result<(Ipv4Addr, u8), Errno> {
    let v4 = |cidr: &netstack::network::addr::Cidr| match cidr.addr() {
        IpAddr::V4(addr) => Some((addr, cidr.prefix_len())),
        IpAddr::V6(_) => None,
    };
    let found = interface.addrs.iter().find_map(v4);
    found.ok_or(Errno::EADDRNOTAVAIL)
}

fn sockaddr(addr: Ipv4Addr) -> Vec<u8> {
    emit_inet((addr, 0).into())
}

/// Answers a question about the interface that the `struct ifreq` at `at` names.
fn ask(task: &Task, interfaces: &[InterfaceInfo], request: u32, at: u64) -> SysResult {
    let name: [u8; NAME] = task.mm.read_val(at)?;
    let name = name.split(|&b| b == 0).next().unwrap_or_default();
    let interface = interfaces.iter().find(|i| i.name.as_bytes() == name);
    let interface = interface.ok_or(Errno::ENODEV)?;
    let answer = value(interface, request)?;
    task.mm.write(at.wrapping_add(NAME as u64), &answer)?;
    done()
}

fn value(interface: &InterfaceInfo, request: u32) -> Result<Vec<u8>, Errno> {
    let int = |value: u32| value.to_ne_bytes().to_vec();
    Ok(match request {
        SIOCGIFINDEX => int(link::index(interface)),
        SIOCGIFMTU => int(interface.caps.mtu),
        SIOCGIFTXQLEN => int(link::TX_QUEUE),
        SIOCGIFMETRIC => int(0),
        // A short: the flags beyond it are netlink's alone.
        SIOCGIFFLAGS => (link::flags(interface) as u16).to_ne_bytes().to_vec(),
        SIOCGIFHWADDR => {
            let mut address = link::kind(interface).hardware_type().to_ne_bytes().to_vec();
            if link::kind(interface) != LinkKind::Ip {
                address.extend_from_slice(&interface.mac.0);
            }
            address.resize(16, 0);
            address
        }
        SIOCGIFADDR => sockaddr(first_v4(interface)?.0),
        // The peer of a link that names none is the address itself.
        SIOCGIFDSTADDR => sockaddr(first_v4(interface)?.0),
        SIOCGIFBRDADDR => {
            first_v4(interface)?;
            let mut all = interface.addrs.iter().filter_map(|cidr| cidr.broadcast());
            match all.find(|_| !interface.is_loopback) {
                Some(IpAddr::V4(broadcast)) => sockaddr(broadcast),
                _ => sockaddr(Ipv4Addr::UNSPECIFIED),
            }
        }
        _ => {
            let (_, len) = first_v4(interface)?;
            let mask = u32::MAX.checked_shl(32 - u32::from(len)).unwrap_or(0);
            sockaddr(Ipv4Addr::from_bits(mask))
        }
    })
}

fn name_of(task: &Task, interfaces: &[InterfaceInfo], at: u64) -> SysResult {
    let number: u32 = task.mm.read_val(at.wrapping_add(NAME as u64))?;
    let found = interfaces.iter().find(|i| link::index(i) == number);
    let name = &found.ok_or(Errno::ENODEV)?.name;
    task.mm.write(at, &padded(name))?;
    done()
}

fn padded(name: &str) -> [u8; NAME] {
    std::array::from_fn(|i| name.as_bytes().get(i).copied().unwrap_or(0))
}

/// `struct ifconf`: length and address of an array of `struct ifreq`, one for each IPv4 address.
fn list(task: &Task, interfaces: &[InterfaceInfo], at: u64) -> SysResult {
    let space: i32 = task.mm.read_val(at)?;
    let buffer: u64 = task.mm.read_val(at.wrapping_add(8))?;
    let mut all = Vec::new();
    for interface in interfaces {
        for cidr in &interface.addrs {
            let IpAddr::V4(addr) = cidr.addr() else {
                continue;
            };
            let mut entry = padded(&interface.name).to_vec();
            entry.extend_from_slice(&sockaddr(addr));
            entry.resize(IFREQ, 0);
            all.extend_from_slice(&entry);
        }
    }
    // Without a buffer the length that is needed is the answer.
    if buffer != 0 {
        let space = usize::try_from(space).map_err(|_| Errno::EINVAL)?;
        all.truncate(space / IFREQ * IFREQ);
        task.mm.write(buffer, &all)?;
    }
    task.mm.write_val(at, &(all.len() as i32))?;
    done()
}
