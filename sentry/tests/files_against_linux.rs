//! Random sequences of file operations, on our file systems and on a directory of the host: results,
//! errnos and the trees that are left must agree.

use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::{Arc, LazyLock};

use nix::fcntl::{AT_FDCWD, OFlag, RenameFlags};
use nix::sys::stat::Mode;
use proptest::prelude::*;
use sentry::Errno;
use sentry::fs::host::HostFs;
use sentry::fs::overlay::OverlayFs;
use sentry::fs::tmpfs::{Storage, TmpFs, TmpOptions};
use sentry::mm::{BufDst, BufSrc, MemoryFile};
use sentry::vfs::attr::FileType;
use sentry::vfs::inode::Inode;
use sentry::vfs::modify::{self, Place};
use sentry::vfs::ops::{self, OpenHow};
use sentry::vfs::walk::{self, Last, WalkFlags};
use sentry::vfs::{MountFlags, MountNamespace, PathContext, VfsPath, meta};

/// One operation. Paths are relative to the root of the tree.
#[derive(Clone, Debug)]
enum Op {
    Mkdir(String, u32),
    Open(String, i32),
    Write(String, i32, u16, Vec<u8>),
    Read(String, u16, u16),
    Truncate(String, u16),
    Unlink(String),
    Rmdir(String),
    Rename(String, String, u32),
    Link(String, String),
    Symlink(String, String),
    Readlink(String),
    Stat(String, bool),
    Chmod(String, u32),
    List(String),
}

type Outcome = Result<String, Errno>;

fn path() -> impl Strategy<Value = String> {
    let name = prop_oneof!["[abc]", Just("dir".to_owned()), Just("low".to_owned())];
    let tail = prop_oneof![
        6 => Just(String::new()),
        1 => Just("/".to_owned()),
        1 => Just("/.".to_owned()),
        1 => Just("/..".to_owned()),
    ];
    (prop::collection::vec(name, 1..4), tail).prop_map(|(names, tail)| names.join("/") + &tail)
}

/// Where links lead: never up, so that the host's side stays in its directory.
fn target() -> impl Strategy<Value = String> {
    prop_oneof![
        "[abc]",
        "[abc]/[abc]",
        Just("dir".to_owned()),
        Just("low/a".to_owned())
    ]
}

fn op() -> impl Strategy<Value = Op> {
    let flags = prop::sample::select(vec![
        libc::O_RDONLY,
        libc::O_WRONLY | libc::O_CREAT,
        libc::O_WRONLY | libc::O_CREAT | libc::O_EXCL,
        libc::O_RDWR | libc::O_TRUNC,
        libc::O_RDONLY | libc::O_NOFOLLOW,
        libc::O_RDONLY | libc::O_DIRECTORY,
    ]);
    let write_flags = prop::sample::select(vec![
        libc::O_WRONLY,
        libc::O_WRONLY | libc::O_CREAT,
        libc::O_WRONLY | libc::O_APPEND,
    ]);
    let rename = prop::sample::select(vec![0, 0, libc::RENAME_NOREPLACE, libc::RENAME_EXCHANGE]);
    let bytes = prop::collection::vec(any::<u8>(), 0..40);
    prop_oneof![
        3 => (path(), 0o500u32..0o777).prop_map(|(p, m)| Op::Mkdir(p, m)),
        3 => (path(), flags).prop_map(|(p, f)| Op::Open(p, f)),
        4 => (path(), write_flags, 0u16..9000, bytes).prop_map(|(p, f, o, b)| Op::Write(p, f, o, b)),
        3 => (path(), 0u16..9000, 0u16..9000).prop_map(|(p, o, n)| Op::Read(p, o, n)),
        2 => (path(), 0u16..9000).prop_map(|(p, n)| Op::Truncate(p, n)),
        2 => path().prop_map(Op::Unlink),
        2 => path().prop_map(Op::Rmdir),
        4 => (path(), path(), rename).prop_map(|(p, q, f)| Op::Rename(p, q, f)),
        2 => (path(), path()).prop_map(|(p, q)| Op::Link(p, q)),
        2 => (target(), path()).prop_map(|(t, p)| Op::Symlink(t, p)),
        1 => path().prop_map(Op::Readlink),
        2 => (path(), any::<bool>()).prop_map(|(p, f)| Op::Stat(p, f)),
        1 => (path(), 0u32..0o777).prop_map(|(p, m)| Op::Chmod(p, m)),
        2 => path().prop_map(Op::List),
    ]
}

/// The host's side.
struct Host(PathBuf);

impl Host {
    fn at(&self, path: &str) -> String {
        format!("{}/{path}", self.0.display())
    }

