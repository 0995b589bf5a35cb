//! dup, fcntl, ioctl, flock: calls on descriptors.

use std::sync::Arc;

use sentry_abi::Errno;
use sentry_abi::file::Flock;

use crate::fs::pipe::PipeEnd;
use crate::fs::tmpfs::TmpFile;
use crate::fs::tty::pty::Master;
use crate::syscalls::at::done;

use crate::syscalls::table::Row;
use crate::syscalls::{Args, Block, SysResult};
use crate::syscalls::{interface, sigio};
use crate::task::Task;
use crate::vfs::attr::FileType;
use crate::vfs::file::IoctlCall;
use crate::vfs::locks::{self, LockOwner, RangeLock};
use crate::vfs::open::OpenFile;
use crate::vfs::ops::{self, OpenHow};
use crate::vfs::walk::WalkFlags;
use crate::wait::Ready;

pub(crate) const ROWS: &[Row] = &[
    Row::full(libc::SYS_dup, "dup", sys_dup),
    Row::full(libc::SYS_dup2, "dup2", sys_dup2),
    Row::full(libc::SYS_dup3, "dup3", sys_dup3),
    Row::partial(libc::SYS_fcntl, "fcntl", sys_fcntl, "no leases, no EDEADLK"),
    Row::partial(
        libc::SYS_ioctl,
        "ioctl",
        sys_ioctl,
        "those of files, pipes, terminals and sockets",
    ),
    Row::full(libc::SYS_flock, "flock", sys_flock),
];

pub(crate) fn sys_dup(task: &mut Task, args: &Args) -> SysResult {
    let file = task.fds.get_any(args.int(0))?;
    let fd = task.fds.install(file, false, 0, task.nofile_limit())?;
    Ok((fd as u64).into())
}

pub(crate) fn sys_dup2(task: &mut Task, args: &Args) -> SysResult {
    let (old, new) = (args.int(0), args.int(1));
    let file = task.fds.get_any(old)?;
    if old != new {
        task.fds.install_at(file, false, new, task.nofile_limit())?;
    }
    Ok((new as u64).into())
}

pub(crate) fn sys_dup3(task: &mut Task, args: &Args) -> SysResult {
    let (old, new, flags) = (args.int(0), args.int(1), args.int(2));
    if flags & !libc::O_CLOEXEC != 0 || old == new {
        return Err(Errno::EINVAL);
    }
    let file = task.fds.get_any(old)?;
    let cloexec = flags != 0;
    task.fds
        .install_at(file, cloexec, new, task.nofile_limit())?;
    Ok((new as u64).into())
}

fn dup_from(task: &Task, file: Arc<OpenFile>, cloexec: bool, min: i32) -> SysResult {
    let fd = task.fds.install(file, cloexec, min, task.nofile_limit())?;
    Ok((fd as u64).into())
}

pub(crate) fn sys_fcntl(task: &mut Task, args: &Args) -> SysResult {
    let (fd, command) = (args.int(0), args.int(1));
    let file = task.fds.get_any(fd)?;
    let allowed_on_path = [
        libc::F_DUPFD,
        libc::F_DUPFD_CLOEXEC,
        libc::F_GETFD,
        libc::F_SETFD,
        libc::F_GETFL,
    ];
    if file.is_path() && !allowed_on_path.contains(&command) {
        return Err(Errno::EBADF);
    }
    match command {
        libc::F_DUPFD => dup_from(task, file, false, args.int(2)),
        libc::F_DUPFD_CLOEXEC => dup_from(task, file, true, args.int(2)),
        libc::F_GETFD => Ok(u64::from(task.fds.cloexec(fd)?).into()),
        libc::F_SETFD => {
            task.fds
                .set_cloexec(fd, args.int(2) & libc::FD_CLOEXEC != 0)?;
            done()
        }
        libc::F_GETFL => Ok((file.flags() as u64).into()),
        libc::F_SETFL => {
            file.set_flags(args.int(2))?;
            sigio::flags_changed(task, &file, fd);
            done()
        }
        libc::F_GETLK | libc::F_OFD_GETLK => get_lock(task, &file, args),
        libc::F_SETLK | libc::F_OFD_SETLK => set_lock(task, &file, args, false),
        libc::F_SETLKW | libc::F_OFD_SETLKW => set_lock(task, &file, args, true),
        libc::F_GETPIPE_SZ => Ok(pipe(&file)?.capacity().into()),
        libc::F_SETPIPE_SZ => Ok(pipe(&file)?.set_capacity(args.uint(2) as usize)?.into()),
        libc::F_GET_SEALS => Ok((memory_file(&file)?.inode().get_seals()? as u64).into()),
        libc::F_ADD_SEALS => {
            file.check_writable().map_err(|_| Errno::EPERM)?;
            memory_file(&file)?.inode().add_seals(args.int(2))?;
            done()
        }
        libc::F_NOTIFY => notify_directory(&file, args.uint(2)),
        _ => sigio::fcntl(task, &file, args).unwrap_or(Err(Errno::EINVAL)),
    }
}

