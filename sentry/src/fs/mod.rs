//! File systems.

pub mod host;
pub mod overlay;

pub mod tmpfs;
