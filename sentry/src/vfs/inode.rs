//! What a file system offers: one trait for its files and directories.

use std::any::Any;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use sentry_abi::Errno;

use crate::vfs::attr::{Attr, FileType, FsStat, Owner, SetAttr};
use crate::vfs::context::PathContext;
use crate::vfs::dentry::VfsPath;
use crate::vfs::file::FileOps;

/// A file to be made.
#[derive(Clone, Debug)]
pub struct NewNode<'a> {
    /// What to make.
    pub kind: FileType,
    /// Permission bits, umask applied.
    pub perm: u32,
    /// Owner.
    pub uid: u32,
    /// Group (set-gid directories considered).
    pub gid: u32,
    /// Device number for device files.
    pub rdev: u64,
    /// Target of a symbolic link, else empty.
    pub target: &'a [u8],
    /// Inode number to show instead of an own one (a copied-up file keeps its number).
    pub ino: Option<u64>,
}

/// One entry of a directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DirEntry {
    /// Name, without slash or NUL.
    pub name: Box<[u8]>,
    /// Inode number.
    pub ino: u64,
    /// Kind.
    pub kind: FileType,
}

/// How a file is being opened.
pub struct OpenRequest<'a> {
    /// `O_*` flags.
    pub flags: i32,
    /// The path that it was found at.
    pub path: &'a VfsPath,
    /// Who opens.
    pub cx: &'a PathContext,
}

impl OpenRequest<'_> {
    /// True if the descriptor may read.
    pub fn readable(&self) -> bool {
        self.flags & libc::O_ACCMODE != libc::O_WRONLY
    }

    /// True if the descriptor may write.
    pub fn writable(&self) -> bool {
        self.flags & libc::O_ACCMODE != libc::O_RDONLY
    }
}

