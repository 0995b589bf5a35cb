//! Signals: pending sets, actions, delivery, frames.

pub mod action;
pub(crate) mod deliver;
pub(crate) mod frame;
pub mod info;
pub(crate) mod io;
pub mod pending;
mod send;
pub mod set;
pub(crate) mod signalfd;

pub use action::{ActionTable, SigAction};
pub use info::SigInfo;
pub use pending::Pending;
pub use set::SigSet;
