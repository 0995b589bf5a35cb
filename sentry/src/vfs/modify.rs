//! Making, removing, linking and renaming names.

use std::sync::Arc;

use parking_lot::MutexGuard;
use sentry_abi::Errno;

use crate::vfs::attr::{FileType, Owner};
use crate::vfs::context::PathContext;
use crate::vfs::creds::{MAY_EXEC, MAY_WRITE, cap};
use crate::vfs::dentry::{Children, Dentry, VfsPath};
use crate::vfs::inode::{NewNode, Rename};
use crate::vfs::notify;
use crate::vfs::walk::NAME_MAX;

/// Whether names in `dir` may be changed.
fn check_dir(cx: &PathContext, dir: &VfsPath) -> Result<Owner, Errno> {
    let owner = dir.inode().owner()?;
    let want = MAY_WRITE | MAY_EXEC;
    cx.creds.check(&owner, FileType::Directory, want)?;
    Ok(owner)
}

/// Group and permission bits of a new file in a directory with this owner: umask, set-gid directories.
pub(super) fn inherit(cx: &PathContext, dir: &Owner, kind: FileType, mode: u32) -> (u32, u32) {
    let mut perm = mode & 0o7777 & !cx.umask;
    if kind == FileType::Symlink {
        perm = 0o777;
    }
    if dir.perm & libc::S_ISGID == 0 {
        return (cx.creds.fsgid, perm);
    }
    if kind == FileType::Directory {
        perm |= libc::S_ISGID;
    } else if perm & (libc::S_ISGID | libc::S_IXGRP) == libc::S_ISGID | libc::S_IXGRP
        && !cx.creds.in_group(dir.gid)
        && !cx.creds.has(cap::FSETID)
    {
        perm &= !libc::S_ISGID;
    }
    (dir.gid, perm)
}

/// Makes a file `name` in `dir`. `mode` is before the umask.
///
/// # Errors
/// EEXIST, EROFS, EACCES, EPERM, ENOENT (the directory was removed), ENOSPC.
pub fn create(
    cx: &PathContext,
    dir: &VfsPath,
    name: &[u8],
    kind: FileType,
    mode: u32,
    rdev: u64,
    target: &[u8],
) -> Result<VfsPath, Errno> {
    if name.len() > NAME_MAX {
        return Err(Errno::ENAMETOOLONG);
    }
    let mut children = dir.dentry.lock();
    if dir.dentry.child_locked(&mut children, name)?.is_some() {
        return Err(Errno::EEXIST);
    }
    dir.mount.check_writable()?;
    let owner = check_dir(cx, dir)?;
    let device = matches!(kind, FileType::CharDevice | FileType::BlockDevice);
    if device && !(rdev == 0 && kind == FileType::CharDevice) {
        cx.creds.require(cap::MKNOD)?;
    }
    if dir.dentry.is_dead() {
        return Err(Errno::ENOENT);
    }
    let (gid, perm) = inherit(cx, &owner, kind, mode);
    let new = NewNode {
        kind,
        perm,
        uid: cx.creds.fsuid,
        gid,
        rdev,
        target,
        ino: None,
    };
    let inode = dir.inode().create(name, &new)?;
    let dentry = dir.dentry.insert(&mut children, name, inode);
    drop(children);
    notify::in_directory(&dir.dentry, libc::IN_CREATE, 0, name, kind);
    Ok(VfsPath {
        mount: Arc::clone(&dir.mount),
        dentry,
    })
}

/// Sticky directories: only the owner of the file or of the directory removes or renames.
fn check_sticky(cx: &PathContext, dir: &Owner, victim: &Dentry) -> Result<(), Errno> {
    if dir.perm & libc::S_ISVTX == 0 || cx.creds.fsuid == dir.uid {
        return Ok(());
    }
    if cx.creds.owns(&victim.inode().owner()?) {
        Ok(())
    } else {
        Err(Errno::EPERM)
    }
}

/// Removes `name` from `dir`: a directory (rmdir) or anything else (unlink).
///
/// # Errors
/// ENOENT, EISDIR, ENOTDIR, ENOTEMPTY, EBUSY (a mount point), EROFS, EACCES, EPERM.
pub fn remove(cx: &PathContext, dir: &VfsPath, name: &[u8], directory: bool) -> Result<(), Errno> {
    if name.len() > NAME_MAX {
        return Err(Errno::ENAMETOOLONG);
    }
    let mut children = dir.dentry.lock();
    let victim = dir
        .dentry
        .child_locked(&mut children, name)?
        .ok_or(Errno::ENOENT)?;
    dir.mount.check_writable()?;
    let owner = check_dir(cx, dir)?;
    check_sticky(cx, &owner, &victim)?;
    let kind = victim.inode().kind();
    match (directory, kind == FileType::Directory) {
        (true, false) => return Err(Errno::ENOTDIR),
        (false, true) => return Err(Errno::EISDIR),
        _ => {}
    }
    if victim.mounts.load(std::sync::atomic::Ordering::Acquire) > 0 {
        return Err(Errno::EBUSY);
    }
    {
        // Nobody may make a name in a directory that is being removed.
        let inner = directory.then(|| victim.lock());
        dir.inode().remove(name, victim.inode())?;
        dir.dentry.removed(&mut children, name);
        drop(inner);
    }
    drop(children);
    notify::in_directory(&dir.dentry, libc::IN_DELETE, 0, name, kind);
    let gone = libc::IN_DELETE_SELF;
    notify::on_self(&victim, gone);
    Ok(())
}

