//! mount, umount2, pivot_root.

use std::sync::Arc;

use sentry_abi::Errno;

use crate::fs::tmpfs::{Storage, TmpFs, TmpOptions};
use crate::syscalls::at::{done, lookup, read_path};
use crate::syscalls::table::Row;
use crate::syscalls::{Args, SysResult};
use crate::task::Task;
use crate::vfs::dentry::Dentry;
use crate::vfs::mount::{Mount, MountFlags};
use crate::vfs::ops::may_mount;
use crate::vfs::walk::WalkFlags;
use crate::vfs::{PathContext, VfsPath};

pub(crate) const ROWS: &[Row] = &[
    Row::partial(
        libc::SYS_mount,
        "mount",
        sys_mount,
        "tmpfs, proc, sysfs, bind and remount; propagation is ignored",
    ),
    Row::partial(libc::SYS_umount2, "umount2", sys_umount2, "no MNT_EXPIRE"),
];

/// A string argument that may be null.
fn optional(task: &Task, addr: u64) -> Result<Vec<u8>, Errno> {
    if addr == 0 {
        return Ok(Vec::new());
    }
    read_path(task, addr)
}

pub(crate) fn sys_mount(task: &mut Task, args: &Args) -> SysResult {
    let flags = args.ptr(3);
    // Linux copies the strings in before it looks at anything.
    let kind = optional(task, args.ptr(2))?;
    let source = optional(task, args.ptr(0))?;
    let options = optional(task, args.ptr(4))?;
    let cx = task.path_context();
    let at = lookup(task, &cx, libc::AT_FDCWD, args.ptr(1), WalkFlags::FOLLOW)?;
    may_mount(&cx)?;
    let own = MountFlags::from_ms(flags);
    if flags & libc::MS_REMOUNT != 0 {
        if !at.is_mount_root() {
            return Err(Errno::EINVAL);
        }
        at.mount.set_flags(own);
        return done();
    }
    if flags & libc::MS_BIND != 0 {
        return bind(task, &cx, args.ptr(0), &at);
    }
    let propagation = libc::MS_PRIVATE | libc::MS_SLAVE | libc::MS_SHARED | libc::MS_UNBINDABLE;
    if flags & propagation != 0 {
        return if at.is_mount_root() {
            done()
        } else {
            Err(Errno::EINVAL)
        };
    }
    if flags & libc::MS_MOVE != 0 {
        return Err(Errno::EINVAL);
    }
    let source = String::from_utf8_lossy(&source).into_owned();
    let mount = match &kind[..] {
        b"tmpfs" | b"ramfs" => tmpfs(task, &source, &options, own),
        b"proc" => crate::fs::proc::mount(&task.kernel, &source, own),
        b"devpts" => crate::fs::tty::devpts::mount(&task.kernel, &source, own),
        b"devtmpfs" => {
            let storage = Arc::clone(task.kernel.memory()) as Arc<dyn Storage>;
            crate::fs::dev::mount(storage, &source, own)?
        }
        b"sysfs" => crate::fs::sys::mount(&source, own),
        _ => return Err(Errno::ENODEV),
    };
    cx.ns.attach(mount, &at)?;
    done()
}

fn bind(task: &Task, cx: &PathContext, source: u64, at: &VfsPath) -> SysResult {
    let from = lookup(task, cx, libc::AT_FDCWD, source, WalkFlags::FOLLOW)?;
    // A bind mount has the flags of what it shows until it is remounted.
    let mount = Mount::new(
        Arc::clone(&from.dentry),
        from.mount.fs_type,
        &from.mount.source,
        from.mount.flags(),
    );
    cx.ns.attach(mount, at)?;
    done()
}

/// A number with an optional suffix k, m or g.
fn size(text: &str) -> Option<u64> {
    let digits = text.trim_end_matches(['k', 'K', 'm', 'M', 'g', 'G']);
    let shift = match text.as_bytes().last()? {
        b'k' | b'K' => 10,
        b'm' | b'M' => 20,
        b'g' | b'G' => 30,
        _ => 0,
    };
    digits.parse::<u64>().ok()?.checked_shl(shift)
}

fn tmpfs(task: &Task, source: &str, options: &[u8], flags: MountFlags) -> Arc<Mount> {
    let mut chosen = TmpOptions::default();
    for option in String::from_utf8_lossy(options).split(',') {
        match option.split_once('=') {
            Some(("size", value)) => chosen.max_bytes = size(value).unwrap_or(chosen.max_bytes),
            Some(("mode", value)) => {
                chosen.perm = u32::from_str_radix(value, 8).unwrap_or(chosen.perm) & 0o7777;
            }
            Some(("uid", value)) => chosen.uid = value.parse().unwrap_or(chosen.uid),
            Some(("gid", value)) => chosen.gid = value.parse().unwrap_or(chosen.gid),
            Some(("nr_inodes", value)) => {
                chosen.max_inodes = size(value).unwrap_or(chosen.max_inodes);
            }
            _ => {}
        }
    }
    let storage = Arc::clone(task.kernel.memory()) as Arc<dyn Storage>;
    let root = TmpFs::root(storage, &chosen);
    Mount::new(Dentry::root(root), "tmpfs", source, flags)
}

pub(crate) fn sys_umount2(task: &mut Task, args: &Args) -> SysResult {
    let flags = args.int(1);
    if flags & !(libc::MNT_FORCE | libc::MNT_DETACH | libc::UMOUNT_NOFOLLOW) != 0 {
        return Err(Errno::EINVAL);
    }
    let mut walk = WalkFlags::empty();
    walk.set(WalkFlags::FOLLOW, flags & libc::UMOUNT_NOFOLLOW == 0);
    let cx = task.path_context();
    let path = lookup(task, &cx, libc::AT_FDCWD, args.ptr(0), walk)?;
    may_mount(&cx)?;
    if path.same(&cx.root) {
        return Err(Errno::EINVAL);
    }
    cx.ns.detach(&path, flags & libc::MNT_DETACH != 0)?;
    done()
}
