//! Counters of UDP, by SNMP name.

use crate::stats::counters;

counters! {
    /// UDP counters.
    UdpStats {
        /// Datagrams delivered.
        in_datagrams = "UdpInDatagrams",
        /// Datagrams for which there was no socket.
        no_ports = "UdpNoPorts",
        /// Datagrams with a bad length or checksum, or without room in the socket.
        in_errors = "UdpInErrors",
        /// Datagrams with a bad length.
        in_hdr_errors = "UdpInHdrErrors",
        /// Datagrams with a bad checksum.
        in_csum_errors = "UdpInCsumErrors",
        /// Datagrams dropped because the receive budget of their socket was used up.
        rcvbuf_errors = "UdpRcvbufErrors",
        /// Datagrams that would have begun a flow of an interceptor without room for it.
        flow_drops = "UdpInterceptFlowDrops",
        /// Flows of interceptors that were idle for too long.
        flows_expired = "UdpInterceptFlowTimeouts",
        /// Datagrams sent.
        out_datagrams = "UdpOutDatagrams",
        /// Datagrams refused because the transmit queue was full.
        sndbuf_errors = "UdpSndbufErrors",
    }
}
