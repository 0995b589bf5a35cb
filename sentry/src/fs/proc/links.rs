//! Links from a task to files: exe, cwd, root, fd.

use std::fmt::Write;
use std::sync::Arc;

use sentry_abi::Errno;

use crate::task::TaskShared;
use crate::vfs::context::PathContext;
use crate::vfs::creds::cap;
use crate::vfs::dentry::VfsPath;
use crate::vfs::open::OpenFile;

/// A link of a task's directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum TaskLink {
    Exe,
    Cwd,
    Root,
}

pub(super) const ALL: &[(&str, TaskLink)] = &[
    ("exe", TaskLink::Exe),
    ("cwd", TaskLink::Cwd),
    ("root", TaskLink::Root),
];

pub(super) fn target(task: &TaskShared, link: TaskLink) -> Result<VfsPath, Errno> {
    let view = task.view();
    let fs = view.fs.ok_or(Errno::ENOENT);
    match link {
        TaskLink::Exe => task.process.exec_info().exe.ok_or(Errno::ENOENT),
        TaskLink::Cwd => Ok(fs?.cwd()),
        TaskLink::Root => Ok(fs?.root()),
    }
}

/// What readlink shows.
pub(super) fn text(task: &TaskShared, link: TaskLink, cx: &PathContext) -> Result<Vec<u8>, Errno> {
    check_access(task, cx)?;
    Ok(target(task, link)?.shown(&cx.root))
}

/// Who may look into a task: itself, the same user, or CAP_SYS_PTRACE.
pub(super) fn check_access(task: &TaskShared, cx: &PathContext) -> Result<(), Errno> {
    let creds = task.creds();
    let own = cx.pid == task.process.pid;
    let same = [creds.uid, creds.euid, creds.suid]
        .iter()
        .all(|&uid| uid == cx.creds.fsuid);
    if own || same || cx.creds.has(cap::SYS_PTRACE) {
        Ok(())
    } else {
        Err(Errno::EACCES)
    }
}

pub(super) fn file(task: &TaskShared, fd: i32) -> Result<Arc<OpenFile>, Errno> {
    let fds = task.view().fds.ok_or(Errno::ENOENT)?;
    fds.get_any(fd).map_err(|_| Errno::ENOENT)
}

pub(super) fn descriptors(task: &TaskShared) -> impl Iterator<Item = i32> + use<> {
    let fds = task.view().fds;
    let list = fds.map(|fds| fds.list()).unwrap_or_default();
    list.into_iter().map(|(fd, _)| fd)
}

/// /proc/PID/fdinfo/FD.
pub(super) fn fd_info(file: &OpenFile) -> Vec<u8> {
    let mut text = String::new();
    let ino = file.attr().map_or(0, |attr| attr.ino);
    let mount = file.path().mount.id;
    let _ = write!(
        text,
        "pos:\t{}\nflags:\t0{:o}\nmnt_id:\t{mount}\nino:\t{ino}\n",
        file.position(),
        file.flags()
    );
    text.into_bytes()
}
