//! stat, statx, access, statfs.

use sentry_abi::Errno;
use sentry_abi::file::{FileTimespec, Stat, Statfs, Statx, StatxTimestamp};

use crate::syscalls::at::{done, follow_unless, lookup, read_path, start};
use crate::syscalls::table::Row;
use crate::syscalls::{Args, SysResult};
use crate::task::Task;
use crate::vfs::attr::{Attr, Time, split_dev};
use crate::vfs::dentry::VfsPath;
use crate::vfs::mount::MountFlags;
use crate::vfs::ops;
use crate::vfs::walk::{self, WalkFlags};
use std::sync::Arc;

pub(crate) const ROWS: &[Row] = &[
    Row::full(libc::SYS_stat, "stat", sys_stat),
    Row::full(libc::SYS_lstat, "lstat", sys_lstat),
    Row::full(libc::SYS_fstat, "fstat", sys_fstat),
    Row::full(libc::SYS_newfstatat, "newfstatat", sys_newfstatat),
    Row::full(libc::SYS_statx, "statx", sys_statx),
    Row::full(libc::SYS_access, "access", sys_access),
    Row::full(libc::SYS_faccessat, "faccessat", sys_faccessat),
    Row::full(libc::SYS_faccessat2, "faccessat2", sys_faccessat2),
    Row::full(libc::SYS_statfs, "statfs", sys_statfs),
    Row::full(libc::SYS_fstatfs, "fstatfs", sys_fstatfs),
];

fn timespec(time: Time) -> FileTimespec {
    FileTimespec {
        sec: time.sec,
        nsec: i64::from(time.nsec),
    }
}

fn to_stat(attr: &Attr) -> Stat {
    Stat {
        dev: attr.dev,
        ino: attr.ino,
        nlink: u64::from(attr.nlink),
        mode: attr.mode(),
        uid: attr.uid,
        gid: attr.gid,
        rdev: attr.rdev,
        size: attr.size as i64,
        blksize: i64::from(attr.blksize),
        blocks: attr.blocks as i64,
        atime: timespec(attr.atime),
        mtime: timespec(attr.mtime),
        ctime: timespec(attr.ctime),
        ..Stat::default()
    }
}

fn put_stat(task: &Task, addr: u64, attr: &Attr) -> SysResult {
    task.mm.write_val(addr, &to_stat(attr))?;
    done()
}

pub(crate) fn sys_stat(task: &mut Task, args: &Args) -> SysResult {
    let cx = task.path_context();
    let path = lookup(task, &cx, libc::AT_FDCWD, args.ptr(0), WalkFlags::FOLLOW)?;
    put_stat(task, args.ptr(1), &path.inode().attr()?)
}

pub(crate) fn sys_lstat(task: &mut Task, args: &Args) -> SysResult {
    let cx = task.path_context();
    let path = lookup(task, &cx, libc::AT_FDCWD, args.ptr(0), WalkFlags::empty())?;
    put_stat(task, args.ptr(1), &path.inode().attr()?)
}

pub(crate) fn sys_fstat(task: &mut Task, args: &Args) -> SysResult {
    let attr = task.fds.get_any(args.int(0))?.attr()?;
    put_stat(task, args.ptr(1), &attr)
}

/// The attributes of `dirfd` and a path, with `AT_EMPTY_PATH` (and a null path) considered.
fn attr_at(
    task: &Task,
    dirfd: i32,
    path_addr: u64,
    flags: i32,
) -> Result<(Attr, Option<VfsPath>), Errno> {
    let path = if path_addr == 0 && flags & libc::AT_EMPTY_PATH != 0 {
        Vec::new()
    } else {
        read_path(task, path_addr)?
    };
    if path.is_empty() && flags & libc::AT_EMPTY_PATH != 0 && dirfd != libc::AT_FDCWD {
        let file = task.fds.get_any(dirfd)?;
        return Ok((file.attr()?, Some(file.path().clone())));
    }
    let cx = task.path_context();
    let from = start(task, &cx, dirfd, &path)?;
    let found = walk::lookup(&cx, &from, &path, follow_unless(flags))?;
    Ok((found.inode().attr()?, Some(found)))
}

pub(crate) fn sys_newfstatat(task: &mut Task, args: &Args) -> SysResult {
    let flags = args.int(3);
    let known = libc::AT_SYMLINK_NOFOLLOW | libc::AT_EMPTY_PATH | libc::AT_NO_AUTOMOUNT;
    if flags & !known != 0 {
        return Err(Errno::EINVAL);
    }
    let (attr, _) = attr_at(task, args.int(0), args.ptr(1), flags)?;
    put_stat(task, args.ptr(2), &attr)
}

fn statx_time(time: Time) -> StatxTimestamp {
    StatxTimestamp {
        sec: time.sec,
        nsec: time.nsec,
        reserved: 0,
    }
}

