//! TCP Fast Open (RFC 7413): data on the SYN, for peers that show a cookie.
//!
//! | file | what happens there |
//! | --- | --- |
//! | `keys` | the server's keys, and the cookies made with them |
//! | `queue` | how many connections of a listener may be open without a finished handshake |
//! | `../listen/fast_open` | the server: a SYN with a cookie makes a connection at once |
//! | `active` | the client: what the first SYN carries, and what its answer teaches |
//! | `pause` | the client stays away from Fast Open where a middlebox swallows it |

mod active;
mod keys;
mod pause;
mod queue;

pub(super) use active::{Attempt, Begin, Begun, Reply};
pub use keys::FastOpenKeys;
pub(super) use keys::Worth;
pub(super) use pause::{Pause, suggests_black_hole};
pub(super) use queue::{Leave, PendingQueue};

/// Bits of `tcp_fastopen`.
pub(super) mod setting {
    /// Clients may use it.
    pub(in crate::transport::tcp) const CLIENT: u32 = 0x1;
    /// Listeners may use it.
    pub(in crate::transport::tcp) const SERVER: u32 = 0x2;
    /// Clients send data without a cookie.
    pub(in crate::transport::tcp) const CLIENT_NO_COOKIE: u32 = 0x4;
    /// Listeners take data without a cookie.
    pub(in crate::transport::tcp) const SERVER_NO_COOKIE: u32 = 0x200;
    /// Every listener uses it, with a queue as long as its backlog.
    pub(in crate::transport::tcp) const SERVER_ALL: u32 = 0x400;
}

/// What a connection remembers of how it was opened (TCP_INFO, and the checks at its end).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Opened {
    /// We opened it with the option on the SYN.
    pub(super) by_option: bool,
    /// The data on the SYN, ours or the peer's, was taken.
    pub(super) data_taken: bool,
    /// A SYN with data of the peer's made it.
    pub(super) child: bool,
    /// Why Fast Open did not work out (`tcpi_fastopen_client_fail`).
    pub(super) failure: u8,
    /// A pause had ended when it was opened: if it does well, pauses begin to count anew.
    pub(super) after_pause: bool,
    /// It has left a listener's queue of open handshakes: the engine tells the listener.
    pub(super) left: Option<Leave>,
    /// It looks as if a middlebox swallowed something: to be told to the engine.
    pub(super) suspect: bool,
}

/// `tcpi_fastopen_client_fail`.
pub(super) mod failure {
    /// No cookie was at hand.
    pub(in crate::transport::tcp) const COOKIE_UNAVAILABLE: u8 = 1;
    /// The SYN-ACK did not acknowledge the data.
    pub(in crate::transport::tcp) const DATA_NOT_ACKED: u8 = 2;
    /// The same, after the SYN had to be repeated.
    pub(in crate::transport::tcp) const SYN_RETRANSMITTED: u8 = 3;
}
