//! Where a process stands: root, working directory, umask; and what one path operation needs to know.

use std::sync::Arc;

use parking_lot::Mutex;

use crate::vfs::creds::Credentials;
use crate::vfs::dentry::VfsPath;
use crate::vfs::mount::MountNamespace;

/// Root, working directory, umask and mount namespace; shared between tasks made with CLONE_FS.
pub struct FsContext {
    inner: Mutex<Inner>,
}

#[derive(Clone)]
struct Inner {
    ns: Arc<MountNamespace>,
    root: VfsPath,
    cwd: VfsPath,
    umask: u32,
}

impl FsContext {
    /// At the root of `ns`, with umask 022.
    pub fn new(ns: Arc<MountNamespace>) -> Arc<Self> {
        let root = ns.root();
        Arc::new(Self {
            inner: Mutex::new(Inner {
                cwd: root.clone(),
                root,
                ns,
                umask: 0o022,
            }),
        })
    }

    /// A copy of its own, for clone without CLONE_FS.
    pub fn fork(&self) -> Arc<Self> {
        Arc::new(Self {
            inner: Mutex::new(self.inner.lock().clone()),
        })
    }

    /// What path operations of a task with this identity need.
    pub fn path_context(&self, creds: &Arc<Credentials>, pid: i32, tid: i32) -> PathContext {
        let inner = self.inner.lock();
        PathContext {
            ns: Arc::clone(&inner.ns),
            root: inner.root.clone(),
            cwd: inner.cwd.clone(),
            umask: inner.umask,
            creds: Arc::clone(creds),
            pid,
            tid,
        }
    }

    /// The mount namespace.
    pub fn namespace(&self) -> Arc<MountNamespace> {
        Arc::clone(&self.inner.lock().ns)
    }

    /// The root directory.
    pub fn root(&self) -> VfsPath {
        self.inner.lock().root.clone()
    }

    /// The working directory.
    pub fn cwd(&self) -> VfsPath {
        self.inner.lock().cwd.clone()
    }

    /// chroot(2).
    pub fn set_root(&self, root: VfsPath) {
        self.inner.lock().root = root;
    }

    /// chdir(2).
    pub fn set_cwd(&self, cwd: VfsPath) {
        self.inner.lock().cwd = cwd;
    }

    /// The file mode creation mask.
    pub fn umask(&self) -> u32 {
        self.inner.lock().umask
    }

    /// Sets the umask; returns the old one.
    pub fn set_umask(&self, umask: u32) -> u32 {
        std::mem::replace(&mut self.inner.lock().umask, umask & 0o777)
    }
}

/// What one path operation needs to know of its caller. A snapshot: changes by other threads during
/// the operation don't show.
#[derive(Clone)]
pub struct PathContext {
    /// Mounts.
    pub ns: Arc<MountNamespace>,
    /// `/`.
    pub root: VfsPath,
    /// `.`.
    pub cwd: VfsPath,
    /// Mask for new files.
    pub umask: u32,
    /// Identity for permission checks.
    pub creds: Arc<Credentials>,
    /// Process id (thread group), for /proc/self.
    pub pid: i32,
    /// Thread id, for /proc/thread-self.
    pub tid: i32,
}

impl PathContext {
    /// At the root of `ns` as user 0: for the Sentry's own look-ups before there are tasks.
    pub fn internal(ns: &Arc<MountNamespace>) -> Self {
        Self {
            ns: Arc::clone(ns),
            root: ns.root(),
            cwd: ns.root(),
            umask: 0,
            creds: Arc::new(Credentials::root()),
            pid: 0,
            tid: 0,
        }
    }
}
