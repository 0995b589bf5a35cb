//! What a stack holds at present: the tables that packets of strangers can fill, all of them bounded.

use super::Stack;

/// Numbers of entries, and bytes where it says so.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// TCP sockets, those that wait in accept queues included.
    pub tcp_sockets: usize,
    /// Half-open records of all listeners.
    pub half_open: usize,
    /// SYNs that an interceptor has not decided about.
    pub offers: usize,
    /// TIME-WAIT records.
    pub time_wait: usize,
    /// Flows: the entries of the TCP lookup table.
    pub flows: usize,
    /// Bytes of fragments that wait for the rest, overhead included.
    pub fragment_bytes: usize,
    /// Neighbours, those being asked for included.
    pub neighbors: usize,
    /// Connections that are tracked.
    pub connections: usize,
}

impl Stack {
    /// What the stack holds at present.
    pub fn usage(&self) -> Usage {
        Usage {
            tcp_sockets: self.tcp.socket_len(),
            half_open: self.tcp.half_open_len(),
            offers: self.tcp.offer_len(),
            time_wait: self.tcp.time_wait_len(),
            flows: self.tcp.flow_len(),
            fragment_bytes: self.reassembly.bytes(),
            neighbors: self.neighbors().count(),
            connections: self
                .net
                .filter
                .as_ref()
                .map_or(0, |filter| filter.conns.len()),
        }
    }
}
