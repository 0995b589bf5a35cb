//! Signals: actions, masks, sending, waiting.

use std::sync::Arc;

use sentry_abi::Errno;
use zerocopy::IntoBytes;

use crate::signals::deliver;
use crate::signals::frame::{self, StackT};
use crate::signals::set::is_signal;
use crate::signals::{SigAction, SigInfo, SigSet};
use crate::syscalls::{Args, Block, OnSignal, Outcome, Row, SysResult};
use crate::task::tree::{Node, Tree};
use crate::task::{Task, pidfd};
use crate::time;
use crate::vfs::creds::cap;
use crate::wait::Ready;

pub(crate) const ROWS: &[Row] = &[
    Row::full(libc::SYS_rt_sigaction, "rt_sigaction", sys_rt_sigaction),
    Row::full(
        libc::SYS_rt_sigprocmask,
        "rt_sigprocmask",
        sys_rt_sigprocmask,
    ),
    Row::full(libc::SYS_rt_sigreturn, "rt_sigreturn", sys_rt_sigreturn),
    Row::full(libc::SYS_rt_sigpending, "rt_sigpending", sys_rt_sigpending),
    Row::full(
        libc::SYS_rt_sigtimedwait,
        "rt_sigtimedwait",
        sys_rt_sigtimedwait,
    ),
    Row::full(libc::SYS_rt_sigsuspend, "rt_sigsuspend", sys_rt_sigsuspend),
    Row::full(
        libc::SYS_rt_sigqueueinfo,
        "rt_sigqueueinfo",
        sys_rt_sigqueueinfo,
    ),
    Row::full(
        libc::SYS_rt_tgsigqueueinfo,
        "rt_tgsigqueueinfo",
        sys_rt_tgsigqueueinfo,
    ),
    Row::full(libc::SYS_sigaltstack, "sigaltstack", sys_sigaltstack),
    Row::full(libc::SYS_kill, "kill", sys_kill),
    Row::full(libc::SYS_tkill, "tkill", sys_tkill),
    Row::full(libc::SYS_tgkill, "tgkill", sys_tgkill),
    Row::full(libc::SYS_pause, "pause", sys_pause),
    Row::full(
        libc::SYS_pidfd_send_signal,
        "pidfd_send_signal",
        sys_pidfd_send_signal,
    ),
];

fn check_size(size: u64) -> Result<(), Errno> {
    if size == 8 {
        Ok(())
    } else {
        Err(Errno::EINVAL)
    }
}

fn sys_rt_sigaction(task: &mut Task, args: &Args) -> SysResult {
    check_size(args.0[3])?;
    let signo = args.int(0);
    let new: Option<SigAction> = match args.ptr(1) {
        0 => None,
        at => Some(task.mm.read_val(at)?),
    };
    if !is_signal(signo) || new.is_some() && SigSet::UNBLOCKABLE.contains(signo) {
        return Err(Errno::EINVAL);
    }
    let actions = task.process().actions();
    let old = match new {
        None => actions.get(signo),
        Some(mut new) => {
            new.mask = SigSet(new.mask).without(SigSet::UNBLOCKABLE).0;
            let old = actions.set(signo, new);
            if new.ignores(signo) {
                task.kernel.tree.lock().discard(task.pid(), signo);
            }
            old
        }
    };
    if args.ptr(2) != 0 {
        task.mm.write_val(args.ptr(2), &old)?;
    }
    Ok(Outcome::Value(0))
}

fn sys_rt_sigprocmask(task: &mut Task, args: &Args) -> SysResult {
    check_size(args.0[3])?;
    let old = task.shared.mask();
    if args.ptr(1) != 0 {
        let given = SigSet(task.mm.read_val(args.ptr(1))?);
        let new = match args.int(0) {
            libc::SIG_BLOCK => old | given,
            libc::SIG_UNBLOCK => old.without(given),
            libc::SIG_SETMASK => given,
            _ => return Err(Errno::EINVAL),
        };
        task.set_mask(new);
    }
    if args.ptr(2) != 0 {
        task.mm.write_val(args.ptr(2), &old.0)?;
    }
    Ok(Outcome::Value(0))
}

fn sys_rt_sigreturn(task: &mut Task, _: &Args) -> SysResult {
    if frame::pop(task).is_err() {
        deliver::force(task, SigInfo::kernel(libc::SIGSEGV));
    }
    Ok(Outcome::RegistersSet)
}

