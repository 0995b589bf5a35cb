//! futex(2).

use sentry_abi::Errno;

use crate::syscalls::{Args, Outcome, Row, SysResult};
use crate::task::{Task, futex};
use crate::time;

pub(crate) const ROWS: &[Row] = &[
    Row::partial(
        libc::SYS_futex,
        "futex",
        sys_futex,
        "priorities are not inherited; no requeue to a priority-inheritance futex",
    ),
    Row::full(libc::SYS_futex_waitv, "futex_waitv", sys_futex_waitv),
];

/// `struct futex_waitv`: value, address, flags and a reserved word.
type WaitvEntry = [u64; 3];

/// Most entries (FUTEX_WAITV_MAX).
const WAITV_MAX: u32 = 128;

/// FUTEX2_SIZE_U32, and the flag bits that are known beside it.
const SIZE_U32: u32 = 2;
const PRIVATE: u32 = libc::FUTEX_PRIVATE_FLAG as u32;

fn sys_futex_waitv(task: &mut Task, args: &Args) -> SysResult {
    let (count, clock) = (args.uint(1), args.int(4));
    if args.uint(2) != 0 || !(1..=WAITV_MAX).contains(&count) || args.ptr(0) == 0 {
        return Err(Errno::EINVAL);
    }
    let deadline = match (args.ptr(3), clock) {
        (0, _) => None,
        (_, libc::CLOCK_MONOTONIC) => absolute(task, args.ptr(3), false)?,
        (_, libc::CLOCK_REALTIME) => absolute(task, args.ptr(3), true)?,
        _ => return Err(Errno::EINVAL),
    };
    let mut words = Vec::with_capacity(count as usize);
    for place in 0..u64::from(count) {
        let at = args.ptr(0) + place * size_of::<WaitvEntry>() as u64;
        let [value, addr, flags]: WaitvEntry = task.mm.read_val(at)?;
        // The upper half is reserved. Values of 32 bits are all there is.
        let known = u32::try_from(flags).is_ok_and(|flags| flags & !PRIVATE == SIZE_U32);
        let expected = u32::try_from(value).ok().filter(|_| known);
        words.push(futex::Word {
            addr,
            shared: flags as u32 & PRIVATE == 0,
            expected: expected.ok_or(Errno::EINVAL)?,
        });
    }
    futex::wait_any(task, &words, deadline)
}

fn sys_futex(task: &mut Task, args: &Args) -> SysResult {
    let op = args.int(1);
    let command = op & !(libc::FUTEX_PRIVATE_FLAG | libc::FUTEX_CLOCK_REALTIME);
    let shared = op & libc::FUTEX_PRIVATE_FLAG == 0;
    let realtime = op & libc::FUTEX_CLOCK_REALTIME != 0;
    let addr = args.ptr(0);
    let value = args.uint(2);
    let counts = (count(args.int(2))?, count_of(command, args.0[3] as i32)?);
    let done = |woken: usize| Ok(Outcome::from(woken));
    match command {
        libc::FUTEX_WAIT => {
            let deadline = relative(task, args.ptr(3))?;
            futex::wait(task, addr, shared, value, futex::ANY, deadline)
        }
        libc::FUTEX_WAIT_BITSET => {
            let deadline = absolute(task, args.ptr(3), realtime)?;
            futex::wait(task, addr, shared, value, args.uint(5), deadline)
        }
        libc::FUTEX_WAKE => {
            let key = task.mm.futex_key(addr, shared)?;
            done(task.kernel.futexes.wake(&key, counts.0, futex::ANY))
        }
        libc::FUTEX_WAKE_BITSET => {
            if args.uint(5) == 0 {
                return Err(Errno::EINVAL);
            }
            let key = task.mm.futex_key(addr, shared)?;
            done(task.kernel.futexes.wake(&key, counts.0, args.uint(5)))
        }
        libc::FUTEX_REQUEUE => done(futex::requeue(
            task,
            addr,
            args.ptr(4),
            shared,
            counts,
            None,
        )?),
        libc::FUTEX_CMP_REQUEUE => done(futex::requeue(
            task,
            addr,
            args.ptr(4),
            shared,
            counts,
            Some(args.uint(5)),
        )?),
        libc::FUTEX_WAKE_OP => done(futex::wake_op(
            task,
            (addr, args.ptr(4)),
            shared,
            counts,
            args.uint(5),
        )?),
        libc::FUTEX_LOCK_PI => {
            let deadline = absolute(task, args.ptr(3), true)?;
            futex::lock_pi(task, addr, shared, true, deadline)
        }
        FUTEX_LOCK_PI2 => {
            let deadline = absolute(task, args.ptr(3), realtime)?;
            futex::lock_pi(task, addr, shared, true, deadline)
        }
        libc::FUTEX_TRYLOCK_PI => futex::lock_pi(task, addr, shared, false, None),
        libc::FUTEX_UNLOCK_PI => futex::unlock_pi(task, addr, shared).map(|()| Outcome::Value(0)),
        _ => Err(Errno::ENOSYS),
    }
}

/// FUTEX_LOCK_PI2.
const FUTEX_LOCK_PI2: i32 = 13;

/// Linux wakes at least one, even if asked for none or fewer.
fn count(given: i32) -> Result<usize, Errno> {
    Ok(given.max(1) as usize)
}

/// The fourth argument as a count, where it is one.
fn count_of(command: i32, given: i32) -> Result<usize, Errno> {
    let counts = [
        libc::FUTEX_REQUEUE,
        libc::FUTEX_CMP_REQUEUE,
        libc::FUTEX_WAKE_OP,
    ];
    if !counts.contains(&command) {
        return Ok(0);
    }
    usize::try_from(given).map_err(|_| Errno::EINVAL)
}

fn relative(task: &mut Task, addr: u64) -> Result<Option<u64>, Errno> {
    if addr == 0 {
        return Ok(None);
    }
    let timeout = time::read_timespec(task, addr)?;
    Ok(Some(task.deadline_after(timeout)))
}

fn absolute(task: &mut Task, addr: u64, realtime: bool) -> Result<Option<u64>, Errno> {
    if addr == 0 {
        return Ok(None);
    }
    let at = time::read_timespec(task, addr)?;
    Ok(Some(if realtime {
        time::monotonic_of_realtime(at)
    } else {
        at
    }))
}
