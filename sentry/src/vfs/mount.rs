//! Mounts: which file system is seen where.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::LazyLock;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use bitflags::bitflags;
use parking_lot::{Mutex, RwLock};
use sentry_abi::Errno;

use crate::vfs::dentry::{Dentry, VfsPath};
use crate::vfs::inode::Inode;

bitflags! {
    /// Flags of one mount.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
    pub struct MountFlags: u32 {
        /// Nothing can be changed through it.
        const READ_ONLY = 1;
        /// Set-id bits have no effect.
        const NO_SUID = 2;
        /// Device files cannot be opened.
        const NO_DEV = 4;
        /// Nothing can be executed.
        const NO_EXEC = 8;
    }
}

impl MountFlags {
    /// The flags among mount(2)'s `MS_*`.
    pub fn from_ms(flags: u64) -> Self {
        Self::from_bits_truncate(flags as u32)
    }

    /// As /proc/mounts shows them.
    pub fn shown(self) -> String {
        let names = [
            (Self::NO_SUID, ",nosuid"),
            (Self::NO_DEV, ",nodev"),
            (Self::NO_EXEC, ",noexec"),
        ];
        let mut shown = String::from(if self.contains(Self::READ_ONLY) {
            "ro"
        } else {
            "rw"
        });
        for (_, name) in names.iter().filter(|(flag, _)| self.contains(*flag)) {
            shown.push_str(name);
        }
        shown
    }
}

/// A file system as it is seen at one place.
pub struct Mount {
    /// Unique number, as in /proc/PID/mountinfo.
    pub id: u64,
    /// The dentry that appears at the mount point.
    pub root: Arc<Dentry>,
    /// Name of the file system's type.
    pub fs_type: &'static str,
    /// What was mounted (a device, or any word).
    pub source: String,
    flags: AtomicU32,
    at: RwLock<Option<VfsPath>>,
    internal: bool,
}

impl Mount {
    /// A mount of `root` that is not attached anywhere yet.
    pub fn new(
        root: Arc<Dentry>,
        fs_type: &'static str,
        source: &str,
        flags: MountFlags,
    ) -> Arc<Self> {
        Arc::new(Self::make(root, fs_type, source, flags, false))
    }

    fn make(
        root: Arc<Dentry>,
        fs_type: &'static str,
        source: &str,
        flags: MountFlags,
        internal: bool,
    ) -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(20);
        Self {
            id: NEXT.fetch_add(1, Ordering::Relaxed),
            root,
            fs_type,
            source: source.to_owned(),
            flags: AtomicU32::new(flags.bits()),
            at: RwLock::new(None),
            internal,
        }
    }

    /// The kernel-internal mount that files without a path (pipes, sockets, memfds) belong to.
    pub fn internal() -> Arc<Self> {
        static INTERNAL: LazyLock<Arc<Mount>> = LazyLock::new(|| {
            let root = Dentry::root(crate::vfs::anon::AnonInode::root());
            Arc::new(Mount::make(
                root,
                "anon_inodefs",
                "none",
                MountFlags::empty(),
                true,
            ))
        });
        Arc::clone(&INTERNAL)
    }

    /// True for [`Mount::internal`].
    pub fn is_internal(&self) -> bool {
        self.internal
    }

    /// Its flags.
    pub fn flags(&self) -> MountFlags {
        MountFlags::from_bits_truncate(self.flags.load(Ordering::Relaxed))
    }

    /// Changes its flags (MS_REMOUNT).
    pub fn set_flags(&self, flags: MountFlags) {
        self.flags.store(flags.bits(), Ordering::Relaxed);
    }

    /// EROFS if nothing may be changed through this mount.
    ///
    /// # Errors
    /// EROFS.
    pub fn check_writable(&self) -> Result<(), Errno> {
        if self.flags().contains(MountFlags::READ_ONLY) {
            Err(Errno::EROFS)
        } else {
            Ok(())
        }
    }

    /// Where it is attached; `None` for the root mount and detached ones.
    pub fn mount_point(&self) -> Option<VfsPath> {
        self.at.read().clone()
    }

    /// The path of its own root.
    pub fn root_path(self: &Arc<Self>) -> VfsPath {
        VfsPath {
            mount: Arc::clone(self),
            dentry: Arc::clone(&self.root),
        }
    }
}

type Point = (u64, usize);

/// The mounts that a group of processes sees.
pub struct MountNamespace {
    root: VfsPath,
    table: RwLock<HashMap<Point, Vec<Arc<Mount>>>>,
    /// One rename between directories, or change of the mount tree, at a time.
    pub(super) rename_lock: Mutex<()>,
}

