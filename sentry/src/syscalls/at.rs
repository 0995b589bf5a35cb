//! What the calls on files and paths share: reading paths, `dirfd` arguments, waiting on a file.

use std::sync::Arc;

use sentry_abi::Errno;

use crate::mm::MemoryManager;
use crate::signals::SigInfo;
use crate::syscalls::{Block, Outcome, SysResult};
use crate::task::Task;
use crate::vfs::PathContext;
use crate::vfs::dentry::VfsPath;
use crate::vfs::file::GuestMemory;
use crate::vfs::open::OpenFile;
use crate::vfs::walk::{self, Last, PATH_MAX, WalkFlags};
use crate::wait::Ready;

/// A path argument.
pub(crate) fn read_path(task: &Task, addr: u64) -> Result<Vec<u8>, Errno> {
    task.mm.read_cstr(addr, PATH_MAX)
}

/// Where a relative `path` starts: `dirfd`'s directory or the working directory.
pub(crate) fn start(
    task: &Task,
    cx: &PathContext,
    dirfd: i32,
    path: &[u8],
) -> Result<VfsPath, Errno> {
    if dirfd == libc::AT_FDCWD || path.first() == Some(&b'/') {
        return Ok(cx.cwd.clone());
    }
    Ok(task.fds.get_any(dirfd)?.path().clone())
}

/// The file that a path argument names.
pub(crate) fn lookup(
    task: &Task,
    cx: &PathContext,
    dirfd: i32,
    path_addr: u64,
    flags: WalkFlags,
) -> Result<VfsPath, Errno> {
    let path = read_path(task, path_addr)?;
    let from = start(task, cx, dirfd, &path)?;
    walk::lookup(cx, &from, &path, flags)
}

/// Walk flags of `AT_*` flags, where following is the rule.
pub(crate) fn follow_unless(flags: i32) -> WalkFlags {
    let mut walk = WalkFlags::empty();
    walk.set(WalkFlags::FOLLOW, flags & libc::AT_SYMLINK_NOFOLLOW == 0);
    walk.set(WalkFlags::EMPTY, flags & libc::AT_EMPTY_PATH != 0);
    walk
}

/// The directory and last name of a path argument that is about to be made or removed.
pub(crate) fn lookup_parent(
    task: &Task,
    cx: &PathContext,
    dirfd: i32,
    path_addr: u64,
) -> Result<(VfsPath, Last), Errno> {
    let path = read_path(task, path_addr)?;
    let from = start(task, cx, dirfd, &path)?;
    walk::lookup_parent(cx, &from, &path)
}

/// As [`lookup_parent`], for a name that must be a name.
pub(crate) fn lookup_new(
    task: &Task,
    cx: &PathContext,
    dirfd: i32,
    path_addr: u64,
) -> Result<(VfsPath, Vec<u8>, bool), Errno> {
    match lookup_parent(task, cx, dirfd, path_addr)? {
        (dir, Last::Name(name, slash)) => Ok((dir, name, slash)),
        (_, Last::Here) => Err(Errno::EEXIST),
    }
}

/// The call has to wait for the file.
pub(crate) fn wait_for(task: &mut Task, file: &Arc<OpenFile>, write: bool) -> SysResult {
    let timeout = file.ops().io_timeout_ns(write);
    let deadline_ns = timeout.map(|timeout| task.deadline_after(timeout));
    if task.call_state.timed_out {
        return Err(Errno::EAGAIN);
    }
    let mask = if write { Ready::OUT } else { Ready::IN };
    let block = Block::on_file(file.ops(), mask).until(deadline_ns);
    Ok(Outcome::Block(block))
}

/// Raises a signal in the calling thread.
pub(crate) fn raise(task: &Task, signo: i32) {
    let mut tree = task.kernel.tree.lock();
    // The only failure is a full queue of real-time signals, which these are not.
    let info = SigInfo::user(signo, libc::SI_USER, task.pid(), task.creds.uid);
    let _ = tree.signal_thread(&task.shared, info);
}

/// True if a call on the file that would have to wait should wait.
pub(crate) fn may_wait(file: &OpenFile) -> bool {
    !file.nonblocking() && file.ops().wait_queue().is_some()
}

/// A value of 0.
pub(crate) fn done() -> SysResult {
    Ok(Outcome::Value(0))
}

impl GuestMemory for MemoryManager {
    fn read(&self, addr: u64, dst: &mut [u8]) -> Result<(), Errno> {
        Self::read(self, addr, dst)
    }

    fn write(&self, addr: u64, src: &[u8]) -> Result<(), Errno> {
        Self::write(self, addr, src)
    }
}