/// F_NOTIFY: the end of notices that there are none of; asking for some is answered as Linux does with
/// `fs.dir-notify-enable` off.
fn notify_directory(file: &OpenFile, events: u32) -> SysResult {
    const DN_MULTISHOT: u32 = 0x8000_0000;
    if events & !DN_MULTISHOT == 0 {
        return done();
    }
    match file.path().inode().kind() {
        FileType::Directory => Err(Errno::EINVAL),
        _ => Err(Errno::ENOTDIR),
    }
}

fn pipe(file: &OpenFile) -> Result<&PipeEnd, Errno> {
    let end = file.ops().as_any().downcast_ref();
    end.ok_or(Errno::EBADF)
}

fn memory_file(file: &OpenFile) -> Result<&TmpFile, Errno> {
    let memory = file.ops().as_any().downcast_ref();
    memory.ok_or(Errno::EINVAL)
}

/// The range that a `struct flock` names.
fn range_of(task: &Task, file: &OpenFile, lock: &Flock, command: i32) -> Result<RangeLock, Errno> {
    let base = match i32::from(lock.whence) {
        libc::SEEK_SET => 0,
        libc::SEEK_CUR => file.position() as i64,
        libc::SEEK_END => file.attr()?.size as i64,
        _ => return Err(Errno::EINVAL),
    };
    let start = base.checked_add(lock.start).ok_or(Errno::EOVERFLOW)?;
    let (start, end) = match lock.len {
        0 => (start, u64::MAX),
        len if len > 0 => {
            let last = start.checked_add(len - 1).ok_or(Errno::EOVERFLOW)?;
            (start, last as u64 + 1)
        }
        len => (
            start.checked_add(len).ok_or(Errno::EINVAL)?,
            start.max(0) as u64,
        ),
    };
    let start = u64::try_from(start).map_err(|_| Errno::EINVAL)?;
    let of_file = [libc::F_OFD_GETLK, libc::F_OFD_SETLK, libc::F_OFD_SETLKW];
    let owner = if of_file.contains(&command) {
        if lock.pid != 0 {
            return Err(Errno::EINVAL);
        }
        LockOwner::Description(file.id())
    } else {
        LockOwner::Process {
            table: task.fds.id(),
            pid: task.pid(),
        }
    };
    Ok(RangeLock {
        start,
        end,
        exclusive: i32::from(lock.kind) == libc::F_WRLCK,
        owner,
    })
}

fn get_lock(task: &Task, file: &OpenFile, args: &Args) -> SysResult {
    let mut lock: Flock = task.mm.read_val(args.ptr(2))?;
    if ![libc::F_RDLCK, libc::F_WRLCK].contains(&i32::from(lock.kind)) {
        return Err(Errno::EINVAL);
    }
    let range = range_of(task, file, &lock, args.int(1))?;
    match locks::conflict(file, &range)? {
        None => lock.kind = libc::F_UNLCK as i16,
        Some(other) => {
            let kind = if other.exclusive {
                libc::F_WRLCK
            } else {
                libc::F_RDLCK
            };
            lock.kind = kind as i16;
            lock.whence = libc::SEEK_SET as i16;
            lock.start = other.start as i64;
            let open_ended = other.end == u64::MAX;
            lock.len = if open_ended {
                0
            } else {
                (other.end - other.start) as i64
            };
            lock.pid = match other.owner {
                LockOwner::Process { pid, .. } => pid,
                _ => -1,
            };
        }
    }
    task.mm.write_val(args.ptr(2), &lock)?;
    done()
}

