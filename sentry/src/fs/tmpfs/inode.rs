//! Files and directories in memory.

use std::any::Any;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};

use parking_lot::{Mutex, RwLock};
use sentry_abi::Errno;

use super::data::FileData;
use super::dir::{self, Entries};
use super::file::TmpFile;
use super::storage::{Quota, Storage};
use crate::mm::{Mappers, PAGE_SIZE};
use crate::vfs::attr::{Attr, FileType, FsStat, Owner, SetAttr, Time};
use crate::vfs::context::PathContext;
use crate::vfs::file::FileOps;
use crate::vfs::inode::{DirEntry, Inode, NewNode, OpenRequest, Rename, next_anonymous_dev};

/// TMPFS_MAGIC.
const MAGIC: i64 = 0x0102_1994;
/// Bytes of extended attributes that one file can have.
const MAX_XATTRS: usize = 128 << 10;

/// One file system in memory.
pub struct TmpFs {
    pub(super) storage: Arc<Quota>,
    dev: u64,
    next_ino: AtomicU64,
    inodes: AtomicU64,
    max_inodes: u64,
    /// Most bytes of all files together.
    max_bytes: u64,
}

impl TmpFs {
    /// An empty file system: its root directory. Inode numbers start at `first_ino`; `max_bytes` bounds
    /// what all files together hold (holes are free).
    pub fn root(storage: Arc<dyn Storage>, options: &TmpOptions) -> Arc<TmpInode> {
        let fs = Arc::new(Self {
            storage: Arc::new(Quota::new(storage, options.max_bytes)),
            dev: next_anonymous_dev(),
            next_ino: AtomicU64::new(options.first_ino),
            inodes: AtomicU64::new(0),
            max_inodes: options.max_inodes,
            max_bytes: options.max_bytes,
        });
        let new = NewNode {
            kind: FileType::Directory,
            perm: options.perm,
            uid: options.uid,
            gid: options.gid,
            rdev: 0,
            target: b"",
            ino: None,
        };
        fs.make(&new)
    }

    pub(super) fn make(self: &Arc<Self>, new: &NewNode<'_>) -> Arc<TmpInode> {
        self.inodes.fetch_add(1, Ordering::Relaxed);
        let own = || self.next_ino.fetch_add(1, Ordering::Relaxed);
        let now = Time::now();
        let body = match new.kind {
            FileType::Regular => Body::File(RwLock::new(FileData::new(
                Arc::clone(&self.storage) as Arc<dyn Storage>
            ))),
            FileType::Directory => Body::Dir(Mutex::default()),
            FileType::Symlink => Body::Link(new.target.into()),
            _ => Body::Other,
        };
        let directory = new.kind == FileType::Directory;
        Arc::new_cyclic(|me| TmpInode {
            me: me.clone(),
            fs: Arc::clone(self),
            ino: new.ino.unwrap_or_else(own),
            kind: new.kind,
            rdev: new.rdev,
            body,
            writer: Mutex::default(),
            mappers: Mappers::default(),
            meta: Mutex::new(Meta {
                owner: Owner {
                    perm: new.perm,
                    uid: new.uid,
                    gid: new.gid,
                },
                nlink: if directory { 2 } else { 1 },
                atime: now,
                mtime: now,
                ctime: now,
                seals: libc::F_SEAL_SEAL,
            }),
            xattrs: Mutex::default(),
        })
    }

    pub(super) fn check_room(&self) -> Result<(), Errno> {
        if self.inodes.load(Ordering::Relaxed) >= self.max_inodes {
            Err(Errno::ENOSPC)
        } else {
            Ok(())
        }
    }
}

/// How a tmpfs is made.
#[derive(Clone, Copy, Debug)]
pub struct TmpOptions {
    /// Permission bits of the root.
    pub perm: u32,
    /// Owner of the root.
    pub uid: u32,
    /// Group of the root.
    pub gid: u32,
    /// Most bytes.
    pub max_bytes: u64,
    /// Most files.
    pub max_inodes: u64,
    /// First inode number.
    pub first_ino: u64,
}

impl Default for TmpOptions {
    fn default() -> Self {
        Self {
            perm: 0o1777,
            uid: 0,
            gid: 0,
            max_bytes: 8 << 30,
            max_inodes: 1 << 20,
            first_ino: 1,
        }
    }
}

/// A file in memory.
pub struct TmpInode {
    me: Weak<TmpInode>,
    pub(super) fs: Arc<TmpFs>,
    pub(super) ino: u64,
    kind: FileType,
    rdev: u64,
    pub(super) body: Body,
    /// Writes are one at a time; taken before the contents' own lock.
    pub(super) writer: Mutex<()>,
    pub(super) mappers: Mappers,
    pub(super) meta: Mutex<Meta>,
    xattrs: Mutex<BTreeMap<Vec<u8>, Vec<u8>>>,
}

