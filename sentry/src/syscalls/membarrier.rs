//! membarrier(2).
//!
//! Each barrier is one of the host's over every thread of the machine (MEMBARRIER_CMD_GLOBAL, a grace
//! period): only the stubs themselves could ask for a cheaper one, and guest threads may not. It costs
//! milliseconds; a process with one thread needs none.

use std::sync::atomic::Ordering;

use sentry_abi::Errno;

use crate::syscalls::{Args, Outcome, Row, SysResult};
use crate::task::Task;

pub(crate) const ROWS: &[Row] = &[Row::partial(
    libc::SYS_membarrier,
    "membarrier",
    sys_membarrier,
    "global and private expedited commands, each a barrier of the whole machine; no SYNC_CORE, no RSEQ",
)];

/// Commands (linux/membarrier.h), which are bits of what QUERY answers.
const QUERY: i32 = 0;
const GLOBAL: i32 = 1;
const GLOBAL_EXPEDITED: i32 = 2;
const REGISTER_GLOBAL_EXPEDITED: i32 = 4;
const PRIVATE_EXPEDITED: i32 = 8;
const REGISTER_PRIVATE_EXPEDITED: i32 = 16;

fn sys_membarrier(task: &mut Task, args: &Args) -> SysResult {
    if args.uint(1) != 0 {
        return Err(Errno::EINVAL);
    }
    let registered = &task.process().membarrier;
    match args.int(0) {
        QUERY => return Ok(Outcome::Value(offered() as u64)),
        REGISTER_GLOBAL_EXPEDITED | REGISTER_PRIVATE_EXPEDITED if offered() & args.int(0) != 0 => {
            registered.fetch_or(args.int(0), Ordering::SeqCst);
        }
        PRIVATE_EXPEDITED => {
            if registered.load(Ordering::SeqCst) & REGISTER_PRIVATE_EXPEDITED == 0 {
                return Err(Errno::EPERM);
            }
            if threads(task) > 1 {
                barrier()?;
            }
        }
        GLOBAL | GLOBAL_EXPEDITED if offered() & args.int(0) != 0 => barrier()?,
        _ => return Err(Errno::EINVAL),
    }
    Ok(Outcome::Value(0))
}

fn threads(task: &Task) -> usize {
    let tree = task.kernel.tree.lock();
    tree.node(task.pid()).map_or(1, |node| node.threads.len())
}

/// Everything, if the host has its barrier (it has none where CPUs run without ticks).
fn offered() -> i32 {
    let all = GLOBAL
        | GLOBAL_EXPEDITED
        | REGISTER_GLOBAL_EXPEDITED
        | PRIVATE_EXPEDITED
        | REGISTER_PRIVATE_EXPEDITED;
    if crate::platform::has_barrier() {
        all
    } else {
        0
    }
}

/// Every thread of the machine has passed a full barrier when this returns.
fn barrier() -> Result<(), Errno> {
    crate::platform::barrier()
}
