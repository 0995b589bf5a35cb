//! Counters by SNMP name, and drop counters by reason. Plain integers: the stack is single-threaded inside.

/// Declares a struct of `u64` counters with their published names.
macro_rules! counters {
    ($(#[$meta:meta])* $name:ident { $($(#[$field_meta:meta])* $field:ident = $label:literal),* $(,)? }) => {
        $(#[$meta])*
        #[derive(Clone, Debug, Default, PartialEq, Eq)]
        pub struct $name { $($(#[$field_meta])* pub $field: u64),* }

        impl $name {
            /// Every counter with its published name, in declaration order.
            pub fn iter(&self) -> impl Iterator<Item = (&'static str, u64)> {
                [$(($label, self.$field)),*].into_iter()
            }
        }
    };
}
pub(crate) use counters;

/// As [`counters`] for what both families count: two names each, of which an empty one means that the
/// family has no such thing.
macro_rules! family_counters {
    ($(#[$meta:meta])* $name:ident { $($(#[$field_meta:meta])* $field:ident = [$v4:literal, $v6:literal]),* $(,)? }) => {
        $(#[$meta])*
        #[derive(Clone, Debug, Default, PartialEq, Eq)]
        pub struct $name { $($(#[$field_meta])* pub $field: u64),* }

        impl $name {
            /// Every counter with the name that it has in the family, in declaration order.
            pub fn iter(&self, is_ipv6: bool) -> impl Iterator<Item = (&'static str, u64)> + use<> {
                let all = [$((if is_ipv6 { $v6 } else { $v4 }, self.$field)),*];
                all.into_iter().filter(|(name, _)| !name.is_empty())
            }
        }
    };
}
pub(crate) use family_counters;

use crate::{network, transport};

/// All counters of one stack.
#[derive(Clone, Debug, Default)]
pub struct Stats {
    /// Links, IP, ICMP, ARP and neighbour discovery.
    pub net: network::stats::NetStats,
    /// TCP.
    pub tcp: transport::tcp::stats::TcpStats,
    /// UDP.
    pub udp: transport::udp::stats::UdpStats,
}
