//! execve: another program in this process.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use sentry_abi::{Errno, Regs};

use crate::kernel::Kernel;
use crate::loader::{self, AuxIds, LoadContext, OpenFor};
use crate::mm::{MemLimit, MemoryManager};
use crate::signals::ActionTable;
use crate::syscalls::{Outcome, SysResult};
use crate::task::limits::Limits;
use crate::task::process::ExecInfo;
use crate::task::shared::TaskShared;
use crate::task::thread::AltStack;
use crate::task::{Task, futex};
use crate::vfs::creds::cap;
use crate::vfs::walk::WalkFlags;
use crate::vfs::{Credentials, OpenFile, PathContext, VfsPath, ops};

/// Most bytes of arguments and environment together that are read from the guest.
const MAX_ARGUMENTS: usize = 6 << 20;
/// Longest single string (MAX_ARG_STRLEN).
const MAX_STRING: usize = 128 << 10;
/// Longest name of a thread.
pub(crate) const MAX_COMM: usize = 15;
/// SECBIT_NOROOT.
const SECBIT_NOROOT: u32 = 1;
/// SECBIT_KEEP_CAPS.
const SECBIT_KEEP_CAPS: u32 = 1 << 4;

/// Which program execve and execveat name.
pub(crate) struct Program {
    pub(crate) dirfd: i32,
    pub(crate) path: Vec<u8>,
    pub(crate) flags: WalkFlags,
    /// AT_EMPTY_PATH.
    pub(crate) empty_path: bool,
}

/// A program in its own address space, ready to take a task over.
pub(crate) struct Image {
    pub(crate) mm: Arc<MemoryManager>,
    pub(crate) regs: Regs,
    pub(crate) creds: Credentials,
    pub(crate) info: ExecInfo,
    pub(crate) comm: Vec<u8>,
}

/// What to load, and for whom.
pub(crate) struct Request<'a> {
    pub(crate) kernel: &'a Arc<Kernel>,
    pub(crate) cx: &'a PathContext,
    pub(crate) limits: &'a Limits,
    pub(crate) file: Arc<OpenFile>,
    /// As the caller spelled it.
    pub(crate) path: Vec<u8>,
    pub(crate) argv: Vec<Vec<u8>>,
    pub(crate) envp: Vec<Vec<u8>>,
}

/// execve(2) of a running task.
///
/// # Errors
/// Those of execve(2); the task then goes on as it was.
pub(crate) fn execve(task: &mut Task, program: Program, argv: u64, envp: u64) -> SysResult {
    let mut room = MAX_ARGUMENTS;
    let cx = task.path_context();
    // The program is opened before the arguments are looked at (`do_execveat_common`).
    let (file, path) = open_program(task, &cx, program)?;
    let argv = read_strings(&task.mm, argv, &mut room)?;
    let envp = read_strings(&task.mm, envp, &mut room)?;
    let kernel = Arc::clone(&task.kernel);
    let process = Arc::clone(task.process());
    let image = load(Request {
        kernel: &kernel,
        cx: &cx,
        limits: &process.limits,
        file,
        path,
        argv,
        envp,
    })?;
    let context = image
        .mm
        .aspace()
        .new_context(None)
        .map_err(|_| Errno::EAGAIN)?;
    if !end_other_threads(task) {
        return Ok(Outcome::Exit);
    }
    // From here on nothing can fail.
    futex::release_thread(task);
    task.user_ns_before += task.context.cpu_time_ns();
    task.context = context;
    become_leader(task);
    task.shared.set_interrupt(task.context.interrupt_handle());
    task.regs = image.regs;
    task.signals.alt_stack = AltStack::default();
    task.creds = Arc::new(image.creds);
    task.mm = Arc::clone(&image.mm);
    if Arc::strong_count(&task.fds) > 2 {
        task.fds = task.fds.fork();
    }
    task.fds.close_on_exec();
    let (mm, fds, creds) = (image.mm, Arc::clone(&task.fds), Arc::clone(&task.creds));
    task.shared.update_view(|view| {
        view.mm = Some(mm);
        view.fds = Some(fds);
        view.creds = creds;
        view.comm = image.comm;
    });
    renew_process(task, image.info);
    if let Some(done) = task.vfork_done.take() {
        done.finish();
    }
    Ok(Outcome::RegistersSet)
}

