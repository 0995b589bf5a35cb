//! Files of a host directory tree.

use std::any::Any;
use std::collections::BTreeSet;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::{Arc, OnceLock, Weak};

use nix::fcntl::{AtFlags, OFlag};
use nix::sys::stat::{FileStat, Mode};
use parking_lot::Mutex;
use sentry_abi::Errno;

use super::{change, dir, file::HostFile};
use crate::vfs::attr::{Attr, FileType, FsStat, Owner, SetAttr, Time};
use crate::vfs::context::PathContext;
use crate::vfs::file::FileOps;
use crate::vfs::inode::{DirEntry, Inode, NewNode, OpenRequest, Rename, next_anonymous_dev};

pub(super) fn errno(error: nix::Error) -> Errno {
    Errno(error as i32)
}

/// One donated tree.
pub struct HostFs {
    writable: bool,
    dev: u64,
    /// Host devices seen, so that inode numbers of different ones don't collide.
    devices: Mutex<Vec<u64>>,
    /// FIFOs that the guest has made and that still have a name: pipes of the sandbox's own.
    pub(super) own_fifos: Mutex<BTreeSet<(u64, u64)>>,
}

/// A directory, and a name in it.
type Place = (Arc<HostInode>, Box<[u8]>);

/// A file or directory in it.
pub struct HostInode {
    me: Weak<HostInode>,
    pub(super) fs: Arc<HostFs>,
    /// Directory and name; `None` for the root. Changes with a rename through us.
    link: Mutex<Option<Place>>,
    /// Attributes when it was looked up.
    first: Attr,
    /// (device, inode) on the host.
    id: (u64, u64),
    /// An O_PATH descriptor, for directories; opened when first needed.
    fd: OnceLock<OwnedFd>,
}

impl HostFs {
    /// The tree below `root` (a directory, or a single file for a file mount).
    ///
    /// # Errors
    /// What fstat says.
    pub fn root(root: OwnedFd, writable: bool) -> Result<Arc<dyn Inode>, Errno> {
        let fs = Arc::new(Self {
            writable,
            dev: next_anonymous_dev(),
            devices: Mutex::default(),
            own_fifos: Mutex::default(),
        });
        let stat = nix::sys::stat::fstat(&root).map_err(errno)?;
        let inode = HostInode::new(&fs, None, &stat)?;
        // Setting a cell that was just made cannot fail.
        let _ = inode.fd.set(root);
        Ok(inode)
    }

    fn attr(&self, stat: &FileStat) -> Result<Attr, Errno> {
        let kind = FileType::from_mode(stat.st_mode).ok_or(Errno::EIO)?;
        let time = |sec: i64, nsec: i64| Time {
            sec,
            nsec: nsec as u32,
        };
        Ok(Attr {
            dev: self.dev,
            ino: self.number(stat.st_dev, stat.st_ino),
            kind,
            perm: stat.st_mode & 0o7777,
            nlink: stat.st_nlink as u32,
            uid: stat.st_uid,
            gid: stat.st_gid,
            rdev: stat.st_rdev,
            size: stat.st_size as u64,
            blksize: stat.st_blksize as u32,
            blocks: stat.st_blocks as u64,
            atime: time(stat.st_atime, stat.st_atime_nsec),
            mtime: time(stat.st_mtime, stat.st_mtime_nsec),
            ctime: time(stat.st_ctime, stat.st_ctime_nsec),
        })
    }

    /// An inode number that is unique in the tree: the host's, marked with the device's index.
    pub(super) fn number(&self, dev: u64, ino: u64) -> u64 {
        let mut devices = self.devices.lock();
        let index = devices.iter().position(|&known| known == dev);
        let index = index.unwrap_or_else(|| {
            devices.push(dev);
            devices.len() - 1
        });
        ino ^ ((index as u64 & 0xff) << 48)
    }
}

