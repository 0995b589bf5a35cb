//! Who is whose parent, group and session: one table, one lock.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::task::process::Process;
use crate::task::shared::TaskShared;

/// Highest process id (kernel.pid_max).
pub const PID_MAX: i32 = 4_194_304;

/// All tasks and processes of a sandbox.
#[derive(Default)]
pub struct Tree {
    pub(crate) tasks: BTreeMap<i32, Arc<TaskShared>>,
    pub(crate) processes: BTreeMap<i32, Node>,
    last_pid: i32,
    /// Signals from inside do to the first process what they do to any other.
    pub(crate) first_is_ordinary: bool,
}

/// A process among others.
pub struct Node {
    /// The process.
    pub process: Arc<Process>,
    /// Pid of the parent; 0 if it has none.
    pub parent: i32,
    /// Process group.
    pub pgid: i32,
    /// Session.
    pub sid: i32,
    /// Its threads that live, in order of creation.
    pub threads: Vec<Arc<TaskShared>>,
    /// Pids of its children.
    pub children: Vec<i32>,
    /// PR_SET_CHILD_SUBREAPER.
    pub subreaper: bool,
    /// What parents are told when it ends: SIGCHLD, another signal, or 0.
    pub exit_signal: i32,
    /// Set when it has ended: what wait(2) reports.
    pub exit: Option<Exited>,
    /// A stop that the parent has not been told of: the signal.
    pub stop_event: Option<i32>,
    /// A continuation that the parent has not been told of.
    pub continue_event: bool,
}

/// What is left of a process that has ended.
#[derive(Clone, Copy, Debug, Default)]
pub struct Exited {
    /// Wait status.
    pub status: i32,
    /// Real user id.
    pub uid: u32,
    /// User CPU time of itself and the children it waited for, nanoseconds.
    pub user_ns: u64,
    /// System CPU time likewise.
    pub system_ns: u64,
}

impl Node {
    /// A process with its first thread.
    pub(crate) fn new(
        process: Arc<Process>,
        parent: i32,
        exit_signal: i32,
        thread: Arc<TaskShared>,
    ) -> Self {
        Self {
            parent,
            pgid: process.pgid(),
            sid: process.sid(),
            threads: vec![thread],
            children: Vec::new(),
            subreaper: false,
            exit_signal,
            exit: None,
            stop_event: None,
            continue_event: false,
            process,
        }
    }
}

impl Tree {
    /// Takes out a task that could not be started.
    pub(crate) fn forget(&mut self, shared: &Arc<TaskShared>) {
        self.tasks.remove(&shared.tid);
        let pid = shared.process.pid;
        if let Some(node) = self.node_mut(pid) {
            node.threads.retain(|thread| !Arc::ptr_eq(thread, shared));
            if node.threads.is_empty() {
                self.reap(pid);
            }
        }
    }

    /// A task id that is free as pid, group and session.
    pub(crate) fn next_id(&mut self) -> Option<i32> {
        for _ in 0..PID_MAX {
            self.last_pid = if self.last_pid >= PID_MAX {
                300
            } else {
                self.last_pid + 1
            };
            if !self.in_use(self.last_pid) {
                return Some(self.last_pid);
            }
        }
        None
    }

    fn in_use(&self, id: i32) -> bool {
        self.tasks.contains_key(&id)
            || self.processes.contains_key(&id)
            || self
                .processes
                .values()
                .any(|node| node.pgid == id || node.sid == id)
    }

    /// The task `tid`.
    pub fn task(&self, tid: i32) -> Option<&Arc<TaskShared>> {
        self.tasks.get(&tid)
    }

    /// The process `pid`, zombies included.
    pub fn node(&self, pid: i32) -> Option<&Node> {
        self.processes.get(&pid)
    }

    pub(crate) fn node_mut(&mut self, pid: i32) -> Option<&mut Node> {
        self.processes.get_mut(&pid)
    }

    /// All processes in order of pid, zombies included.
    pub fn nodes(&self) -> impl Iterator<Item = &Node> {
        self.processes.values()
    }

    /// The processes of a group.
    pub fn group(&self, pgid: i32) -> impl Iterator<Item = &Node> {
        self.nodes().filter(move |node| node.pgid == pgid)
    }
}
