//! A writable upper tree over a lower tree that is only read.
//!
//! A file that is changed is first copied up: its directories, attributes and contents are made in the
//! upper tree. Names of the lower tree that were removed are hidden by a whiteout (a character device
//! 0:0) in the upper one; an upper directory that hides a lower one carries an "opaque" attribute. A
//! renamed lower directory is remembered by the inode number of its upper half (`redirects`), so that
//! renaming directories works and needs no copy of what they contain. A copied-up file keeps its inode
//! number. What is open while it is copied up goes on with the copy; what is mapped stays mapped.

mod copy_up;
mod dir;
mod file;
mod inode;
mod rename;

pub use inode::{OverlayFs, OverlayInode};