    fn open(&self, path: &str, flags: i32) -> Result<OwnedFd, nix::Error> {
        let flags = OFlag::from_bits_retain(flags | libc::O_CLOEXEC);
        nix::fcntl::open(&*self.at(path), flags, Mode::from_bits_retain(0o640))
    }

    fn run(&self, op: &Op) -> Outcome {
        self.try_run(op).map_err(|error| Errno(error as i32))
    }

    fn try_run(&self, op: &Op) -> Result<String, nix::Error> {
        let done = |()| String::new();
        match op {
            Op::Mkdir(p, mode) => {
                nix::unistd::mkdir(&*self.at(p), Mode::from_bits_retain(*mode)).map(done)
            }
            Op::Open(p, flags) => self.open(p, *flags).map(|_| String::new()),
            Op::Write(p, flags, offset, bytes) => {
                let fd = self.open(p, *flags)?;
                nix::sys::uio::pwrite(&fd, bytes, i64::from(*offset)).map(|n| n.to_string())
            }
            Op::Read(p, offset, count) => {
                let fd = self.open(p, libc::O_RDONLY)?;
                let mut buffer = vec![0; usize::from(*count)];
                let n = nix::sys::uio::pread(&fd, &mut buffer, i64::from(*offset))?;
                Ok(format!("{:?}", &buffer[..n]))
            }
            Op::Truncate(p, size) => {
                nix::unistd::truncate(&*self.at(p), i64::from(*size)).map(done)
            }
            Op::Unlink(p) => nix::unistd::unlink(&*self.at(p)).map(done),
            Op::Rmdir(p) => {
                let flag = nix::unistd::UnlinkatFlags::RemoveDir;
                nix::unistd::unlinkat(AT_FDCWD, &*self.at(p), flag).map(done)
            }
            Op::Rename(p, q, flags) => {
                let flags = RenameFlags::from_bits_retain(*flags);
                let (p, q) = (self.at(p), self.at(q));
                nix::fcntl::renameat2(AT_FDCWD, &*p, AT_FDCWD, &*q, flags).map(done)
            }
            Op::Link(p, q) => {
                let flags = nix::unistd::LinkatFlags::empty();
                let (p, q) = (self.at(p), self.at(q));
                nix::unistd::linkat(AT_FDCWD, &*p, AT_FDCWD, &*q, flags).map(done)
            }
            Op::Symlink(t, p) => nix::unistd::symlinkat(&**t, AT_FDCWD, &*self.at(p)).map(done),
            Op::Readlink(p) => {
                nix::fcntl::readlink(&*self.at(p)).map(|t| t.to_string_lossy().into_owned())
            }
            Op::Stat(p, follow) => {
                let stat = if *follow {
                    nix::sys::stat::stat(&*self.at(p))
                } else {
                    nix::sys::stat::lstat(&*self.at(p))
                }?;
                Ok(describe(stat.st_mode, stat.st_size as u64, stat.st_nlink))
            }
            Op::Chmod(p, mode) => {
                let flags = nix::sys::stat::FchmodatFlags::FollowSymlink;
                let mode = Mode::from_bits_retain(*mode);
                nix::sys::stat::fchmodat(AT_FDCWD, &*self.at(p), mode, flags).map(done)
            }
            Op::List(p) => {
                let fd = self.open(p, libc::O_RDONLY | libc::O_DIRECTORY)?;
                let mut dir = nix::dir::Dir::from_fd(fd)?;
                let names = dir.iter().flatten();
                let names = names.map(|e| e.file_name().to_string_lossy().into_owned());
                let mut names: Vec<String> = names.collect();
                names.sort();
                Ok(names.join(" "))
            }
        }
    }
}

/// What stat shows of a file, as far as it must agree: sizes and link counts of directories are a file
/// system's own affair.
fn describe(mode: u32, size: u64, nlink: u64) -> String {
    if mode & libc::S_IFMT == libc::S_IFDIR {
        format!("{mode:o}")
    } else {
        format!("{mode:o} {size} {nlink}")
    }
}

/// Our side.
struct Ours(PathContext);

impl Ours {
    fn new(root: Arc<dyn Inode>) -> Self {
        let ns = MountNamespace::with_root(root, "test", MountFlags::empty());
        Self(PathContext::internal(&ns))
    }

    fn find(&self, path: &str, follow: bool) -> Result<VfsPath, Errno> {
        let mut flags = WalkFlags::empty();
        flags.set(WalkFlags::FOLLOW, follow);
        walk::lookup(&self.0, &self.0.root, path.as_bytes(), flags)
    }

    fn parent(&self, path: &str) -> Result<(VfsPath, Last), Errno> {
        walk::lookup_parent(&self.0, &self.0.root, path.as_bytes())
    }

