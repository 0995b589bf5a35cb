//! Counters of UDP, by SNMP name.

use crate::stats::counters;

counters! {
    /// UDP counters.
    UdpStats {
        /// Datagrams delivered.
        in_datagrams = "UdpInDatagrams",
        /// Datagrams for which there was no socket.
        no_ports = "UdpNoPorts",
    }
}
