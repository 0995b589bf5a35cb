//! Checked views and emitters, one file per header.
//!
//! Each header has a view (a slice whose lengths have been checked, with accessors) and a small
//! `Repr` (its meaning) with `parse` and `emit`. Parsers are total: any bytes give a value or a
//! [`WireError`]. Checksums of transports are verified by whoever knows the pseudo header, with
//! [`checksum`]; emitters leave a transport's checksum field zero.

pub mod arp;
pub mod checksum;
pub mod ethernet;
pub mod icmpv4;
pub mod icmpv6;
pub mod igmp;
pub mod ipv4;
pub mod ipv6;
pub mod ipv6_ext;
pub mod membership;
pub mod mld;
pub mod ndp;
pub mod tcp;
mod tcp_options;
pub mod udp;

use thiserror::Error;

/// Why bytes are not the header that they should be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum WireError {
    /// Fewer bytes than the fixed header, or than a length field promises.
    #[error("truncated")]
    Truncated,
    /// A length field contradicts the format.
    #[error("bad length field")]
    BadLength,
    /// The version field names another protocol.
    #[error("wrong version")]
    BadVersion,
    /// A header checksum is wrong.
    #[error("bad checksum")]
    BadChecksum,
    /// An option is malformed; `0` is the offset of the offending byte within the header.
    #[error("malformed option at byte {0}")]
    BadOption(u8),
    /// A field has a value that this stack does not handle.
    #[error("unsupported value")]
    Unsupported,
}

/// The big-endian 16-bit field at `at`; the caller has checked the length.
pub(crate) fn be16(bytes: &[u8], at: usize) -> u16 {
    u16::from_be_bytes([bytes[at], bytes[at + 1]])
}

/// The big-endian 32-bit field at `at`; the caller has checked the length.
pub(crate) fn be32(bytes: &[u8], at: usize) -> u32 {
    u32::from_be_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}
