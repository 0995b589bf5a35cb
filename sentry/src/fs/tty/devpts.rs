//! devpts: a slave per pair that is open, and `ptmx`, which opens new pairs.

use std::any::Any;
use std::collections::BTreeMap;
use std::sync::{Arc, Weak};

use parking_lot::Mutex;
use sentry_abi::Errno;

use super::pty::{Master, Pty};
use crate::fs::pseudo;
use crate::kernel::Kernel;
use crate::vfs::attr::{Attr, FileType, FsStat, SetAttr, make_dev};
use crate::vfs::dentry::Dentry;
use crate::vfs::file::FileOps;
use crate::vfs::inode::{DirEntry, Inode, OpenRequest, next_anonymous_dev};
use crate::vfs::mount::{Mount, MountFlags};

/// DEVPTS_SUPER_MAGIC.
const MAGIC: i64 = 0x1cd1;
/// Pairs that can be open.
const MAX_PTYS: usize = 4096;

/// One devpts.
pub struct DevPts {
    me: Weak<DevPts>,
    dev: u64,
    kernel: Weak<Kernel>,
    ptys: Mutex<BTreeMap<u32, Entry>>,
}

struct Entry {
    pty: Arc<Pty>,
    attr: Attr,
}

/// What a node of it is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum What {
    Root,
    Ptmx,
    Slave(u32),
}

struct Node {
    fs: Arc<DevPts>,
    what: What,
}

/// A new devpts, not attached yet.
pub fn mount(kernel: &Arc<Kernel>, source: &str, flags: MountFlags) -> Arc<Mount> {
    let fs = Arc::new_cyclic(|me| DevPts {
        me: me.clone(),
        dev: next_anonymous_dev(),
        kernel: Arc::downgrade(kernel),
        ptys: Mutex::default(),
    });
    let root = Node {
        fs,
        what: What::Root,
    };
    Mount::new(Dentry::root(Arc::new(root)), "devpts", source, flags)
}

/// A new pair, unlocked, in the devpts whose root `inode` is: its master, and the pair.
///
/// # Errors
/// ENODEV if it is the root of no devpts, ENOSPC.
pub(crate) fn open_pair_at(
    inode: &dyn Inode,
    owner: (u32, u32),
) -> Result<(Arc<dyn FileOps>, Arc<Pty>), Errno> {
    let root = inode.as_any().downcast_ref::<Node>();
    let root = root.filter(|node| node.what == What::Root);
    let master = root.ok_or(Errno::ENODEV)?.fs.open_pair(owner)?;
    let pty = Arc::clone(&master.pty);
    pty.state.lock().locked = false;
    Ok((master, pty))
}

impl DevPts {
    /// A new pair for (uid, gid): its master.
    fn open_pair(&self, owner: (u32, u32)) -> Result<Arc<Master>, Errno> {
        let mut ptys = self.ptys.lock();
        if ptys.len() >= MAX_PTYS {
            return Err(Errno::ENOSPC);
        }
        let taken = |index: &u32| ptys.contains_key(index);
        let index = (0..=MAX_PTYS as u32).find(|index| !taken(index));
        let index = index.ok_or(Errno::ENOSPC)?;
        let pty = Pty::new(index, self.kernel.clone());
        let mut attr = pseudo::attr(
            self.dev,
            u64::from(index) + 3,
            FileType::CharDevice,
            0o620,
            owner,
        );
        attr.rdev = make_dev(136, index);
        let entry = Entry {
            pty: Arc::clone(&pty),
            attr,
        };
        ptys.insert(index, entry);
        let devpts = self.me.upgrade().ok_or(Errno::EIO)?;
        Ok(Arc::new(Master { pty, devpts }))
    }

    /// A master was closed.
    pub(super) fn forget(&self, index: u32) {
        self.ptys.lock().remove(&index);
    }
}

impl Inode for Node {
    fn kind(&self) -> FileType {
        match self.what {
            What::Root => FileType::Directory,
            _ => FileType::CharDevice,
        }
    }

    fn attr(&self) -> Result<Attr, Errno> {
        let dev = self.fs.dev;
        match self.what {
            What::Root => Ok(pseudo::attr(dev, 1, FileType::Directory, 0o755, (0, 0))),
            What::Ptmx => {
                let mut attr = pseudo::attr(dev, 2, FileType::CharDevice, 0o666, (0, 0));
                attr.rdev = make_dev(5, 2);
                Ok(attr)
            }
            What::Slave(index) => {
                let ptys = self.fs.ptys.lock();
                Ok(ptys.get(&index).ok_or(Errno::EIO)?.attr)
            }
        }
    }

    fn set_attr(&self, set: &SetAttr) -> Result<(), Errno> {
        let What::Slave(index) = self.what else {
            return Err(Errno::EPERM);
        };
        let mut ptys = self.fs.ptys.lock();
        let attr = &mut ptys.get_mut(&index).ok_or(Errno::EIO)?.attr;
        attr.perm = set.perm.unwrap_or(attr.perm);
        attr.uid = set.uid.unwrap_or(attr.uid);
        attr.gid = set.gid.unwrap_or(attr.gid);
        attr.atime = set.atime.unwrap_or(attr.atime);
        attr.mtime = set.mtime.unwrap_or(attr.mtime);
        Ok(())
    }

    fn lookup(&self, name: &[u8]) -> Result<Arc<dyn Inode>, Errno> {
        if self.what != What::Root {
            return Err(Errno::ENOTDIR);
        }
        let what = if name == b"ptmx" {
            What::Ptmx
        } else {
            let text = std::str::from_utf8(name).map_err(|_| Errno::ENOENT)?;
            let index: u32 = text.parse().map_err(|_| Errno::ENOENT)?;
            if index.to_string() != text || !self.fs.ptys.lock().contains_key(&index) {
                return Err(Errno::ENOENT);
            }
            What::Slave(index)
        };
        Ok(Arc::new(Self {
            fs: Arc::clone(&self.fs),
            what,
        }))
    }

    fn still_valid(&self, _: &[u8], child: &Arc<dyn Inode>) -> bool {
        match child.as_any().downcast_ref::<Self>().map(|node| node.what) {
            Some(What::Slave(index)) => self.fs.ptys.lock().contains_key(&index),
            _ => true,
        }
    }

    fn remembers_absence(&self) -> bool {
        false
    }

    fn entries(&self) -> Result<Vec<DirEntry>, Errno> {
        if self.what != What::Root {
            return Err(Errno::ENOTDIR);
        }
        let entry = |name: String, ino| DirEntry {
            name: name.into_bytes().into(),
            ino,
            kind: FileType::CharDevice,
        };
        let ptys = self.fs.ptys.lock();
        let slaves = ptys
            .keys()
            .map(|index| (index.to_string(), u64::from(*index) + 3));
        let all = std::iter::once(("ptmx".to_owned(), 2)).chain(slaves);
        Ok(all.map(|(name, ino)| entry(name, ino)).collect())
    }

    fn open(self: Arc<Self>, request: &OpenRequest<'_>) -> Result<Arc<dyn FileOps>, Errno> {
        match self.what {
            What::Root => Err(Errno::EISDIR),
            What::Ptmx => {
                let creds = &request.cx.creds;
                let master = self.fs.open_pair((creds.fsuid, creds.fsgid))?;
                Ok(master)
            }
            What::Slave(index) => {
                let pty = {
                    let ptys = self.fs.ptys.lock();
                    Arc::clone(&ptys.get(&index).ok_or(Errno::EIO)?.pty)
                };
                pty.open_slave()
            }
        }
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
