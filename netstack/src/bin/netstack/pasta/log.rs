//! Where messages go: a file; or standard error, as long as it is there, and the system's log.

use std::fs::{File, OpenOptions};
use std::io::{Read, Seek, SeekFrom, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::net::UnixDatagram;
use std::path::Path;

use crate::Failure;

const SYSTEM_LOG: &str = "/dev/log";
/// RFC 3164: daemon facility (3), severities.
const DAEMON: u8 = 3 << 3;
const WARNING: u8 = 4;
const INFO: u8 = 6;
const DEBUG: u8 = 7;

/// The log.
#[derive(Debug)]
pub(super) struct Log {
    /// Severities above are left out.
    most: u8,
    stderr: bool,
    file: Option<Limited>,
    system: Option<UnixDatagram>,
}

/// A file that stays below a size.
#[derive(Debug)]
struct Limited {
    file: File,
    len: u64,
    max: u64,
}

impl Log {
    /// To the file only, if there is one.
    pub(super) fn open(
        (quiet, debug): (bool, bool),
        file: Option<&Path>,
        max: u64,
    ) -> Result<Self, Failure> {
        let file = file.map(|path| Limited::open(path, max)).transpose()?;
        let system = file.is_none().then(system_log).flatten();
        Ok(Self {
            most: match (quiet, debug) {
                (true, _) => WARNING,
                (_, true) => DEBUG,
                _ => INFO,
            },
            stderr: file.is_none(),
            file,
            system,
        })
    }

    /// There is no standard error any more.
    pub(super) fn leave_stderr(&mut self) {
        self.stderr = false;
    }

    pub(super) fn debug(&mut self, text: &str) {
        self.line(DEBUG, text);
    }

    pub(super) fn info(&mut self, text: &str) {
        self.line(INFO, text);
    }

    pub(super) fn warn(&mut self, text: &str) {
        self.line(WARNING, text);
    }

    /// A message that can't be written is lost.
    fn line(&mut self, severity: u8, text: &str) {
        if severity > self.most {
            return;
        }
        if self.stderr {
            eprintln!("{text}");
        }
        if let Some(file) = &mut self.file {
            let _ = file.append(format!("{text}\n").as_bytes());
        }
        if let Some(system) = &self.system {
            let _ = system.send(format!("<{}>pasta: {text}", DAEMON | severity).as_bytes());
        }
    }
}

fn system_log() -> Option<UnixDatagram> {
    let socket = UnixDatagram::unbound().ok()?;
    socket.set_nonblocking(true).ok()?;
    socket.connect(SYSTEM_LOG).ok()?;
    Some(socket)
}

impl Limited {
    fn open(path: &Path, max: u64) -> Result<Self, Failure> {
        let mut options = OpenOptions::new();
        options.create(true).truncate(true).read(true).write(true);
        let file = options.mode(0o600).open(path);
        let file =
            file.map_err(|error| Failure(format!("--log-file {}: {error}", path.display())))?;
        Ok(Self { file, len: 0, max })
    }

    fn append(&mut self, line: &[u8]) -> std::io::Result<()> {
        if self.len + line.len() as u64 > self.max {
            self.forget_older_half()?;
        }
        self.file.seek(SeekFrom::End(0))?;
        self.file.write_all(line)?;
        self.len += line.len() as u64;
        Ok(())
    }

    fn forget_older_half(&mut self) -> std::io::Result<()> {
        let mut newer = Vec::new();
        self.file.seek(SeekFrom::Start(self.len / 2))?;
        self.file.read_to_end(&mut newer)?;
        let from = newer
            .iter()
            .position(|byte| *byte == b'\n')
            .map_or(0, |at| at + 1);
        self.file.set_len(0)?;
        self.file.seek(SeekFrom::Start(0))?;
        self.file.write_all(&newer[from..])?;
        self.len = (newer.len() - from) as u64;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_keeps_its_newer_lines() {
        let path = std::env::temp_dir().join(format!("netstack-pasta-log-{}", std::process::id()));
        let mut log = Log::open((false, false), Some(&path), 100).unwrap();
        for n in 0..40 {
            log.info(&format!("line {n}"));
            log.debug("not this");
        }
        let text = std::fs::read_to_string(&path).unwrap();
        std::fs::remove_file(&path).unwrap();
        assert!(text.len() <= 100 && text.starts_with("line "), "{text}");
        assert!(text.ends_with("line 38\nline 39\n"), "{text}");
    }
}