fn to_statx(attr: &Attr, path: Option<&VfsPath>) -> Statx {
    let (rdev_major, rdev_minor) = split_dev(attr.rdev);
    let (dev_major, dev_minor) = split_dev(attr.dev);
    let mount_root = path.is_some_and(VfsPath::is_mount_root);
    let root_bit = libc::STATX_ATTR_MOUNT_ROOT as u64;
    Statx {
        mask: libc::STATX_BASIC_STATS | libc::STATX_MNT_ID,
        blksize: attr.blksize,
        attributes: if mount_root { root_bit } else { 0 },
        attributes_mask: root_bit,
        nlink: attr.nlink,
        uid: attr.uid,
        gid: attr.gid,
        mode: attr.mode() as u16,
        ino: attr.ino,
        size: attr.size,
        blocks: attr.blocks,
        atime: statx_time(attr.atime),
        ctime: statx_time(attr.ctime),
        mtime: statx_time(attr.mtime),
        rdev_major,
        rdev_minor,
        dev_major,
        dev_minor,
        mnt_id: path.map_or(0, |path| path.mount.id),
        ..Statx::default()
    }
}

pub(crate) fn sys_statx(task: &mut Task, args: &Args) -> SysResult {
    let flags = args.int(2);
    let known = libc::AT_SYMLINK_NOFOLLOW
        | libc::AT_EMPTY_PATH
        | libc::AT_NO_AUTOMOUNT
        | libc::AT_STATX_SYNC_TYPE;
    let both = flags & libc::AT_STATX_SYNC_TYPE == libc::AT_STATX_SYNC_TYPE;
    if flags & !known != 0 || both || args.uint(3) & 0x8000_0000 != 0 {
        return Err(Errno::EINVAL);
    }
    let (attr, path) = attr_at(task, args.int(0), args.ptr(1), flags)?;
    task.mm
        .write_val(args.ptr(4), &to_statx(&attr, path.as_ref()))?;
    done()
}

fn access_at(task: &Task, dirfd: i32, path: u64, mode: i32, flags: i32) -> SysResult {
    let known = libc::AT_EACCESS | libc::AT_SYMLINK_NOFOLLOW | libc::AT_EMPTY_PATH;
    if mode & !7 != 0 || flags & !known != 0 {
        return Err(Errno::EINVAL);
    }
    let mut cx = task.path_context();
    if flags & libc::AT_EACCESS == 0 {
        cx.creds = Arc::new(cx.creds.real());
    }
    let found = lookup(task, &cx, dirfd, path, follow_unless(flags))?;
    if mode != 0 {
        ops::access(&cx, &found, mode as u32)?;
    }
    done()
}

pub(crate) fn sys_access(task: &mut Task, args: &Args) -> SysResult {
    access_at(task, libc::AT_FDCWD, args.ptr(0), args.int(1), 0)
}

pub(crate) fn sys_faccessat(task: &mut Task, args: &Args) -> SysResult {
    access_at(task, args.int(0), args.ptr(1), args.int(2), 0)
}

pub(crate) fn sys_faccessat2(task: &mut Task, args: &Args) -> SysResult {
    access_at(task, args.int(0), args.ptr(1), args.int(2), args.int(3))
}

fn put_statfs(task: &Task, addr: u64, path: &VfsPath) -> SysResult {
    let stat = path.inode().fs_stat()?;
    let flags = path.mount.flags();
    let shown = [
        (MountFlags::READ_ONLY, libc::ST_RDONLY),
        (MountFlags::NO_SUID, libc::ST_NOSUID),
        (MountFlags::NO_DEV, libc::ST_NODEV),
        (MountFlags::NO_EXEC, libc::ST_NOEXEC),
    ];
    // ST_VALID: the flags are meant.
    let bits = shown.iter().filter(|(flag, _)| flags.contains(*flag));
    let bits = bits.fold(0x20, |all, (_, bit)| all | *bit as i64);
    let value = Statfs {
        kind: stat.magic,
        bsize: stat.block_size as i64,
        blocks: stat.blocks,
        bfree: stat.free,
        bavail: stat.free,
        files: stat.files,
        ffree: stat.files_free,
        namelen: walk::NAME_MAX as i64,
        frsize: stat.block_size as i64,
        flags: bits,
        ..Statfs::default()
    };
    task.mm.write_val(addr, &value)?;
    done()
}

pub(crate) fn sys_statfs(task: &mut Task, args: &Args) -> SysResult {
    let cx = task.path_context();
    let path = lookup(task, &cx, libc::AT_FDCWD, args.ptr(0), WalkFlags::FOLLOW)?;
    put_statfs(task, args.ptr(1), &path)
}

pub(crate) fn sys_fstatfs(task: &mut Task, args: &Args) -> SysResult {
    let file = task.fds.get_any(args.int(0))?;
    put_statfs(task, args.ptr(1), file.path())
}
