//! Containers: what is on disk about each, and how it comes and goes.

pub(crate) mod create;
pub(crate) mod exec;
mod hooks;
pub(crate) mod lifecycle;
pub(crate) mod state;
pub(crate) mod store;
pub(crate) mod timestamp;
pub(crate) mod watch;
