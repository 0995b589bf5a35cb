//! Changing attributes: mode, owner, times, size, extended attributes.

use sentry_abi::file::FileTimespec;
use sentry_abi::{Errno, SYS_FCHMODAT2};

use crate::syscalls::at::{done, follow_unless, lookup};
use crate::syscalls::table::Row;
use crate::syscalls::{Args, SysResult};
use crate::task::Task;
use crate::vfs::attr::Time;
use crate::vfs::dentry::VfsPath;
use crate::vfs::meta::{self, NewTime};
use crate::vfs::walk::WalkFlags;

pub(crate) const ROWS: &[Row] = &[
    Row::full(libc::SYS_chmod, "chmod", sys_chmod),
    Row::full(libc::SYS_fchmod, "fchmod", sys_fchmod),
    Row::full(libc::SYS_fchmodat, "fchmodat", sys_fchmodat),
    Row::full(SYS_FCHMODAT2, "fchmodat2", sys_fchmodat2),
    Row::full(libc::SYS_chown, "chown", sys_chown),
    Row::full(libc::SYS_lchown, "lchown", sys_lchown),
    Row::full(libc::SYS_fchown, "fchown", sys_fchown),
    Row::full(libc::SYS_fchownat, "fchownat", sys_fchownat),
    Row::full(libc::SYS_utime, "utime", sys_utime),
    Row::full(libc::SYS_utimes, "utimes", sys_utimes),
    Row::full(libc::SYS_futimesat, "futimesat", sys_futimesat),
    Row::full(libc::SYS_utimensat, "utimensat", sys_utimensat),
    Row::full(libc::SYS_truncate, "truncate", sys_truncate),
    Row::full(libc::SYS_ftruncate, "ftruncate", sys_ftruncate),
];

fn at_flags(flags: i32) -> Result<WalkFlags, Errno> {
    if flags & !(libc::AT_SYMLINK_NOFOLLOW | libc::AT_EMPTY_PATH) != 0 {
        return Err(Errno::EINVAL);
    }
    Ok(follow_unless(flags))
}

fn chmod_at(task: &Task, dirfd: i32, path: u64, perm: u32, flags: i32) -> SysResult {
    let cx = task.path_context();
    let path = lookup(task, &cx, dirfd, path, at_flags(flags)?)?;
    meta::chmod(&cx, &path, perm)?;
    done()
}

pub(crate) fn sys_chmod(task: &mut Task, args: &Args) -> SysResult {
    chmod_at(task, libc::AT_FDCWD, args.ptr(0), args.uint(1), 0)
}

pub(crate) fn sys_fchmod(task: &mut Task, args: &Args) -> SysResult {
    let file = task.fds.get(args.int(0))?;
    meta::chmod(&task.path_context(), file.path(), args.uint(1))?;
    done()
}

pub(crate) fn sys_fchmodat(task: &mut Task, args: &Args) -> SysResult {
    chmod_at(task, args.int(0), args.ptr(1), args.uint(2), 0)
}

pub(crate) fn sys_fchmodat2(task: &mut Task, args: &Args) -> SysResult {
    chmod_at(task, args.int(0), args.ptr(1), args.uint(2), args.int(3))
}

/// An id argument: -1 leaves it.
fn id(value: u32) -> Option<u32> {
    (value != u32::MAX).then_some(value)
}

fn chown_path(task: &Task, path: &VfsPath, uid: u32, gid: u32) -> SysResult {
    meta::chown(&task.path_context(), path, id(uid), id(gid))?;
    done()
}

fn chown_at(task: &Task, dirfd: i32, path: u64, ids: (u32, u32), flags: i32) -> SysResult {
    let cx = task.path_context();
    let path = lookup(task, &cx, dirfd, path, at_flags(flags)?)?;
    chown_path(task, &path, ids.0, ids.1)
}

pub(crate) fn sys_chown(task: &mut Task, args: &Args) -> SysResult {
    let ids = (args.uint(1), args.uint(2));
    chown_at(task, libc::AT_FDCWD, args.ptr(0), ids, 0)
}

pub(crate) fn sys_lchown(task: &mut Task, args: &Args) -> SysResult {
    let ids = (args.uint(1), args.uint(2));
    let flags = libc::AT_SYMLINK_NOFOLLOW;
    chown_at(task, libc::AT_FDCWD, args.ptr(0), ids, flags)
}

pub(crate) fn sys_fchown(task: &mut Task, args: &Args) -> SysResult {
    let file = task.fds.get(args.int(0))?;
    chown_path(task, file.path(), args.uint(1), args.uint(2))
}

