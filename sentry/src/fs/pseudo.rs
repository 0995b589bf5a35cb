//! What file systems of generated contents share: a file whose bytes are made when it is read.

use std::any::Any;
use std::sync::Arc;

use parking_lot::Mutex;
use sentry_abi::Errno;

use crate::mm::io::{IoDst, IoSrc};
use crate::vfs::attr::{Attr, FileType, Time};
use crate::vfs::file::FileOps;

/// Attributes of a generated file, owned by `owner` (uid, gid).
pub fn attr(dev: u64, ino: u64, kind: FileType, perm: u32, owner: (u32, u32)) -> Attr {
    let now = Time::now();
    Attr {
        dev,
        ino,
        kind,
        perm,
        nlink: if kind == FileType::Directory { 2 } else { 1 },
        uid: owner.0,
        gid: owner.1,
        rdev: 0,
        size: 0,
        blksize: 1024,
        blocks: 0,
        atime: now,
        mtime: now,
        ctime: now,
    }
}

/// Makes the contents.
pub type Render = dyn Fn() -> Result<Vec<u8>, Errno> + Send + Sync;
/// Takes what is written, in one piece.
pub type Accept = dyn Fn(&[u8]) -> Result<(), Errno> + Send + Sync;

/// Most bytes of one write to a generated file.
const MAX_WRITE: usize = 4096;

/// An open generated file. The contents are made when it is read from the start.
pub struct GeneratedFile {
    render: Box<Render>,
    accept: Option<Box<Accept>>,
    contents: Mutex<Option<Arc<[u8]>>>,
}

impl GeneratedFile {
    /// A file to read, and to write if there is an `accept`.
    pub fn new(render: Box<Render>, accept: Option<Box<Accept>>) -> Arc<Self> {
        Arc::new(Self {
            render,
            accept,
            contents: Mutex::new(None),
        })
    }

    fn contents(&self, at: u64) -> Result<Arc<[u8]>, Errno> {
        let mut contents = self.contents.lock();
        if let Some(made) = contents.as_ref().filter(|_| at > 0) {
            return Ok(Arc::clone(made));
        }
        let made: Arc<[u8]> = (self.render)()?.into();
        *contents = Some(Arc::clone(&made));
        Ok(made)
    }
}

impl FileOps for GeneratedFile {
    fn read(&self, dst: &mut dyn IoDst, offset: Option<u64>) -> Result<usize, Errno> {
        let at = offset.unwrap_or(0);
        let contents = self.contents(at)?;
        let from = usize::try_from(at).unwrap_or(usize::MAX);
        dst.put(contents.get(from..).unwrap_or_default())
    }

    fn write(&self, src: &mut dyn IoSrc, _: Option<u64>) -> Result<usize, Errno> {
        let accept = self.accept.as_ref().ok_or(Errno::EINVAL)?;
        let mut bytes = vec![0; src.remaining().min(MAX_WRITE)];
        let count = src.take(&mut bytes)?;
        accept(&bytes[..count])?;
        Ok(count)
    }

    fn append(&self, src: &mut dyn IoSrc) -> Result<(usize, u64), Errno> {
        let count = self.write(src, None)?;
        Ok((count, count as u64))
    }

    fn seekable(&self) -> bool {
        true
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}
