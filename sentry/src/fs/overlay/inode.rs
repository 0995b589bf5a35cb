//! Files and directories of an overlay.

use std::any::Any;
use std::collections::HashMap;
use std::sync::{Arc, Weak};

use parking_lot::{Mutex, RwLock};
use sentry_abi::Errno;

use super::file::OverlayFile;
use super::{dir, rename};
use crate::vfs::attr::{Attr, FileType, FsStat, Owner, SetAttr};
use crate::vfs::context::PathContext;
use crate::vfs::file::FileOps;
use crate::vfs::inode::{DirEntry, Inode, NewNode, OpenRequest, Rename, next_anonymous_dev};

/// Marks an upper directory that hides the lower one of its name.
pub(super) const OPAQUE: &[u8] = b"trusted.overlay.opaque";

/// One overlay.
pub struct OverlayFs {
    dev: u64,
    /// The lower halves of directories that were renamed, by inode number of the upper half.
    pub(super) redirects: Mutex<HashMap<u64, Arc<dyn Inode>>>,
    /// The root of the upper tree: unnamed files are made there.
    pub(super) upper_root: Arc<dyn Inode>,
}

/// A directory, and a name in it.
pub(super) type Place = (Arc<OverlayInode>, Box<[u8]>);

/// A file of an overlay: a lower half, an upper half, or (directories) both.
pub struct OverlayInode {
    me: Weak<OverlayInode>,
    pub(super) fs: Arc<OverlayFs>,
    kind: FileType,
    /// Where it is, to copy it up; `None` for the root and for what has been removed.
    pub(super) place: Mutex<Option<Place>>,
    pub(super) lower: Option<Arc<dyn Inode>>,
    pub(super) upper: RwLock<Option<Arc<dyn Inode>>>,
    /// One copy-up at a time.
    pub(super) copying: Mutex<()>,
}

impl OverlayFs {
    /// An overlay of two directories.
    pub fn root(lower: Arc<dyn Inode>, upper: Arc<dyn Inode>) -> Arc<OverlayInode> {
        let fs = Arc::new(Self {
            dev: next_anonymous_dev(),
            redirects: Mutex::default(),
            upper_root: Arc::clone(&upper),
        });
        OverlayInode::new(&fs, None, Some(lower), Some(upper))
    }
}

impl OverlayInode {
    /// An inode of at least one half.
    pub(super) fn new(
        fs: &Arc<OverlayFs>,
        place: Option<Place>,
        lower: Option<Arc<dyn Inode>>,
        upper: Option<Arc<dyn Inode>>,
    ) -> Arc<Self> {
        let kind = upper.as_ref().or(lower.as_ref()).map(|half| half.kind());
        Arc::new_cyclic(|me| Self {
            me: me.clone(),
            fs: Arc::clone(fs),
            kind: kind.unwrap_or(FileType::Regular),
            place: Mutex::new(place),
            lower,
            upper: RwLock::new(upper),
            copying: Mutex::new(()),
        })
    }

    pub(super) fn handle(&self) -> Result<Arc<Self>, Errno> {
        self.me.upgrade().ok_or(Errno::EIO)
    }

    pub(super) fn upper(&self) -> Option<Arc<dyn Inode>> {
        self.upper.read().clone()
    }

    /// The half that counts: the upper one if there is one.
    pub(super) fn real(&self) -> Result<Arc<dyn Inode>, Errno> {
        self.upper()
            .or_else(|| self.lower.clone())
            .ok_or(Errno::EIO)
    }

    fn with_real<T>(&self, ask: impl FnOnce(&dyn Inode) -> Result<T, Errno>) -> Result<T, Errno> {
        if let Some(upper) = &*self.upper.read() {
            return ask(&**upper);
        }
        ask(&**self.lower.as_ref().ok_or(Errno::EIO)?)
    }
}

pub(super) fn downcast(inode: &Arc<dyn Inode>) -> Result<&OverlayInode, Errno> {
    inode.as_any().downcast_ref().ok_or(Errno::EXDEV)
}

/// True for the mark that hides a lower name.
pub(super) fn is_whiteout(inode: &Arc<dyn Inode>) -> bool {
    inode.kind() == FileType::CharDevice && inode.attr().is_ok_and(|attr| attr.rdev == 0)
}