pub(crate) fn sys_fchownat(task: &mut Task, args: &Args) -> SysResult {
    let ids = (args.uint(2), args.uint(3));
    chown_at(task, args.int(0), args.ptr(1), ids, args.int(4))
}

fn new_time(time: FileTimespec) -> Result<NewTime, Errno> {
    match time.nsec {
        libc::UTIME_NOW => Ok(NewTime::Now),
        libc::UTIME_OMIT => Ok(NewTime::Omit),
        0..1_000_000_000 => Ok(NewTime::At(Time {
            sec: time.sec,
            nsec: time.nsec as u32,
        })),
        _ => Err(Errno::EINVAL),
    }
}

fn set_times_at(
    task: &Task,
    dirfd: i32,
    path: u64,
    times: Option<[FileTimespec; 2]>,
    flags: i32,
) -> SysResult {
    let (atime, mtime) = match times {
        None => (NewTime::Now, NewTime::Now),
        Some([atime, mtime]) => (new_time(atime)?, new_time(mtime)?),
    };
    let cx = task.path_context();
    // A null path means the descriptor itself (futimens).
    let found = if path == 0 && dirfd != libc::AT_FDCWD {
        task.fds.get(dirfd)?.path().clone()
    } else {
        lookup(task, &cx, dirfd, path, at_flags(flags)?)?
    };
    meta::set_times(&cx, &found, atime, mtime)?;
    done()
}

pub(crate) fn sys_utimensat(task: &mut Task, args: &Args) -> SysResult {
    let times = match args.ptr(2) {
        0 => None,
        addr => Some([
            task.mm.read_val::<FileTimespec>(addr)?,
            task.mm.read_val::<FileTimespec>(addr + 16)?,
        ]),
    };
    set_times_at(task, args.int(0), args.ptr(1), times, args.int(3))
}

/// A `struct timeval` as a timespec.
fn from_micros(sec: i64, usec: i64) -> Result<FileTimespec, Errno> {
    if !(0..1_000_000).contains(&usec) {
        return Err(Errno::EINVAL);
    }
    Ok(FileTimespec {
        sec,
        nsec: usec * 1000,
    })
}

fn read_timevals(task: &Task, addr: u64) -> Result<Option<[FileTimespec; 2]>, Errno> {
    if addr == 0 {
        return Ok(None);
    }
    let values: [i64; 4] = task.mm.read_val(addr)?;
    Ok(Some([
        from_micros(values[0], values[1])?,
        from_micros(values[2], values[3])?,
    ]))
}

pub(crate) fn sys_utimes(task: &mut Task, args: &Args) -> SysResult {
    let times = read_timevals(task, args.ptr(1))?;
    set_times_at(task, libc::AT_FDCWD, args.ptr(0), times, 0)
}

pub(crate) fn sys_futimesat(task: &mut Task, args: &Args) -> SysResult {
    let times = read_timevals(task, args.ptr(2))?;
    set_times_at(task, args.int(0), args.ptr(1), times, 0)
}

pub(crate) fn sys_utime(task: &mut Task, args: &Args) -> SysResult {
    let times = match args.ptr(1) {
        0 => None,
        addr => {
            let [atime, mtime]: [i64; 2] = task.mm.read_val(addr)?;
            Some([from_micros(atime, 0)?, from_micros(mtime, 0)?])
        }
    };
    set_times_at(task, libc::AT_FDCWD, args.ptr(0), times, 0)
}

fn length(task: &Task, value: i64) -> Result<u64, Errno> {
    let size = u64::try_from(value).map_err(|_| Errno::EINVAL)?;
    if size > task.limit(libc::RLIMIT_FSIZE) {
        return Err(Errno::EFBIG);
    }
    Ok(size)
}

pub(crate) fn sys_truncate(task: &mut Task, args: &Args) -> SysResult {
    let size = length(task, args.long(1))?;
    let cx = task.path_context();
    let path = lookup(task, &cx, libc::AT_FDCWD, args.ptr(0), WalkFlags::FOLLOW)?;
    meta::truncate(&cx, &path, size)?;
    done()
}

pub(crate) fn sys_ftruncate(task: &mut Task, args: &Args) -> SysResult {
    let size = length(task, args.long(1))?;
    let file = task.fds.get(args.int(0))?;
    let regular =
        file.path().inode().kind() == crate::vfs::attr::FileType::Regular && file.ops().seekable();
    if !file.writable() || !regular {
        return Err(Errno::EINVAL);
    }
    meta::resize(file.path(), size)?;
    done()
}
