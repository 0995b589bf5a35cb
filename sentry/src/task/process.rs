//! A process: what its threads share.

use std::sync::Arc;
use std::sync::Weak;
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicU32, AtomicU64, Ordering};

use parking_lot::{Mutex, RwLock};

use crate::kernel::Kernel;
use crate::signals::{ActionTable, Pending};
use crate::task::limits::{INFINITY, Limits};
use crate::time::cpu_timers::CpuTimers;
use crate::time::timers::ProcessTimers;
use crate::vfs::file::FileOps;
use crate::vfs::{OpenFile, VfsPath};
use crate::wait::WaitQueue;

/// Marks a wait status in `group_exit` as set.
const ENDING: u32 = 1 << 31;

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
    /// Notified when a signal is raised for the process or a thread of it (sigtimedwait).
    pub signal_events: Arc<WaitQueue>,
    /// Notified when a signal is raised for any process of the sandbox (signalfd).
    pub(crate) signal_readers: Arc<WaitQueue>,
    /// True while the process is stopped (a copy of `signals.stop` for readers without the lock).
    pub(crate) stopped: AtomicBool,
    /// The thread that executes a program and waits for the others to end; 0 if none.
    pub(crate) exec_by: AtomicI32,
    /// End of the whole group: wait status with [`ENDING`] set, or 0 while it lives.
    group_exit: AtomicU32,
    /// PR_SET_PDEATHSIG; 0 is none.
    pub(crate) death_signal: AtomicI32,
    /// Registrations of membarrier(2).
    pub(crate) membarrier: AtomicI32,
    /// -1000 to 1000: who ends first when memory runs out (/proc/PID/oom_score_adj).
    pub(crate) oom_score_adj: AtomicI32,
    /// Interval and POSIX timers.
    pub(crate) timers: Mutex<ProcessTimers>,
    /// What waits for CPU time to pass.
    pub(crate) cpu_timers: CpuTimers,
    /// CPU time of threads that have ended: user, system, nanoseconds.
    pub(crate) dead_cpu: [AtomicU64; 2],
    /// CPU time of children that were waited for.
    pub(crate) child_cpu: [AtomicU64; 2],
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

/// What a new process starts with beside its identity.
pub(crate) struct Origin {
    pub(crate) pid: i32,
    pub(crate) ppid: i32,
    pub(crate) pgid: i32,
    pub(crate) sid: i32,
    pub(crate) limits: Limits,
    pub(crate) actions: Arc<ActionTable>,
    pub(crate) exec: ExecInfo,
    pub(crate) tty: Option<Arc<dyn FileOps>>,
}

impl Process {
    /// A process without threads.
    pub(crate) fn new(kernel: &Arc<Kernel>, origin: Origin) -> Arc<Self> {
        Arc::new(Self {
            pid: origin.pid,
            kernel: Arc::downgrade(kernel),
            cpu_timers: CpuTimers::new(origin.limits.soft(libc::RLIMIT_CPU) != INFINITY),
            limits: origin.limits,
            start_ns: crate::time::monotonic_ns(),
            ppid: AtomicI32::new(origin.ppid),
            pgid: AtomicI32::new(origin.pgid),
            sid: AtomicI32::new(origin.sid),
            child_events: Arc::default(),
            exit_events: Arc::default(),
            actions: RwLock::new(origin.actions),
            signals: Mutex::default(),
            exec: RwLock::new(origin.exec),
            tty: Mutex::new(origin.tty),
            signal_events: Arc::default(),
            signal_readers: Arc::clone(&kernel.signal_readers),
            stopped: AtomicBool::new(false),
            exec_by: AtomicI32::new(0),
            group_exit: AtomicU32::new(0),
            death_signal: AtomicI32::new(0),
            membarrier: AtomicI32::new(0),
            oom_score_adj: AtomicI32::new(0),
            timers: Mutex::default(),
            dead_cpu: Default::default(),
            child_cpu: Default::default(),
        })
    }

    /// Decides that the whole process ends with this wait status, unless that is decided already. The
    /// threads have to be kicked.
    pub(crate) fn begin_group_exit(&self, status: i32) {
        let new = status as u32 | ENDING;
        let _ = self
            .group_exit
            .compare_exchange(0, new, Ordering::SeqCst, Ordering::SeqCst);
    }

    /// The wait status that the whole process ends with, once decided.
    pub(crate) fn group_exit_status(&self) -> Option<i32> {
        match self.group_exit.load(Ordering::SeqCst) {
            0 => None,
            status => Some((status & !ENDING) as i32),
        }
    }

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
