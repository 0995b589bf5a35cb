//! Runs a program on this machine's kernel and in the Sentry, for comparison.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use sentry::kernel::{BootConfig, Kernel, MountConfig, MountKind, ProcessConfig, RootConfig};
use sentry::net::Network;
use sentry::platform::PlatformKind;
use sentry::vfs::{Credentials, MountFlags};

/// What a program did.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Outcome {
    /// Exit code as a shell shows it.
    pub(crate) code: i32,
    /// What it wrote to descriptor 1.
    pub(crate) stdout: String,
}

const ENVIRONMENT: [&str; 3] = ["PATH=/usr/local/bin:/usr/bin:/bin", "HOME=/root", "LANG=C"];

/// Compiles a C program of `tests/programs`.
pub(crate) fn compile(name: &str, flags: &[&str]) -> PathBuf {
    let source = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/programs")
        .join(name);
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("{name}.{}", flags.join("")));
    let status = Command::new("gcc")
        .args(["-O1", "-g", "-o"])
        .arg(&target)
        .arg(&source)
        .args(flags)
        .status()
        .expect("gcc is needed for the tests of the Sentry");
    assert!(status.success(), "gcc {name}");
    target
}

/// A temporary file for output.
fn output() -> File {
    let fd = nix::sys::memfd::memfd_create("stdout", nix::sys::memfd::MFdFlags::empty())
        .expect("a memfd");
    File::from(fd)
}

fn contents(mut file: File) -> String {
    let mut bytes = Vec::new();
    file.seek(SeekFrom::Start(0)).expect("seek");
    file.read_to_end(&mut bytes).expect("read");
    String::from_utf8_lossy(&bytes).into_owned()
}

/// Runs `argv` on the machine's own kernel.
pub(crate) fn native(argv: &[&OsStr]) -> Outcome {
    let out = output();
    let mut command = Command::new(argv[0]);
    command.args(&argv[1..]).env_clear().current_dir("/");
    for entry in ENVIRONMENT {
        let (name, value) = entry.split_once('=').expect("an assignment");
        command.env(name, value);
    }
    let status = command
        .stdin(Stdio::null())
        .stdout(out.try_clone().expect("dup"))
        .status()
        .expect("the program runs natively");
    Outcome {
        code: status
            .code()
            .unwrap_or_else(|| 128 + status.signal().unwrap_or(0)),
        stdout: contents(out),
    }
}

fn mounts(binds: &[Bind]) -> Vec<MountConfig> {
    let mount = |target: &str, kind| MountConfig {
        target: target.as_bytes().to_vec(),
        kind,
        flags: MountFlags::empty(),
    };
    let bound = binds.iter().map(|bind| MountConfig {
        target: bind.target.into(),
        kind: MountKind::Bind {
            source: File::open(&bind.source).expect("a directory").into(),
        },
        flags: match bind.readonly {
            true => MountFlags::READ_ONLY,
            false => MountFlags::empty(),
        },
    });
    let own = vec![
        mount("/proc", MountKind::Proc),
        mount("/sys", MountKind::Sysfs),
        mount("/dev", MountKind::Dev),
        mount("/dev/pts", MountKind::Devpts),
        mount(
            "/tmp",
            MountKind::Tmpfs {
                size: 0,
                mode: 0o1777,
            },
        ),
    ];
    own.into_iter().chain(bound).collect()
}

fn config(argv: &[&OsStr], out: &File, sandbox: &Sandbox) -> BootConfig {
    let null = || OwnedFd::from(File::open("/dev/null").expect("/dev/null"));
    let stderr = std::io::stderr();
    let stderr = std::os::fd::AsFd::as_fd(&stderr)
        .try_clone_to_owned()
        .expect("dup");
    let strace = std::env::var_os("SENTRY_STRACE").map(|_| stderr.try_clone().expect("dup"));
    BootConfig {
        platform: sandbox.platform,
        root: RootConfig {
            directory: File::open("/").expect("/").into(),
            overlay: true,
            readonly: false,
        },
        mounts: mounts(&sandbox.binds),
        init: ProcessConfig {
            program: None,
            argv: argv.iter().map(|arg| arg.as_bytes().to_vec()).collect(),
            envp: ENVIRONMENT
                .iter()
                .map(|entry| entry.as_bytes().to_vec())
                .collect(),
            cwd: b"/".to_vec(),
            creds: Credentials::root(),
            rlimits: Vec::new(),
            umask: None,
            files: vec![
                (0, null()),
                (1, out.try_clone().expect("dup").into()),
                (2, stderr),
            ],
            terminal: false,
        },
        hostname: "sandbox".into(),
        network: Network::start(Vec::new()).expect("a network"),
        strace,
        memory_limit: sandbox.memory_limit,
    }
}

/// How to run a program in the Sentry.
#[derive(Default)]
pub(crate) struct Sandbox {
    pub(crate) platform: PlatformKind,
    /// Bytes of guest memory; 0 is no limit.
    pub(crate) memory_limit: u64,
    /// Directories of the machine that the guest gets.
    pub(crate) binds: Vec<Bind>,
}

/// A directory of the machine in the sandbox.
pub(crate) struct Bind {
    pub(crate) target: &'static str,
    pub(crate) source: PathBuf,
    pub(crate) readonly: bool,
}

/// What came of it.
pub(crate) struct Done {
    pub(crate) outcome: Outcome,
    /// Processes that defects of the Sentry ended.
    pub(crate) defects: u32,
}

impl Sandbox {
    /// Runs `argv` in the Sentry.
    pub(crate) fn run(&self, argv: &[&OsStr]) -> Done {
        let out = output();
        let config = config(argv, &out, self);
        let kernel = Kernel::boot(config).unwrap_or_else(|error| panic!("{error}"));
        kernel.start();
        let status = kernel.wait_exit();
        for (number, count) in kernel.unimplemented() {
            eprintln!("not served: system call {number}, {count} times");
        }
        let outcome = Outcome {
            code: status.code(),
            stdout: contents(out),
        };
        Done {
            outcome,
            defects: kernel.defects(),
        }
    }
}

/// Runs `argv` in the Sentry on the default platform.
pub(crate) fn sandboxed(argv: &[&OsStr]) -> Outcome {
    let done = Sandbox::default().run(argv);
    assert_eq!(done.defects, 0, "the Sentry panicked");
    done.outcome
}

/// Asserts that `argv` does the same in the Sentry as natively.
pub(crate) fn same(argv: &[&str]) {
    let argv: Vec<&OsStr> = argv.iter().map(OsStr::new).collect();
    let expected = native(&argv);
    assert_eq!(sandboxed(&argv), expected, "{argv:?}");
}
