//! Descriptors that refer to processes (pidfd_open(2)).

use std::any::Any;
use std::sync::Arc;

use sentry_abi::Errno;

use crate::task::{Process, Task};
use crate::vfs::anon::{AnonName, open_anonymous};
use crate::vfs::attr::FileType;
use crate::vfs::file::FileOps;
use crate::wait::{Ready, WaitQueue};

/// A process behind a descriptor. Readable once the process has ended.
pub struct PidFile {
    process: Arc<Process>,
}

impl PidFile {
    /// The process.
    pub fn process(&self) -> &Arc<Process> {
        &self.process
    }
}

impl FileOps for PidFile {
    fn readiness(&self) -> Ready {
        let ended = self.process.kernel.upgrade().is_none_or(|kernel| {
            let tree = kernel.tree.lock();
            let node = tree.node(self.process.pid);
            // The pid may belong to another process by now.
            node.is_none_or(|node| {
                node.exit.is_some() || !Arc::ptr_eq(&node.process, &self.process)
            })
        });
        if ended {
            Ready::IN | Ready::RDNORM
        } else {
            Ready::empty()
        }
    }

    fn wait_queue(&self) -> Option<&WaitQueue> {
        Some(&self.process.exit_events)
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}

/// A new descriptor of `task` that refers to `process`.
///
/// # Errors
/// EMFILE.
pub(crate) fn open(task: &Task, process: &Arc<Process>, flags: i32) -> Result<i32, Errno> {
    let ops = Arc::new(PidFile {
        process: Arc::clone(process),
    });
    let file = open_anonymous(
        ops,
        AnonName::Anon("[pidfd]"),
        FileType::Regular,
        libc::O_RDWR | flags & libc::O_NONBLOCK,
        (task.creds.euid, task.creds.egid),
    );
    task.fds.install(file, true, 0, task.nofile_limit())
}

/// The process that descriptor `fd` refers to.
///
/// # Errors
/// EBADF.
pub(crate) fn get(task: &Task, fd: i32) -> Result<Arc<Process>, Errno> {
    let file = task.fds.get(fd)?;
    let pidfile = file.ops().as_any().downcast_ref::<PidFile>();
    pidfile
        .map(|pidfile| Arc::clone(&pidfile.process))
        .ok_or(Errno::EBADF)
}

/// The same, also for a process's directory in procfs, as pidfd_send_signal(2) takes it.
///
/// # Errors
/// EBADF, ESRCH if the process is gone.
pub(crate) fn get_or_proc(task: &Task, fd: i32) -> Result<Arc<Process>, Errno> {
    let file = task.fds.get(fd)?;
    let Some(pid) = crate::fs::proc::process_of(file.path().inode()) else {
        return get(task, fd);
    };
    let tree = task.kernel.tree.lock();
    let node = tree.node(pid).ok_or(Errno::ESRCH)?;
    Ok(Arc::clone(&node.process))
}