    fn open(&self, path: &str, flags: i32) -> Result<Arc<sentry::vfs::OpenFile>, Errno> {
        let how = OpenHow {
            flags,
            mode: 0o640,
            resolve: WalkFlags::empty(),
        };
        ops::open(&self.0, &self.0.root, path.as_bytes(), &how)
    }

    /// As the system calls do with the last component of a name to be made.
    fn make(&self, path: &str, kind: FileType, mode: u32, target: &str) -> Outcome {
        let (dir, last) = self.parent(path)?;
        let Last::Name(name, slash) = last else {
            return Err(Errno::EEXIST);
        };
        if slash && kind != FileType::Directory {
            let there = walk::lookup(&self.0, &dir, &name, WalkFlags::empty());
            return Err(if there.is_ok() {
                Errno::EEXIST
            } else {
                Errno::ENOENT
            });
        }
        modify::create(&self.0, &dir, &name, kind, mode, 0, target.as_bytes())?;
        Ok(String::new())
    }

    fn remove(&self, path: &str, directory: bool) -> Outcome {
        let (dir, last) = self.parent(path)?;
        match last {
            Last::Name(name, slash) => {
                if slash && !directory {
                    let found = walk::lookup(&self.0, &dir, &name, WalkFlags::empty())?;
                    let is_dir = found.inode().kind() == FileType::Directory;
                    return Err(if is_dir {
                        Errno::EISDIR
                    } else {
                        Errno::ENOTDIR
                    });
                }
                modify::remove(&self.0, &dir, &name, directory)?;
                Ok(String::new())
            }
            Last::Here if !directory => Err(Errno::EISDIR),
            Last::Here if path.ends_with("/..") => Err(Errno::ENOTEMPTY),
            Last::Here => Err(Errno::EINVAL),
        }
    }

    fn rename(&self, from: &str, to: &str, flags: u32) -> Outcome {
        let (from_dir, from_last) = self.parent(from)?;
        let (to_dir, to_last) = self.parent(to)?;
        let Last::Name(from_name, from_slash) = from_last else {
            return Err(Errno::EBUSY);
        };
        let Last::Name(to_name, to_slash) = to_last else {
            // Linux says so before it looks at the flags, but for this one.
            let exists = flags & libc::RENAME_NOREPLACE != 0;
            return Err(if exists { Errno::EEXIST } else { Errno::EBUSY });
        };
        let from = Place {
            dir: &from_dir,
            name: &from_name,
            slash: from_slash,
        };
        let to = Place {
            dir: &to_dir,
            name: &to_name,
            slash: to_slash,
        };
        modify::rename(&self.0, &from, &to, flags).map(|()| String::new())
    }

    fn run(&self, op: &Op) -> Outcome {
        let cx = &self.0;
        match op {
            Op::Mkdir(p, mode) => self.make(p, FileType::Directory, *mode, ""),
            Op::Open(p, flags) => self.open(p, *flags).map(|_| String::new()),
            Op::Write(p, flags, offset, bytes) => {
                let file = self.open(p, *flags)?;
                let count = file.pwrite(&mut BufSrc::new(bytes), i64::from(*offset))?;
                Ok(count.to_string())
            }
            Op::Read(p, offset, count) => {
                let file = self.open(p, libc::O_RDONLY)?;
                let mut buffer = vec![0; usize::from(*count)];
                let n = file.pread(&mut BufDst::new(&mut buffer), i64::from(*offset))?;
                Ok(format!("{:?}", &buffer[..n]))
            }
            Op::Truncate(p, size) => {
                meta::truncate(cx, &self.find(p, true)?, u64::from(*size))?;
                Ok(String::new())
            }
            Op::Unlink(p) => self.remove(p, false),
            Op::Rmdir(p) => self.remove(p, true),
            Op::Rename(p, q, flags) => self.rename(p, q, *flags),
            Op::Link(p, q) => {
                let target = self.find(p, false)?;
                let (dir, last) = self.parent(q)?;
                let Last::Name(name, slash) = last else {
                    return Err(Errno::EEXIST);
                };
                if slash {
                    let there = walk::lookup(cx, &dir, &name, WalkFlags::empty());
                    return Err(if there.is_ok() {
                        Errno::EEXIST
                    } else {
                        Errno::ENOENT
                    });
                }
                modify::link(cx, &target, &dir, &name)?;
                Ok(String::new())
            }
            Op::Symlink(t, p) => self.make(p, FileType::Symlink, 0o777, t),
            Op::Readlink(p) => {
                let target = self.find(p, false)?.inode().readlink(cx)?;
                Ok(String::from_utf8_lossy(&target).into_owned())
            }
            Op::Stat(p, follow) => {
                let attr = self.find(p, *follow)?.inode().attr()?;
                Ok(describe(attr.mode(), attr.size, u64::from(attr.nlink)))
            }
            Op::Chmod(p, mode) => {
                meta::chmod(cx, &self.find(p, true)?, *mode)?;
                Ok(String::new())
            }
            Op::List(p) => {
                let file = self.open(p, libc::O_RDONLY | libc::O_DIRECTORY)?;
                let mut names = Vec::new();
                file.read_dir(&mut |_, _, _, name| {
                    names.push(String::from_utf8_lossy(name).into_owned());
                    true
                })?;
                names.sort();
                Ok(names.join(" "))
            }
        }
    }
}

