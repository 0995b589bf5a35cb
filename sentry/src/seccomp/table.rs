//! Which system calls the Sentry may make.

use std::collections::BTreeMap;

use libc::*;
use seccompiler::{
    BackendError,
    SeccompCmpArgLen::{Dword, Qword},
    SeccompCmpOp::{Eq, MaskedEq},
    SeccompCondition, SeccompRule,
};
use sentry_abi::SYS_FCHMODAT2;

use super::Confinement;

type Rules = BTreeMap<i64, Vec<SeccompRule>>;

/// Calls with any arguments.
const ANY: &[i64] = &[
    // descriptors that are open
    SYS_read,
    SYS_write,
    SYS_readv,
    SYS_writev,
    SYS_pread64,
    SYS_pwrite64,
    SYS_preadv,
    SYS_pwritev,
    SYS_preadv2,
    SYS_pwritev2,
    SYS_close,
    SYS_lseek,
    SYS_ftruncate,
    SYS_fallocate,
    SYS_fsync,
    SYS_fdatasync,
    SYS_fstat,
    SYS_fstatfs,
    SYS_getdents64,
    SYS_fgetxattr,
    SYS_flistxattr,
    SYS_sendmsg,
    SYS_recvmsg,
    SYS_recvfrom,
    SYS_sendmmsg,
    SYS_recvmmsg,
    SYS_shutdown,
    // the control socket, which listens already
    SYS_accept4,
    // looking at files below open directories
    SYS_newfstatat,
    SYS_statx,
    SYS_readlinkat,
    // waiting
    SYS_poll,
    SYS_ppoll,
    SYS_epoll_create1,
    SYS_epoll_ctl,
    SYS_epoll_wait,
    SYS_epoll_pwait,
    SYS_eventfd2,
    SYS_futex,
    SYS_nanosleep,
    SYS_clock_nanosleep,
    SYS_restart_syscall,
    SYS_timerfd_create,
    SYS_timerfd_settime,
    // clocks, numbers
    SYS_clock_gettime,
    SYS_clock_getres,
    SYS_gettimeofday,
    SYS_getpid,
    SYS_gettid,
    SYS_getcpu,
    SYS_getrandom,
    SYS_getrusage,
    SYS_sysinfo,
    SYS_uname,
    // memory
    SYS_munmap,
    SYS_mremap,
    SYS_madvise,
    SYS_mincore,
    SYS_msync,
    SYS_brk,
    SYS_memfd_create,
    // threads and signals
    SYS_sched_yield,
    SYS_sched_getaffinity,
    SYS_sched_setaffinity,
    SYS_rt_sigprocmask,
    SYS_rt_sigaction,
    SYS_rt_sigreturn,
    SYS_rt_sigtimedwait,
    SYS_sigaltstack,
    SYS_set_robust_list,
    SYS_rseq,
    SYS_membarrier,
    SYS_exit,
    SYS_exit_group,
    // stubs that have ended
    SYS_wait4,
    SYS_waitid,
    // answered by another filter
    SYS_clone3,
];

/// Calls that change files, where a mount is writable. Paths start at descriptors.
const CHANGES: &[i64] = &[
    SYS_mkdirat,
    SYS_mknodat,
    SYS_symlinkat,
    SYS_linkat,
    SYS_unlinkat,
    SYS_renameat,
    SYS_renameat2,
    SYS_fchmod,
    SYS_fchmodat,
    SYS_FCHMODAT2,
    SYS_fchown,
    SYS_fchownat,
    SYS_utimensat,
    SYS_fsetxattr,
    SYS_fremovexattr,
    SYS_flock,
];

/// Calls on sockets of the host, where it serves the guest.
const SOCKETS: &[i64] = &[
    SYS_bind,
    SYS_listen,
    SYS_connect,
    SYS_getsockname,
    SYS_getpeername,
    SYS_setsockopt,
    SYS_getsockopt,
    SYS_sendto,
];

/// Terminals, queue lengths, blocking mode; nothing that types into a terminal.
const IOCTLS: &[u64] = &[
    TCGETS, TCSETS, TCSETSW, TCSETSF, TIOCGWINSZ, TIOCSWINSZ, TIOCGPGRP, FIONREAD, FIONBIO,
    TIOCOUTQ,
];

/// Socket families of `--network=host`.
const FAMILIES: &[u64] = &[AF_INET as u64, AF_INET6 as u64];

/// One condition: argument, its low half only?, comparison, value.
type Check = (u8, bool, Option<u64>, u64);

/// Argument `arg`, an int, is `value`.
const fn is(arg: u8, value: u64) -> Check {
    (arg, true, None, value)
}

/// Of argument `arg`, the bits of `mask` are `value`.
const fn bits(arg: u8, mask: u64, value: u64) -> Check {
    (arg, false, Some(mask), value)
}

/// All rules for these options. A call is allowed if one of its rules holds.
pub(super) fn rules(options: Confinement) -> Result<Rules, BackendError> {
    let mut rules: Rules = ANY.iter().map(|nr| (*nr, Vec::new())).collect();
    memory(&mut rules)?;
    processes(&mut rules, options)?;
    files(&mut rules, options)?;
    sockets(&mut rules, options)?;
    Ok(rules)
}

