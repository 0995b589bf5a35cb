//! The second layer of defence: what the Sentry's process gives up once everything is open.

use std::io;

use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::unistd::{chdir, pivot_root};

/// Leaves the host's file tree: the process's root becomes an empty, read-only tmpfs.
///
/// # Errors
/// The host's; the sandbox must not run then.
pub(super) fn confine() -> io::Result<()> {
    let none = None::<&str>;
    mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none)?;
    let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
    // Any directory will do to mount on: this namespace is ours alone.
    mount(
        Some("none"),
        "/tmp",
        Some("tmpfs"),
        flags,
        Some("size=4k,mode=555"),
    )?;
    chdir("/tmp")?;
    pivot_root(".", ".")?;
    umount2(".", MntFlags::MNT_DETACH)?;
    chdir("/")?;
    mount(
        none,
        "/",
        none,
        flags | MsFlags::MS_REMOUNT | MsFlags::MS_RDONLY,
        none,
    )?;
    Ok(())
}