/// Everything below `path`: one line per file.
fn tree(run: &dyn Fn(&Op) -> Outcome, path: &str, out: &mut Vec<String>, depth: usize) {
    let names = run(&Op::List(path.to_owned())).unwrap_or_default();
    for name in names
        .split(' ')
        .filter(|name| *name != "." && *name != "..")
    {
        if name.is_empty() || depth > 12 {
            continue;
        }
        let inner = format!("{path}/{name}");
        let stat = run(&Op::Stat(inner.clone(), false));
        let content = run(&Op::Read(inner.clone(), 0, u16::MAX));
        let link = run(&Op::Readlink(inner.clone()));
        out.push(format!("{inner} {stat:?} {content:?} {link:?}"));
        let is_dir = stat.is_ok_and(|stat| stat.starts_with("40"));
        if is_dir {
            tree(run, &inner, out, depth + 1);
        }
    }
}

fn prepare(at: &Path) {
    std::fs::create_dir_all(at.join("low/a/b")).unwrap();
    std::fs::create_dir_all(at.join("dir")).unwrap();
    std::fs::write(at.join("low/c"), b"lower contents").unwrap();
    std::fs::write(at.join("low/a/c"), vec![7; 5000]).unwrap();
    std::fs::write(at.join("dir/a"), b"").unwrap();
    std::os::unix::fs::symlink("low/a", at.join("b")).unwrap();
}

/// A directory for the duration of one case.
struct Temp(PathBuf);

impl Temp {
    fn new(name: &str) -> Self {
        use std::sync::atomic::{AtomicU32, Ordering};
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let pid = std::process::id();
        let at = std::env::temp_dir().join(format!("sentry-files-{pid}-{name}-{number}"));
        std::fs::create_dir_all(&at).unwrap();
        Self(at)
    }
}

impl Drop for Temp {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn directory(at: &Path) -> OwnedFd {
    let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
    nix::fcntl::open(at, flags, Mode::empty()).unwrap()
}

/// One for all cases: each takes a large range of addresses.
static MEMORY: LazyLock<Arc<MemoryFile>> = LazyLock::new(|| MemoryFile::new().unwrap());

fn memory_root() -> Arc<dyn Inode> {
    let options = TmpOptions {
        perm: 0o777,
        first_ino: 1 << 40,
        ..TmpOptions::default()
    };
    TmpFs::root(Arc::clone(&MEMORY) as Arc<dyn Storage>, &options)
}

fn compare(ours: &Ours, host: &Host, ops: &[Op]) -> Result<(), TestCaseError> {
    for (index, op) in ops.iter().enumerate() {
        let (got, want) = (ours.run(op), host.run(op));
        prop_assert_eq!(got, want, "operation {} {:?}", index, op);
    }
    let (mut left, mut right) = (Vec::new(), Vec::new());
    tree(&|op| ours.run(op), ".", &mut left, 0);
    tree(&|op| host.run(op), ".", &mut right, 0);
    prop_assert_eq!(left, right);
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn tmpfs_does_what_linux_does(ops in prop::collection::vec(op(), 1..40)) {
        nix::sys::stat::umask(Mode::empty());
        let temp = Temp::new("tmp");
        compare(&Ours::new(memory_root()), &Host(temp.0.clone()), &ops)?;
    }

    #[test]
    fn overlay_does_what_linux_does(ops in prop::collection::vec(op(), 1..40)) {
        nix::sys::stat::umask(Mode::empty());
        let (lower, temp) = (Temp::new("low"), Temp::new("over"));
        prepare(&lower.0);
        prepare(&temp.0);
        let lower_root = HostFs::root(directory(&lower.0), false).unwrap();
        let root = OverlayFs::root(lower_root, memory_root());
        compare(&Ours::new(root), &Host(temp.0.clone()), &ops)?;
    }

    #[test]
    fn a_writable_host_tree_does_what_linux_does(ops in prop::collection::vec(op(), 1..40)) {
        nix::sys::stat::umask(Mode::empty());
        let (mine, temp) = (Temp::new("mine"), Temp::new("host"));
        prepare(&mine.0);
        prepare(&temp.0);
        let root = HostFs::root(directory(&mine.0), true).unwrap();
        compare(&Ours::new(root), &Host(temp.0.clone()), &ops)?;
    }
}
