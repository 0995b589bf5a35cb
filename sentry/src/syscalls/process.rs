//! Making, executing, ending and waiting for processes.

use std::sync::Arc;

use sentry_abi::Errno;
use zerocopy::IntoBytes;

use crate::signals::set::is_signal;
use crate::syscalls::{Args, Block, Outcome, Row, SysResult};
use crate::task::clone::{CloneArgs, clone};
use crate::task::wait::{Wanted, Which, look};
use crate::task::{Task, exec, pidfd};
use crate::vfs::walk::WalkFlags;
use crate::wait::Ready;

pub(crate) const ROWS: &[Row] = &[
    Row::full(libc::SYS_fork, "fork", sys_fork),
    Row::full(libc::SYS_vfork, "vfork", sys_vfork),
    Row::partial(libc::SYS_clone, "clone", sys_clone, "no namespaces"),
    Row::partial(
        libc::SYS_clone3,
        "clone3",
        sys_clone3,
        "no namespaces, set_tid or cgroup",
    ),
    Row::full(libc::SYS_execve, "execve", sys_execve),
    Row::full(libc::SYS_execveat, "execveat", sys_execveat),
    Row::full(libc::SYS_exit, "exit", sys_exit),
    Row::full(libc::SYS_exit_group, "exit_group", sys_exit_group),
    Row::full(libc::SYS_wait4, "wait4", sys_wait4),
    Row::full(libc::SYS_waitid, "waitid", sys_waitid),
    Row::full(
        libc::SYS_set_tid_address,
        "set_tid_address",
        sys_set_tid_address,
    ),
    Row::full(
        libc::SYS_set_robust_list,
        "set_robust_list",
        sys_set_robust_list,
    ),
    Row::full(
        libc::SYS_get_robust_list,
        "get_robust_list",
        sys_get_robust_list,
    ),
    Row::full(libc::SYS_pidfd_open, "pidfd_open", sys_pidfd_open),
    Row::partial(
        libc::SYS_unshare,
        "unshare",
        sys_unshare,
        "CLONE_FILES and CLONE_FS only",
    ),
];

fn sys_fork(task: &mut Task, _: &Args) -> SysResult {
    let args = CloneArgs {
        exit_signal: libc::SIGCHLD,
        ..CloneArgs::default()
    };
    clone(task, &args)
}

fn sys_vfork(task: &mut Task, _: &Args) -> SysResult {
    let args = CloneArgs {
        flags: (libc::CLONE_VM | libc::CLONE_VFORK) as u64,
        exit_signal: libc::SIGCHLD,
        ..CloneArgs::default()
    };
    clone(task, &args)
}

fn sys_clone(task: &mut Task, args: &Args) -> SysResult {
    let flags = args.0[0] & 0xffff_ffff;
    // One that there is not is none: the end of the child is then not told (`do_notify_parent`).
    let exit_signal = Some((flags & 0xff) as i32).filter(|signo| is_signal(*signo));
    let exit_signal = exit_signal.unwrap_or(0);
    let cloned = CloneArgs {
        flags: flags & !0xff,
        exit_signal,
        stack: args.ptr(1),
        parent_tid: args.ptr(2),
        child_tid: args.ptr(3),
        tls: args.ptr(4),
        pidfd: args.ptr(2),
    };
    let both = (libc::CLONE_PIDFD | libc::CLONE_PARENT_SETTID) as u64;
    if cloned.flags & both == both {
        return Err(Errno::EINVAL);
    }
    clone(task, &cloned)
}

/// Fields of `struct clone_args`, in order, as far as they are looked at.
fn sys_clone3(task: &mut Task, args: &Args) -> SysResult {
    const FIELDS: usize = 11;
    let size = args.size(1);
    if size < 64 {
        return Err(Errno::EINVAL);
    }
    if size > crate::mm::PAGE_SIZE as usize {
        return Err(Errno::E2BIG);
    }
    let bytes = task.mm.read_vec(args.ptr(0), size)?;
    let mut fields = [0u64; FIELDS];
    let known = size.min(FIELDS * 8);
    fields.as_mut_bytes()[..known].copy_from_slice(&bytes[..known]);
    if bytes[known..].iter().any(|byte| *byte != 0) {
        return Err(Errno::E2BIG);
    }
    let [
        flags,
        pidfd,
        child_tid,
        parent_tid,
        exit_signal,
        stack,
        stack_size,
        tls,
        set_tid,
        set_tid_size,
        cgroup,
    ] = fields;
    let low = exit_signal > 64 || flags & 0xff != 0 || flags & libc::CLONE_DETACHED as u64 != 0;
    let half_stack = (stack == 0) != (stack_size == 0);
    if low || half_stack || set_tid != 0 || set_tid_size != 0 || cgroup != 0 {
        return Err(Errno::EINVAL);
    }
    let quiet = (libc::CLONE_THREAD | libc::CLONE_PARENT) as u64;
    if flags & quiet != 0 && exit_signal != 0 {
        return Err(Errno::EINVAL);
    }
    let cloned = CloneArgs {
        flags,
        exit_signal: exit_signal as i32,
        stack: stack.wrapping_add(stack_size),
        parent_tid,
        child_tid,
        tls,
        pidfd,
    };
    clone(task, &cloned)
}

