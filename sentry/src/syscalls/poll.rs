//! poll, ppoll, select, pselect6.

use std::sync::Arc;

use sentry_abi::Errno;
use sentry_abi::file::{FileTimespec, PollFd};
use smallvec::SmallVec;
use zerocopy::IntoBytes;

use crate::signals::SigSet;
use crate::syscalls::table::Row;
use crate::syscalls::{Args, Block, OnSignal, QueueRef, SysResult, WaitOn};
use crate::task::Task;
use crate::vfs::fdtable::MAX_FDS;
use crate::vfs::open::OpenFile;
use crate::wait::Ready;

pub(crate) const ROWS: &[Row] = &[
    Row::full(libc::SYS_poll, "poll", sys_poll),
    Row::full(libc::SYS_ppoll, "ppoll", sys_ppoll),
    Row::full(libc::SYS_select, "select", sys_select),
    Row::full(libc::SYS_pselect6, "pselect6", sys_pselect6),
];

/// Nanoseconds of a relative time.
pub(crate) fn timespec_ns(time: FileTimespec) -> Result<u64, Errno> {
    if time.sec < 0 || !(0..1_000_000_000).contains(&time.nsec) {
        return Err(Errno::EINVAL);
    }
    Ok((time.sec as u64)
        .saturating_mul(1_000_000_000)
        .saturating_add(time.nsec as u64))
}

/// Nanoseconds of a timeout in milliseconds; `None` (negative) waits for ever.
pub(crate) fn millis_ns(millis: i32) -> Option<u64> {
    Some(u64::try_from(millis).ok()? * 1_000_000)
}

/// Sets the signal mask that an argument names for the duration of the call.
pub(crate) fn temporary_mask(task: &mut Task, addr: u64, size: usize) -> Result<(), Errno> {
    if addr == 0 {
        return Ok(());
    }
    if size != 8 {
        return Err(Errno::EINVAL);
    }
    let mask: u64 = task.mm.read_val(addr)?;
    task.set_temporary_mask(SigSet(mask));
    Ok(())
}

/// What a call that found nothing does: waits for all of `on`, or gives up.
fn wait_all(
    task: &mut Task,
    on: SmallVec<[WaitOn; 2]>,
    timeout_ns: Option<u64>,
    interrupted: OnSignal,
) -> Option<Block> {
    if timeout_ns == Some(0) || task.call_state.timed_out {
        return None;
    }
    let deadline_ns = timeout_ns.map(|timeout| task.deadline_after(timeout));
    Some(Block {
        on,
        deadline_ns,
        interrupted,
    })
}

fn wait_on(file: &Arc<OpenFile>, mask: Ready) -> Option<WaitOn> {
    file.ops().wait_queue()?;
    Some(WaitOn {
        queue: QueueRef::File(Arc::clone(file.ops())),
        mask,
    })
}

fn poll(
    task: &mut Task,
    addr: u64,
    count: u64,
    timeout_ns: Option<u64>,
    interrupted: OnSignal,
) -> SysResult {
    if count > task.nofile_limit().min(MAX_FDS) {
        return Err(Errno::EINVAL);
    }
    let mut fds = vec![PollFd::default(); count as usize];
    task.mm.read(addr, fds.as_mut_bytes())?;
    let mut on = SmallVec::new();
    let mut found = 0u64;
    for fd in &mut fds {
        fd.revents = 0;
        if fd.fd < 0 {
            continue;
        }
        let Ok(file) = task.fds.get(fd.fd) else {
            fd.revents = libc::POLLNVAL;
            found += 1;
            continue;
        };
        let asked = Ready::from_bits_truncate(u32::from(fd.events as u16));
        let wanted = asked | Ready::ERR | Ready::HUP;
        fd.revents = (file.readiness() & wanted).bits() as i16;
        if fd.revents != 0 {
            found += 1;
        } else {
            on.extend(wait_on(&file, wanted));
        }
    }
    if found == 0
        && let Some(block) = wait_all(task, on, timeout_ns, interrupted)
    {
        return Ok(block.into());
    }
    task.mm.write(addr, fds.as_bytes())?;
    Ok(found.into())
}

pub(crate) fn sys_poll(task: &mut Task, args: &Args) -> SysResult {
    let timeout = millis_ns(args.int(2));
    let count = u64::from(args.uint(1));
    poll(
        task,
        args.ptr(0),
        count,
        timeout,
        OnSignal::RestartWithState,
    )
}

/// The timeout at `addr`; `None` waits for ever.
pub(crate) fn read_timeout(task: &Task, addr: u64) -> Result<Option<u64>, Errno> {
    if addr == 0 {
        return Ok(None);
    }
    timespec_ns(task.mm.read_val(addr)?).map(Some)
}

