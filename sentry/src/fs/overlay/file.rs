//! Open lower files, which go on with the copy once there is one.

use std::any::Any;
use std::sync::{Arc, OnceLock};

use sentry_abi::Errno;

use super::copy_up::open_half;
use super::inode::OverlayInode;
use crate::mm::Mappable;
use crate::mm::io::{IoDst, IoSrc};
use crate::vfs::file::FileOps;
use crate::vfs::inode::OpenRequest;

/// A file that was opened for reading while it had only a lower half.
pub(super) struct OverlayFile {
    inode: Arc<OverlayInode>,
    lower: Arc<dyn FileOps>,
    upper: OnceLock<Arc<dyn FileOps>>,
    flags: i32,
}

impl OverlayFile {
    pub(super) fn new(
        inode: Arc<OverlayInode>,
        lower: Arc<dyn FileOps>,
        request: &OpenRequest<'_>,
    ) -> Self {
        Self {
            inode,
            lower,
            upper: OnceLock::new(),
            flags: request.flags,
        }
    }

    fn ops(&self) -> Result<&Arc<dyn FileOps>, Errno> {
        if let Some(upper) = self.upper.get() {
            return Ok(upper);
        }
        let Some(upper) = self.inode.upper() else {
            return Ok(&self.lower);
        };
        let opened = open_half(&upper, self.flags & libc::O_ACCMODE)?;
        Ok(self.upper.get_or_init(|| opened))
    }
}

impl FileOps for OverlayFile {
    fn read(&self, dst: &mut dyn IoDst, offset: Option<u64>) -> Result<usize, Errno> {
        self.ops()?.read(dst, offset)
    }

    fn write(&self, src: &mut dyn IoSrc, offset: Option<u64>) -> Result<usize, Errno> {
        self.ops()?.write(src, offset)
    }

    fn seekable(&self) -> bool {
        true
    }

    fn seek_from(&self, whence: i32, offset: i64) -> Result<u64, Errno> {
        self.ops()?.seek_from(whence, offset)
    }

    fn mappable(&self) -> Option<Arc<dyn Mappable>> {
        self.ops().ok()?.mappable()
    }

    fn sync(&self, data_only: bool) -> Result<(), Errno> {
        // Nothing was written through it; a read-only lower half has nothing to make durable.
        match self.inode.upper() {
            Some(_) => self.ops()?.sync(data_only),
            None => Ok(()),
        }
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}
