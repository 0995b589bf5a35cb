//! Requests to a running sandbox: one request and one answer a connection, over a Unix socket in the
//! container's folder.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;

use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::plan::ProcessPlan;
use super::transport::{self, Donation};

/// What is asked.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Request {
    /// Let the init process run.
    Start,
    /// Send a signal.
    Signal { signo: i32, target: SignalTarget },
    /// Start another process; answered by [`Answer::Started`], and with `wait` by [`Answer::Exited`]
    /// on the same connection when it has ended.
    Exec {
        process: Box<ProcessPlan>,
        wait: bool,
    },
    /// All processes.
    Processes,
    /// Wait for the end of a process that was started from outside (the first one, or one of
    /// `exec`); answered by [`Answer::Exited`].
    Wait { pid: i32 },
}

/// Who gets a signal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum SignalTarget {
    /// The container's init process.
    Init,
    /// Every process.
    All,
    /// One process, by its number inside.
    Process(i32),
}

/// What comes back.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Answer {
    Done,
    Started {
        pid: i32,
    },
    Processes(Vec<ProcessRow>),
    /// Exit status as a shell sees it (128 + signal if it was killed).
    Exited {
        status: i32,
    },
    /// Refused, and why.
    Failed(String),
}

/// One process, as `runsc ps` shows it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct ProcessRow {
    pub(crate) uid: u32,
    pub(crate) pid: i32,
    pub(crate) ppid: i32,
    pub(crate) threads: usize,
    pub(crate) cpu_ns: u64,
    pub(crate) command: String,
}

/// Why a request failed.
#[derive(Debug, Error)]
pub(crate) enum ControlError {
    #[error("the sandbox does not answer; its process may be gone (`runsc state` tells)")]
    Connect(#[source] io::Error),
    #[error("the sandbox ended before it answered")]
    Closed,
    #[error("the connection to the sandbox broke")]
    Broken(#[source] io::Error),
    #[error("{0}")]
    Refused(String),
}

const SOCKET: &str = "control.sock";

/// Makes the socket in the container's folder.
///
/// # Errors
/// The host's.
pub(crate) fn listen(dir: &Path) -> io::Result<OwnedFd> {
    with_short_path(dir, |path| UnixListener::bind(path)).map(OwnedFd::from)
}

/// Sends one request and waits for the answer.
pub(crate) fn ask(
    dir: &Path,
    request: &Request,
    donation: Donation,
) -> Result<Answer, ControlError> {
    Asked::new(dir, request, donation)?.answer()
}

/// A request that has been sent.
pub(crate) struct Asked(UnixStream);

impl Asked {
    /// Sends a request.
    pub(crate) fn new(
        dir: &Path,
        request: &Request,
        donation: Donation,
    ) -> Result<Self, ControlError> {
        let mut socket = with_short_path(dir, |path| UnixStream::connect(path))
            .map_err(ControlError::Connect)?;
        transport::send(&mut socket, request, donation).map_err(ControlError::Broken)?;
        Ok(Self(socket))
    }

    /// Waits for its next answer.
    pub(crate) fn answer(&mut self) -> Result<Answer, ControlError> {
        match transport::receive::<Answer>(&mut self.0) {
            Ok(Some((Answer::Failed(why), _))) => Err(ControlError::Refused(why)),
            Ok(Some((answer, _))) => Ok(answer),
            Ok(None) => Err(ControlError::Closed),
            Err(error) => match error.raw_os_error() {
                Some(libc::ECONNRESET) => Err(ControlError::Closed),
                _ => Err(ControlError::Broken(error)),
            },
        }
    }
}

impl AsFd for Asked {
    /// Readable when an answer is there.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// Unix socket addresses hold 107 bytes, and state directories are often longer: go through a
/// descriptor of the directory.
fn with_short_path<T>(dir: &Path, act: impl FnOnce(&Path) -> io::Result<T>) -> io::Result<T> {
    let dir = std::fs::File::open(dir)?;
    act(Path::new(&format!(
        "/proc/self/fd/{}/{SOCKET}",
        dir.as_raw_fd()
    )))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_directory_is_no_obstacle() {
        let dir =
            std::env::temp_dir().join(format!("runsc-{}-{}", std::process::id(), "x".repeat(150)));
        std::fs::create_dir_all(&dir).unwrap();
        let listener = UnixListener::from(listen(&dir).unwrap());
        let server = std::thread::spawn(move || {
            let (mut socket, _) = listener.accept().unwrap();
            let (request, _) = transport::receive::<Request>(&mut socket).unwrap().unwrap();
            assert!(matches!(request, Request::Wait { pid: 7 }));
            transport::send(
                &mut socket,
                &Answer::Exited { status: 3 },
                Donation::default(),
            )
            .unwrap();
        });
        let answer = ask(&dir, &Request::Wait { pid: 7 }, Donation::default()).unwrap();
        assert!(matches!(answer, Answer::Exited { status: 3 }));
        server.join().unwrap();
        std::fs::remove_dir_all(&dir).unwrap();
        assert!(matches!(
            ask(&dir, &Request::Start, Donation::default()),
            Err(ControlError::Connect(_))
        ));
    }
}
