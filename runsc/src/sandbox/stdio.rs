//! Standard streams of a process that a verb starts: the caller's own, or a new terminal.

use std::io;
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

use nix::pty::openpty;
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
    #[error("cannot pass on the standard streams")]
    Stdio(#[source] io::Error),
}

/// The streams of a process: a new terminal, its master sent to `console_socket`, or our own.
pub(crate) fn for_process(
    terminal: bool,
    console_socket: Option<&Path>,
    donation: &mut Donation,
) -> Result<[Option<FdIndex>; 3], ConsoleError> {
    match console_socket.filter(|_| terminal) {
        Some(path) => console(path, donation),
        None => own(donation).map_err(ConsoleError::Stdio),
    }
}

fn console(path: &Path, donation: &mut Donation) -> Result<[Option<FdIndex>; 3], ConsoleError> {
    let pty = openpty(None, None).map_err(|errno| ConsoleError::Pty(errno.into()))?;
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
    Ok(indices)
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