pub(super) enum Body {
    File(RwLock<FileData>),
    Dir(Mutex<Entries>),
    Link(Box<[u8]>),
    Other,
}

pub(super) struct Meta {
    pub(super) owner: Owner,
    pub(super) nlink: u32,
    pub(super) atime: Time,
    pub(super) mtime: Time,
    pub(super) ctime: Time,
    /// `F_SEAL_*`; files that are no memfd have F_SEAL_SEAL.
    pub(super) seals: i32,
}

impl TmpInode {
    pub(super) fn data(&self) -> Result<&RwLock<FileData>, Errno> {
        match &self.body {
            Body::File(data) => Ok(data),
            Body::Dir(_) => Err(Errno::EISDIR),
            _ => Err(Errno::EINVAL),
        }
    }

    pub(super) fn entries_map(&self) -> Result<&Mutex<Entries>, Errno> {
        match &self.body {
            Body::Dir(entries) => Ok(entries),
            _ => Err(Errno::ENOTDIR),
        }
    }

    pub(super) fn handle(&self) -> Result<Arc<Self>, Errno> {
        self.me.upgrade().ok_or(Errno::EIO)
    }

    /// Contents changed: times, and the set-id bits go, as Linux drops them on a write.
    pub(super) fn contents_changed(&self) {
        let now = Time::now();
        let mut meta = self.meta.lock();
        meta.mtime = now;
        meta.ctime = now;
    }

    pub(super) fn seals(&self) -> i32 {
        self.meta.lock().seals
    }

    /// fcntl(F_GET_SEALS).
    ///
    /// # Errors
    /// EINVAL if the file is none of memory.
    pub fn get_seals(&self) -> Result<i32, Errno> {
        self.data()?;
        Ok(self.seals())
    }

    /// fcntl(F_ADD_SEALS).
    ///
    /// # Errors
    /// EPERM if sealed against it; EINVAL for unknown seals.
    pub fn add_seals(&self, seals: i32) -> Result<(), Errno> {
        let known = libc::F_SEAL_SEAL
            | libc::F_SEAL_SHRINK
            | libc::F_SEAL_GROW
            | libc::F_SEAL_WRITE
            | libc::F_SEAL_FUTURE_WRITE;
        self.data().map_err(|_| Errno::EINVAL)?;
        if seals & !known != 0 {
            return Err(Errno::EINVAL);
        }
        let mut meta = self.meta.lock();
        if meta.seals & libc::F_SEAL_SEAL != 0 {
            return Err(Errno::EPERM);
        }
        meta.seals |= seals;
        Ok(())
    }

    fn resize(&self, size: u64) -> Result<(), Errno> {
        let mut data = self.data()?.write();
        let seals = self.seals();
        let shrinks = size < data.size() && seals & libc::F_SEAL_SHRINK != 0;
        let grows = size > data.size() && seals & libc::F_SEAL_GROW != 0;
        if shrinks || grows {
            return Err(Errno::EPERM);
        }
        let shorter = size < data.size();
        data.resize(size)?;
        drop(data);
        if shorter {
            self.mappers.unmap(self, size..u64::MAX, true);
        }
        self.contents_changed();
        Ok(())
    }
}

impl Inode for TmpInode {
    fn kind(&self) -> FileType {
        self.kind
    }

    fn attr(&self) -> Result<Attr, Errno> {
        let (size, pages) = match &self.body {
            Body::File(data) => {
                let data = data.read();
                (data.size(), data.pages())
            }
            Body::Dir(entries) => (20 * (entries.lock().len() as u64 + 2), 0),
            Body::Link(target) => (target.len() as u64, 0),
            Body::Other => (0, 0),
        };
        let meta = self.meta.lock();
        Ok(Attr {
            dev: self.fs.dev,
            ino: self.ino,
            kind: self.kind,
            perm: meta.owner.perm,
            nlink: meta.nlink,
            uid: meta.owner.uid,
            gid: meta.owner.gid,
            rdev: self.rdev,
            size,
            blksize: PAGE_SIZE as u32,
            blocks: pages.min(size.div_ceil(PAGE_SIZE)) * (PAGE_SIZE / 512),
            atime: meta.atime,
            mtime: meta.mtime,
            ctime: meta.ctime,
        })
    }

    fn owner(&self) -> Result<Owner, Errno> {
        Ok(self.meta.lock().owner)
    }

    fn set_attr(&self, set: &SetAttr) -> Result<(), Errno> {
        if let Some(size) = set.size {
            self.resize(size)?;
        }
        let mut meta = self.meta.lock();
        meta.owner.perm = set.perm.unwrap_or(meta.owner.perm);
        meta.owner.uid = set.uid.unwrap_or(meta.owner.uid);
        meta.owner.gid = set.gid.unwrap_or(meta.owner.gid);
        meta.atime = set.atime.unwrap_or(meta.atime);
        meta.mtime = set.mtime.unwrap_or(meta.mtime);
        meta.ctime = Time::now();
        Ok(())
    }

