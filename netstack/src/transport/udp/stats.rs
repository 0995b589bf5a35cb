//! Counters of UDP, by SNMP name.

use std::net::IpAddr;

use crate::stats::family_counters;

family_counters! {
    /// UDP counters of one family.
    UdpFamilyStats {
        /// Datagrams delivered.
        in_datagrams = ["UdpInDatagrams", "Udp6InDatagrams"],
        /// Datagrams for which there was no socket.
        no_ports = ["UdpNoPorts", "Udp6NoPorts"],
        /// Datagrams with a bad length or checksum, or without room in the socket.
        in_errors = ["UdpInErrors", "Udp6InErrors"],
        /// Datagrams with a bad length.
        in_hdr_errors = ["UdpInHdrErrors", "Udp6InHdrErrors"],
        /// Datagrams with a bad checksum, or over IPv6 without one.
        in_csum_errors = ["UdpInCsumErrors", "Udp6InCsumErrors"],
        /// Datagrams dropped because the receive budget of their socket was used up.
        rcvbuf_errors = ["UdpRcvbufErrors", "Udp6RcvbufErrors"],
        /// Datagrams that would have begun a flow of an interceptor without room for it.
        flow_drops = ["UdpInterceptFlowDrops", "Udp6InterceptFlowDrops"],
        /// Flows of interceptors that were idle for too long.
        flows_expired = ["UdpInterceptFlowTimeouts", "Udp6InterceptFlowTimeouts"],
        /// Datagrams sent.
        out_datagrams = ["UdpOutDatagrams", "Udp6OutDatagrams"],
        /// Datagrams refused because the transmit queue was full.
        sndbuf_errors = ["UdpSndbufErrors", "Udp6SndbufErrors"],
    }
}

/// UDP counters.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct UdpStats {
    /// Over IPv4.
    pub v4: UdpFamilyStats,
    /// Over IPv6.
    pub v6: UdpFamilyStats,
}

impl UdpStats {
    /// Every counter with its published name.
    pub fn iter(&self) -> impl Iterator<Item = (&'static str, u64)> {
        self.v4.iter(false).chain(self.v6.iter(true))
    }

    /// The counters of the family of `addr`.
    pub(crate) fn of(&mut self, addr: IpAddr) -> &mut UdpFamilyStats {
        match addr {
            IpAddr::V4(_) => &mut self.v4,
            IpAddr::V6(_) => &mut self.v6,
        }
    }
}
