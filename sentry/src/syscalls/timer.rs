//! Interval timers and POSIX timers.

use std::sync::Arc;

use sentry_abi::Errno;

use crate::signals::SigInfo;
use crate::signals::set::is_signal;
use crate::syscalls::{Args, Outcome, Row, SysResult};
use crate::task::{Task, cpu};
use crate::time::timers::{Notify, Setting, SignalTimer, TimerClock};
use crate::time::{self, SECOND};

pub(crate) const ROWS: &[Row] = &[
    Row::full(libc::SYS_getitimer, "getitimer", sys_getitimer),
    Row::full(libc::SYS_setitimer, "setitimer", sys_setitimer),
    Row::full(libc::SYS_alarm, "alarm", sys_alarm),
    Row::partial(
        libc::SYS_timer_create,
        "timer_create",
        sys_timer_create,
        "no CPU-time clocks of other processes",
    ),
    Row::full(libc::SYS_timer_settime, "timer_settime", sys_timer_settime),
    Row::full(libc::SYS_timer_gettime, "timer_gettime", sys_timer_gettime),
    Row::full(
        libc::SYS_timer_getoverrun,
        "timer_getoverrun",
        sys_timer_getoverrun,
    ),
    Row::full(libc::SYS_timer_delete, "timer_delete", sys_timer_delete),
];

fn from_timeval(sec: i64, usec: i64) -> Result<u64, Errno> {
    time::timespec_ns(sec, usec.checked_mul(1000).ok_or(Errno::EINVAL)?)
}

/// The setting of a timer that fires `value_ns` from `now_ns` of its clock on; 0 is never.
fn armed(now_ns: u64, value_ns: u64, interval_ns: u64) -> Setting {
    Setting {
        deadline_ns: (value_ns > 0).then(|| now_ns.saturating_add(value_ns)),
        interval_ns,
    }
}

/// The present time on a timer's clock.
fn now(task: &Task, timer: &SignalTimer) -> u64 {
    let own = || {
        let [user, system] = cpu::of_process(task);
        timer.cpu_now(user, user + system).unwrap_or(0)
    };
    match timer.clock {
        TimerClock::Wall(_) => time::monotonic_ns(),
        _ => own(),
    }
}

fn show_timeval(task: &Task, addr: u64, setting: Setting, now_ns: u64) -> Result<(), Errno> {
    if addr == 0 {
        return Ok(());
    }
    let [a, b] = time::to_timeval(setting.interval_ns);
    let [c, d] = time::to_timeval(setting.left_ns(now_ns));
    task.mm.write_val(addr, &[a, b, c, d])
}

fn interval_timer(task: &Task, which: i32) -> Result<Arc<SignalTimer>, Errno> {
    let known = [libc::ITIMER_REAL, libc::ITIMER_VIRTUAL, libc::ITIMER_PROF];
    if !known.contains(&which) {
        return Err(Errno::EINVAL);
    }
    let process = task.process();
    Ok(process.timers.lock().interval(process, which as usize))
}

fn sys_getitimer(task: &mut Task, args: &Args) -> SysResult {
    let timer = interval_timer(task, args.int(0))?;
    if args.ptr(1) == 0 {
        return Err(Errno::EFAULT);
    }
    show_timeval(task, args.ptr(1), timer.setting(), now(task, &timer))?;
    Ok(Outcome::Value(0))
}

fn sys_setitimer(task: &mut Task, args: &Args) -> SysResult {
    let timer = interval_timer(task, args.int(0))?;
    let now_ns = now(task, &timer);
    let new = match args.ptr(1) {
        0 => Setting::default(),
        at => {
            let [a, b, c, d]: [i64; 4] = task.mm.read_val(at)?;
            armed(now_ns, from_timeval(c, d)?, from_timeval(a, b)?)
        }
    };
    let old = timer.set(new)?;
    show_timeval(task, args.ptr(2), old, now_ns)?;
    Ok(Outcome::Value(0))
}

fn sys_alarm(task: &mut Task, args: &Args) -> SysResult {
    let now_ns = time::monotonic_ns();
    let new = armed(now_ns, u64::from(args.uint(0)) * SECOND, 0);
    let old = interval_timer(task, libc::ITIMER_REAL)?.set(new)?;
    let left = old.left_ns(now_ns);
    // Rounded to the nearest second, but never to 0 while it was armed.
    let seconds = (left + SECOND / 2) / SECOND;
    Ok(Outcome::Value(if left > 0 { seconds.max(1) } else { 0 }))
}

/// `struct sigevent`: value, signal, how, and a thread id.
fn notify_of(task: &Task, addr: u64, id: i32) -> Result<Notify, Errno> {
    if addr == 0 {
        let info = SigInfo::timer(libc::SIGALRM, id, 0, id as u64);
        return Ok(Notify::Signal { info, tid: 0 });
    }
    let value: u64 = task.mm.read_val(addr)?;
    let [signo, how, tid]: [i32; 3] = task.mm.read_val(addr.wrapping_add(8))?;
    let info = SigInfo::timer(signo, id, 0, value);
    match how {
        libc::SIGEV_NONE => Ok(Notify::Nothing),
        _ if !is_signal(signo) => Err(Errno::EINVAL),
        libc::SIGEV_SIGNAL | libc::SIGEV_THREAD => Ok(Notify::Signal { info, tid: 0 }),
        libc::SIGEV_THREAD_ID => {
            let tree = task.kernel.tree.lock();
            let thread = tree.task(tid).ok_or(Errno::EINVAL)?;
            if thread.process.pid != task.pid() {
                return Err(Errno::EINVAL);
            }
            Ok(Notify::Signal { info, tid })
        }
        _ => Err(Errno::EINVAL),
    }
}

