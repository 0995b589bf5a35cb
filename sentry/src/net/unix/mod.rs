//! AF_UNIX: stream, datagram and sequenced-packet sockets.
//!
//! Each socket has an inbox that its peers put messages into. No operation holds two sockets' locks
//! at once: it takes what it needs from one, lets go, and locks the other. Wait queues are notified
//! with no lock held.

mod bind;
mod calls;
mod inbox;
mod options;
mod socket;

pub use bind::Names;
pub use socket::{UnixSocket, pair};
