//! /proc/PID/stat and statm.

use std::sync::Arc;

use sentry_abi::Errno;

use crate::kernel::Kernel;
use crate::mm::MemUsage;
use crate::task::{TaskShared, cpu};

/// Nanoseconds of a clock tick (USER_HZ is 100).
pub(super) const TICK_NS: u64 = 10_000_000;

/// User and system CPU time of the whole process, nanoseconds. Threads that run guest code now are asked
/// to account for it, so that whoever looks again sees how it grows.
pub(super) fn cpu_ns(kernel: &Kernel, task: &TaskShared) -> (u64, u64) {
    let tree = kernel.tree.lock();
    let Some(node) = tree.node(task.process.pid) else {
        return (0, 0);
    };
    node.threads.iter().for_each(|thread| thread.ask_account());
    let [user, system] = cpu::of_node(node);
    (user, system)
}

pub(super) fn threads(kernel: &Kernel, task: &TaskShared) -> usize {
    let tree = kernel.tree.lock();
    tree.node(task.process.pid)
        .map_or(0, |node| node.threads.len())
}

pub(super) fn usage(task: &TaskShared) -> MemUsage {
    task.view().mm.map(|mm| mm.usage()).unwrap_or_default()
}

pub(super) fn stat(kernel: &Kernel, task: &Arc<TaskShared>) -> Result<Vec<u8>, Errno> {
    let process = &task.process;
    let (user, system) = cpu_ns(kernel, task);
    let usage = usage(task);
    let (ignored, caught) = process.actions().ignored_and_caught();
    let mut out = format!("{} (", task.tid).into_bytes();
    out.extend(task.comm());
    let start = process.start_ns.saturating_sub(kernel.boot_ns) / TICK_NS;
    let state = task.state() as u8 as char;
    let nice = task.scheduling.lock().nice;
    // The fields in the order of proc(5), from the 3rd on.
    let fields: [i64; 49] = [
        i64::from(process.ppid()),
        i64::from(process.pgid()),
        i64::from(process.sid()),
        i64::from(terminal(task).0),
        i64::from(terminal(task).1),
        0x40_0000, // flags: PF_RANDOMIZE
        0,
        0,
        0,
        0, // faults
        (user / TICK_NS) as i64,
        (system / TICK_NS) as i64,
        0,
        0, // of children
        (20 + nice).into(),
        nice.into(), // priority, nice
        threads(kernel, task) as i64,
        0,
        start as i64,
        usage.size as i64,
        (usage.rss() / 4096) as i64,
        i64::MAX, // limit of the resident set
        1,
        1,
        0, // code and stack addresses are nobody's business
        0,
        0,
        0,
        task.mask().0 as i64,
        ignored.0 as i64,
        caught.0 as i64,
        0,
        0,
        0,
        i64::from(libc::SIGCHLD),
        0, // processor
        0,
        0,
        0,
        0,
        0,
        0,
        0,
        0,
        0,
        0,
        0,
        0,
        0,
    ];
    out.extend(format!(") {state}").into_bytes());
    for field in fields {
        out.extend(format!(" {field}").into_bytes());
    }
    out.push(b'\n');
    Ok(out)
}

/// Device number and foreground group of the controlling terminal.
fn terminal(task: &TaskShared) -> (i32, i32) {
    match task.process.controlling_tty() {
        Some(tty) => tty.terminal_ids().unwrap_or((0, -1)),
        None => (0, -1),
    }
}

pub(super) fn statm(task: &TaskShared) -> Result<Vec<u8>, Errno> {
    let usage = usage(task);
    let shared = usage.rss_file + usage.rss_shared;
    Ok(format!(
        "{} {} {} {} 0 {} 0\n",
        usage.size / 4096,
        usage.rss() / 4096,
        shared / 4096,
        usage.exec / 4096,
        (usage.data + usage.stack) / 4096,
    )
    .into_bytes())
}
