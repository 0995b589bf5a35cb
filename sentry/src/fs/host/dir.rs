//! Reading host directories.

use nix::dir::{Dir, Type};
use nix::fcntl::OFlag;
use sentry_abi::Errno;

use super::inode::{HostInode, errno};
use crate::vfs::attr::FileType;
use crate::vfs::inode::DirEntry;

/// Names of one directory that are shown at most: a bound for what one guest call can make us hold.
const MAX_ENTRIES: usize = 1 << 20;

pub(super) fn entries(inode: &HostInode) -> Result<Vec<DirEntry>, Errno> {
    let fd = inode.open_at(OFlag::O_RDONLY | OFlag::O_DIRECTORY)?;
    let mut dir = Dir::from_fd(fd).map_err(errno)?;
    let mut entries = Vec::new();
    for entry in dir.iter().take(MAX_ENTRIES) {
        let entry = entry.map_err(errno)?;
        let name = entry.file_name().to_bytes();
        if name == b"." || name == b".." {
            continue;
        }
        let kind = match entry.file_type() {
            Some(Type::File) => FileType::Regular,
            Some(Type::Directory) => FileType::Directory,
            Some(Type::Symlink) => FileType::Symlink,
            Some(Type::CharacterDevice) => FileType::CharDevice,
            Some(Type::BlockDevice) => FileType::BlockDevice,
            Some(Type::Fifo) => FileType::Fifo,
            Some(Type::Socket) => FileType::Socket,
            // Some file systems don't tell in the listing.
            None => match inode.child(name) {
                Ok(child) => child.kind(),
                Err(_) => continue,
            },
        };
        entries.push(DirEntry {
            name: name.into(),
            ino: inode.fs.number(inode.device(), entry.ino()),
            kind,
        });
    }
    Ok(entries)
}
