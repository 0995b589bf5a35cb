//! Path walk: component by component, symbolic links resolved by us, `..` never above the root.

use bitflags::bitflags;
use sentry_abi::Errno;

use crate::vfs::attr::FileType;
use crate::vfs::context::PathContext;
use crate::vfs::creds::MAY_EXEC;
use crate::vfs::dentry::VfsPath;
use crate::vfs::mount::MountFlags;

/// Symbolic links followed in one walk.
const MAX_LINKS: u32 = 40;
/// Bytes of one name.
pub const NAME_MAX: usize = 255;
/// Bytes of a path, with its NUL.
pub const PATH_MAX: usize = 4096;

bitflags! {
    /// How a path is walked.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
    pub struct WalkFlags: u32 {
        /// A symbolic link in the last place is followed.
        const FOLLOW = 1;
        /// The result must be a directory.
        const DIRECTORY = 2;
        /// An empty path means the start (AT_EMPTY_PATH).
        const EMPTY = 4;
        /// RESOLVE_NO_XDEV.
        const NO_XDEV = 8;
        /// RESOLVE_NO_MAGICLINKS.
        const NO_MAGIC = 16;
        /// RESOLVE_NO_SYMLINKS.
        const NO_SYMLINKS = 32;
        /// RESOLVE_BENEATH.
        const BENEATH = 64;
        /// RESOLVE_IN_ROOT.
        const IN_ROOT = 128;
    }
}

/// The last component of a path whose directory has been found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Last {
    /// A name; whether a slash follows it.
    Name(Vec<u8>, bool),
    /// `.`, `..` or `/`: the walk is already there.
    Here,
}

/// A walk in progress.
pub struct Walk<'a> {
    cx: &'a PathContext,
    flags: WalkFlags,
    root: VfsPath,
    at: VfsPath,
    rest: Vec<u8>,
    next: usize,
    links: u32,
}

impl<'a> Walk<'a> {
    /// Starts at `start` (for a relative path) or the root.
    ///
    /// # Errors
    /// ENOENT for an empty path, ENAMETOOLONG, EXDEV (absolute and RESOLVE_BENEATH).
    pub fn new(
        cx: &'a PathContext,
        start: &VfsPath,
        path: &[u8],
        flags: WalkFlags,
    ) -> Result<Self, Errno> {
        if path.is_empty() && !flags.contains(WalkFlags::EMPTY) {
            return Err(Errno::ENOENT);
        }
        if path.len() >= PATH_MAX {
            return Err(Errno::ENAMETOOLONG);
        }
        let confined = flags.intersects(WalkFlags::BENEATH | WalkFlags::IN_ROOT);
        let root = if confined { start } else { &cx.root };
        let absolute = path.first() == Some(&b'/');
        if absolute && flags.contains(WalkFlags::BENEATH) {
            return Err(Errno::EXDEV);
        }
        Ok(Self {
            cx,
            flags,
            root: root.clone(),
            at: if absolute { root } else { start }.clone(),
            rest: path.to_vec(),
            next: 0,
            links: 0,
        })
    }

    /// Where the walk stands.
    pub fn at(&self) -> &VfsPath {
        &self.at
    }

    /// Walks to the directory of the last component.
    ///
    /// # Errors
    /// ENOENT, ENOTDIR, EACCES, ELOOP, ENAMETOOLONG, EXDEV.
    pub fn to_last(&mut self) -> Result<Last, Errno> {
        loop {
            while self.rest.get(self.next) == Some(&b'/') {
                self.next += 1;
            }
            if self.next >= self.rest.len() {
                return Ok(Last::Here);
            }
            let len = self.rest[self.next..]
                .iter()
                .position(|&byte| byte == b'/')
                .unwrap_or(self.rest.len() - self.next);
            let range = self.next..self.next + len;
            let last = self.rest[range.end..].iter().all(|&byte| byte == b'/');
            let slash = range.end < self.rest.len();
            self.searchable()?;
            self.next = range.end;
            match &self.rest[range.clone()] {
                b"." => {}
                b".." => self.up()?,
                name if name.len() > NAME_MAX => return Err(Errno::ENAMETOOLONG),
                name if last => return Ok(Last::Name(name.to_vec(), slash)),
                _ => {
                    let child = self.child(range)?.ok_or(Errno::ENOENT)?;
                    self.step(child, true)?;
                }
            }
        }
    }

    /// Whether the present directory may be searched.
    fn searchable(&self) -> Result<(), Errno> {
        let inode = self.at.inode();
        if inode.kind() != FileType::Directory {
            return Err(Errno::ENOTDIR);
        }
        let owner = inode.owner()?;
        self.cx.creds.check(&owner, FileType::Directory, MAY_EXEC)
    }

    fn up(&mut self) -> Result<(), Errno> {
        if self.flags.contains(WalkFlags::BENEATH) && self.at.same(&self.root) {
            return Err(Errno::EXDEV);
        }
        let above = self.at.up(&self.root);
        self.check_mount(&above)?;
        self.at = above;
        self.cx.ns.enter(&mut self.at);
        Ok(())
    }

