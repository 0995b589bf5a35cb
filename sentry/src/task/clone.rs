//! fork, vfork, clone, clone3: a new task from this one.

use std::any::Any;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use sentry_abi::Errno;

use crate::mm::MemoryManager;
use crate::signals::ActionTable;
use crate::syscalls::{Block, OnSignal, Outcome, SysResult};
use crate::task::process::{Origin, Process};
use crate::task::shared::{TaskShared, View};
use crate::task::state::{CallState, Interrupted};
use crate::task::thread::{AltStack, ThreadSignals};
use crate::task::tree::Node;
use crate::task::{Task, pidfd, run};
use crate::wait::{Ready, WaitQueue};

/// What clone(2) and clone3(2) ask for.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct CloneArgs {
    pub(crate) flags: u64,
    pub(crate) exit_signal: i32,
    /// The child's stack pointer; 0 keeps the parent's.
    pub(crate) stack: u64,
    pub(crate) parent_tid: u64,
    pub(crate) child_tid: u64,
    pub(crate) tls: u64,
    pub(crate) pidfd: u64,
}

/// Flags that are served.
const SERVED: u64 = (libc::CLONE_VM
    | libc::CLONE_FS
    | libc::CLONE_FILES
    | libc::CLONE_SIGHAND
    | libc::CLONE_PIDFD
    | libc::CLONE_VFORK
    | libc::CLONE_PARENT
    | libc::CLONE_THREAD
    | libc::CLONE_SYSVSEM
    | libc::CLONE_SETTLS
    | libc::CLONE_PARENT_SETTID
    | libc::CLONE_CHILD_CLEARTID
    | libc::CLONE_DETACHED
    | libc::CLONE_UNTRACED
    | libc::CLONE_CHILD_SETTID
    | libc::CLONE_IO) as u64
    | CLONE_CLEAR_SIGHAND;

/// CLONE_CLEAR_SIGHAND of clone3(2).
const CLONE_CLEAR_SIGHAND: u64 = 1 << 32;

/// The end of user space: a segment base beyond it is refused (`do_arch_prctl_64`).
const TASK_SIZE: u64 = (1 << 47) - 4096;

impl CloneArgs {
    fn has(&self, flag: i32) -> bool {
        self.flags & flag as u32 as u64 != 0
    }

    fn check(&self) -> Result<(), Errno> {
        let needs = |flag, other| !self.has(flag) || self.has(other);
        let valid = self.flags & !SERVED == 0
            && needs(libc::CLONE_SIGHAND, libc::CLONE_VM)
            && needs(libc::CLONE_THREAD, libc::CLONE_SIGHAND)
            && !(self.has(libc::CLONE_PIDFD) && self.has(libc::CLONE_THREAD))
            && !(self.has(libc::CLONE_SIGHAND) && self.flags & CLONE_CLEAR_SIGHAND != 0);
        valid.then_some(()).ok_or(Errno::EINVAL)
    }
}

/// Says that a child made with CLONE_VFORK has let go of its parent's memory.
#[derive(Default)]
pub(crate) struct VforkDone {
    done: AtomicBool,
    queue: Arc<WaitQueue>,
}

impl VforkDone {
    /// The child has executed a program or ended.
    pub(crate) fn finish(&self) {
        self.done.store(true, Ordering::SeqCst);
        self.queue.notify(Ready::IN);
    }
}

/// The parent's side, between attempts.
struct VforkWait {
    done: Arc<VforkDone>,
    pid: i32,
}

impl Interrupted for VforkWait {
    fn wind_up(&mut self) -> Option<u64> {
        None
    }

    fn as_any(&mut self) -> &mut dyn Any {
        self
    }
}