fn sys_rt_sigpending(task: &mut Task, args: &Args) -> SysResult {
    if args.0[1] > 8 {
        return Err(Errno::EINVAL);
    }
    let own = task.shared.pending.lock().set();
    let all = own | task.process().signals.lock().pending.set();
    let blocked = all & task.shared.mask();
    let bytes = blocked.0.to_ne_bytes();
    task.mm.write(args.ptr(0), &bytes[..args.size(1)])?;
    Ok(Outcome::Value(0))
}

fn sys_rt_sigtimedwait(task: &mut Task, args: &Args) -> SysResult {
    check_size(args.0[3])?;
    let wanted = SigSet(task.mm.read_val(args.ptr(0))?).without(SigSet::UNBLOCKABLE);
    let deadline = match args.ptr(2) {
        0 => None,
        at => Some(time::read_timespec(task, at)?),
    };
    if let Some(info) = deliver::dequeue(task, wanted) {
        if args.ptr(1) != 0 {
            task.mm.write(args.ptr(1), &info.to_bytes())?;
        }
        return Ok(Outcome::Value(info.signo as u64));
    }
    if deadline == Some(0) || task.call_state.timed_out {
        return Err(Errno::EAGAIN);
    }
    let deadline = deadline.map(|timeout| task.deadline_after(timeout));
    let queue = Arc::clone(&task.process().signal_events);
    Ok(Block::on_queue(&queue, Ready::IN)
        .until(deadline)
        .on_signal(OnSignal::Interrupt)
        .into())
}

fn sys_rt_sigsuspend(task: &mut Task, args: &Args) -> SysResult {
    check_size(args.0[1])?;
    let mask = SigSet(task.mm.read_val(args.ptr(0))?);
    task.set_temporary_mask(mask);
    Ok(pausing())
}

fn pausing() -> Outcome {
    Block::idle()
        .on_signal(OnSignal::RestartUnlessHandled)
        .into()
}

fn sys_pause(_: &mut Task, _: &Args) -> SysResult {
    Ok(pausing())
}

fn sys_sigaltstack(task: &mut Task, args: &Args) -> SysResult {
    let sp = task.regs.rsp;
    let old = task.signals.alt_stack.shown(sp);
    if args.ptr(0) != 0 {
        let new: StackT = task.mm.read_val(args.ptr(0))?;
        task.signals.alt_stack.change(&new, sp)?;
    }
    if args.ptr(1) != 0 {
        task.mm.write(args.ptr(1), old.as_bytes())?;
    }
    Ok(Outcome::Value(0))
}

/// Whether the caller may signal this process (check_kill_permission of kill(2)).
fn may_signal(task: &Task, node: &Node, signo: i32) -> Result<(), Errno> {
    let Some(target) = node.threads.first().map(|thread| thread.creds()) else {
        return Ok(());
    };
    let own = &task.creds;
    let same = [target.uid, target.suid]
        .iter()
        .any(|uid| *uid == own.euid || *uid == own.uid);
    let same_session = node.sid == task.process().sid();
    if same || own.has(cap::KILL) || signo == libc::SIGCONT && same_session {
        Ok(())
    } else {
        Err(Errno::EPERM)
    }
}

fn check_signal(signo: i32) -> Result<(), Errno> {
    if signo == 0 || is_signal(signo) {
        Ok(())
    } else {
        Err(Errno::EINVAL)
    }
}

/// Signals one process; signal 0 only checks.
fn send(task: &Task, tree: &mut Tree, pid: i32, info: SigInfo) -> Result<(), Errno> {
    let node = tree.node(pid).ok_or(Errno::ESRCH)?;
    check_signal(info.signo)?;
    may_signal(task, node, info.signo)?;
    if info.signo == 0 {
        return Ok(());
    }
    tree.signal_process(pid, info)
}