    fn check_mount(&self, to: &VfsPath) -> Result<(), Errno> {
        let crosses = to.mount.id != self.at.mount.id;
        if crosses && self.flags.contains(WalkFlags::NO_XDEV) {
            return Err(Errno::EXDEV);
        }
        Ok(())
    }

    fn child(&self, name: std::ops::Range<usize>) -> Result<Option<VfsPath>, Errno> {
        self.find(&self.rest[name])
    }

    /// The entry `name` of the present directory, mounts considered, links not followed.
    ///
    /// # Errors
    /// As the file system's lookup; EXDEV.
    pub fn find(&self, name: &[u8]) -> Result<Option<VfsPath>, Errno> {
        let Some(dentry) = self.at.dentry.child(name)? else {
            return Ok(None);
        };
        let mut path = VfsPath {
            mount: self.at.mount.clone(),
            dentry,
        };
        self.cx.ns.enter(&mut path);
        self.check_mount(&path)?;
        Ok(Some(path))
    }

    /// Goes on at `child`; if it is a symbolic link and `follow`, its target comes before what is left.
    /// True if a link was followed.
    ///
    /// # Errors
    /// ELOOP, ENOENT (empty target), EXDEV, EACCES.
    pub fn step(&mut self, child: VfsPath, follow: bool) -> Result<bool, Errno> {
        if child.inode().kind() != FileType::Symlink || !follow {
            self.at = child;
            return Ok(false);
        }
        self.links += 1;
        if self.links > MAX_LINKS || self.flags.contains(WalkFlags::NO_SYMLINKS) {
            return Err(Errno::ELOOP);
        }
        if let Some(target) = child.inode().magic_link(self.cx) {
            if self.flags.contains(WalkFlags::NO_MAGIC) {
                return Err(Errno::ELOOP);
            }
            let confined = WalkFlags::BENEATH | WalkFlags::IN_ROOT;
            if self.flags.intersects(confined) {
                return Err(Errno::EXDEV);
            }
            let target = target?;
            self.check_mount(&target)?;
            self.at = target;
            return Ok(true);
        }
        self.prepend(&child.inode().readlink(self.cx)?)?;
        Ok(true)
    }

    fn prepend(&mut self, target: &[u8]) -> Result<(), Errno> {
        if target.is_empty() {
            return Err(Errno::ENOENT);
        }
        if target[0] == b'/' {
            if self.flags.contains(WalkFlags::BENEATH) {
                return Err(Errno::EXDEV);
            }
            let root = self.root.clone();
            self.check_mount(&root)?;
            self.at = root;
        }
        let mut rest = Vec::with_capacity(target.len() + self.rest.len() - self.next);
        rest.extend_from_slice(target);
        rest.extend_from_slice(&self.rest[self.next..]);
        self.rest = rest;
        self.next = 0;
        Ok(())
    }

    /// Walks to the end.
    ///
    /// # Errors
    /// As [`Walk::to_last`].
    pub fn finish(mut self) -> Result<VfsPath, Errno> {
        let mut directory = self.flags.contains(WalkFlags::DIRECTORY);
        loop {
            match self.to_last()? {
                Last::Here => break,
                Last::Name(name, slash) => {
                    directory |= slash;
                    let child = self.find(&name)?.ok_or(Errno::ENOENT)?;
                    let follow = slash || self.flags.contains(WalkFlags::FOLLOW);
                    if !self.step(child, follow)? {
                        break;
                    }
                    // A magic link leaves only slashes, an ordinary one leaves its target to walk.
                    if self.rest[self.next..].iter().all(|&byte| byte == b'/') {
                        break;
                    }
                }
            }
        }
        if directory && self.at.inode().kind() != FileType::Directory {
            return Err(Errno::ENOTDIR);
        }
        Ok(self.at)
    }
}

/// The file that `path` names, from `start`.
///
/// # Errors
/// As [`Walk::to_last`].
pub fn lookup(
    cx: &PathContext,
    start: &VfsPath,
    path: &[u8],
    flags: WalkFlags,
) -> Result<VfsPath, Errno> {
    Walk::new(cx, start, path, flags)?.finish()
}

/// The directory that `path`'s last component is (or would be) in, and that component; links in the
/// last place are not followed.
///
/// # Errors
/// As [`Walk::to_last`].
pub fn lookup_parent(
    cx: &PathContext,
    start: &VfsPath,
    path: &[u8],
) -> Result<(VfsPath, Last), Errno> {
    let mut walk = Walk::new(cx, start, path, WalkFlags::empty())?;
    let last = walk.to_last()?;
    Ok((walk.at, last))
}

/// EACCES if `path` is on a mount without device files and is one.
pub(super) fn check_device(path: &VfsPath) -> Result<(), Errno> {
    let device = matches!(
        path.inode().kind(),
        FileType::CharDevice | FileType::BlockDevice
    );
    if device && path.mount.flags().contains(MountFlags::NO_DEV) {
        return Err(Errno::EACCES);
    }
    Ok(())
}
