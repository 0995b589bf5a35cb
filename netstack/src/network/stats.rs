//! Counters of the network layer.

use crate::stats::counters;

counters! {
    /// IPv4, ARP and ICMP, with one counter for each reason to drop.
    NetStats {
        /// Packets received at the IP layer.
        ip_in_receives = "IpInReceives",
        /// Packets delivered to a transport.
        ip_in_delivers = "IpInDelivers",
        /// Packets sent by local transports.
        ip_out_requests = "IpOutRequests",
    }
}