fn point(path: &VfsPath) -> Point {
    (path.mount.id, Arc::as_ptr(&path.dentry) as usize)
}

impl MountNamespace {
    /// A namespace with only a root mount.
    pub fn new(root: Arc<Mount>) -> Arc<Self> {
        Arc::new(Self {
            root: root.root_path(),
            table: RwLock::default(),
            rename_lock: Mutex::new(()),
        })
    }

    /// A namespace whose root is a file system with this root inode.
    pub fn with_root(inode: Arc<dyn Inode>, fs_type: &'static str, flags: MountFlags) -> Arc<Self> {
        Self::new(Mount::new(Dentry::root(inode), fs_type, fs_type, flags))
    }

    /// The root directory.
    pub fn root(&self) -> VfsPath {
        let mut at = self.root.clone();
        self.enter(&mut at);
        at
    }

    /// Steps from a mount point into what is mounted there, as often as needed.
    #[inline]
    pub fn enter(&self, at: &mut VfsPath) {
        while at.dentry.mounts.load(Ordering::Acquire) > 0 {
            let Some(mount) = self.mounted_at(at) else {
                return;
            };
            at.dentry = Arc::clone(&mount.root);
            at.mount = mount;
        }
    }

    fn mounted_at(&self, at: &VfsPath) -> Option<Arc<Mount>> {
        self.table.read().get(&point(at))?.last().cloned()
    }

    /// Attaches `mount` at `at` (over what is mounted there already).
    ///
    /// # Errors
    /// ENOTDIR if exactly one of the two is a directory; ENOENT if the mount point was removed.
    pub fn attach(&self, mount: Arc<Mount>, at: &VfsPath) -> Result<(), Errno> {
        use crate::vfs::attr::FileType::Directory;
        let directories =
            [mount.root.inode().kind(), at.inode().kind()].map(|kind| kind == Directory);
        if directories[0] != directories[1] {
            return Err(Errno::ENOTDIR);
        }
        if at.dentry.is_dead() {
            return Err(Errno::ENOENT);
        }
        let mut table = self.table.write();
        *mount.at.write() = Some(at.clone());
        at.dentry.mounts.fetch_add(1, Ordering::Release);
        table.entry(point(at)).or_default().push(mount);
        Ok(())
    }

    /// Detaches the topmost mount whose root `path` is.
    ///
    /// # Errors
    /// EINVAL if it is not the root of a mount or is the namespace's root; EBUSY if mounts are below it
    /// and not `lazy`.
    pub fn detach(&self, path: &VfsPath, lazy: bool) -> Result<(), Errno> {
        if !path.is_mount_root() {
            return Err(Errno::EINVAL);
        }
        let at = path.mount.mount_point().ok_or(Errno::EINVAL)?;
        let below: Vec<Arc<Mount>> = self.below(&path.mount);
        if !below.is_empty() && !lazy {
            return Err(Errno::EBUSY);
        }
        let mut table = self.table.write();
        self.drop_mount(&mut table, &path.mount, &at);
        for mount in below.iter().rev() {
            if let Some(at) = mount.mount_point() {
                self.drop_mount(&mut table, mount, &at);
            }
        }
        Ok(())
    }

    fn drop_mount(
        &self,
        table: &mut HashMap<Point, Vec<Arc<Mount>>>,
        mount: &Arc<Mount>,
        at: &VfsPath,
    ) {
        let Some(stack) = table.get_mut(&point(at)) else {
            return;
        };
        let before = stack.len();
        stack.retain(|m| !Arc::ptr_eq(m, mount));
        at.dentry
            .mounts
            .fetch_sub((before - stack.len()) as u32, Ordering::Release);
        if stack.is_empty() {
            table.remove(&point(at));
        }
        *mount.at.write() = None;
    }

    fn below(&self, top: &Arc<Mount>) -> Vec<Arc<Mount>> {
        let is_below = |mount: &Arc<Mount>| {
            let mut at = mount.mount_point();
            while let Some(path) = at {
                if Arc::ptr_eq(&path.mount, top) {
                    return true;
                }
                at = path.mount.mount_point();
            }
            false
        };
        let mut below: Vec<_> = self.all().into_iter().filter(is_below).collect();
        below.sort_by_key(|mount| mount.id);
        below
    }

    /// All mounts, the root first, in order of attachment.
    pub fn all(&self) -> Vec<Arc<Mount>> {
        let mut mounts: Vec<Arc<Mount>> = self.table.read().values().flatten().cloned().collect();
        mounts.push(Arc::clone(&self.root.mount));
        mounts.sort_by_key(|mount| mount.id);
        mounts
    }
}
