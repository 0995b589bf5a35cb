//! Resource limits, usage and times.

use sentry_abi::Errno;
use zerocopy::IntoBytes;

use crate::syscalls::{Args, Outcome, Row, SysResult};
use crate::task::limits::Limit;
use crate::task::{Task, cpu, exec};
use crate::time::{self, TICK_NS};
use crate::vfs::creds::cap;

pub(crate) const ROWS: &[Row] = &[
    Row::full(libc::SYS_getrlimit, "getrlimit", sys_getrlimit),
    Row::full(libc::SYS_setrlimit, "setrlimit", sys_setrlimit),
    Row::full(libc::SYS_prlimit64, "prlimit64", sys_prlimit64),
    Row::partial(
        libc::SYS_getrusage,
        "getrusage",
        sys_getrusage,
        "CPU time and memory only",
    ),
    Row::full(libc::SYS_times, "times", sys_times),
];

/// `struct rusage` of this CPU time (nanoseconds) and largest resident size (KiB).
pub(crate) fn rusage(cpu: [u64; 2], max_rss: u64) -> [i64; 18] {
    let mut usage = [0; 18];
    for (at, ns) in cpu.iter().enumerate() {
        let micros = (ns / 1000) as i64;
        usage[2 * at] = micros / 1_000_000;
        usage[2 * at + 1] = micros % 1_000_000;
    }
    usage[4] = max_rss as i64;
    usage
}

fn write_limit(task: &Task, addr: u64, limit: Limit) -> Result<(), Errno> {
    task.mm.write_val(addr, &[limit.soft, limit.hard])
}

fn read_limit(task: &Task, addr: u64) -> Result<Limit, Errno> {
    let [soft, hard]: [u64; 2] = task.mm.read_val(addr)?;
    Ok(Limit { soft, hard })
}

fn sys_getrlimit(task: &mut Task, args: &Args) -> SysResult {
    let limit = task.process().limits.get(args.uint(0))?;
    write_limit(task, args.ptr(1), limit)?;
    Ok(Outcome::Value(0))
}

fn sys_setrlimit(task: &mut Task, args: &Args) -> SysResult {
    let new = read_limit(task, args.ptr(1))?;
    set_own(task, args.uint(0), new)?;
    Ok(Outcome::Value(0))
}

fn set_own(task: &Task, resource: u32, new: Limit) -> Result<(), Errno> {
    let limits = &task.process().limits;
    limits.set(resource, new, task.creds.has(cap::SYS_RESOURCE))?;
    exec::apply_limits(&task.mm, limits);
    if resource == libc::RLIMIT_CPU {
        task.process().cpu_timers.arm(task.process());
    }
    Ok(())
}

fn sys_prlimit64(task: &mut Task, args: &Args) -> SysResult {
    let (pid, resource) = (args.int(0), args.uint(1));
    let new = match args.ptr(2) {
        0 => None,
        at => Some(read_limit(task, at)?),
    };
    let own = pid == 0 || pid == task.pid();
    let old = if own {
        let old = task.process().limits.get(resource)?;
        if let Some(new) = new {
            set_own(task, resource, new)?;
        }
        old
    } else {
        other(task, pid, resource, new)?
    };
    if args.ptr(3) != 0 {
        write_limit(task, args.ptr(3), old)?;
    }
    Ok(Outcome::Value(0))
}

fn other(task: &Task, pid: i32, resource: u32, new: Option<Limit>) -> Result<Limit, Errno> {
    let tree = task.kernel.tree.lock();
    let target = tree.task(pid).ok_or(Errno::ESRCH)?;
    let theirs = target.creds();
    let own = &task.creds;
    let same_user = [theirs.uid, theirs.euid, theirs.suid]
        .iter()
        .all(|uid| *uid == own.uid);
    let privileged = own.has(cap::SYS_RESOURCE);
    if !same_user && !privileged {
        return Err(Errno::EPERM);
    }
    let old = target.process.limits.get(resource)?;
    if let Some(new) = new {
        target.process.limits.set(resource, new, privileged)?;
        if let Some(mm) = target.view().mm {
            exec::apply_limits(&mm, &target.process.limits);
        }
        if resource == libc::RLIMIT_CPU {
            target.process.cpu_timers.arm(&target.process);
        }
    }
    Ok(old)
}

fn sys_getrusage(task: &mut Task, args: &Args) -> SysResult {
    let cpu = match args.int(0) {
        libc::RUSAGE_SELF => cpu::of_process(task),
        libc::RUSAGE_THREAD => cpu::of_self(task),
        libc::RUSAGE_CHILDREN => cpu::of_children(task.process()),
        _ => return Err(Errno::EINVAL),
    };
    let resident = match args.int(0) {
        libc::RUSAGE_CHILDREN => 0,
        _ => task.mm.usage().rss() / 1024,
    };
    task.mm
        .write(args.ptr(1), rusage(cpu, resident).as_bytes())?;
    Ok(Outcome::Value(0))
}

fn sys_times(task: &mut Task, args: &Args) -> SysResult {
    if args.ptr(0) != 0 {
        let [user, system] = cpu::of_process(task);
        let [child_user, child_system] = cpu::of_children(task.process());
        let tms = [user, system, child_user, child_system].map(|ns| ns / TICK_NS);
        task.mm.write(args.ptr(0), tms.as_bytes())?;
    }
    Ok(Outcome::Value(time::monotonic_ns() / TICK_NS))
}
