//! getdents, getdents64; where a process stands: chdir, chroot, getcwd, umask.

use sentry_abi::Errno;
use sentry_abi::file::DIRENT64_HEADER;

use crate::syscalls::at::{done, lookup};
use crate::syscalls::table::Row;
use crate::syscalls::{Args, Outcome, SysResult};
use crate::task::Task;
use crate::vfs::attr::FileType;
use crate::vfs::creds::{MAY_EXEC, cap};
use crate::vfs::dentry::VfsPath;
use crate::vfs::walk::WalkFlags;

pub(crate) const ROWS: &[Row] = &[
    Row::full(libc::SYS_getdents, "getdents", sys_getdents),
    Row::full(libc::SYS_getdents64, "getdents64", sys_getdents64),
    Row::full(libc::SYS_chdir, "chdir", sys_chdir),
    Row::full(libc::SYS_fchdir, "fchdir", sys_fchdir),
    Row::full(libc::SYS_chroot, "chroot", sys_chroot),
    Row::full(libc::SYS_getcwd, "getcwd", sys_getcwd),
    Row::full(libc::SYS_umask, "umask", sys_umask),
];

/// Most bytes of entries that one call returns.
const MAX_LISTING: usize = 256 << 10;

/// Appends a `linux_dirent64`.
fn push_dirent64(out: &mut Vec<u8>, ino: u64, next: u64, kind: FileType, name: &[u8]) {
    let len = (DIRENT64_HEADER + name.len() + 1).next_multiple_of(8);
    let start = out.len();
    out.extend_from_slice(&ino.to_ne_bytes());
    out.extend_from_slice(&next.to_ne_bytes());
    out.extend_from_slice(&(len as u16).to_ne_bytes());
    out.push(kind.dirent_type());
    out.extend_from_slice(name);
    out.resize(start + len, 0);
}

/// Appends a `linux_dirent`: the kind is its last byte.
fn push_dirent(out: &mut Vec<u8>, ino: u64, next: u64, kind: FileType, name: &[u8]) {
    let len = (18 + name.len() + 2).next_multiple_of(8);
    let start = out.len();
    out.extend_from_slice(&ino.to_ne_bytes());
    out.extend_from_slice(&next.to_ne_bytes());
    out.extend_from_slice(&(len as u16).to_ne_bytes());
    out.extend_from_slice(name);
    out.resize(start + len, 0);
    out[start + len - 1] = kind.dirent_type();
}

type Push = fn(&mut Vec<u8>, u64, u64, FileType, &[u8]);

fn list(task: &Task, args: &Args, push: Push) -> SysResult {
    let file = task.fds.get(args.int(0))?;
    if file.path().inode().kind() != FileType::Directory {
        return Err(Errno::ENOTDIR);
    }
    let room = (args.uint(2) as usize).min(MAX_LISTING);
    let mut out = Vec::new();
    let mut full = false;
    file.read_dir(&mut |ino, next, kind, name| {
        let before = out.len();
        push(&mut out, ino, next, kind, name);
        full = out.len() > room;
        if full {
            out.truncate(before);
        }
        !full
    })?;
    if out.is_empty() && full {
        return Err(Errno::EINVAL);
    }
    task.mm.write(args.ptr(1), &out)?;
    Ok(out.len().into())
}

pub(crate) fn sys_getdents(task: &mut Task, args: &Args) -> SysResult {
    list(task, args, push_dirent)
}

pub(crate) fn sys_getdents64(task: &mut Task, args: &Args) -> SysResult {
    list(task, args, push_dirent64)
}

fn check_enterable(task: &Task, path: &VfsPath) -> Result<(), Errno> {
    if path.inode().kind() != FileType::Directory {
        return Err(Errno::ENOTDIR);
    }
    let owner = path.inode().owner()?;
    task.creds.check(&owner, FileType::Directory, MAY_EXEC)
}

pub(crate) fn sys_chdir(task: &mut Task, args: &Args) -> SysResult {
    let cx = task.path_context();
    let flags = WalkFlags::FOLLOW | WalkFlags::DIRECTORY;
    let path = lookup(task, &cx, libc::AT_FDCWD, args.ptr(0), flags)?;
    check_enterable(task, &path)?;
    task.fs.set_cwd(path);
    done()
}

pub(crate) fn sys_fchdir(task: &mut Task, args: &Args) -> SysResult {
    let file = task.fds.get_any(args.int(0))?;
    check_enterable(task, file.path())?;
    task.fs.set_cwd(file.path().clone());
    done()
}

pub(crate) fn sys_chroot(task: &mut Task, args: &Args) -> SysResult {
    let cx = task.path_context();
    let flags = WalkFlags::FOLLOW | WalkFlags::DIRECTORY;
    let path = lookup(task, &cx, libc::AT_FDCWD, args.ptr(0), flags)?;
    check_enterable(task, &path)?;
    task.creds.require(cap::SYS_CHROOT)?;
    task.fs.set_root(path);
    done()
}

pub(crate) fn sys_getcwd(task: &mut Task, args: &Args) -> SysResult {
    let (root, cwd) = (task.fs.root(), task.fs.cwd());
    if cwd.dentry.is_dead() {
        return Err(Errno::ENOENT);
    }
    let mut path = cwd.shown(&root);
    path.push(0);
    if path.len() > libc::PATH_MAX as usize {
        return Err(Errno::ENAMETOOLONG);
    }
    if path.len() > args.size(1) {
        return Err(Errno::ERANGE);
    }
    task.mm.write(args.ptr(0), &path)?;
    Ok(path.len().into())
}

pub(crate) fn sys_umask(task: &mut Task, args: &Args) -> SysResult {
    Ok(Outcome::Value(u64::from(task.fs.set_umask(args.uint(0)))))
}