/// A file or directory of a file system. Permissions were checked by the caller; names are single
/// components, never empty, `.` or `..`. The caller holds the directory's dentry lock during
/// `lookup` and everything that changes a directory.
pub trait Inode: Send + Sync + 'static {
    /// Kind; never changes.
    fn kind(&self) -> FileType;

    /// Attributes.
    ///
    /// # Errors
    /// EIO, or what the host says (ESTALE, ENOENT if the file was removed underneath).
    fn attr(&self) -> Result<Attr, Errno>;

    /// Just what permission checks need.
    ///
    /// # Errors
    /// As [`Inode::attr`].
    fn owner(&self) -> Result<Owner, Errno> {
        self.attr().map(|attr| attr.owner())
    }

    /// Changes attributes.
    ///
    /// # Errors
    /// EPERM if this kind of file has none to change, EROFS, EFBIG ...
    fn set_attr(&self, set: &SetAttr) -> Result<(), Errno> {
        let _ = set;
        Err(Errno::EPERM)
    }

    /// Finds a name in this directory.
    ///
    /// # Errors
    /// ENOENT, ENOTDIR.
    fn lookup(&self, name: &[u8]) -> Result<Arc<dyn Inode>, Errno> {
        let _ = name;
        Err(Errno::ENOTDIR)
    }

    /// Whether `child`, found here earlier as `name`, is still what that name means. `false` has it
    /// looked up again. File systems that only change through us say yes.
    fn still_valid(&self, name: &[u8], child: &Arc<dyn Inode>) -> bool {
        let _ = (name, child);
        true
    }

    /// Whether "no such name" may be remembered.
    fn remembers_absence(&self) -> bool {
        true
    }

    /// All entries of this directory but `.` and `..`.
    ///
    /// # Errors
    /// ENOTDIR.
    fn entries(&self) -> Result<Vec<DirEntry>, Errno> {
        Err(Errno::ENOTDIR)
    }

    /// Makes a file in this directory. The name is known to be absent.
    ///
    /// # Errors
    /// EPERM if the file system cannot, EROFS, ENOSPC ...
    fn create(&self, name: &[u8], new: &NewNode<'_>) -> Result<Arc<dyn Inode>, Errno> {
        let _ = (name, new);
        Err(Errno::EPERM)
    }

    /// Makes a regular file without a name, for O_TMPFILE.
    ///
    /// # Errors
    /// EOPNOTSUPP.
    fn create_unnamed(&self, new: &NewNode<'_>) -> Result<Arc<dyn Inode>, Errno> {
        let _ = new;
        Err(Errno::EOPNOTSUPP)
    }

    /// Removes a name: a directory if `child` is one (ENOTEMPTY unless it is empty), else a link.
    ///
    /// # Errors
    /// ENOTEMPTY, EPERM, EROFS.
    fn remove(&self, name: &[u8], child: &Arc<dyn Inode>) -> Result<(), Errno> {
        let _ = (name, child);
        Err(Errno::EPERM)
    }

    /// True if each name of a file in this directory has an inode of its own (a host's tree finds its
    /// files by their names).
    fn inode_per_name(&self) -> bool {
        false
    }

    /// True for a FIFO whose other end may be outside of the sandbox: it can't be opened.
    fn is_foreign_fifo(&self) -> bool {
        false
    }

    /// Gives `target`, of the same file system, another name here.
    ///
    /// # Errors
    /// EPERM, EMLINK, EROFS.
    fn link(&self, name: &[u8], target: &Arc<dyn Inode>) -> Result<(), Errno> {
        let _ = (name, target);
        Err(Errno::EPERM)
    }

    /// Moves a name of this directory to another of the same file system. Kinds were checked.
    ///
    /// # Errors
    /// ENOTEMPTY (the replaced directory has entries), EXDEV, EROFS, EPERM.
    fn rename(&self, change: &Rename<'_>) -> Result<(), Errno> {
        let _ = change;
        Err(Errno::EPERM)
    }

    /// Target of a symbolic link.
    ///
    /// # Errors
    /// EINVAL if it is none.
    fn readlink(&self, cx: &PathContext) -> Result<Vec<u8>, Errno> {
        let _ = cx;
        Err(Errno::EINVAL)
    }

    /// For links that lead to an object and not to a path (/proc/PID/fd/N, exe, cwd, root).
    fn magic_link(&self, cx: &PathContext) -> Option<Result<VfsPath, Errno>> {
        let _ = cx;
        None
    }

    /// Opens the file (not a directory or symbolic link: the VFS does those).
    ///
    /// # Errors
    /// ENXIO, ENODEV, EACCES, EMFILE ...
    fn open(self: Arc<Self>, request: &OpenRequest<'_>) -> Result<Arc<dyn FileOps>, Errno>;

    /// Value of an extended attribute.
    ///
    /// # Errors
    /// ENODATA, EOPNOTSUPP.
    fn xattr_get(&self, name: &[u8]) -> Result<Vec<u8>, Errno> {
        let _ = name;
        Err(Errno::EOPNOTSUPP)
    }

    /// Sets (`Some`) or removes (`None`) an extended attribute; `flags` are XATTR_CREATE and XATTR_REPLACE.
    ///
    /// # Errors
    /// EEXIST, ENODATA, EOPNOTSUPP, ENOSPC.
    fn xattr_set(&self, name: &[u8], value: Option<&[u8]>, flags: i32) -> Result<(), Errno> {
        let _ = (name, value, flags);
        Err(Errno::EOPNOTSUPP)
    }

    /// Names of all extended attributes.
    ///
    /// # Errors
    /// EOPNOTSUPP.
    fn xattr_list(&self) -> Result<Vec<Vec<u8>>, Errno> {
        Ok(Vec::new())
    }

    /// What statfs(2) tells.
    ///
    /// # Errors
    /// EIO.
    fn fs_stat(&self) -> Result<FsStat, Errno>;

    /// The concrete type, for operations between files of one file system.
    fn as_any(&self) -> &dyn Any;
}

/// A rename within one file system. Both directories' dentry locks are held.
pub struct Rename<'a> {
    /// Name in the directory that is asked.
    pub from: &'a [u8],
    /// What `from` is.
    pub source: &'a Arc<dyn Inode>,
    /// Directory of the new name.
    pub to_dir: &'a Arc<dyn Inode>,
    /// New name.
    pub to: &'a [u8],
    /// What has the new name now.
    pub target: Option<&'a Arc<dyn Inode>>,
    /// RENAME_EXCHANGE: `target` (which is there) gets the old name.
    pub exchange: bool,
}

/// A device number for a file system without a device (major 0, as Linux does it).
pub fn next_anonymous_dev() -> u64 {
    static NEXT: AtomicU64 = AtomicU64::new(32);
    crate::vfs::attr::make_dev(0, NEXT.fetch_add(1, Ordering::Relaxed) as u32)
}
