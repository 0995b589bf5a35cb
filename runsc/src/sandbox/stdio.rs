//! Standard streams of a process that a verb starts: the caller's own, or a new terminal.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

use nix::pty::openpty;
use nix::sys::termios::{SetArg, Termios, cfmakeraw, tcgetattr, tcsetattr};
use thiserror::Error;

use super::transport::{self, Donation, FdIndex};

/// Why a terminal could not be made.
#[derive(Debug, Error)]
pub(crate) enum ConsoleError {
    #[error("cannot open a pseudo-terminal")]
    Pty(#[source] io::Error),
    #[error("cannot send the terminal to the console socket {path}", path = .path.display())]
    Socket {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error(
        "--console-socket {path} is given, but the process has no terminal (process.terminal, --tty)", path = .0.display()
    )]
    NoTerminalWanted(PathBuf),
    #[error("a process with a terminal in the background needs --console-socket")]
    NeedsSocket,
    #[error(
        "the process wants a terminal, but standard input is none; run it from one, or with --console-socket"
    )]
    NoTerminal,
    #[error("cannot pass on the standard streams")]
    Stdio(#[source] io::Error),
}

/// The standard streams of a process, and what to undo when it has ended.
pub(crate) struct Streams {
    /// Standard input, output and error in the donation.
    pub(crate) stdio: [Option<FdIndex>; 3],
    /// The caller's terminal while it is raw.
    pub(crate) raw: Option<RawTerminal>,
    /// The slave of the new terminal.
    pub(crate) slave: Option<OwnedFd>,
}

/// The streams of a process: without a terminal our own. A terminal of the sandbox is shown on a new
/// one whose master is sent to `console_socket`, or, in the foreground, on our own.
pub(crate) fn for_process(
    terminal: bool,
    console_socket: Option<&Path>,
    foreground: bool,
    donation: &mut Donation,
) -> Result<Streams, ConsoleError> {
    match (terminal, console_socket) {
        (false, Some(path)) => Err(ConsoleError::NoTerminalWanted(path.to_owned())),
        (false, None) => Ok(Streams {
            stdio: own(donation).map_err(ConsoleError::Stdio)?,
            raw: None,
            slave: None,
        }),
        (true, Some(path)) => {
            let (stdio, slave) = console(path, donation)?;
            Ok(Streams {
                stdio,
                raw: None,
                slave: Some(slave),
            })
        }
        (true, None) if !foreground => Err(ConsoleError::NeedsSocket),
        (true, None) => {
            let raw = RawTerminal::new().map_err(|_| ConsoleError::NoTerminal)?;
            Ok(Streams {
                stdio: own(donation).map_err(ConsoleError::Stdio)?,
                raw: Some(raw),
                slave: None,
            })
        }
    }
}

/// Our terminal in raw mode (the sandbox's has the line discipline); dropping it restores the mode.
pub(crate) struct RawTerminal {
    before: Termios,
}

impl RawTerminal {
    /// Makes standard input raw.
    ///
    /// # Errors
    /// ENOTTY if it is no terminal.
    pub(crate) fn new() -> io::Result<Self> {
        let before = make_raw(io::stdin().as_fd())?;
        Ok(Self { before })
    }
}

impl Drop for RawTerminal {
    fn drop(&mut self) {
        // A terminal that is gone needs no mode.
        let _ = tcsetattr(io::stdin(), SetArg::TCSADRAIN, &self.before);
    }
}

/// Makes a terminal raw; its mode before.
fn make_raw(fd: BorrowedFd<'_>) -> io::Result<Termios> {
    let before = tcgetattr(fd)?;
    let mut raw = before.clone();
    cfmakeraw(&mut raw);
    tcsetattr(fd, SetArg::TCSANOW, &raw)?;
    Ok(before)
}

fn console(
    path: &Path,
    donation: &mut Donation,
) -> Result<([Option<FdIndex>; 3], OwnedFd), ConsoleError> {
    let pty = openpty(None, None).map_err(|errno| ConsoleError::Pty(errno.into()))?;
    make_raw(pty.slave.as_fd()).map_err(ConsoleError::Pty)?;
    let failed = |source| ConsoleError::Socket {
        path: path.to_owned(),
        source,
    };
    let socket = UnixStream::connect(path).map_err(failed)?;
    transport::send_console(&socket, pty.master.as_fd()).map_err(failed)?;
    let mut indices = [None; 3];
    for index in &mut indices {
        *index = Some(
            donation
                .add_copy(pty.slave.as_fd())
                .map_err(ConsoleError::Stdio)?,
        );
    }
    Ok((indices, pty.slave))
}

/// Donates the caller's own standard streams; a closed one stays closed.
///
/// # Errors
/// EMFILE.
pub(crate) fn own(donation: &mut Donation) -> io::Result<[Option<FdIndex>; 3]> {
    let (stdin, stdout, stderr) = (io::stdin(), io::stdout(), io::stderr());
    let mut indices = [None; 3];
    for (index, fd) in indices
        .iter_mut()
        .zip([stdin.as_fd(), stdout.as_fd(), stderr.as_fd()])
    {
        *index = match donation.add_copy(fd) {
            Ok(place) => Some(place),
            Err(error) if error.raw_os_error() == Some(libc::EBADF) => None,
            Err(error) => return Err(error),
        };
    }
    Ok(indices)
}
