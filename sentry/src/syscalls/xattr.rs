//! Extended attributes.

use sentry_abi::Errno;

use crate::syscalls::at::{done, lookup};
use crate::syscalls::table::Row;
use crate::syscalls::{Args, SysResult};
use crate::task::Task;
use crate::vfs::dentry::VfsPath;
use crate::vfs::meta::{self, XATTR_SIZE_MAX};
use crate::vfs::walk::WalkFlags;

pub(crate) const ROWS: &[Row] = &[
    Row::full(libc::SYS_getxattr, "getxattr", sys_getxattr),
    Row::full(libc::SYS_lgetxattr, "lgetxattr", sys_lgetxattr),
    Row::full(libc::SYS_fgetxattr, "fgetxattr", sys_fgetxattr),
    Row::full(libc::SYS_setxattr, "setxattr", sys_setxattr),
    Row::full(libc::SYS_lsetxattr, "lsetxattr", sys_lsetxattr),
    Row::full(libc::SYS_fsetxattr, "fsetxattr", sys_fsetxattr),
    Row::full(libc::SYS_removexattr, "removexattr", sys_removexattr),
    Row::full(libc::SYS_lremovexattr, "lremovexattr", sys_lremovexattr),
    Row::full(libc::SYS_fremovexattr, "fremovexattr", sys_fremovexattr),
    Row::full(libc::SYS_listxattr, "listxattr", sys_listxattr),
    Row::full(libc::SYS_llistxattr, "llistxattr", sys_llistxattr),
    Row::full(libc::SYS_flistxattr, "flistxattr", sys_flistxattr),
];

fn by_path(task: &Task, args: &Args, flags: WalkFlags) -> Result<VfsPath, Errno> {
    let cx = task.path_context();
    lookup(task, &cx, libc::AT_FDCWD, args.ptr(0), flags)
}

fn by_fd(task: &Task, args: &Args) -> Result<VfsPath, Errno> {
    Ok(task.fds.get(args.int(0))?.path().clone())
}

fn name(task: &Task, addr: u64) -> Result<Vec<u8>, Errno> {
    task.mm.read_cstr(addr, 256).map_err(|error| match error {
        Errno::ENAMETOOLONG => Errno::ERANGE,
        error => error,
    })
}

/// Answers `bytes`: their length if the buffer has size 0.
fn answer(task: &Task, addr: u64, size: usize, bytes: &[u8]) -> SysResult {
    if size == 0 {
        return Ok(bytes.len().into());
    }
    if bytes.len() > size {
        return Err(Errno::ERANGE);
    }
    task.mm.write(addr, bytes)?;
    Ok(bytes.len().into())
}

fn get(task: &Task, path: &VfsPath, args: &Args) -> SysResult {
    let name = name(task, args.ptr(1))?;
    let value = meta::xattr_get(&task.path_context(), path, &name)?;
    answer(task, args.ptr(2), args.size(3), &value)
}

fn set(task: &Task, path: &VfsPath, args: &Args) -> SysResult {
    let flags = args.int(4);
    if flags & !(libc::XATTR_CREATE | libc::XATTR_REPLACE) != 0 {
        return Err(Errno::EINVAL);
    }
    let name = name(task, args.ptr(1))?;
    if args.size(3) > XATTR_SIZE_MAX {
        return Err(Errno::E2BIG);
    }
    let mut value = vec![0; args.size(3)];
    task.mm.read(args.ptr(2), &mut value)?;
    meta::xattr_set(&task.path_context(), path, &name, Some(&value), flags)?;
    done()
}

fn remove(task: &Task, path: &VfsPath, args: &Args) -> SysResult {
    let name = name(task, args.ptr(1))?;
    meta::xattr_set(&task.path_context(), path, &name, None, 0)?;
    done()
}

fn list(task: &Task, path: &VfsPath, args: &Args) -> SysResult {
    let mut bytes = Vec::new();
    for name in meta::xattr_list(&task.path_context(), path)? {
        bytes.extend_from_slice(&name);
        bytes.push(0);
    }
    answer(task, args.ptr(1), args.size(2), &bytes)
}

pub(crate) fn sys_getxattr(task: &mut Task, args: &Args) -> SysResult {
    get(task, &by_path(task, args, WalkFlags::FOLLOW)?, args)
}

pub(crate) fn sys_lgetxattr(task: &mut Task, args: &Args) -> SysResult {
    get(task, &by_path(task, args, WalkFlags::empty())?, args)
}

pub(crate) fn sys_fgetxattr(task: &mut Task, args: &Args) -> SysResult {
    get(task, &by_fd(task, args)?, args)
}

pub(crate) fn sys_setxattr(task: &mut Task, args: &Args) -> SysResult {
    set(task, &by_path(task, args, WalkFlags::FOLLOW)?, args)
}

pub(crate) fn sys_lsetxattr(task: &mut Task, args: &Args) -> SysResult {
    set(task, &by_path(task, args, WalkFlags::empty())?, args)
}

pub(crate) fn sys_fsetxattr(task: &mut Task, args: &Args) -> SysResult {
    set(task, &by_fd(task, args)?, args)
}

pub(crate) fn sys_removexattr(task: &mut Task, args: &Args) -> SysResult {
    remove(task, &by_path(task, args, WalkFlags::FOLLOW)?, args)
}

pub(crate) fn sys_lremovexattr(task: &mut Task, args: &Args) -> SysResult {
    remove(task, &by_path(task, args, WalkFlags::empty())?, args)
}

pub(crate) fn sys_fremovexattr(task: &mut Task, args: &Args) -> SysResult {
    remove(task, &by_fd(task, args)?, args)
}

pub(crate) fn sys_listxattr(task: &mut Task, args: &Args) -> SysResult {
    list(task, &by_path(task, args, WalkFlags::FOLLOW)?, args)
}

pub(crate) fn sys_llistxattr(task: &mut Task, args: &Args) -> SysResult {
    list(task, &by_path(task, args, WalkFlags::empty())?, args)
}

pub(crate) fn sys_flistxattr(task: &mut Task, args: &Args) -> SysResult {
    list(task, &by_fd(task, args)?, args)
}
