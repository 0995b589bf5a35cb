//! Connections that we open: [`SynSent`], and [`SynReceived`] when both sides open at once. Each step
//! consumes the state it starts from.

mod syn_received;
mod syn_sent;

pub(super) use syn_received::SynReceived;
pub(super) use syn_sent::{Opening, SynSent};

use super::fast_open::Reply;
use super::state::Connection;
use crate::error::SocketError;

/// What a step leads to.
#[derive(Debug)]
pub(super) enum Step {
    /// Our SYN is out.
    Sent(Box<SynSent>),
    /// Both SYNs are out.
    Received(Box<SynReceived>),
    /// Done; with what the peer's SYN-ACK teaches about Fast Open.
    Established(Box<Connection>, Option<Reply>),
    /// Over.
    Failed(SocketError),
}
