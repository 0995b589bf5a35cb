//! What a file is and who owns it: types, attributes and changes to them.

use std::time::{SystemTime, UNIX_EPOCH};

/// The kind of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[allow(missing_docs)] // self-explanatory
pub enum FileType {
    Regular,
    Directory,
    Symlink,
    CharDevice,
    BlockDevice,
    Fifo,
    Socket,
}

impl FileType {
    /// The `S_IFMT` bits.
    pub fn mode_bits(self) -> u32 {
        match self {
            Self::Regular => libc::S_IFREG,
            Self::Directory => libc::S_IFDIR,
            Self::Symlink => libc::S_IFLNK,
            Self::CharDevice => libc::S_IFCHR,
            Self::BlockDevice => libc::S_IFBLK,
            Self::Fifo => libc::S_IFIFO,
            Self::Socket => libc::S_IFSOCK,
        }
    }

    /// The kind that `mode`'s `S_IFMT` bits name.
    pub fn from_mode(mode: u32) -> Option<Self> {
        Some(match mode & libc::S_IFMT {
            libc::S_IFREG => Self::Regular,
            libc::S_IFDIR => Self::Directory,
            libc::S_IFLNK => Self::Symlink,
            libc::S_IFCHR => Self::CharDevice,
            libc::S_IFBLK => Self::BlockDevice,
            libc::S_IFIFO => Self::Fifo,
            libc::S_IFSOCK => Self::Socket,
            _ => return None,
        })
    }

    /// `d_type` of a directory entry.
    pub fn dirent_type(self) -> u8 {
        (self.mode_bits() >> 12) as u8
    }

    /// The kind that a `d_type` names; `None` for DT_UNKNOWN.
    pub fn from_dirent_type(kind: u8) -> Option<Self> {
        Self::from_mode(u32::from(kind) << 12)
    }
}

/// A point in time since the epoch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Time {
    /// Whole seconds.
    pub sec: i64,
    /// Nanoseconds, below 1,000,000,000.
    pub nsec: u32,
}

impl Time {
    /// The present wall-clock time.
    pub fn now() -> Self {
        let since = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default();
        Self {
            sec: since.as_secs() as i64,
            nsec: since.subsec_nanos(),
        }
    }
}

/// Attributes of a file (stat(2)).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Attr {
    /// Device that the file lives on.
    pub dev: u64,
    /// Inode number.
    pub ino: u64,
    /// Kind.
    pub kind: FileType,
    /// Permission bits with set-id and sticky (12 bits).
    pub perm: u32,
    /// Hard links.
    pub nlink: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Device number of a device file.
    pub rdev: u64,
    /// Bytes.
    pub size: u64,
    /// Preferred size of I/O.
    pub blksize: u32,
    /// Units of 512 bytes in use.
    pub blocks: u64,
    /// Last access.
    pub atime: Time,
    /// Last change of the contents.
    pub mtime: Time,
    /// Last change of the attributes.
    pub ctime: Time,
}

impl Attr {
    /// Kind and permissions as `st_mode`.
    pub fn mode(&self) -> u32 {
        self.kind.mode_bits() | self.perm
    }

    /// What permission checks look at.
    pub fn owner(&self) -> Owner {
        Owner {
            perm: self.perm,
            uid: self.uid,
            gid: self.gid,
        }
    }
}

/// What permission checks look at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Owner {
    /// Permission bits (12 bits).
    pub perm: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
}

/// Changes to attributes; `None` leaves one as it is. Whether the caller may was checked before.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SetAttr {
    /// Permission bits (12 bits).
    pub perm: Option<u32>,
    /// Owner.
    pub uid: Option<u32>,
    /// Group.
    pub gid: Option<u32>,
    /// Access time.
    pub atime: Option<Time>,
    /// Modification time.
    pub mtime: Option<Time>,
    /// New size of a regular file.
    pub size: Option<u64>,
}

/// What statfs(2) tells of a file system.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FsStat {
    /// The file system's magic number.
    pub magic: i64,
    /// Bytes in a block.
    pub block_size: u64,
    /// Blocks in all.
    pub blocks: u64,
    /// Free blocks.
    pub free: u64,
    /// Inodes in all.
    pub files: u64,
    /// Free inodes.
    pub files_free: u64,
}

/// Device number of `major` and `minor`, as Linux encodes it for user space.
pub fn make_dev(major: u32, minor: u32) -> u64 {
    libc::makedev(major, minor)
}

/// Major and minor of a device number.
pub fn split_dev(dev: u64) -> (u32, u32) {
    (libc::major(dev), libc::minor(dev))
}
