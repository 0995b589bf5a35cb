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

use crate::{network, transport};

/// All counters of one stack.
#[derive(Clone, Debug, Default)]
pub struct Stats {
    /// IPv4, ARP and ICMP.
    pub net: network::stats::NetStats,
    /// TCP.
    pub tcp: transport::tcp::stats::TcpStats,
    /// UDP.
    pub udp: transport::udp::stats::UdpStats,
}
