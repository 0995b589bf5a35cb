//! Directories of an overlay: merged lookup and listing, making and removing names.

use std::collections::HashSet;
use std::sync::Arc;

use sentry_abi::Errno;

use super::inode::{OPAQUE, OverlayInode, Place, is_whiteout};
use crate::vfs::attr::FileType;
use crate::vfs::inode::{DirEntry, Inode, NewNode};

fn absent_as_none<T>(found: Result<T, Errno>) -> Result<Option<T>, Errno> {
    match found {
        Ok(found) => Ok(Some(found)),
        Err(Errno::ENOENT) => Ok(None),
        Err(error) => Err(error),
    }
}

/// What the upper half has under `name`, whiteouts included.
pub(super) fn upper_entry(
    dir: &OverlayInode,
    name: &[u8],
) -> Result<Option<Arc<dyn Inode>>, Errno> {
    match dir.upper() {
        Some(upper) => absent_as_none(upper.lookup(name)),
        None => Ok(None),
    }
}

/// What the lower half has under `name`.
pub(super) fn lower_entry(
    dir: &OverlayInode,
    name: &[u8],
) -> Result<Option<Arc<dyn Inode>>, Errno> {
    match &dir.lower {
        Some(lower) => absent_as_none(lower.lookup(name)),
        None => Ok(None),
    }
}

/// The lower half of an upper directory that is called `name` in `dir`.
fn lower_of(
    dir: &OverlayInode,
    name: &[u8],
    upper: &Arc<dyn Inode>,
) -> Result<Option<Arc<dyn Inode>>, Errno> {
    if upper.kind() != FileType::Directory {
        return Ok(None);
    }
    let ino = upper.attr()?.ino;
    if let Some(lower) = dir.fs.redirects.lock().get(&ino) {
        return Ok(Some(Arc::clone(lower)));
    }
    if upper.xattr_get(OPAQUE).is_ok() {
        return Ok(None);
    }
    let lower = lower_entry(dir, name)?;
    Ok(lower.filter(|lower| lower.kind() == FileType::Directory))
}

pub(super) fn lookup(dir: &OverlayInode, name: &[u8]) -> Result<Arc<OverlayInode>, Errno> {
    if dir.kind() != FileType::Directory {
        return Err(Errno::ENOTDIR);
    }
    let upper = upper_entry(dir, name)?;
    if upper.as_ref().is_some_and(is_whiteout) {
        return Err(Errno::ENOENT);
    }
    let lower = match &upper {
        Some(upper) => lower_of(dir, name, upper)?,
        None => Some(lower_entry(dir, name)?.ok_or(Errno::ENOENT)?),
    };
    let place = Some((dir.handle()?, name.into()));
    Ok(OverlayInode::new(&dir.fs, place, lower, upper))
}

pub(super) fn entries(dir: &OverlayInode) -> Result<Vec<DirEntry>, Errno> {
    let mut merged = Vec::new();
    let mut seen = HashSet::new();
    if let Some(upper) = dir.upper() {
        for entry in upper.entries()? {
            let whiteout = entry.kind == FileType::CharDevice
                && upper.lookup(&entry.name).is_ok_and(|i| is_whiteout(&i));
            if dir.lower.is_some() {
                seen.insert(entry.name.clone());
            }
            if !whiteout {
                merged.push(entry);
            }
        }
    }
    if let Some(lower) = &dir.lower {
        let more = lower.entries()?.into_iter();
        merged.extend(more.filter(|entry| !seen.contains(&entry.name)));
    }
    Ok(merged)
}

/// Takes a whiteout at `name` in the upper directory away; true if there was one.
pub(super) fn clear_whiteout(upper: &Arc<dyn Inode>, name: &[u8]) -> Result<bool, Errno> {
    match absent_as_none(upper.lookup(name))? {
        Some(inode) if is_whiteout(&inode) => upper.remove(name, &inode).map(|()| true),
        _ => Ok(false),
    }
}

/// Hides the lower `name`.
pub(super) fn make_whiteout(upper: &Arc<dyn Inode>, name: &[u8]) -> Result<(), Errno> {
    let mark = NewNode {
        kind: FileType::CharDevice,
        perm: 0,
        uid: 0,
        gid: 0,
        rdev: 0,
        target: b"",
        ino: None,
    };
    upper.create(name, &mark).map(drop)
}

pub(super) fn create(
    dir: &OverlayInode,
    name: &[u8],
    new: &NewNode<'_>,
) -> Result<Arc<OverlayInode>, Errno> {
    if new.kind == FileType::CharDevice && new.rdev == 0 {
        return Err(Errno::EPERM);
    }
    let upper_dir = dir.copy_up(None)?;
    let hidden = clear_whiteout(&upper_dir, name)?;
    let made = upper_dir.create(name, new);
    if made.is_err() && hidden {
        make_whiteout(&upper_dir, name)?;
    }
    let upper = made?;
    if hidden && new.kind == FileType::Directory {
        upper.xattr_set(OPAQUE, Some(b"y"), 0)?;
    }
    let place = Some((dir.handle()?, name.into()));
    Ok(OverlayInode::new(&dir.fs, place, None, Some(upper)))
}

/// ENOTEMPTY unless nothing shows in the directory; its upper half is then cleared of whiteouts.
pub(super) fn empty_out(inode: &OverlayInode) -> Result<(), Errno> {
    if !entries(inode)?.is_empty() {
        return Err(Errno::ENOTEMPTY);
    }
    let Some(upper) = inode.upper() else {
        return Ok(());
    };
    for entry in upper.entries()? {
        clear_whiteout(&upper, &entry.name)?;
    }
    Ok(())
}

pub(super) fn remove(dir: &OverlayInode, name: &[u8], child: &OverlayInode) -> Result<(), Errno> {
    let directory = child.kind() == FileType::Directory;
    if directory {
        // Whiteouts go only once it is certain that the directory goes.
        empty_out(child)?;
    }
    let below = lower_entry(dir, name)?.is_some();
    let upper_dir = if below {
        Some(dir.copy_up(None)?)
    } else {
        dir.upper()
    };
    let upper_dir = upper_dir.ok_or(Errno::EIO)?;
    if let Some(upper) = child.upper().filter(|_| upper_dir.lookup(name).is_ok()) {
        let ino = upper.attr()?.ino;
        upper_dir.remove(name, &upper)?;
        if directory {
            dir.fs.redirects.lock().remove(&ino);
        }
    }
    if below {
        make_whiteout(&upper_dir, name)?;
    }
    forget_place(child, dir, name);
    Ok(())
}

/// What lost this name is not copied up to it any more.
pub(super) fn forget_place(child: &OverlayInode, dir: &OverlayInode, name: &[u8]) {
    let mut place = child.place.lock();
    let this = |(at, called): &Place| std::ptr::eq(Arc::as_ptr(at), dir) && **called == *name;
    if place.as_ref().is_some_and(this) {
        *place = None;
    }
}

pub(super) fn link(dir: &OverlayInode, name: &[u8], target: &OverlayInode) -> Result<(), Errno> {
    if !Arc::ptr_eq(&dir.fs, &target.fs) {
        return Err(Errno::EXDEV);
    }
    let upper = target.copy_up(None)?;
    let upper_dir = dir.copy_up(None)?;
    clear_whiteout(&upper_dir, name)?;
    upper_dir.link(name, &upper)
}
