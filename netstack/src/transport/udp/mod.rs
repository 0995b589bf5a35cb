//! UDP.

pub mod stats;
