//! procfs: processes, and the system as a whole.
//!
//! Nothing is stored: directories of processes are looked up in the kernel's tree each time, contents are
//! made when a file is read from its start. `system` and `sysctl` have the files that are the same for
//! everybody, `task_files` those of a task, `links` what leads to files that a task has open.

mod links;
mod maps;
mod mounts;
mod net;
mod net6;
mod node;
mod stat;
mod status;
mod sysctl;
pub mod system;
mod task_files;

pub(crate) use node::process_of;

use std::sync::Arc;

use crate::kernel::Kernel;
use crate::vfs::dentry::Dentry;
use crate::vfs::mount::{Mount, MountFlags};

/// A new procfs of the sandbox, not attached yet.
pub fn mount(kernel: &Arc<Kernel>, source: &str, flags: MountFlags) -> Arc<Mount> {
    system::prepare();
    Mount::new(Dentry::root(node::root(kernel)), "proc", source, flags)
}
