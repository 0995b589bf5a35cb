//! The inodes of procfs.

use std::any::Any;
use std::sync::{Arc, Weak};

use sentry_abi::Errno;

use super::links::{self, TaskLink};
use super::{system, task_files};
use crate::fs::pseudo::{self, GeneratedFile};
use crate::kernel::Kernel;
use crate::task::TaskShared;
use crate::vfs::attr::{Attr, FileType, FsStat, SetAttr};
use crate::vfs::context::PathContext;
use crate::vfs::dentry::VfsPath;
use crate::vfs::file::FileOps;
use crate::vfs::inode::{DirEntry, Inode, OpenRequest, next_anonymous_dev};

/// PROC_SUPER_MAGIC.
const MAGIC: i64 = 0x9fa0;

/// A file that is the same for everybody.
pub(super) struct SystemEntry {
    pub(super) name: &'static str,
    pub(super) node: SystemNode,
}

pub(super) enum SystemNode {
    Dir(&'static [SystemEntry]),
    File(fn(&Kernel, &PathContext) -> String),
    /// Can be written by user 0: reads, and takes what is written.
    Setting(
        fn(&Kernel) -> String,
        fn(&Kernel, &[u8]) -> Result<(), Errno>,
    ),
    Link(&'static str),
}

impl SystemEntry {
    pub(super) const fn file(
        name: &'static str,
        read: fn(&Kernel, &PathContext) -> String,
    ) -> Self {
        let node = SystemNode::File(read);
        Self { name, node }
    }

    pub(super) const fn dir(name: &'static str, entries: &'static [Self]) -> Self {
        let node = SystemNode::Dir(entries);
        Self { name, node }
    }
}

/// Makes the contents of a task's file for who asks.
pub(super) type ReadTask = fn(&Kernel, &Arc<TaskShared>, &PathContext) -> Result<Vec<u8>, Errno>;
/// Takes what is written to a task's file.
pub(super) type WriteTask = fn(&Arc<TaskShared>, &[u8]) -> Result<(), Errno>;

/// A file of a task.
pub(super) struct TaskFile {
    pub(super) name: &'static str,
    pub(super) perm: u32,
    pub(super) read: ReadTask,
    pub(super) write: Option<WriteTask>,
}

/// What a node is.
#[derive(Clone, Copy)]
pub(super) enum What {
    Root,
    System(&'static SystemEntry),
    /// `self` and `thread-self`.
    SelfLink(bool),
    /// A process (or, with `true`, a thread below `task`).
    Task(i32, bool),
    Threads(i32),
    Fds(i32),
    FdInfos(i32),
    File(i32, &'static TaskFile),
    Link(i32, TaskLink),
    Fd(i32, i32),
    FdInfo(i32, i32),
}

pub(super) struct Proc {
    kernel: Weak<Kernel>,
    dev: u64,
}

/// A file or directory of procfs.
pub(super) struct Node {
    fs: Arc<Proc>,
    what: What,
}

pub(super) fn root(kernel: &Arc<Kernel>) -> Arc<dyn Inode> {
    let fs = Arc::new(Proc {
        kernel: Arc::downgrade(kernel),
        dev: next_anonymous_dev(),
    });
    Arc::new(Node {
        fs,
        what: What::Root,
    })
}

/// The process whose directory in procfs `inode` is.
pub(crate) fn process_of(inode: &Arc<dyn Inode>) -> Option<i32> {
    match inode.as_any().downcast_ref::<Node>()?.what {
        What::Task(pid, false) => Some(pid),
        _ => None,
    }
}

fn number(name: &[u8]) -> Option<i32> {
    let text = std::str::from_utf8(name).ok()?;
    let canonical = text.len() == 1 || !text.starts_with('0');
    let digits = text.bytes().all(|byte| byte.is_ascii_digit());
    text.parse().ok().filter(|_| canonical && digits)
}

impl Node {
    fn kernel(&self) -> Result<Arc<Kernel>, Errno> {
        self.fs.kernel.upgrade().ok_or(Errno::ESRCH)
    }

    fn make(&self, what: What) -> Arc<dyn Inode> {
        Arc::new(Self {
            fs: Arc::clone(&self.fs),
            what,
        })
    }

    /// The task that the node is of.
    fn tid(&self) -> Option<i32> {
        match self.what {
            What::Root | What::System(_) | What::SelfLink(_) => None,
            What::Task(tid, _)
            | What::Threads(tid)
            | What::Fds(tid)
            | What::FdInfos(tid)
            | What::File(tid, _)
            | What::Link(tid, _)
            | What::Fd(tid, _)
            | What::FdInfo(tid, _) => Some(tid),
        }
    }

    pub(super) fn task(&self, tid: i32) -> Result<Arc<TaskShared>, Errno> {
        let kernel = self.kernel()?;
        let tree = kernel.tree.lock();
        tree.task(tid).cloned().ok_or(Errno::ESRCH)
    }

    /// An inode number: unlike for each thing, like for the same thing.
    fn ino(&self) -> u64 {
        let address = |entry: *const ()| (entry as u64) & 0xff_ffff;
        let (tid, class, index) = match self.what {
            What::Root => (0, 0, 1),
            What::System(entry) => (0, 1, address(std::ptr::from_ref(entry).cast())),
            What::SelfLink(thread) => (0, 2, u64::from(thread)),
            What::Task(tid, thread) => (tid, 3, u64::from(thread)),
            What::Threads(tid) => (tid, 4, 0),
            What::Fds(tid) => (tid, 5, 0),
            What::FdInfos(tid) => (tid, 6, 0),
            What::File(tid, file) => (tid, 7, address(std::ptr::from_ref(file).cast())),
            What::Link(tid, link) => (tid, 8, link as u64),
            What::Fd(tid, fd) => (tid, 9, fd as u64),
            What::FdInfo(tid, fd) => (tid, 10, fd as u64),
        };
        ((tid as u64) << 32) + (class << 24) + index + 1
    }

    /// All entries of a directory: names and what they are.
    fn children(&self) -> Result<Vec<(String, What)>, Errno> {
        let kernel = self.kernel()?;
        let system = |entries: &'static [SystemEntry]| {
            let named = entries.iter();
            named.map(|entry| (entry.name.to_owned(), What::System(entry)))
        };
        let mut all: Vec<(String, What)> = Vec::new();
        match self.what {
            What::Root => {
                all.extend(system(system::ENTRIES));
                all.push(("self".into(), What::SelfLink(false)));
                all.push(("thread-self".into(), What::SelfLink(true)));
                let tree = kernel.tree.lock();
                let pids = tree.nodes().map(|node| node.process.pid);
                all.extend(pids.map(|pid| (pid.to_string(), What::Task(pid, false))));
            }
            What::System(entry) => match entry.node {
                SystemNode::Dir(entries) => all.extend(system(entries)),
                _ => return Err(Errno::ENOTDIR),
            },
            What::Task(tid, thread) => {
                let files = task_files::FILES.iter();
                all.extend(files.map(|file| (file.name.to_owned(), What::File(tid, file))));
                let links = links::ALL.iter();
                all.extend(links.map(|(name, link)| ((*name).to_owned(), What::Link(tid, *link))));
                all.push(("fd".into(), What::Fds(tid)));
                all.push(("fdinfo".into(), What::FdInfos(tid)));
                // There is one network namespace.
                all.push(("net".into(), What::System(&system::NET)));
                if !thread {
                    all.push(("task".into(), What::Threads(tid)));
                }
            }
            What::Threads(pid) => {
                let tree = kernel.tree.lock();
                let node = tree.node(pid).ok_or(Errno::ENOENT)?;
                let tids = node.threads.iter().map(|thread| thread.tid);
                all.extend(tids.map(|tid| (tid.to_string(), What::Task(tid, true))));
            }
            What::Fds(tid) => {
                let fds = links::descriptors(&*self.task(tid)?);
                all.extend(fds.map(|fd| (fd.to_string(), What::Fd(tid, fd))));
            }
            What::FdInfos(tid) => {
                let fds = links::descriptors(&*self.task(tid)?);
                all.extend(fds.map(|fd| (fd.to_string(), What::FdInfo(tid, fd))));
            }
            _ => return Err(Errno::ENOTDIR),
        }
        Ok(all)
    }

    /// Numbered entries are asked for directly, without listing all.
    fn numbered(&self, number: i32) -> Option<What> {
        let kernel = self.kernel().ok()?;
        match self.what {
            What::Root => {
                let there = kernel.tree.lock().node(number).is_some();
                there.then_some(What::Task(number, false))
            }
            What::Threads(pid) => {
                let tree = kernel.tree.lock();
                let threads = &tree.node(pid)?.threads;
                let there = threads.iter().any(|thread| thread.tid == number);
                there.then_some(What::Task(number, true))
            }
            What::Fds(tid) => links::file(&*self.task(tid).ok()?, number)
                .ok()
                .map(|_| What::Fd(tid, number)),
            What::FdInfos(tid) => links::file(&*self.task(tid).ok()?, number)
                .ok()
                .map(|_| What::FdInfo(tid, number)),
            _ => None,
        }
    }

    fn of(what: What) -> (FileType, u32) {
        match what {
            What::Root | What::Task(..) | What::Threads(_) => (FileType::Directory, 0o555),
            What::Fds(_) | What::FdInfos(_) => (FileType::Directory, 0o500),
            What::SelfLink(_) | What::Link(..) => (FileType::Symlink, 0o777),
            What::Fd(..) => (FileType::Symlink, 0o700),
            What::FdInfo(..) => (FileType::Regular, 0o400),
            What::File(_, file) => (FileType::Regular, file.perm),
            What::System(entry) => match entry.node {
                SystemNode::Dir(_) => (FileType::Directory, 0o555),
                SystemNode::File(_) => (FileType::Regular, 0o444),
                SystemNode::Setting(..) => (FileType::Regular, 0o644),
                SystemNode::Link(_) => (FileType::Symlink, 0o777),
            },
        }
    }
}

impl Inode for Node {
    fn kind(&self) -> FileType {
        Self::of(self.what).0
    }

    fn attr(&self) -> Result<Attr, Errno> {
        let (kind, perm) = Self::of(self.what);
        let task = self.tid().and_then(|tid| self.task(tid).ok());
        let owner = task.map_or((0, 0), |task| {
            let creds = task.creds();
            (creds.euid, creds.egid)
        });
        Ok(pseudo::attr(self.fs.dev, self.ino(), kind, perm, owner))
    }

    fn set_attr(&self, set: &SetAttr) -> Result<(), Errno> {
        // O_TRUNC of a setting is harmless; nothing else can be changed.
        match set.size {
            Some(0) => Ok(()),
            _ => Err(Errno::EPERM),
        }
    }

    fn lookup(&self, name: &[u8]) -> Result<Arc<dyn Inode>, Errno> {
        if let Some(what) = number(name).and_then(|number| self.numbered(number)) {
            return Ok(self.make(what));
        }
        let listable = !matches!(
            self.what,
            What::Threads(_) | What::Fds(_) | What::FdInfos(_)
        );
        if let What::Root = self.what {
            // Not by listing: that would make a line of every process.
            let entry = system::ENTRIES.iter().find(|e| e.name.as_bytes() == name);
            return match (entry, name) {
                (Some(entry), _) => Ok(self.make(What::System(entry))),
                (None, b"self") => Ok(self.make(What::SelfLink(false))),
                (None, b"thread-self") => Ok(self.make(What::SelfLink(true))),
                _ => Err(Errno::ENOENT),
            };
        }
        let found = self.children()?.into_iter();
        let mut found = found.filter(|(known, _)| listable && known.as_bytes() == name);
        found
            .next()
            .map(|(_, what)| self.make(what))
            .ok_or(Errno::ENOENT)
    }

    fn still_valid(&self, name: &[u8], child: &Arc<dyn Inode>) -> bool {
        let Some(child) = child.as_any().downcast_ref::<Self>() else {
            return false;
        };
        match child.what {
            What::Task(..) | What::Fd(..) | What::FdInfo(..) => {
                number(name).is_some_and(|number| self.numbered(number).is_some())
            }
            _ => true,
        }
    }

    fn remembers_absence(&self) -> bool {
        false
    }

    fn entries(&self) -> Result<Vec<DirEntry>, Errno> {
        let entry = |(name, what): (String, What)| {
            let node = Self {
                fs: Arc::clone(&self.fs),
                what,
            };
            DirEntry {
                name: name.into_bytes().into(),
                ino: node.ino(),
                kind: node.kind(),
            }
        };
        Ok(self.children()?.into_iter().map(entry).collect())
    }

    fn readlink(&self, cx: &PathContext) -> Result<Vec<u8>, Errno> {
        match self.what {
            What::SelfLink(_) if cx.pid == 0 => Err(Errno::ENOENT),
            What::SelfLink(false) => Ok(cx.pid.to_string().into_bytes()),
            What::SelfLink(true) => Ok(format!("{}/task/{}", cx.pid, cx.tid).into_bytes()),
            What::Link(tid, link) => links::text(&*self.task(tid)?, link, cx),
            What::Fd(tid, fd) => {
                let file = links::file(&*self.task(tid)?, fd)?;
                Ok(file.path().shown(&cx.root))
            }
            What::System(SystemEntry {
                node: SystemNode::Link(target),
                ..
            }) => Ok(target.as_bytes().to_vec()),
            _ => Err(Errno::EINVAL),
        }
    }

    fn magic_link(&self, cx: &PathContext) -> Option<Result<VfsPath, Errno>> {
        let permitted = |task: &Arc<TaskShared>| links::check_access(task, cx);
        match self.what {
            What::Link(tid, link) => {
                let task = self.task(tid);
                Some(task.and_then(|task| {
                    permitted(&task)?;
                    links::target(&task, link)
                }))
            }
            What::Fd(tid, fd) => {
                let task = self.task(tid);
                Some(task.and_then(|task| {
                    permitted(&task)?;
                    Ok(links::file(&task, fd)?.path().clone())
                }))
            }
            _ => None,
        }
    }

    fn open(self: Arc<Self>, request: &OpenRequest<'_>) -> Result<Arc<dyn FileOps>, Errno> {
        let cx = request.cx.clone();
        match self.what {
            What::System(entry) => self.open_system(entry, cx),
            What::File(tid, file) => {
                let task = self.task(tid)?;
                let kernel = self.fs.kernel.clone();
                if file.perm & 0o044 == 0 {
                    links::check_access(&task, &cx)?;
                }
                let reader = Arc::clone(&task);
                let render = move || {
                    let kernel = kernel.upgrade().ok_or(Errno::ESRCH)?;
                    (file.read)(&kernel, &reader, &cx)
                };
                let accept = file.write.map(|write| {
                    let accept = move |bytes: &[u8]| write(&task, bytes);
                    Box::new(accept) as Box<pseudo::Accept>
                });
                Ok(GeneratedFile::new(Box::new(render), accept))
            }
            What::FdInfo(tid, fd) => {
                let file = links::file(&*self.task(tid)?, fd)?;
                let info = links::fd_info(&file);
                Ok(GeneratedFile::new(Box::new(move || Ok(info.clone())), None))
            }
            _ => Err(Errno::ENXIO),
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

impl Node {
    fn open_system(
        &self,
        entry: &'static SystemEntry,
        cx: PathContext,
    ) -> Result<Arc<dyn FileOps>, Errno> {
        let kernel = self.fs.kernel.clone();
        match entry.node {
            SystemNode::File(read) => {
                let render = move || {
                    let kernel = kernel.upgrade().ok_or(Errno::ESRCH)?;
                    Ok(read(&kernel, &cx).into_bytes())
                };
                Ok(GeneratedFile::new(Box::new(render), None))
            }
            SystemNode::Setting(read, write) => {
                let writer = kernel.clone();
                let render = move || {
                    let kernel = kernel.upgrade().ok_or(Errno::ESRCH)?;
                    Ok(read(&kernel).into_bytes())
                };
                let accept = move |bytes: &[u8]| {
                    let kernel = writer.upgrade().ok_or(Errno::ESRCH)?;
                    write(&kernel, bytes)
                };
                Ok(GeneratedFile::new(Box::new(render), Some(Box::new(accept))))
            }
            _ => Err(Errno::ENXIO),
        }
    }
}
