//! Making, removing, renaming and linking names; symbolic links.

use std::sync::Arc;

use sentry_abi::Errno;

use crate::syscalls::at::{done, lookup, lookup_new, lookup_parent, read_path, start};
use crate::syscalls::table::Row;
use crate::syscalls::{Args, SysResult};
use crate::task::Task;
use crate::vfs::attr::FileType;
use crate::vfs::creds::cap;
use crate::vfs::modify::{self, Place};
use crate::vfs::walk::{self, Last, PATH_MAX, WalkFlags};

pub(crate) const ROWS: &[Row] = &[
    Row::full(libc::SYS_mkdir, "mkdir", sys_mkdir),
    Row::full(libc::SYS_mkdirat, "mkdirat", sys_mkdirat),
    Row::full(libc::SYS_mknod, "mknod", sys_mknod),
    Row::full(libc::SYS_mknodat, "mknodat", sys_mknodat),
    Row::full(libc::SYS_rmdir, "rmdir", sys_rmdir),
    Row::full(libc::SYS_unlink, "unlink", sys_unlink),
    Row::full(libc::SYS_unlinkat, "unlinkat", sys_unlinkat),
    Row::full(libc::SYS_rename, "rename", sys_rename),
    Row::full(libc::SYS_renameat, "renameat", sys_renameat),
    Row::partial(
        libc::SYS_renameat2,
        "renameat2",
        sys_renameat2,
        "no RENAME_WHITEOUT",
    ),
    Row::full(libc::SYS_link, "link", sys_link),
    Row::full(libc::SYS_linkat, "linkat", sys_linkat),
    Row::full(libc::SYS_symlink, "symlink", sys_symlink),
    Row::full(libc::SYS_symlinkat, "symlinkat", sys_symlinkat),
    Row::full(libc::SYS_readlink, "readlink", sys_readlink),
    Row::full(libc::SYS_readlinkat, "readlinkat", sys_readlinkat),
];

fn mkdir(task: &Task, dirfd: i32, path: u64, mode: u32) -> SysResult {
    let cx = task.path_context();
    let (dir, name, _) = lookup_new(task, &cx, dirfd, path)?;
    // Of the special bits only the sticky one is the caller's to give.
    modify::create(&cx, &dir, &name, FileType::Directory, mode & 0o1777, 0, b"")?;
    done()
}

pub(crate) fn sys_mkdir(task: &mut Task, args: &Args) -> SysResult {
    mkdir(task, libc::AT_FDCWD, args.ptr(0), args.uint(1))
}

pub(crate) fn sys_mkdirat(task: &mut Task, args: &Args) -> SysResult {
    mkdir(task, args.int(0), args.ptr(1), args.uint(2))
}

fn mknod(task: &Task, dirfd: i32, path: u64, mode: u32, dev: u32) -> SysResult {
    let kind = match mode & libc::S_IFMT {
        0 => FileType::Regular,
        libc::S_IFDIR => return Err(Errno::EPERM),
        _ => FileType::from_mode(mode).ok_or(Errno::EINVAL)?,
    };
    if kind == FileType::Symlink {
        return Err(Errno::EINVAL);
    }
    let cx = task.path_context();
    let (dir, name, slash) = lookup_new(task, &cx, dirfd, path)?;
    if slash {
        return Err(Errno::ENOENT);
    }
    let device = matches!(kind, FileType::CharDevice | FileType::BlockDevice);
    let dev = if device { u64::from(dev) } else { 0 };
    modify::create(&cx, &dir, &name, kind, mode & 0o7777, dev, b"")?;
    done()
}

pub(crate) fn sys_mknod(task: &mut Task, args: &Args) -> SysResult {
    let (path, mode, dev) = (args.ptr(0), args.uint(1), args.uint(2));
    mknod(task, libc::AT_FDCWD, path, mode, dev)
}