/// Makes a new task.
///
/// # Errors
/// EINVAL (flags), EAGAIN (limits), ENOMEM, EFAULT.
pub(crate) fn clone(task: &mut Task, args: &CloneArgs) -> SysResult {
    if let Some(extra) = task.call_state.extra.as_mut()
        && let Some(wait) = extra.as_any().downcast_mut::<VforkWait>()
    {
        return Ok(vfork_answer(wait));
    }
    args.check()?;
    if args.has(libc::CLONE_SETTLS) && args.tls >= TASK_SIZE {
        return Err(Errno::EPERM);
    }
    let done = args.has(libc::CLONE_VFORK).then(Arc::<VforkDone>::default);
    let tid = make(task, args, done.clone())?;
    let Some(done) = done else {
        return Ok(Outcome::Value(tid as u64));
    };
    let wait = VforkWait { done, pid: tid };
    let answer = vfork_answer(&wait);
    task.call_state.extra = Some(Box::new(wait));
    Ok(answer)
}

fn vfork_answer(wait: &VforkWait) -> Outcome {
    if wait.done.done.load(Ordering::SeqCst) {
        return Outcome::Value(wait.pid as u64);
    }
    Block::on_queue(&wait.done.queue, Ready::IN)
        .on_signal(OnSignal::Never)
        .into()
}

fn make(task: &mut Task, args: &CloneArgs, done: Option<Arc<VforkDone>>) -> Result<i32, Errno> {
    let mm = if args.has(libc::CLONE_VM) {
        Arc::clone(&task.mm)
    } else {
        task.mm.fork()?
    };
    let fp = task.context.fp_state();
    let context = mm
        .aspace()
        .new_context(Some(&fp))
        .map_err(|_| Errno::EAGAIN)?;
    let fds = if args.has(libc::CLONE_FILES) {
        Arc::clone(&task.fds)
    } else {
        task.fds.fork()
    };
    let fs = if args.has(libc::CLONE_FS) {
        Arc::clone(&task.fs)
    } else {
        task.fs.fork()
    };
    let view = View {
        mm: Some(Arc::clone(&mm)),
        fds: Some(Arc::clone(&fds)),
        fs: Some(Arc::clone(&fs)),
        creds: Arc::clone(&task.creds),
        comm: task.shared.comm(),
    };
    let shared = register(task, args, view)?;
    let tid = shared.tid;
    let mut child = Task {
        regs: task.regs,
        fds,
        fs,
        creds: Arc::clone(&task.creds),
        kernel: Arc::clone(&task.kernel),
        call_state: CallState::default(),
        context,
        signals: ThreadSignals {
            alt_stack: child_alt_stack(task, args),
            ..ThreadSignals::default()
        },
        clear_child_tid: if args.has(libc::CLONE_CHILD_CLEARTID) {
            args.child_tid
        } else {
            0
        },
        robust_list: 0,
        exit_status: None,
        vfork_done: done,
        user_ns_before: 0,
        mm,
        shared,
    };
    child.regs.rax = 0;
    child.regs.orig_rax = u64::MAX;
    if args.stack != 0 {
        child.regs.rsp = args.stack;
    }
    if args.has(libc::CLONE_SETTLS) {
        child.regs.fs_base = args.tls;
    }
    announce(task, args, &child);
    let mm = Arc::clone(&child.mm);
    let shared = Arc::clone(&child.shared);
    run::start(child).map_err(|_| {
        task.kernel.tree.lock().forget(&shared);
        drop(mm);
        Errno::EAGAIN
    })?;
    Ok(tid)
}

fn child_alt_stack(task: &Task, args: &CloneArgs) -> AltStack {
    let shares_memory = args.has(libc::CLONE_VM) && !args.has(libc::CLONE_VFORK);
    if shares_memory {
        AltStack::default()
    } else {
        task.signals.alt_stack
    }
}

/// Writes the ids where the caller wants them. As in Linux, a bad address is not an error here.
fn announce(task: &Task, args: &CloneArgs, child: &Task) {
    let tid = child.shared.tid;
    let write = |mm: &MemoryManager, addr: u64| {
        let _ = mm.write_val(addr, &tid);
    };
    if args.has(libc::CLONE_PARENT_SETTID) {
        write(&task.mm, args.parent_tid);
    }
    if args.has(libc::CLONE_CHILD_SETTID) {
        write(&child.mm, args.child_tid);
    }
}

