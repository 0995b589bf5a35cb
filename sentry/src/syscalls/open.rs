//! open, close and their kin.

use std::sync::Arc;

use sentry_abi::Errno;
use sentry_abi::file::OpenHow as AbiOpenHow;
use zerocopy::IntoBytes;

use crate::fs::dev::CallersTerminal;
use crate::fs::pipe::PipeEnd;
use crate::syscalls::at::{done, read_path, start};
use crate::syscalls::table::Row;
use crate::syscalls::{Args, Block, SysResult};
use crate::task::Task;
use crate::task::state::Interrupted;
use crate::vfs::open::OpenFile;
use crate::vfs::ops::{self, OpenHow};
use crate::vfs::walk::WalkFlags;
use crate::wait::Ready;

pub(crate) const ROWS: &[Row] = &[
    Row::full(libc::SYS_open, "open", sys_open),
    Row::full(libc::SYS_openat, "openat", sys_openat),
    Row::full(libc::SYS_openat2, "openat2", sys_openat2),
    Row::full(libc::SYS_creat, "creat", sys_creat),
    Row::full(libc::SYS_close, "close", sys_close),
    Row::full(libc::SYS_close_range, "close_range", sys_close_range),
];

/// A FIFO that is open but waits for its other end. Dropped (closed) if the call is given up.
struct HalfOpen(Arc<OpenFile>);

impl Interrupted for HalfOpen {
    fn wind_up(&mut self) -> Option<u64> {
        None
    }

    fn as_any(&mut self) -> &mut dyn std::any::Any {
        self
    }
}

/// The file that an earlier attempt of this call has opened.
fn half_open(task: &mut Task) -> Option<Arc<OpenFile>> {
    let extra = task.call_state.extra.as_mut()?;
    let half = extra.as_any().downcast_ref::<HalfOpen>()?;
    Some(Arc::clone(&half.0))
}

fn open_at(task: &mut Task, dirfd: i32, path_addr: u64, how: &OpenHow) -> SysResult {
    let file = match half_open(task) {
        Some(file) => file,
        None => {
            let cx = task.path_context();
            let path = read_path(task, path_addr)?;
            let from = start(task, &cx, dirfd, &path)?;
            ops::open(&cx, &from, &path, how)?
        }
    };
    let file = if file.ops().as_any().is::<CallersTerminal>() {
        let terminal = task.process().controlling_tty().ok_or(Errno::ENXIO)?;
        OpenFile::new(terminal, file.path().clone(), how.flags)
    } else {
        file
    };
    let fifo = file.ops().as_any().downcast_ref::<PipeEnd>();
    if fifo.is_some_and(|end| !file.nonblocking() && end.waits_for_peer()) {
        let block = Block::on_file(file.ops(), Ready::IN | Ready::OUT);
        task.call_state.extra = Some(Box::new(HalfOpen(file)));
        return Ok(block.into());
    }
    task.call_state.extra = None;
    let cloexec = how.flags & libc::O_CLOEXEC != 0;
    if how.flags & (libc::O_NOCTTY | libc::O_PATH) == 0 {
        file.ops().opened_by(&*task, file.ops());
    }
    let fd = task.fds.install(file, cloexec, 0, task.nofile_limit())?;
    Ok((fd as u64).into())
}

/// Flags that open(2) knows; it ignores others, openat2(2) refuses them.
const KNOWN: i32 = libc::O_ACCMODE
    | libc::O_CREAT
    | libc::O_EXCL
    | libc::O_NOCTTY
    | libc::O_TRUNC
    | libc::O_APPEND
    | libc::O_NONBLOCK
    | libc::O_SYNC
    | libc::O_ASYNC
    | libc::O_DIRECT
    | libc::O_DIRECTORY
    | libc::O_NOFOLLOW
    | libc::O_NOATIME
    | libc::O_CLOEXEC
    | libc::O_PATH
    | libc::O_TMPFILE
    | crate::vfs::open::O_LARGEFILE;

fn plain(flags: i32, mode: u32) -> OpenHow {
    OpenHow {
        flags: (flags & KNOWN) | crate::vfs::open::O_LARGEFILE,
        mode: mode & 0o7777,
        resolve: WalkFlags::empty(),
    }
}