fn set_lock(task: &mut Task, file: &OpenFile, args: &Args, wait: bool) -> SysResult {
    let lock: Flock = task.mm.read_val(args.ptr(2))?;
    let range = range_of(task, file, &lock, args.int(1))?;
    match i32::from(lock.kind) {
        libc::F_UNLCK => {
            locks::unlock(file, range)?;
            return done();
        }
        libc::F_RDLCK => file.check_readable()?,
        libc::F_WRLCK => file.check_writable()?,
        _ => return Err(Errno::EINVAL),
    }
    take_lock(file, range, wait)
}

fn take_lock(file: &OpenFile, range: RangeLock, wait: bool) -> SysResult {
    match locks::lock(file, range)? {
        Ok(()) => done(),
        Err(_) if !wait => Err(Errno::EAGAIN),
        Err(queue) => Ok(Block::on_queue(&queue, Ready::IN).into()),
    }
}

pub(crate) fn sys_flock(task: &mut Task, args: &Args) -> SysResult {
    let operation = args.int(1);
    // What used to be mandatory locks: accepted, without effect (`flock`).
    const LOCK_MAND: i32 = 32;
    if operation & LOCK_MAND != 0 {
        return done();
    }
    let file = task.fds.get(args.int(0))?;
    let range = RangeLock {
        start: 0,
        end: u64::MAX,
        exclusive: operation & libc::LOCK_EX != 0,
        owner: LockOwner::Flock(file.id()),
    };
    match operation & !libc::LOCK_NB {
        libc::LOCK_UN => {
            locks::unlock(&file, range)?;
            done()
        }
        libc::LOCK_SH | libc::LOCK_EX => take_lock(&file, range, operation & libc::LOCK_NB == 0),
        _ => Err(Errno::EINVAL),
    }
}

fn is_terminal(file: &OpenFile) -> bool {
    let ops = file.ops();
    ops.as_any().is::<Master>() || ops.terminal_ids().is_some()
}

/// TIOCGPTPEER: opens the slave of a pair, whatever is mounted over its name.
fn open_peer(task: &mut Task, file: &OpenFile, flags: i32) -> SysResult {
    const KNOWN: i32 = libc::O_ACCMODE | libc::O_NOCTTY | libc::O_NONBLOCK | libc::O_CLOEXEC;
    let master: Option<&Master> = file.ops().as_any().downcast_ref();
    let name = master.ok_or(Errno::EIO)?.slave_name();
    let devpts = file.path().mount.root_path();
    let how = OpenHow {
        flags: flags & KNOWN,
        mode: 0,
        resolve: WalkFlags::empty(),
    };
    let slave = ops::open(&task.path_context(), &devpts, name.as_bytes(), &how)?;
    let cloexec = flags & libc::O_CLOEXEC != 0;
    let fd = task.fds.install(slave, cloexec, 0, task.nofile_limit())?;
    Ok((fd as u64).into())
}

pub(crate) fn sys_ioctl(task: &mut Task, args: &Args) -> SysResult {
    let (fd, request, arg) = (args.int(0), args.uint(1), args.ptr(2));
    let file = task.fds.get(fd)?;
    match u64::from(request) {
        libc::FIOCLEX | libc::FIONCLEX => {
            task.fds
                .set_cloexec(fd, u64::from(request) == libc::FIOCLEX)?;
            return done();
        }
        libc::FIONBIO => {
            let on: i32 = task.mm.read_val(arg)?;
            let flags = file.flags() & !libc::O_NONBLOCK;
            let flag = if on != 0 { libc::O_NONBLOCK } else { 0 };
            file.set_flags(flags | flag)?;
            return done();
        }
        libc::FIONREAD
            if file.path().inode().kind() == FileType::Regular && file.ops().seekable() =>
        {
            let left = file.attr()?.size.saturating_sub(file.position());
            task.mm
                .write_val(arg, &(left.min(i32::MAX as u64) as i32))?;
            return done();
        }
        libc::TIOCGPTPEER if is_terminal(&file) => {
            return open_peer(task, &file, args.int(2));
        }
        _ => {}
    }
    let answer = sigio::ioctl(task, &file, args).or_else(|| interface::ioctl(task, &file, args));
    if let Some(answer) = answer {
        return answer;
    }
    let value = file.ops().ioctl(&mut IoctlCall {
        request,
        arg,
        memory: &*task.mm,
        tid: task.tid(),
        session: &*task,
        file: file.ops(),
    })?;
    Ok(value.into())
}
