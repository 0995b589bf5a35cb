//! Sandboxes of ordinary users: a user namespace in which the caller is root, and nobody else is there.

use std::fs;
use std::io;

use nix::sched::{CloneFlags, unshare};
use nix::unistd::{getegid, geteuid};
use thiserror::Error;

/// Why an ordinary user cannot have a sandbox.
#[derive(Debug, Error)]
pub(crate) enum RootlessError {
    #[error(
        "not root, and this machine does not let an ordinary user make a user namespace; run as root, or allow them (sysctl user.max_user_namespaces, kernel.unprivileged_userns_clone, kernel.apparmor_restrict_unprivileged_userns)"
    )]
    Namespace(#[source] io::Error),
    #[error("cannot write /proc/self/{0} for the sandbox's user namespace")]
    Map(&'static str, #[source] io::Error),
    #[error("hooks need root: an ordinary user's run in the sandbox's PID namespace")]
    Hooks,
}

/// Makes a caller who is not root the root of a user namespace (and of a mount namespace that it owns),
/// with no user mapped but himself. True if he was not root.
///
/// # Errors
/// [`RootlessError`]; nothing has changed then.
pub(crate) fn enter() -> Result<bool, RootlessError> {
    let (uid, gid) = (geteuid(), getegid());
    if uid.is_root() {
        return Ok(false);
    }
    unshare(CloneFlags::CLONE_NEWUSER | CloneFlags::CLONE_NEWNS)
        .map_err(|errno| RootlessError::Namespace(errno.into()))?;
    // user_namespaces(7): without privilege outside, groups have to be given up before they are mapped.
    write("setgroups", "deny")?;
    write("uid_map", &format!("0 {uid} 1"))?;
    write("gid_map", &format!("0 {gid} 1"))?;
    Ok(true)
}

fn write(file: &'static str, text: &str) -> Result<(), RootlessError> {
    fs::write(format!("/proc/self/{file}"), text).map_err(|error| RootlessError::Map(file, error))
}
