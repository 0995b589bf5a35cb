//! fcntl and ioctl about signals for readiness: O_ASYNC, owners, F_SETSIG.

use std::sync::Arc;

use sentry_abi::Errno;

use crate::net::file::SocketFile;
use crate::signals::io::IoSignaler;
use crate::syscalls::at::done;
use crate::syscalls::{Args, SysResult};
use crate::task::Task;
use crate::vfs::OpenFile;
use crate::vfs::sigio::{Owner, OwnerKind};

const F_SETSIG: i32 = 10;
const F_GETSIG: i32 = 11;
const F_SETOWN_EX: i32 = 15;
const F_GETOWN_EX: i32 = 16;

const FIOSETOWN: u32 = 0x8901;
const SIOCSPGRP: u32 = 0x8902;
const FIOGETOWN: u32 = 0x8903;
const SIOCGPGRP: u32 = 0x8904;

/// Highest signal number.
const SIGNALS: i32 = 64;

/// Those commands of fcntl(2); `None` for others.
pub(super) fn fcntl(task: &mut Task, file: &Arc<OpenFile>, args: &Args) -> Option<SysResult> {
    Some(match args.int(1) {
        libc::F_GETOWN => Ok((i64::from(old_style(owner(task, file))) as u64).into()),
        libc::F_SETOWN => set_owner(task, file, args.int(2)),
        F_GETOWN_EX => get_owner_ex(task, file, args.ptr(2)),
        F_SETOWN_EX => set_owner_ex(task, file, args.ptr(2)),
        F_GETSIG => Ok((file.io_signal() as u64).into()),
        F_SETSIG => set_signal(file, args.int(2)),
        _ => return None,
    })
}

/// Those requests of ioctl(2); `None` for others.
pub(super) fn ioctl(task: &mut Task, file: &Arc<OpenFile>, args: &Args) -> Option<SysResult> {
    let request = args.uint(1);
    if u64::from(request) == libc::FIOASYNC {
        return Some(set_async_by_ioctl(task, file, args));
    }
    // The others are the sockets' (`sock_ioctl`).
    SocketFile::of(file).ok()?;
    match request {
        FIOSETOWN | SIOCSPGRP => Some(
            task.mm
                .read_val(args.ptr(2))
                .and_then(|id| set_owner(task, file, id)),
        ),
        FIOGETOWN | SIOCGPGRP => {
            let id = old_style(owner(task, file));
            Some(task.mm.write_val(args.ptr(2), &id).and_then(|()| done()))
        }
        _ => None,
    }
}

/// After fcntl(F_SETFL): signals begin or end with O_ASYNC, for files that have them. For others the
/// flag has no effect, as on Linux.
pub(super) fn flags_changed(task: &Task, file: &OpenFile, fd: i32) {
    let on = file.flags() & libc::O_ASYNC != 0;
    file.set_io_signals(fd, on.then(|| signals(task) as _));
}

fn signals(task: &Task) -> Arc<IoSignaler> {
    Arc::clone(task.kernel.io_signals(|| IoSignaler::new(&task.kernel)))
}

fn set_async_by_ioctl(task: &mut Task, file: &OpenFile, args: &Args) -> SysResult {
    let on: i32 = task.mm.read_val(args.ptr(2))?;
    if !file.ops().signals_readiness() {
        return Err(Errno::ENOTTY);
    }
    let flag = if on != 0 { libc::O_ASYNC } else { 0 };
    file.set_flags(file.flags() & !libc::O_ASYNC | flag)?;
    flags_changed(task, file, args.int(0));
    done()
}

fn set_signal(file: &OpenFile, signo: i32) -> SysResult {
    if !(0..=SIGNALS).contains(&signo) {
        return Err(Errno::EINVAL);
    }
    file.set_io_signal(signo);
    done()
}

/// The owner, if it still exists.
fn owner(task: &Task, file: &OpenFile) -> Option<Owner> {
    file.io_owner()
        .filter(|owner| exists(task, owner.kind, owner.id))
}

fn exists(task: &Task, kind: OwnerKind, id: i32) -> bool {
    let tree = task.kernel.tree.lock();
    match kind {
        OwnerKind::Thread => tree.task(id).is_some(),
        OwnerKind::Process => tree.node(id).is_some(),
        OwnerKind::Group => tree.group(id).next().is_some(),
    }
}

/// As F_GETOWN tells it: groups are negative.
fn old_style(owner: Option<Owner>) -> i32 {
    match owner {
        None => 0,
        Some(owner) if owner.kind == OwnerKind::Group => -owner.id,
        Some(owner) => owner.id,
    }
}

fn set_owner(task: &Task, file: &OpenFile, id: i32) -> SysResult {
    if id < 0 {
        let group = id.checked_neg().ok_or(Errno::EINVAL)?;
        return put_owner(task, file, OwnerKind::Group, group);
    }
    put_owner(task, file, OwnerKind::Process, id)
}

fn put_owner(task: &Task, file: &OpenFile, kind: OwnerKind, id: i32) -> SysResult {
    if id == 0 {
        file.set_io_owner(None);
        return done();
    }
    if !exists(task, kind, id) {
        return Err(Errno::ESRCH);
    }
    let (uid, euid) = (task.creds.uid, task.creds.euid);
    file.set_io_owner(Some(Owner {
        kind,
        id,
        uid,
        euid,
    }));
    if SocketFile::of(file).is_ok() {
        file.tell_urgent(signals(task));
    }
    done()
}

/// `struct f_owner_ex`: type and id.
fn get_owner_ex(task: &Task, file: &OpenFile, addr: u64) -> SysResult {
    let answer = match owner(task, file) {
        Some(owner) => [owner.kind as i32, owner.id],
        None => [OwnerKind::Process as i32, 0],
    };
    task.mm.write_val(addr, &answer)?;
    done()
}

fn set_owner_ex(task: &Task, file: &OpenFile, addr: u64) -> SysResult {
    let [kind, id]: [i32; 2] = task.mm.read_val(addr)?;
    let kinds = [OwnerKind::Thread, OwnerKind::Process, OwnerKind::Group];
    let kind = kinds.into_iter().find(|known| *known as i32 == kind);
    let kind = kind.ok_or(Errno::EINVAL)?;
    if id < 0 {
        return Err(Errno::ESRCH);
    }
    put_owner(task, file, kind, id)
}
