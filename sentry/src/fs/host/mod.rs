//! Directories of the host, from a donated descriptor.
//!
//! Every component is opened by us, relative to its directory's descriptor and with O_NOFOLLOW: the
//! host never follows a link of the guest's, and `..` is never asked of it. A read-only tree is taken as
//! constant: attributes, present and absent names are remembered for as long as their dentries live, so
//! changes that the host makes underneath show late or never (contents of files are always read
//! through). A writable tree (a bind mount) is asked again each time.

mod change;
mod dir;
mod file;
mod inode;
pub(crate) mod poller;
pub mod stdio;
mod sys;

pub use inode::{HostFs, HostInode};
