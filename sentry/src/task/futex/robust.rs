//! What a thread that ends does for its futexes: the robust list, and the word of set_tid_address.

use sentry_abi::Errno;

use super::ANY;
use super::pi::{OWNER_DIED, TID_MASK, WAITERS, hand_over};
use crate::task::Task;

/// Entries of a robust list that are looked at (Linux's ROBUST_LIST_LIMIT): the list is the guest's.
const LIMIT: usize = 2048;

/// Marks the locks on the robust list as given up, clears the word of set_tid_address and wakes who waits
/// for it. For a thread that ends or executes a program.
pub(crate) fn release_thread(task: &mut Task) {
    if task.robust_list != 0 {
        // A list that cannot be read ends there, as in Linux.
        let _ = walk(task, task.robust_list);
        task.robust_list = 0;
    }
    let addr = std::mem::take(&mut task.clear_child_tid);
    if addr != 0
        && task.mm.write_val(addr, &0u32).is_ok()
        && let Ok(key) = task.mm.futex_key(addr, true)
    {
        task.kernel.futexes.wake(&key, 1, ANY);
    }
}

fn walk(task: &Task, head: u64) -> Result<(), Errno> {
    let [first, offset, pending]: [u64; 3] = task.mm.read_val(head)?;
    let mut at = first;
    for _ in 0..LIMIT {
        if at & !1 == head {
            break;
        }
        let next: u64 = task.mm.read_val(at & !1)?;
        if at & !1 != pending & !1 {
            owner_died(task, at, offset)?;
        }
        at = next;
    }
    if pending != 0 {
        owner_died(task, pending, offset)?;
    }
    Ok(())
}

/// The lowest bit of an entry says that the lock is a priority-inheritance one.
fn owner_died(task: &Task, entry: u64, offset: u64) -> Result<(), Errno> {
    let (addr, pi) = ((entry & !1).wrapping_add(offset), entry & 1 != 0);
    let word = task.mm.atomic_u32_load(addr)?;
    if word & TID_MASK != task.tid() as u32 {
        return Ok(());
    }
    if pi {
        return hand_over(task, addr, true, OWNER_DIED);
    }
    let was = task
        .mm
        .atomic_u32_fetch_op(addr, |word| word & WAITERS | OWNER_DIED)?;
    if was & WAITERS != 0 {
        let key = task.mm.futex_key(addr, true)?;
        task.kernel.futexes.wake(&key, 1, ANY);
    }
    Ok(())
}
