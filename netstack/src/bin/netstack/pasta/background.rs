//! Another user than root, and going on in the background.

use std::fs;
use std::io::{Read, Write};
use std::path::Path;
use std::process::{Command, ExitCode, Stdio};

use nix::sys::prctl::set_dumpable;
use nix::unistd::{
    Gid, Group, Uid, User, dup2_stderr, dup2_stdin, dup2_stdout, getuid, setgid, setgroups, setsid,
    setuid,
};

use crate::Failure;

/// Runs this program again with the same arguments, in the background, until it says that it is ready.
/// What goes wrong before it says itself.
pub(super) fn launch() -> Result<ExitCode, Failure> {
    let mut child = Command::new("/proc/self/exe")
        .args(["pasta", "--in-background"])
        .args(crate::arguments().into_iter().skip(2))
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()?;
    let mut said = String::new();
    if let Some(mut stdout) = child.stdout.take() {
        stdout.read_to_string(&mut said)?;
    }
    if said == "1" {
        return Ok(ExitCode::SUCCESS);
    }
    let status = child.wait()?;
    Ok(ExitCode::from(status.code().unwrap_or(1) as u8))
}

/// Leaves the terminal's session.
pub(super) fn leave_session() -> Result<(), Failure> {
    setsid()?;
    Ok(())
}

/// Where what is not wanted any more leads. Opened before the files are left behind.
pub(super) struct Nowhere(fs::File);

impl Nowhere {
    pub(super) fn open() -> Result<Self, Failure> {
        let file = fs::File::options().read(true).write(true).open("/dev/null");
        Ok(Self(file?))
    }

    /// Tells whoever waits for it, and lets go of what came with the command line.
    pub(super) fn ready(self) -> Result<(), Failure> {
        let mut stdout = std::io::stdout();
        stdout.write_all(b"1")?;
        stdout.flush()?;
        dup2_stdin(&self.0)?;
        dup2_stdout(&self.0)?;
        dup2_stderr(&self.0)?;
        Ok(())
    }
}

/// The file of `--pid`: opened with the rights that the program was started with, written when all stands.
pub(super) struct PidFile(fs::File);

impl PidFile {
    pub(super) fn open(path: &Path) -> Result<Self, Failure> {
        let file = fs::File::create(path);
        file.map(Self)
            .map_err(|error| Failure(format!("--pid {}: {error}", path.display())))
    }

    pub(super) fn write(mut self) -> Result<(), Failure> {
        let line = format!("{}\n", std::process::id());
        self.0
            .write_all(line.as_bytes())
            .map_err(|error| Failure(format!("--pid: {error}")))
    }
}

/// Root of the machine, and not only of a user namespace.
pub(super) fn is_real_root() -> bool {
    // The first user namespace has all numbers as they are.
    let map = fs::read_to_string("/proc/self/uid_map").unwrap_or_default();
    let fields: Vec<&str> = map.split_whitespace().collect();
    getuid().is_root() && fields == ["0", "0", "4294967295"]
}

/// Whom `--runas` names: "nobody" without it.
pub(super) fn user(named: Option<&str>) -> Result<(Uid, Gid), Failure> {
    let text = named.unwrap_or("nobody");
    let unknown = || Failure(format!("--runas {text}: there is no such user or group"));
    let (user, group) = match text.split_once(':') {
        Some((user, group)) => (user, Some(group)),
        None => (text, None),
    };
    let found = match user.parse() {
        Ok(number) => User::from_uid(Uid::from_raw(number))?.map(|user| (user.uid, user.gid)),
        Err(_) => User::from_name(user)?.map(|user| (user.uid, user.gid)),
    };
    let numbers = user
        .parse()
        .ok()
        .map(|number| (Uid::from_raw(number), Gid::from_raw(number)));
    let (uid, own) = found.or(numbers).ok_or_else(unknown)?;
    let gid = match group.map(|group| (group, group.parse())) {
        None => own,
        Some((_, Ok(number))) => Gid::from_raw(number),
        Some((name, Err(_))) => Group::from_name(name)?.ok_or_else(unknown)?.gid,
    };
    if uid.is_root() {
        return Err(Failure("--runas: not root".into()));
    }
    Ok((uid, gid))
}

/// Becomes another user for good.
pub(super) fn become_user((uid, gid): (Uid, Gid)) -> Result<(), Failure> {
    setgroups(&[])?;
    setgid(gid)?;
    setuid(uid)?;
    // Or its own /proc files would be root's, and it could make no user namespace.
    set_dumpable(true)?;
    Ok(())
}
