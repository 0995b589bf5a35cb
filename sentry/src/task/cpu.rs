//! CPU time of tasks and processes: user and system, in nanoseconds.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use crate::task::tree::Node;
use crate::task::{Process, Task, TaskShared, run};

/// Of another thread, as of its last account.
pub(crate) fn of_thread(thread: &Arc<TaskShared>) -> [u64; 2] {
    [&thread.user_ns, &thread.system_ns].map(|ns| ns.load(Ordering::Relaxed))
}

/// Of the calling thread, up to now.
pub(crate) fn of_self(task: &Task) -> [u64; 2] {
    run::account(task);
    of_thread(&task.shared)
}

/// Of a process: its threads that live and those that have ended.
pub(crate) fn of_node(node: &Node) -> [u64; 2] {
    let mut sum = dead(&node.process);
    for thread in &node.threads {
        let [user, system] = of_thread(thread);
        sum[0] += user;
        sum[1] += system;
    }
    sum
}

/// Of the calling process.
pub(crate) fn of_process(task: &Task) -> [u64; 2] {
    run::account(task);
    let tree = task.kernel.tree.lock();
    tree.node(task.pid()).map_or([0; 2], of_node)
}

fn dead(process: &Process) -> [u64; 2] {
    [0, 1].map(|at| process.dead_cpu[at].load(Ordering::Relaxed))
}

/// Of the children that a process has waited for.
pub(crate) fn of_children(process: &Process) -> [u64; 2] {
    [0, 1].map(|at| process.child_cpu[at].load(Ordering::Relaxed))
}
