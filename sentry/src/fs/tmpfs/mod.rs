//! A file system in memory. File contents live in the sandbox's memory file, so that they can be mapped.

mod data;
mod dir;
mod file;
mod inode;
mod storage;

pub use data::FileData;
pub use file::{TmpFile, memfd};
pub use inode::{TmpFs, TmpInode, TmpOptions};
pub use storage::Storage;
