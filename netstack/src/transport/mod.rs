//! Transports. They know no interface, frame or IP header: [`crate::network::IpMeta`] comes in,
//! [`crate::network::TransportOut`] goes out.

pub mod ports;
pub mod tcp;
pub mod udp;