/// Gives the child its place among tasks and processes.
fn register(task: &Task, args: &CloneArgs, view: View) -> Result<Arc<TaskShared>, Errno> {
    let mut tree = task.kernel.tree.lock();
    check_limits(task, &tree)?;
    let tid = tree.next_id().ok_or(Errno::EAGAIN)?;
    let mask = task.shared.mask();
    if args.has(libc::CLONE_THREAD) {
        let process = Arc::clone(task.process());
        if process.group_exit_status().is_some() {
            return Err(Errno::EAGAIN);
        }
        let shared = TaskShared::new(tid, process, mask, view);
        shared.inherit(&task.shared);
        tree.tasks.insert(tid, Arc::clone(&shared));
        let node = tree.node_mut(task.pid()).ok_or(Errno::EAGAIN)?;
        node.threads.push(Arc::clone(&shared));
        return Ok(shared);
    }
    let own = tree.node(task.pid()).ok_or(Errno::EAGAIN)?;
    let (parent, exit_signal) = if args.has(libc::CLONE_PARENT) {
        (own.parent, own.exit_signal)
    } else {
        (task.pid(), args.exit_signal)
    };
    let (pgid, sid) = (own.pgid, own.sid);
    let process = new_process(task, args, [tid, parent, pgid, sid]);
    let shared = TaskShared::new(tid, Arc::clone(&process), mask, view);
    shared.inherit(&task.shared);
    if args.has(libc::CLONE_PIDFD) {
        let fd = pidfd::open(task, &process, libc::O_CLOEXEC)?;
        if let Err(error) = task.mm.write_val(args.pidfd, &fd) {
            let _ = task.fds.close(fd);
            return Err(error);
        }
    }
    let node = Node::new(process, parent, exit_signal, Arc::clone(&shared));
    tree.processes.insert(tid, node);
    tree.tasks.insert(tid, Arc::clone(&shared));
    if let Some(parent) = tree.node_mut(parent) {
        parent.children.push(tid);
    }
    Ok(shared)
}

fn new_process(task: &Task, args: &CloneArgs, ids: [i32; 4]) -> Arc<Process> {
    let own = task.process();
    let actions = if args.has(libc::CLONE_SIGHAND) {
        own.actions()
    } else {
        let copy = ActionTable::fork(&own.actions());
        if args.flags & CLONE_CLEAR_SIGHAND != 0 {
            copy.exec();
        }
        Arc::new(copy)
    };
    let mut exec = own.exec_info();
    exec.execed = false;
    let [pid, ppid, pgid, sid] = ids;
    let origin = Origin {
        pid,
        ppid,
        pgid,
        sid,
        limits: own.limits.fork(),
        actions,
        exec,
        tty: own.controlling_tty(),
    };
    let child = Process::new(&task.kernel, origin);
    let registered = own.membarrier.load(Ordering::SeqCst);
    child.membarrier.store(registered, Ordering::SeqCst);
    let score = own.oom_score_adj.load(Ordering::Relaxed);
    child.oom_score_adj.store(score, Ordering::Relaxed);
    child
}

/// Most tasks in a sandbox: each takes two host threads.
const MAX_TASKS: usize = 10_000;

fn check_limits(task: &Task, tree: &crate::task::tree::Tree) -> Result<(), Errno> {
    let privileged = task.creds.uid == 0;
    let limit = task.limit(libc::RLIMIT_NPROC);
    let own = || {
        let mine = |shared: &&Arc<TaskShared>| shared.creds().uid == task.creds.uid;
        tree.tasks.values().filter(mine).count() as u64
    };
    if tree.tasks.len() >= MAX_TASKS || !privileged && own() >= limit {
        return Err(Errno::EAGAIN);
    }
    Ok(())
}
