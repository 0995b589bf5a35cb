//! Renaming in an overlay.

use std::sync::Arc;

use sentry_abi::Errno;

use super::dir::{clear_whiteout, empty_out, forget_place, lower_entry, make_whiteout};
use super::inode::{OPAQUE, OverlayInode, downcast};
use crate::vfs::attr::FileType;
use crate::vfs::inode::{Inode, Rename};

/// Moves a name: both halves of the directories and the source are brought up first, then the upper
/// tree renames, then the old name is hidden where the lower tree has one.
pub(super) fn rename(dir: &OverlayInode, change: &Rename<'_>) -> Result<(), Errno> {
    let to_dir = downcast(change.to_dir)?;
    let source = downcast(change.source)?;
    if !Arc::ptr_eq(&dir.fs, &to_dir.fs) {
        return Err(Errno::EXDEV);
    }
    let target = change.target.map(downcast).transpose()?;
    if let Some(target) = target.filter(|t| !change.exchange && t.kind() == FileType::Directory) {
        empty_out(target)?;
    }
    let upper_from = dir.copy_up(None)?;
    let upper_to = to_dir.copy_up(None)?;
    let upper_source = source.copy_up(None)?;
    let upper_target = match target {
        Some(target) if change.exchange => Some(target.copy_up(None)?),
        Some(target) => target.upper(),
        None => None,
    };
    clear_whiteout(&upper_to, change.to)?;
    // A target with only a lower half is hidden by what takes its name.
    let upper_target = upper_target.filter(|_| upper_to.lookup(change.to).is_ok());
    upper_from.rename(&Rename {
        from: change.from,
        source: &upper_source,
        to_dir: &upper_to,
        to: change.to,
        target: upper_target.as_ref(),
        exchange: change.exchange,
    })?;
    pin_lower(source, &upper_source)?;
    *source.place.lock() = Some((to_dir.handle()?, change.to.into()));
    if let (true, Some(target), Some(upper)) = (change.exchange, target, &upper_target) {
        pin_lower(target, upper)?;
        *target.place.lock() = Some((dir.handle()?, change.from.into()));
        return Ok(());
    }
    if let Some(target) = target {
        forget_place(target, to_dir, change.to);
    }
    if lower_entry(dir, change.from)?.is_some() {
        make_whiteout(&upper_from, change.from)?;
    }
    Ok(())
}

/// A moved directory keeps its own lower half, and never gets that of its new name.
fn pin_lower(inode: &OverlayInode, upper: &Arc<dyn Inode>) -> Result<(), Errno> {
    if inode.kind() != FileType::Directory {
        return Ok(());
    }
    match &inode.lower {
        Some(lower) => {
            let ino = upper.attr()?.ino;
            let lower = Arc::clone(lower);
            inode.fs.redirects.lock().insert(ino, lower);
            Ok(())
        }
        None => upper.xattr_set(OPAQUE, Some(b"y"), 0),
    }
}
