//! Descriptors that no path leads to: pipe, eventfd, memfd.

use std::sync::Arc;

use sentry_abi::Errno;

use crate::fs::eventfd::EventFd;
use crate::fs::{pipe, tmpfs};
use crate::syscalls::at::done;
use crate::syscalls::table::Row;
use crate::syscalls::{Args, SysResult};
use crate::task::Task;
use crate::vfs::anon::{AnonName, open_anonymous};
use crate::vfs::attr::FileType;

pub(crate) const ROWS: &[Row] = &[
    Row::full(libc::SYS_pipe, "pipe", sys_pipe),
    Row::partial(libc::SYS_pipe2, "pipe2", sys_pipe2, "no O_DIRECT"),
    Row::full(libc::SYS_eventfd, "eventfd", sys_eventfd),
    Row::full(libc::SYS_eventfd2, "eventfd2", sys_eventfd2),
    Row::partial(
        libc::SYS_memfd_create,
        "memfd_create",
        sys_memfd_create,
        "no MFD_HUGETLB",
    ),
];

fn owner(task: &Task) -> (u32, u32) {
    (task.creds.fsuid, task.creds.fsgid)
}

fn make_pipe(task: &Task, addr: u64, flags: i32) -> SysResult {
    if flags & !(libc::O_CLOEXEC | libc::O_NONBLOCK) != 0 {
        return Err(Errno::EINVAL);
    }
    let cloexec = flags & libc::O_CLOEXEC != 0;
    let (read, write) = pipe::pipe(flags & libc::O_NONBLOCK, owner(task));
    let limit = task.nofile_limit();
    let first = task.fds.install(read, cloexec, 0, limit)?;
    let undo = |error| {
        // It was installed just now; another thread may have closed it already.
        let _ = task.fds.close(first);
        error
    };
    let second = task.fds.install(write, cloexec, 0, limit).map_err(undo)?;
    if let Err(error) = task.mm.write_val(addr, &[first, second]) {
        let _ = task.fds.close(second);
        return Err(undo(error));
    }
    done()
}

pub(crate) fn sys_pipe(task: &mut Task, args: &Args) -> SysResult {
    make_pipe(task, args.ptr(0), 0)
}

pub(crate) fn sys_pipe2(task: &mut Task, args: &Args) -> SysResult {
    make_pipe(task, args.ptr(0), args.int(1))
}

fn eventfd(task: &Task, count: u32, flags: i32) -> SysResult {
    if flags & !(libc::EFD_CLOEXEC | libc::EFD_NONBLOCK | libc::EFD_SEMAPHORE) != 0 {
        return Err(Errno::EINVAL);
    }
    let counter = EventFd::new(u64::from(count), flags & libc::EFD_SEMAPHORE != 0);
    let file = open_anonymous(
        counter,
        AnonName::Anon("[eventfd]"),
        FileType::Regular,
        libc::O_RDWR | flags & libc::O_NONBLOCK,
        owner(task),
    );
    let cloexec = flags & libc::EFD_CLOEXEC != 0;
    let fd = task.fds.install(file, cloexec, 0, task.nofile_limit())?;
    Ok((fd as u64).into())
}

pub(crate) fn sys_eventfd(task: &mut Task, args: &Args) -> SysResult {
    eventfd(task, args.uint(0), 0)
}

pub(crate) fn sys_eventfd2(task: &mut Task, args: &Args) -> SysResult {
    eventfd(task, args.uint(0), args.int(1))
}

/// Longest name of a memfd.
const MEMFD_NAME_MAX: usize = 249;

pub(crate) fn sys_memfd_create(task: &mut Task, args: &Args) -> SysResult {
    let flags = args.uint(1);
    let known =
        libc::MFD_CLOEXEC | libc::MFD_ALLOW_SEALING | libc::MFD_NOEXEC_SEAL | libc::MFD_EXEC;
    if flags & !known != 0 {
        return Err(Errno::EINVAL);
    }
    let name = task.mm.read_cstr(args.ptr(0), MEMFD_NAME_MAX + 1);
    let name = name.map_err(|error| match error {
        Errno::ENAMETOOLONG => Errno::EINVAL,
        error => error,
    })?;
    let storage = Arc::clone(task.kernel.memory()) as Arc<dyn tmpfs::Storage>;
    let sealing = flags & (libc::MFD_ALLOW_SEALING | libc::MFD_NOEXEC_SEAL) != 0;
    let file = tmpfs::memfd(storage, &name, owner(task), sealing)?;
    let cloexec = flags & libc::MFD_CLOEXEC != 0;
    let fd = task.fds.install(file, cloexec, 0, task.nofile_limit())?;
    Ok((fd as u64).into())
}
