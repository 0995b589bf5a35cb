//! Futexes that carry their owner's thread id (FUTEX_LOCK_PI). Ownership is handed over by the kernel;
//! priorities are not inherited, since the Sentry's tasks have none.

use std::sync::Arc;

use sentry_abi::Errno;

use super::{ANY, begin, new_waiter, resumed};
use crate::syscalls::{Outcome, SysResult};
use crate::task::Task;

/// FUTEX_WAITERS, FUTEX_OWNER_DIED, FUTEX_TID_MASK.
pub(super) const WAITERS: u32 = 0x8000_0000;
pub(super) const OWNER_DIED: u32 = 0x4000_0000;
pub(super) const TID_MASK: u32 = 0x3fff_ffff;

/// Takes the lock at `addr`; with `wait`, waits for it.
///
/// # Errors
/// EDEADLK, EAGAIN (not waiting), ESRCH (no such owner), ETIMEDOUT, EFAULT, EINVAL.
pub(crate) fn lock_pi(
    task: &mut Task,
    addr: u64,
    shared: bool,
    wait: bool,
    deadline_ns: Option<u64>,
) -> SysResult {
    if let Some(answer) = resumed(task, deadline_ns)? {
        return Ok(answer);
    }
    let key = task.mm.futex_key(addr, shared)?;
    let tid = task.tid() as u32;
    let kernel = Arc::clone(&task.kernel);
    let index = kernel.futexes.index(&key);
    let waiter = {
        let mut bucket = kernel.futexes.buckets[index].lock();
        let mut seen = task.mm.atomic_u32_load(addr)?;
        loop {
            let owner = seen & TID_MASK;
            if owner == tid {
                return Err(Errno::EDEADLK);
            }
            let free = owner == 0;
            if !free && !wait {
                return Err(Errno::EAGAIN);
            }
            let new = if free {
                tid | seen & !TID_MASK
            } else {
                seen | WAITERS
            };
            let was = task.mm.atomic_u32_cmpxchg(addr, seen, new)?;
            if was != seen {
                seen = was;
                continue;
            }
            if free {
                return Ok(Outcome::Value(0));
            }
            break;
        }
        if kernel.tree.lock().task((seen & TID_MASK) as i32).is_none() {
            return Err(Errno::ESRCH);
        }
        let waiter = new_waiter(task, key, index, ANY, true);
        bucket.push(Arc::clone(&waiter));
        waiter
    };
    Ok(begin(task, waiter, deadline_ns, 0))
}

/// Gives the lock at `addr` to the first that waits for it.
///
/// # Errors
/// EPERM if the caller is not the owner, EFAULT, EINVAL, EAGAIN (contended for too long).
pub(crate) fn unlock_pi(task: &Task, addr: u64, shared: bool) -> Result<(), Errno> {
    let owner = task.mm.atomic_u32_load(addr)? & TID_MASK;
    if owner != task.tid() as u32 {
        return Err(Errno::EPERM);
    }
    hand_over(task, addr, shared, 0)
}

/// Makes the first waiter the owner of the lock, or nobody; `died` is OWNER_DIED or 0.
pub(super) fn hand_over(task: &Task, addr: u64, shared: bool, died: u32) -> Result<(), Errno> {
    let key = task.mm.futex_key(addr, shared)?;
    let table = &task.kernel.futexes;
    let mut bucket = table.buckets[table.index(&key)].lock();
    let waits = |waiter: &&Arc<super::Waiter>| waiter.pi && *waiter.key.lock() == key;
    let mut waiting = bucket.iter().filter(waits);
    let next = waiting.next().cloned();
    let more = waiting.next().is_some();
    let new = match &next {
        Some(waiter) => waiter.tid as u32 | died | if more { WAITERS } else { 0 },
        None => died,
    };
    task.mm.atomic_u32_fetch_op(addr, |_| new)?;
    if let Some(next) = next {
        bucket.retain(|waiter| !Arc::ptr_eq(waiter, &next));
        next.wake();
    }
    Ok(())
}
