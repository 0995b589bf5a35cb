//! Clocks and sleeping.

use sentry_abi::Errno;
use zerocopy::IntoBytes;

use crate::loader::vdso;
use crate::syscalls::{Args, Block, OnSignal, Outcome, Row, SysResult};
use crate::task::{Task, cpu};
use crate::time::{self, SECOND};
use crate::wait::Ready;

pub(crate) const ROWS: &[Row] = &[
    Row::full(libc::SYS_clock_gettime, "clock_gettime", sys_clock_gettime),
    Row::full(libc::SYS_clock_getres, "clock_getres", sys_clock_getres),
    Row::refused(
        libc::SYS_clock_settime,
        "clock_settime",
        refused,
        "EPERM: the clock is the host's",
    ),
    Row::refused(
        libc::SYS_settimeofday,
        "settimeofday",
        refused,
        "EPERM: the clock is the host's",
    ),
    Row::refused(
        libc::SYS_adjtimex,
        "adjtimex",
        refused,
        "EPERM: the clock is the host's",
    ),
    Row::refused(
        libc::SYS_clock_adjtime,
        "clock_adjtime",
        refused,
        "EPERM: the clock is the host's",
    ),
    Row::full(libc::SYS_gettimeofday, "gettimeofday", sys_gettimeofday),
    Row::full(libc::SYS_time, "time", sys_time),
    Row::full(libc::SYS_nanosleep, "nanosleep", sys_nanosleep),
    Row::partial(
        libc::SYS_clock_nanosleep,
        "clock_nanosleep",
        sys_clock_nanosleep,
        "no CPU-time clocks of other processes",
    ),
];

fn refused(_: &mut Task, _: &Args) -> SysResult {
    Err(Errno::EPERM)
}

/// The clocks of the CPU time of another process or thread are negative: the inverted id, and three bits.
fn dynamic_clock(task: &Task, clock: i32) -> Result<u64, Errno> {
    let id = !(clock >> 3);
    let thread = clock & 4 != 0;
    if clock & 3 > 2 {
        return Err(Errno::EINVAL);
    }
    let [user, system] = if thread {
        let tree = task.kernel.tree.lock();
        let tid = if id == 0 { task.tid() } else { id };
        cpu::of_thread(tree.task(tid).ok_or(Errno::EINVAL)?)
    } else {
        let pid = if id == 0 { task.pid() } else { id };
        let tree = task.kernel.tree.lock();
        cpu::of_node(tree.node(pid).ok_or(Errno::EINVAL)?)
    };
    Ok(user + system)
}

/// A clock's value in nanoseconds.
fn read_clock(task: &Task, clock: i32) -> Result<u64, Errno> {
    match clock {
        libc::CLOCK_REALTIME | libc::CLOCK_REALTIME_COARSE | libc::CLOCK_TAI => {
            Ok(time::realtime_ns())
        }
        libc::CLOCK_MONOTONIC
        | libc::CLOCK_MONOTONIC_RAW
        | libc::CLOCK_MONOTONIC_COARSE
        | libc::CLOCK_BOOTTIME => Ok(time::monotonic_ns()),
        libc::CLOCK_PROCESS_CPUTIME_ID => Ok(cpu::of_process(task).iter().sum()),
        libc::CLOCK_THREAD_CPUTIME_ID => Ok(cpu::of_self(task).iter().sum()),
        clock if clock < 0 => dynamic_clock(task, clock),
        _ => Err(Errno::EINVAL),
    }
}

fn sys_clock_gettime(task: &mut Task, args: &Args) -> SysResult {
    // The vDSO makes this call when its parameters have aged.
    vdso::refresh(task.kernel.memory());
    let now = read_clock(task, args.int(0))?;
    task.mm.write_val(args.ptr(1), &time::to_timespec(now))?;
    Ok(Outcome::Value(0))
}

fn sys_clock_getres(task: &mut Task, args: &Args) -> SysResult {
    let clock = args.int(0);
    read_clock(task, clock)?;
    let coarse = [libc::CLOCK_REALTIME_COARSE, libc::CLOCK_MONOTONIC_COARSE];
    let resolution = if coarse.contains(&clock) {
        4_000_000
    } else {
        1
    };
    if args.ptr(1) != 0 {
        task.mm
            .write_val(args.ptr(1), &time::to_timespec(resolution))?;
    }
    Ok(Outcome::Value(0))
}

