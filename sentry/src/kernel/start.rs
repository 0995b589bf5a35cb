//! Starting a process from outside: the first one, and those of `runsc exec`.

use std::os::fd::OwnedFd;
use std::sync::Arc;

use sentry_abi::Errno;

use super::{BootError, Kernel, ProcessConfig};
use crate::fs::host::stdio::HostStream;
use crate::signals::{ActionTable, SigSet};
use crate::task::Task;
use crate::task::exec::{self, Image};
use crate::task::limits::{Limit, Limits};
use crate::task::process::{Origin, Process};
use crate::task::shared::{TaskShared, View};
use crate::task::state::CallState;
use crate::task::thread::ThreadSignals;
use crate::task::tree::Node;
use crate::vfs::walk::{self, WalkFlags};
use crate::vfs::{FdTable, FsContext, OpenFile, ops};

/// Where programs are looked for if PATH is not set.
const DEFAULT_PATH: &[u8] = b"/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

impl Kernel {
    /// Makes a process without parent, whose task is yet to be started.
    pub(super) fn make_process(self: &Arc<Self>, config: ProcessConfig) -> Result<Task, BootError> {
        let named = config.program.as_ref().or(config.argv.first());
        let program = named.cloned().unwrap_or_default();
        let shown = String::from_utf8_lossy(&program).into_owned();
        let failed = |errno| BootError::Exec {
            program: shown.clone(),
            errno,
        };
        let limits = limits_of(&config.rlimits)?;
        let fs = self.fs_context(&config)?;
        let creds = Arc::new(config.creds.clone());
        let mut cx = fs.path_context(&creds, 0, 0);
        let pid = {
            let mut tree = self.tree.lock();
            tree.next_id().ok_or_else(|| failed(Errno::EAGAIN))?
        };
        (cx.pid, cx.tid) = (pid, pid);
        let (file, path) = find_program(&cx, &program, &config.envp).map_err(failed)?;
        let image = exec::load(exec::Request {
            kernel: self,
            cx: &cx,
            limits: &limits,
            file,
            path,
            argv: config.argv,
            envp: config.envp,
        })
        .map_err(failed)?;
        let owner = (creds.uid, creds.gid);
        let fds = FdTable::new();
        let terminal = if config.terminal {
            Some(self.open_console(pid, config.files, owner, &fds)?)
        } else {
            install(&fds, config.files, owner)?;
            None
        };
        let task = self.first_task(pid, image, fds, fs, limits)?;
        *task.process().tty.lock() = terminal;
        let process = Arc::clone(task.process());
        let shared = Arc::clone(&task.shared);
        {
            let mut tree = self.tree.lock();
            tree.tasks.insert(pid, Arc::clone(&shared));
            tree.processes.insert(pid, Node::new(process, 0, 0, shared));
        }
        Ok(task)
    }

    fn fs_context(&self, config: &ProcessConfig) -> Result<Arc<FsContext>, BootError> {
        let fs = FsContext::new(Arc::clone(&self.mounts));
        fs.set_umask(config.umask.unwrap_or(0o022));
        let cx = fs.path_context(&Arc::new(config.creds.clone()), 0, 0);
        let cwd = if config.cwd.is_empty() {
            b"/"
        } else {
            &config.cwd[..]
        };
        let flags = WalkFlags::FOLLOW | WalkFlags::DIRECTORY;
        let found = walk::lookup(&cx, &cx.root, cwd, flags);
        let found = found.map_err(|errno| {
            let cwd = String::from_utf8_lossy(cwd);
            BootError::Invalid(format!("working directory {cwd}: {errno}"))
        })?;
        fs.set_cwd(found);
        Ok(fs)
    }

    fn first_task(
        self: &Arc<Self>,
        pid: i32,
        image: Image,
        fds: Arc<FdTable>,
        fs: Arc<FsContext>,
        limits: Limits,
    ) -> Result<Task, BootError> {
        let origin = Origin {
            pid,
            ppid: 0,
            pgid: pid,
            sid: pid,
            limits,
            actions: Arc::new(ActionTable::new()),
            exec: image.info,
            tty: None,
        };
        let process = Process::new(self, origin);
        let creds = Arc::new(image.creds);
        let view = View {
            mm: Some(Arc::clone(&image.mm)),
            fds: Some(Arc::clone(&fds)),
            fs: Some(Arc::clone(&fs)),
            creds: Arc::clone(&creds),
            comm: image.comm,
        };
        let context = image.mm.aspace().new_context(None)?;
        Ok(Task {
            shared: TaskShared::new(pid, process, SigSet::EMPTY, view),
            regs: image.regs,
            mm: image.mm,
            fds,
            fs,
            creds,
            kernel: Arc::clone(self),
            call_state: CallState::default(),
            context,
            signals: ThreadSignals::default(),
            clear_child_tid: 0,
            robust_list: 0,
            exit_status: None,
            vfork_done: None,
            user_ns_before: 0,
        })
    }
}

/// Serves donated descriptors under their numbers.
fn install(
    table: &FdTable,
    files: Vec<(i32, OwnedFd)>,
    (uid, gid): (u32, u32),
) -> Result<(), BootError> {
    for (number, fd) in files {
        let failed = |errno| BootError::Invalid(format!("descriptor {number}: {errno}"));
        let file = HostStream::open(fd, uid, gid).map_err(failed)?;
        table
            .install_at(file, false, number, 1 << 20)
            .map_err(failed)?;
    }
    Ok(())
}

fn limits_of(given: &[(u32, Limit)]) -> Result<Limits, BootError> {
    let limits = Limits::default();
    for (resource, limit) in given {
        limits
            .set(*resource, *limit, true)
            .map_err(|errno| BootError::Invalid(format!("resource limit {resource}: {errno}")))?;
    }
    Ok(limits)
}

/// Opens the program, looked for in PATH if its name has no slash; also how to call it.
fn find_program(
    cx: &crate::vfs::PathContext,
    program: &[u8],
    envp: &[Vec<u8>],
) -> Result<(Arc<OpenFile>, Vec<u8>), Errno> {
    let open = |path: &[u8]| ops::open_executable(cx, &cx.cwd, path, WalkFlags::FOLLOW);
    if program.contains(&b'/') {
        return Ok((open(program)?, program.to_vec()));
    }
    if program.is_empty() {
        return Err(Errno::ENOENT);
    }
    let path = envp.iter().find_map(|entry| entry.strip_prefix(b"PATH="));
    let mut result = Errno::ENOENT;
    for dir in path.unwrap_or(DEFAULT_PATH).split(|byte| *byte == b':') {
        let dir = if dir.is_empty() { b"." } else { dir };
        let candidate = [dir, b"/", program].concat();
        match open(&candidate) {
            Ok(file) => return Ok((file, candidate)),
            Err(Errno::EACCES) => result = Errno::EACCES,
            Err(_) => {}
        }
    }
    Err(result)
}