/// Adds a rule: the call is allowed when all checks hold.
fn allow(rules: &mut Rules, nr: i64, checks: &[Check]) -> Result<(), BackendError> {
    let conditions = checks
        .iter()
        .map(|&(arg, low, mask, value)| {
            let len = if low { Dword } else { Qword };
            let op = mask.map_or(Eq, MaskedEq);
            SeccompCondition::new(arg, len, op, value)
        })
        .collect::<Result<Vec<_>, _>>()?;
    rules
        .entry(nr)
        .or_default()
        .push(SeccompRule::new(conditions)?);
    Ok(())
}

/// No memory of the Sentry becomes executable.
fn memory(rules: &mut Rules) -> Result<(), BackendError> {
    const EXEC: u64 = PROT_EXEC as u64;
    allow(rules, SYS_mmap, &[bits(2, EXEC, 0)])?;
    allow(rules, SYS_mprotect, &[bits(2, EXEC, 0)])
}

/// Threads, but no processes; the signals that the platforms send.
fn processes(rules: &mut Rules, options: Confinement) -> Result<(), BackendError> {
    const THREAD: u64 = (CLONE_VM | CLONE_THREAD | CLONE_SIGHAND) as u64;
    allow(rules, SYS_clone, &[bits(0, THREAD, THREAD)])?;
    allow(rules, SYS_kill, &[is(1, SIGKILL as u64)])?;
    for signal in [0, SIGUSR1, SIGABRT] {
        allow(rules, SYS_tgkill, &[is(2, signal as u64)])?;
    }
    for what in [PR_SET_NAME, PR_SET_VMA] {
        allow(rules, SYS_prctl, &[is(0, what as u64)])?;
    }
    // Asking for a limit, not setting one.
    allow(rules, SYS_prlimit64, &[bits(2, u64::MAX, 0)])?;
    if options.ptrace {
        const SYSEMU: u32 = 31;
        const SETSIGMASK: u32 = 0x420b;
        const GET_SYSCALL_INFO: u32 = 0x420e;
        let requests = [
            PTRACE_SEIZE,
            PTRACE_DETACH,
            PTRACE_GETREGS,
            PTRACE_SETREGS,
            PTRACE_GETREGSET,
            PTRACE_SETREGSET,
            PTRACE_SINGLESTEP,
            PTRACE_GETSIGINFO,
            SYSEMU,
            SETSIGMASK,
            GET_SYSCALL_INFO,
        ];
        for request in requests {
            allow(rules, SYS_ptrace, &[is(0, request.into())])?;
        }
    }
    Ok(())
}

const NO_LINK: u64 = O_NOFOLLOW as u64;

/// Opening without O_NOFOLLOW: nothing of the Sentry's, and answered by a filter of its own.
pub(super) fn plain_opens() -> Result<Rules, BackendError> {
    let mut rules = Rules::new();
    allow(&mut rules, SYS_openat, &[bits(2, NO_LINK, 0)])?;
    Ok(rules)
}

/// Opening never follows a link; for writing only where a mount is writable.
fn files(rules: &mut Rules, options: Confinement) -> Result<(), BackendError> {
    const WRITES: u64 = (O_ACCMODE | O_CREAT | O_TRUNC) as u64;
    match options.writable_mounts {
        true => allow(rules, SYS_openat, &[bits(2, NO_LINK, NO_LINK)])?,
        false => allow(rules, SYS_openat, &[bits(2, NO_LINK | WRITES, NO_LINK)])?,
    }
    // Answered by another filter.
    allow(rules, SYS_openat, &[bits(2, NO_LINK, 0)])?;
    if options.writable_mounts {
        rules.extend(CHANGES.iter().map(|nr| (*nr, Vec::new())));
    }
    let commands = [
        F_DUPFD_CLOEXEC,
        F_GETFD,
        F_SETFD,
        F_GETFL,
        F_SETFL,
        F_GET_SEALS,
        F_ADD_SEALS,
    ];
    for command in commands {
        allow(rules, SYS_fcntl, &[is(1, command as u64)])?;
    }
    for request in IOCTLS {
        allow(rules, SYS_ioctl, &[is(1, *request)])?;
    }
    Ok(())
}

/// Pairs of local sockets; others only for `--network=host`.
fn sockets(rules: &mut Rules, options: Confinement) -> Result<(), BackendError> {
    allow(rules, SYS_socketpair, &[is(0, AF_UNIX as u64)])?;
    if options.host_network {
        rules.extend(SOCKETS.iter().map(|nr| (*nr, Vec::new())));
        for family in FAMILIES {
            for kind in [SOCK_STREAM, SOCK_DGRAM] {
                const FLAGS: u64 = (SOCK_CLOEXEC | SOCK_NONBLOCK) as u64;
                let kind = bits(1, 0xffff_ffff & !FLAGS, kind as u64);
                allow(rules, SYS_socket, &[is(0, *family), kind])?;
            }
        }
    } else {
        // To the peer it is connected to.
        allow(rules, SYS_sendto, &[bits(4, u64::MAX, 0)])?;
    }
    Ok(())
}
