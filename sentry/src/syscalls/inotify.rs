//! inotify_init, inotify_add_watch, inotify_rm_watch.

use sentry_abi::Errno;

use crate::fs::inotify::Inotify;
use crate::syscalls::at::{done, lookup};
use crate::syscalls::table::Row;
use crate::syscalls::{Args, SysResult};
use crate::task::Task;
use crate::vfs::anon::{AnonName, open_anonymous};
use crate::vfs::attr::FileType;
use crate::vfs::creds::MAY_READ;
use crate::vfs::open::OpenFile;
use crate::vfs::ops;
use crate::vfs::walk::WalkFlags;

pub(crate) const ROWS: &[Row] = &[
    Row::full(libc::SYS_inotify_init, "inotify_init", sys_inotify_init),
    Row::full(libc::SYS_inotify_init1, "inotify_init1", sys_inotify_init1),
    Row::partial(
        libc::SYS_inotify_add_watch,
        "inotify_add_watch",
        sys_inotify_add_watch,
        "changes through other hard links, and by the host, are not seen",
    ),
    Row::full(
        libc::SYS_inotify_rm_watch,
        "inotify_rm_watch",
        sys_inotify_rm_watch,
    ),
];

fn init(task: &Task, flags: i32) -> SysResult {
    if flags & !(libc::IN_CLOEXEC | libc::IN_NONBLOCK) != 0 {
        return Err(Errno::EINVAL);
    }
    let file = open_anonymous(
        Inotify::new(),
        AnonName::Anon("inotify"),
        FileType::Regular,
        libc::O_RDONLY | flags & libc::O_NONBLOCK,
        (task.creds.fsuid, task.creds.fsgid),
    );
    let cloexec = flags & libc::IN_CLOEXEC != 0;
    let fd = task.fds.install(file, cloexec, 0, task.nofile_limit())?;
    Ok((fd as u64).into())
}

pub(crate) fn sys_inotify_init(task: &mut Task, _: &Args) -> SysResult {
    init(task, 0)
}

pub(crate) fn sys_inotify_init1(task: &mut Task, args: &Args) -> SysResult {
    init(task, args.int(0))
}

fn instance(file: &OpenFile) -> Result<&Inotify, Errno> {
    file.ops().as_any().downcast_ref().ok_or(Errno::EINVAL)
}

pub(crate) fn sys_inotify_add_watch(task: &mut Task, args: &Args) -> SysResult {
    let mask = args.uint(2);
    let file = task.fds.get(args.int(0))?;
    let either = libc::IN_MASK_ADD | libc::IN_MASK_CREATE;
    if mask & either == either {
        return Err(Errno::EINVAL);
    }
    let inotify = instance(&file)?;
    let mut flags = WalkFlags::empty();
    flags.set(WalkFlags::FOLLOW, mask & libc::IN_DONT_FOLLOW == 0);
    flags.set(WalkFlags::DIRECTORY, mask & libc::IN_ONLYDIR != 0);
    let cx = task.path_context();
    let path = lookup(task, &cx, libc::AT_FDCWD, args.ptr(1), flags)?;
    ops::access(&cx, &path, MAY_READ)?;
    Ok((inotify.add(&path.dentry, mask)? as u64).into())
}

pub(crate) fn sys_inotify_rm_watch(task: &mut Task, args: &Args) -> SysResult {
    let file = task.fds.get(args.int(0))?;
    instance(&file)?.remove(args.int(1))?;
    done()
}
