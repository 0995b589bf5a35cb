//! What every test stands on: its own corner of the machine, bundles in it, and running `runsc`.

use std::fs::{self, File};
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use nix::sched::{CloneFlags, unshare};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;

use crate::shared::{PATH, eventually, runsc};
use crate::traces::Traces;

/// Nothing here takes nearly this long; a hang ends here.
pub(crate) const LIMIT: Duration = Duration::from_secs(60);

/// The tests take turns, so that what is there before and after can be compared.
static TURN: Mutex<()> = Mutex::new(());

/// One test's corner of the machine.
pub(crate) struct World {
    pub(crate) dir: PathBuf,
    before: Traces,
    outputs: AtomicU32,
    _turn: MutexGuard<'static, ()>,
}

/// A [`World`], or the end of the test, which says that it was skipped.
macro_rules! world {
    () => {
        match $crate::world::World::enter() {
            Some(world) => world,
            None => return,
        }
    };
}
pub(crate) use world;

impl World {
    pub(crate) fn enter() -> Option<Self> {
        if !nix::unistd::geteuid().is_root() {
            use std::io::Write;
            let thread = std::thread::current();
            let name = thread.name().unwrap_or("?");
            // Not eprintln: the test harness would keep it to itself.
            let _ = writeln!(std::io::stderr(), "test {name} SKIPPED: needs root");
            return None;
        }
        let turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
        unshare(CloneFlags::CLONE_NEWNET).expect("a network namespace");
        netstack::link::sys::iface::set_up("lo").expect("loopback");
        nix::sys::prctl::set_child_subreaper(true).expect("a subreaper");
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let name = format!(
            "runsc-bundles-{}-{}",
            std::process::id(),
            NEXT.fetch_add(1, Ordering::Relaxed)
        );
        let dir = std::env::temp_dir().join(name);
        fs::create_dir_all(dir.join("state")).unwrap();
        let before = Traces::now(&dir.join("state"));
        Some(Self {
            dir,
            before,
            outputs: AtomicU32::new(0),
            _turn: turn,
        })
    }

    /// Asserts that all that the test's containers were made of is gone.
    pub(crate) fn assert_nothing_left(&self) {
        let now = || Traces::now(&self.dir.join("state"));
        let clean = || (now() == self.before).then_some(());
        if eventually(Duration::from_secs(20), clean).is_none() {
            panic!("left behind: {}", now().beyond(&self.before));
        }
    }

    /// A bundle whose process is `sh -c script`.
    pub(crate) fn bundle(&self, name: &str, script: &str) -> Bundle {
        let dir = self.dir.join(name);
        make_rootfs(&dir.join("rootfs"));
        let path = dir.to_str().unwrap();
        self.ok(&["spec", "--bundle", path, "--", "sh", "-c", script]);
        let text = fs::read(dir.join("config.json")).unwrap();
        let config = serde_json::from_slice(&text).unwrap();
        Bundle { dir, config }
    }

    /// `runsc` with this world's state directory.
    pub(crate) fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(runsc());
        command.arg("--root").arg(self.dir.join("state")).args(args);
        command
            .env_clear()
            .env("PATH", PATH)
            .stdin(Stdio::null())
            .current_dir(&self.dir);
        command
    }

    /// Starts a command, its output going to files.
    pub(crate) fn start(&self, mut command: Command) -> Running {
        let number = self.outputs.fetch_add(1, Ordering::Relaxed);
        let path = |what: &str| self.dir.join(format!("{what}-{number}"));
        let (stdout, stderr) = (path("stdout"), path("stderr"));
        let child = command
            .stdout(File::create(&stdout).unwrap())
            .stderr(File::create(&stderr).unwrap())
            .spawn()
            .unwrap_or_else(|error| panic!("{command:?}: {error}"));
        Running {
            what: format!("{command:?}"),
            child,
            stdout,
            stderr,
        }
    }

    /// Runs `runsc` to its end.
    pub(crate) fn run(&self, args: &[&str]) -> Done {
        self.start(self.command(args)).finish()
    }

    /// Runs `runsc`, which has to succeed; its output.
    pub(crate) fn ok(&self, args: &[&str]) -> String {
        let done = self.run(args);
        assert_eq!(done.code, 0, "{done:?}");
        done.stdout
    }

    /// Runs `runsc`, which has to fail by itself with one sentence that contains `words`.
    pub(crate) fn refused(&self, args: &[&str], words: &str) -> Done {
        let done = self.run(args);
        done.assert_refused(words);
        done
    }

    /// What `runsc state` says.
    pub(crate) fn state(&self, id: &str) -> Value {
        serde_json::from_str(&self.ok(&["state", id])).unwrap()
    }

    /// The status in `runsc state`.
    pub(crate) fn status(&self, id: &str) -> String {
        self.state(id)["status"].as_str().unwrap().to_owned()
    }

    /// Waits until `condition` holds.
    pub(crate) fn until(&self, what: &str, mut condition: impl FnMut() -> bool) {
        let seen = eventually(LIMIT, || condition().then_some(()));
        assert!(seen.is_some(), "{what}: not within {LIMIT:?}");
    }
}

