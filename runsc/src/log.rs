//! Messages: one sentence on standard error for people; the same in the `--log` file, as text or
//! JSON lines, where container managers read it.

use std::error::Error;
use std::fs::{File, OpenOptions};
use std::io::{IsTerminal, Write};
use std::path::Path;
use std::sync::OnceLock;
use std::time::SystemTime;

use serde::{Deserialize, Serialize};

/// Shape of the `--log` file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum LogFormat {
    /// `time level message`
    #[default]
    Text,
    /// One JSON object a line: level, msg, time (as runc writes and containerd parses).
    Json,
}

struct Sink {
    file: File,
    format: LogFormat,
}

static SINK: OnceLock<Sink> = OnceLock::new();

/// Opens the log file; without one, only standard error is written.
///
/// # Errors
/// If the file cannot be opened for appending.
pub(crate) fn open(path: &Path, format: LogFormat) -> std::io::Result<()> {
    let file = OpenOptions::new().create(true).append(true).open(path)?;
    let _ = SINK.set(Sink { file, format });
    Ok(())
}

/// Reports why the command failed, with the chain of causes in one sentence.
pub(crate) fn failure(error: &(dyn Error + 'static)) {
    let message = sentence(error);
    to_file("error", &message);
    let stderr = std::io::stderr();
    let label = if stderr.is_terminal() {
        "\x1b[1;31mrunsc:\x1b[0m"
    } else {
        "runsc:"
    };
    let _ = writeln!(stderr.lock(), "{label} {message}");
}

/// Says something that did not stop the command.
pub(crate) fn warning(message: &str) {
    to_file("warning", message);
    let _ = writeln!(std::io::stderr().lock(), "runsc: warning: {message}");
}

/// Tells what a person at a terminal may want to know; programs find it in the log.
pub(crate) fn note(message: &str) {
    to_file("info", message);
    let stderr = std::io::stderr();
    if stderr.is_terminal() {
        let _ = writeln!(stderr.lock(), "runsc: {message}");
    }
}

fn sentence(error: &(dyn Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        let inner_text = inner.to_string();
        if !text.contains(&inner_text) {
            text = format!("{text}: {inner_text}");
        }
        cause = inner.source();
    }
    text
}

fn to_file(level: &str, message: &str) {
    let Some(sink) = SINK.get() else { return };
    let time = crate::container::timestamp::rfc3339(SystemTime::now());
    let line = match sink.format {
        LogFormat::Json => {
            serde_json::json!({ "level": level, "msg": message, "time": time }).to_string()
        }
        LogFormat::Text => format!("{time} {level} {message}"),
    };
    let _ = writeln!(&sink.file, "{line}");
}