pub(crate) fn sys_mknodat(task: &mut Task, args: &Args) -> SysResult {
    mknod(task, args.int(0), args.ptr(1), args.uint(2), args.uint(3))
}

fn remove(task: &Task, dirfd: i32, path_addr: u64, directory: bool) -> SysResult {
    let cx = task.path_context();
    let path = read_path(task, path_addr)?;
    let from = start(task, &cx, dirfd, &path)?;
    let (dir, last) = walk::lookup_parent(&cx, &from, &path)?;
    let (name, slash) = match last {
        Last::Name(name, slash) => (name, slash),
        Last::Here if !directory => return Err(Errno::EISDIR),
        Last::Here => return Err(rmdir_here(&path)),
    };
    if slash && !directory {
        // A slash promises a directory: say what is wrong with that.
        let found = walk::lookup(&cx, &dir, &name, WalkFlags::empty())?;
        let is_dir = found.inode().kind() == FileType::Directory;
        return Err(if is_dir {
            Errno::EISDIR
        } else {
            Errno::ENOTDIR
        });
    }
    modify::remove(&cx, &dir, &name, directory)?;
    done()
}

/// What rmdir(2) says of a path that ends in `.`, `..` or is `/`.
fn rmdir_here(path: &[u8]) -> Errno {
    let trimmed = path.iter().rposition(|&byte| byte != b'/');
    let path = trimmed.map_or(&b"/"[..], |end| &path[..=end]);
    match path.rsplit(|&byte| byte == b'/').next() {
        Some(b"..") => Errno::ENOTEMPTY,
        Some(b".") => Errno::EINVAL,
        _ => Errno::EBUSY,
    }
}

pub(crate) fn sys_rmdir(task: &mut Task, args: &Args) -> SysResult {
    remove(task, libc::AT_FDCWD, args.ptr(0), true)
}

pub(crate) fn sys_unlink(task: &mut Task, args: &Args) -> SysResult {
    remove(task, libc::AT_FDCWD, args.ptr(0), false)
}

pub(crate) fn sys_unlinkat(task: &mut Task, args: &Args) -> SysResult {
    let flags = args.int(2);
    if flags & !libc::AT_REMOVEDIR != 0 {
        return Err(Errno::EINVAL);
    }
    remove(task, args.int(0), args.ptr(1), flags != 0)
}

fn rename(task: &Task, from: (i32, u64), to: (i32, u64), flags: u32) -> SysResult {
    if flags & !(libc::RENAME_NOREPLACE | libc::RENAME_EXCHANGE) != 0 {
        return Err(Errno::EINVAL);
    }
    if flags.count_ones() > 1 {
        return Err(Errno::EINVAL);
    }
    let cx = task.path_context();
    let (from_dir, from_last) = lookup_parent(task, &cx, from.0, from.1)?;
    let (to_dir, to_last) = lookup_parent(task, &cx, to.0, to.1)?;
    if !Arc::ptr_eq(&from_dir.mount, &to_dir.mount) {
        return Err(Errno::EXDEV);
    }
    let (Last::Name(from_name, from_slash), Last::Name(to_name, to_slash)) = (from_last, to_last)
    else {
        return Err(Errno::EBUSY);
    };
    let from = Place {
        dir: &from_dir,
        name: &from_name,
        slash: from_slash,
    };
    let to = Place {
        dir: &to_dir,
        name: &to_name,
        slash: to_slash,
    };
    modify::rename(&cx, &from, &to, flags)?;
    done()
}

pub(crate) fn sys_rename(task: &mut Task, args: &Args) -> SysResult {
    let cwd = libc::AT_FDCWD;
    rename(task, (cwd, args.ptr(0)), (cwd, args.ptr(1)), 0)
}

pub(crate) fn sys_renameat(task: &mut Task, args: &Args) -> SysResult {
    let from = (args.int(0), args.ptr(1));
    rename(task, from, (args.int(2), args.ptr(3)), 0)
}

