//! Ids of tasks, processes, groups and sessions.

use sentry_abi::Errno;

use crate::syscalls::{Args, Outcome, Row, SysResult};
use crate::task::Task;

pub(crate) const ROWS: &[Row] = &[
    Row::full(libc::SYS_getpid, "getpid", sys_getpid),
    Row::full(libc::SYS_gettid, "gettid", sys_gettid),
    Row::full(libc::SYS_getppid, "getppid", sys_getppid),
    Row::full(libc::SYS_getpgrp, "getpgrp", sys_getpgrp),
    Row::full(libc::SYS_getpgid, "getpgid", sys_getpgid),
    Row::full(libc::SYS_setpgid, "setpgid", sys_setpgid),
    Row::full(libc::SYS_getsid, "getsid", sys_getsid),
    Row::full(libc::SYS_setsid, "setsid", sys_setsid),
];

fn id(value: i32) -> SysResult {
    Ok(Outcome::Value(value as u64))
}

fn sys_getpid(task: &mut Task, _: &Args) -> SysResult {
    id(task.pid())
}

fn sys_gettid(task: &mut Task, _: &Args) -> SysResult {
    id(task.tid())
}

fn sys_getppid(task: &mut Task, _: &Args) -> SysResult {
    id(task.process().ppid())
}

fn sys_getpgrp(task: &mut Task, _: &Args) -> SysResult {
    id(task.process().pgid())
}

fn sys_getpgid(task: &mut Task, args: &Args) -> SysResult {
    match args.int(0) {
        0 => id(task.process().pgid()),
        pid => {
            let tree = task.kernel.tree.lock();
            id(tree.node(pid).ok_or(Errno::ESRCH)?.pgid)
        }
    }
}

fn sys_setpgid(task: &mut Task, args: &Args) -> SysResult {
    let mut tree = task.kernel.tree.lock();
    tree.set_group(task.pid(), args.int(0), args.int(1))?;
    Ok(Outcome::Value(0))
}

fn sys_getsid(task: &mut Task, args: &Args) -> SysResult {
    match args.int(0) {
        0 => id(task.process().sid()),
        pid => {
            let tree = task.kernel.tree.lock();
            id(tree.node(pid).ok_or(Errno::ESRCH)?.sid)
        }
    }
}

fn sys_setsid(task: &mut Task, _: &Args) -> SysResult {
    id(task.kernel.tree.lock().new_session(task.pid())?)
}
