//! What a sandbox is started with, and why it could not be.

use std::os::fd::OwnedFd;
use std::sync::Arc;

use thiserror::Error;

use crate::net::Network;
use crate::platform::PlatformKind;
use crate::task::limits::Limit;
use crate::vfs::{Credentials, MountFlags};

/// Everything that a sandbox needs to start its first process.
pub struct BootConfig {
    /// What runs guest code.
    pub platform: PlatformKind,
    /// The root file system.
    pub root: RootConfig,
    /// Mounts on top of it, in order.
    pub mounts: Vec<MountConfig>,
    /// The first process (pid 1).
    pub init: ProcessConfig,
    /// uname(2)'s node name.
    pub hostname: String,
    /// What makes sockets.
    pub network: Arc<Network>,
    /// Where `--strace` writes; `None` is off.
    pub strace: Option<OwnedFd>,
    /// Most bytes of guest memory; 0 is no limit.
    pub memory_limit: u64,
}

/// The root file system: a donated host directory.
pub struct RootConfig {
    /// The directory (a detached mount, so that `..` ends there).
    pub directory: OwnedFd,
    /// Writes go to memory over it; the host's files stay as they are.
    pub overlay: bool,
    /// No writes at all.
    pub readonly: bool,
}

/// One mount.
pub struct MountConfig {
    /// Absolute path in the container.
    pub target: Vec<u8>,
    /// What is mounted.
    pub kind: MountKind,
    /// ro, nosuid, nodev, noexec.
    pub flags: MountFlags,
}

/// What is mounted.
pub enum MountKind {
    /// procfs.
    Proc,
    /// sysfs.
    Sysfs,
    /// devtmpfs: null, zero, full, random, urandom, tty, ptmx, pts, shm, fd and the std links.
    Dev,
    /// The pseudo terminals.
    Devpts,
    /// A file system in memory.
    Tmpfs {
        /// Most bytes; 0 is no limit.
        size: u64,
        /// Permission bits of its root.
        mode: u32,
    },
    /// A donated host directory or file.
    Bind {
        /// It.
        source: OwnedFd,
    },
}

/// A process to be started from outside: the first one, or `runsc exec`.
pub struct ProcessConfig {
    /// What is executed, if the first argument is not to say it.
    pub program: Option<Vec<u8>>,
    /// Arguments; without `program` the first names the program, looked up in PATH of `envp` if it has no slash.
    pub argv: Vec<Vec<u8>>,
    /// Environment.
    pub envp: Vec<Vec<u8>>,
    /// Working directory in the container.
    pub cwd: Vec<u8>,
    /// Identity.
    pub creds: Credentials,
    /// Limits that differ from the defaults: `RLIMIT_*` and values.
    pub rlimits: Vec<(u32, Limit)>,
    /// Umask; `None` is 022.
    pub umask: Option<u32>,
    /// Descriptors: number in the guest, host file. Usually 0, 1 and 2.
    pub files: Vec<(i32, OwnedFd)>,
    /// It gets a terminal of the sandbox as its controlling one; descriptors 0 and 1 in `files` are a
    /// raw terminal outside that shows it.
    pub terminal: bool,
}

/// How a guest process ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExitStatus {
    /// It called exit with this code.
    Exited(u8),
    /// A signal ended it.
    Signaled(i32),
}

impl ExitStatus {
    /// From a wait status.
    pub fn from_wait(status: i32) -> Self {
        match status & 0x7f {
            0 => Self::Exited((status >> 8) as u8),
            signo => Self::Signaled(signo),
        }
    }

    /// As a shell shows it: the code, or 128 and the signal.
    pub fn code(self) -> i32 {
        match self {
            Self::Exited(code) => i32::from(code),
            Self::Signaled(signo) => 128 + signo,
        }
    }
}

/// Why a sandbox or a process in it could not be started.
#[derive(Debug, Error)]
pub enum BootError {
    /// Something the configuration asks for is not served.
    #[error("{0} is not supported")]
    Unsupported(&'static str),
    /// The platform did not start.
    #[error("platform: {0}")]
    Platform(#[from] crate::platform::PlatformError),
    /// A host resource could not be had.
    #[error("{what}: {source}")]
    Host {
        /// What was being done.
        what: &'static str,
        /// The host's error.
        source: std::io::Error,
    },
    /// A mount failed.
    #[error("mount on {target}: {errno}")]
    Mount {
        /// Path in the container.
        target: String,
        /// Why.
        errno: sentry_abi::Errno,
    },
    /// The program could not be executed.
    #[error("exec: {program:?}: {}", exec_problem(.program, *.errno))]
    Exec {
        /// The program.
        program: String,
        /// Why.
        errno: sentry_abi::Errno,
    },
    /// The configuration makes no sense.
    #[error("{0}")]
    Invalid(String),
}

/// Why a program cannot be executed, in the words that container engines look for to tell their callers
/// 127 (not there) from 126 (not executable).
fn exec_problem(program: &str, errno: sentry_abi::Errno) -> String {
    use sentry_abi::Errno;
    match errno {
        Errno::ENOENT if !program.contains('/') => "executable file not found in $PATH".into(),
        Errno::ENOENT => "no such file or directory".into(),
        Errno::EACCES => "permission denied".into(),
        Errno::ENOEXEC => "exec format error".into(),
        other => other.to_string(),
    }
}

impl BootError {
    /// The exit code that a shell gives: 127 for a program that is not there, 126 for one that can't be
    /// executed, else 128.
    pub fn exit_code(&self) -> i32 {
        match self {
            Self::Exec {
                errno: sentry_abi::Errno::ENOENT,
                ..
            } => 127,
            Self::Exec { .. } => 126,
            _ => 128,
        }
    }
}
