//! Running a program with a time limit, natively or in the sandbox.

use std::io::{Read, Write};
use std::net::Ipv4Addr;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use nix::sched::{CloneFlags, unshare};
use nix::sys::signal::{Signal, kill, killpg};
use nix::unistd::Pid;

use crate::shared::{PATH, eventually, pattern, runsc};

/// `Err` says what was expected and what was seen.
pub(crate) type Outcome = Result<(), String>;

/// A case that this machine cannot run, and why.
pub(crate) struct Skip(pub(crate) String);

/// No case takes nearly this long; a hang ends here.
const LIMIT: Duration = Duration::from_secs(120);

/// How long what should end at once may take before harder means are used.
const PATIENCE: Duration = Duration::from_secs(10);

/// Puts this process into a network namespace of its own, so that the devices and addresses of the
/// sandboxes collide with nothing of the machine's.
pub(crate) fn prepare() -> Result<(), String> {
    if !nix::unistd::geteuid().is_root() {
        return Err("needs root (a TUN device and namespaces)".into());
    }
    unshare(CloneFlags::CLONE_NEWNET).map_err(|errno| format!("no network namespace: {errno}"))?;
    netstack::link::sys::iface::set_up("lo").map_err(|error| format!("no loopback: {error}"))
}

/// True if `program` is on the path (or is an existing absolute path).
pub(crate) fn installed(program: &str) -> bool {
    PATH.split(':')
        .any(|dir| Path::new(dir).join(program).is_file())
}

/// What a finished program left.
pub(crate) struct Finished {
    pub(crate) status: ExitStatus,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Finished {
    /// Output and status, for a report.
    pub(crate) fn describe(&self) -> String {
        format!(
            "  {}\n{}{}",
            self.status,
            indent("out", &self.stdout),
            indent("err", &self.stderr)
        )
    }
}

fn indent(label: &str, text: &str) -> String {
    text.lines()
        .take(40)
        .map(|line| format!("  {label}| {line}\n"))
        .collect()
}

/// The machine's own `sh -c script`.
pub(crate) fn native(script: &str) -> Command {
    let mut command = Command::new("/bin/bash");
    command.args(["-c", script]);
    clean(&mut command);
    command
}

/// The same in the sandbox.
pub(crate) fn sandboxed(options: &[&str], script: &str) -> Command {
    let mut command = Command::new(runsc());
    command
        .args(options)
        .args(["do", "--", "/bin/bash", "-c", script]);
    clean(&mut command);
    command
}

/// The same with a network of its own at `ip`, once the sandbox before it is gone from there.
pub(crate) fn sandboxed_at(ip: Ipv4Addr, script: &str) -> Command {
    links_gone();
    let mut command = Command::new(runsc());
    command.args([
        "do",
        "--ip",
        &ip.to_string(),
        "--",
        "/bin/bash",
        "-c",
        script,
    ]);
    clean(&mut command);
    command
}

/// A small, equal environment on both sides, and a process group to end as a whole.
pub(crate) fn clean(command: &mut Command) {
    command
        .env_clear()
        .env("PATH", PATH)
        .env("HOME", "/tmp")
        .env("LC_ALL", "C.UTF-8")
        .current_dir("/tmp")
        .stdin(Stdio::null())
        .process_group(0);
}

/// Runs to the end; a program that does not end within the limit is killed and reported.
pub(crate) fn finish(mut command: Command) -> Result<Finished, String> {
    let child = command
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|e| format!("{command:?}: {e}"))?;
    collect(child)
}

fn collect(mut child: Child) -> Result<Finished, String> {
    let reader = |stream: Option<Box<dyn Read + Send>>| {
        std::thread::spawn(move || {
            let mut bytes = Vec::new();
            if let Some(stream) = stream {
                let _ = stream.take(16 << 20).read_to_end(&mut bytes);
            }
            String::from_utf8_lossy(&bytes).into_owned()
        })
    };
    let stdout = reader(child.stdout.take().map(|s| Box::new(s) as _));
    let stderr = reader(child.stderr.take().map(|s| Box::new(s) as _));
    let status = wait(&mut child, LIMIT);
    if status.is_none() {
        end(&mut child);
    }
    let (stdout, stderr) = (
        stdout.join().unwrap_or_default(),
        stderr.join().unwrap_or_default(),
    );
    match status {
        Some(status) => Ok(Finished {
            status,
            stdout,
            stderr,
        }),
        None => Err(format!(
            "did not end within {LIMIT:?}\n{}{}",
            indent("out", &stdout),
            indent("err", &stderr)
        )),
    }
}

fn wait(child: &mut Child, limit: Duration) -> Option<ExitStatus> {
    eventually(limit, || child.try_wait().ok().flatten())
}

