//! Interval timers and POSIX timers.

use std::sync::Arc;

use sentry_abi::Errno;

use crate::signals::SigInfo;
use crate::signals::set::is_signal;
use crate::syscalls::{Args, Outcome, Row, SysResult};
use crate::task::Task;
use crate::time::timers::{Notify, Setting};
use crate::time::{self, SECOND};

pub(crate) const ROWS: &[Row] = &[
    Row::partial(
        libc::SYS_getitimer,
        "getitimer",
        sys_getitimer,
        "ITIMER_REAL only",
    ),
    Row::partial(
        libc::SYS_setitimer,
        "setitimer",
        sys_setitimer,
        "ITIMER_REAL only",
    ),
    Row::full(libc::SYS_alarm, "alarm", sys_alarm),
    Row::partial(
        libc::SYS_timer_create,
        "timer_create",
        sys_timer_create,
        "no CPU-time clocks",
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

fn armed(value_ns: u64, interval_ns: u64) -> Setting {
    Setting {
        deadline_ns: (value_ns > 0).then(|| time::monotonic_ns().saturating_add(value_ns)),
        interval_ns,
    }
}

fn show_timeval(task: &Task, addr: u64, setting: Setting) -> Result<(), Errno> {
    if addr == 0 {
        return Ok(());
    }
    let [a, b] = time::to_timeval(setting.interval_ns);
    let [c, d] = time::to_timeval(setting.left_ns());
    task.mm.write_val(addr, &[a, b, c, d])
}

fn sys_getitimer(task: &mut Task, args: &Args) -> SysResult {
    check_itimer(args.int(0))?;
    let setting = task.process().timers.lock().real();
    show_timeval(task, args.ptr(1), setting)?;
    Ok(Outcome::Value(0))
}

fn check_itimer(which: i32) -> Result<(), Errno> {
    if which == libc::ITIMER_REAL {
        Ok(())
    } else {
        Err(Errno::EINVAL)
    }
}

fn sys_setitimer(task: &mut Task, args: &Args) -> SysResult {
    check_itimer(args.int(0))?;
    let new = match args.ptr(1) {
        0 => Setting::default(),
        at => {
            let [a, b, c, d]: [i64; 4] = task.mm.read_val(at)?;
            armed(from_timeval(c, d)?, from_timeval(a, b)?)
        }
    };
    let process = Arc::clone(task.process());
    let old = process.timers.lock().set_real(&process, new)?;
    show_timeval(task, args.ptr(2), old)?;
    Ok(Outcome::Value(0))
}

fn sys_alarm(task: &mut Task, args: &Args) -> SysResult {
    let new = armed(u64::from(args.uint(0)) * SECOND, 0);
    let process = Arc::clone(task.process());
    let old = process.timers.lock().set_real(&process, new)?;
    let left = old.left_ns();
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

fn sys_timer_create(task: &mut Task, args: &Args) -> SysResult {
    let clock = args.int(0);
    match clock {
        libc::CLOCK_REALTIME | libc::CLOCK_MONOTONIC | libc::CLOCK_BOOTTIME | libc::CLOCK_TAI => {}
        libc::CLOCK_PROCESS_CPUTIME_ID | libc::CLOCK_THREAD_CPUTIME_ID => {
            return Err(Errno::EOPNOTSUPP);
        }
        _ => return Err(Errno::EINVAL),
    }
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

fn show_timespec(task: &Task, addr: u64, setting: Setting) -> Result<(), Errno> {
    let [a, b] = time::to_timespec(setting.interval_ns);
    let [c, d] = time::to_timespec(setting.left_ns());
    task.mm.write_val(addr, &[a, b, c, d])
}

fn sys_timer_settime(task: &mut Task, args: &Args) -> SysResult {
    let [a, b, c, d]: [i64; 4] = task.mm.read_val(args.ptr(2))?;
    let (interval_ns, value) = (time::timespec_ns(a, b)?, time::timespec_ns(c, d)?);
    let timer = task.process().timers.lock().get(args.int(0))?;
    let absolute = args.int(1) & libc::TIMER_ABSTIME != 0;
    let new = if absolute && value > 0 {
        let realtime = [libc::CLOCK_REALTIME, libc::CLOCK_TAI].contains(&timer.clock);
        let at = if realtime {
            time::monotonic_of_realtime(value)
        } else {
            value
        };
        Setting {
            deadline_ns: Some(at),
            interval_ns,
        }
    } else {
        armed(value, interval_ns)
    };
    let old = timer.set(new)?;
    if args.ptr(3) != 0 {
        show_timespec(task, args.ptr(3), old)?;
    }
    Ok(Outcome::Value(0))
}

fn sys_timer_gettime(task: &mut Task, args: &Args) -> SysResult {
    let timer = task.process().timers.lock().get(args.int(0))?;
    show_timespec(task, args.ptr(1), timer.setting())?;
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