fn renew_process(task: &Task, info: ExecInfo) {
    let process = task.process();
    let actions = ActionTable::fork(&process.actions());
    actions.exec();
    *process.actions.write() = Arc::new(actions);
    *process.exec.write() = info;
    process.timers.lock().exec();
    process.membarrier.store(0, Ordering::SeqCst);
    process.exec_by.store(0, Ordering::SeqCst);
    let mut tree = task.kernel.tree.lock();
    if let Some(node) = tree.node_mut(process.pid)
        && node.parent != 0
    {
        node.exit_signal = libc::SIGCHLD;
    }
}

/// Loads a program into an address space of its own.
///
/// # Errors
/// Those of execve(2).
pub(crate) fn load(request: Request<'_>) -> Result<Image, Errno> {
    let Request {
        kernel,
        cx,
        limits,
        file,
        path,
        argv,
        envp,
    } = request;
    let mm = MemoryManager::new(kernel.platform(), Arc::clone(kernel.memory()))?;
    apply_limits(&mm, limits);
    let (creds, secure) = creds_after(&cx.creds, file.path())?;
    let mut exe = Arc::clone(&file);
    let mut open = |path: &[u8], purpose: OpenFor| {
        let opened = ops::open_executable(cx, &cx.cwd, path, WalkFlags::FOLLOW)?;
        if purpose == OpenFor::Script {
            exe = Arc::clone(&opened);
        }
        Ok(Arc::clone(opened.ops()))
    };
    let loaded = loader::load(
        LoadContext {
            file: Arc::clone(file.ops()),
            path: path.clone(),
            argv: argv.clone(),
            envp: envp.clone(),
            ids: AuxIds {
                uid: creds.uid,
                euid: creds.euid,
                gid: creds.gid,
                egid: creds.egid,
                secure,
            },
            stack_limit: limits.soft(libc::RLIMIT_STACK),
            open: &mut open,
        },
        &mm,
    )?;
    let name = path.rsplit(|byte| *byte == b'/').next().unwrap_or(&path);
    let info = ExecInfo {
        exe: Some(exe.path().clone()),
        file: Some(exe),
        argv,
        envp,
        auxv: mm.layout().auxv,
        execed: true,
        dumpable: !secure,
    };
    Ok(Image {
        comm: name[..name.len().min(MAX_COMM)].to_vec(),
        regs: loaded.regs,
        creds,
        info,
        mm,
    })
}

/// Makes the address space observe the process's limits.
pub(crate) fn apply_limits(mm: &MemoryManager, limits: &Limits) {
    let all = [
        (MemLimit::AddressSpace, libc::RLIMIT_AS),
        (MemLimit::Data, libc::RLIMIT_DATA),
        (MemLimit::Stack, libc::RLIMIT_STACK),
        (MemLimit::Locked, libc::RLIMIT_MEMLOCK),
    ];
    for (which, resource) in all {
        mm.set_limit(which, limits.soft(resource));
    }
}

/// Reads a null-terminated array of strings; a null pointer is an empty one.
fn read_strings(mm: &MemoryManager, array: u64, room: &mut usize) -> Result<Vec<Vec<u8>>, Errno> {
    let mut strings = Vec::new();
    if array == 0 {
        return Ok(strings);
    }
    let mut at = array;
    loop {
        let pointer: u64 = mm.read_val(at)?;
        if pointer == 0 {
            return Ok(strings);
        }
        let string = mm
            .read_cstr(pointer, MAX_STRING)
            .map_err(|errno| match errno {
                Errno::ENAMETOOLONG => Errno::E2BIG,
                other => other,
            })?;
        *room = room
            .checked_sub(string.len() + 1 + size_of::<u64>())
            .ok_or(Errno::E2BIG)?;
        strings.push(string);
        at = at.checked_add(8).ok_or(Errno::EFAULT)?;
    }
}

