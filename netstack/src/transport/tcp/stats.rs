//! Counters of TCP, by SNMP name.

use crate::stats::counters;

counters! {
    /// TCP counters.
    TcpStats {
        /// Segments received, bad ones included.
        in_segs = "TcpInSegs",
        /// Segments sent, those that only retransmit excluded.
        out_segs = "TcpOutSegs",
        /// Segments received with a bad checksum or header.
        in_errs = "TcpInErrs",
    }
}