impl HostInode {
    fn new(fs: &Arc<HostFs>, link: Option<Place>, stat: &FileStat) -> Result<Arc<Self>, Errno> {
        let first = fs.attr(stat)?;
        Ok(Arc::new_cyclic(|me| Self {
            me: me.clone(),
            first,
            id: (stat.st_dev, stat.st_ino),
            fs: Arc::clone(fs),
            link: Mutex::new(link),
            fd: OnceLock::new(),
        }))
    }

    /// (device, inode) on the host.
    pub(super) fn id(&self) -> (u64, u64) {
        self.id
    }

    /// Device that it is on, on the host.
    pub(super) fn device(&self) -> u64 {
        self.id.0
    }

    /// The directory's descriptor.
    pub(super) fn dir_fd(&self) -> Result<BorrowedFd<'_>, Errno> {
        if let Some(fd) = self.fd.get() {
            return Ok(fd.as_fd());
        }
        let fd = self.open_at(OFlag::O_PATH | OFlag::O_DIRECTORY)?;
        Ok(self.fd.get_or_init(|| fd).as_fd())
    }

    /// Opens this file anew, by its name in its directory; never through a link.
    pub(super) fn open_at(&self, flags: OFlag) -> Result<OwnedFd, Errno> {
        let flags = flags | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        let Some((dir, name)) = self.link.lock().clone() else {
            // The root, or a single file: only what its own descriptor leads to.
            return self.reopen_root(flags);
        };
        nix::fcntl::openat(dir.dir_fd()?, &*name, flags, Mode::empty()).map_err(errno)
    }

    fn reopen_root(&self, flags: OFlag) -> Result<OwnedFd, Errno> {
        let own = self.fd.get().ok_or(Errno::EIO)?;
        if self.first.kind == FileType::Directory {
            return nix::fcntl::openat(own, ".", flags, Mode::empty()).map_err(errno);
        }
        own.try_clone().map_err(Errno::from)
    }

    fn stat_now(&self) -> Result<FileStat, Errno> {
        let link = self.link.lock().clone();
        match (link, self.fd.get()) {
            (_, Some(fd)) => nix::sys::stat::fstat(fd).map_err(errno),
            (Some((dir, name)), None) => stat_at(dir.dir_fd()?, &name),
            (None, None) => Err(Errno::EIO),
        }
    }

    pub(super) fn check_writable(&self) -> Result<(), Errno> {
        if self.fs.writable {
            Ok(())
        } else {
            Err(Errno::EROFS)
        }
    }

    /// A counted reference to itself.
    pub(super) fn handle(&self) -> Result<Arc<Self>, Errno> {
        self.me.upgrade().ok_or(Errno::EIO)
    }

    /// Directory descriptor and name, for calls that change the file by name.
    pub(super) fn place(&self) -> Option<Place> {
        self.link.lock().clone()
    }

    pub(super) fn moved(&self, dir: Arc<Self>, name: &[u8]) {
        *self.link.lock() = Some((dir, name.into()));
    }

    /// Target of a symbolic link.
    pub(super) fn link_target(&self) -> Result<Vec<u8>, Errno> {
        use std::os::unix::ffi::OsStringExt;
        let (dir, name) = self.place().ok_or(Errno::EINVAL)?;
        let target = nix::fcntl::readlinkat(dir.dir_fd()?, &*name).map_err(errno)?;
        Ok(target.into_vec())
    }

    /// The child `name`, with what the host says of it now.
    pub(super) fn child(&self, name: &[u8]) -> Result<Arc<dyn Inode>, Errno> {
        let stat = stat_at(self.dir_fd()?, name)?;
        let me = self.handle()?;
        Ok(Self::new(&self.fs, Some((me, name.into())), &stat)?)
    }
}

fn stat_at(dir: BorrowedFd<'_>, name: &[u8]) -> Result<FileStat, Errno> {
    nix::sys::stat::fstatat(dir, name, AtFlags::AT_SYMLINK_NOFOLLOW).map_err(errno)
}

impl Inode for HostInode {
    fn kind(&self) -> FileType {
        self.first.kind
    }

