//! How Linux shows the interfaces of the network stack.

use netstack::link::Medium;
use netstack::stack::{Address, AddressOrigin, AddressState, InterfaceInfo};

/// Length of a transmit queue, as all devices have it by default.
pub(crate) const TX_QUEUE: u32 = 1000;

/// What an interface is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LinkKind {
    /// The loopback interface.
    Loopback,
    /// Frames with Ethernet headers.
    Ethernet,
    /// Packets without a header (TUN).
    Ip,
}

impl LinkKind {
    /// `ARPHRD_*`
    pub(crate) fn hardware_type(self) -> u16 {
        match self {
            Self::Loopback => libc::ARPHRD_LOOPBACK,
            Self::Ethernet => libc::ARPHRD_ETHER,
            Self::Ip => libc::ARPHRD_NONE,
        }
    }
}

/// What an interface is.
pub(crate) fn kind(interface: &InterfaceInfo) -> LinkKind {
    match (interface.is_loopback, interface.caps.medium) {
        (true, _) => LinkKind::Loopback,
        (false, Medium::Ethernet) => LinkKind::Ethernet,
        (false, Medium::Ip) => LinkKind::Ip,
    }
}

/// `IFF_*`
pub(crate) fn flags(interface: &InterfaceInfo) -> i32 {
    const LOWER_UP: i32 = 1 << 16;
    let common = libc::IFF_UP | libc::IFF_RUNNING | LOWER_UP;
    common
        | match kind(interface) {
            LinkKind::Loopback => libc::IFF_LOOPBACK,
            LinkKind::Ethernet => libc::IFF_BROADCAST | libc::IFF_MULTICAST,
            LinkKind::Ip => libc::IFF_POINTOPOINT | libc::IFF_NOARP | libc::IFF_MULTICAST,
        }
}

/// Interface numbers of Linux start at 1.
pub(crate) fn index(interface: &InterfaceInfo) -> u32 {
    u32::from(interface.id.0) + 1
}

/// IFA_F_* (linux/if_addr.h).
const TEMPORARY: u32 = 0x01;
const DADFAILED: u32 = 0x08;
const TENTATIVE: u32 = 0x40;
const PERMANENT: u32 = 0x80;

/// IFA_F_* of an address.
pub(crate) fn address_flags(own: &Address) -> u32 {
    let mut flags = if own.valid_until.is_none() {
        PERMANENT
    } else {
        0
    };
    flags |= match own.state {
        AddressState::Usable => 0,
        AddressState::Tentative => TENTATIVE,
        AddressState::Duplicate => TENTATIVE | DADFAILED,
    };
    if own.origin == AddressOrigin::Temporary {
        flags |= TEMPORARY;
    }
    flags
}
