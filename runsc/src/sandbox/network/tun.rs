//! A TUN device between this machine and one sandbox (`runsc do`).

use std::io;
use std::net::Ipv4Addr;

use netstack::link::Medium;
use netstack::link::sys::iface;
use netstack::link::tun::TunDevice;
use thiserror::Error;

use crate::sandbox::plan::TunPlan;
use crate::sandbox::transport::Donation;

/// Prefix of the link between machine and sandbox.
const PREFIX_LEN: u8 = 30;

/// Why the device could not be made.
#[derive(Debug, Error)]
pub(crate) enum TunError {
    #[error(
        "cannot open /dev/net/tun: it is not there; load the tun module, or use --network=none or --network=host"
    )]
    NoDevice,
    #[error("not permitted to make a TUN device; run as root, or use --network=none")]
    NotPermitted,
    #[error(
        "the address {0} cannot be the sandbox's end of a /30 link; take one whose last two bits are 10"
    )]
    BadAddress(Ipv4Addr),
    #[error("this machine already uses the network of {0}; choose another address with --ip")]
    InUse(Ipv4Addr),
    #[error("cannot make the TUN device {name}")]
    Io {
        name: String,
        #[source]
        source: io::Error,
    },
}

/// Makes the device, gives this machine the address below `ip`, and donates the sandbox's end.
pub(crate) fn open_tun(
    name: &str,
    ip: Ipv4Addr,
    donation: &mut Donation,
) -> Result<TunPlan, TunError> {
    if ip.to_bits() & 3 != 2 {
        return Err(TunError::BadAddress(ip));
    }
    let gateway = Ipv4Addr::from_bits(ip.to_bits() - 1);
    if address_in_use(gateway) {
        return Err(TunError::InUse(ip));
    }
    let (fd, name) =
        TunDevice::open_fd(name, Medium::Ip, true).map_err(|source| match source.kind() {
            io::ErrorKind::NotFound => TunError::NoDevice,
            io::ErrorKind::PermissionDenied => TunError::NotPermitted,
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
    let mtu = iface::mtu(&name).map_err(failed)?;
    Ok(TunPlan {
        device: donation.add(fd),
        name: "eth0".into(),
        mtu,
        address: ip,
        prefix_len: PREFIX_LEN,
        gateway,
    })
}

/// True if an interface of this machine has `address`.
fn address_in_use(address: Ipv4Addr) -> bool {
    nix::ifaddrs::getifaddrs()
        .into_iter()
        .flatten()
        .filter_map(|interface| Some(interface.address?.as_sockaddr_in()?.ip()))
        .any(|known| known == address)
}
