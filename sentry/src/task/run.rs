//! The run loop of a task: guest code until something happens, then what that asks for.

use std::cell::RefCell;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use crate::kernel::oom;
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
        task.kernel.report_defect(&task);
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
            task.signals.trap = (trap_number(signo, code), 0);
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
        // No memory: the fault happens again once there is some.
        if signal.signo == libc::SIGKILL && oom::relieve(task) {
            return;
        }
        task.signals.fault_addr = signal.addr;
        task.signals.trap = (PAGE_FAULT, page_fault_code(access, signal.code));
        let info = SigInfo::fault(signal.signo, signal.code, signal.addr);
        deliver::force(task, info);
    }
}

/// The processor's number of a page fault.
const PAGE_FAULT: u64 = 14;

/// The processor's error code of a page fault: present, write, user, fetch.
fn page_fault_code(access: Access, code: i32) -> u64 {
    const SEGV_ACCERR: i32 = 2;
    let kind = match access {
        Access::Read => 0,
        Access::Write => 1 << 1,
        Access::Execute => 1 << 4,
    };
    kind | 1 << 2 | u64::from(code == SEGV_ACCERR)
}

/// `si_code` of a SIGFPE: division by zero, or its overflow.
const FPE_INTDIV: i32 = 1;

/// The processor's number of the exception that Linux makes this signal of.
fn trap_number(signo: i32, code: i32) -> u64 {
    const SI_KERNEL: i32 = 0x80;
    match (signo, code) {
        (libc::SIGTRAP, SI_KERNEL) => 3,
        (libc::SIGTRAP, _) => 1,
        (libc::SIGILL, _) => 6,
        (libc::SIGFPE, FPE_INTDIV) => 0,
        (libc::SIGFPE, _) => 16,
        (libc::SIGBUS, libc::BUS_ADRALN) => 17,
        (libc::SIGBUS, _) => PAGE_FAULT,
        _ => 13,
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