    fn attr(&self) -> Result<Attr, Errno> {
        if self.fs.writable {
            self.fs.attr(&self.stat_now()?)
        } else {
            Ok(self.first)
        }
    }

    fn owner(&self) -> Result<Owner, Errno> {
        if self.fs.writable {
            self.attr().map(|attr| attr.owner())
        } else {
            Ok(self.first.owner())
        }
    }

    fn set_attr(&self, set: &SetAttr) -> Result<(), Errno> {
        self.check_writable()?;
        change::set_attr(self, set)
    }

    fn lookup(&self, name: &[u8]) -> Result<Arc<dyn Inode>, Errno> {
        self.child(name)
    }

    fn still_valid(&self, name: &[u8], child: &Arc<dyn Inode>) -> bool {
        if !self.fs.writable {
            return true;
        }
        let Some(child) = child.as_any().downcast_ref::<Self>() else {
            return false;
        };
        let stat = self.dir_fd().and_then(|fd| stat_at(fd, name));
        stat.is_ok_and(|stat| (stat.st_dev, stat.st_ino) == child.id)
    }

    fn remembers_absence(&self) -> bool {
        !self.fs.writable
    }

    fn entries(&self) -> Result<Vec<DirEntry>, Errno> {
        dir::entries(self)
    }

    fn create(&self, name: &[u8], new: &NewNode<'_>) -> Result<Arc<dyn Inode>, Errno> {
        self.check_writable()?;
        change::create(self, name, new)
    }

    fn remove(&self, name: &[u8], child: &Arc<dyn Inode>) -> Result<(), Errno> {
        self.check_writable()?;
        let last = child.kind() == FileType::Fifo && child.attr()?.nlink <= 1;
        change::remove(self, name, child.kind() == FileType::Directory)?;
        if let Some(child) = child.as_any().downcast_ref::<Self>().filter(|_| last) {
            self.fs.own_fifos.lock().remove(&child.id);
        }
        Ok(())
    }

    fn inode_per_name(&self) -> bool {
        true
    }

    fn is_foreign_fifo(&self) -> bool {
        self.first.kind == FileType::Fifo && !self.fs.own_fifos.lock().contains(&self.id)
    }

    fn link(&self, name: &[u8], target: &Arc<dyn Inode>) -> Result<(), Errno> {
        self.check_writable()?;
        let target = target.as_any().downcast_ref::<Self>();
        change::link(self, name, target.ok_or(Errno::EXDEV)?)
    }

    fn rename(&self, rename: &Rename<'_>) -> Result<(), Errno> {
        self.check_writable()?;
        change::rename(self, rename)
    }

    fn readlink(&self, _: &PathContext) -> Result<Vec<u8>, Errno> {
        self.link_target()
    }

    fn open(self: Arc<Self>, request: &OpenRequest<'_>) -> Result<Arc<dyn FileOps>, Errno> {
        match self.first.kind {
            FileType::Regular => {}
            // Device nodes mean our devices, never the host's.
            FileType::CharDevice => return crate::fs::dev::open_device(self.first.rdev),
            _ => return Err(Errno::ENXIO),
        }
        if request.writable() {
            self.check_writable()?;
        }
        let fd = self.open_at(OFlag::from_bits_truncate(
            request.flags & libc::O_ACCMODE | libc::O_NONBLOCK,
        ))?;
        Ok(Arc::new(HostFile::new(fd, self)))
    }

    fn xattr_list(&self) -> Result<Vec<Vec<u8>>, Errno> {
        Ok(Vec::new())
    }

    fn fs_stat(&self) -> Result<FsStat, Errno> {
        let fd = self.open_at(OFlag::O_PATH)?;
        let stat = nix::sys::statfs::fstatfs(&fd).map_err(errno)?;
        Ok(FsStat {
            magic: stat.filesystem_type().0,
            block_size: stat.block_size() as u64,
            blocks: stat.blocks(),
            free: stat.blocks_available(),
            files: stat.files(),
            files_free: stat.files_free(),
        })
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}
