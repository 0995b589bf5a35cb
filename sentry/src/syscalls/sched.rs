//! Scheduling: affinity, yielding, priorities (which the Sentry keeps, and does not act on).

use sentry_abi::Errno;

use crate::syscalls::{Args, Outcome, Row, SysResult};
use crate::task::Task;
use crate::time;

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
        "checked, without effect",
    ),
    Row::partial(
        libc::SYS_sched_getscheduler,
        "sched_getscheduler",
        sys_sched_getscheduler,
        "SCHED_OTHER",
    ),
    Row::partial(
        libc::SYS_sched_setscheduler,
        "sched_setscheduler",
        sys_sched_setscheduler,
        "SCHED_OTHER, BATCH and IDLE, without effect",
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
        "nice 0",
    ),
    Row::partial(
        libc::SYS_setpriority,
        "setpriority",
        sys_setpriority,
        "checked, without effect",
    ),
    Row::full(libc::SYS_getcpu, "getcpu", sys_getcpu),
    Row::partial(
        libc::SYS_membarrier,
        "membarrier",
        sys_membarrier,
        "query and global commands",
    ),
];

fn sys_sched_yield(_: &mut Task, _: &Args) -> SysResult {
    std::thread::yield_now();
    Ok(Outcome::Value(0))
}

fn check_task(task: &Task, tid: i32) -> Result<(), Errno> {
    if tid < 0 {
        return Err(Errno::EINVAL);
    }
    let exists = tid == 0 || task.kernel.tree.lock().task(tid).is_some();
    exists.then_some(()).ok_or(Errno::ESRCH)
}

fn sys_sched_getaffinity(task: &mut Task, args: &Args) -> SysResult {
    check_task(task, args.int(0))?;
    let cpus = crate::platform::cpus();
    let words = cpus.div_ceil(64);
    let room = args.uint(1) as usize;
    if !room.is_multiple_of(8) || room < words * 8 {
        return Err(Errno::EINVAL);
    }
    let mut mask = vec![0u8; words * 8];
    for cpu in 0..cpus {
        mask[cpu / 8] |= 1 << (cpu % 8);
    }
    task.mm.write(args.ptr(2), &mask)?;
    Ok(mask.len().into())
}

fn sys_sched_setaffinity(task: &mut Task, args: &Args) -> SysResult {
    check_task(task, args.int(0))?;
    let len = (args.uint(1) as usize).min(128);
    let mask = task.mm.read_vec(args.ptr(2), len)?;
    let some = (0..crate::platform::cpus())
        .any(|cpu| mask.get(cpu / 8).is_some_and(|b| b >> (cpu % 8) & 1 != 0));
    if some {
        Ok(Outcome::Value(0))
    } else {
        Err(Errno::EINVAL)
    }
}

fn sys_sched_getscheduler(task: &mut Task, args: &Args) -> SysResult {
    check_task(task, args.int(0))?;
    Ok(Outcome::Value(libc::SCHED_OTHER as u64))
}

/// SCHED_RESET_ON_FORK.
const RESET_ON_FORK: i32 = 0x4000_0000;

fn sys_sched_setscheduler(task: &mut Task, args: &Args) -> SysResult {
    if args.ptr(2) == 0 {
        return Err(Errno::EINVAL);
    }
    check_task(task, args.int(0))?;
    let priority: i32 = task.mm.read_val(args.ptr(2))?;
    match args.int(1) & !RESET_ON_FORK {
        libc::SCHED_OTHER | libc::SCHED_BATCH | libc::SCHED_IDLE if priority == 0 => {
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
    check_task(task, args.int(0))?;
    task.mm.write_val(args.ptr(1), &0i32)?;
    Ok(Outcome::Value(0))
}

fn sys_sched_setparam(task: &mut Task, args: &Args) -> SysResult {
    if args.ptr(1) == 0 {
        return Err(Errno::EINVAL);
    }
    check_task(task, args.int(0))?;
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
    check_task(task, args.int(0))?;
    task.mm
        .write_val(args.ptr(1), &time::to_timespec(100_000_000))?;
    Ok(Outcome::Value(0))
}

fn sys_getpriority(_: &mut Task, args: &Args) -> SysResult {
    match args.uint(0) {
        // The kernel's answer is 20 minus the nice value.
        libc::PRIO_PROCESS | libc::PRIO_PGRP | libc::PRIO_USER => Ok(Outcome::Value(20)),
        _ => Err(Errno::EINVAL),
    }
}

fn sys_setpriority(task: &mut Task, args: &Args) -> SysResult {
    sys_getpriority(task, args)?;
    if args.int(2) < 0 && !task.creds.has(crate::vfs::creds::cap::SYS_NICE) {
        return Err(Errno::EACCES);
    }
    Ok(Outcome::Value(0))
}

fn sys_getcpu(task: &mut Task, args: &Args) -> SysResult {
    for addr in [args.ptr(0), args.ptr(1)] {
        if addr != 0 {
            task.mm.write_val(addr, &0u32)?;
        }
    }
    Ok(Outcome::Value(0))
}

fn sys_membarrier(_: &mut Task, args: &Args) -> SysResult {
    // QUERY offers nothing: a barrier in other threads' guest code cannot be had cheaply, and programs
    // fall back to their own.
    match (args.int(0), args.uint(1)) {
        (0, 0) => Ok(Outcome::Value(0)),
        _ => Err(Errno::EINVAL),
    }
}