/// Gives the file at `target` the name `name` in `dir`.
///
/// # Errors
/// EEXIST, EXDEV, EPERM (a directory, or fs.protected_hardlinks), EROFS, EACCES.
pub fn link(cx: &PathContext, target: &VfsPath, dir: &VfsPath, name: &[u8]) -> Result<(), Errno> {
    if name.len() > NAME_MAX {
        return Err(Errno::ENAMETOOLONG);
    }
    let mut children = dir.dentry.lock();
    if dir.dentry.child_locked(&mut children, name)?.is_some() {
        return Err(Errno::EEXIST);
    }
    dir.mount.check_writable()?;
    if !Arc::ptr_eq(&dir.mount, &target.mount) {
        return Err(Errno::EXDEV);
    }
    check_dir(cx, dir)?;
    let kind = target.inode().kind();
    if kind == FileType::Directory {
        return Err(Errno::EPERM);
    }
    may_link(cx, target)?;
    if dir.dentry.is_dead() {
        return Err(Errno::ENOENT);
    }
    dir.inode().link(name, target.inode())?;
    let made = match dir.inode().inode_per_name() {
        true => dir.inode().lookup(name)?,
        false => Arc::clone(target.inode()),
    };
    dir.dentry.insert(&mut children, name, made);
    drop(children);
    notify::in_directory(&dir.dentry, libc::IN_CREATE, 0, name, kind);
    Ok(())
}

/// fs.protected_hardlinks=1: who does not own a file links it only if he could read and write it.
fn may_link(cx: &PathContext, target: &VfsPath) -> Result<(), Errno> {
    let owner = target.inode().owner()?;
    if cx.creds.owns(&owner) {
        return Ok(());
    }
    let kind = target.inode().kind();
    let set_id = owner.perm & libc::S_ISUID != 0
        || owner.perm & (libc::S_ISGID | libc::S_IXGRP) == libc::S_ISGID | libc::S_IXGRP;
    let want = crate::vfs::creds::MAY_READ | MAY_WRITE;
    if kind == FileType::Regular && !set_id && cx.creds.check(&owner, kind, want).is_ok() {
        return Ok(());
    }
    Err(Errno::EPERM)
}

/// Where a name is (or is to be).
pub struct Place<'a> {
    /// Its directory.
    pub dir: &'a VfsPath,
    /// The name.
    pub name: &'a [u8],
    /// Whether a slash followed it.
    pub slash: bool,
}

/// rename(2), with `RENAME_NOREPLACE` and `RENAME_EXCHANGE` in `flags`.
///
/// # Errors
/// Those of renameat2(2).
pub fn rename(cx: &PathContext, from: &Place<'_>, to: &Place<'_>, flags: u32) -> Result<(), Errno> {
    if from.name.len() > NAME_MAX || to.name.len() > NAME_MAX {
        return Err(Errno::ENAMETOOLONG);
    }
    if !Arc::ptr_eq(&from.dir.mount, &to.dir.mount) {
        return Err(Errno::EXDEV);
    }
    let ns = Arc::clone(&cx.ns);
    let _one_at_a_time = ns.rename_lock.lock();
    let (mut from_children, mut to_children) = lock_both(&from.dir.dentry, &to.dir.dentry);
    let source = from
        .dir
        .dentry
        .child_locked(&mut from_children, from.name)?
        .ok_or(Errno::ENOENT)?;
    let target = {
        let children = to_children.as_deref_mut().unwrap_or(&mut from_children);
        to.dir.dentry.child_locked(children, to.name)?
    };
    check_rename(cx, from, to, &source, target.as_ref(), flags)?;
    if target.as_ref().is_some_and(|t| same_file(&source, t)) {
        return Ok(());
    }
    let exchange = flags & libc::RENAME_EXCHANGE != 0;
    {
        let replaced = target
            .as_ref()
            .filter(|t| !exchange && t.inode().kind() == FileType::Directory);
        let inner = replaced.map(|dentry| dentry.lock());
        from.dir.inode().rename(&Rename {
            from: from.name,
            source: source.inode(),
            to_dir: to.dir.inode(),
            to: to.name,
            target: target.as_ref().map(|t| t.inode()),
            exchange,
        })?;
        drop(inner);
    }
    // The maps: take the old name out, put the new one in.
    if exchange && let Some(target) = &target {
        target.moved(&from.dir.dentry, from.name);
        from_children.insert(from.name.into(), Some(Arc::clone(target)));
    } else {
        let absent = from.dir.inode().remembers_absence();
        from_children.remove(from.name);
        if absent {
            from_children.insert(from.name.into(), None);
        }
    }
    source.moved(&to.dir.dentry, to.name);
    let children = to_children.as_deref_mut().unwrap_or(&mut from_children);
    let old = children.insert(to.name.into(), Some(Arc::clone(&source)));
    if let Some(Some(old)) = old.filter(|_| !exchange) {
        old.set_dead();
    }
    drop(to_children);
    drop(from_children);
    tell_rename(from, to, &source);
    Ok(())
}

