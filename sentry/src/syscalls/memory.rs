//! System calls on the address space.

use sentry_abi::Errno;

use crate::mm::MmapRequest;
use crate::syscalls::{Args, Row, SysResult};
use crate::task::Task;

const CAP_IPC_LOCK: u32 = 14;
/// Flags of mmap that MAP_SHARED_VALIDATE knows.
const KNOWN_FLAGS: i32 = libc::MAP_TYPE
    | libc::MAP_FIXED
    | libc::MAP_ANONYMOUS
    | libc::MAP_32BIT
    | libc::MAP_GROWSDOWN
    | libc::MAP_DENYWRITE
    | libc::MAP_EXECUTABLE
    | libc::MAP_LOCKED
    | libc::MAP_NORESERVE
    | libc::MAP_POPULATE
    | libc::MAP_NONBLOCK
    | libc::MAP_STACK
    | libc::MAP_HUGETLB
    | libc::MAP_FIXED_NOREPLACE;
const MLOCK_ONFAULT: i32 = 1;
const MCL_KNOWN: i32 = libc::MCL_CURRENT | libc::MCL_FUTURE | libc::MCL_ONFAULT;
/// Pages that one step of mincore answers for.
const MINCORE_STEP: u64 = 1 << 16;

/// This family's rows of the table.
pub(crate) const ROWS: &[Row] = &[
    Row::partial(libc::SYS_mmap, "mmap", sys_mmap, "no huge pages"),
    Row::full(libc::SYS_munmap, "munmap", sys_munmap),
    Row::full(libc::SYS_mprotect, "mprotect", sys_mprotect),
    Row::partial(
        libc::SYS_pkey_mprotect,
        "pkey_mprotect",
        sys_pkey_mprotect,
        "no protection keys: only key -1",
    ),
    Row::refused(libc::SYS_pkey_alloc, "pkey_alloc", no_keys, "ENOSPC"),
    Row::refused(libc::SYS_pkey_free, "pkey_free", bad_key, "EINVAL"),
    Row::full(libc::SYS_brk, "brk", sys_brk),
    Row::partial(libc::SYS_mremap, "mremap", sys_mremap, "within one mapping"),
    Row::partial(
        libc::SYS_madvise,
        "madvise",
        sys_madvise,
        "hints about paging are accepted and ignored",
    ),
    Row::full(libc::SYS_msync, "msync", sys_msync),
    Row::full(libc::SYS_mincore, "mincore", sys_mincore),
    Row::full(libc::SYS_mlock, "mlock", sys_mlock),
    Row::full(libc::SYS_mlock2, "mlock2", sys_mlock2),
    Row::full(libc::SYS_munlock, "munlock", sys_munlock),
    Row::partial(
        libc::SYS_mlockall,
        "mlockall",
        sys_mlockall,
        "MCL_FUTURE has no effect",
    ),
    Row::full(libc::SYS_munlockall, "munlockall", sys_munlockall),
];

fn done(result: Result<(), Errno>) -> SysResult {
    result.map(|()| 0u64.into())
}

/// mmap(2).
pub(crate) fn sys_mmap(task: &mut Task, args: &Args) -> SysResult {
    let flags = args.int(3);
    let offset = args.ptr(5);
    if !offset.is_multiple_of(crate::mm::PAGE_SIZE) {
        return Err(Errno::EINVAL);
    }
    let mut request = MmapRequest {
        flags,
        ..MmapRequest::anonymous(args.ptr(0), args.ptr(1), args.int(2), 0)
    };
    if flags & libc::MAP_ANONYMOUS == 0 {
        add_file(task, args.int(4), offset, &mut request)?;
    } else if flags & libc::MAP_HUGETLB != 0 {
        return Err(Errno::ENOMEM);
    }
    if flags & libc::MAP_TYPE == libc::MAP_SHARED_VALIDATE && flags & !KNOWN_FLAGS != 0 {
        return Err(Errno::EOPNOTSUPP);
    }
    Ok(task.mm.mmap(&request)?.into())
}

/// Makes a request map the file of descriptor `fd`, as far as it was opened for that.
fn add_file(task: &Task, fd: i32, offset: u64, request: &mut MmapRequest) -> Result<(), Errno> {
    let file = task.fds.get(fd)?;
    if !file.readable() {
        return Err(Errno::EACCES);
    }
    let shared = request.flags & libc::MAP_TYPE != libc::MAP_PRIVATE;
    if shared && !file.writable() {
        request.max_prot &= !libc::PROT_WRITE;
    }
    let mappable = file.ops().mappable().ok_or(Errno::ENODEV)?;
    request.file = Some((mappable, offset));
    request.path = Some(file.path().shown(&task.fs.root()).into());
    Ok(())
}

