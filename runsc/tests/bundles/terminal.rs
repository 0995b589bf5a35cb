//! Terminals: through a console socket as container engines have it, and the caller's own.

#![allow(unsafe_code)] // ioctls of terminals, and what runs between fork and exec

use std::fs::File;
use std::io::{IoSliceMut, Read, Write};
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::net::UnixListener;
use std::os::unix::process::CommandExt;
use std::process::Command;
use std::time::Instant;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::pty::{OpenptyResult, Winsize, openpty};
use nix::sys::socket::{ControlMessageOwned, MsgFlags, recvmsg};
use nix::sys::termios::{LocalFlags, tcgetattr};
use serde_json::json;

use crate::lifecycle::sleeper;
use crate::world::{LIMIT, World, world};

/// A terminal that the test sits at.
struct Screen {
    master: File,
    shown: String,
}

impl Screen {
    fn new(master: OwnedFd) -> Self {
        Self {
            master: master.into(),
            shown: String::new(),
        }
    }

    fn type_in(&mut self, text: &str) {
        self.master.write_all(text.as_bytes()).unwrap();
    }

    /// Reads until `text` has been shown, and forgets what came up to there.
    fn until(&mut self, text: &str) {
        let deadline = Instant::now() + LIMIT;
        loop {
            if let Some(at) = self.shown.find(text) {
                self.shown.drain(..at + text.len());
                return;
            }
            assert!(
                self.read_more(deadline),
                "no {text:?} in {:?} before the end",
                self.shown
            );
        }
    }

    /// Reads to the hang-up.
    fn read_all(mut self) -> String {
        let deadline = Instant::now() + LIMIT;
        while self.read_more(deadline) {}
        self.shown
    }

    /// False at the end (EIO is a hang-up's).
    fn read_more(&mut self, deadline: Instant) -> bool {
        let left = deadline.saturating_duration_since(Instant::now());
        let mut fds = [PollFd::new(self.master.as_fd(), PollFlags::POLLIN)];
        let timeout = PollTimeout::try_from(left).unwrap();
        assert!(
            poll(&mut fds, timeout).unwrap() > 0,
            "only {:?}",
            self.shown
        );
        let mut bytes = [0; 4096];
        match self.master.read(&mut bytes) {
            Ok(count) if count > 0 => {
                self.shown
                    .push_str(&String::from_utf8_lossy(&bytes[..count]));
                true
            }
            _ => false,
        }
    }

    fn resize(&self, rows: u16, columns: u16) {
        let size = Winsize {
            ws_row: rows,
            ws_col: columns,
            ws_xpixel: 0,
            ws_ypixel: 0,
        };
        // SAFETY: TIOCSWINSZ reads a winsize.
        let result =
            unsafe { libc::ioctl(self.master.as_raw_fd(), libc::TIOCSWINSZ, &raw const size) };
        assert_eq!(result, 0);
    }
}

/// What an engine listens on for the terminal's master.
struct ConsoleSocket {
    listener: UnixListener,
    path: String,
}

impl ConsoleSocket {
    fn new(world: &World, name: &str) -> Self {
        let path = world.dir.join(name);
        Self {
            listener: UnixListener::bind(&path).unwrap(),
            path: path.to_str().unwrap().to_owned(),
        }
    }

    fn receive(&self) -> Screen {
        let (socket, _) = self.listener.accept().unwrap();
        let mut name = [0; 64];
        let mut parts = [IoSliceMut::new(&mut name)];
        let mut space = nix::cmsg_space!(RawFd);
        let flags = MsgFlags::MSG_CMSG_CLOEXEC;
        let message =
            recvmsg::<()>(socket.as_raw_fd(), &mut parts, Some(&mut space), flags).unwrap();
        let rights: Vec<RawFd> = message
            .cmsgs()
            .unwrap()
            .flat_map(|control| match control {
                ControlMessageOwned::ScmRights(fds) => fds,
                _ => Vec::new(),
            })
            .collect();
        assert_eq!(rights.len(), 1);
        // SAFETY: the kernel has just installed it for us.
        Screen::new(unsafe { OwnedFd::from_raw_fd(rights[0]) })
    }
}

/// A program hears of a new size, with nothing typed.
fn resize_under(screen: &mut Screen) {
    let script = "trap \"stty size; exit\" WINCH; echo wait$((1))ing; while :; do sleep 0.05; done";
    screen.type_in(&format!("sh -c '{script}'\n"));
    screen.until("wait1ing\r\n");
    screen.resize(33, 101);
    screen.until("33 101\r\n");
}