impl Inode for OverlayInode {
    fn kind(&self) -> FileType {
        self.kind
    }

    fn attr(&self) -> Result<Attr, Errno> {
        let mut attr = self.with_real(|real| real.attr())?;
        attr.dev = self.fs.dev;
        if self.kind == FileType::Directory && self.lower.is_some() {
            // Subdirectories of both halves are not counted: 1 says that nobody knows (as overlayfs does).
            attr.nlink = 1;
        }
        Ok(attr)
    }

    fn owner(&self) -> Result<Owner, Errno> {
        self.with_real(|real| real.owner())
    }

    fn set_attr(&self, set: &SetAttr) -> Result<(), Errno> {
        // What will be cut off need not be copied.
        let upper = self.copy_up(set.size)?;
        upper.set_attr(set)
    }

    fn lookup(&self, name: &[u8]) -> Result<Arc<dyn Inode>, Errno> {
        Ok(dir::lookup(self, name)?)
    }

    fn entries(&self) -> Result<Vec<DirEntry>, Errno> {
        dir::entries(self)
    }

    fn create(&self, name: &[u8], new: &NewNode<'_>) -> Result<Arc<dyn Inode>, Errno> {
        Ok(dir::create(self, name, new)?)
    }

    fn create_unnamed(&self, new: &NewNode<'_>) -> Result<Arc<dyn Inode>, Errno> {
        let upper = self.fs.upper_root.create_unnamed(new)?;
        Ok(Self::new(&self.fs, None, None, Some(upper)))
    }

    fn remove(&self, name: &[u8], child: &Arc<dyn Inode>) -> Result<(), Errno> {
        dir::remove(self, name, downcast(child)?)
    }

    fn link(&self, name: &[u8], target: &Arc<dyn Inode>) -> Result<(), Errno> {
        dir::link(self, name, downcast(target)?)
    }

    fn rename(&self, change: &Rename<'_>) -> Result<(), Errno> {
        rename::rename(self, change)
    }

    fn readlink(&self, cx: &PathContext) -> Result<Vec<u8>, Errno> {
        self.with_real(|real| real.readlink(cx))
    }

    fn open(self: Arc<Self>, request: &OpenRequest<'_>) -> Result<Arc<dyn FileOps>, Errno> {
        if self.kind != FileType::Regular {
            return self.real()?.open(request);
        }
        if request.writable() {
            self.copy_up(None)?;
        }
        let ops = self.real()?.open(request)?;
        if self.upper().is_some() {
            return Ok(ops);
        }
        Ok(Arc::new(OverlayFile::new(self, ops, request)))
    }

    fn xattr_get(&self, name: &[u8]) -> Result<Vec<u8>, Errno> {
        if name.starts_with(b"trusted.overlay.") {
            return Err(Errno::ENODATA);
        }
        self.with_real(|real| match real.xattr_get(name) {
            Err(Errno::EOPNOTSUPP) => Err(Errno::ENODATA),
            other => other,
        })
    }

    fn xattr_set(&self, name: &[u8], value: Option<&[u8]>, flags: i32) -> Result<(), Errno> {
        if name.starts_with(b"trusted.overlay.") {
            return Err(Errno::EPERM);
        }
        self.copy_up(None)?.xattr_set(name, value, flags)
    }

    fn xattr_list(&self) -> Result<Vec<Vec<u8>>, Errno> {
        let mut names = self.with_real(|real| real.xattr_list())?;
        names.retain(|name| !name.starts_with(b"trusted.overlay."));
        Ok(names)
    }

    fn fs_stat(&self) -> Result<FsStat, Errno> {
        // What is below takes its space too, as if both were one.
        let upper = self.fs.upper_root.fs_stat()?;
        let lower = match &self.lower {
            Some(lower) => lower.fs_stat()?,
            None => FsStat::default(),
        };
        let used = lower.blocks.saturating_sub(lower.free);
        let bytes = used.saturating_mul(lower.block_size);
        Ok(FsStat {
            magic: libc::OVERLAYFS_SUPER_MAGIC,
            blocks: upper.blocks.saturating_add(bytes / upper.block_size),
            ..upper
        })
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}