fn tell_rename(from: &Place<'_>, to: &Place<'_>, source: &Dentry) {
    let cookie = notify::next_cookie();
    let kind = source.inode().kind();
    notify::in_directory(
        &from.dir.dentry,
        libc::IN_MOVED_FROM,
        cookie,
        from.name,
        kind,
    );
    notify::in_directory(&to.dir.dentry, libc::IN_MOVED_TO, cookie, to.name, kind);
    notify::on_self(source, libc::IN_MOVE_SELF);
}

fn same_file(a: &Dentry, b: &Dentry) -> bool {
    if Arc::ptr_eq(a.inode(), b.inode()) {
        return true;
    }
    match (a.inode().attr(), b.inode().attr()) {
        (Ok(a), Ok(b)) => a.dev == b.dev && a.ino == b.ino && a.kind != FileType::Directory,
        _ => false,
    }
}

type Guards<'a> = (MutexGuard<'a, Children>, Option<MutexGuard<'a, Children>>);

/// Locks both directories; the second guard is absent if they are the same.
fn lock_both<'a>(from: &'a Arc<Dentry>, to: &'a Arc<Dentry>) -> Guards<'a> {
    if Arc::ptr_eq(from, to) {
        return (from.lock(), None);
    }
    let to_first = to.is_ancestor_of(from)
        || (!from.is_ancestor_of(to) && Arc::as_ptr(to) < Arc::as_ptr(from));
    if to_first {
        let to = to.lock();
        (from.lock(), Some(to))
    } else {
        let from = from.lock();
        (from, Some(to.lock()))
    }
}

fn check_rename(
    cx: &PathContext,
    from: &Place<'_>,
    to: &Place<'_>,
    source: &Arc<Dentry>,
    target: Option<&Arc<Dentry>>,
    flags: u32,
) -> Result<(), Errno> {
    let exchange = flags & libc::RENAME_EXCHANGE != 0;
    if flags & libc::RENAME_NOREPLACE != 0 && target.is_some() {
        return Err(Errno::EEXIST);
    }
    if exchange && target.is_none() {
        return Err(Errno::ENOENT);
    }
    let directory = |dentry: &Arc<Dentry>| dentry.inode().kind() == FileType::Directory;
    if !directory(source) && (from.slash || (!exchange && to.slash)) {
        return Err(Errno::ENOTDIR);
    }
    if exchange && to.slash && target.is_some_and(|target| !directory(target)) {
        return Err(Errno::ENOTDIR);
    }
    if source.is_ancestor_of(&to.dir.dentry) {
        return Err(Errno::EINVAL);
    }
    if let Some(target) = target
        && target.is_ancestor_of(&from.dir.dentry)
    {
        let error = if exchange {
            Errno::EINVAL
        } else {
            Errno::ENOTEMPTY
        };
        return Err(error);
    }
    from.dir.mount.check_writable()?;
    let owner = check_dir(cx, from.dir)?;
    check_sticky(cx, &owner, source)?;
    let to_owner = check_dir(cx, to.dir)?;
    if let Some(target) = target {
        check_sticky(cx, &to_owner, target)?;
        match (directory(source), directory(target)) {
            _ if exchange => {}
            (true, false) => return Err(Errno::ENOTDIR),
            (false, true) => return Err(Errno::EISDIR),
            _ => {}
        }
    }
    // A directory's `..` changes when it moves: that needs write permission on it.
    if directory(source) && !Arc::ptr_eq(&from.dir.dentry, &to.dir.dentry) {
        let owner = source.inode().owner()?;
        cx.creds.check(&owner, FileType::Directory, MAY_WRITE)?;
    }
    let mounted = |d: &Arc<Dentry>| d.mounts.load(std::sync::atomic::Ordering::Acquire) > 0;
    if mounted(source) || target.is_some_and(mounted) {
        return Err(Errno::EBUSY);
    }
    if to.dir.dentry.is_dead() {
        return Err(Errno::ENOENT);
    }
    Ok(())
}