pub(crate) fn sys_open(task: &mut Task, args: &Args) -> SysResult {
    let how = plain(args.int(1), args.uint(2));
    open_at(task, libc::AT_FDCWD, args.ptr(0), &how)
}

pub(crate) fn sys_openat(task: &mut Task, args: &Args) -> SysResult {
    let how = plain(args.int(2), args.uint(3));
    open_at(task, args.int(0), args.ptr(1), &how)
}

pub(crate) fn sys_creat(task: &mut Task, args: &Args) -> SysResult {
    let flags = libc::O_CREAT | libc::O_WRONLY | libc::O_TRUNC;
    let how = plain(flags, args.uint(1));
    open_at(task, libc::AT_FDCWD, args.ptr(0), &how)
}

/// `RESOLVE_*` and the walk flags they stand for.
const RESOLVE: [(u64, WalkFlags); 6] = [
    (libc::RESOLVE_NO_XDEV, WalkFlags::NO_XDEV),
    (libc::RESOLVE_NO_MAGICLINKS, WalkFlags::NO_MAGIC),
    (
        libc::RESOLVE_NO_SYMLINKS,
        WalkFlags::NO_SYMLINKS.union(WalkFlags::NO_MAGIC),
    ),
    (libc::RESOLVE_BENEATH, WalkFlags::BENEATH),
    (libc::RESOLVE_IN_ROOT, WalkFlags::IN_ROOT),
    // Nothing is ever waited for: the cached walk is the walk.
    (libc::RESOLVE_CACHED, WalkFlags::empty()),
];

pub(crate) fn sys_openat2(task: &mut Task, args: &Args) -> SysResult {
    let size = args.size(3);
    if size < size_of::<AbiOpenHow>() {
        return Err(Errno::EINVAL);
    }
    if size > 4096 {
        return Err(Errno::E2BIG);
    }
    let mut bytes = vec![0; size];
    task.mm.read(args.ptr(2), &mut bytes)?;
    if bytes[size_of::<AbiOpenHow>()..]
        .iter()
        .any(|&byte| byte != 0)
    {
        return Err(Errno::E2BIG);
    }
    let mut how = AbiOpenHow::default();
    how.as_mut_bytes()
        .copy_from_slice(&bytes[..size_of::<AbiOpenHow>()]);
    let flags = i32::try_from(how.flags).map_err(|_| Errno::EINVAL)?;
    let creates = flags & libc::O_CREAT != 0 || flags & libc::O_TMPFILE == libc::O_TMPFILE;
    if flags & !KNOWN != 0 || (how.mode != 0 && !creates) || how.mode & !0o7777 != 0 {
        return Err(Errno::EINVAL);
    }
    let mut resolve = WalkFlags::empty();
    let mut left = how.resolve;
    for (bit, walk) in RESOLVE {
        if left & bit != 0 {
            resolve |= walk;
            left &= !bit;
        }
    }
    let both = WalkFlags::BENEATH | WalkFlags::IN_ROOT;
    if left != 0 || resolve.contains(both) {
        return Err(Errno::EINVAL);
    }
    let how = OpenHow {
        flags: flags | crate::vfs::open::O_LARGEFILE,
        mode: how.mode as u32,
        resolve,
    };
    open_at(task, args.int(0), args.ptr(1), &how)
}

pub(crate) fn sys_close(task: &mut Task, args: &Args) -> SysResult {
    task.fds.close(args.int(0))?;
    done()
}

pub(crate) fn sys_close_range(task: &mut Task, args: &Args) -> SysResult {
    let (first, last, flags) = (args.uint(0), args.uint(1), args.uint(2));
    let (unshare, cloexec) = (libc::CLOSE_RANGE_UNSHARE, libc::CLOSE_RANGE_CLOEXEC);
    if flags & !(unshare | cloexec) != 0 || first > last {
        return Err(Errno::EINVAL);
    }
    if flags & unshare != 0 {
        let own = task.fds.fork();
        task.set_fds(own);
    }
    task.fds.close_range(first, last, flags & cloexec != 0);
    done()
}
