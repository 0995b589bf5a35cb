//! Changing attributes: mode, owner, times, size, extended attributes.

use sentry_abi::Errno;

use crate::vfs::attr::{FileType, SetAttr, Time};
use crate::vfs::context::PathContext;
use crate::vfs::creds::{MAY_READ, MAY_WRITE, cap};
use crate::vfs::dentry::VfsPath;
use crate::vfs::notify;

fn apply(path: &VfsPath, set: &SetAttr) -> Result<(), Errno> {
    path.inode().set_attr(set)?;
    notify::on_file(&path.dentry, libc::IN_ATTRIB);
    Ok(())
}

/// chmod(2): `perm` is 12 bits.
///
/// # Errors
/// EPERM, EROFS, EOPNOTSUPP (a symbolic link).
pub fn chmod(cx: &PathContext, path: &VfsPath, perm: u32) -> Result<(), Errno> {
    path.mount.check_writable()?;
    if path.inode().kind() == FileType::Symlink {
        return Err(Errno::EOPNOTSUPP);
    }
    let owner = path.inode().owner()?;
    if !cx.creds.owns(&owner) {
        return Err(Errno::EPERM);
    }
    let mut perm = perm & 0o7777;
    if !cx.creds.in_group(owner.gid) && !cx.creds.has(cap::FSETID) {
        perm &= !libc::S_ISGID;
    }
    let set = SetAttr {
        perm: Some(perm),
        ..SetAttr::default()
    };
    apply(path, &set)
}

/// chown(2); `None` leaves an id as it is. Set-id bits of what is not a directory are cleared.
///
/// # Errors
/// EPERM, EROFS.
pub fn chown(
    cx: &PathContext,
    path: &VfsPath,
    uid: Option<u32>,
    gid: Option<u32>,
) -> Result<(), Errno> {
    path.mount.check_writable()?;
    let owner = path.inode().owner()?;
    let mine = cx.creds.fsuid == owner.uid;
    let may_uid = uid.is_none_or(|uid| mine && uid == owner.uid);
    let may_gid = gid.is_none_or(|gid| mine && (gid == owner.gid || cx.creds.in_group(gid)));
    if !(may_uid && may_gid) {
        cx.creds.require(cap::CHOWN)?;
    }
    let mut set = SetAttr {
        uid,
        gid,
        ..SetAttr::default()
    };
    let kind = path.inode().kind();
    if kind != FileType::Directory && kind != FileType::Symlink && (uid.is_some() || gid.is_some())
    {
        let mut perm = owner.perm & !libc::S_ISUID;
        if perm & libc::S_IXGRP != 0 {
            perm &= !libc::S_ISGID;
        }
        if perm != owner.perm {
            set.perm = Some(perm);
        }
    }
    apply(path, &set)
}

/// One time to set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NewTime {
    /// Leave it (UTIME_OMIT).
    Omit,
    /// The present (UTIME_NOW).
    Now,
    /// This time.
    At(Time),
}

/// utimensat(2).
///
/// # Errors
/// EPERM, EACCES, EROFS.
pub fn set_times(
    cx: &PathContext,
    path: &VfsPath,
    atime: NewTime,
    mtime: NewTime,
) -> Result<(), Errno> {
    if atime == NewTime::Omit && mtime == NewTime::Omit {
        return Ok(());
    }
    path.mount.check_writable()?;
    let owner = path.inode().owner()?;
    if !cx.creds.owns(&owner) {
        if atime != NewTime::Now || mtime != NewTime::Now {
            return Err(Errno::EPERM);
        }
        cx.creds.check(&owner, path.inode().kind(), MAY_WRITE)?;
    }
    let now = Time::now();
    let time = |new| match new {
        NewTime::Omit => None,
        NewTime::Now => Some(now),
        NewTime::At(time) => Some(time),
    };
    let set = SetAttr {
        atime: time(atime),
        mtime: time(mtime),
        ..SetAttr::default()
    };
    apply(path, &set)
}

