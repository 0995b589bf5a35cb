//! Which kind of argument each call has.

/// A kind of argument.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// A C int.
    Int,
    /// A long or size.
    Long,
    /// A file mode.
    Octal,
    /// Flags or an address.
    Hex,
    /// A descriptor.
    Fd,
    /// A string.
    Path,
    /// Bytes that the call reads; the next argument is their number.
    BufIn,
    /// Bytes that the call writes; the result is their number.
    BufOut,
    /// The address of something that the call writes.
    Out,
}

impl Kind {
    pub(super) fn is_output(self) -> bool {
        matches!(self, Self::BufOut | Self::Out)
    }
}

use Kind::{BufIn, BufOut, Fd, Hex, Int, Long, Octal, Out, Path};

/// The arguments of call `number`; six words for calls that are not listed.
pub(super) fn signature(number: u16) -> &'static [Kind] {
    match i64::from(number) {
        libc::SYS_read | libc::SYS_recvfrom => &[Fd, BufOut, Long],
        libc::SYS_write => &[Fd, BufIn, Long],
        libc::SYS_pread64 => &[Fd, BufOut, Long, Long],
        libc::SYS_pwrite64 => &[Fd, BufIn, Long, Long],
        libc::SYS_readv | libc::SYS_writev => &[Fd, Hex, Int],
        libc::SYS_open => &[Path, Hex, Octal],
        libc::SYS_openat => &[Fd, Path, Hex, Octal],
        libc::SYS_close | libc::SYS_dup | libc::SYS_fsync | libc::SYS_fchdir => &[Fd],
        libc::SYS_dup2 => &[Fd, Fd],
        libc::SYS_dup3 => &[Fd, Fd, Hex],
        libc::SYS_stat | libc::SYS_lstat => &[Path, Out],
        libc::SYS_fstat => &[Fd, Out],
        libc::SYS_newfstatat => &[Fd, Path, Out, Hex],
        libc::SYS_statx => &[Fd, Path, Hex, Hex, Out],
        libc::SYS_access => &[Path, Octal],
        libc::SYS_faccessat => &[Fd, Path, Octal],
        libc::SYS_faccessat2 => &[Fd, Path, Octal, Hex],
        libc::SYS_lseek => &[Fd, Long, Int],
        libc::SYS_ioctl => &[Fd, Hex, Hex],
        libc::SYS_fcntl => &[Fd, Int, Hex],
        libc::SYS_getdents64 => &[Fd, Out, Long],
        libc::SYS_chdir | libc::SYS_rmdir | libc::SYS_unlink => &[Path],
        libc::SYS_mkdir => &[Path, Octal],
        libc::SYS_unlinkat => &[Fd, Path, Hex],
        libc::SYS_mkdirat => &[Fd, Path, Octal],
        libc::SYS_readlink => &[Path, BufOut, Long],
        libc::SYS_readlinkat => &[Fd, Path, BufOut, Long],
        libc::SYS_rename => &[Path, Path],
        libc::SYS_getcwd => &[BufOut, Long],
        libc::SYS_mmap => &[Hex, Long, Hex, Hex, Fd, Hex],
        libc::SYS_mprotect => &[Hex, Long, Hex],
        libc::SYS_munmap => &[Hex, Long],
        libc::SYS_brk => &[Hex],
        libc::SYS_execve => &[Path, Hex, Hex],
        libc::SYS_exit | libc::SYS_exit_group => &[Int],
        libc::SYS_wait4 => &[Int, Out, Hex, Hex],
        libc::SYS_kill | libc::SYS_tkill => &[Int, Int],
        libc::SYS_tgkill => &[Int, Int, Int],
        libc::SYS_rt_sigaction => &[Int, Hex, Out, Long],
        libc::SYS_rt_sigprocmask => &[Int, Hex, Out, Long],
        libc::SYS_clone => &[Hex, Hex, Hex, Hex, Hex],
        libc::SYS_clone3 => &[Hex, Long],
        libc::SYS_futex => &[Hex, Hex, Int, Hex, Hex, Hex],
        libc::SYS_pipe => &[Out],
        libc::SYS_pipe2 => &[Out, Hex],
        libc::SYS_poll => &[Hex, Int, Int],
        libc::SYS_nanosleep => &[Hex, Out],
        libc::SYS_clock_gettime => &[Int, Out],
        libc::SYS_clock_nanosleep => &[Int, Hex, Hex, Out],
        libc::SYS_uname | libc::SYS_sysinfo => &[Out],
        libc::SYS_getrandom => &[Out, Long, Hex],
        libc::SYS_prlimit64 => &[Int, Int, Hex, Out],
        libc::SYS_arch_prctl => &[Hex, Hex],
        libc::SYS_socket => &[Int, Hex, Int],
        libc::SYS_bind | libc::SYS_connect => &[Fd, Hex, Int],
        libc::SYS_listen => &[Fd, Int],
        libc::SYS_accept => &[Fd, Out, Hex],
        libc::SYS_sendto => &[Fd, BufIn, Long, Hex, Hex, Int],
        libc::SYS_set_tid_address => &[Hex],
        libc::SYS_set_robust_list => &[Hex, Long],
        libc::SYS_getpid
        | libc::SYS_gettid
        | libc::SYS_getppid
        | libc::SYS_getuid
        | libc::SYS_geteuid
        | libc::SYS_getgid
        | libc::SYS_getegid
        | libc::SYS_getpgrp
        | libc::SYS_fork
        | libc::SYS_vfork
        | libc::SYS_rt_sigreturn
        | libc::SYS_pause
        | libc::SYS_sched_yield
        | libc::SYS_setsid => &[],
        _ => &[Hex, Hex, Hex, Hex, Hex, Hex],
    }
}
