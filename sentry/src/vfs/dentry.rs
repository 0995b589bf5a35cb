//! Names: the cached tree of directory entries of each file system.
//!
//! A dentry is a name in a directory, with the inode it stands for. The children map of a directory's
//! dentry is also that directory's lock: whoever changes the directory holds it. Absent names are
//! remembered too (`None`). Lock order: rename lock, children maps from the root downward (two
//! unrelated ones by address), then a file system's own locks.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering};

use parking_lot::{Mutex, RwLock};
use sentry_abi::Errno;

use crate::vfs::inode::Inode;
use crate::vfs::mount::Mount;
use crate::vfs::notify::Watches;

/// Names of a directory that are known: present (`Some`) or absent.
pub type Children = HashMap<Box<[u8]>, Option<Arc<Dentry>>>;

/// Dentries alive, in all file systems.
static LIVE: AtomicUsize = AtomicUsize::new(0);
/// The number of dentries at which unused ones are thrown away next.
static SWEEP_AT: AtomicUsize = AtomicUsize::new(SWEEP_MIN);
/// Below this many dentries nothing is thrown away.
const SWEEP_MIN: usize = 40_000;
/// Absent names that one directory remembers.
const MAX_ABSENT: usize = 4096;
/// Directory depth to which a sweep goes (it recurses; guests can nest without bound).
const MAX_SWEEP_DEPTH: usize = 512;

/// A name in a directory.
pub struct Dentry {
    inode: Arc<dyn Inode>,
    link: RwLock<Link>,
    children: Mutex<Children>,
    /// How many mounts have this as their mount point.
    pub(super) mounts: AtomicU32,
    dead: AtomicBool,
    /// inotify watches on it; made with the first.
    pub(super) watches: OnceLock<Watches>,
}

#[derive(Clone)]
struct Link {
    parent: Option<Arc<Dentry>>,
    name: Box<[u8]>,
}

impl Dentry {
    /// The root of a file system, or a file without a name.
    pub fn root(inode: Arc<dyn Inode>) -> Arc<Self> {
        Self::make(inode, None, b"")
    }

    /// A file that is in no directory but has a name to show (`pipe:[1]`).
    pub fn named(inode: Arc<dyn Inode>, name: &[u8]) -> Arc<Self> {
        Self::make(inode, None, name)
    }

    fn make(inode: Arc<dyn Inode>, parent: Option<Arc<Self>>, name: &[u8]) -> Arc<Self> {
        LIVE.fetch_add(1, Ordering::Relaxed);
        Arc::new(Self {
            inode,
            link: RwLock::new(Link {
                parent,
                name: name.into(),
            }),
            children: Mutex::default(),
            mounts: AtomicU32::new(0),
            dead: AtomicBool::new(false),
            watches: OnceLock::new(),
        })
    }

    /// What the name stands for.
    pub fn inode(&self) -> &Arc<dyn Inode> {
        &self.inode
    }

    /// The directory that the name is in; `None` for a root.
    pub fn parent(&self) -> Option<Arc<Self>> {
        self.link.read().parent.clone()
    }

    /// The name.
    pub fn name(&self) -> Box<[u8]> {
        self.link.read().name.clone()
    }

    /// True once the name has been removed.
    pub fn is_dead(&self) -> bool {
        self.dead.load(Ordering::Acquire)
    }

