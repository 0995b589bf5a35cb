//! A sysfs with what programs look for: processors, and empty classes.

use std::any::Any;
use std::collections::BTreeMap;
use std::sync::Arc;

use sentry_abi::Errno;

use crate::fs::pseudo::{self, GeneratedFile};
use crate::vfs::attr::{Attr, FileType, FsStat};
use crate::vfs::dentry::Dentry;
use crate::vfs::file::FileOps;
use crate::vfs::inode::{DirEntry, Inode, OpenRequest, next_anonymous_dev};
use crate::vfs::mount::{Mount, MountFlags};

/// SYSFS_MAGIC.
const MAGIC: i64 = 0x6265_6572;

enum Body {
    Dir(BTreeMap<String, Arc<Node>>),
    File(String),
}

struct Node {
    dev: u64,
    ino: u64,
    body: Body,
}

/// Makes nodes with numbers of their own.
struct Builder {
    dev: u64,
    next: u64,
}

impl Builder {
    fn node(&mut self, body: Body) -> Arc<Node> {
        self.next += 1;
        Arc::new(Node {
            dev: self.dev,
            ino: self.next,
            body,
        })
    }

    fn dir<const N: usize>(&mut self, entries: [(&str, Arc<Node>); N]) -> Arc<Node> {
        let entries = entries.into_iter();
        let map = entries
            .map(|(name, node)| (name.to_owned(), node))
            .collect();
        self.node(Body::Dir(map))
    }

    fn file(&mut self, text: &str) -> Arc<Node> {
        self.node(Body::File(format!("{text}\n")))
    }

    fn cpus(&mut self) -> Arc<Node> {
        let count = crate::platform::cpus();
        let range = match count {
            1 => "0".to_owned(),
            count => format!("0-{}", count - 1),
        };
        let mut entries = BTreeMap::new();
        for name in ["online", "possible", "present"] {
            entries.insert(name.to_owned(), self.file(&range));
        }
        entries.insert("kernel_max".to_owned(), self.file("8191"));
        for cpu in 0..count {
            let empty = self.dir([]);
            entries.insert(format!("cpu{cpu}"), empty);
        }
        self.node(Body::Dir(entries))
    }

    fn root(&mut self) -> Arc<Node> {
        let cpu = self.cpus();
        let system = self.dir([("cpu", cpu)]);
        let devices = self.dir([("system", system)]);
        let net = self.dir([]);
        let class = self.dir([("net", net)]);
        let cgroup = self.dir([]);
        let fs = self.dir([("cgroup", cgroup)]);
        let enabled = self.file("always [madvise] never");
        let huge = self.dir([("enabled", enabled)]);
        let mm = self.dir([("transparent_hugepage", huge)]);
        let kernel = self.dir([("mm", mm)]);
        let (block, bus, dev) = (self.dir([]), self.dir([]), self.dir([]));
        let (firmware, module, power) = (self.dir([]), self.dir([]), self.dir([]));
        self.dir([
            ("block", block),
            ("bus", bus),
            ("class", class),
            ("dev", dev),
            ("devices", devices),
            ("firmware", firmware),
            ("fs", fs),
            ("kernel", kernel),
            ("module", module),
            ("power", power),
        ])
    }
}

/// A new sysfs, not attached yet.
pub fn mount(source: &str, flags: MountFlags) -> Arc<Mount> {
    let mut builder = Builder {
        dev: next_anonymous_dev(),
        next: 0,
    };
    Mount::new(Dentry::root(builder.root()), "sysfs", source, flags)
}

impl Inode for Node {
    fn kind(&self) -> FileType {
        match self.body {
            Body::Dir(_) => FileType::Directory,
            Body::File(_) => FileType::Regular,
        }
    }

    fn attr(&self) -> Result<Attr, Errno> {
        let perm = match self.body {
            Body::Dir(_) => 0o555,
            Body::File(_) => 0o444,
        };
        let mut attr = pseudo::attr(self.dev, self.ino, self.kind(), perm, (0, 0));
        if attr.kind == FileType::Regular {
            attr.size = 4096;
        }
        Ok(attr)
    }

    fn lookup(&self, name: &[u8]) -> Result<Arc<dyn Inode>, Errno> {
        let Body::Dir(entries) = &self.body else {
            return Err(Errno::ENOTDIR);
        };
        let name = std::str::from_utf8(name).map_err(|_| Errno::ENOENT)?;
        let node = entries.get(name).ok_or(Errno::ENOENT)?;
        Ok(Arc::clone(node) as Arc<dyn Inode>)
    }

    fn entries(&self) -> Result<Vec<DirEntry>, Errno> {
        let Body::Dir(entries) = &self.body else {
            return Err(Errno::ENOTDIR);
        };
        let entry = |(name, node): (&String, &Arc<Self>)| DirEntry {
            name: name.as_bytes().into(),
            ino: node.ino,
            kind: node.kind(),
        };
        Ok(entries.iter().map(entry).collect())
    }

    fn open(self: Arc<Self>, _: &OpenRequest<'_>) -> Result<Arc<dyn FileOps>, Errno> {
        let Body::File(text) = &self.body else {
            return Err(Errno::EISDIR);
        };
        let bytes = text.clone().into_bytes();
        let file = GeneratedFile::new(Box::new(move || Ok(bytes.clone())), None);
        Ok(file)
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
