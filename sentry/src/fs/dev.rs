//! Character devices, and the tree that is mounted on /dev.
//!
//! The tree is a tmpfs with device nodes; what a node does depends on its number only, so that nodes made
//! with mknod work as well.

use std::any::Any;
use std::sync::Arc;

use sentry_abi::Errno;

use crate::fs::tmpfs::{Storage, TmpFs, TmpOptions};
use crate::mm::io::{IoDst, IoSrc};
use crate::vfs::attr::{FileType, make_dev, split_dev};
use crate::vfs::dentry::Dentry;
use crate::vfs::file::{FileOps, IoctlCall};
use crate::vfs::inode::{Inode, NewNode};
use crate::vfs::mount::{Mount, MountFlags};

/// Bytes handed out at a time.
const CHUNK: usize = 4096;

/// A device without state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Memory {
    Null,
    Zero,
    Full,
    Random,
}

impl FileOps for Memory {
    fn read(&self, dst: &mut dyn IoDst, _: Option<u64>) -> Result<usize, Errno> {
        if *self == Self::Null {
            return Ok(0);
        }
        let mut bytes = [0u8; CHUNK];
        let mut total = 0;
        while dst.remaining() > 0 {
            let len = dst.remaining().min(CHUNK);
            if *self == Self::Random {
                crate::mm::random(&mut bytes[..len]);
            }
            match dst.put(&bytes[..len]) {
                Ok(0) => break,
                Ok(count) => total += count,
                Err(_) if total > 0 => break,
                Err(error) => return Err(error),
            }
        }
        Ok(total)
    }

    fn write(&self, src: &mut dyn IoSrc, _: Option<u64>) -> Result<usize, Errno> {
        if *self == Self::Full {
            return Err(Errno::ENOSPC);
        }
        Ok(src.remaining())
    }

    fn append(&self, src: &mut dyn IoSrc) -> Result<(usize, u64), Errno> {
        self.write(src, None).map(|count| (count, 0))
    }

    fn seekable(&self) -> bool {
        true
    }

    fn seek_from(&self, _: i32, _: i64) -> Result<u64, Errno> {
        Ok(0)
    }

    fn ioctl(&self, call: &mut IoctlCall<'_>) -> Result<u64, Errno> {
        // RNDGETENTCNT
        if *self == Self::Random && call.request == 0x8004_5200 {
            call.memory.write(call.arg, &256i32.to_ne_bytes())?;
            return Ok(0);
        }
        Err(Errno::ENOTTY)
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}

/// /dev/tty: stands for the caller's controlling terminal, which the system call puts in its place.
pub struct CallersTerminal;

impl FileOps for CallersTerminal {
    fn as_any(&self) -> &dyn Any {
        self
    }
}

/// Opens character device `rdev`.
///
/// # Errors
/// ENXIO if there is no such device.
pub fn open_device(rdev: u64) -> Result<Arc<dyn FileOps>, Errno> {
    match split_dev(rdev) {
        (1, 3) => Ok(Arc::new(Memory::Null)),
        (1, 5) => Ok(Arc::new(Memory::Zero)),
        (1, 7) => Ok(Arc::new(Memory::Full)),
        (1, 8 | 9) => Ok(Arc::new(Memory::Random)),
        (5, 0) => Ok(Arc::new(CallersTerminal)),
        _ => Err(Errno::ENXIO),
    }
}

/// Device nodes of /dev.
const NODES: &[(&str, u32, u32)] = &[
    ("null", 1, 3),
    ("zero", 1, 5),
    ("full", 1, 7),
    ("random", 1, 8),
    ("urandom", 1, 9),
    ("tty", 5, 0),
];

/// Links of /dev.
const LINKS: &[(&str, &str)] = &[
    ("fd", "/proc/self/fd"),
    ("stdin", "/proc/self/fd/0"),
    ("stdout", "/proc/self/fd/1"),
    ("stderr", "/proc/self/fd/2"),
    ("ptmx", "pts/ptmx"),
    ("core", "/proc/kcore"),
];

fn make(
    dir: &Arc<dyn Inode>,
    name: &str,
    kind: FileType,
    perm: u32,
    rdev: u64,
    target: &str,
) -> Result<(), Errno> {
    let new = NewNode {
        kind,
        perm,
        uid: 0,
        gid: 0,
        rdev,
        target: target.as_bytes(),
        ino: None,
    };
    dir.create(name.as_bytes(), &new).map(drop)
}

/// A new /dev, not attached yet, with the directories `pts`, `shm` and `mqueue` to mount on.
///
/// # Errors
/// ENOSPC, which a new tree does not run into.
pub fn mount(
    storage: Arc<dyn Storage>,
    source: &str,
    flags: MountFlags,
) -> Result<Arc<Mount>, Errno> {
    let options = TmpOptions {
        perm: 0o755,
        ..TmpOptions::default()
    };
    let root: Arc<dyn Inode> = TmpFs::root(storage, &options);
    for (name, major, minor) in NODES {
        let rdev = make_dev(*major, *minor);
        make(&root, name, FileType::CharDevice, 0o666, rdev, "")?;
    }
    for (name, target) in LINKS {
        make(&root, name, FileType::Symlink, 0o777, 0, target)?;
    }
    for (name, perm) in [("pts", 0o755), ("shm", 0o1777), ("mqueue", 0o1777)] {
        make(&root, name, FileType::Directory, perm, 0, "")?;
    }
    Ok(Mount::new(Dentry::root(root), "devtmpfs", source, flags))
}
