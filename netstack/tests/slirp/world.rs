//! A host of the test's own (a network namespace), a namespace of an ordinary user's within it, and
//! `netstack slirp` between them, run by that user.

use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::net::{Ipv4Addr, SocketAddr};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::OnceLock;
use std::thread::JoinHandle;

use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, setns, unshare};
use nix::sys::stat::{Mode, SFlag, makedev, mknod, umask};

pub(crate) const PROGRAM: &str = env!("CARGO_BIN_EXE_netstack");
pub(crate) const GATEWAY: Ipv4Addr = Ipv4Addr::new(10, 0, 2, 2);
/// "nobody".
pub(crate) const UID: u32 = 65_534;

/// The program where an ordinary user can execute it: a checkout below root's home is closed to others.
pub(crate) fn for_everybody() -> &'static Path {
    static COPY: OnceLock<PathBuf> = OnceLock::new();
    COPY.get_or_init(|| {
        let name = format!("netstack-slirp-{}", std::process::id());
        let copy = std::env::temp_dir().join(name);
        std::fs::copy(PROGRAM, &copy).expect("room for a copy of the program");
        let mode = std::fs::Permissions::from_mode(0o755);
        std::fs::set_permissions(&copy, mode).expect("a copy of our own");
        copy
    })
}

/// Runs `test` in a host of its own, whose /dev/net/tun everybody may open.
pub(crate) fn on_a_host(test: impl FnOnce() + Send + 'static) {
    super::common::in_namespace(move || {
        open_tun_to_all();
        test();
    });
}

/// On most machines it is so; where it is not, this thread gets a /dev/net/tun of its own.
fn open_tun_to_all() {
    unshare(CloneFlags::CLONE_NEWNS).expect("a mount namespace");
    let none: Option<&str> = None;
    mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none).expect("private mounts");
    let dir = Path::new("/dev/net");
    mount(Some("tmpfs"), dir, Some("tmpfs"), MsFlags::empty(), none).expect("a tmpfs");
    umask(Mode::empty());
    let all = Mode::from_bits_truncate(0o666);
    mknod("/dev/net/tun", SFlag::S_IFCHR, all, makedev(10, 200)).expect("a device node");
}

/// The namespace, and the program that serves it. Both end when dropped.
pub(crate) struct Slirp {
    namespace: Child,
    program: Child,
    waited: bool,
}

impl Slirp {
    /// With `--configure` and `options`.
    pub(crate) fn start(options: &[&str]) -> Self {
        Self::start_plain(&[&["--configure"], options].concat())
    }

    /// As [`Slirp::start`], with as few rights as it can have.
    pub(crate) fn start_confined(options: &[&str]) -> Self {
        Self::start(&[&["--enable-sandbox", "--enable-seccomp"], options].concat())
    }

    /// With `options` only.
    pub(crate) fn start_plain(options: &[&str]) -> Self {
        let namespace = new_namespace();
        let mut program = Command::new(for_everybody())
            .arg("slirp")
            .args(["--ready-fd", "1", "--exit-fd", "0"])
            .args(options)
            .arg(namespace.id().to_string())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .uid(UID)
            .gid(UID)
            .spawn()
            .expect("the program starts");
        let mut said = String::new();
        let mut ready = program.stdout.take().unwrap();
        ready.read_to_string(&mut said).unwrap();
        assert_eq!(said, "1", "it says that it is ready, and closes");
        Self {
            namespace,
            program,
            waited: false,
        }
    }

    /// The program's process.
    pub(crate) fn program_id(&self) -> u32 {
        self.program.id()
    }

    pub(crate) fn pid(&self) -> u32 {
        self.namespace.id()
    }

    /// Runs `f` on a thread in the namespace; programs that it starts are there too.
    pub(crate) fn spawn<R: Send + 'static>(
        &self,
        f: impl FnOnce() -> R + Send + 'static,
    ) -> JoinHandle<R> {
        let net = File::open(format!("/proc/{}/ns/net", self.pid())).unwrap();
        std::thread::spawn(move || {
            setns(net, CloneFlags::CLONE_NEWNET).expect("the namespace");
            f()
        })
    }

    /// Runs `f` in the namespace, and waits.
    pub(crate) fn inside<R: Send + 'static>(&self, f: impl FnOnce() -> R + Send + 'static) -> R {
        self.spawn(f).join().expect("the thread in the namespace")
    }

    /// The other end of `--exit-fd`.
    pub(crate) fn take_exit(&mut self) -> ChildStdin {
        self.program.stdin.take().unwrap()
    }

    /// Waits until the program has ended; its exit status.
    pub(crate) fn wait(&mut self) -> Option<i32> {
        self.waited = true;
        self.program.wait().unwrap().code()
    }
}

impl Drop for Slirp {
    fn drop(&mut self) {
        drop(self.program.stdin.take());
        let code = self.program.wait().unwrap();
        // Who has waited for the end has looked at it.
        if !std::thread::panicking() && !self.waited {
            assert!(code.success(), "{code}");
        }
        drop(self.namespace.stdin.take());
        self.namespace.wait().unwrap();
    }
}

/// A process of the ordinary user's in new user and network namespaces, until its input ends.
pub(crate) fn new_namespace() -> Child {
    let mut child = Command::new("unshare")
        .args(["-Urn", "sh", "-c", "echo ready; read line"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .uid(UID)
        .gid(UID)
        .spawn()
        .expect("unshare");
    let mut line = String::new();
    let mut stdout = BufReader::new(child.stdout.take().unwrap());
    stdout.read_line(&mut line).unwrap();
    assert_eq!(line, "ready\n");
    child
}

/// The host's loopback interface, as the namespace sees it.
pub(crate) fn host(port: u16) -> SocketAddr {
    SocketAddr::from((GATEWAY, port))
}

/// The same as the host sees it.
pub(crate) fn local(port: u16) -> SocketAddr {
    SocketAddr::from((Ipv4Addr::LOCALHOST, port))
}

/// Bytes that differ from place to place.
pub(crate) fn pattern(len: usize) -> Vec<u8> {
    (0..len as u32)
        .map(|i| (i.wrapping_mul(i) >> 7) as u8)
        .collect()
}

/// The output of a program that has to succeed.
pub(crate) fn output(program: &str, arguments: &[&str]) -> Vec<u8> {
    let output = Command::new(program)
        .args(arguments)
        .output()
        .expect(program);
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{program} {arguments:?}: {error}");
    output.stdout
}
