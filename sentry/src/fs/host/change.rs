//! Changes to a writable host tree, each by directory descriptor and name.

use std::os::fd::AsFd;
use std::sync::Arc;

use nix::fcntl::{AtFlags, OFlag, RenameFlags};
use nix::sys::stat::{Mode, SFlag, UtimensatFlags};
use nix::sys::time::TimeSpec;
use nix::unistd::{Gid, LinkatFlags, Uid, UnlinkatFlags};
use sentry_abi::Errno;

use super::inode::{HostInode, errno};
use super::sys;
use crate::vfs::attr::{FileType, SetAttr, Time};
use crate::vfs::inode::{Inode, NewNode, Rename};

pub(super) fn set_attr(inode: &HostInode, set: &SetAttr) -> Result<(), Errno> {
    if let Some(size) = set.size {
        let size = i64::try_from(size).map_err(|_| Errno::EFBIG)?;
        let fd = inode.open_at(OFlag::O_WRONLY | OFlag::O_NONBLOCK)?;
        nix::unistd::ftruncate(&fd, size).map_err(errno)?;
    }
    if set.uid.is_some() || set.gid.is_some() {
        let (uid, gid) = (set.uid.map(Uid::from_raw), set.gid.map(Gid::from_raw));
        match inode.place() {
            Some((dir, name)) => {
                let flags = AtFlags::AT_SYMLINK_NOFOLLOW;
                nix::unistd::fchownat(dir.dir_fd()?, &*name, uid, gid, flags)
            }
            None => nix::unistd::fchown(inode.open_at(OFlag::O_RDONLY)?, uid, gid),
        }
        .map_err(errno)?;
    }
    if let Some(perm) = set.perm {
        chmod(inode, perm)?;
    }
    if set.atime.is_some() || set.mtime.is_some() {
        set_times(inode, set.atime, set.mtime)?;
    }
    Ok(())
}

fn chmod(inode: &HostInode, perm: u32) -> Result<(), Errno> {
    let mode = Mode::from_bits_truncate(perm);
    if matches!(inode.kind(), FileType::Regular | FileType::Directory)
        && let Ok(fd) = inode.open_at(OFlag::O_RDONLY | OFlag::O_NONBLOCK)
    {
        return nix::sys::stat::fchmod(&fd, mode).map_err(errno);
    }
    let (dir, name) = inode.place().ok_or(Errno::EPERM)?;
    sys::chmod_no_follow(dir.dir_fd()?, &name, perm)
}

fn set_times(inode: &HostInode, atime: Option<Time>, mtime: Option<Time>) -> Result<(), Errno> {
    let spec = |time: Option<Time>| {
        time.map_or(TimeSpec::UTIME_OMIT, |time| {
            TimeSpec::new(time.sec, i64::from(time.nsec))
        })
    };
    let (atime, mtime) = (spec(atime), spec(mtime));
    match inode.place() {
        Some((dir, name)) => {
            let flags = UtimensatFlags::NoFollowSymlink;
            nix::sys::stat::utimensat(dir.dir_fd()?, &*name, &atime, &mtime, flags)
        }
        None => nix::sys::stat::futimens(inode.open_at(OFlag::O_RDONLY)?, &atime, &mtime),
    }
    .map_err(errno)
}

pub(super) fn create(
    dir: &HostInode,
    name: &[u8],
    new: &NewNode<'_>,
) -> Result<Arc<dyn Inode>, Errno> {
    let fd = dir.dir_fd()?;
    let mode = Mode::from_bits_truncate(new.perm);
    match new.kind {
        FileType::Regular => {
            let flags = OFlag::O_CREAT
                | OFlag::O_EXCL
                | OFlag::O_NOFOLLOW
                | OFlag::O_WRONLY
                | OFlag::O_CLOEXEC;
            nix::fcntl::openat(fd, name, flags, mode).map(drop)
        }
        FileType::Directory => nix::sys::stat::mkdirat(fd, name, mode),
        FileType::Symlink => nix::unistd::symlinkat(new.target, fd, name),
        FileType::Fifo => nix::sys::stat::mknodat(fd, name, SFlag::S_IFIFO, mode, 0),
        FileType::Socket => nix::sys::stat::mknodat(fd, name, SFlag::S_IFSOCK, mode, 0),
        FileType::CharDevice | FileType::BlockDevice => return Err(Errno::EPERM),
    }
    .map_err(errno)?;
    let child = dir.child(name)?;
    if new.kind == FileType::Fifo {
        dir.fs.own_fifos.lock().insert(downcast(&child)?.id());
    }
    // The host's umask and our own identity don't concern the guest's file.
    let set = SetAttr {
        uid: Some(new.uid),
        gid: Some(new.gid),
        ..SetAttr::default()
    };
    // Without CAP_CHOWN files belong to whoever runs the sandbox.
    match child.set_attr(&set) {
        Err(Errno::EPERM) | Ok(()) => {}
        Err(error) => return Err(error),
    }
    if new.kind != FileType::Symlink {
        let set = SetAttr {
            perm: Some(new.perm),
            ..SetAttr::default()
        };
        if child.attr()?.perm != new.perm {
            child.set_attr(&set)?;
        }
    }
    Ok(child)
}

pub(super) fn remove(dir: &HostInode, name: &[u8], directory: bool) -> Result<(), Errno> {
    let flag = if directory {
        UnlinkatFlags::RemoveDir
    } else {
        UnlinkatFlags::NoRemoveDir
    };
    nix::unistd::unlinkat(dir.dir_fd()?, name, flag).map_err(errno)
}

pub(super) fn link(dir: &HostInode, name: &[u8], target: &HostInode) -> Result<(), Errno> {
    let (from, old) = target.place().ok_or(Errno::EPERM)?;
    let flags = LinkatFlags::empty();
    let from = from.dir_fd()?.try_clone_to_owned()?;
    nix::unistd::linkat(from.as_fd(), &*old, dir.dir_fd()?, name, flags).map_err(errno)
}

pub(super) fn rename(dir: &HostInode, rename: &Rename<'_>) -> Result<(), Errno> {
    let to_dir = downcast(rename.to_dir)?;
    let flags = if rename.exchange {
        RenameFlags::RENAME_EXCHANGE
    } else {
        RenameFlags::empty()
    };
    let (from_fd, to_fd) = (dir.dir_fd()?, to_dir.dir_fd()?);
    nix::fcntl::renameat2(from_fd, rename.from, to_fd, rename.to, flags).map_err(errno)?;
    downcast(rename.source)?.moved(to_dir.handle()?, rename.to);
    if let Some(target) = rename.target.filter(|_| rename.exchange) {
        downcast(target)?.moved(dir.handle()?, rename.from);
    }
    Ok(())
}

fn downcast(inode: &Arc<dyn Inode>) -> Result<&HostInode, Errno> {
    inode.as_any().downcast_ref().ok_or(Errno::EXDEV)
}
