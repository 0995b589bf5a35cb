//! TCP (RFC 9293), with the behaviour of Linux where the RFCs leave room.
//!
//! [`TcpEngine`] is plain data: segments come in with [`TcpEngine::segment_in`], leave through
//! [`Cx::out`], and time passes only through [`TcpEngine::handle_timeout`].
//!
//! | file | what happens there |
//! | --- | --- |
//! | `engine` | the tables, the one lookup per segment, what follows each event |
//! | `listen/` | half-open records, the two queues, cookies at the door |
//! | `fast_open/` | data on the SYN (RFC 7413): cookies, limits, the client |
//! | `handshake/` | `SynSent` and `SynReceived`: connections that we open |
//! | `state` | a synchronised connection, and the state of its parts |
//! | `segment_in`, `ack`, `sack`, `recovery/`, `rate` | what comes in |
//! | `congestion/` | how far the window grows: CUBIC, Reno |
//! | `output`, `records`, `delack`, `window`, `autotune` | what goes out |
//! | `ecn` | marks instead of losses |
//! | `urgent` | urgent data, both ways |
//! | `receipts` | what applications hear of what they sent |
//! | `timers`, `timer_heap`, `timeouts`, `rtt` | time |
//! | `close`, `time_wait` | the end |
//! | `intercept` | SYNs to any address, offered to the embedder |
//! | `calls`, `connect`, `call_io`, `call_options`, `info`, `chrono` | what applications do |
//! | `peers` | what is remembered of peers |
//! | `spares` | memory that idle connections leave to busy ones |
//! | `flow`, `isn`, `cookies`, `seq`, `segment`, `config`, `options`, `filter` | leaves |

mod ack;
mod autotune;
mod call_io;
mod call_options;
mod calls;
mod chrono;
mod close;
mod config;
mod congestion;
mod connect;
mod cookies;
mod delack;
mod ecn;
mod emit;
mod engine;
mod fast_open;
mod filter;
mod flow;
mod handshake;
mod icmp_in;
mod info;
mod intercept;
mod isn;
mod listen;
mod options;
mod output;
mod peers;
mod rate;
mod receipts;
mod records;
mod recovery;
mod recv_blocks;
mod recv_queue;
mod rtt;
mod sack;
mod segment;
mod segment_in;
mod send_queue;
mod seq;
mod slot;
mod spares;
mod state;
pub mod stats;
#[cfg(test)]
mod tests;
mod time_wait;
mod timeouts;
mod timer_heap;
mod timers;
mod urgent;
mod window;

pub use config::{SettingError, TcpConfig};
pub use congestion::CongestionKind;
pub use engine::TcpEngine;
pub use fast_open::FastOpenKeys;
pub use spares::Spares;
pub(crate) use timer_heap::TimerHeap;

use crate::network::IpOutput;
use crate::rng::Rng;
use crate::socket::EventQueue;
use crate::time::Instant;
use stats::TcpStats;

/// What every entry point of the engine is given: the world as it is now.
pub struct Cx<'a> {
    /// The time.
    pub now: Instant,
    /// Randomness.
    pub rng: &'a mut Rng,
    /// Counters.
    pub stats: &'a mut TcpStats,
    /// The way down.
    pub out: &'a mut dyn IpOutput,
    /// Where changes of readiness are reported.
    pub events: &'a mut EventQueue,
    /// Memory of queues that are empty.
    pub spares: &'a mut Spares,
    /// Settings.
    pub config: &'a TcpConfig,
}

impl std::fmt::Debug for Cx<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Cx")
            .field("now", &self.now)
            .finish_non_exhaustive()
    }
}
