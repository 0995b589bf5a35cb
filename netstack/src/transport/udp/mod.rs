//! UDP (RFC 768): the sockets, and which of them a datagram is for.

pub mod stats;

mod demux;
mod socket;

pub(crate) use demux::UdpTable;
pub(crate) use socket::{Corked, FlowInfo, UdpSocket};