/// Kills the whole group and reaps the child. The sandbox is a grandchild in a group of its own, and
/// holds its TUN device until it is gone: the next one would find the network in use.
pub(crate) fn end(child: &mut Child) {
    let group = Pid::from_raw(i32::try_from(child.id()).expect("process numbers fit"));
    let of_child = format!("/proc/{group}/task/{group}/children");
    let sandboxes = std::fs::read_to_string(of_child).unwrap_or_default();
    let _ = killpg(group, Signal::SIGKILL);
    let _ = child.wait();
    eventually(LIMIT, || {
        (!sandboxes.split_whitespace().any(lives)).then_some(())
    });
}

/// Whether a process is there, and not only as a zombie without threads (those hold its files).
fn lives(pid: &str) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let state = stat.rsplit_once(')').map(|(_, rest)| rest.trim_start());
    let threads = std::fs::read_dir(format!("/proc/{pid}/task")).map_or(0, Iterator::count);
    state.is_some_and(|state| threads > 1 || !state.starts_with(['Z', 'X']))
}

/// Asks for the end with SIGTERM, as a user would, and waits for it; after [`PATIENCE`] the whole group
/// is killed.
fn end_gently(child: &mut Child) {
    let pid = Pid::from_raw(i32::try_from(child.id()).expect("process numbers fit"));
    let _ = kill(pid, Signal::SIGTERM);
    if wait(child, PATIENCE).is_none() {
        end(child);
    }
}

/// Waits until the links of sandboxes are gone: the kernel takes a device away a moment after the
/// process that had it has ended, and until then its address is in use.
fn links_gone() {
    let table = || std::fs::read_to_string("/proc/thread-self/net/dev").unwrap_or_default();
    let linked = |table: String| {
        table
            .lines()
            .any(|line| line.trim_start().starts_with("runsc"))
    };
    eventually(PATIENCE, || (!linked(table())).then_some(()));
}

/// A server in the background, ended when dropped.
pub(crate) struct Server {
    child: Child,
    log: PathBuf,
}

impl Server {
    /// Starts it, its output going to a file.
    pub(crate) fn start(mut command: Command, name: &str) -> Result<Self, String> {
        let log =
            std::env::temp_dir().join(format!("runsc-test-{}-{name}.log", std::process::id()));
        let file = std::fs::File::create(&log).map_err(|e| e.to_string())?;
        let copy = file.try_clone().map_err(|e| e.to_string())?;
        let child = command
            .stdout(file)
            .stderr(copy)
            .spawn()
            .map_err(|e| format!("{command:?}: {e}"))?;
        Ok(Self { child, log })
    }

    /// Waits until somebody accepts connections at `address`.
    pub(crate) fn wait_for(&mut self, address: (Ipv4Addr, u16)) -> Outcome {
        self.wait_until(&format!("nobody listens at {address:?}"), |_| {
            std::net::TcpStream::connect_timeout(&address.into(), Duration::from_secs(1)).is_ok()
        })
    }

    /// Waits until it has written `text` so many times: for servers to which a connection that is
    /// closed at once is a client that failed.
    pub(crate) fn wait_for_output(&mut self, text: &str, times: usize) -> Outcome {
        self.wait_until(&format!("it has not said {text:?} {times} times"), |log| {
            std::fs::read_to_string(log).is_ok_and(|said| said.matches(text).count() >= times)
        })
    }

    fn wait_until(&mut self, problem: &str, mut done: impl FnMut(&Path) -> bool) -> Outcome {
        let deadline = Instant::now() + Duration::from_secs(30);
        while !done(&self.log) {
            if let Ok(Some(status)) = self.child.try_wait() {
                return Err(format!(
                    "the server ended early: {status}\n{}",
                    self.output()
                ));
            }
            if Instant::now() > deadline {
                return Err(format!("{problem} after 30 s\n{}", self.output()));
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        Ok(())
    }

    /// What it has written so far.
    pub(crate) fn output(&self) -> String {
        indent(
            "server",
            &std::fs::read_to_string(&self.log).unwrap_or_default(),
        )
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        end_gently(&mut self.child);
        let _ = std::fs::remove_file(&self.log);
    }
}

/// Writes `bytes` of a repeatable pattern to a file and returns its path.
pub(crate) fn pattern_file(name: &str, bytes: usize) -> Result<PathBuf, String> {
    let path = std::env::temp_dir().join(format!("runsc-test-{}-{name}", std::process::id()));
    let block = pattern(bytes.min(1 << 20));
    let mut file = std::fs::File::create(&path).map_err(|e| e.to_string())?;
    let mut left = bytes;
    while left > 0 {
        let now = left.min(block.len());
        file.write_all(&block[..now]).map_err(|e| e.to_string())?;
        left -= now;
    }
    Ok(path)
}
