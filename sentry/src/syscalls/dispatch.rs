//! Serving one system call of a task.

use sentry_abi::Errno;

use crate::syscalls::table::{self, Row};
use crate::syscalls::{Args, Outcome, SysResult, strace};
use crate::task::Task;
use crate::task::block::{self, Waited};

/// Serves the call that `task.regs` make, and leaves its result there.
pub(crate) fn serve(task: &mut Task) {
    let number = task.regs.orig_rax;
    let args = Args::of(&task.regs);
    task.call_state.reset();
    let Some(row) = table::row(number) else {
        task.kernel.count_unimplemented(number);
        task.regs.rax = Errno::ENOSYS.to_return();
        return;
    };
    let traced = task.kernel.strace().is_some();
    let shown = traced.then(|| strace::enter(task, row, &args));
    let waited = attempt(task, row, &args);
    if let Some(shown) = shown {
        strace::leave(task, row, &args, shown, &waited);
    }
    match waited {
        Waited::Done(result) => finish(task, result),
        Waited::Restart => restart(task),
    }
}

#[inline]
fn attempt(task: &mut Task, row: &Row, args: &Args) -> Waited {
    match (row.handler)(task, args) {
        Ok(Outcome::Block(first)) => block::wait(task, row.handler, args, first),
        result => Waited::Done(result),
    }
}

#[inline]
fn finish(task: &mut Task, result: SysResult) {
    match result {
        Ok(Outcome::Value(value)) => task.regs.rax = value,
        Ok(Outcome::RegistersSet | Outcome::Exit) => {}
        // `attempt` turns waiting into a result.
        Ok(Outcome::Block(_)) => task.regs.rax = Errno::EINTR.to_return(),
        Err(errno) => task.regs.rax = errno.to_return(),
    }
}

/// Makes the `syscall` instruction run again, with the number it had.
fn restart(task: &mut Task) {
    task.regs.rax = task.regs.orig_rax;
    task.regs.rip = task.regs.rip.wrapping_sub(2);
}
