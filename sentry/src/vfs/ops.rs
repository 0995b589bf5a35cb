//! Opening files by path.

use std::sync::Arc;

use sentry_abi::Errno;

use crate::vfs::attr::{FileType, SetAttr};
use crate::vfs::context::PathContext;
use crate::vfs::creds::{MAY_EXEC, MAY_READ, MAY_WRITE, cap};
use crate::vfs::dentry::VfsPath;
use crate::vfs::dir::DirFile;
use crate::vfs::file::FileOps;
use crate::vfs::inode::{NewNode, OpenRequest};
use crate::vfs::modify;
use crate::vfs::mount::MountFlags;
use crate::vfs::notify;
use crate::vfs::open::OpenFile;
use crate::vfs::walk::{Last, Walk, WalkFlags, check_device};

/// How to open: openat2's `open_how`, with the `RESOLVE_*` bits as walk flags.
#[derive(Clone, Copy, Debug)]
pub struct OpenHow {
    /// `O_*` flags.
    pub flags: i32,
    /// Permission bits of a new file (before the umask).
    pub mode: u32,
    /// Restrictions of the walk.
    pub resolve: WalkFlags,
}

/// An `O_PATH` descriptor's backend: no operation at all.
struct PathFile;

impl FileOps for PathFile {
    fn as_any(&self) -> &dyn std::any::Any {
        self
    }
}

/// Opens the file that `path` names, from `start`.
///
/// # Errors
/// Those of open(2) and openat2(2).
pub fn open(
    cx: &PathContext,
    start: &VfsPath,
    path: &[u8],
    how: &OpenHow,
) -> Result<Arc<OpenFile>, Errno> {
    let mut how = *how;
    if how.flags & libc::O_PATH != 0 {
        how.flags &= libc::O_PATH | libc::O_DIRECTORY | libc::O_NOFOLLOW | libc::O_CLOEXEC;
    }
    if how.flags & libc::O_TMPFILE == libc::O_TMPFILE {
        return open_unnamed(cx, start, path, &how);
    }
    let create = how.flags & libc::O_CREAT != 0;
    if create && how.flags & libc::O_DIRECTORY != 0 {
        return Err(Errno::EINVAL);
    }
    let exclusive = create && how.flags & libc::O_EXCL != 0;
    let follow = how.flags & libc::O_NOFOLLOW == 0 && !exclusive;
    let mut flags = how.resolve;
    flags.set(WalkFlags::FOLLOW, follow);
    flags.set(WalkFlags::DIRECTORY, how.flags & libc::O_DIRECTORY != 0);
    if !create {
        let found = Walk::new(cx, start, path, flags)?.finish()?;
        return open_path(cx, &found, how.flags);
    }
    let (found, created) = find_or_create(cx, start, path, flags, &how)?;
    if created {
        // A new file may be opened whatever its own permission bits say.
        return open_checked(cx, &found, how.flags & !libc::O_TRUNC);
    }
    if exclusive {
        return Err(Errno::EEXIST);
    }
    if found.inode().kind() == FileType::Directory {
        return Err(Errno::EISDIR);
    }
    check_sticky_create(cx, &found)?;
    open_path(cx, &found, how.flags)
}

/// Walks to the last component, following links there as asked, and makes the file if it is absent.
/// The flag says that it was made.
fn find_or_create(
    cx: &PathContext,
    start: &VfsPath,
    path: &[u8],
    flags: WalkFlags,
    how: &OpenHow,
) -> Result<(VfsPath, bool), Errno> {
    let mut walk = Walk::new(cx, start, path, flags)?;
    loop {
        let (name, slash) = match walk.to_last()? {
            Last::Here => return Ok((walk.at().clone(), false)),
            Last::Name(name, slash) => (name, slash),
        };
        if slash {
            return Err(Errno::EISDIR);
        }
        let Some(child) = walk.find(&name)? else {
            match modify::create(cx, walk.at(), &name, FileType::Regular, how.mode, 0, b"") {
                Err(Errno::EEXIST) if how.flags & libc::O_EXCL == 0 => {
                    let child = walk.find(&name)?.ok_or(Errno::ENOENT)?;
                    return Ok((child, false));
                }
                made => return Ok((made?, true)),
            }
        };
        let link = walk.step(child, flags.contains(WalkFlags::FOLLOW))?;
        if !link {
            return Ok((walk.at().clone(), false));
        }
    }
}