fn open_program(
    task: &Task,
    cx: &PathContext,
    program: Program,
) -> Result<(Arc<OpenFile>, Vec<u8>), Errno> {
    let Program {
        dirfd,
        path,
        flags,
        empty_path,
    } = program;
    let shown = |path: &[u8]| [format!("/dev/fd/{dirfd}/").as_bytes(), path].concat();
    if path.is_empty() && empty_path {
        let file = task.fds.get_any(dirfd)?;
        let opened = ops::open_executable_at(cx, file.path())?;
        return Ok((opened, format!("/dev/fd/{dirfd}").into_bytes()));
    }
    if dirfd == libc::AT_FDCWD || path.starts_with(b"/") {
        let opened = ops::open_executable(cx, &cx.cwd, &path, flags)?;
        return Ok((opened, path));
    }
    let start = task.fds.get_any(dirfd)?.path().clone();
    let opened = ops::open_executable(cx, &start, &path, flags)?;
    Ok((opened, shown(&path)))
}

/// The identity after executing the file at `path`, and whether that raises privileges (AT_SECURE).
fn creds_after(old: &Credentials, path: &VfsPath) -> Result<(Credentials, bool), Errno> {
    let mut new = old.clone();
    let (uid, gid) = match old.no_new_privs {
        true => (None, None),
        false => ops::set_id_of(path)?,
    };
    new.euid = uid.unwrap_or(old.euid);
    new.egid = gid.unwrap_or(old.egid);
    new.suid = new.euid;
    new.fsuid = new.euid;
    new.sgid = new.egid;
    new.fsgid = new.egid;
    new.securebits &= !SECBIT_KEEP_CAPS;
    let set_id = uid.is_some_and(|uid| uid != old.uid) || gid.is_some_and(|gid| gid != old.gid);
    if set_id {
        new.caps.ambient = 0;
    }
    let by_root = new.securebits & SECBIT_NOROOT == 0 && (new.euid == 0 || new.uid == 0);
    let caps = &mut new.caps;
    if by_root {
        caps.permitted = (caps.inheritable | caps.bounding) & cap::ALL;
        caps.effective = if new.euid == 0 { caps.permitted } else { 0 };
    } else {
        caps.permitted = caps.ambient;
        caps.effective = caps.ambient;
    }
    let secure = set_id || new.uid != new.euid || new.gid != new.egid;
    Ok((new, secure))
}

/// Ends the other threads of the process and waits until they are gone; false if the process is ended
/// meanwhile.
fn end_other_threads(task: &mut Task) -> bool {
    let process = Arc::clone(task.process());
    let claimed =
        process
            .exec_by
            .compare_exchange(0, task.tid(), Ordering::SeqCst, Ordering::SeqCst);
    if claimed.is_err() {
        return !crate::signals::deliver::must_end(task);
    }
    loop {
        task.shared.parker.reset();
        if process.group_exit_status().is_some() {
            process.exec_by.store(0, Ordering::SeqCst);
            return !crate::signals::deliver::must_end(task);
        }
        {
            let tree = task.kernel.tree.lock();
            let threads = tree
                .node(process.pid)
                .map_or(&[][..], |node| &node.threads[..]);
            if threads.len() <= 1 {
                return true;
            }
            let others = threads.iter().filter(|other| other.tid != task.tid());
            others.for_each(|other| other.kick());
        }
        task.shared.parker.park(None);
    }
}

/// A thread that executes a program takes the process's id as its own.
fn become_leader(task: &mut Task) {
    let pid = task.pid();
    if task.tid() == pid {
        return;
    }
    let old = Arc::clone(&task.shared);
    let new = TaskShared::successor(&old, pid);
    let mut tree = task.kernel.tree.lock();
    tree.tasks.remove(&old.tid);
    tree.tasks.insert(pid, Arc::clone(&new));
    if let Some(node) = tree.node_mut(pid) {
        node.threads = vec![Arc::clone(&new)];
    }
    drop(tree);
    crate::task::run::set_current(&new);
    task.shared = new;
}
