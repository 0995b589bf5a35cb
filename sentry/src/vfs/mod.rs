//! Paths, mounts, open files and descriptor tables.
//!
//! A file system offers [`inode::Inode`]s. The names that were looked up are kept in a tree of
//! [`dentry::Dentry`]s per file system; a [`dentry::VfsPath`] (a mount and a dentry) is a place that a
//! process can stand at. [`walk`] goes from one place to another, component by component; [`ops`],
//! [`modify`] and [`meta`] are the operations of system calls, with their permission checks;
//! [`open::OpenFile`] is what descriptors in an [`fdtable::FdTable`] refer to.

pub mod anon;
pub mod attr;
pub mod context;
pub mod creds;
pub mod dentry;
pub mod dir;
pub mod fdtable;
pub mod file;
pub mod inode;
pub mod locks;
pub mod meta;
pub mod modify;
pub mod mount;
pub mod notify;
pub mod open;
pub mod ops;
pub mod sigio;
pub mod walk;

pub use context::{FsContext, PathContext};
pub use creds::{CapSets, Credentials};
pub use dentry::VfsPath;
pub use fdtable::FdTable;
pub use mount::{Mount, MountFlags, MountNamespace};
pub use open::OpenFile;
