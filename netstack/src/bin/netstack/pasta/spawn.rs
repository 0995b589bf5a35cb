//! A command in namespaces of its own. Two processes come before it: one makes the namespaces and waits
//! for the network; the other is the first in the new PID namespace, and becomes the command.

use std::ffi::OsString;
use std::fs;
use std::io::{Read, Write};
use std::os::fd::{AsRawFd, RawFd};
use std::os::unix::net::UnixStream;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Child, Command, ExitCode, ExitStatus};

use netstack::link::sys::donate;
use nix::fcntl::{FcntlArg, FdFlag, fcntl};
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use nix::sys::prctl::set_pdeathsig;
use nix::sys::signal::Signal;
use nix::unistd::{getgid, getuid};

use crate::Failure;

/// In which ping sockets of the namespace's only user are allowed.
const PING_GROUPS: &str = "/proc/sys/net/ipv4/ping_group_range";

/// How the process that makes the namespaces is told.
#[derive(Debug, clap::Args)]
pub(crate) struct SpawnArgs {
    #[arg(long)]
    socket: RawFd,
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    command: Vec<OsString>,
}

/// How the first process in the namespaces is told.
#[derive(Debug, clap::Args)]
pub(crate) struct ExecArgs {
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    command: Vec<OsString>,
}

/// The process that has the namespaces, and has the command wait.
pub(super) struct Spawned {
    child: Child,
    socket: UnixStream,
}

impl Spawned {
    /// Makes the namespaces. The command is the user's shell if there is none.
    pub(super) fn start(command: &[OsString]) -> Result<Self, Failure> {
        let (mut socket, theirs) = UnixStream::pair()?;
        fcntl(&theirs, FcntlArg::F_SETFD(FdFlag::empty()))?;
        let shell = || std::env::var_os("SHELL").unwrap_or_else(|| "/bin/sh".into());
        let command = match command {
            [] => vec![shell()],
            given => given.to_vec(),
        };
        let child = Command::new("/proc/self/exe")
            .arg("pasta-spawn")
            .args(["--socket", &theirs.as_raw_fd().to_string(), "--"])
            .args(command)
            .spawn();
        drop(theirs);
        let mut child = child?;
        match socket.read_exact(&mut [0]) {
            Ok(()) => Ok(Self { child, socket }),
            Err(_) => {
                let status = child.wait()?;
                Err(Failure(format!("the command was not started ({status})")))
            }
        }
    }

    pub(super) fn id(&self) -> u32 {
        self.child.id()
    }

    /// Has something to say when the command has ended.
    pub(super) fn end(&self) -> Result<UnixStream, Failure> {
        Ok(self.socket.try_clone()?)
    }

    /// Lets the command begin.
    pub(super) fn go(&mut self) -> Result<(), Failure> {
        Ok(self.socket.write_all(b"g")?)
    }

    /// The command's exit status, as a shell gives it.
    pub(super) fn wait(mut self) -> Result<ExitCode, Failure> {
        Ok(exit_code(self.child.wait()?))
    }
}

fn exit_code(status: ExitStatus) -> ExitCode {
    let code = status.code();
    let code = code.or_else(|| status.signal().map(|signal| 128 + signal));
    ExitCode::from(code.unwrap_or(1) as u8)
}

/// Makes the namespaces, waits for the network, has the command run, and waits for its end.
pub(crate) fn spawn(args: &SpawnArgs) -> Result<ExitCode, Failure> {
    let mut parent = UnixStream::from(donate::inherited(args.socket)?);
    nix::unistd::close(args.socket)?;
    new_namespaces()?;
    set_pdeathsig(Signal::SIGKILL)?;
    parent.write_all(b"u")?;
    // Without a word, setting up has failed, and that has been said.
    if parent.read_exact(&mut [0]).is_err() {
        return Ok(ExitCode::FAILURE);
    }
    let status = Command::new("/proc/self/exe")
        .args(["pasta-exec", "--"])
        .args(&args.command)
        .status()?;
    Ok(exit_code(status))
}

fn new_namespaces() -> Result<(), Failure> {
    let (uid, gid) = (getuid(), getgid());
    let flags = CloneFlags::CLONE_NEWUSER
        | CloneFlags::CLONE_NEWNET
        | CloneFlags::CLONE_NEWPID
        | CloneFlags::CLONE_NEWNS
        | CloneFlags::CLONE_NEWIPC
        | CloneFlags::CLONE_NEWUTS;
    let failed = |error: &dyn std::fmt::Display| {
        Failure(format!(
            "cannot make namespaces: {error}; the system may not allow user namespaces to users (sysctl user.max_user_namespaces)"
        ))
    };
    unshare(flags).map_err(|error| failed(&error))?;
    let maps = [
        ("setgroups", "deny".to_owned()),
        ("uid_map", format!("0 {uid} 1")),
        ("gid_map", format!("0 {gid} 1")),
    ];
    for (file, text) in maps {
        fs::write(format!("/proc/self/{file}"), text).map_err(|error| failed(&error))?;
    }
    Ok(())
}

/// Becomes the command, as the first process in its PID namespace.
pub(crate) fn exec(args: &ExecArgs) -> Result<ExitCode, Failure> {
    set_pdeathsig(Signal::SIGKILL)?;
    // Pings, and a /proc that shows the new namespace, are good to have; where the system does not allow
    // them (a /proc with parts covered), the command runs without.
    let _ = fs::write(PING_GROUPS, "0 0");
    let _ = own_proc();
    let Some((program, arguments)) = args.command.split_first() else {
        return Err(Failure("no command".into()));
    };
    let error = Command::new(program).args(arguments).exec();
    let name = program.to_string_lossy();
    Err(Failure(format!("cannot run {name}: {error}")))
}

fn own_proc() -> nix::Result<()> {
    let none: Option<&str> = None;
    mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_SLAVE, none)?;
    let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
    mount(Some("proc"), "/proc", Some("proc"), flags, none)
}
