//! The run loop of a task: guest code until something happens, then what that asks for.

use std::cell::RefCell;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use crate::platform::{Access, Event};
use crate::signals::deliver::{self, Attended};
use crate::signals::{SigInfo, frame};
use crate::syscalls::dispatch;
use crate::task::{Task, TaskShared, exit};
use crate::time::cpu_timers;

/// Stack of a Sentry thread that runs a guest task. Handlers are shallow; pages are only committed when
/// touched.
const STACK: usize = 512 << 10;

thread_local! {
    static CURRENT: RefCell<Option<Arc<TaskShared>>> = const { RefCell::new(None) };
}

/// The task that the calling thread runs, for files that show each caller his own.
pub(crate) fn current() -> Option<Arc<TaskShared>> {
    CURRENT.with_borrow(Option::clone)
}

/// `task` is what the calling thread runs from now on (it begins, or goes on under another id).
pub(crate) fn set_current(task: &Arc<TaskShared>) {
    CURRENT.set(Some(Arc::clone(task)));
}

/// Starts the Sentry thread of a task.
///
/// # Errors
/// The host's, if no thread can be had; the task is given back.
pub(crate) fn start(task: Task) -> std::io::Result<()> {
    let name = format!("task-{}", task.tid());
    let builder = std::thread::Builder::new().name(name).stack_size(STACK);
    builder.spawn(move || run(task)).map(drop)
}

fn run(mut task: Task) {
    task.shared.parker.attach();
    set_current(&task.shared);
    task.shared.set_interrupt(task.context.interrupt_handle());
    // The first look of a process that begins with a limit.
    cpu_timers::check(&task);
    let outcome = std::panic::catch_unwind(AssertUnwindSafe(|| while step(&mut task) {}));
    if outcome.is_err() {
        // A defect of the Sentry: only this process pays for it.
        deliver::end_process(&mut task, libc::SIGKILL);
    }
    exit::finish(task);
}

/// One stay in guest code and what it led to; false when the task has ended.
fn step(task: &mut Task) -> bool {
    if task.shared.wants_attention() {
        if task.shared.take_account_request() {
            account(task);
        }
        cpu_timers::check(task);
    }
    let unsettled = task.signals.ready.is_some() || task.signals.saved_mask.is_some();
    if (unsettled || task.shared.wants_attention()) && !settle(task) {
        return false;
    }
    if !task.shared.enter_guest() {
        return true;
    }
    let event = task.context.run(&mut task.regs);
    task.shared.leave_guest();
    match event {
        Ok(Event::Syscall) => {
            patch_if_hot(task);
            dispatch::serve(task);
        }
        Ok(Event::Fault { addr, access }) => fault(task, addr, access),
        Ok(Event::Exception { signo, code, addr }) => {
            task.regs.orig_rax = u64::MAX;
            deliver::force(task, SigInfo::fault(signo, code, addr));
        }
        Ok(Event::Interrupted) => task.regs.orig_rax = u64::MAX,
        Err(_) => deliver::end_process(task, libc::SIGKILL),
    }
    task.exit_status.is_none()
}

/// Traps at one place before its instructions are replaced: what that costs is won back after as many.
const PATCH_AFTER: u32 = 32;
/// The same for a place that takes a search through the code, which is done again after twice as many.
const SEARCH_AFTER: u32 = 1024;

/// Replaces the present call site by a jump if it has trapped often.
fn patch_if_hot(task: &Task) {
    let times = task.context.trapped_here();
    if times == PATCH_AFTER || times == SEARCH_AFTER {
        let (rip, number) = (task.regs.rip, task.regs.orig_rax);
        task.mm.patch_call_site(rip, number, times == SEARCH_AFTER);
    }
}

/// Signals and stops before guest code runs again; false if the task ends.
fn settle(task: &mut Task) -> bool {
    loop {
        if task.signals.ready.is_none()
            && let Some(mask) = task.signals.saved_mask.take()
        {
            task.shared.set_mask(mask);
        }
        match deliver::attend(task) {
            Attended::Nothing | Attended::Continued => return true,
            Attended::Exit => return false,
            Attended::Handler => push_frame(task),
        }
        if task.exit_status.is_some() {
            return false;
        }
    }
}

fn push_frame(task: &mut Task) {
    let Some((info, action)) = task.signals.ready.take() else {
        return;
    };
    if frame::push(task, info, action).is_err() {
        if info.signo == libc::SIGSEGV {
            return deliver::end_process(task, libc::SIGSEGV);
        }
        deliver::force(task, SigInfo::kernel(libc::SIGSEGV));
    }
}

fn fault(task: &mut Task, addr: u64, access: Access) {
    task.regs.orig_rax = u64::MAX;
    let mm = Arc::clone(&task.mm);
    if let Err(signal) = mm.handle_fault(addr, access) {
        task.signals.fault_addr = signal.addr;
        let info = SigInfo::fault(signal.signo, signal.code, signal.addr);
        deliver::force(task, info);
    }
}

/// Adds what the Sentry's thread and the guest's have used to the task's account.
pub(crate) fn account(task: &Task) {
    let user = task.context.cpu_time_ns() + task.user_ns_before;
    task.shared.user_ns.store(user, Ordering::Relaxed);
    task.shared
        .system_ns
        .store(crate::time::thread_cpu_ns(), Ordering::Relaxed);
}
