//! What the program can still do once everything is open.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::Path;

use netstack::link::sys::confine::{CAP_NET_BIND_SERVICE, drop_capabilities};
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sched::{CloneFlags, unshare};
use nix::sys::prctl::set_no_new_privs;
use nix::unistd::{chdir, getgid, getuid, pivot_root};
use seccompiler::SeccompCmpArgLen::Dword;
use seccompiler::SeccompCmpOp::{Eq, MaskedEq};
use seccompiler::{
    BpfProgram, SeccompAction, SeccompCondition, SeccompFilter, SeccompRule, apply_filter,
};

use crate::Failure;

/// The new root is made over this directory, which every system has.
const ROOT: &str = "/tmp";
/// What is seen of the host, read-only: /etc/resolv.conf and what it may be a link to.
const SEEN: [&str; 2] = ["etc", "run"];

/// Leaves the host's files behind, and all capabilities but that of binding to low ports, which only
/// root has.
pub(crate) fn enter() -> Result<(), Failure> {
    let root = getuid().is_root();
    let failed = |what: &str| {
        let what = what.to_owned();
        move |error: nix::Error| Failure(format!("cannot confine itself: {what}: {error}"))
    };
    let flags = match root {
        true => CloneFlags::CLONE_NEWNS,
        false => CloneFlags::CLONE_NEWNS | CloneFlags::CLONE_NEWUSER,
    };
    let (uid, gid) = (getuid(), getgid());
    unshare(flags).map_err(failed("cannot make namespaces"))?;
    if !root {
        fs::write("/proc/self/setgroups", "deny")?;
        fs::write("/proc/self/uid_map", format!("{uid} {uid} 1"))?;
        fs::write("/proc/self/gid_map", format!("{gid} {gid} 1"))?;
    }
    new_root().map_err(failed("cannot change the root"))?;
    set_no_new_privs().map_err(failed("no_new_privs"))?;
    let keep: &[u32] = match root {
        true => &[CAP_NET_BIND_SERVICE],
        false => &[],
    };
    drop_capabilities(keep)
        .map_err(|error| Failure(format!("cannot confine itself: capabilities: {error}")))
}

fn new_root() -> nix::Result<()> {
    let none: Option<&str> = None;
    let change = |target: &Path, flags: MsFlags| mount(none, target, none, flags, none);
    let root = Path::new(ROOT);
    let tmpfs = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
    change(Path::new("/"), MsFlags::MS_REC | MsFlags::MS_PRIVATE)?;
    mount(Some("tmpfs"), root, Some("tmpfs"), tmpfs, Some("mode=755"))?;
    for name in SEEN {
        let (from, to) = (Path::new("/").join(name), root.join(name));
        make_dir(&to)?;
        mount(
            Some(&from),
            &to,
            none,
            MsFlags::MS_BIND | MsFlags::MS_REC,
            none,
        )?;
        change(
            &to,
            MsFlags::MS_REMOUNT | MsFlags::MS_BIND | MsFlags::MS_RDONLY | tmpfs,
        )?;
    }
    let old = root.join("old");
    make_dir(&old)?;
    pivot_root(root, &old)?;
    chdir("/")?;
    umount2("/old", MntFlags::MNT_DETACH)?;
    fs::remove_dir("/old").map_err(errno)?;
    change(
        Path::new("/"),
        MsFlags::MS_REMOUNT | MsFlags::MS_RDONLY | tmpfs,
    )
}

fn make_dir(path: &Path) -> nix::Result<()> {
    fs::create_dir(path).map_err(errno)
}

fn errno(error: io::Error) -> nix::Error {
    error
        .raw_os_error()
        .map_or(nix::Error::EIO, nix::Error::from_raw)
}

/// Kills the program at any system call that is neither among those that every front end needs nor in
/// `more`.
pub(crate) fn filter_calls(more: &[i64]) -> Result<(), Failure> {
    let failed =
        |error: &dyn std::fmt::Display| Failure(format!("cannot filter its system calls: {error}"));
    let program = program(more).map_err(|error| failed(&error))?;
    apply_filter(&program).map_err(|error| failed(&error))
}

fn program(more: &[i64]) -> Result<BpfProgram, seccompiler::BackendError> {
    let mut rules: BTreeMap<i64, Vec<SeccompRule>> = CALLS
        .iter()
        .chain(more)
        .map(|call| (*call, Vec::new()))
        .collect();
    // Sockets of the internet's families, streams and datagrams; ping sockets are the latter.
    let mut sockets = Vec::new();
    for family in [libc::AF_INET, libc::AF_INET6] {
        for kind in [libc::SOCK_STREAM, libc::SOCK_DGRAM] {
            sockets.push(SeccompRule::new(vec![
                SeccompCondition::new(0, Dword, Eq, family as u64)?,
                SeccompCondition::new(1, Dword, MaskedEq(0xf), kind as u64)?,
            ])?);
        }
    }
    rules.insert(libc::SYS_socket, sockets);
    let nonblocking = SeccompCondition::new(1, Dword, Eq, libc::FIONBIO)?;
    rules.insert(libc::SYS_ioctl, vec![SeccompRule::new(vec![nonblocking])?]);
    SeccompFilter::new(
        rules,
        SeccompAction::KillProcess,
        SeccompAction::Allow,
        std::env::consts::ARCH.try_into()?,
    )?
    .try_into()
}

/// Whatever their arguments.
const CALLS: &[i64] = &[
    // The loop, the interface, sockets.
    libc::SYS_epoll_pwait,
    libc::SYS_epoll_ctl,
    libc::SYS_read,
    libc::SYS_readv,
    libc::SYS_write,
    libc::SYS_writev,
    libc::SYS_recvfrom,
    libc::SYS_sendto,
    libc::SYS_accept4,
    libc::SYS_connect,
    libc::SYS_bind,
    libc::SYS_listen,
    libc::SYS_shutdown,
    libc::SYS_setsockopt,
    libc::SYS_getsockopt,
    libc::SYS_close,
    // Its files: /etc/resolv.conf, and the control socket's end.
    libc::SYS_openat,
    libc::SYS_statx,
    libc::SYS_fstat,
    libc::SYS_newfstatat,
    libc::SYS_lseek,
    libc::SYS_fcntl,
    libc::SYS_unlinkat,
    // Memory, time, the end.
    libc::SYS_mmap,
    libc::SYS_munmap,
    libc::SYS_mremap,
    libc::SYS_mprotect,
    libc::SYS_madvise,
    libc::SYS_brk,
    libc::SYS_futex,
    libc::SYS_clock_gettime,
    libc::SYS_gettimeofday,
    libc::SYS_getrandom,
    libc::SYS_sigaltstack,
    libc::SYS_rt_sigreturn,
    libc::SYS_rt_sigprocmask,
    libc::SYS_rt_sigaction,
    libc::SYS_restart_syscall,
    libc::SYS_getpid,
    libc::SYS_gettid,
    libc::SYS_tgkill,
    libc::SYS_exit,
    libc::SYS_exit_group,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_epoll_wait,
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_filter_can_be_made() {
        assert!(program(&[]).is_ok_and(|program| program.len() > CALLS.len()));
    }
}
