//! The addresses of an interface.

use std::net::IpAddr;

use crate::network::addr::Cidr;
use crate::time::Instant;

/// An address with what is known of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Address {
    /// Address and prefix length.
    pub cidr: Cidr,
    /// Whether it may be used.
    pub state: AddressState,
    /// Where it is from.
    pub origin: AddressOrigin,
    /// After this it is deprecated: new connections choose others (`None`: never).
    pub preferred_until: Option<Instant>,
    /// After this it is gone (`None`: never).
    pub valid_until: Option<Instant>,
}

/// Whether an address may be used (RFC 4862 section 5.4).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AddressState {
    /// It is being asked for: nobody may have it yet, not even we.
    Tentative,
    /// It is ours.
    Usable,
    /// Somebody else has it.
    Duplicate,
}

/// Where an address is from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AddressOrigin {
    /// Set by hand.
    Manual,
    /// The link-local address that every interface gives itself.
    LinkLocal,
    /// From a router's prefix (RFC 4862).
    Router,
    /// From a router's prefix, and used for a short time (RFC 8981).
    Temporary,
}

impl Address {
    /// One that is set by hand and lasts for ever.
    pub(super) fn manual(cidr: Cidr, state: AddressState) -> Self {
        Self {
            cidr,
            state,
            origin: AddressOrigin::Manual,
            preferred_until: None,
            valid_until: None,
        }
    }

    /// The address alone.
    pub fn ip(&self) -> IpAddr {
        self.cidr.addr()
    }

    /// True if it is ours to use.
    pub fn is_usable(&self) -> bool {
        self.state == AddressState::Usable
    }

    /// True if new connections are to choose another.
    pub fn is_deprecated(&self, now: Instant) -> bool {
        self.preferred_until.is_some_and(|until| until <= now)
    }
}
