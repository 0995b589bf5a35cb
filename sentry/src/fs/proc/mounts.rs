//! /proc/PID/mounts and mountinfo.

use std::fmt::Write;

use sentry_abi::Errno;

use crate::task::TaskShared;
use crate::vfs::attr::split_dev;
use crate::vfs::dentry::VfsPath;
use crate::vfs::mount::Mount;

/// Spaces and the like as the octal escapes that readers of these files expect.
fn escape(path: &[u8]) -> String {
    let mut text = String::new();
    for &byte in path {
        match byte {
            b' ' | b'\t' | b'\n' | b'\\' | b'#' => {
                let _ = write!(text, "\\{byte:03o}");
            }
            _ => text.push(char::from(byte)),
        }
    }
    text
}

/// The mounts below the task's root, with the path where each is seen.
fn visible(task: &TaskShared) -> Result<Vec<(std::sync::Arc<Mount>, String, VfsPath)>, Errno> {
    let fs = task.view().fs.ok_or(Errno::EINVAL)?;
    let root = fs.root();
    let seen = fs.namespace().all().into_iter();
    Ok(seen
        .filter_map(|mount| {
            let path = mount.root_path();
            let shown = path.path_below(&root)?;
            Some((mount, escape(&shown), path))
        })
        .collect())
}

pub(super) fn mounts(task: &TaskShared) -> Result<Vec<u8>, Errno> {
    let mut text = String::new();
    for (mount, at, _) in visible(task)? {
        let source = escape(mount.source.as_bytes());
        let flags = mount.flags().shown();
        let _ = writeln!(text, "{source} {at} {} {flags},relatime 0 0", mount.fs_type);
    }
    Ok(text.into_bytes())
}

pub(super) fn mountinfo(task: &TaskShared) -> Result<Vec<u8>, Errno> {
    let mut text = String::new();
    for (mount, at, path) in visible(task)? {
        let parent = mount.mount_point().map_or(1, |point| point.mount.id);
        let dev = path.inode().attr().map_or(0, |attr| attr.dev);
        let (major, minor) = split_dev(dev);
        // The root of the mount within its own file system: below `/` for a bind mount.
        let inner = escape(&own_path(&path));
        let source = escape(mount.source.as_bytes());
        let flags = mount.flags();
        let super_flags = if flags.contains(crate::vfs::MountFlags::READ_ONLY) {
            "ro"
        } else {
            "rw"
        };
        let _ = writeln!(
            text,
            "{} {parent} {major}:{minor} {inner} {at} {},relatime - {} {source} {super_flags}",
            mount.id,
            flags.shown(),
            mount.fs_type
        );
    }
    Ok(text.into_bytes())
}

/// The path of a dentry within its file system.
fn own_path(path: &VfsPath) -> Vec<u8> {
    let mut names = Vec::new();
    let mut at = path.dentry.clone();
    while let Some(parent) = at.parent() {
        names.push(at.name());
        at = parent;
    }
    if names.is_empty() {
        return b"/".to_vec();
    }
    names.iter().rev().fold(Vec::new(), |mut whole, name| {
        whole.push(b'/');
        whole.extend_from_slice(name);
        whole
    })
}