/// Writes what is left of the timeout back, as ppoll(2) and select(2) do.
fn write_left(task: &Task, addr: u64, result: &SysResult, unit_ns: i64) {
    let ended = !matches!(result, Ok(crate::syscalls::Outcome::Block(_)));
    let Some(deadline) = task.call_state.deadline_ns.filter(|_| ended && addr != 0) else {
        return;
    };
    let left = deadline.saturating_sub(task.now_ns()) as i64;
    let value = [left / 1_000_000_000, left % 1_000_000_000 / unit_ns];
    // A timeout in read-only memory is no error of the call.
    let _ = task.mm.write_val(addr, &value);
}

pub(crate) fn sys_ppoll(task: &mut Task, args: &Args) -> SysResult {
    // On later attempts the deadline is known; the memory may hold anything by then.
    let timeout = match task.call_state.deadline_ns {
        Some(_) => Some(u64::MAX),
        None => read_timeout(task, args.ptr(2))?,
    };
    temporary_mask(task, args.ptr(3), args.size(4))?;
    let count = u64::from(args.uint(1));
    let how = OnSignal::RestartUnlessHandled;
    let result = poll(task, args.ptr(0), count, timeout, how);
    write_left(task, args.ptr(2), &result, 1);
    result
}

/// One of select's sets: the bits asked for, and those found.
struct FdSet {
    addr: u64,
    asked: Vec<u64>,
    found: Vec<u64>,
    means: Ready,
}

impl FdSet {
    fn read(task: &Task, addr: u64, count: usize, means: Ready) -> Result<Self, Errno> {
        let mut asked = vec![0u64; count.div_ceil(64)];
        if addr != 0 {
            task.mm.read(addr, asked.as_mut_bytes())?;
        }
        Ok(Self {
            addr,
            found: vec![0; asked.len()],
            asked,
            means,
        })
    }

    fn asks(&self, fd: usize) -> bool {
        self.asked[fd / 64] & (1 << (fd % 64)) != 0
    }
}

fn select(
    task: &mut Task,
    args: &Args,
    timeout_ns: Option<u64>,
    interrupted: OnSignal,
) -> SysResult {
    let count = usize::try_from(args.int(0)).map_err(|_| Errno::EINVAL)?;
    // Linux looks no further than the table reaches.
    let count = count.min(task.fds.capacity().next_multiple_of(64));
    let readable = Ready::IN | Ready::RDNORM | Ready::HUP | Ready::ERR;
    let writable = Ready::OUT | Ready::WRNORM | Ready::ERR;
    let mut sets = [
        FdSet::read(task, args.ptr(1), count, readable)?,
        FdSet::read(task, args.ptr(2), count, writable)?,
        FdSet::read(task, args.ptr(3), count, Ready::PRI)?,
    ];
    let mut on = SmallVec::new();
    let mut total = 0u64;
    for fd in 0..count {
        let asking = sets.iter().filter(|set| set.asks(fd));
        let wanted = asking.fold(Ready::empty(), |all, set| all | set.means);
        if wanted.is_empty() {
            continue;
        }
        let file = task.fds.get(fd as i32)?;
        let ready = file.readiness();
        for set in &mut sets {
            if set.asks(fd) && ready.intersects(set.means) {
                set.found[fd / 64] |= 1 << (fd % 64);
                total += 1;
            }
        }
        on.extend(wait_on(&file, wanted));
    }
    if total == 0
        && let Some(block) = wait_all(task, on, timeout_ns, interrupted)
    {
        return Ok(block.into());
    }
    for set in sets.iter().filter(|set| set.addr != 0) {
        task.mm.write(set.addr, set.found.as_bytes())?;
    }
    Ok(total.into())
}

pub(crate) fn sys_select(task: &mut Task, args: &Args) -> SysResult {
    let timeout = match (task.call_state.deadline_ns, args.ptr(4)) {
        (Some(_), _) => Some(u64::MAX),
        (None, 0) => None,
        (None, addr) => {
            let [sec, usec]: [i64; 2] = task.mm.read_val(addr)?;
            let whole = sec.saturating_add(usec / 1_000_000);
            Some(timespec_ns(FileTimespec {
                sec: whole,
                nsec: usec % 1_000_000 * 1000,
            })?)
        }
    };
    let result = select(task, args, timeout, OnSignal::RestartUnlessHandled);
    write_left(task, args.ptr(4), &result, 1000);
    result
}

pub(crate) fn sys_pselect6(task: &mut Task, args: &Args) -> SysResult {
    let timeout = match task.call_state.deadline_ns {
        Some(_) => Some(u64::MAX),
        None => read_timeout(task, args.ptr(4))?,
    };
    if args.ptr(5) != 0 {
        let [mask, size]: [u64; 2] = task.mm.read_val(args.ptr(5))?;
        temporary_mask(task, mask, size as usize)?;
    }
    let result = select(task, args, timeout, OnSignal::RestartUnlessHandled);
    write_left(task, args.ptr(4), &result, 1);
    result
}