/// fs.protected_regular=1: in a sticky directory that others can write, O_CREAT opens only own files.
fn check_sticky_create(cx: &PathContext, found: &VfsPath) -> Result<(), Errno> {
    let Some(parent) = found.dentry.parent() else {
        return Ok(());
    };
    let guarded = matches!(found.inode().kind(), FileType::Regular | FileType::Fifo);
    let dir = parent.inode().owner()?;
    if !guarded || dir.perm & 0o1002 != 0o1002 {
        return Ok(());
    }
    let owner = found.inode().owner()?;
    if owner.uid == cx.creds.fsuid || owner.uid == dir.uid {
        Ok(())
    } else {
        Err(Errno::EACCES)
    }
}

fn open_unnamed(
    cx: &PathContext,
    start: &VfsPath,
    path: &[u8],
    how: &OpenHow,
) -> Result<Arc<OpenFile>, Errno> {
    if how.flags & libc::O_ACCMODE == libc::O_RDONLY {
        return Err(Errno::EINVAL);
    }
    let flags = how.resolve | WalkFlags::FOLLOW | WalkFlags::DIRECTORY;
    let dir = Walk::new(cx, start, path, flags)?.finish()?;
    dir.mount.check_writable()?;
    let owner = dir.inode().owner()?;
    cx.creds
        .check(&owner, FileType::Directory, MAY_WRITE | MAY_EXEC)?;
    let (gid, perm) = modify::inherit(cx, &owner, FileType::Regular, how.mode);
    let new = NewNode {
        kind: FileType::Regular,
        perm,
        uid: cx.creds.fsuid,
        gid,
        rdev: 0,
        target: b"",
        ino: None,
    };
    let inode = dir.inode().create_unnamed(&new)?;
    let name = format!("#{}", inode.attr()?.ino);
    let path = VfsPath {
        mount: Arc::clone(&dir.mount),
        dentry: crate::vfs::dentry::Dentry::named(inode, name.as_bytes()),
    };
    path.dentry.set_dead();
    let flags = how.flags & !(libc::O_TMPFILE & !libc::O_DIRECTORY) & !libc::O_DIRECTORY;
    open_checked(cx, &path, flags)
}

/// Opens a file that was found: checks kind, mount and permission.
///
/// # Errors
/// Those of open(2).
pub fn open_path(cx: &PathContext, path: &VfsPath, flags: i32) -> Result<Arc<OpenFile>, Errno> {
    if flags & libc::O_PATH != 0 {
        return Ok(OpenFile::new(Arc::new(PathFile), path.clone(), flags));
    }
    let kind = path.inode().kind();
    let mut want = match flags & libc::O_ACCMODE {
        libc::O_RDONLY => MAY_READ,
        libc::O_WRONLY => MAY_WRITE,
        _ => MAY_READ | MAY_WRITE,
    };
    if flags & libc::O_TRUNC != 0 {
        want |= MAY_WRITE;
    }
    match kind {
        FileType::Symlink => return Err(Errno::ELOOP),
        FileType::Directory if want & MAY_WRITE != 0 => return Err(Errno::EISDIR),
        FileType::Socket => return Err(Errno::ENXIO),
        _ => {}
    }
    check_device(path)?;
    if want & MAY_WRITE != 0 && kind == FileType::Regular {
        path.mount.check_writable()?;
    }
    let owner = path.inode().owner()?;
    cx.creds.check(&owner, kind, want)?;
    if flags & libc::O_NOATIME != 0 && !cx.creds.owns(&owner) {
        return Err(Errno::EPERM);
    }
    open_checked(cx, path, flags)
}

