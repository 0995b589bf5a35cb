//! read, write and their kin; lseek.

use std::sync::Arc;

use sentry_abi::Errno;

use crate::mm::IoVecs;
use crate::syscalls::at::{may_wait, raise, wait_for};

use crate::syscalls::table::Row;
use crate::syscalls::{Args, Outcome, SysResult};
use crate::task::Task;
use crate::vfs::attr::FileType;
use crate::vfs::open::OpenFile;

pub(crate) const ROWS: &[Row] = &[
    Row::full(libc::SYS_read, "read", sys_read),
    Row::full(libc::SYS_write, "write", sys_write),
    Row::full(libc::SYS_pread64, "pread64", sys_pread64),
    Row::full(libc::SYS_pwrite64, "pwrite64", sys_pwrite64),
    Row::full(libc::SYS_readv, "readv", sys_readv),
    Row::full(libc::SYS_writev, "writev", sys_writev),
    Row::full(libc::SYS_preadv, "preadv", sys_preadv),
    Row::full(libc::SYS_pwritev, "pwritev", sys_pwritev),
    Row::partial(
        libc::SYS_preadv2,
        "preadv2",
        sys_preadv2,
        "of the flags RWF_NOWAIT and hints",
    ),
    Row::partial(
        libc::SYS_pwritev2,
        "pwritev2",
        sys_pwritev2,
        "of the flags RWF_NOWAIT, RWF_APPEND and hints",
    ),
    Row::full(libc::SYS_lseek, "lseek", sys_lseek),
];

/// Where in the file: at its position, or at an offset.
#[derive(Clone, Copy)]
pub(super) enum At {
    Position,
    Offset(i64),
}

/// An offset has to make sense and be of use before it matters what the file was opened for
/// (`ksys_pread64`); what is moved must end within a `loff_t` (`rw_verify_area`).
fn check_at(file: &OpenFile, iovs: &IoVecs, at: At) -> Result<(), Errno> {
    let At::Offset(offset) = at else {
        return Ok(());
    };
    if offset < 0 {
        return Err(Errno::EINVAL);
    }
    if !file.ops().seekable() {
        return Err(Errno::ESPIPE);
    }
    let len: u64 = iovs.iter().map(|iov| iov.len).sum();
    let end = offset.checked_add_unsigned(len);
    end.map(drop).ok_or(Errno::EINVAL)
}

fn read_vectors(task: &mut Task, fd: i32, iovs: IoVecs, at: At) -> SysResult {
    let file = task.fds.get(fd)?;
    check_at(&file, &iovs, at)?;
    file.check_readable()?;
    file.ops().job_control(&*task, false)?;
    let result = {
        let mut dst = task.mm.user_dst(iovs);
        match at {
            At::Position => file.read(&mut dst),
            At::Offset(offset) => file.pread(&mut dst, offset),
        }
    };
    match result {
        Ok(count) => Ok(count.into()),
        Err(Errno::EAGAIN) if may_wait(&file) => wait_for(task, &file, false),
        Err(error) => Err(error),
    }
}

/// Leaves the first `count` bytes out.
fn skip(iovs: &mut IoVecs, mut count: u64) {
    for iov in iovs {
        let part = iov.len.min(count);
        iov.addr += part;
        iov.len -= part;
        count -= part;
    }
}

/// RLIMIT_FSIZE: how much may be written at `at`. A write that would go beyond is cut short; one (of
/// `anything`) that starts beyond raises SIGXFSZ (`generic_write_check_limits`).
pub(super) fn room_to_write(
    task: &Task,
    file: &OpenFile,
    at: At,
    anything: bool,
) -> Result<u64, Errno> {
    let limit = task.limit(libc::RLIMIT_FSIZE);
    if limit == u64::MAX || file.path().inode().kind() != FileType::Regular || at_stream(file) {
        return Ok(u64::MAX);
    }
    let start = match at {
        _ if file.flags() & libc::O_APPEND != 0 => file.attr()?.size,
        At::Position => file.position(),
        At::Offset(offset) => offset as u64,
    };
    let room = limit.saturating_sub(start);
    if room == 0 && anything {
        raise(task, libc::SIGXFSZ);
        return Err(Errno::EFBIG);
    }
    Ok(room)
}

fn keep_to_file_size(task: &Task, file: &OpenFile, iovs: &mut IoVecs, at: At) -> Result<(), Errno> {
    let anything = iovs.iter().any(|iov| iov.len > 0);
    let mut room = room_to_write(task, file, at, anything)?;
    for iov in iovs {
        iov.len = iov.len.min(room);
        room -= iov.len;
    }
    Ok(())
}

