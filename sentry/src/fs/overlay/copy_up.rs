//! Copying a lower file to the upper tree before its first change.

use std::sync::Arc;

use sentry_abi::Errno;

use super::inode::{OverlayInode, Place};
use crate::mm::io::{IoDst, IoSrc};
use crate::vfs::attr::{Attr, FileType, SetAttr};
use crate::vfs::context::PathContext;
use crate::vfs::dentry::{Dentry, VfsPath};
use crate::vfs::file::FileOps;
use crate::vfs::inode::{Inode, NewNode, OpenRequest};
use crate::vfs::mount::{Mount, MountNamespace};

/// Bytes copied at a time.
const CHUNK: usize = 256 << 10;

impl OverlayInode {
    /// The upper half, made if it was not there. `keep` bounds how many bytes are copied (the caller cuts
    /// the rest off anyhow).
    pub(super) fn copy_up(&self, keep: Option<u64>) -> Result<Arc<dyn Inode>, Errno> {
        if let Some(upper) = self.upper() {
            return Ok(upper);
        }
        let place = self.place.lock().clone();
        // The directories first, from the top: paths of any depth without recursion.
        let mut above: Vec<Arc<OverlayInode>> = Vec::new();
        let mut at = place.as_ref().map(|(dir, _)| Arc::clone(dir));
        while let Some(dir) = at.filter(|dir| dir.upper().is_none()) {
            at = dir.place.lock().as_ref().map(|(up, _)| Arc::clone(up));
            above.push(dir);
        }
        for dir in above.iter().rev() {
            let place = dir.place.lock().clone();
            dir.copy_this(&place, None)?;
        }
        self.copy_this(&place, keep)
    }

    fn copy_this(&self, place: &Option<Place>, keep: Option<u64>) -> Result<Arc<dyn Inode>, Errno> {
        let _one = self.copying.lock();
        if let Some(upper) = self.upper() {
            return Ok(upper);
        }
        let lower = self.lower.as_ref().ok_or(Errno::EIO)?;
        let attr = lower.attr()?;
        let target = match attr.kind {
            FileType::Symlink => lower.readlink(&detached(lower))?,
            _ => Vec::new(),
        };
        let new = NewNode {
            kind: attr.kind,
            perm: attr.perm,
            uid: attr.uid,
            gid: attr.gid,
            rdev: attr.rdev,
            target: &target,
            ino: Some(attr.ino),
        };
        let upper_dir = match place {
            Some((dir, name)) => Some((dir.upper().ok_or(Errno::EIO)?, name)),
            None => None,
        };
        // Contents first, in a file without a name, so that a half-made copy never shows.
        let upper = match (&upper_dir, attr.kind) {
            (Some((dir, name)), kind) if kind != FileType::Regular => dir.create(name, &new)?,
            _ => self.fs.upper_root.create_unnamed(&new)?,
        };
        if attr.kind == FileType::Regular {
            copy_contents(lower, &upper, keep.unwrap_or(u64::MAX).min(attr.size))?;
        }
        copy_attributes(lower, &upper, &attr)?;
        if let Some((dir, name)) = upper_dir.filter(|_| attr.kind == FileType::Regular) {
            dir.link(name, &upper)?;
        }
        *self.upper.write() = Some(Arc::clone(&upper));
        Ok(upper)
    }
}

fn copy_attributes(
    lower: &Arc<dyn Inode>,
    upper: &Arc<dyn Inode>,
    attr: &Attr,
) -> Result<(), Errno> {
    for name in lower.xattr_list()? {
        if let Ok(value) = lower.xattr_get(&name) {
            upper.xattr_set(&name, Some(&value), 0)?;
        }
    }
    upper.set_attr(&SetAttr {
        atime: Some(attr.atime),
        mtime: Some(attr.mtime),
        ..SetAttr::default()
    })
}

/// A context for opening a half by itself, outside any namespace of a guest.
fn detached(inode: &Arc<dyn Inode>) -> PathContext {
    let mount = Mount::new(
        Dentry::root(Arc::clone(inode)),
        "overlay",
        "overlay",
        crate::vfs::mount::MountFlags::empty(),
    );
    PathContext::internal(&MountNamespace::new(mount))
}

/// Opens a half by itself.
pub(super) fn open_half(inode: &Arc<dyn Inode>, flags: i32) -> Result<Arc<dyn FileOps>, Errno> {
    let cx = detached(inode);
    let path: &VfsPath = &cx.root;
    Arc::clone(inode).open(&OpenRequest {
        flags,
        path,
        cx: &cx,
    })
}

fn copy_contents(lower: &Arc<dyn Inode>, upper: &Arc<dyn Inode>, size: u64) -> Result<(), Errno> {
    if size == 0 {
        return Ok(());
    }
    let from = open_half(lower, libc::O_RDONLY)?;
    let to = open_half(upper, libc::O_WRONLY)?;
    let mut buffer = Buffer {
        bytes: vec![0; CHUNK.min(size as usize)],
        start: 0,
        end: 0,
        limit: 0,
    };
    let mut at = 0;
    while at < size {
        buffer.start = 0;
        buffer.end = 0;
        buffer.limit = buffer.bytes.len().min((size - at) as usize);
        let count = from.read(&mut buffer, Some(at))?;
        if count == 0 {
            break;
        }
        let mut wrote = 0;
        while wrote < count {
            let more = to.write(&mut buffer, Some(at + wrote as u64))?;
            if more == 0 {
                return Err(Errno::EIO);
            }
            wrote += more;
        }
        at += count as u64;
    }
    Ok(())
}

/// A buffer that is filled and then drained.
struct Buffer {
    bytes: Vec<u8>,
    start: usize,
    end: usize,
    limit: usize,
}

impl IoDst for Buffer {
    fn remaining(&self) -> usize {
        self.limit - self.end
    }

    fn put(&mut self, bytes: &[u8]) -> Result<usize, Errno> {
        let count = bytes.len().min(IoDst::remaining(self));
        self.bytes[self.end..self.end + count].copy_from_slice(&bytes[..count]);
        self.end += count;
        Ok(count)
    }

    fn fill_with(
        &mut self,
        max: usize,
        fill: &mut dyn FnMut(&[libc::iovec]) -> Result<usize, Errno>,
    ) -> Result<usize, Errno> {
        let len = max.min(IoDst::remaining(self));
        let free = &mut self.bytes[self.end..self.end + len];
        let vector = libc::iovec {
            iov_base: free.as_mut_ptr().cast(),
            iov_len: free.len(),
        };
        let count = fill(&[vector])?.min(len);
        self.end += count;
        Ok(count)
    }
}

impl IoSrc for Buffer {
    fn remaining(&self) -> usize {
        self.end - self.start
    }

    fn take(&mut self, buffer: &mut [u8]) -> Result<usize, Errno> {
        let count = buffer.len().min(self.end - self.start);
        buffer[..count].copy_from_slice(&self.bytes[self.start..self.start + count]);
        self.start += count;
        Ok(count)
    }

    fn drain_with(
        &mut self,
        max: usize,
        drain: &mut dyn FnMut(&[libc::iovec]) -> Result<usize, Errno>,
    ) -> Result<usize, Errno> {
        let held = &mut self.bytes[self.start..self.end];
        let vector = libc::iovec {
            iov_base: held.as_mut_ptr().cast(),
            iov_len: held.len().min(max),
        };
        let count = drain(&[vector])?;
        self.start += count;
        Ok(count)
    }
}