fn open_checked(cx: &PathContext, path: &VfsPath, flags: i32) -> Result<Arc<OpenFile>, Errno> {
    if flags & libc::O_TRUNC != 0 && path.inode().kind() == FileType::Regular {
        let set = SetAttr {
            size: Some(0),
            ..SetAttr::default()
        };
        path.inode().set_attr(&set)?;
        notify::on_file(&path.dentry, libc::IN_MODIFY);
    }
    let request = OpenRequest { flags, path, cx };
    let ops: Arc<dyn FileOps> = match path.inode().kind() {
        FileType::Directory => DirFile::new(path.clone()),
        // As the reference sandbox answers without --host-fifo=open.
        FileType::Fifo if path.inode().is_foreign_fifo() => return Err(Errno::EPERM),
        FileType::Fifo if !path.mount.is_internal() => {
            crate::fs::pipe::open_fifo(path.inode(), flags)?
        }
        _ => Arc::clone(path.inode()).open(&request)?,
    };
    let file = OpenFile::new(ops, path.clone(), flags);
    notify::on_file(&path.dentry, libc::IN_OPEN);
    Ok(file)
}

/// Opens a file for execve: regular, executable, and not on a noexec mount.
///
/// # Errors
/// EACCES, ENOENT, ELOOP, ENOTDIR ...
pub fn open_executable(
    cx: &PathContext,
    start: &VfsPath,
    path: &[u8],
    flags: WalkFlags,
) -> Result<Arc<OpenFile>, Errno> {
    let found = Walk::new(cx, start, path, flags)?.finish()?;
    if found.inode().kind() == FileType::Symlink {
        return Err(Errno::ELOOP);
    }
    check_executable(cx, &found)?;
    open_checked(cx, &found, libc::O_RDONLY)
}

/// Opens the file at `path` for execve (AT_EMPTY_PATH), as [`open_executable`] does.
///
/// # Errors
/// EACCES.
pub fn open_executable_at(cx: &PathContext, path: &VfsPath) -> Result<Arc<OpenFile>, Errno> {
    check_executable(cx, path)?;
    open_checked(cx, path, libc::O_RDONLY)
}

fn check_executable(cx: &PathContext, path: &VfsPath) -> Result<(), Errno> {
    let owner = path.inode().owner()?;
    let kind = path.inode().kind();
    if kind != FileType::Regular || path.mount.flags().contains(MountFlags::NO_EXEC) {
        return Err(Errno::EACCES);
    }
    cx.creds.check(&owner, kind, MAY_EXEC)
}

/// The set-id effects of executing `path`: new effective uid and gid where its bits and mount say so.
///
/// # Errors
/// As the file's attributes.
pub fn set_id_of(path: &VfsPath) -> Result<(Option<u32>, Option<u32>), Errno> {
    if path.mount.flags().contains(MountFlags::NO_SUID) {
        return Ok((None, None));
    }
    let owner = path.inode().owner()?;
    let uid = (owner.perm & libc::S_ISUID != 0).then_some(owner.uid);
    let group_bits = libc::S_ISGID | libc::S_IXGRP;
    let gid = (owner.perm & group_bits == group_bits).then_some(owner.gid);
    Ok((uid, gid))
}

/// access(2): whether `want` (MAY_*) is permitted on `path`.
///
/// # Errors
/// EACCES, EROFS.
pub fn access(cx: &PathContext, path: &VfsPath, want: u32) -> Result<(), Errno> {
    let kind = path.inode().kind();
    let special = !matches!(
        kind,
        FileType::Regular | FileType::Directory | FileType::Symlink
    );
    if want & MAY_WRITE != 0 && !special {
        path.mount.check_writable()?;
    }
    let no_exec = path.mount.flags().contains(MountFlags::NO_EXEC);
    if want & MAY_EXEC != 0 && no_exec && kind == FileType::Regular {
        return Err(Errno::EACCES);
    }
    cx.creds.check(&path.inode().owner()?, kind, want)
}

/// EPERM unless the caller may mount.
///
/// # Errors
/// EPERM.
pub fn may_mount(cx: &PathContext) -> Result<(), Errno> {
    cx.creds.require(cap::SYS_ADMIN)
}
