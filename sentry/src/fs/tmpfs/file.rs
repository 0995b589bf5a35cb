//! Open files in memory, and memfds.

use std::any::Any;
use std::sync::Arc;

use sentry_abi::Errno;

use super::inode::{TmpFs, TmpInode, TmpOptions};
use super::storage::Storage;
use crate::mm::io::{IoDst, IoSrc};
use crate::mm::{MapBacking, Mappable, MemoryManager, PAGE_SIZE};
use crate::vfs::attr::{FileType, Time};
use crate::vfs::dentry::{Dentry, VfsPath};
use crate::vfs::file::FileOps;
use crate::vfs::inode::{Inode, NewNode};
use crate::vfs::mount::Mount;
use crate::vfs::open::OpenFile;

/// Bytes copied at a time between contents and guest.
const CHUNK: usize = 16 << 10;

/// An open regular file.
pub struct TmpFile {
    inode: Arc<TmpInode>,
}

impl TmpFile {
    pub(super) fn new(inode: Arc<TmpInode>) -> Self {
        Self { inode }
    }

    /// The file.
    pub fn inode(&self) -> &Arc<TmpInode> {
        &self.inode
    }

    fn check_write(&self, at: u64, len: usize, size: u64) -> Result<(), Errno> {
        let seals = self.inode.seals();
        if seals & (libc::F_SEAL_WRITE | libc::F_SEAL_FUTURE_WRITE) != 0 {
            return Err(Errno::EPERM);
        }
        let end = at.saturating_add(len as u64);
        if seals & libc::F_SEAL_GROW != 0 && end > size {
            return Err(Errno::EPERM);
        }
        Ok(())
    }

    /// Writes at `at`, or at the end of the file. Guest memory is touched without the lock on the
    /// contents: a fault on a mapping of this very file takes it.
    fn write_at(&self, src: &mut dyn IoSrc, at: Option<u64>) -> Result<(usize, u64), Errno> {
        let _one_writer = self.inode.writer.lock();
        let size = self.inode.data()?.read().size();
        let start = at.unwrap_or(size);
        self.check_write(start, src.remaining(), size)?;
        let mut buffer = [0u8; CHUNK];
        let mut total = 0;
        while src.remaining() > 0 {
            let len = src.remaining().min(CHUNK);
            let written = src.take(&mut buffer[..len]).and_then(|count| {
                let mut data = self.inode.data()?.write();
                data.write_bytes(&buffer[..count], start + total as u64)?;
                Ok(count)
            });
            match written {
                Ok(0) => break,
                Ok(count) => total += count,
                Err(_) if total > 0 => break,
                Err(error) => return Err(error),
            }
        }
        if total > 0 {
            self.inode.contents_changed();
        }
        Ok((total, start + total as u64))
    }

    /// Reads at `at`; guest memory is touched without the lock, as in `write_at`.
    fn read_at(&self, dst: &mut dyn IoDst, at: u64) -> Result<usize, Errno> {
        let mut buffer = [0u8; CHUNK];
        let mut total = 0;
        while dst.remaining() > 0 {
            let chunk = &mut buffer[..dst.remaining().min(CHUNK)];
            let have = {
                let data = self.inode.data()?.read();
                data.read_bytes(chunk, at.saturating_add(total as u64))?
            };
            if have == 0 {
                break;
            }
            match dst.put(&chunk[..have]) {
                Ok(count) => {
                    total += count;
                    if count < have {
                        break;
                    }
                }
                Err(_) if total > 0 => break,
                Err(error) => return Err(error),
            }
        }
        Ok(total)
    }
}

impl FileOps for TmpFile {
    fn read(&self, dst: &mut dyn IoDst, offset: Option<u64>) -> Result<usize, Errno> {
        let count = self.read_at(dst, offset.unwrap_or(0))?;
        // relatime: the access time moves only where somebody could tell.
        let mut meta = self.inode.meta.lock();
        if count > 0 && meta.atime <= meta.mtime {
            meta.atime = Time::now();
        }
        Ok(count)
    }

    fn write(&self, src: &mut dyn IoSrc, offset: Option<u64>) -> Result<usize, Errno> {
        let (count, _) = self.write_at(src, Some(offset.unwrap_or(0)))?;
        Ok(count)
    }

    fn append(&self, src: &mut dyn IoSrc) -> Result<(usize, u64), Errno> {
        self.write_at(src, None)
    }

    fn seekable(&self) -> bool {
        true
    }