/// A person at a shell: echo, arithmetic, job control, the window's size.
fn sit_at(screen: &mut Screen) {
    screen.type_in("echo $((6 * 7)); tty\n");
    screen.until("echo $((6 * 7)); tty\r\n");
    screen.until("42\r\n/dev/pts/");
    screen.type_in("sh -c 'echo run$((1))ning; exec sleep 1000'\n");
    screen.until("run1ning\r\n");
    screen.type_in("\x03");
    screen.until("^C");
    screen.type_in("echo 'still' here; [ -t 0 ] && [ -t 1 ] && [ -t 2 ] && echo all $((1 + 1))\n");
    screen.until("still here\r\nall 2\r\n");
    screen.type_in("sh -c 'echo read$((1))ing; exec wc -l'\n");
    screen.until("read1ing\r\n");
    screen.type_in("line\n");
    screen.until("line\r\n");
    screen.type_in("\x04");
    screen.until("1\r\n");
    screen.type_in("echo eof $((2 + 2))\n");
    screen.until("eof 4\r\n");
}

#[test]
fn a_shell_over_a_console_socket() {
    let world = world!();
    let mut bundle = world.bundle("b", "true");
    bundle.config["process"]["terminal"] = json!(true);
    bundle.config["process"]["args"] = json!(["sh"]);
    let socket = ConsoleSocket::new(&world, "console");
    let create = [
        "create",
        "--bundle",
        bundle.save(),
        "--console-socket",
        &socket.path,
        "c",
    ];
    world.ok(&create);
    let mut screen = socket.receive();
    world.ok(&["start", "c"]);
    sit_at(&mut screen);
    resize_under(&mut screen);
    screen.type_in("echo last words; exit 3\n");
    let shown = screen.read_all();
    assert!(shown.contains("last words\r\n"), "{shown:?}");
    world.until("stopped", || world.status("c") == "stopped");
    world.ok(&["delete", "c"]);
}

#[test]
fn a_hang_up_ends_the_shell() {
    let world = world!();
    let mut bundle = world.bundle("b", "true");
    bundle.config["process"]["terminal"] = json!(true);
    bundle.config["process"]["args"] = json!(["sh"]);
    let socket = ConsoleSocket::new(&world, "console");
    let run = [
        "run",
        "-d",
        "--bundle",
        bundle.save(),
        "--console-socket",
        &socket.path,
        "c",
    ];
    world.ok(&run);
    let mut screen = socket.receive();
    screen.type_in("echo $((5 + 5))\n");
    screen.until("10\r\n");
    drop(screen);
    world.until("stopped", || world.status("c") == "stopped");
    world.ok(&["delete", "c"]);
}

#[test]
fn exec_with_a_console_socket() {
    let world = world!();
    sleeper(&world, "c");
    let socket = ConsoleSocket::new(&world, "console");
    let exec = [
        "exec",
        "-t",
        "-d",
        "--console-socket",
        &socket.path,
        "c",
        "sh",
    ];
    world.ok(&exec);
    let mut screen = socket.receive();
    sit_at(&mut screen);
    resize_under(&mut screen);
    let second = [
        "exec",
        "-t",
        "--console-socket",
        &socket.path,
        "c",
        "sh",
        "-c",
        "tty; exit 5",
    ];
    let second = world.start(world.command(&second));
    let shown = socket.receive().read_all();
    assert_eq!(shown, "/dev/pts/1\r\n");
    assert_eq!(second.finish().code, 5);
    screen.type_in("exit\n");
    screen.read_all();
    assert_eq!(world.status("c"), "running");
    world.ok(&["delete", "--force", "c"]);
}

#[test]
fn a_terminal_in_the_background_needs_a_socket() {
    let world = world!();
    let mut bundle = world.bundle("b", "true");
    bundle.config["process"]["terminal"] = json!(true);
    let path = bundle.save();
    world.refused(&["create", "--bundle", path, "c"], "--console-socket");
    world.refused(&["run", "-d", "--bundle", path, "c"], "--console-socket");
    world.refused(&["run", "--bundle", path, "c"], "standard input is none");
    let nowhere = [
        "create",
        "--console-socket",
        "/nonexistent",
        "--bundle",
        path,
        "c",
    ];
    world.refused(&nowhere, "console socket /nonexistent");
    bundle.config["process"]["terminal"] = json!(false);
    let unwanted = [
        "create",
        "--console-socket",
        "/x",
        "--bundle",
        bundle.save(),
        "c",
    ];
    world.refused(&unwanted, "has no terminal");
}

