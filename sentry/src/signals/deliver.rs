//! What becomes of the pending signals of a task, on its own thread.

use std::sync::atomic::Ordering;

use crate::signals::action::{Default, SIG_DFL, SIG_IGN, SigAction, default_action};
use crate::signals::{SigInfo, SigSet};
use crate::task::Task;
use crate::task::shared::RunState;

/// What looking at the signals and stop requests led to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Attended {
    /// Nothing is to be done.
    Nothing,
    /// The process was stopped and goes on.
    Continued,
    /// A handler is to run (`ThreadSignals::ready`).
    Handler,
    /// The task ends (its exit status is set).
    Exit,
}

/// Looks at everything that others want of this task: its end, a stop, signals.
pub(crate) fn attend(task: &mut Task) -> Attended {
    let mut result = Attended::Nothing;
    loop {
        task.shared.take_attention();
        if must_end(task) {
            return Attended::Exit;
        }
        if task.process().stopped.load(Ordering::SeqCst) {
            stay_stopped(task);
            result = Attended::Continued;
            continue;
        }
        if task.signals.ready.is_some() {
            return Attended::Handler;
        }
        let Some(info) = dequeue(task, !task.shared.mask()) else {
            if task.shared.wants_attention() {
                continue;
            }
            return result;
        };
        act(task, info);
        if task.exit_status.is_some() {
            return Attended::Exit;
        }
    }
}

/// True if the whole process, or this thread for an execve of another, is to end.
pub(crate) fn must_end(task: &mut Task) -> bool {
    if task.exit_status.is_some() {
        return true;
    }
    let process = task.process();
    if let Some(status) = process.group_exit_status() {
        task.exit_status = Some(status);
        return true;
    }
    let killer = process.exec_by.load(Ordering::SeqCst);
    if killer != 0 && killer != task.tid() {
        task.exit_status = Some(0);
        return true;
    }
    false
}

fn stay_stopped(task: &mut Task) {
    task.shared.set_state(RunState::Stopped);
    while task.process().stopped.load(Ordering::SeqCst) && !must_end(task) {
        task.shared.parker.reset();
        if task.process().stopped.load(Ordering::SeqCst) && !must_end(task) {
            task.shared.parker.park(None);
        }
    }
    task.shared.set_state(RunState::Running);
}

/// Takes the next pending signal of `wanted`, the thread's own first.
pub(crate) fn dequeue(task: &Task, wanted: SigSet) -> Option<SigInfo> {
    let own = task.shared.pending.lock().take(wanted);
    own.or_else(|| task.process().signals.lock().pending.take(wanted))
}

/// Does what the action of a dequeued signal says.
fn act(task: &mut Task, info: SigInfo) {
    let actions = task.process().actions();
    let action = actions.get(info.signo);
    match action.handler {
        SIG_IGN => {}
        SIG_DFL => default(task, info),
        _ => {
            if action.has(libc::SA_RESETHAND) {
                actions.set(info.signo, SigAction::default());
            }
            task.signals.ready = Some((info, action));
        }
    }
}

fn default(task: &mut Task, info: SigInfo) {
    // The first process of the sandbox is spared: what it had blocked until now (`SIGNAL_UNKILLABLE`).
    if task.pid() == 1 && !task.kernel.tree.lock().first_is_ordinary {
        return;
    }
    match default_action(info.signo) {
        Default::Ignore | Default::Continue => {}
        Default::Stop => crate::task::job::stop_process(task, info.signo),
        Default::Terminate => end_process(task, info.signo),
        Default::Core => end_process(task, info.signo),
    }
}

/// Ends the whole process with a signal.
pub(crate) fn end_process(task: &mut Task, signo: i32) {
    task.process().begin_group_exit(signo);
    task.kernel.clone().kick_process(task.pid());
    must_end(task);
}

/// Raises a signal that the running code has brought upon itself: blocked or ignored, it ends the
/// process.
pub(crate) fn force(task: &mut Task, info: SigInfo) {
    crate::syscalls::strace::signal(task, &info);
    let actions = task.process().actions();
    let action = actions.get(info.signo);
    let blocked = task.shared.mask().contains(info.signo);
    if blocked || action.handler == SIG_IGN || action.handler == SIG_DFL {
        if default_action(info.signo) == Default::Core || blocked {
            return end_process(task, info.signo);
        }
        actions.set(info.signo, SigAction::default());
    }
    // Only real-time queues can be full.
    let _ = task.shared.pending.lock().push(info);
    task.shared.kick();
}
