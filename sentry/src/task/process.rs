//! A process: what its threads share.

use std::sync::Arc;
use std::sync::Weak;
use std::sync::atomic::{AtomicI32, AtomicU32, Ordering};

use parking_lot::{Mutex, RwLock};

use crate::kernel::Kernel;
use crate::signals::{ActionTable, Pending};
use crate::task::limits::Limits;
use crate::vfs::file::FileOps;
use crate::vfs::{OpenFile, VfsPath};
use crate::wait::WaitQueue;

/// What the threads of one process (thread group) share.
pub struct Process {
    /// Process id (thread group id).
    pub pid: i32,
    /// The sandbox it lives in.
    pub kernel: Weak<Kernel>,
    /// Resource limits.
    pub limits: Limits,
    /// When it started (monotonic guest clock, nanoseconds).
    pub start_ns: u64,
    /// Copies of what the tree says, for readers without its lock.
    pub(crate) ppid: AtomicI32,
    pub(crate) pgid: AtomicI32,
    pub(crate) sid: AtomicI32,
    /// Notified when a child changes its state.
    pub(crate) child_events: Arc<WaitQueue>,
    /// Notified (IN) when the process has ended: what pidfds poll.
    pub(crate) exit_events: Arc<WaitQueue>,
    pub(crate) actions: RwLock<Arc<ActionTable>>,
    pub(crate) signals: Mutex<GroupSignals>,
    pub(crate) exec: RwLock<ExecInfo>,
    pub(crate) tty: Mutex<Option<Arc<dyn FileOps>>>,
    /// SIGKILL-like end of the whole group: wait status, or 0 while it lives.
    pub(crate) group_exit: AtomicU32,
}

/// Signals of a process as a whole.
#[derive(Default)]
pub struct GroupSignals {
    /// Sent to the process, for any of its threads.
    pub(crate) pending: Pending,
    /// The stop signal, while the process is stopped or about to.
    pub(crate) stop: Option<i32>,
}

/// What was executed.
#[derive(Clone, Default)]
pub struct ExecInfo {
    /// The program (/proc/PID/exe).
    pub exe: Option<VfsPath>,
    /// The file, kept open as Linux does.
    pub file: Option<Arc<OpenFile>>,
    /// Arguments as given to execve.
    pub argv: Vec<Vec<u8>>,
    /// Environment as given to execve.
    pub envp: Vec<Vec<u8>>,
    /// Auxiliary vector as bytes (/proc/PID/auxv).
    pub auxv: Vec<u8>,
    /// False until execve (setpgid of a child then fails with EACCES).
    pub execed: bool,
    /// PR_SET_DUMPABLE.
    pub dumpable: bool,
}

impl Process {
    /// Parent's pid (0 if it has none).
    pub fn ppid(&self) -> i32 {
        self.ppid.load(Ordering::Relaxed)
    }

    /// Process group.
    pub fn pgid(&self) -> i32 {
        self.pgid.load(Ordering::Relaxed)
    }

    /// Session.
    pub fn sid(&self) -> i32 {
        self.sid.load(Ordering::Relaxed)
    }

    /// What was executed.
    pub fn exec_info(&self) -> ExecInfo {
        self.exec.read().clone()
    }

    /// Signal actions.
    pub fn actions(&self) -> Arc<ActionTable> {
        Arc::clone(&self.actions.read())
    }

    /// The controlling terminal.
    pub fn controlling_tty(&self) -> Option<Arc<dyn FileOps>> {
        self.tty.lock().clone()
    }
}