/// Makes `command` a session leader with `slave` as its terminal, all streams or the first two on it.
fn seat(command: &mut Command, slave: &OwnedFd) {
    let copy = || slave.try_clone().unwrap();
    command.stdin(copy()).stdout(copy()).stderr(copy());
    let enter = || {
        nix::unistd::setsid()?;
        // SAFETY: the request takes an int.
        if unsafe { libc::ioctl(0, libc::TIOCSCTTY, 0) } < 0 {
            return Err(std::io::Error::last_os_error());
        }
        Ok(())
    };
    // SAFETY: the closure only makes system calls.
    unsafe { command.pre_exec(enter) };
}

/// Runs `runsc` at a terminal.
fn at_terminal(world: &World, args: &[&str]) -> (std::process::Child, Screen, OwnedFd) {
    let OpenptyResult { master, slave } = openpty(None, None).unwrap();
    for fd in [&master, &slave] {
        let cloexec = nix::fcntl::FcntlArg::F_SETFD(nix::fcntl::FdFlag::FD_CLOEXEC);
        nix::fcntl::fcntl(fd, cloexec).unwrap();
    }
    let screen = Screen::new(master);
    screen.resize(24, 80);
    let mut command = world.command(args);
    seat(&mut command, &slave);
    (command.spawn().unwrap(), screen, slave)
}

/// The exit status of a child that has to end.
fn ended(child: &mut std::process::Child) -> Option<i32> {
    let deadline = Instant::now() + LIMIT;
    loop {
        if let Some(status) = child.try_wait().unwrap() {
            return status.code();
        }
        assert!(Instant::now() < deadline, "it does not end");
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
}

fn is_cooked(terminal: &OwnedFd) -> bool {
    let flags = tcgetattr(terminal).unwrap().local_flags;
    flags.contains(LocalFlags::ICANON | LocalFlags::ISIG | LocalFlags::ECHO)
}

#[test]
fn run_at_the_callers_terminal() {
    let world = world!();
    let mut bundle = world.bundle("b", "true");
    bundle.config["process"]["terminal"] = json!(true);
    bundle.config["process"]["args"] = json!(["sh"]);
    let (mut run, mut screen, slave) =
        at_terminal(&world, &["run", "--bundle", bundle.save(), "c"]);
    sit_at(&mut screen);
    screen.type_in("stty size\n");
    screen.until("24 80\r\n");
    resize_under(&mut screen);
    screen.type_in("exit 7\n");
    assert_eq!(ended(&mut run), Some(7));
    assert!(is_cooked(&slave), "the terminal's mode is restored");
}

#[test]
fn exec_at_the_callers_terminal() {
    let world = world!();
    sleeper(&world, "c");
    let (mut exec, mut screen, slave) = at_terminal(&world, &["exec", "--tty", "c", "sh"]);
    sit_at(&mut screen);
    resize_under(&mut screen);
    screen.type_in("exit 8\n");
    assert_eq!(ended(&mut exec), Some(8));
    assert!(is_cooked(&slave));
    world.ok(&["delete", "--force", "c"]);
}

#[test]
fn do_at_a_terminal_is_a_shell_with_job_control() {
    let world = world!();
    let (mut done, mut screen, slave) =
        at_terminal(&world, &["--network=none", "do", "busybox", "sh"]);
    sit_at(&mut screen);
    resize_under(&mut screen);
    screen.type_in("exit 9\n");
    assert_eq!(ended(&mut done), Some(9));
    assert!(is_cooked(&slave));
}

#[test]
fn interrupt_ends_what_do_runs() {
    let world = world!();
    for program in [
        ["busybox", "sh", "-c", "echo up; read line"],
        ["bash", "-c", "echo up; sleep 1000; echo not reached", ""],
    ] {
        let (mut done, mut screen, slave) =
            at_terminal(&world, &[&["--network=none", "do"], &program[..]].concat());
        screen.until("up");
        screen.type_in("\x03");
        assert_eq!(ended(&mut done), Some(130), "{program:?}");
        assert!(is_cooked(&slave));
        drop(slave);
        assert_eq!(screen.read_all(), "\r\n^C");
        world.assert_nothing_left();
    }
}

/// With its output elsewhere there is no terminal inside: the signal is this machine's terminal's.
#[test]
fn interrupt_ends_what_do_runs_with_its_output_in_a_file() {
    let world = world!();
    let OpenptyResult { master, slave } = openpty(None, None).unwrap();
    let mut screen = Screen::new(master);
    let mut command = world.command(&[
        "--network=none",
        "do",
        "busybox",
        "sh",
        "-c",
        "echo up; read line",
    ]);
    seat(&mut command, &slave);
    let mut running = world.start(command);
    running.until_written("up");
    screen.type_in("\x03");
    assert_eq!(running.finish().code, 130);
}
