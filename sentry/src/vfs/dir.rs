//! Open directories: a snapshot of the entries, taken at position 0, read in order.

use std::any::Any;
use std::sync::Arc;

use parking_lot::Mutex;
use sentry_abi::Errno;

use crate::mm::io::IoDst;
use crate::vfs::attr::FileType;
use crate::vfs::dentry::VfsPath;
use crate::vfs::file::{DirSink, FileOps};
use crate::vfs::inode::DirEntry;

/// An open directory of any file system.
pub struct DirFile {
    path: VfsPath,
    snapshot: Mutex<Option<Arc<[DirEntry]>>>,
}

impl DirFile {
    /// The directory at `path`.
    pub fn new(path: VfsPath) -> Arc<Self> {
        Arc::new(Self {
            path,
            snapshot: Mutex::new(None),
        })
    }

    fn entries(&self, position: u64) -> Result<Arc<[DirEntry]>, Errno> {
        let mut snapshot = self.snapshot.lock();
        if let Some(entries) = snapshot.as_ref().filter(|_| position > 0) {
            return Ok(Arc::clone(entries));
        }
        if self.path.dentry.is_dead() {
            return Err(Errno::ENOENT);
        }
        let entries: Arc<[DirEntry]> = self.path.inode().entries()?.into();
        *snapshot = Some(Arc::clone(&entries));
        Ok(entries)
    }

    fn dots(&self, position: u64) -> Result<u64, Errno> {
        if position == 0 {
            return Ok(self.path.inode().attr()?.ino);
        }
        let parent = self.path.dentry.parent();
        let inode = parent.as_ref().map_or(self.path.inode(), |p| p.inode());
        Ok(inode.attr()?.ino)
    }
}

impl FileOps for DirFile {
    fn read(&self, _: &mut dyn IoDst, _: Option<u64>) -> Result<usize, Errno> {
        Err(Errno::EISDIR)
    }

    fn seekable(&self) -> bool {
        true
    }

    fn read_dir(&self, position: u64, sink: &mut DirSink<'_>) -> Result<u64, Errno> {
        let entries = self.entries(position)?;
        let mut at = position;
        while at < 2 {
            let name: &[u8] = if at == 0 { b"." } else { b".." };
            if !sink(self.dots(at)?, at + 1, FileType::Directory, name) {
                return Ok(at);
            }
            at += 1;
        }
        let from = usize::try_from(at - 2).unwrap_or(usize::MAX);
        for entry in entries.get(from..).unwrap_or_default() {
            if !sink(entry.ino, at + 1, entry.kind, &entry.name) {
                break;
            }
            at += 1;
        }
        Ok(at)
    }

    fn sync(&self, _: bool) -> Result<(), Errno> {
        Ok(())
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}