fn sys_execve(task: &mut Task, args: &Args) -> SysResult {
    let path = task.mm.read_cstr(args.ptr(0), libc::PATH_MAX as usize)?;
    let program = exec::Program {
        dirfd: libc::AT_FDCWD,
        path,
        flags: WalkFlags::FOLLOW,
        empty_path: false,
    };
    exec::execve(task, program, args.ptr(1), args.ptr(2))
}

fn sys_execveat(task: &mut Task, args: &Args) -> SysResult {
    let flags = args.int(4);
    if flags & !(libc::AT_EMPTY_PATH | libc::AT_SYMLINK_NOFOLLOW) != 0 {
        return Err(Errno::EINVAL);
    }
    let path = task.mm.read_cstr(args.ptr(1), libc::PATH_MAX as usize)?;
    let program = exec::Program {
        dirfd: args.int(0),
        path,
        flags: if flags & libc::AT_SYMLINK_NOFOLLOW == 0 {
            WalkFlags::FOLLOW
        } else {
            WalkFlags::empty()
        },
        empty_path: flags & libc::AT_EMPTY_PATH != 0,
    };
    exec::execve(task, program, args.ptr(2), args.ptr(3))
}

fn sys_exit(task: &mut Task, args: &Args) -> SysResult {
    task.exit_status = Some((args.int(0) & 0xff) << 8);
    Ok(Outcome::Exit)
}

fn sys_exit_group(task: &mut Task, args: &Args) -> SysResult {
    let process = task.process();
    process.begin_group_exit((args.int(0) & 0xff) << 8);
    task.exit_status = process.group_exit_status();
    task.kernel.kick_process(task.pid());
    Ok(Outcome::Exit)
}

/// Waits for a change that `wanted` names: `Ok(Err(block))` if there is none yet.
fn wait_for(
    task: &Task,
    wanted: Wanted,
) -> Result<Result<Option<crate::task::wait::Change>, Block>, Errno> {
    if let Some(change) = look(task, wanted)? {
        return Ok(Ok(Some(change)));
    }
    if wanted.options & libc::WNOHANG != 0 {
        return Ok(Ok(None));
    }
    let queue = &task.process().child_events;
    Ok(Err(Block::on_queue(queue, Ready::IN)))
}

fn sys_wait4(task: &mut Task, args: &Args) -> SysResult {
    let options = args.int(2);
    let known = libc::WNOHANG
        | libc::WUNTRACED
        | libc::WCONTINUED
        | libc::__WNOTHREAD
        | libc::__WCLONE
        | libc::__WALL;
    if options & !known != 0 {
        return Err(Errno::EINVAL);
    }
    let which = match args.int(0) {
        i32::MIN => return Err(Errno::ESRCH),
        -1 => Which::All,
        0 => Which::Group(task.process().pgid()),
        pid if pid < 0 => Which::Group(-pid),
        pid => Which::Pid(pid),
    };
    let wanted = Wanted {
        which,
        options: options | libc::WEXITED,
    };
    let change = match wait_for(task, wanted)? {
        Err(block) => return Ok(block.into()),
        Ok(None) => return Ok(Outcome::Value(0)),
        Ok(Some(change)) => change,
    };
    if args.ptr(1) != 0 {
        task.mm.write_val(args.ptr(1), &change.status)?;
    }
    if args.ptr(3) != 0 {
        let usage = crate::syscalls::limits::rusage(change.cpu, 0);
        task.mm.write(args.ptr(3), usage.as_bytes())?;
    }
    Ok(Outcome::Value(change.pid as u64))
}

/// Writes the fields that waitid(2) has, and nothing beyond them.
fn put_child_info(task: &Task, at: u64, info: crate::signals::SigInfo) -> Result<(), Errno> {
    const FIELDS: usize = 28;
    if at == 0 {
        return Ok(());
    }
    task.mm.write(at, &info.to_bytes()[..FIELDS])
}

