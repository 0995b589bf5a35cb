//! Making data durable, allocating, and hints: fsync, fallocate, fadvise.

use sentry_abi::Errno;

use crate::syscalls::at::done;
use crate::syscalls::table::Row;
use crate::syscalls::{Args, SysResult};
use crate::task::Task;
use crate::vfs::attr::FileType;

pub(crate) const ROWS: &[Row] = &[
    Row::full(libc::SYS_fsync, "fsync", sys_fsync),
    Row::full(libc::SYS_fdatasync, "fdatasync", sys_fdatasync),
    Row::partial(
        libc::SYS_sync,
        "sync",
        sys_sync,
        "files are not written back",
    ),
    Row::partial(
        libc::SYS_syncfs,
        "syncfs",
        sys_syncfs,
        "files are not written back",
    ),
    Row::partial(
        libc::SYS_sync_file_range,
        "sync_file_range",
        sys_sync_file_range,
        "writes the whole file back",
    ),
    Row::partial(
        libc::SYS_fallocate,
        "fallocate",
        sys_fallocate,
        "no FALLOC_FL_COLLAPSE_RANGE, FALLOC_FL_INSERT_RANGE in memory",
    ),
    Row::full(libc::SYS_fadvise64, "fadvise64", sys_fadvise64),
    Row::full(libc::SYS_readahead, "readahead", sys_readahead),
];

pub(crate) fn sys_fsync(task: &mut Task, args: &Args) -> SysResult {
    task.fds.get(args.int(0))?.ops().sync(false)?;
    done()
}

pub(crate) fn sys_fdatasync(task: &mut Task, args: &Args) -> SysResult {
    task.fds.get(args.int(0))?.ops().sync(true)?;
    done()
}

pub(crate) fn sys_sync(_: &mut Task, _: &Args) -> SysResult {
    done()
}

pub(crate) fn sys_syncfs(task: &mut Task, args: &Args) -> SysResult {
    task.fds.get(args.int(0))?;
    done()
}

pub(crate) fn sys_sync_file_range(task: &mut Task, args: &Args) -> SysResult {
    let file = task.fds.get(args.int(0))?;
    const KNOWN: u32 = 7; // WAIT_BEFORE, WRITE, WAIT_AFTER
    let end = args.long(1).checked_add(args.long(2));
    if args.long(1) < 0 || end.is_none_or(|end| end < args.long(1)) || args.uint(3) & !KNOWN != 0 {
        return Err(Errno::EINVAL);
    }
    let kind = file.path().inode().kind();
    if !matches!(kind, FileType::Regular | FileType::Directory) || !file.ops().seekable() {
        return Err(Errno::ESPIPE);
    }
    file.ops().sync(true)?;
    done()
}

pub(crate) fn sys_fallocate(task: &mut Task, args: &Args) -> SysResult {
    let file = task.fds.get(args.int(0))?;
    let (offset, len) = (args.long(2), args.long(3));
    if offset < 0 || len <= 0 {
        return Err(Errno::EINVAL);
    }
    const KNOWN: i32 = 0x7f; // KEEP_SIZE to UNSHARE_RANGE
    if args.int(1) & !KNOWN != 0 {
        return Err(Errno::EOPNOTSUPP);
    }
    file.check_writable()?;
    let end = offset.checked_add(len).ok_or(Errno::EFBIG)?;
    if end as u64 > task.limit(libc::RLIMIT_FSIZE) {
        return Err(Errno::EFBIG);
    }
    match file.path().inode().kind() {
        FileType::Regular => {}
        FileType::Fifo => return Err(Errno::ESPIPE),
        FileType::Directory => return Err(Errno::EISDIR),
        _ => return Err(Errno::ENODEV),
    }
    file.ops()
        .allocate(args.int(1), offset as u64, len as u64)?;
    done()
}

pub(crate) fn sys_fadvise64(task: &mut Task, args: &Args) -> SysResult {
    let file = task.fds.get(args.int(0))?;
    if file.path().inode().kind() == FileType::Fifo {
        return Err(Errno::ESPIPE);
    }
    let known = libc::POSIX_FADV_NORMAL..=libc::POSIX_FADV_NOREUSE;
    if args.long(2) < 0 || !known.contains(&args.int(3)) {
        return Err(Errno::EINVAL);
    }
    done()
}

pub(crate) fn sys_readahead(task: &mut Task, args: &Args) -> SysResult {
    let file = task.fds.get(args.int(0))?;
    file.check_readable()?;
    let negative = args.long(2) < 0;
    if negative || file.path().inode().kind() != FileType::Regular || !file.ops().seekable() {
        return Err(Errno::EINVAL);
    }
    done()
}
