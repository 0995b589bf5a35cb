//! signalfd, signalfd4.

use sentry_abi::Errno;

use crate::signals::SigSet;
use crate::signals::signalfd::SignalFd;
use crate::syscalls::table::Row;
use crate::syscalls::{Args, SysResult};
use crate::task::Task;
use crate::vfs::anon::{AnonName, open_anonymous};
use crate::vfs::attr::FileType;

pub(crate) const ROWS: &[Row] = &[
    Row::full(libc::SYS_signalfd, "signalfd", sys_signalfd),
    Row::full(libc::SYS_signalfd4, "signalfd4", sys_signalfd4),
];

fn sys_signalfd(task: &mut Task, args: &Args) -> SysResult {
    signalfd(task, args, 0)
}

fn sys_signalfd4(task: &mut Task, args: &Args) -> SysResult {
    signalfd(task, args, args.int(3))
}

fn signalfd(task: &mut Task, args: &Args, flags: i32) -> SysResult {
    if flags & !(libc::SFD_CLOEXEC | libc::SFD_NONBLOCK) != 0 || args.0[2] != 8 {
        return Err(Errno::EINVAL);
    }
    let mask = SigSet(task.mm.read_val(args.ptr(1))?).without(SigSet::UNBLOCKABLE);
    let fd = args.int(0);
    if fd != -1 {
        let file = task.fds.get(fd)?;
        let signals: Option<&SignalFd> = file.ops().as_any().downcast_ref();
        signals.ok_or(Errno::EINVAL)?.set_mask(mask);
        return Ok((fd as u64).into());
    }
    let queue = task.process().signal_readers.clone();
    let file = open_anonymous(
        SignalFd::new(mask, queue),
        AnonName::Anon("[signalfd]"),
        FileType::Regular,
        libc::O_RDWR | flags & libc::O_NONBLOCK,
        (task.creds.fsuid, task.creds.fsgid),
    );
    let cloexec = flags & libc::SFD_CLOEXEC != 0;
    let fd = task.fds.install(file, cloexec, 0, task.nofile_limit())?;
    Ok((fd as u64).into())
}
