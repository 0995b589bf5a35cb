//! Scheduling: affinity, yielding, priorities (which the Sentry keeps, and does not act on).

use std::sync::Arc;

use sentry_abi::Errno;

use crate::syscalls::{Args, Outcome, Row, SysResult};
use crate::task::Task;
use crate::task::scheduling::NICE;
use crate::task::shared::TaskShared;
use crate::task::tree::Node;
use crate::time;
use crate::vfs::creds::cap;

pub(crate) const ROWS: &[Row] = &[
    Row::full(libc::SYS_sched_yield, "sched_yield", sys_sched_yield),
    Row::full(
        libc::SYS_sched_getaffinity,
        "sched_getaffinity",
        sys_sched_getaffinity,
    ),
    Row::partial(
        libc::SYS_sched_setaffinity,
        "sched_setaffinity",
        sys_sched_setaffinity,
        "kept and inherited; the host schedules",
    ),
    Row::partial(
        libc::SYS_sched_getscheduler,
        "sched_getscheduler",
        sys_sched_getscheduler,
        "SCHED_OTHER, BATCH and IDLE",
    ),
    Row::partial(
        libc::SYS_sched_setscheduler,
        "sched_setscheduler",
        sys_sched_setscheduler,
        "SCHED_OTHER, BATCH and IDLE, kept; the host schedules",
    ),
    Row::partial(
        libc::SYS_sched_getparam,
        "sched_getparam",
        sys_sched_getparam,
        "priority 0",
    ),
    Row::partial(
        libc::SYS_sched_setparam,
        "sched_setparam",
        sys_sched_setparam,
        "priority 0",
    ),
    Row::full(
        libc::SYS_sched_get_priority_max,
        "sched_get_priority_max",
        sys_priority_max,
    ),
    Row::full(
        libc::SYS_sched_get_priority_min,
        "sched_get_priority_min",
        sys_priority_min,
    ),
    Row::partial(
        libc::SYS_sched_rr_get_interval,
        "sched_rr_get_interval",
        sys_rr_interval,
        "100 ms",
    ),
    Row::partial(
        libc::SYS_getpriority,
        "getpriority",
        sys_getpriority,
        "what setpriority set",
    ),
    Row::partial(
        libc::SYS_setpriority,
        "setpriority",
        sys_setpriority,
        "kept and inherited; the host schedules",
    ),
    Row::full(libc::SYS_getcpu, "getcpu", sys_getcpu),
];

fn sys_sched_yield(_: &mut Task, _: &Args) -> SysResult {
    std::thread::yield_now();
    Ok(Outcome::Value(0))
}

/// The task of a call on policies: there a negative id makes no sense.
fn policy_target(task: &Task, tid: i32) -> Result<Arc<TaskShared>, Errno> {
    match tid {
        ..0 => Err(Errno::EINVAL),
        _ => target(task, tid),
    }
}

/// The task of a call on CPUs: there a negative id is just nobody's.
fn target(task: &Task, tid: i32) -> Result<Arc<TaskShared>, Errno> {
    match tid {
        0 => Ok(Arc::clone(&task.shared)),
        _ => {
            let tree = task.kernel.tree.lock();
            tree.task(tid).cloned().ok_or(Errno::ESRCH)
        }
    }
}

/// Whether the caller may change how `other` is scheduled.
fn may_change(task: &Task, other: &TaskShared) -> bool {
    let uid = task.creds.euid;
    let theirs = other.view().creds;
    uid == theirs.euid || uid == theirs.uid || task.creds.has(cap::SYS_NICE)
}

/// Bytes of a CPU set, a bit for each CPU that the guest sees.
fn all_cpus() -> Vec<u8> {
    let cpus = crate::platform::cpus();
    let mut mask = vec![0; cpus.div_ceil(64) * 8];
    (0..cpus).for_each(|cpu| mask[cpu / 8] |= 1 << (cpu % 8));
    mask
}

fn sys_sched_getaffinity(task: &mut Task, args: &Args) -> SysResult {
    let all = all_cpus();
    let room = args.uint(1) as usize;
    if !room.is_multiple_of(8) || room < all.len() {
        return Err(Errno::EINVAL);
    }
    let chosen = target(task, args.int(0))?
        .scheduling
        .lock()
        .affinity
        .clone();
    let mask = chosen.unwrap_or_else(|| all.into());
    task.mm.write(args.ptr(2), &mask)?;
    Ok(mask.len().into())
}

fn sys_sched_setaffinity(task: &mut Task, args: &Args) -> SysResult {
    let len = (args.uint(1) as usize).min(128);
    let wanted = task.mm.read_vec(args.ptr(2), len)?;
    let target = target(task, args.int(0))?;
    if !may_change(task, &target) {
        return Err(Errno::EPERM);
    }
    let mut mask = all_cpus();
    for (i, byte) in mask.iter_mut().enumerate() {
        *byte &= wanted.get(i).copied().unwrap_or(0);
    }
    if mask.iter().all(|byte| *byte == 0) {
        return Err(Errno::EINVAL);
    }
    target.scheduling.lock().affinity = Some(mask.into());
    Ok(Outcome::Value(0))
}

fn sys_sched_getscheduler(task: &mut Task, args: &Args) -> SysResult {
    let target = policy_target(task, args.int(0))?;
    let scheduling = target.scheduling.lock();
    let flag = if scheduling.reset_on_fork {
        RESET_ON_FORK
    } else {
        0
    };
    Ok(Outcome::Value((scheduling.policy | flag) as u64))
}