    /// Locks the directory.
    pub fn lock(&self) -> parking_lot::MutexGuard<'_, Children> {
        self.children.lock()
    }

    /// The entry `name` of this directory; `None` if there is none.
    ///
    /// # Errors
    /// What the file system's lookup says, but for ENOENT.
    pub fn child(self: &Arc<Self>, name: &[u8]) -> Result<Option<Arc<Self>>, Errno> {
        let found = {
            let mut children = self.children.lock();
            self.child_locked(&mut children, name)?
        };
        if LIVE.load(Ordering::Relaxed) > SWEEP_AT.load(Ordering::Relaxed) {
            self.sweep_all();
        }
        Ok(found)
    }

    /// As [`Dentry::child`], with the directory's lock held.
    ///
    /// # Errors
    /// As [`Dentry::child`].
    pub fn child_locked(
        self: &Arc<Self>,
        children: &mut Children,
        name: &[u8],
    ) -> Result<Option<Arc<Self>>, Errno> {
        match children.get(name) {
            Some(Some(known)) if self.inode.still_valid(name, &known.inode) => {
                return Ok(Some(Arc::clone(known)));
            }
            Some(None) => return Ok(None),
            Some(Some(_)) => {
                if let Some(Some(gone)) = children.remove(name) {
                    gone.dead.store(true, Ordering::Release);
                }
            }
            None => {}
        }
        match self.inode.lookup(name) {
            Ok(inode) => Ok(Some(self.insert(children, name, inode))),
            Err(Errno::ENOENT) => {
                if self.inode.remembers_absence() && children.len() < MAX_ABSENT {
                    children.insert(name.into(), None);
                }
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    /// Enters a name that now exists.
    pub fn insert(
        self: &Arc<Self>,
        children: &mut Children,
        name: &[u8],
        inode: Arc<dyn Inode>,
    ) -> Arc<Self> {
        let made = Self::make(inode, Some(Arc::clone(self)), name);
        children.insert(name.into(), Some(Arc::clone(&made)));
        made
    }

    /// Forgets a name that was removed.
    pub fn removed(&self, children: &mut Children, name: &[u8]) {
        let gone = if self.inode.remembers_absence() {
            children.insert(name.into(), None)
        } else {
            children.remove(name)
        };
        if let Some(Some(gone)) = gone {
            gone.dead.store(true, Ordering::Release);
        }
    }

    /// Gives the dentry a new place; the caller changes both children maps.
    pub fn moved(&self, parent: &Arc<Self>, name: &[u8]) {
        *self.link.write() = Link {
            parent: Some(Arc::clone(parent)),
            name: name.into(),
        };
    }

    /// Marks an unnamed file (O_TMPFILE, or replaced by a rename) as having no name.
    pub fn set_dead(&self) {
        self.dead.store(true, Ordering::Release);
    }

    /// True if `self` is `other` or above it in the same file system.
    pub fn is_ancestor_of(self: &Arc<Self>, other: &Arc<Self>) -> bool {
        let mut at = Some(Arc::clone(other));
        while let Some(dentry) = at {
            if Arc::ptr_eq(self, &dentry) {
                return true;
            }
            at = dentry.parent();
        }
        false
    }

    /// Throws away what nobody uses in the file system that this dentry belongs to.
    fn sweep_all(self: &Arc<Self>) {
        let mut root = Arc::clone(self);
        while let Some(parent) = root.parent() {
            root = parent;
        }
        root.sweep(MAX_SWEEP_DEPTH);
        let live = LIVE.load(Ordering::Relaxed);
        SWEEP_AT.store((live + SWEEP_MIN / 2).max(SWEEP_MIN), Ordering::Relaxed);
    }

    fn sweep(&self, depth: usize) {
        if depth == 0 {
            return;
        }
        let Some(mut children) = self.children.try_lock() else {
            return;
        };
        children.retain(|_, child| {
            child.as_ref().is_some_and(|dentry| {
                dentry.sweep(depth - 1);
                Arc::strong_count(dentry) > 1
                    || dentry.mounts.load(Ordering::Relaxed) > 0
                    || dentry.watches.get().is_some()
                    || !dentry.children.try_lock().is_some_and(|c| c.is_empty())
            })
        });
        children.shrink_to_fit();
    }

    /// Cuts the tree below (children and parents hold each other) when its file system goes away.
    pub fn dissolve(&self) {
        let take = |dentry: &Self| std::mem::take(&mut *dentry.children.lock());
        let mut left: Vec<Arc<Self>> = take(self).into_values().flatten().collect();
        while let Some(dentry) = left.pop() {
            left.extend(take(&dentry).into_values().flatten());
        }
    }
}

impl Drop for Dentry {
    fn drop(&mut self) {
        LIVE.fetch_sub(1, Ordering::Relaxed);
        // A loop and not recursion: a chain of removed directories can be as long as a guest likes.
        let mut parent = self.link.get_mut().parent.take();
        while let Some(mut dentry) = parent.and_then(Arc::into_inner) {
            parent = dentry.link.get_mut().parent.take();
        }
    }
}

/// A place in the tree that a process sees: a name, and the mount through which it was reached.
#[derive(Clone)]
pub struct VfsPath {
    /// The mount.
    pub mount: Arc<Mount>,
    /// The name.
    pub dentry: Arc<Dentry>,
}

impl VfsPath {
    /// The file.
    pub fn inode(&self) -> &Arc<dyn Inode> {
        &self.dentry.inode
    }

    /// True if both are the same place.
    pub fn same(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.dentry, &other.dentry) && Arc::ptr_eq(&self.mount, &other.mount)
    }

    /// True if this is where its mount begins.
    pub fn is_mount_root(&self) -> bool {
        Arc::ptr_eq(&self.dentry, &self.mount.root)
    }

    /// The directory above, across mounts, not above `root`.
    pub fn up(&self, root: &Self) -> Self {
        let mut at = self.clone();
        while !at.same(root) {
            if !at.is_mount_root() {
                if let Some(parent) = at.dentry.parent() {
                    at.dentry = parent;
                }
                return at;
            }
            match at.mount.mount_point() {
                Some(point) => at = point,
                None => return at,
            }
        }
        at
    }

    /// The absolute path below `root`; `None` if it cannot be reached from there.
    pub fn path_below(&self, root: &Self) -> Option<Vec<u8>> {
        let mut names: Vec<Box<[u8]>> = Vec::new();
        let mut at = self.clone();
        while !at.same(root) {
            if at.is_mount_root() {
                at = at.mount.mount_point()?;
                continue;
            }
            names.push(at.dentry.name());
            at.dentry = at.dentry.parent()?;
        }
        if names.is_empty() {
            return Some(b"/".to_vec());
        }
        let mut path = Vec::new();
        for name in names.iter().rev() {
            path.push(b'/');
            path.extend_from_slice(name);
        }
        Some(path)
    }

    /// What /proc shows for it: the path, `(unreachable)` before and ` (deleted)` behind it where so.
    pub fn shown(&self, root: &Self) -> Vec<u8> {
        let mut path = match self.path_below(root) {
            Some(path) => path,
            None if self.mount.is_internal() => self.dentry.name().into_vec(),
            None => {
                let mut path = b"(unreachable)".to_vec();
                let own = Self {
                    mount: Arc::clone(&self.mount),
                    dentry: Arc::clone(&self.mount.root),
                };
                path.extend(self.path_below(&own).unwrap_or_else(|| b"/".to_vec()));
                path
            }
        };
        if self.dentry.is_dead() {
            path.extend_from_slice(b" (deleted)");
        }
        path
    }
}
