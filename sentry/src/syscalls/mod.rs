//! System calls: how a handler is called and what it may answer.
//!
//! A handler never blocks. It attempts the operation; if that would have to wait it returns
//! [`Outcome::Block`] and is called again, from the start, when one of the named queues fires, the
//! deadline passes or a signal arrives. What must survive between the attempts (a deadline computed
//! once, bytes already written) is in `Task::call_state`, as data.

mod at;
mod clock;
pub mod coverage;
mod creds;
mod dir;
pub(crate) mod dispatch;
mod epoll;
mod fd;
mod file_io;
mod file_meta;
mod futex;
mod ids;
mod inotify;
mod interface;
pub(crate) mod limits;
pub(crate) mod membarrier;
mod memory;
mod mount;
mod open;
mod path;
mod poll;
mod prctl;
mod process;
pub(crate) mod sched;
mod sigio;
mod signal;
mod signalfd;
mod socket;
mod socket_msg;
mod special;
mod stat;
mod storage;
pub mod strace;
pub mod sysinfo;
pub mod table;
mod timer;
mod timerfd;
mod transfer;
mod xattr;

use std::sync::Arc;

use sentry_abi::{Errno, Regs};
use smallvec::SmallVec;

use crate::vfs::file::FileOps;
use crate::wait::{Ready, WaitQueue};

pub use table::{Handler, Row};

/// Arguments, in order, as the registers hold them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Args(pub [u64; 6]);

impl Args {
    /// Arguments of the call that `regs` make.
    pub fn of(regs: &Regs) -> Self {
        Self([regs.rdi, regs.rsi, regs.rdx, regs.r10, regs.r8, regs.r9])
    }

    /// Argument `n` as a C `int` (upper half ignored, as Linux does).
    pub fn int(&self, n: usize) -> i32 {
        self.0[n] as i32
    }

    /// Argument `n` as a C `unsigned int`.
    pub fn uint(&self, n: usize) -> u32 {
        self.0[n] as u32
    }

    /// Argument `n` as a pointer or `unsigned long`.
    pub fn ptr(&self, n: usize) -> u64 {
        self.0[n]
    }

    /// Argument `n` as `long`.
    pub fn long(&self, n: usize) -> i64 {
        self.0[n] as i64
    }

    /// Argument `n` as a `size_t`.
    pub fn size(&self, n: usize) -> usize {
        self.0[n] as usize
    }
}

/// What a handler answers. `Err(Errno)` is the plain error.
pub enum Outcome {
    /// The call returns this value.
    Value(u64),
    /// The call has to wait.
    Block(Block),
    /// The handler has set the registers itself (execve, rt_sigreturn): leave `rax` alone.
    RegistersSet,
    /// The task ends: exit, exit_group, or a fatal signal. The task's exit state has been set.
    Exit,
}

/// The result of a handler.
pub type SysResult = Result<Outcome, Errno>;

impl From<u64> for Outcome {
    fn from(value: u64) -> Self {
        Self::Value(value)
    }
}

impl From<usize> for Outcome {
    fn from(value: usize) -> Self {
        Self::Value(value as u64)
    }
}

/// What a call waits for.
pub struct Block {
    /// Any of these queues firing makes the call be tried again.
    pub on: SmallVec<[WaitOn; 2]>,
    /// When to stop waiting (monotonic guest clock, nanoseconds); the handler is then called once
    /// more with `call_state.timed_out` set, and gives the final answer.
    pub deadline_ns: Option<u64>,
    /// What a signal does to the call.
    pub interrupted: OnSignal,
}

impl Block {
    /// Waits until `mask` may be true of `file`; interrupted calls restart if the handler says so.
    pub fn on_file(file: &Arc<dyn FileOps>, mask: Ready) -> Self {
        Self::on(QueueRef::File(Arc::clone(file)), mask)
    }

    /// Waits on a queue of its own.
    pub fn on_queue(queue: &Arc<WaitQueue>, mask: Ready) -> Self {
        Self::on(QueueRef::Own(Arc::clone(queue)), mask)
    }

    fn on(queue: QueueRef, mask: Ready) -> Self {
        Self {
            on: smallvec::smallvec![WaitOn { queue, mask }],
            deadline_ns: None,
            interrupted: OnSignal::RestartIfAsked,
        }
    }

    /// Waits for a signal or the deadline only.
    pub fn idle() -> Self {
        Self {
            on: SmallVec::new(),
            deadline_ns: None,
            interrupted: OnSignal::Interrupt,
        }
    }

    /// Until `deadline_ns` (monotonic guest clock) at the latest.
    #[must_use]
    pub fn until(mut self, deadline_ns: Option<u64>) -> Self {
        self.deadline_ns = deadline_ns;
        self
    }

    /// With this effect of signals.
    #[must_use]
    pub fn on_signal(mut self, interrupted: OnSignal) -> Self {
        self.interrupted = interrupted;
        self
    }
}

impl From<Block> for Outcome {
    fn from(block: Block) -> Self {
        Self::Block(block)
    }
}

/// One queue to wait on.
pub struct WaitOn {
    /// Who owns the queue.
    pub queue: QueueRef,
    /// What to wait for.
    pub mask: Ready,
}

/// A wait queue kept alive by what owns it.
pub enum QueueRef {
    /// A queue of its own.
    Own(Arc<WaitQueue>),
    /// The queue of an open file's backend.
    File(Arc<dyn FileOps>),
}

/// What becomes of a waiting call when a signal is delivered (Linux's ERESTART codes, as data).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnSignal {
    /// ERESTARTSYS: restart if the handler has SA_RESTART, else EINTR.
    RestartIfAsked,
    /// ERESTARTNOHAND: restart if no handler runs, else EINTR.
    RestartUnlessHandled,
    /// ERESTART_RESTARTBLOCK: as above, but continues with the time that is left (`call_state` is kept).
    RestartWithState,
    /// EINTR always.
    Interrupt,
    /// Signals wait until the call is done; only the end of the task ends it (vfork).
    Never,
}

/// How far a call is supported.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Support {
    /// As Linux does.
    Full,
    /// With limits that the note names.
    Partial,
    /// Answers the errno that the note names, always.
    Refused,
    /// Not served: ENOSYS, counted.
    None,
}