fn clock_of(task: &Task, clock: i32) -> Result<TimerClock, Errno> {
    match clock {
        libc::CLOCK_REALTIME | libc::CLOCK_MONOTONIC | libc::CLOCK_BOOTTIME | libc::CLOCK_TAI => {
            Ok(TimerClock::Wall(clock))
        }
        libc::CLOCK_PROCESS_CPUTIME_ID => Ok(TimerClock::Process),
        libc::CLOCK_THREAD_CPUTIME_ID => Ok(TimerClock::Thread(Arc::downgrade(&task.shared))),
        clock if clock < 0 => dynamic_clock_of(task, clock),
        _ => Err(Errno::EINVAL),
    }
}

/// A clock by the inverted id of a process or thread and three bits; the C library names the caller's
/// own by id 0.
fn dynamic_clock_of(task: &Task, clock: i32) -> Result<TimerClock, Errno> {
    const USER: i32 = 1;
    let (id, thread, what) = (!(clock >> 3), clock & 4 != 0, clock & 3);
    if what > 2 {
        return Err(Errno::EINVAL);
    }
    if !thread {
        return match (id, what) {
            (0, USER) => Ok(TimerClock::User),
            (0, _) => Ok(TimerClock::Process),
            (pid, USER) if pid == task.pid() => Ok(TimerClock::User),
            (pid, _) if pid == task.pid() => Ok(TimerClock::Process),
            _ => Err(Errno::EOPNOTSUPP),
        };
    }
    if id == 0 {
        return Ok(TimerClock::Thread(Arc::downgrade(&task.shared)));
    }
    let tree = task.kernel.tree.lock();
    let thread = tree.task(id).ok_or(Errno::EINVAL)?;
    if thread.process.pid != task.pid() {
        return Err(Errno::EINVAL);
    }
    Ok(TimerClock::Thread(Arc::downgrade(thread)))
}

fn sys_timer_create(task: &mut Task, args: &Args) -> SysResult {
    let clock = clock_of(task, args.int(0))?;
    notify_of(task, args.ptr(1), 0)?;
    let process = Arc::clone(task.process());
    let mut event = Ok(Notify::Nothing);
    let id = process.timers.lock().create(&process, clock, |id| {
        event = notify_of(task, args.ptr(1), id);
        event.unwrap_or(Notify::Nothing)
    })?;
    let written = event.and_then(|_| task.mm.write_val(args.ptr(2), &id));
    if let Err(errno) = written {
        process.timers.lock().delete(id)?;
        return Err(errno);
    }
    Ok(Outcome::Value(0))
}

fn show_timespec(task: &Task, addr: u64, setting: Setting, now_ns: u64) -> Result<(), Errno> {
    let [a, b] = time::to_timespec(setting.interval_ns);
    let [c, d] = time::to_timespec(setting.left_ns(now_ns));
    task.mm.write_val(addr, &[a, b, c, d])
}

fn sys_timer_settime(task: &mut Task, args: &Args) -> SysResult {
    if args.ptr(2) == 0 {
        return Err(Errno::EINVAL);
    }
    let [a, b, c, d]: [i64; 4] = task.mm.read_val(args.ptr(2))?;
    let (interval_ns, value) = (time::timespec_ns(a, b)?, time::timespec_ns(c, d)?);
    let timer = task.process().timers.lock().get(args.int(0))?;
    let absolute = args.int(1) & libc::TIMER_ABSTIME != 0;
    let now_ns = now(task, &timer);
    let new = if absolute && value > 0 {
        let at = match timer.clock {
            TimerClock::Wall(libc::CLOCK_REALTIME | libc::CLOCK_TAI) => {
                time::monotonic_of_realtime(value)
            }
            _ => value,
        };
        Setting {
            deadline_ns: Some(at),
            interval_ns,
        }
    } else {
        armed(now_ns, value, interval_ns)
    };
    let old = timer.set(new)?;
    if args.ptr(3) != 0 {
        show_timespec(task, args.ptr(3), old, now_ns)?;
    }
    Ok(Outcome::Value(0))
}

fn sys_timer_gettime(task: &mut Task, args: &Args) -> SysResult {
    let timer = task.process().timers.lock().get(args.int(0))?;
    show_timespec(task, args.ptr(1), timer.setting(), now(task, &timer))?;
    Ok(Outcome::Value(0))
}

fn sys_timer_getoverrun(task: &mut Task, args: &Args) -> SysResult {
    let timer = task.process().timers.lock().get(args.int(0))?;
    Ok(Outcome::Value(timer.overrun() as u64))
}

fn sys_timer_delete(task: &mut Task, args: &Args) -> SysResult {
    task.process().timers.lock().delete(args.int(0))?;
    Ok(Outcome::Value(0))
}
