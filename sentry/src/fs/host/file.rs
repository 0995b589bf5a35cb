//! Open regular files of the host.

use std::any::Any;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;

use nix::fcntl::FallocateFlags;
use nix::unistd::Whence;
use parking_lot::Mutex;
use sentry_abi::Errno;

use super::inode::{HostInode, errno};
use super::sys;
use crate::mm::io::{IoDst, IoSrc};
use crate::mm::{MapBacking, Mappable};
use crate::vfs::file::FileOps;
use crate::vfs::inode::Inode;

/// An open regular file.
pub(super) struct HostFile {
    shared: Arc<Shared>,
}

/// What mappings keep, beside the open file.
struct Shared {
    fd: OwnedFd,
    inode: Arc<HostInode>,
    /// One append at a time finds the end.
    append: Mutex<()>,
}

impl HostFile {
    pub(super) fn new(fd: OwnedFd, inode: Arc<HostInode>) -> Self {
        Self {
            shared: Arc::new(Shared {
                fd,
                inode,
                append: Mutex::new(()),
            }),
        }
    }

    fn fd(&self) -> BorrowedFd<'_> {
        self.shared.fd.as_fd()
    }

    fn size(&self) -> Result<u64, Errno> {
        let stat = nix::sys::stat::fstat(&self.shared.fd).map_err(errno)?;
        Ok(stat.st_size as u64)
    }
}

impl FileOps for HostFile {
    fn read(&self, dst: &mut dyn IoDst, offset: Option<u64>) -> Result<usize, Errno> {
        let fd = self.fd();
        dst.fill_with(dst.remaining(), &mut |iovs| sys::read(fd, iovs, offset))
    }

    fn write(&self, src: &mut dyn IoSrc, offset: Option<u64>) -> Result<usize, Errno> {
        let fd = self.fd();
        src.drain_with(src.remaining(), &mut |iovs| sys::write(fd, iovs, offset))
    }

    fn append(&self, src: &mut dyn IoSrc) -> Result<(usize, u64), Errno> {
        let _one = self.shared.append.lock();
        let end = self.size()?;
        let count = self.write(src, Some(end))?;
        Ok((count, end + count as u64))
    }

    fn seekable(&self) -> bool {
        true
    }

    fn seek_from(&self, whence: i32, offset: i64) -> Result<u64, Errno> {
        let whence = match whence {
            libc::SEEK_END => Whence::SeekEnd,
            libc::SEEK_DATA => Whence::SeekData,
            libc::SEEK_HOLE => Whence::SeekHole,
            _ => return Err(Errno::EINVAL),
        };
        let found = nix::unistd::lseek(&self.shared.fd, offset, whence).map_err(errno)?;
        Ok(found as u64)
    }

    fn mappable(&self) -> Option<Arc<dyn Mappable>> {
        Some(Arc::clone(&self.shared) as Arc<dyn Mappable>)
    }

    fn sync(&self, data_only: bool) -> Result<(), Errno> {
        if data_only {
            nix::unistd::fdatasync(&self.shared.fd)
        } else {
            nix::unistd::fsync(&self.shared.fd)
        }
        .map_err(errno)
    }

    fn allocate(&self, mode: i32, offset: u64, len: u64) -> Result<(), Errno> {
        let flags = FallocateFlags::from_bits(mode).ok_or(Errno::EOPNOTSUPP)?;
        nix::fcntl::fallocate(&self.shared.fd, flags, offset as i64, len as i64).map_err(errno)
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}

impl Mappable for Shared {
    fn backing(&self, offset: u64, _: u64) -> Result<MapBacking<'_>, Errno> {
        Ok(MapBacking::Host {
            fd: self.fd.as_fd(),
            offset,
        })
    }

    fn map_identity(&self) -> (u64, u64, Vec<u8>) {
        let (dev, ino) = self
            .inode
            .attr()
            .map_or((0, 0), |attr| (attr.dev, attr.ino));
        (dev, ino, Vec::new())
    }
}
