//! A TUN device between this machine and one sandbox (`runsc do`).

use std::fs::File;
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr};

use netstack::link::Medium;
use netstack::link::sys::iface;
use netstack::link::tun::TunDevice;
use nix::fcntl::{Flock, FlockArg};
use nix::sys::socket::SockaddrStorage;
use thiserror::Error;

use crate::sandbox::plan::{Ipv6Plan, TunPlan};
use crate::sandbox::transport::Donation;

/// Prefix of the link between machine and sandbox.
const PREFIX_LEN: u8 = 30;

/// Addresses that are tried when none is chosen.
const FIRST: Ipv4Addr = Ipv4Addr::new(192, 168, 131, 2);
const LAST: Ipv4Addr = Ipv4Addr::new(192, 168, 255, 254);

/// fd72:756e::/32, of which each link has a /64.
const IPV6_PREFIX: u128 = 0xfd72_756e << 96;

/// Why the device could not be made.
#[derive(Debug, Error)]
pub(crate) enum TunError {
    #[error(
        "cannot open /dev/net/tun: it is not there; load the tun module, or use --network=none or --network=host"
    )]
    NoDevice,
    #[error(
        "/dev/net/tun is something else than the device for TUN interfaces; load the tun module, or use --network=none"
    )]
    OtherDevice,
    #[error("not permitted to make a TUN device; run as root, or use --network=none")]
    NotPermitted,
    #[error(
        "the address {0} cannot be the sandbox's end of a /30 link; take one whose last two bits are 10"
    )]
    BadAddress(Ipv4Addr),
    #[error("this machine already uses the network of {0}; choose another address with --ip")]
    InUse(Ipv4Addr),
    #[error(
        "this machine uses every /30 from {FIRST} to {LAST}; choose the sandbox's address with --ip"
    )]
    NoneFree,
    #[error("cannot lock the network namespace to choose an address")]
    Lock(#[source] io::Error),
    #[error("cannot list this machine's addresses")]
    List(#[source] io::Error),
    #[error("cannot make the TUN device {name}")]
    Io {
        name: String,
        #[source]
        source: io::Error,
    },
}

/// Makes the device, gives this machine the address below `ip` (or below the first one that is free),
/// and donates the sandbox's end.
pub(crate) fn open_tun(
    name: &str,
    ip: Option<Ipv4Addr>,
    donation: &mut Donation,
) -> Result<TunPlan, TunError> {
    // Others who look for a free address wait until ours is taken.
    let _turn = lock_addresses().map_err(TunError::Lock)?;
    let used = addresses_in_use().map_err(TunError::List)?;
    let ip = match ip {
        Some(ip) => check(ip, &used)?,
        None => first_free(&used).ok_or(TunError::NoneFree)?,
    };
    let gateway = machine_end(ip);
    let (fd, name) =
        TunDevice::open_fd(name, Medium::Ip, true).map_err(|source| match source.kind() {
            io::ErrorKind::NotFound => TunError::NoDevice,
            io::ErrorKind::PermissionDenied => TunError::NotPermitted,
            _ if matches!(
                source.raw_os_error(),
                Some(libc::ENOTTY | libc::ENXIO | libc::ENODEV)
            ) =>
            {
                TunError::OtherDevice
            }
            _ => TunError::Io {
                name: name.to_owned(),
                source,
            },
        })?;
    let failed = |source| TunError::Io {
        name: name.clone(),
        source,
    };
    iface::set_ipv4(&name, gateway, PREFIX_LEN)
        .and_then(|()| iface::set_up(&name))
        .map_err(failed)?;
    let ipv6 = ipv6_pair(gateway);
    // A machine without IPv6, or with it switched off, still has a network.
    let has_ipv6 = iface::add_ipv6(&name, ipv6.gateway, ipv6.prefix_len).is_ok();
    let mtu = iface::mtu(&name).map_err(failed)?;
    Ok(TunPlan {
        device: donation.add(fd),
        name: "eth0".into(),
        mtu,
        address: ip,
        prefix_len: PREFIX_LEN,
        gateway,
        ipv6: has_ipv6.then_some(ipv6),
    })
}

/// Unique local addresses (RFC 4193) for both ends of the link: a /64 for each /30, so that what is free
/// in IPv4 is free here too.
fn ipv6_pair(gateway: Ipv4Addr) -> Ipv6Plan {
    let link = u128::from(gateway.to_bits()) << 64;
    let end = |n: u128| Ipv6Addr::from_bits(IPV6_PREFIX | link | n);
    Ipv6Plan {
        address: end(2),
        prefix_len: 64,
        gateway: end(1),
    }
}

/// A lock among the `runsc` of one network namespace, held until the file is closed: the namespace's
/// own file is the only thing that they all have in common, whatever their file trees.
fn lock_addresses() -> io::Result<Flock<File>> {
    let namespace = File::open("/proc/thread-self/ns/net")?;
    Flock::lock(namespace, FlockArg::LockExclusive).map_err(|(_, errno)| errno.into())
}

/// An address of this machine with its mask.
type Used = (Ipv4Addr, Ipv4Addr);

/// The addresses of this machine's interfaces.
fn addresses_in_use() -> io::Result<Vec<Used>> {
    let ipv4 = |storage: Option<SockaddrStorage>| storage?.as_sockaddr_in().map(|a| a.ip());
    let interfaces = nix::ifaddrs::getifaddrs()?;
    Ok(interfaces
        .filter_map(|interface| Some((ipv4(interface.address)?, ipv4(interface.netmask)?)))
        .collect())
}

/// The machine's end of the link to a sandbox at `ip`.
fn machine_end(ip: Ipv4Addr) -> Ipv4Addr {
    Ipv4Addr::from_bits(ip.to_bits() - 1)
}

/// Checks an address that somebody has chosen: whether it lies in a larger network of the machine's is
/// his to know.
fn check(ip: Ipv4Addr, used: &[Used]) -> Result<Ipv4Addr, TunError> {
    if ip.to_bits() & 3 != 2 {
        return Err(TunError::BadAddress(ip));
    }
    if used.iter().any(|(known, _)| *known == machine_end(ip)) {
        return Err(TunError::InUse(ip));
    }
    Ok(ip)
}

/// The first address from [`FIRST`] to [`LAST`] whose /30 no interface of the machine overlaps.
fn first_free(used: &[Used]) -> Option<Ipv4Addr> {
    let link_mask = u32::MAX << (32 - PREFIX_LEN);
    let overlaps = |ip: u32| {
        used.iter().any(|(known, mask)| {
            let common = link_mask & mask.to_bits();
            ip & common == known.to_bits() & common
        })
    };
    (FIRST.to_bits()..=LAST.to_bits())
        .step_by(1 << (32 - PREFIX_LEN))
        .find(|&ip| !overlaps(ip))
        .map(Ipv4Addr::from_bits)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn used(addresses: &[(&str, &str)]) -> Vec<Used> {
        let parsed = addresses
            .iter()
            .map(|(address, mask)| (address.parse().unwrap(), mask.parse().unwrap()));
        parsed.collect()
    }

    #[test]
    fn the_first_link_that_overlaps_nothing_is_chosen() {
        let free = |list: &[(&str, &str)]| first_free(&used(list)).map(|ip| ip.to_string());
        let expect = |ip: &str| Some(ip.to_owned());
        assert_eq!(free(&[]), expect("192.168.131.2"));
        let first = ("192.168.131.1", "255.255.255.252");
        assert_eq!(free(&[first]), expect("192.168.131.6"));
        let third = ("192.168.131.9", "255.255.255.252");
        assert_eq!(free(&[first, third]), expect("192.168.131.6"));
        let whole = ("192.168.131.77", "255.255.255.0");
        assert_eq!(free(&[whole]), expect("192.168.132.2"));
        assert_eq!(free(&[("192.168.1.1", "255.255.0.0")]), None);
    }

    #[test]
    fn each_link_has_a_prefix_of_ipv6() {
        let pair = ipv6_pair("192.168.131.1".parse().unwrap());
        assert_eq!(pair.gateway.to_string(), "fd72:756e:c0a8:8301::1");
        assert_eq!(pair.address.to_string(), "fd72:756e:c0a8:8301::2");
    }

    #[test]
    fn a_chosen_address_is_the_upper_end_of_a_free_link() {
        let taken = used(&[("192.168.131.1", "255.255.255.252")]);
        let ip = |text: &str| text.parse().unwrap();
        assert!(matches!(
            check(ip("192.168.131.2"), &taken),
            Err(TunError::InUse(_))
        ));
        assert!(matches!(
            check(ip("10.0.0.1"), &taken),
            Err(TunError::BadAddress(_))
        ));
        assert_eq!(check(ip("10.0.0.2"), &taken).unwrap(), ip("10.0.0.2"));
    }
}
