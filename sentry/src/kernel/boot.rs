//! Booting a sandbox: platform, memory, mounts, the first process.

use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::AtomicU32;

use parking_lot::{Mutex, RwLock};
use sentry_abi::Errno;

use super::{
    BootConfig, BootError, Kernel, MountConfig, MountKind, Names, ProcessConfig, RootConfig,
};
use crate::fs;
use crate::fs::host::HostFs;
use crate::fs::overlay::OverlayFs;
use crate::fs::tmpfs::{TmpFs, TmpOptions};
use crate::mm::MemoryFile;
use crate::syscalls::strace::Sink;
use crate::syscalls::table::NUMBERS;
use crate::task::run;
use crate::vfs::attr::FileType;
use crate::vfs::dentry::Dentry;
use crate::vfs::inode::Inode;
use crate::vfs::walk::{self, WalkFlags};
use crate::vfs::{Mount, MountFlags, MountNamespace, PathContext, VfsPath, modify};

impl Kernel {
    /// Makes a sandbox and loads its first process, which waits for [`Kernel::start`].
    ///
    /// # Errors
    /// [`BootError`] says in a sentence what is wrong.
    pub fn boot(config: BootConfig) -> Result<Arc<Self>, BootError> {
        let host = |what| move |source| BootError::Host { what, source };
        let memory = MemoryFile::new().map_err(host("a memory file for the guest"))?;
        if config.memory_limit > 0 {
            memory.set_limit(config.memory_limit);
        }
        let fd = memory.fd().try_clone_to_owned();
        let fd = fd.map_err(host("duplicating a descriptor"))?;
        let platform = crate::platform::new(config.platform, fd)?;
        let readonly = config.root.readonly;
        let mounts = root_mount(config.root, &memory)?;
        let kernel = Arc::new(Self {
            platform,
            memory,
            mounts,
            network: config.network,
            tree: Mutex::default(),
            names: RwLock::new(Names {
                host: config.hostname.into_bytes(),
                domain: b"(none)".to_vec(),
            }),
            futexes: Default::default(),
            strace: config.strace.map(Sink::new),
            io_signals: Default::default(),
            signal_readers: Default::default(),
            memory_limit: config.memory_limit,
            boot_ns: crate::time::monotonic_ns(),
            unimplemented: (0..NUMBERS).map(|_| AtomicU32::new(0)).collect(),
            defects: AtomicU32::new(0),
            oom_victim: Mutex::default(),
            first: Mutex::new(None),
            consoles: Mutex::default(),
            ended: Mutex::default(),
            ended_changed: parking_lot::Condvar::new(),
        });
        let root = kernel.mounts.root().mount;
        for mount in config.mounts {
            kernel.mount(mount)?;
        }
        if readonly {
            root.set_flags(root.flags() | MountFlags::READ_ONLY);
        }
        let first = kernel.make_process(config.init)?;
        *kernel.first.lock() = Some(first);
        kernel.watch_memory()?;
        Ok(kernel)
    }

    /// Lets the first process run; harmless the second time.
    ///
    /// # Panics
    /// Never: a host that gives no thread ends the process with SIGKILL, which `wait_exit` reports.
    pub fn start(self: &Arc<Self>) {
        let Some(first) = self.first.lock().take() else {
            return;
        };
        let pid = first.pid();
        if run::start(first).is_err() {
            self.record_end(pid, libc::SIGKILL);
        }
    }

    /// Starts another process (`runsc exec`), which has no parent in the sandbox; returns its pid.
    ///
    /// # Errors
    /// As [`Kernel::boot`].
    pub fn exec(self: &Arc<Self>, process: ProcessConfig) -> Result<i32, BootError> {
        let task = self.make_process(process)?;
        let pid = task.pid();
        let shared = Arc::clone(&task.shared);
        run::start(task).map_err(|source| {
            self.tree.lock().forget(&shared);
            BootError::Host {
                what: "a thread for the task",
                source,
            }
        })?;
        Ok(pid)
    }

