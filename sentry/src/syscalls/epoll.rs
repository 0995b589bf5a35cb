//! epoll_create, epoll_ctl, epoll_wait.

use std::sync::Arc;

use sentry_abi::Errno;
use sentry_abi::file::EpollEvent;
use zerocopy::IntoBytes;

use crate::fs::epoll::Epoll;
use crate::syscalls::at::done;
use crate::syscalls::poll::{millis_ns, read_timeout, temporary_mask};
use crate::syscalls::table::Row;
use crate::syscalls::{Args, Block, OnSignal, SysResult};
use crate::task::Task;
use crate::vfs::anon::{AnonName, open_anonymous};
use crate::vfs::attr::FileType;
use crate::vfs::open::OpenFile;
use crate::wait::Ready;

pub(crate) const ROWS: &[Row] = &[
    Row::full(libc::SYS_epoll_create, "epoll_create", sys_epoll_create),
    Row::full(libc::SYS_epoll_create1, "epoll_create1", sys_epoll_create1),
    Row::partial(
        libc::SYS_epoll_ctl,
        "epoll_ctl",
        sys_epoll_ctl,
        "EPOLLEXCLUSIVE wakes all",
    ),
    Row::full(libc::SYS_epoll_wait, "epoll_wait", sys_epoll_wait),
    Row::full(libc::SYS_epoll_pwait, "epoll_pwait", sys_epoll_pwait),
    Row::full(libc::SYS_epoll_pwait2, "epoll_pwait2", sys_epoll_pwait2),
];

fn create(task: &Task, cloexec: bool) -> SysResult {
    let owner = (task.creds.fsuid, task.creds.fsgid);
    let file = open_anonymous(
        Epoll::new(),
        AnonName::Anon("[eventpoll]"),
        FileType::Regular,
        libc::O_RDWR,
        owner,
    );
    let fd = task.fds.install(file, cloexec, 0, task.nofile_limit())?;
    Ok((fd as u64).into())
}

pub(crate) fn sys_epoll_create(task: &mut Task, args: &Args) -> SysResult {
    if args.int(0) <= 0 {
        return Err(Errno::EINVAL);
    }
    create(task, false)
}

pub(crate) fn sys_epoll_create1(task: &mut Task, args: &Args) -> SysResult {
    if args.int(0) & !libc::EPOLL_CLOEXEC != 0 {
        return Err(Errno::EINVAL);
    }
    create(task, args.int(0) != 0)
}

fn epoll_of(file: &OpenFile) -> Result<&Epoll, Errno> {
    file.ops().as_any().downcast_ref().ok_or(Errno::EINVAL)
}

pub(crate) fn sys_epoll_ctl(task: &mut Task, args: &Args) -> SysResult {
    let (epfd, operation, fd) = (args.int(0), args.int(1), args.int(2));
    let event = match operation {
        libc::EPOLL_CTL_DEL => EpollEvent::default(),
        _ => task.mm.read_val(args.ptr(3))?,
    };
    let file = task.fds.get(epfd)?;
    let target = task.fds.get(fd)?;
    if target.ops().wait_queue().is_none() {
        return Err(Errno::EPERM);
    }
    if Arc::ptr_eq(&file, &target) {
        return Err(Errno::EINVAL);
    }
    let epoll = epoll_of(&file)?;
    match operation {
        libc::EPOLL_CTL_ADD => epoll.add(fd, &target, event)?,
        libc::EPOLL_CTL_MOD => epoll.modify(fd, &target, event)?,
        libc::EPOLL_CTL_DEL => epoll.delete(fd, &target)?,
        _ => return Err(Errno::EINVAL),
    }
    done()
}

fn wait(task: &mut Task, args: &Args, timeout_ns: Option<u64>) -> SysResult {
    let max = usize::try_from(args.int(2)).ok();
    let max = max.filter(|max| (1..=i32::MAX as usize / 12).contains(max));
    let max = max.ok_or(Errno::EINVAL)?;
    task.mm
        .one_iovec(args.ptr(1), (max * size_of::<EpollEvent>()) as u64)?;
    let file = task.fds.get(args.int(0))?;
    let events = epoll_of(&file)?.collect(max.min(4096));
    if events.is_empty() && timeout_ns != Some(0) && !task.call_state.timed_out {
        let deadline = timeout_ns.map(|timeout| task.deadline_after(timeout));
        let block = Block::on_file(file.ops(), Ready::IN);
        return Ok(block.until(deadline).on_signal(OnSignal::Interrupt).into());
    }
    task.mm.write(args.ptr(1), events.as_bytes())?;
    Ok(events.len().into())
}

pub(crate) fn sys_epoll_wait(task: &mut Task, args: &Args) -> SysResult {
    wait(task, args, millis_ns(args.int(3)))
}

pub(crate) fn sys_epoll_pwait(task: &mut Task, args: &Args) -> SysResult {
    temporary_mask(task, args.ptr(4), args.size(5))?;
    wait(task, args, millis_ns(args.int(3)))
}

pub(crate) fn sys_epoll_pwait2(task: &mut Task, args: &Args) -> SysResult {
    let timeout = read_timeout(task, args.ptr(3))?;
    temporary_mask(task, args.ptr(4), args.size(5))?;
    wait(task, args, timeout)
}