impl Drop for World {
    fn drop(&mut self) {
        if std::thread::panicking() {
            Traces::kill_descendants();
        } else {
            self.assert_nothing_left();
        }
        let _ = fs::remove_dir_all(&self.dir);
    }
}

/// A bundle whose configuration a test edits.
pub(crate) struct Bundle {
    pub(crate) dir: PathBuf,
    pub(crate) config: Value,
}

impl Bundle {
    /// Writes the configuration; the bundle's path as an argument.
    pub(crate) fn save(&self) -> &str {
        fs::write(self.dir.join("config.json"), self.config.to_string()).unwrap();
        self.path()
    }

    /// The bundle's path as an argument.
    pub(crate) fn path(&self) -> &str {
        self.dir.to_str().unwrap()
    }

    /// A file of its root on this machine.
    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.dir.join("rootfs").join(name)
    }

    /// Adds a mount.
    pub(crate) fn mount(&mut self, mount: Value) {
        self.config["mounts"].as_array_mut().unwrap().push(mount);
    }
}

/// A root file system: busybox under all its names.
pub(crate) fn make_rootfs(rootfs: &Path) {
    for dir in ["bin", "etc", "tmp", "proc", "sys", "dev"] {
        fs::create_dir_all(rootfs.join(dir)).unwrap();
    }
    fs::copy("/bin/busybox", rootfs.join("bin/busybox"))
        .expect("/bin/busybox (of the package busybox-static)");
    let list = Command::new("/bin/busybox").arg("--list").output().unwrap();
    for name in String::from_utf8(list.stdout).unwrap().lines() {
        let _ = symlink("busybox", rootfs.join("bin").join(name));
    }
}

/// A command that has been started.
pub(crate) struct Running {
    what: String,
    pub(crate) child: Child,
    stdout: PathBuf,
    stderr: PathBuf,
}

impl Running {
    /// Its process.
    pub(crate) fn pid(&self) -> Pid {
        Pid::from_raw(i32::try_from(self.child.id()).unwrap())
    }

    pub(crate) fn signal(&self, signal: Signal) {
        kill(self.pid(), signal).unwrap();
    }

    /// What it, and what it left running, has written so far.
    pub(crate) fn written(&self) -> String {
        fs::read_to_string(&self.stdout).unwrap_or_default()
    }

    /// Waits until it has written `text`.
    pub(crate) fn until_written(&mut self, text: &str) {
        let deadline = Instant::now() + LIMIT;
        while !self.written().contains(text) {
            let errors = fs::read_to_string(&self.stderr).unwrap_or_default();
            let ended = self.child.try_wait().unwrap();
            assert!(
                ended.is_none() || self.written().contains(text),
                "{}: {ended:?} before {text:?}: {errors}",
                self.what
            );
            assert!(Instant::now() < deadline, "{}: no {text:?}", self.what);
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Waits for its end.
    pub(crate) fn finish(mut self) -> Done {
        use std::os::unix::process::ExitStatusExt;
        let ended = eventually(LIMIT, || self.child.try_wait().unwrap());
        let Some(status) = ended else {
            let _ = self.child.kill();
            let _ = self.child.wait();
            let errors = fs::read_to_string(&self.stderr).unwrap_or_default();
            panic!(
                "{} did not end within {LIMIT:?}: {}{errors}",
                self.what,
                self.written()
            );
        };
        let read = |path: &Path| {
            let bytes = fs::read(path).unwrap_or_default();
            String::from_utf8_lossy(&bytes).into_owned()
        };
        Done {
            what: self.what,
            code: status
                .code()
                .unwrap_or_else(|| -status.signal().unwrap_or(0)),
            stdout: read(&self.stdout),
            stderr: read(&self.stderr),
        }
    }
}

/// A command that has ended.
#[derive(Debug)]
pub(crate) struct Done {
    #[allow(dead_code)] // for the report of a failure
    what: String,
    /// Exit status; minus the signal that killed it.
    pub(crate) code: i32,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Done {
    /// It was runsc's own failure: status 128, one line, which contains `words`.
    pub(crate) fn assert_refused(&self, words: &str) {
        assert_eq!(self.code, 128, "{self:?}");
        assert!(self.stderr.starts_with("runsc: "), "{self:?}");
        assert_eq!(self.stderr.trim_end().lines().count(), 1, "{self:?}");
        assert!(self.stderr.contains(words), "no {words:?} in {self:?}");
    }
}
