//! timerfd_create, timerfd_settime, timerfd_gettime.

use sentry_abi::Errno;
use sentry_abi::file::{FileTimespec, TimerSpec};

use crate::fs::timerfd::TimerFd;
use crate::syscalls::at::done;
use crate::syscalls::poll::timespec_ns;
use crate::syscalls::table::Row;
use crate::syscalls::{Args, SysResult};
use crate::task::Task;
use crate::time::{monotonic_of_realtime, to_timespec};
use crate::vfs::anon::{AnonName, open_anonymous};
use crate::vfs::attr::FileType;
use crate::vfs::open::OpenFile;

pub(crate) const ROWS: &[Row] = &[
    Row::full(
        libc::SYS_timerfd_create,
        "timerfd_create",
        sys_timerfd_create,
    ),
    Row::partial(
        libc::SYS_timerfd_settime,
        "timerfd_settime",
        sys_timerfd_settime,
        "nobody sets the clock: no TFD_TIMER_CANCEL_ON_SET",
    ),
    Row::full(
        libc::SYS_timerfd_gettime,
        "timerfd_gettime",
        sys_timerfd_gettime,
    ),
];

pub(crate) fn sys_timerfd_create(task: &mut Task, args: &Args) -> SysResult {
    let (clock, flags) = (args.int(0), args.int(1));
    let known = [
        libc::CLOCK_REALTIME,
        libc::CLOCK_MONOTONIC,
        libc::CLOCK_BOOTTIME,
        libc::CLOCK_REALTIME_ALARM,
        libc::CLOCK_BOOTTIME_ALARM,
    ];
    if flags & !(libc::TFD_CLOEXEC | libc::TFD_NONBLOCK) != 0 || !known.contains(&clock) {
        return Err(Errno::EINVAL);
    }
    let file = open_anonymous(
        TimerFd::new(clock),
        AnonName::Anon("[timerfd]"),
        FileType::Regular,
        libc::O_RDWR | flags & libc::O_NONBLOCK,
        (task.creds.fsuid, task.creds.fsgid),
    );
    let cloexec = flags & libc::TFD_CLOEXEC != 0;
    let fd = task.fds.install(file, cloexec, 0, task.nofile_limit())?;
    Ok((fd as u64).into())
}

fn timer_of(file: &OpenFile) -> Result<&TimerFd, Errno> {
    file.ops().as_any().downcast_ref().ok_or(Errno::EINVAL)
}

fn spec((left, interval): (u64, u64)) -> TimerSpec {
    let convert = |ns| {
        let [sec, nsec] = to_timespec(ns);
        FileTimespec { sec, nsec }
    };
    TimerSpec {
        interval: convert(interval),
        value: convert(left),
    }
}

pub(crate) fn sys_timerfd_settime(task: &mut Task, args: &Args) -> SysResult {
    let flags = args.int(1);
    if flags & !(libc::TFD_TIMER_ABSTIME | libc::TFD_TIMER_CANCEL_ON_SET) != 0 {
        return Err(Errno::EINVAL);
    }
    let new: TimerSpec = task.mm.read_val(args.ptr(2))?;
    let (value, interval) = (timespec_ns(new.value)?, timespec_ns(new.interval)?);
    let file = task.fds.get(args.int(0))?;
    let timer = timer_of(&file)?;
    let real = [libc::CLOCK_REALTIME, libc::CLOCK_REALTIME_ALARM].contains(&timer.clock);
    let deadline = match (value, flags & libc::TFD_TIMER_ABSTIME != 0) {
        (0, _) => None,
        (value, true) if real => Some(monotonic_of_realtime(value)),
        (value, true) => Some(value),
        (value, false) => Some(task.now_ns().saturating_add(value)),
    };
    let old = timer.set(deadline, interval)?;
    if args.ptr(3) != 0 {
        task.mm.write_val(args.ptr(3), &spec(old))?;
    }
    done()
}

pub(crate) fn sys_timerfd_gettime(task: &mut Task, args: &Args) -> SysResult {
    let file = task.fds.get(args.int(0))?;
    let left = timer_of(&file)?.left();
    task.mm.write_val(args.ptr(1), &spec(left))?;
    done()
}
