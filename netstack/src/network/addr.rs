//! Prefixes, and the addresses of an interface.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// An address and how many of its leading bits name the network.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Cidr {
    addr: IpAddr,
    prefix_len: u8,
}

impl Cidr {
    /// `addr/prefix_len`; `None` if the prefix is longer than the address.
    pub fn new(addr: IpAddr, prefix_len: u8) -> Option<Self> {
        (prefix_len <= bits(addr)).then_some(Self { addr, prefix_len })
    }

    /// The prefix that holds every address of the family.
    pub const fn all_v4() -> Self {
        Self {
            addr: IpAddr::V4(Ipv4Addr::UNSPECIFIED),
            prefix_len: 0,
        }
    }

    /// The prefix that holds every address of the family of `addr`.
    pub const fn all_of(addr: IpAddr) -> Self {
        let addr = match addr {
            IpAddr::V4(_) => return Self::all_v4(),
            IpAddr::V6(_) => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
        };
        Self {
            addr,
            prefix_len: 0,
        }
    }

    /// The address, host bits included.
    pub fn addr(&self) -> IpAddr {
        self.addr
    }

    /// Length of the prefix in bits.
    pub fn prefix_len(&self) -> u8 {
        self.prefix_len
    }

    /// True if `addr` is in the network.
    pub fn contains(&self, addr: IpAddr) -> bool {
        match (self.addr, addr) {
            (IpAddr::V4(net), IpAddr::V4(addr)) => {
                (u32::from(net) ^ u32::from(addr)) & self.mask4() == 0
            }
            (IpAddr::V6(net), IpAddr::V6(addr)) => {
                let mask = u128::MAX
                    .checked_shl(u32::from(128 - self.prefix_len))
                    .unwrap_or(0);
                (u128::from(net) ^ u128::from(addr)) & mask == 0
            }
            _ => false,
        }
    }

    /// The same network with the host bits cleared.
    pub fn network(&self) -> Self {
        let addr = match self.addr {
            IpAddr::V4(addr) => IpAddr::V4(Ipv4Addr::from(u32::from(addr) & self.mask4())),
            IpAddr::V6(addr) => {
                let mask = u128::MAX
                    .checked_shl(u32::from(128 - self.prefix_len))
                    .unwrap_or(0);
                IpAddr::V6(Ipv6Addr::from(u128::from(addr) & mask))
            }
        };
        Self {
            addr,
            prefix_len: self.prefix_len,
        }
    }

    /// The directed broadcast address of an IPv4 network; none for /31 and /32 (RFC 3021).
    pub fn broadcast(&self) -> Option<IpAddr> {
        match self.addr {
            IpAddr::V4(addr) if self.prefix_len < 31 => {
                Some(IpAddr::V4(Ipv4Addr::from(u32::from(addr) | !self.mask4())))
            }
            _ => None,
        }
    }

    fn mask4(&self) -> u32 {
        u32::MAX
            .checked_shl(32_u32.saturating_sub(u32::from(self.prefix_len)))
            .unwrap_or(0)
    }
}

impl core::str::FromStr for Cidr {
    type Err = BadCidr;

    fn from_str(text: &str) -> Result<Self, BadCidr> {
        let (addr, len) = match text.split_once('/') {
            Some((addr, len)) => (addr, Some(len)),
            None => (text, None),
        };
        let addr: IpAddr = addr.parse().map_err(|_| BadCidr)?;
        let len = match len {
            Some(len) => len.parse().map_err(|_| BadCidr)?,
            None => bits(addr),
        };
        Self::new(addr, len).ok_or(BadCidr)
    }
}

impl core::fmt::Display for Cidr {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "{}/{}", self.addr, self.prefix_len)
    }
}

/// Not of the form `address` or `address/bits`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not an address with a prefix length, such as 10.0.0.1/24")]
pub struct BadCidr;

fn bits(addr: IpAddr) -> u8 {
    if addr.is_ipv4() { 32 } else { 128 }
}

/// True for addresses that no unicast packet comes from: multicast, limited broadcast, class E, and IPv4
/// addresses within IPv6 ones, which are for sockets only.
pub(crate) fn is_bad_source(addr: IpAddr) -> bool {
    match addr {
        IpAddr::V4(addr) => addr.octets()[0] >= 224,
        IpAddr::V6(addr) => addr.is_multicast() || addr.to_ipv4_mapped().is_some(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cidr(text: &str) -> Cidr {
        text.parse().unwrap()
    }

    #[test]
    fn contains_and_broadcast() {
        let net = cidr("10.1.2.3/20");
        assert!(net.contains("10.1.15.255".parse().unwrap()));
        assert!(!net.contains("10.1.16.0".parse().unwrap()));
        assert!(!net.contains("::1".parse().unwrap()));
        assert_eq!(net.broadcast(), Some("10.1.15.255".parse().unwrap()));
        assert_eq!(net.network(), cidr("10.1.0.0/20"));
        assert_eq!(cidr("10.0.0.0/31").broadcast(), None);
        assert!(Cidr::all_v4().contains("1.2.3.4".parse().unwrap()));
        assert!(cidr("::/0").contains("2001:db8::1".parse().unwrap()));
        assert!(cidr("2001:db8::/32").contains("2001:db8::1".parse().unwrap()));
    }

    #[test]
    fn text_forms() {
        assert_eq!(cidr("10.0.0.1").prefix_len(), 32);
        assert_eq!(cidr("10.0.0.1/8").to_string(), "10.0.0.1/8");
        for bad in ["", "10.0.0.1/33", "10.0.0/8", "::1/129", "10.0.0.1/"] {
            assert_eq!(bad.parse::<Cidr>(), Err(BadCidr), "{bad}");
        }
    }
}