    fn mount(self: &Arc<Self>, config: MountConfig) -> Result<(), BootError> {
        let target = String::from_utf8_lossy(&config.target).into_owned();
        let failed = |errno| BootError::Mount {
            target: target.clone(),
            errno,
        };
        let flags = config.flags;
        let cx = PathContext::internal(&self.mounts);
        let (mount, directory) = match config.kind {
            MountKind::Tmpfs { size, mode } => (self.tmpfs(size, mode, flags), true),
            MountKind::Bind { source } => bind(source, flags).map_err(failed)?,
            MountKind::Proc => (fs::proc::mount(self, "proc", flags), true),
            MountKind::Sysfs => (fs::sys::mount("sysfs", flags), true),
            MountKind::Devpts => (fs::tty::devpts::mount(self, "devpts", flags), true),
            MountKind::Dev => {
                let storage = Arc::clone(&self.memory) as _;
                let mount = fs::dev::mount(storage, "devtmpfs", flags).map_err(failed)?;
                (mount, true)
            }
        };
        let at = mount_point(&cx, &config.target, directory).map_err(failed)?;
        self.mounts.attach(mount, &at).map_err(failed)
    }

    fn tmpfs(&self, size: u64, mode: u32, flags: MountFlags) -> Arc<Mount> {
        let root = TmpFs::root(Arc::clone(&self.memory) as _, &tmp_options(size, mode));
        Mount::new(Dentry::root(root), "tmpfs", "tmpfs", flags)
    }
}

fn tmp_options(size: u64, mode: u32) -> TmpOptions {
    TmpOptions {
        perm: mode,
        max_bytes: if size == 0 {
            TmpOptions::default().max_bytes
        } else {
            size
        },
        ..TmpOptions::default()
    }
}

fn root_mount(
    root: RootConfig,
    memory: &Arc<MemoryFile>,
) -> Result<Arc<MountNamespace>, BootError> {
    let failed = |errno| BootError::Mount {
        target: "/".into(),
        errno,
    };
    let overlay = root.overlay || root.readonly;
    let host = HostFs::root(root.directory, !overlay).map_err(failed)?;
    let flags = MountFlags::empty();
    if !overlay {
        return Ok(MountNamespace::with_root(host, "host", flags));
    }
    // A root that is to be read-only may lack mount points: those are made in memory over it, and the
    // mount becomes read-only after them. The host's directory stays as it is.
    let upper = TmpFs::root(Arc::clone(memory) as _, &tmp_options(0, 0o755));
    let inode = OverlayFs::root(host, upper);
    Ok(MountNamespace::with_root(inode, "overlay", flags))
}

/// A donated host directory or file as a mount, and whether it is a directory.
fn bind(source: OwnedFd, flags: MountFlags) -> Result<(Arc<Mount>, bool), Errno> {
    let writable = !flags.contains(MountFlags::READ_ONLY);
    let inode: Arc<dyn Inode> = HostFs::root(source, writable)?;
    let directory = inode.kind() == FileType::Directory;
    let mount = Mount::new(Dentry::root(inode), "host", "host", flags);
    Ok((mount, directory))
}

/// The place at `target`; what of it is missing is made.
fn mount_point(cx: &PathContext, target: &[u8], directory: bool) -> Result<VfsPath, Errno> {
    let flags = WalkFlags::FOLLOW;
    match walk::lookup(cx, &cx.root, target, flags) {
        Err(Errno::ENOENT) => {}
        found => return found,
    }
    let mut at = Vec::new();
    let mut names = target
        .split(|byte| *byte == b'/')
        .filter(|name| !name.is_empty())
        .peekable();
    while let Some(name) = names.next() {
        let parent = [&at[..], b"/"].concat();
        at = [&parent[..], name].concat();
        if walk::lookup(cx, &cx.root, &at, flags).is_ok() {
            continue;
        }
        let dir = walk::lookup(cx, &cx.root, &parent, flags)?;
        let kind = if directory || names.peek().is_some() {
            FileType::Directory
        } else {
            FileType::Regular
        };
        modify::create(cx, &dir, name, kind, 0o755, 0, b"")?;
    }
    walk::lookup(cx, &cx.root, target, flags)
}