fn write_vectors(task: &mut Task, fd: i32, mut iovs: IoVecs, at: At) -> SysResult {
    let file = task.fds.get(fd)?;
    check_at(&file, &iovs, at)?;
    file.check_writable()?;
    file.ops().job_control(&*task, true)?;
    let before = task.call_state.progress;
    skip(&mut iovs, before);
    keep_to_file_size(task, &file, &mut iovs, at)?;
    let wanted = iovs.iter().map(|iov| iov.len).sum::<u64>() as usize;
    let result = {
        let mut src = task.mm.user_src(iovs);
        match at {
            At::Position => file.write(&mut src),
            At::Offset(offset) => file.pwrite(&mut src, offset),
        }
    };
    match result {
        Ok(count) if count < wanted && may_wait(&file) && at_stream(&file) => {
            task.call_state.progress = before + count as u64;
            task.call_state.partly_done(task.call_state.progress);
            or_progress(task, &file)
        }
        Ok(count) => Ok((before + count as u64).into()),
        Err(Errno::EAGAIN) if may_wait(&file) => or_progress(task, &file),
        Err(error) => {
            if error == Errno::EPIPE && before == 0 {
                raise(task, libc::SIGPIPE);
            }
            if before > 0 {
                Ok(before.into())
            } else {
                Err(error)
            }
        }
    }
}

/// Pipes, sockets and terminals write everything before they return; files write what fits.
fn at_stream(file: &OpenFile) -> bool {
    !file.ops().seekable()
}

fn or_progress(task: &mut Task, file: &Arc<OpenFile>) -> SysResult {
    match wait_for(task, file, true) {
        Err(Errno::EAGAIN) if task.call_state.progress > 0 => Ok(task.call_state.progress.into()),
        other => other,
    }
}

pub(crate) fn sys_read(task: &mut Task, args: &Args) -> SysResult {
    let iovs = task.mm.one_iovec(args.ptr(1), args.ptr(2))?;
    read_vectors(task, args.int(0), iovs, At::Position)
}

pub(crate) fn sys_write(task: &mut Task, args: &Args) -> SysResult {
    let iovs = task.mm.one_iovec(args.ptr(1), args.ptr(2))?;
    write_vectors(task, args.int(0), iovs, At::Position)
}

pub(crate) fn sys_pread64(task: &mut Task, args: &Args) -> SysResult {
    let iovs = task.mm.one_iovec(args.ptr(1), args.ptr(2))?;
    read_vectors(task, args.int(0), iovs, At::Offset(args.long(3)))
}

pub(crate) fn sys_pwrite64(task: &mut Task, args: &Args) -> SysResult {
    let iovs = task.mm.one_iovec(args.ptr(1), args.ptr(2))?;
    write_vectors(task, args.int(0), iovs, At::Offset(args.long(3)))
}

fn vectors(task: &Task, args: &Args) -> Result<IoVecs, Errno> {
    // `import_iovec` takes an `unsigned`: the upper half of the register is not looked at.
    task.mm.read_iovecs(args.ptr(1), args.uint(2) as usize)
}

pub(crate) fn sys_readv(task: &mut Task, args: &Args) -> SysResult {
    let iovs = vectors(task, args)?;
    read_vectors(task, args.int(0), iovs, At::Position)
}

pub(crate) fn sys_writev(task: &mut Task, args: &Args) -> SysResult {
    let iovs = vectors(task, args)?;
    write_vectors(task, args.int(0), iovs, At::Position)
}

pub(crate) fn sys_preadv(task: &mut Task, args: &Args) -> SysResult {
    let iovs = vectors(task, args)?;
    read_vectors(task, args.int(0), iovs, At::Offset(args.long(3)))
}

pub(crate) fn sys_pwritev(task: &mut Task, args: &Args) -> SysResult {
    let iovs = vectors(task, args)?;
    write_vectors(task, args.int(0), iovs, At::Offset(args.long(3)))
}

const HINTS: i32 = libc::RWF_HIPRI | libc::RWF_DSYNC | libc::RWF_SYNC;

fn at(offset: i64) -> At {
    if offset == -1 {
        At::Position
    } else {
        At::Offset(offset)
    }
}

fn without_waiting(flags: i32, result: SysResult) -> SysResult {
    match result {
        Ok(Outcome::Block(_)) if flags & libc::RWF_NOWAIT != 0 => Err(Errno::EAGAIN),
        other => other,
    }
}

pub(crate) fn sys_preadv2(task: &mut Task, args: &Args) -> SysResult {
    let flags = args.int(5);
    if flags & !(HINTS | libc::RWF_NOWAIT) != 0 {
        return Err(Errno::EOPNOTSUPP);
    }
    let iovs = vectors(task, args)?;
    without_waiting(
        flags,
        read_vectors(task, args.int(0), iovs, at(args.long(3))),
    )
}

pub(crate) fn sys_pwritev2(task: &mut Task, args: &Args) -> SysResult {
    let flags = args.int(5);
    if flags & !(HINTS | libc::RWF_NOWAIT | libc::RWF_APPEND) != 0 {
        return Err(Errno::EOPNOTSUPP);
    }
    let iovs = vectors(task, args)?;
    if flags & libc::RWF_APPEND != 0 {
        let file = task.fds.get(args.int(0))?;
        file.check_writable()?;
        let mut src = task.mm.user_src(iovs);
        return Ok(file.ops().append(&mut src)?.0.into());
    }
    without_waiting(
        flags,
        write_vectors(task, args.int(0), iovs, at(args.long(3))),
    )
}

pub(crate) fn sys_lseek(task: &mut Task, args: &Args) -> SysResult {
    let file = task.fds.get(args.int(0))?;
    Ok(file.seek(args.long(1), args.int(2))?.into())
}