    fn lookup(&self, name: &[u8]) -> Result<Arc<dyn Inode>, Errno> {
        let entries = self.entries_map()?.lock();
        let child = entries.get(name).ok_or(Errno::ENOENT)?;
        Ok(Arc::clone(child) as Arc<dyn Inode>)
    }

    fn remembers_absence(&self) -> bool {
        // Looking here is as cheap as looking there.
        false
    }

    fn entries(&self) -> Result<Vec<DirEntry>, Errno> {
        let entries = self.entries_map()?.lock();
        Ok(entries
            .iter()
            .map(|(name, inode)| DirEntry {
                name: name.clone(),
                ino: inode.ino,
                kind: inode.kind,
            })
            .collect())
    }

    fn create(&self, name: &[u8], new: &NewNode<'_>) -> Result<Arc<dyn Inode>, Errno> {
        Ok(dir::create(self, name, new)?)
    }

    fn create_unnamed(&self, new: &NewNode<'_>) -> Result<Arc<dyn Inode>, Errno> {
        self.fs.check_room()?;
        let inode = self.fs.make(new);
        inode.meta.lock().nlink = 0;
        Ok(inode)
    }

    fn remove(&self, name: &[u8], _: &Arc<dyn Inode>) -> Result<(), Errno> {
        dir::remove(self, name)
    }

    fn link(&self, name: &[u8], target: &Arc<dyn Inode>) -> Result<(), Errno> {
        let target = target.as_any().downcast_ref::<Self>();
        dir::link(self, name, target.ok_or(Errno::EXDEV)?)
    }

    fn rename(&self, rename: &Rename<'_>) -> Result<(), Errno> {
        let to = rename.to_dir.as_any().downcast_ref::<Self>();
        dir::rename(self, to.ok_or(Errno::EXDEV)?, rename)
    }

    fn readlink(&self, _: &PathContext) -> Result<Vec<u8>, Errno> {
        match &self.body {
            Body::Link(target) => Ok(target.to_vec()),
            _ => Err(Errno::EINVAL),
        }
    }

    fn open(self: Arc<Self>, _: &OpenRequest<'_>) -> Result<Arc<dyn FileOps>, Errno> {
        match &self.body {
            Body::File(_) => Ok(Arc::new(TmpFile::new(self))),
            Body::Other if self.kind == FileType::CharDevice => {
                crate::fs::dev::open_device(self.rdev)
            }
            _ => Err(Errno::ENXIO),
        }
    }

    fn xattr_get(&self, name: &[u8]) -> Result<Vec<u8>, Errno> {
        self.xattrs.lock().get(name).cloned().ok_or(Errno::ENODATA)
    }

    fn xattr_set(&self, name: &[u8], value: Option<&[u8]>, flags: i32) -> Result<(), Errno> {
        let mut xattrs = self.xattrs.lock();
        let there = xattrs.contains_key(name);
        let Some(value) = value else {
            return xattrs.remove(name).map(drop).ok_or(Errno::ENODATA);
        };
        if there && flags & libc::XATTR_CREATE != 0 {
            return Err(Errno::EEXIST);
        }
        if !there && flags & libc::XATTR_REPLACE != 0 {
            return Err(Errno::ENODATA);
        }
        let used: usize = xattrs.iter().map(|(n, v)| n.len() + v.len()).sum();
        if used + name.len() + value.len() > MAX_XATTRS {
            return Err(Errno::ENOSPC);
        }
        xattrs.insert(name.to_vec(), value.to_vec());
        self.meta.lock().ctime = Time::now();
        Ok(())
    }

    fn xattr_list(&self) -> Result<Vec<Vec<u8>>, Errno> {
        Ok(self.xattrs.lock().keys().cloned().collect())
    }

    fn fs_stat(&self) -> Result<FsStat, Errno> {
        let blocks = self.fs.max_bytes / PAGE_SIZE;
        let used = self.fs.inodes.load(Ordering::Relaxed);
        Ok(FsStat {
            magic: MAGIC,
            block_size: PAGE_SIZE,
            blocks,
            free: self.fs.storage.free() / PAGE_SIZE,
            files: self.fs.max_inodes,
            files_free: self.fs.max_inodes.saturating_sub(used),
        })
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}

impl Drop for TmpInode {
    fn drop(&mut self) {
        self.fs.inodes.fetch_sub(1, Ordering::Relaxed);
        // A loop and not recursion: guests nest directories as deep as they like.
        let mut left: Vec<Arc<Self>> = Vec::new();
        take_entries(&mut self.body, &mut left);
        while let Some(inode) = left.pop() {
            if let Some(mut inode) = Arc::into_inner(inode) {
                take_entries(&mut inode.body, &mut left);
            }
        }
    }
}

fn take_entries(body: &mut Body, left: &mut Vec<Arc<TmpInode>>) {
    if let Body::Dir(entries) = body {
        left.extend(std::mem::take(entries.get_mut()).into_values());
    }
}
