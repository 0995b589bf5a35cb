//! Signals: pending sets, actions, delivery, frames.

pub mod action;
pub mod info;
pub mod pending;
pub mod set;

pub use action::{ActionTable, SigAction};
pub use info::SigInfo;
pub use pending::Pending;
pub use set::SigSet;