fn sys_gettimeofday(task: &mut Task, args: &Args) -> SysResult {
    vdso::refresh(task.kernel.memory());
    if args.ptr(0) != 0 {
        let now = time::realtime_ns();
        let timeval = [now / SECOND, now % SECOND / 1000];
        task.mm.write(args.ptr(0), timeval.as_bytes())?;
    }
    if args.ptr(1) != 0 {
        task.mm.write(args.ptr(1), &[0; 8])?;
    }
    Ok(Outcome::Value(0))
}

fn sys_time(task: &mut Task, args: &Args) -> SysResult {
    vdso::refresh(task.kernel.memory());
    let now = time::realtime_ns() / SECOND;
    if args.ptr(0) != 0 {
        task.mm.write_val(args.ptr(0), &now)?;
    }
    Ok(Outcome::Value(now))
}

fn sys_nanosleep(task: &mut Task, args: &Args) -> SysResult {
    let timeout = time::read_timespec(task, args.ptr(0))?;
    let deadline = task.deadline_after(timeout);
    sleep_until(task, deadline, args.ptr(1))
}

fn sys_clock_nanosleep(task: &mut Task, args: &Args) -> SysResult {
    let clock = args.int(0);
    let served = [
        libc::CLOCK_REALTIME,
        libc::CLOCK_MONOTONIC,
        libc::CLOCK_BOOTTIME,
        libc::CLOCK_TAI,
    ];
    // The C library names the caller's process by its dynamic clock, with id 0.
    const OWN_PROCESS: i32 = -6;
    if [libc::CLOCK_PROCESS_CPUTIME_ID, OWN_PROCESS].contains(&clock) {
        return sleep_on_cpu_time(task, args);
    }
    if !served.contains(&clock) {
        let cpu = clock == libc::CLOCK_THREAD_CPUTIME_ID || clock < 0;
        return Err(if cpu {
            Errno::EOPNOTSUPP
        } else {
            Errno::EINVAL
        });
    }
    let time = time::read_timespec(task, args.ptr(2))?;
    if args.int(1) & libc::TIMER_ABSTIME == 0 {
        let deadline = task.deadline_after(time);
        return sleep_until(task, deadline, args.ptr(3));
    }
    let deadline = match clock {
        libc::CLOCK_REALTIME | libc::CLOCK_TAI => time::monotonic_of_realtime(time),
        _ => time,
    };
    if task.call_state.timed_out || deadline <= task.now_ns() {
        return Ok(Outcome::Value(0));
    }
    Ok(Block::idle()
        .until(Some(deadline))
        .on_signal(OnSignal::RestartUnlessHandled)
        .into())
}

/// Sleeps until the process has used CPU time (`process_cpu_nsleep`).
fn sleep_on_cpu_time(task: &mut Task, args: &Args) -> SysResult {
    let time = time::read_timespec(task, args.ptr(2))?;
    let absolute = args.int(1) & libc::TIMER_ABSTIME != 0;
    let now: u64 = cpu::of_process(task).iter().sum();
    // Computed once: later attempts find it there.
    if task.call_state.progress == 0 {
        let until = if absolute {
            time
        } else {
            now.saturating_add(time)
        };
        task.call_state.progress = until.max(1);
    }
    let until = task.call_state.progress;
    if now >= until {
        return Ok(Outcome::Value(0));
    }
    if !absolute && args.ptr(3) != 0 {
        task.mm
            .write_val(args.ptr(3), &time::to_timespec(until - now))?;
    }
    let process = task.process();
    process.cpu_timers.sleep_until(until);
    process.cpu_timers.arm(process);
    Ok(Block::on_queue(&process.cpu_timers.events, Ready::IN)
        .on_signal(OnSignal::Interrupt)
        .into())
}

/// Sleeps; what is left goes to `remaining` (before each sleep: only an interrupted call leaves it there).
fn sleep_until(task: &mut Task, deadline: u64, remaining: u64) -> SysResult {
    let left = deadline.saturating_sub(task.now_ns());
    if task.call_state.timed_out || left == 0 {
        return Ok(Outcome::Value(0));
    }
    task.call_state.remaining_at = remaining;
    Ok(Block::idle()
        .until(Some(deadline))
        .on_signal(OnSignal::RestartWithState)
        .into())
}