fn sys_kill(task: &mut Task, args: &Args) -> SysResult {
    let (pid, signo) = (args.int(0), args.int(1));
    let info = SigInfo::user(signo, libc::SI_USER, task.pid(), task.creds.uid);
    let mut tree = task.kernel.tree.lock();
    let members: Vec<i32> = match pid {
        i32::MIN => return Err(Errno::ESRCH),
        1.. => {
            let target = tree.task(pid).map_or(pid, |thread| thread.process.pid);
            return send(task, &mut tree, target, info).map(|()| Outcome::Value(0));
        }
        -1 => {
            let others = |pid: &i32| *pid != 1 && *pid != task.pid();
            tree.processes.keys().copied().filter(others).collect()
        }
        0 => pids(&tree, task.process().pgid()),
        _ => pids(&tree, -pid),
    };
    let mut result = Err(Errno::ESRCH);
    for pid in members {
        let sent = send(task, &mut tree, pid, info);
        if sent.is_ok() || result != Ok(()) {
            result = sent;
        }
    }
    result.map(|()| Outcome::Value(0))
}

fn pids(tree: &Tree, pgid: i32) -> Vec<i32> {
    tree.group(pgid).map(|node| node.process.pid).collect()
}

/// Signals thread `tid`, which has to belong to process `tgid` if that is given.
fn send_thread(task: &Task, tgid: Option<i32>, tid: i32, info: SigInfo) -> SysResult {
    if tid <= 0 || tgid.is_some_and(|tgid| tgid <= 0) {
        return Err(Errno::EINVAL);
    }
    let mut tree = task.kernel.tree.lock();
    let target = Arc::clone(tree.task(tid).ok_or(Errno::ESRCH)?);
    if tgid.is_some_and(|tgid| tgid != target.process.pid) {
        return Err(Errno::ESRCH);
    }
    let node = tree.node(target.process.pid).ok_or(Errno::ESRCH)?;
    check_signal(info.signo)?;
    may_signal(task, node, info.signo)?;
    if info.signo != 0 {
        tree.signal_thread(&target, info)?;
    }
    Ok(Outcome::Value(0))
}

fn sys_tkill(task: &mut Task, args: &Args) -> SysResult {
    let info = SigInfo::user(args.int(1), libc::SI_TKILL, task.pid(), task.creds.uid);
    send_thread(task, None, args.int(0), info)
}

fn sys_tgkill(task: &mut Task, args: &Args) -> SysResult {
    let info = SigInfo::user(args.int(2), libc::SI_TKILL, task.pid(), task.creds.uid);
    send_thread(task, Some(args.int(0)), args.int(1), info)
}

/// The `siginfo_t` at `addr`, which must not pretend to come from the kernel or kill(2).
fn read_info(task: &Task, addr: u64, signo: i32, to_self: bool) -> Result<SigInfo, Errno> {
    let mut info: SigInfo = task.mm.read_val(addr)?;
    info.signo = signo;
    if (info.code >= 0 || info.code == libc::SI_TKILL) && !to_self {
        return Err(Errno::EPERM);
    }
    Ok(info)
}

fn sys_rt_sigqueueinfo(task: &mut Task, args: &Args) -> SysResult {
    let pid = args.int(0);
    let info = read_info(task, args.ptr(2), args.int(1), pid == task.pid())?;
    let mut tree = task.kernel.tree.lock();
    send(task, &mut tree, pid, info).map(|()| Outcome::Value(0))
}

fn sys_rt_tgsigqueueinfo(task: &mut Task, args: &Args) -> SysResult {
    let (tgid, tid) = (args.int(0), args.int(1));
    let info = read_info(task, args.ptr(3), args.int(2), tgid == task.pid())?;
    send_thread(task, Some(tgid), tid, info)
}

fn sys_pidfd_send_signal(task: &mut Task, args: &Args) -> SysResult {
    let signo = args.int(1);
    check_signal(signo)?;
    if args.int(3) != 0 {
        return Err(Errno::EINVAL);
    }
    let process = pidfd::get_or_proc(task, args.int(0))?;
    let info = match args.ptr(2) {
        0 => SigInfo::user(signo, libc::SI_USER, task.pid(), task.creds.uid),
        at => {
            let info = read_info(task, at, signo, process.pid == task.pid())?;
            let given: SigInfo = task.mm.read_val(at)?;
            if given.signo != signo {
                return Err(Errno::EINVAL);
            }
            info
        }
    };
    let mut tree = task.kernel.tree.lock();
    let node = tree.node(process.pid).ok_or(Errno::ESRCH)?;
    if !Arc::ptr_eq(&node.process, &process) || node.exit.is_some() {
        return Err(Errno::ESRCH);
    }
    send(task, &mut tree, process.pid, info).map(|()| Outcome::Value(0))
}
