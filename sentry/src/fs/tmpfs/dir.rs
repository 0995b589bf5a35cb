//! Changes to directories in memory. The VFS holds the dentry locks of all directories concerned, so
//! nothing here can change between two steps.

use std::collections::BTreeMap;
use std::sync::Arc;

use sentry_abi::Errno;

use super::inode::{Body, TmpInode};
use crate::vfs::attr::{FileType, Time};
use crate::vfs::inode::{Inode, NewNode, Rename};

/// Names of a directory.
pub(super) type Entries = BTreeMap<Box<[u8]>, Arc<TmpInode>>;

fn is_dir(inode: &TmpInode) -> bool {
    inode.kind() == FileType::Directory
}

fn touch(dir: &TmpInode, links: i32) {
    let now = Time::now();
    let mut meta = dir.meta.lock();
    meta.mtime = now;
    meta.ctime = now;
    meta.nlink = meta.nlink.saturating_add_signed(links);
}

fn change_links(inode: &TmpInode, by: i32) {
    let mut meta = inode.meta.lock();
    meta.nlink = meta.nlink.saturating_add_signed(by);
    meta.ctime = Time::now();
}

pub(super) fn create(
    dir: &TmpInode,
    name: &[u8],
    new: &NewNode<'_>,
) -> Result<Arc<TmpInode>, Errno> {
    dir.fs.check_room()?;
    let inode = dir.fs.make(new);
    dir.entries_map()?
        .lock()
        .insert(name.into(), Arc::clone(&inode));
    touch(dir, i32::from(is_dir(&inode)));
    Ok(inode)
}

fn check_empty(inode: &TmpInode) -> Result<(), Errno> {
    match &inode.body {
        Body::Dir(entries) if !entries.lock().is_empty() => Err(Errno::ENOTEMPTY),
        _ => Ok(()),
    }
}

/// The inode lost a name; a directory loses its own `.` too.
fn unlinked(inode: &TmpInode) {
    change_links(inode, if is_dir(inode) { -2 } else { -1 });
}

pub(super) fn remove(dir: &TmpInode, name: &[u8]) -> Result<(), Errno> {
    let mut entries = dir.entries_map()?.lock();
    let inode = Arc::clone(entries.get(name).ok_or(Errno::ENOENT)?);
    check_empty(&inode)?;
    entries.remove(name);
    drop(entries);
    unlinked(&inode);
    touch(dir, -i32::from(is_dir(&inode)));
    Ok(())
}

pub(super) fn link(dir: &TmpInode, name: &[u8], target: &TmpInode) -> Result<(), Errno> {
    if !Arc::ptr_eq(&dir.fs, &target.fs) {
        return Err(Errno::EXDEV);
    }
    let target = target.handle()?;
    change_links(&target, 1);
    dir.entries_map()?.lock().insert(name.into(), target);
    touch(dir, 0);
    Ok(())
}

pub(super) fn rename(from: &TmpInode, to: &TmpInode, rename: &Rename<'_>) -> Result<(), Errno> {
    let source = from.entries_map()?.lock().get(rename.from).cloned();
    let source = source.ok_or(Errno::ENOENT)?;
    let target = to.entries_map()?.lock().get(rename.to).cloned();
    if rename.exchange {
        let target = target.ok_or(Errno::ENOENT)?;
        put(from, rename.from, &target);
        put(to, rename.to, &source);
        let moved = i32::from(is_dir(&target)) - i32::from(is_dir(&source));
        touch(from, moved);
        touch(to, -moved);
        return Ok(());
    }
    if let Some(target) = &target {
        check_empty(target)?;
        unlinked(target);
    }
    from.entries_map()?.lock().remove(rename.from);
    put(to, rename.to, &source);
    let directory = i32::from(is_dir(&source));
    let replaced = i32::from(target.is_some_and(|target| is_dir(&target)));
    touch(from, -directory);
    touch(to, directory - replaced);
    source.meta.lock().ctime = Time::now();
    Ok(())
}

fn put(dir: &TmpInode, name: &[u8], inode: &Arc<TmpInode>) {
    if let Body::Dir(entries) = &dir.body {
        entries.lock().insert(name.into(), Arc::clone(inode));
    }
}