fn sys_waitid(task: &mut Task, args: &Args) -> SysResult {
    let options = args.int(3);
    let events = libc::WEXITED | libc::WSTOPPED | libc::WCONTINUED;
    let known =
        events | libc::WNOHANG | libc::WNOWAIT | libc::__WNOTHREAD | libc::__WCLONE | libc::__WALL;
    if options & !known != 0 || options & events == 0 {
        return Err(Errno::EINVAL);
    }
    let id = args.int(1);
    let which = match args.uint(0) {
        libc::P_ALL => Which::All,
        libc::P_PID if id > 0 => Which::Pid(id),
        libc::P_PGID if id == 0 => Which::Group(task.process().pgid()),
        libc::P_PGID if id > 0 => Which::Group(id),
        libc::P_PIDFD => Which::Pid(pidfd::get(task, id)?.pid),
        _ => return Err(Errno::EINVAL),
    };
    let wanted = Wanted { which, options };
    let change = match wait_for(task, wanted) {
        Ok(Err(block)) => return Ok(block.into()),
        Ok(Ok(change)) => change,
        Err(error) => {
            // Linux clears the caller's siginfo even then.
            put_child_info(task, args.ptr(2), crate::signals::SigInfo::default())?;
            return Err(error);
        }
    };
    let (info, cpu) = change.map_or(Default::default(), |change| (change.info, change.cpu));
    put_child_info(task, args.ptr(2), info)?;
    if args.ptr(4) != 0 && change.is_some() {
        let usage = crate::syscalls::limits::rusage(cpu, 0);
        task.mm.write(args.ptr(4), usage.as_bytes())?;
    }
    Ok(Outcome::Value(0))
}

fn sys_set_tid_address(task: &mut Task, args: &Args) -> SysResult {
    task.clear_child_tid = args.ptr(0);
    Ok(Outcome::Value(task.tid() as u64))
}

/// sizeof(struct robust_list_head).
const ROBUST_HEAD: u64 = 24;

fn sys_set_robust_list(task: &mut Task, args: &Args) -> SysResult {
    if args.0[1] != ROBUST_HEAD {
        return Err(Errno::EINVAL);
    }
    task.robust_list = args.ptr(0);
    Ok(Outcome::Value(0))
}

fn sys_get_robust_list(task: &mut Task, args: &Args) -> SysResult {
    let tid = args.int(0);
    if tid != 0 && tid != task.tid() {
        // Another thread's list is its own business: nobody but debuggers asks.
        return Err(Errno::EPERM);
    }
    task.mm.write_val(args.ptr(1), &task.robust_list)?;
    task.mm.write_val(args.ptr(2), &ROBUST_HEAD)?;
    Ok(Outcome::Value(0))
}

fn sys_pidfd_open(task: &mut Task, args: &Args) -> SysResult {
    let (pid, flags) = (args.int(0), args.int(1));
    if flags & !libc::O_NONBLOCK != 0 || pid <= 0 {
        return Err(Errno::EINVAL);
    }
    let process = {
        let tree = task.kernel.tree.lock();
        match tree.node(pid) {
            Some(node) => Arc::clone(&node.process),
            None if tree.task(pid).is_some() => return Err(Errno::EINVAL),
            None => return Err(Errno::ESRCH),
        }
    };
    pidfd::open(task, &process, flags).map(|fd| Outcome::Value(fd as u64))
}

fn sys_unshare(task: &mut Task, args: &Args) -> SysResult {
    let flags = args.int(0);
    let nothing_to_do =
        libc::CLONE_SYSVSEM | libc::CLONE_THREAD | libc::CLONE_SIGHAND | libc::CLONE_VM;
    const NAMESPACES: i32 = libc::CLONE_NEWNS
        | libc::CLONE_NEWCGROUP
        | libc::CLONE_NEWUTS
        | libc::CLONE_NEWIPC
        | libc::CLONE_NEWUSER
        | libc::CLONE_NEWPID
        | libc::CLONE_NEWNET
        | 0x80; // CLONE_NEWTIME
    let known = libc::CLONE_FILES | libc::CLONE_FS | nothing_to_do | NAMESPACES;
    if args.ptr(0) & !u64::from(known as u32) != 0 {
        return Err(Errno::EINVAL);
    }
    if flags & !(libc::CLONE_FILES | libc::CLONE_FS | nothing_to_do) != 0 {
        return Err(Errno::EPERM);
    }
    let threads = {
        let tree = task.kernel.tree.lock();
        tree.node(task.pid()).map_or(1, |node| node.threads.len())
    };
    if flags & (libc::CLONE_THREAD | libc::CLONE_SIGHAND | libc::CLONE_VM) != 0 && threads > 1 {
        return Err(Errno::EINVAL);
    }
    if flags & libc::CLONE_FILES != 0 {
        task.set_fds(task.fds.fork());
    }
    if flags & libc::CLONE_FS != 0 {
        task.set_fs(task.fs.fork());
    }
    Ok(Outcome::Value(0))
}
