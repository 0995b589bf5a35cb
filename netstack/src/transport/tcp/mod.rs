//! TCP.

pub mod stats;