/// SCHED_RESET_ON_FORK.
const RESET_ON_FORK: i32 = 0x4000_0000;

fn sys_sched_setscheduler(task: &mut Task, args: &Args) -> SysResult {
    if args.ptr(2) == 0 {
        return Err(Errno::EINVAL);
    }
    if args.int(0) < 0 || args.int(1) < 0 {
        return Err(Errno::EINVAL);
    }
    let priority: i32 = task.mm.read_val(args.ptr(2))?;
    let target = target(task, args.int(0))?;
    let reset_on_fork = args.int(1) & RESET_ON_FORK != 0;
    match args.int(1) & !RESET_ON_FORK {
        policy @ (libc::SCHED_OTHER | libc::SCHED_BATCH | libc::SCHED_IDLE) if priority == 0 => {
            let mut scheduling = target.scheduling.lock();
            // Only the privileged take the flag back.
            let keeps = reset_on_fork || !scheduling.reset_on_fork;
            if !may_change(task, &target) || !keeps && !task.creds.has(cap::SYS_NICE) {
                return Err(Errno::EPERM);
            }
            scheduling.policy = policy;
            scheduling.reset_on_fork = reset_on_fork;
            Ok(Outcome::Value(0))
        }
        libc::SCHED_FIFO | libc::SCHED_RR if (1..=99).contains(&priority) => Err(Errno::EPERM),
        _ => Err(Errno::EINVAL),
    }
}

fn sys_sched_getparam(task: &mut Task, args: &Args) -> SysResult {
    if args.ptr(1) == 0 {
        return Err(Errno::EINVAL);
    }
    policy_target(task, args.int(0))?;
    task.mm.write_val(args.ptr(1), &0i32)?;
    Ok(Outcome::Value(0))
}

fn sys_sched_setparam(task: &mut Task, args: &Args) -> SysResult {
    if args.ptr(1) == 0 {
        return Err(Errno::EINVAL);
    }
    policy_target(task, args.int(0))?;
    let priority: i32 = task.mm.read_val(args.ptr(1))?;
    if priority == 0 {
        Ok(Outcome::Value(0))
    } else {
        Err(Errno::EINVAL)
    }
}

/// SCHED_EXT of Linux 6.12, which the libc crate does not name.
const SCHED_EXT: i32 = 7;

fn priority_of(policy: i32, realtime: u64) -> SysResult {
    match policy {
        libc::SCHED_FIFO | libc::SCHED_RR => Ok(Outcome::Value(realtime)),
        libc::SCHED_OTHER | libc::SCHED_BATCH | libc::SCHED_IDLE | libc::SCHED_DEADLINE => {
            Ok(Outcome::Value(0))
        }
        SCHED_EXT => Ok(Outcome::Value(0)),
        _ => Err(Errno::EINVAL),
    }
}

fn sys_priority_max(_: &mut Task, args: &Args) -> SysResult {
    priority_of(args.int(0), 99)
}

fn sys_priority_min(_: &mut Task, args: &Args) -> SysResult {
    priority_of(args.int(0), 1)
}

fn sys_rr_interval(task: &mut Task, args: &Args) -> SysResult {
    policy_target(task, args.int(0))?;
    task.mm
        .write_val(args.ptr(1), &time::to_timespec(100_000_000))?;
    Ok(Outcome::Value(0))
}

/// The tasks that `which` and `who` of getpriority(2) mean.
fn addressed(task: &Task, which: u32, who: i32) -> Result<Vec<Arc<TaskShared>>, Errno> {
    let threads = |node: &Node| node.threads.clone();
    let found: Vec<Arc<TaskShared>> = match which {
        libc::PRIO_PROCESS => return Ok(vec![target(task, who)?]),
        libc::PRIO_PGRP => {
            let group = if who == 0 { task.process().pgid() } else { who };
            task.kernel
                .tree
                .lock()
                .group(group)
                .flat_map(threads)
                .collect()
        }
        libc::PRIO_USER => {
            let uid = if who == 0 {
                task.creds.uid
            } else {
                who.cast_unsigned()
            };
            let tree = task.kernel.tree.lock();
            let all = tree.nodes().flat_map(threads);
            all.filter(|task| task.view().creds.uid == uid).collect()
        }
        _ => return Err(Errno::EINVAL),
    };
    if found.is_empty() {
        return Err(Errno::ESRCH);
    }
    Ok(found)
}

fn sys_getpriority(task: &mut Task, args: &Args) -> SysResult {
    let tasks = addressed(task, args.uint(0), args.int(1))?;
    let nice = tasks.iter().map(|task| task.scheduling.lock().nice).min();
    // The kernel's answer is 20 minus the nice value.
    Ok(Outcome::Value((20 - nice.unwrap_or(0)) as u64))
}

fn sys_setpriority(task: &mut Task, args: &Args) -> SysResult {
    let nice = args.int(2).clamp(*NICE.start(), *NICE.end());
    let mut result = Ok(Outcome::Value(0));
    for other in addressed(task, args.uint(0), args.int(1))? {
        let mut scheduling = other.scheduling.lock();
        if !may_change(task, &other) {
            result = Err(Errno::EPERM);
        } else if nice < scheduling.nice && !task.creds.has(cap::SYS_NICE) {
            result = Err(Errno::EACCES);
        } else {
            scheduling.nice = nice;
        }
    }
    result
}

fn sys_getcpu(task: &mut Task, args: &Args) -> SysResult {
    for addr in [args.ptr(0), args.ptr(1)] {
        if addr != 0 {
            task.mm.write_val(addr, &0u32)?;
        }
    }
    Ok(Outcome::Value(0))
}
