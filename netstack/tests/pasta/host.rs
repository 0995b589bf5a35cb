//! The host, and `netstack pasta` on it.

use std::fs::File;
use std::net::SocketAddr;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use nix::sched::{CloneFlags, setns};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::world::{UID, for_everybody, new_namespace, on_a_host, output};

/// The host's addresses: its own, a second one on the same network, and one far away.
pub(crate) const OWN: &str = "10.77.0.5";
pub(crate) const NEAR: &str = "10.77.0.6";
pub(crate) const FAR: &str = "198.51.100.7";
pub(crate) const ROUTER: &str = "10.77.0.1";

/// Runs `test` on a host whose default route leads over the interface `out0`.
pub(crate) fn on_a_connected_host(test: impl FnOnce() + Send + 'static) {
    on_a_host(|| {
        let ip = |line: &str| output("ip", &line.split(' ').collect::<Vec<_>>());
        ip("link add out0 type veth peer name out1");
        ip(&format!("addr add {OWN}/24 dev out0"));
        ip(&format!("addr add {NEAR}/24 dev out0"));
        ip(&format!("addr add {FAR}/32 dev lo"));
        ip("link set out0 up");
        ip("link set out1 up");
        ip(&format!("route add default via {ROUTER} dev out0"));
        test();
    });
}

pub(crate) fn at(addr: &str, port: u16) -> SocketAddr {
    SocketAddr::new(addr.parse().unwrap(), port)
}

/// The program under its verb, run by the ordinary user.
pub(crate) fn pasta() -> Command {
    let mut command = Command::new(for_everybody());
    command.arg("pasta").stdin(Stdio::null()).uid(UID).gid(UID);
    // Where everybody may be.
    command.current_dir("/");
    command
}

/// A namespace, and the program that serves it in the background. Both end when dropped.
pub(crate) struct Served {
    namespace: Child,
    pid_file: PathBuf,
}

impl Served {
    pub(crate) fn start(name: &str, options: &[&str]) -> Self {
        let namespace = new_namespace();
        let file = format!("netstack-pasta-{name}-{}", std::process::id());
        let pid_file = std::env::temp_dir().join(file);
        let said = pasta()
            .args(["--config-net", "--quiet", "--pid"])
            .arg(&pid_file)
            .args(options)
            .arg(namespace.id().to_string())
            .output()
            .unwrap();
        let error = String::from_utf8_lossy(&said.stderr);
        assert!(said.status.success() && error.is_empty(), "{error}");
        Self {
            namespace,
            pid_file,
        }
    }

    /// The number of the program in the background.
    pub(crate) fn program(&self) -> i32 {
        let text = std::fs::read_to_string(&self.pid_file).unwrap();
        text.trim().parse().unwrap()
    }

    /// Runs `f` on a thread in the namespace, and waits.
    pub(crate) fn inside<R: Send + 'static>(&self, f: impl FnOnce() -> R + Send + 'static) -> R {
        let net = File::open(format!("/proc/{}/ns/net", self.namespace.id())).unwrap();
        let thread = std::thread::spawn(move || {
            setns(net, CloneFlags::CLONE_NEWNET).expect("the namespace");
            f()
        });
        thread.join().expect("the thread in the namespace")
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        let ended = kill(Pid::from_raw(self.program()), Signal::SIGTERM);
        let _ = std::fs::remove_file(&self.pid_file);
        drop(self.namespace.stdin.take());
        self.namespace.wait().unwrap();
        if !std::thread::panicking() {
            ended.expect("the program runs to the end");
        }
    }
}