/// munmap(2).
pub(crate) fn sys_munmap(task: &mut Task, args: &Args) -> SysResult {
    done(task.mm.munmap(args.ptr(0), args.ptr(1)))
}

/// mprotect(2).
pub(crate) fn sys_mprotect(task: &mut Task, args: &Args) -> SysResult {
    done(task.mm.mprotect(args.ptr(0), args.ptr(1), args.int(2)))
}

/// pkey_mprotect(2): without protection keys, only the key -1 is one.
pub(crate) fn sys_pkey_mprotect(task: &mut Task, args: &Args) -> SysResult {
    match args.int(3) {
        -1 => sys_mprotect(task, args),
        _ => Err(Errno::EINVAL),
    }
}

fn no_keys(_: &mut Task, _: &Args) -> SysResult {
    Err(Errno::ENOSPC)
}

fn bad_key(_: &mut Task, _: &Args) -> SysResult {
    Err(Errno::EINVAL)
}

/// brk(2).
pub(crate) fn sys_brk(task: &mut Task, args: &Args) -> SysResult {
    Ok(task.mm.brk(args.ptr(0)).into())
}

/// mremap(2).
pub(crate) fn sys_mremap(task: &mut Task, args: &Args) -> SysResult {
    let moved = task.mm.mremap(
        args.ptr(0),
        args.ptr(1),
        args.ptr(2),
        args.int(3),
        args.ptr(4),
    )?;
    Ok(moved.into())
}

/// madvise(2).
pub(crate) fn sys_madvise(task: &mut Task, args: &Args) -> SysResult {
    done(task.mm.madvise(args.ptr(0), args.ptr(1), args.int(2)))
}

/// msync(2).
pub(crate) fn sys_msync(task: &mut Task, args: &Args) -> SysResult {
    done(task.mm.msync(args.ptr(0), args.ptr(1), args.int(2)))
}

/// mincore(2).
pub(crate) fn sys_mincore(task: &mut Task, args: &Args) -> SysResult {
    let (addr, len) = (args.ptr(0), args.ptr(1));
    if !addr.is_multiple_of(crate::mm::PAGE_SIZE) {
        return Err(Errno::EINVAL);
    }
    let mut pages_done = 0;
    let pages = len.div_ceil(crate::mm::PAGE_SIZE);
    while pages_done < pages {
        let step = MINCORE_STEP.min(pages - pages_done);
        let at = addr
            .checked_add(pages_done * crate::mm::PAGE_SIZE)
            .ok_or(Errno::ENOMEM)?;
        let resident = task.mm.mincore(at, step * crate::mm::PAGE_SIZE)?;
        let to = args.ptr(2).checked_add(pages_done).ok_or(Errno::EFAULT)?;
        task.mm.write(to, &resident)?;
        pages_done += step;
    }
    Ok(0u64.into())
}

fn lock(task: &Task, args: &Args, on_fault: bool) -> SysResult {
    let privileged = task.creds.has(CAP_IPC_LOCK);
    let result = task
        .mm
        .mlock(args.ptr(0), args.ptr(1), on_fault, privileged);
    done(result)
}

/// mlock(2).
pub(crate) fn sys_mlock(task: &mut Task, args: &Args) -> SysResult {
    lock(task, args, false)
}

/// mlock2(2).
pub(crate) fn sys_mlock2(task: &mut Task, args: &Args) -> SysResult {
    match args.int(2) {
        0 => lock(task, args, false),
        MLOCK_ONFAULT => lock(task, args, true),
        _ => Err(Errno::EINVAL),
    }
}

/// munlock(2).
pub(crate) fn sys_munlock(task: &mut Task, args: &Args) -> SysResult {
    done(task.mm.munlock(args.ptr(0), args.ptr(1)))
}

/// mlockall(2).
pub(crate) fn sys_mlockall(task: &mut Task, args: &Args) -> SysResult {
    let flags = args.int(0);
    if flags == 0 || flags & !MCL_KNOWN != 0 || flags == libc::MCL_ONFAULT {
        return Err(Errno::EINVAL);
    }
    if flags & libc::MCL_CURRENT == 0 {
        return Ok(0u64.into());
    }
    done(task.mm.lock_all(true, task.creds.has(CAP_IPC_LOCK)))
}

/// munlockall(2).
pub(crate) fn sys_munlockall(task: &mut Task, _: &Args) -> SysResult {
    done(task.mm.lock_all(false, true))
}
