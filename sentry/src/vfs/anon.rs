//! Files without a path: pipes, sockets, eventfds, epoll instances and the like.

use std::any::Any;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{LazyLock, OnceLock};

use parking_lot::Mutex;
use sentry_abi::Errno;

use crate::vfs::attr::{Attr, FileType, FsStat, SetAttr, Time};
use crate::vfs::dentry::{Dentry, VfsPath};
use crate::vfs::file::FileOps;
use crate::vfs::inode::{Inode, OpenRequest, next_anonymous_dev};
use crate::vfs::mount::Mount;
use crate::vfs::open::OpenFile;

/// ANON_INODE_FS_MAGIC.
const MAGIC: i64 = 0x0904_1934;

/// The inode of a file without a path.
pub struct AnonInode {
    attr: Mutex<Attr>,
    reopen: OnceLock<Box<Reopen>>,
}

/// Makes what a new open of the file (through /proc/self/fd) works on; the argument is the `O_*` flags.
pub type Reopen = dyn Fn(i32) -> Result<Arc<dyn FileOps>, Errno> + Send + Sync;

fn device() -> u64 {
    static DEVICE: LazyLock<u64> = LazyLock::new(next_anonymous_dev);
    *DEVICE
}

impl AnonInode {
    /// A new inode of `kind`, owned by `uid` and `gid`.
    pub fn new(kind: FileType, perm: u32, uid: u32, gid: u32) -> Arc<Self> {
        static NEXT: AtomicU64 = AtomicU64::new(2);
        let now = Time::now();
        let attr = Attr {
            dev: device(),
            ino: NEXT.fetch_add(1, Ordering::Relaxed),
            kind,
            perm,
            nlink: 1,
            uid,
            gid,
            rdev: 0,
            size: 0,
            blksize: 4096,
            blocks: 0,
            atime: now,
            mtime: now,
            ctime: now,
        };
        Arc::new(Self {
            attr: Mutex::new(attr),
            reopen: OnceLock::new(),
        })
    }

    /// Lets the file be opened again through /proc/self/fd.
    pub fn set_reopen(&self, reopen: Box<Reopen>) {
        // Set once, by who makes the file.
        let _ = self.reopen.set(reopen);
    }

    pub(super) fn root() -> Arc<dyn Inode> {
        Self::new(FileType::Directory, 0o555, 0, 0)
    }

    /// Its inode number.
    pub fn ino(&self) -> u64 {
        self.attr.lock().ino
    }
}

impl Inode for AnonInode {
    fn kind(&self) -> FileType {
        self.attr.lock().kind
    }

    fn attr(&self) -> Result<Attr, Errno> {
        Ok(*self.attr.lock())
    }

    fn set_attr(&self, set: &SetAttr) -> Result<(), Errno> {
        let mut attr = self.attr.lock();
        attr.perm = set.perm.unwrap_or(attr.perm);
        attr.uid = set.uid.unwrap_or(attr.uid);
        attr.gid = set.gid.unwrap_or(attr.gid);
        attr.ctime = Time::now();
        Ok(())
    }

    fn open(self: Arc<Self>, request: &OpenRequest<'_>) -> Result<Arc<dyn FileOps>, Errno> {
        let reopen = self.reopen.get().ok_or(Errno::ENXIO)?;
        reopen(request.flags)
    }

    fn fs_stat(&self) -> Result<FsStat, Errno> {
        Ok(FsStat {
            magic: MAGIC,
            block_size: 4096,
            ..FsStat::default()
        })
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}

/// What /proc/PID/fd shows for a file without a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AnonName {
    /// `KIND:[INODE]`, as pipes and sockets have it.
    Numbered(&'static str),
    /// `anon_inode:NAME`.
    Anon(&'static str),
}

/// An open file without a path. `owner` is (uid, gid).
pub fn open_anonymous(
    ops: Arc<dyn FileOps>,
    name: AnonName,
    kind: FileType,
    flags: i32,
    owner: (u32, u32),
) -> Arc<OpenFile> {
    let inode = AnonInode::new(kind, 0o600, owner.0, owner.1);
    let shown = match name {
        AnonName::Numbered(kind) => format!("{kind}:[{}]", inode.ino()),
        AnonName::Anon(name) => format!("anon_inode:{name}"),
    };
    let path = VfsPath {
        mount: Mount::internal(),
        dentry: Dentry::named(inode, shown.as_bytes()),
    };
    OpenFile::new(ops, path, flags)
}