/// truncate(2) by path.
///
/// # Errors
/// EISDIR, EINVAL (no regular file), EACCES, EROFS, EFBIG.
pub fn truncate(cx: &PathContext, path: &VfsPath, size: u64) -> Result<(), Errno> {
    match path.inode().kind() {
        FileType::Directory => return Err(Errno::EISDIR),
        FileType::Regular => {}
        _ => return Err(Errno::EINVAL),
    }
    path.mount.check_writable()?;
    let owner = path.inode().owner()?;
    cx.creds.check(&owner, FileType::Regular, MAY_WRITE)?;
    resize(path, size)
}

/// Sets the size of a file that the caller has open for writing, or may write.
///
/// # Errors
/// EFBIG, ENOSPC, EPERM (sealed).
pub fn resize(path: &VfsPath, size: u64) -> Result<(), Errno> {
    let set = SetAttr {
        size: Some(size),
        ..SetAttr::default()
    };
    path.inode().set_attr(&set)?;
    notify::on_file(&path.dentry, libc::IN_MODIFY);
    Ok(())
}

/// Longest name of an extended attribute.
const XATTR_NAME_MAX: usize = 255;
/// Longest value.
pub const XATTR_SIZE_MAX: usize = 65536;

fn check_xattr(cx: &PathContext, path: &VfsPath, name: &[u8], want: u32) -> Result<(), Errno> {
    if name.is_empty() || name.len() > XATTR_NAME_MAX {
        return Err(Errno::ERANGE);
    }
    let owner = path.inode().owner()?;
    let kind = path.inode().kind();
    if name.starts_with(b"trusted.") {
        return if cx.creds.has(cap::SYS_ADMIN) {
            Ok(())
        } else if want == MAY_WRITE {
            Err(Errno::EPERM)
        } else {
            Err(Errno::ENODATA)
        };
    }
    if name.starts_with(b"security.") {
        return if want == MAY_WRITE {
            cx.creds.require(cap::SYS_ADMIN)
        } else {
            Ok(())
        };
    }
    match name.strip_prefix(b"user.") {
        None => return Err(Errno::EOPNOTSUPP),
        Some([]) => return Err(Errno::EINVAL),
        Some(_) => {}
    }
    if !matches!(kind, FileType::Regular | FileType::Directory) {
        let error = if want == MAY_WRITE {
            Errno::EPERM
        } else {
            Errno::ENODATA
        };
        return Err(error);
    }
    cx.creds.check(&owner, kind, want)
}

/// getxattr(2).
///
/// # Errors
/// ENODATA, EOPNOTSUPP, EACCES, ERANGE.
pub fn xattr_get(cx: &PathContext, path: &VfsPath, name: &[u8]) -> Result<Vec<u8>, Errno> {
    check_xattr(cx, path, name, MAY_READ)?;
    path.inode().xattr_get(name)
}

/// setxattr(2), or removexattr(2) with `None`.
///
/// # Errors
/// EEXIST, ENODATA, E2BIG, EPERM, EACCES, EROFS, EOPNOTSUPP.
pub fn xattr_set(
    cx: &PathContext,
    path: &VfsPath,
    name: &[u8],
    value: Option<&[u8]>,
    flags: i32,
) -> Result<(), Errno> {
    path.mount.check_writable()?;
    check_xattr(cx, path, name, MAY_WRITE)?;
    if value.is_some_and(|value| value.len() > XATTR_SIZE_MAX) {
        return Err(Errno::E2BIG);
    }
    path.inode().xattr_set(name, value, flags)?;
    notify::on_file(&path.dentry, libc::IN_ATTRIB);
    Ok(())
}

/// listxattr(2): names, without `trusted.` ones for those who may not see them.
///
/// # Errors
/// As the file system's.
pub fn xattr_list(cx: &PathContext, path: &VfsPath) -> Result<Vec<Vec<u8>>, Errno> {
    let mut names = path.inode().xattr_list()?;
    if !cx.creds.has(cap::SYS_ADMIN) {
        names.retain(|name| !name.starts_with(b"trusted."));
    }
    Ok(names)
}
