//! One sandbox: boot, tasks, exit; what `runsc` calls.

mod boot;
pub mod config;
mod console;
mod control;
pub(crate) mod oom;
mod start;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, OnceLock};

use parking_lot::{Condvar, Mutex, RwLock};

pub use config::{
    BootConfig, BootError, ExitStatus, MountConfig, MountKind, ProcessConfig, RootConfig,
};
pub use control::ProcessInfo;

use crate::mm::MemoryFile;
use crate::net::Network;
use crate::platform::Platform;
use crate::signals::io::IoSignaler;
use crate::syscalls::strace::Sink;
use crate::syscalls::table::NUMBERS;
use crate::task::Task;
use crate::task::futex::FutexTable;
use crate::task::tree::Tree;
use crate::vfs::MountNamespace;
use crate::wait::WaitQueue;

/// One sandbox.
pub struct Kernel {
    platform: Arc<dyn Platform>,
    memory: Arc<MemoryFile>,
    mounts: Arc<MountNamespace>,
    network: Arc<Network>,
    /// Tasks and processes.
    pub(crate) tree: Mutex<Tree>,
    /// Host and domain name.
    pub(crate) names: RwLock<Names>,
    /// Futex waiters.
    pub(crate) futexes: FutexTable,
    strace: Option<Sink>,
    io_signals: OnceLock<Arc<IoSignaler>>,
    /// Notified of every signal: what signalfds wait on.
    pub(crate) signal_readers: Arc<WaitQueue>,
    memory_limit: u64,
    /// The first process until it is started.
    first: Mutex<Option<Task>>,
    /// When it was booted (monotonic guest clock, nanoseconds).
    pub boot_ns: u64,
    unimplemented: Vec<AtomicU32>,
    /// Terminals of processes that were started from outside, by pid.
    consoles: Mutex<console::Consoles>,
    defects: AtomicU32,
    oom_victim: Mutex<oom::Victim>,
    ended: Mutex<BTreeMap<i32, ExitStatus>>,
    ended_changed: Condvar,
}

/// What uname(2) says.
#[derive(Clone, Debug)]
pub struct Names {
    /// sethostname(2).
    pub host: Vec<u8>,
    /// setdomainname(2).
    pub domain: Vec<u8>,
}

impl Kernel {
    /// What runs guest code.
    pub fn platform(&self) -> &Arc<dyn Platform> {
        &self.platform
    }

    /// The file behind guest memory.
    pub fn memory(&self) -> &Arc<MemoryFile> {
        &self.memory
    }

    /// The mount namespace that the first process starts in.
    pub fn mounts(&self) -> &Arc<MountNamespace> {
        &self.mounts
    }

    /// What makes sockets.
    pub fn network(&self) -> &Arc<Network> {
        &self.network
    }

    /// What raises signals about the readiness of files; `make` makes it the first time.
    pub(crate) fn io_signals(&self, make: impl FnOnce() -> Arc<IoSignaler>) -> &Arc<IoSignaler> {
        self.io_signals.get_or_init(make)
    }

    /// Where calls are traced to, if they are.
    pub(crate) fn strace(&self) -> Option<&Sink> {
        self.strace.as_ref()
    }

    /// Memory as the guest sees it: total and used, in bytes.
    pub fn memory_size(&self) -> (u64, u64) {
        let total = match self.memory_limit {
            0 => host_memory(),
            limit => limit,
        };
        (total, self.memory.allocated())
    }

    /// Makes every thread of a process look at what is wanted of it.
    pub(crate) fn kick_process(&self, pid: i32) {
        let tree = self.tree.lock();
        if let Some(node) = tree.node(pid) {
            node.threads.iter().for_each(|thread| thread.kick());
        }
    }

    /// A process that somebody outside waits for has ended, with this wait status.
    pub(crate) fn record_end(&self, pid: i32, status: i32) {
        let status = ExitStatus::from_wait(status);
        self.ended.lock().insert(pid, status);
        self.ended_changed.notify_all();
    }

    /// A call that is not served was made.
    pub fn count_unimplemented(&self, number: u64) {
        let at = (number as usize).min(NUMBERS - 1);
        self.unimplemented[at].fetch_add(1, Ordering::Relaxed);
    }

    /// A defect of the Sentry ended a process that did not deserve it: said aloud, and counted.
    pub(crate) fn report_defect(&self, task: &Task) {
        self.defects.fetch_add(1, Ordering::Relaxed);
        let (pid, tid, number) = (task.pid(), task.tid(), task.regs.orig_rax);
        let name = crate::syscalls::table::row(number).map_or("no call", |row| row.name);
        eprintln!(
            "sentry: defect: the thread of task {tid} panicked ({name}); process {pid} is killed"
        );
    }

    /// How many defects of the Sentry have ended a process.
    pub fn defects(&self) -> u32 {
        self.defects.load(Ordering::Relaxed)
    }

    /// Which calls that are not served were made, and how often.
    pub fn unimplemented(&self) -> Vec<(u64, u32)> {
        let counts = self.unimplemented.iter().enumerate();
        counts
            .map(|(number, count)| (number as u64, count.load(Ordering::Relaxed)))
            .filter(|(_, count)| *count > 0)
            .collect()
    }
}

/// Memory of the machine in bytes.
fn host_memory() -> u64 {
    // sysconf cannot fail for these names on Linux.
    let value = |name| nix::unistd::sysconf(name).ok().flatten().unwrap_or(0) as u64;
    value(nix::unistd::SysconfVar::_PHYS_PAGES) * value(nix::unistd::SysconfVar::PAGE_SIZE)
}