pub(crate) fn sys_renameat2(task: &mut Task, args: &Args) -> SysResult {
    let from = (args.int(0), args.ptr(1));
    rename(task, from, (args.int(2), args.ptr(3)), args.uint(4))
}

fn link(task: &Task, from: (i32, u64), to: (i32, u64), flags: i32) -> SysResult {
    if flags & !(libc::AT_SYMLINK_FOLLOW | libc::AT_EMPTY_PATH) != 0 {
        return Err(Errno::EINVAL);
    }
    let cx = task.path_context();
    let mut walk = WalkFlags::empty();
    walk.set(WalkFlags::FOLLOW, flags & libc::AT_SYMLINK_FOLLOW != 0);
    if flags & libc::AT_EMPTY_PATH != 0 {
        task.creds
            .require(cap::DAC_READ_SEARCH)
            .map_err(|_| Errno::ENOENT)?;
        walk |= WalkFlags::EMPTY;
    }
    let target = lookup(task, &cx, from.0, from.1, walk)?;
    let (dir, name, slash) = lookup_new(task, &cx, to.0, to.1)?;
    if slash {
        return Err(Errno::ENOENT);
    }
    modify::link(&cx, &target, &dir, &name)?;
    done()
}

pub(crate) fn sys_link(task: &mut Task, args: &Args) -> SysResult {
    let cwd = libc::AT_FDCWD;
    link(task, (cwd, args.ptr(0)), (cwd, args.ptr(1)), 0)
}

pub(crate) fn sys_linkat(task: &mut Task, args: &Args) -> SysResult {
    let from = (args.int(0), args.ptr(1));
    link(task, from, (args.int(2), args.ptr(3)), args.int(4))
}

fn symlink(task: &Task, target: u64, dirfd: i32, path: u64) -> SysResult {
    let target = task.mm.read_cstr(target, PATH_MAX)?;
    if target.is_empty() {
        return Err(Errno::ENOENT);
    }
    let cx = task.path_context();
    let (dir, name, slash) = lookup_new(task, &cx, dirfd, path)?;
    if slash {
        return Err(Errno::ENOENT);
    }
    modify::create(&cx, &dir, &name, FileType::Symlink, 0o777, 0, &target)?;
    done()
}

pub(crate) fn sys_symlink(task: &mut Task, args: &Args) -> SysResult {
    symlink(task, args.ptr(0), libc::AT_FDCWD, args.ptr(1))
}

pub(crate) fn sys_symlinkat(task: &mut Task, args: &Args) -> SysResult {
    symlink(task, args.ptr(0), args.int(1), args.ptr(2))
}

fn readlink(task: &Task, dirfd: i32, path: u64, buffer: u64, size: i32) -> SysResult {
    let size = usize::try_from(size).ok().filter(|&size| size > 0);
    let size = size.ok_or(Errno::EINVAL)?;
    let cx = task.path_context();
    let found = lookup(task, &cx, dirfd, path, WalkFlags::EMPTY)?;
    if found.inode().kind() != FileType::Symlink {
        let empty = read_path(task, path)?.is_empty();
        return Err(if empty { Errno::ENOENT } else { Errno::EINVAL });
    }
    let target = found.inode().readlink(&cx)?;
    let shown = &target[..target.len().min(size)];
    task.mm.write(buffer, shown)?;
    Ok(shown.len().into())
}

pub(crate) fn sys_readlink(task: &mut Task, args: &Args) -> SysResult {
    // Only readlinkat knows the empty path.
    if read_path(task, args.ptr(0))?.is_empty() {
        return Err(Errno::ENOENT);
    }
    readlink(task, libc::AT_FDCWD, args.ptr(0), args.ptr(1), args.int(2))
}

pub(crate) fn sys_readlinkat(task: &mut Task, args: &Args) -> SysResult {
    readlink(task, args.int(0), args.ptr(1), args.ptr(2), args.int(3))
}
