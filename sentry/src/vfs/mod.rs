//! Paths, mounts, open files and descriptor tables.

pub mod file;
