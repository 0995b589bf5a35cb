//! Host calls that the `nix` crate does not wrap, and what runs between fork and exec.

#![allow(unsafe_code)] // the one module of the crate that makes raw system calls

use std::ffi::CString;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;

use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, setns, unshare};

/// Takes ownership of a descriptor that the kernel has just installed for us (SCM_RIGHTS).
pub(super) fn own_received(raw: RawFd) -> OwnedFd {
    // SAFETY: the caller got this number from the kernel in this very message; nobody else owns it.
    unsafe { OwnedFd::from_raw_fd(raw) }
}

/// Takes ownership of a descriptor whose number the parent put on our command line.
///
/// # Errors
/// EBADF if it is not open.
pub(super) fn own_inherited(raw: RawFd) -> io::Result<OwnedFd> {
    // SAFETY: F_GETFD has no memory effects; it only tells whether the number is open.
    if raw < 3 || unsafe { libc::fcntl(raw, libc::F_GETFD) } < 0 {
        return Err(io::Error::from_raw_os_error(libc::EBADF));
    }
    // SAFETY: the descriptor is open, and this process, which has just begun, owns it by the
    // convention of `runsc boot`.
    let fd = unsafe { OwnedFd::from_raw_fd(raw) };
    nix::fcntl::fcntl(
        &fd,
        nix::fcntl::FcntlArg::F_SETFD(nix::fcntl::FdFlag::FD_CLOEXEC),
    )?;
    Ok(fd)
}

/// Makes `terminal` the controlling terminal of our session, which we lead (TIOCSCTTY).
///
/// # Errors
/// EPERM if it is that of another session.
pub(crate) fn make_controlling(terminal: BorrowedFd<'_>) -> io::Result<()> {
    // SAFETY: the request takes an int (do not steal), and touches no memory of ours.
    if unsafe { libc::ioctl(terminal.as_raw_fd(), libc::TIOCSCTTY, 0) } < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}

/// Gives up our session's controlling terminal (TIOCNOTTY), if it has one.
pub(crate) fn give_up_controlling() {
    if let Ok(terminal) = std::fs::File::open("/dev/tty") {
        // SAFETY: the request takes no argument.
        unsafe { libc::ioctl(terminal.as_raw_fd(), libc::TIOCNOTTY) };
    }
}

/// Checks that a file is a network namespace (NS_GET_NSTYPE).
///
/// # Errors
/// ENOTTY if it is no namespace, EINVAL if it is one of another kind.
pub(crate) fn check_network_namespace(file: BorrowedFd<'_>) -> io::Result<()> {
    // SAFETY: the request takes no argument.
    let kind = unsafe { libc::ioctl(file.as_raw_fd(), libc::NS_GET_NSTYPE) };
    match kind {
        libc::CLONE_NEWNET => Ok(()),
        0.. => Err(io::Error::from_raw_os_error(libc::EINVAL)),
        _ => Err(io::Error::last_os_error()),
    }
}

/// What the child does after fork and before exec.
pub(super) struct ChildSetup {
    /// Namespaces to make.
    pub(super) unshare: CloneFlags,
    /// Namespaces to join (before making others).
    pub(super) join: Vec<OwnedFd>,
    /// A descriptor to leave open over exec.
    pub(super) keep: RawFd,
}

/// Makes `command`'s child enter its namespaces before it execs.
pub(super) fn set_up_child(command: &mut Command, setup: ChildSetup) {
    let enter = move || {
        for namespace in &setup.join {
            setns(namespace, CloneFlags::empty())?;
        }
        unshare(setup.unshare)?;
        // What hooks mount in here is nobody else's.
        let none = None::<&str>;
        mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_SLAVE, none)?;
        // SAFETY: F_SETFD on a descriptor that the parent keeps open until the child has execed.
        if unsafe { libc::fcntl(setup.keep, libc::F_SETFD, 0) } < 0 {
            return Err(io::Error::last_os_error());
        }
        // A session of its own, so that a ^C at runsc's terminal reaches the guest only as input.
        nix::unistd::setsid()?;
        Ok(())
    };
    // SAFETY: the closure makes system calls only: no allocation, no lock, nothing that another
    // thread of the parent could have held at the fork.
    unsafe { command.pre_exec(enter) };
}

/// Makes `command`'s child enter namespaces before it execs.
pub(super) fn enter_on_start(command: &mut Command, namespaces: Vec<OwnedFd>) {
    let enter = move || {
        for namespace in &namespaces {
            setns(namespace, CloneFlags::empty())?;
        }
        Ok(())
    };
    // SAFETY: the closure makes system calls only, as in `set_up_child`.
    unsafe { command.pre_exec(enter) };
}

/// A detached copy of the mount tree at `path` (open_tree(2)); it belongs to no namespace, so `..`
/// ends at its root.
///
/// # Errors
/// The host's: ENOENT, EPERM without CAP_SYS_ADMIN in the mount namespace's owner.
pub(crate) fn clone_tree(path: &Path, recursive: bool) -> io::Result<OwnedFd> {
    let path = CString::new(path.as_os_str().as_bytes())?;
    let mut flags = libc::OPEN_TREE_CLONE | libc::OPEN_TREE_CLOEXEC;
    if recursive {
        flags |= libc::AT_RECURSIVE as libc::c_uint;
    }
    // SAFETY: `path` is a NUL-terminated string that outlives the call.
    let raw = unsafe { libc::syscall(libc::SYS_open_tree, libc::AT_FDCWD, path.as_ptr(), flags) };
    let raw = RawFd::try_from(raw)
        .ok()
        .filter(|&fd| fd >= 0)
        .ok_or_else(io::Error::last_os_error)?;
    // SAFETY: open_tree has just returned this descriptor to us.
    Ok(unsafe { OwnedFd::from_raw_fd(raw) })
}

/// Sets attributes (`MOUNT_ATTR_*`) on a detached tree.
///
/// # Errors
/// The host's: EINVAL, EPERM.
pub(crate) fn set_tree_attributes(
    tree: BorrowedFd<'_>,
    attributes: u64,
    recursive: bool,
) -> io::Result<()> {
    let attr = libc::mount_attr {
        attr_set: attributes,
        attr_clr: 0,
        propagation: libc::MS_PRIVATE,
        userns_fd: 0,
    };
    let flags = libc::AT_EMPTY_PATH | if recursive { libc::AT_RECURSIVE } else { 0 };
    // SAFETY: `attr` is a valid mount_attr of the given size; the empty path is NUL-terminated.
    let result = unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            tree.as_raw_fd(),
            c"".as_ptr(),
            flags,
            &raw const attr,
            size_of::<libc::mount_attr>(),
        )
    };
    if result < 0 {
        Err(io::Error::last_os_error())
    } else {
        Ok(())
    }
}