    fn seek_from(&self, whence: i32, offset: i64) -> Result<u64, Errno> {
        let data = self.inode.data()?.read();
        let at = u64::try_from(offset).map_err(|_| Errno::ENXIO);
        match whence {
            libc::SEEK_DATA => data.seek(at?, false),
            libc::SEEK_HOLE if at? >= data.size() => Err(Errno::ENXIO),
            libc::SEEK_HOLE => data.seek(at?, true),
            _ => Err(Errno::EINVAL),
        }
    }

    fn mappable(&self) -> Option<Arc<dyn Mappable>> {
        Some(Arc::clone(&self.inode) as Arc<dyn Mappable>)
    }

    fn sync(&self, _: bool) -> Result<(), Errno> {
        Ok(())
    }

    fn allocate(&self, mode: i32, offset: u64, len: u64) -> Result<(), Errno> {
        let punches = mode & !libc::FALLOC_FL_KEEP_SIZE != 0;
        let keep = mode & libc::FALLOC_FL_KEEP_SIZE != 0;
        let end = offset.checked_add(len).ok_or(Errno::EFBIG)?;
        let mut data = self.inode.data()?.write();
        // All or nothing: what is to be filled must fit.
        let hole = len.saturating_sub(data.pages() * PAGE_SIZE);
        if mode & libc::FALLOC_FL_PUNCH_HOLE == 0 && hole > self.inode.fs.storage.free() {
            return Err(Errno::ENOSPC);
        }
        let size = data.size();
        match mode & !libc::FALLOC_FL_KEEP_SIZE {
            0 => {
                self.check_write(offset, len as usize, if keep { u64::MAX } else { size })?;
                data.populate(offset, len)?;
            }
            libc::FALLOC_FL_PUNCH_HOLE if keep => {
                self.check_write(offset, 0, size)?;
                data.punch(offset, len)?;
            }
            libc::FALLOC_FL_ZERO_RANGE => {
                self.check_write(offset, 0, size)?;
                data.punch(offset, len)?;
            }
            _ => return Err(Errno::EOPNOTSUPP),
        }
        if !keep && end > size {
            data.resize(end)?;
        }
        drop(data);
        if punches {
            // Private copies stay, as in Linux (`shmem_fallocate`).
            let whole = offset..end / PAGE_SIZE * PAGE_SIZE;
            self.inode.mappers.unmap(&*self.inode, whole, false);
        }
        self.inode.contents_changed();
        Ok(())
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}

impl Mappable for TmpInode {
    fn backing(&self, offset: u64, len: u64) -> Result<MapBacking<'_>, Errno> {
        let mut data = self.data().map_err(|_| Errno::ENODEV)?.write();
        let (offset, len) = data.mapping(offset, len)?;
        Ok(MapBacking::Memory { offset, len })
    }

    fn mapped_by(&self, mapper: &std::sync::Weak<MemoryManager>) {
        self.mappers.add(mapper);
    }

    fn map_identity(&self) -> (u64, u64, Vec<u8>) {
        let attr = self.attr().ok();
        attr.map_or((0, self.ino, Vec::new()), |attr| {
            (attr.dev, attr.ino, Vec::new())
        })
    }
}

/// memfd_create(2): an unnamed file with this name to show.
///
/// # Errors
/// ENOMEM.
pub fn memfd(
    storage: Arc<dyn Storage>,
    name: &[u8],
    owner: (u32, u32),
    allow_sealing: bool,
) -> Result<Arc<OpenFile>, Errno> {
    let options = TmpOptions {
        max_bytes: i64::MAX as u64,
        ..TmpOptions::default()
    };
    let root = TmpFs::root(storage, &options);
    let new = NewNode {
        kind: FileType::Regular,
        perm: 0o777,
        uid: owner.0,
        gid: owner.1,
        rdev: 0,
        target: b"",
        ino: None,
    };
    let inode = root.fs.make(&new);
    {
        let mut meta = inode.meta.lock();
        meta.nlink = 0;
        if allow_sealing {
            meta.seals = 0;
        }
    }
    let dentry = Dentry::named(
        Arc::clone(&inode) as Arc<dyn Inode>,
        &[b"/memfd:", name].concat(),
    );
    dentry.set_dead();
    let path = VfsPath {
        mount: Mount::internal(),
        dentry,
    };
    Ok(OpenFile::new(
        Arc::new(TmpFile::new(inode)),
        path,
        libc::O_RDWR,
    ))
}
