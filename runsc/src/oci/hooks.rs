//! OCI hooks: programs that run at fixed points of a container's life with its state on their input.
//!
//! All of them run in the namespaces of whoever calls `runsc`. The specification has createContainer
//! and startContainer hooks run in the container's: those of a sandbox are empty (its files are the
//! Sentry's), so a hook finds nothing there to work on.

use std::fs::File;
use std::io::{self, Read, Seek, Write};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::memfd::{MFdFlags, memfd_create};
use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use oci_spec::runtime::Hook;
use thiserror::Error;

/// Why a hook failed.
#[derive(Debug, Error)]
pub(crate) enum HookError {
    #[error("{phase} hook {path}: cannot start it")]
    Start {
        phase: &'static str,
        path: String,
        #[source]
        source: std::io::Error,
    },
    #[error("{phase} hook {path} failed ({status}){output}")]
    Failed {
        phase: &'static str,
        path: String,
        status: String,
        output: String,
    },
    #[error("{phase} hook {path} did not end within its timeout of {seconds} s and was killed")]
    TimedOut {
        phase: &'static str,
        path: String,
        seconds: u64,
    },
}

/// Runs the hooks of one phase in order, each with `state` on its standard input; the first failure
/// ends the phase.
pub(crate) fn run(
    phase: &'static str,
    hooks: Option<&Vec<Hook>>,
    state: &serde_json::Value,
) -> Result<(), HookError> {
    hooks
        .into_iter()
        .flatten()
        .try_for_each(|hook| run_one(phase, hook, state))
}

fn run_one(phase: &'static str, hook: &Hook, state: &serde_json::Value) -> Result<(), HookError> {
    let path = hook.path().display().to_string();
    let start = |source| HookError::Start {
        phase,
        path: path.clone(),
        source,
    };
    let mut command = Command::new(hook.path());
    if let Some((first, rest)) = hook.args().as_deref().and_then(<[String]>::split_first) {
        command.arg0(first).args(rest);
    }
    command.env_clear();
    for variable in hook.env().iter().flatten() {
        if let Some((name, value)) = variable.split_once('=') {
            command.env(name, value);
        }
    }
    // Files in memory, not pipes: neither a hook that does not read its input nor a process that it
    // leaves behind with its standard error open can hold us up.
    let mut stderr = memory_file("hook-stderr").map_err(start)?;
    let mut child = command
        .stdin(input(state).map_err(start)?)
        .stdout(Stdio::null())
        .stderr(stderr.try_clone().map_err(start)?)
        .process_group(0)
        .spawn()
        .map_err(start)?;
    let seconds = hook.timeout().and_then(|s| u64::try_from(s).ok());
    match wait(&mut child, seconds.map(Duration::from_secs)).map_err(start)? {
        Some(status) if status.success() => Ok(()),
        Some(status) => Err(HookError::Failed {
            phase,
            path,
            status: status.to_string(),
            output: read_some(&mut stderr),
        }),
        None => Err(HookError::TimedOut {
            phase,
            path,
            seconds: seconds.unwrap_or_default(),
        }),
    }
}

fn memory_file(name: &str) -> io::Result<File> {
    Ok(memfd_create(name, MFdFlags::MFD_CLOEXEC)?.into())
}

fn input(state: &serde_json::Value) -> io::Result<File> {
    let mut file = memory_file("hook-stdin")?;
    file.write_all(state.to_string().as_bytes())?;
    file.rewind()?;
    Ok(file)
}

/// The beginning of what a hook has written, as the end of a sentence.
fn read_some(file: &mut File) -> String {
    let mut text = Vec::new();
    // Without it the sentence is shorter, and still true.
    let _ = file
        .rewind()
        .and_then(|()| file.take(4096).read_to_end(&mut text));
    let text = String::from_utf8_lossy(&text);
    let text = text.trim();
    if text.is_empty() {
        String::new()
    } else {
        format!(": {text}")
    }
}

/// Waits for the end; `None` if the deadline came first, the hook's whole process group then being
/// killed and the hook reaped.
fn wait(child: &mut Child, timeout: Option<Duration>) -> io::Result<Option<ExitStatus>> {
    let Some(timeout) = timeout else {
        return child.wait().map(Some);
    };
    let deadline = Instant::now() + timeout;
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(Some(status));
        }
        if Instant::now() >= deadline {
            let group = Pid::from_raw(i32::try_from(child.id()).expect("process numbers fit"));
            killpg(group, Signal::SIGKILL)?;
            child.wait()?;
            return Ok(None);
        }
        thread::sleep(Duration::from_millis(2));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use oci_spec::runtime::HookBuilder;

    fn shell(script: &str, timeout: Option<i64>) -> Hook {
        let mut builder = HookBuilder::default().path("/bin/sh").args(vec![
            "sh".to_owned(),
            "-c".to_owned(),
            script.to_owned(),
        ]);
        if let Some(seconds) = timeout {
            builder = builder.timeout(seconds);
        }
        builder.build().unwrap()
    }

    #[test]
    fn a_hook_gets_the_state_and_its_failure_is_told() {
        let state = serde_json::json!({"id": "c1"});
        let reads = shell("grep -q c1", None);
        assert!(run("prestart", Some(&vec![reads]), &state).is_ok());
        let fails = shell("echo no luck >&2; exit 3", None);
        let error = run("prestart", Some(&vec![fails]), &state)
            .unwrap_err()
            .to_string();
        assert!(error.contains("no luck") && error.contains('3'), "{error}");
    }

    #[test]
    fn a_process_that_a_hook_leaves_behind_holds_nobody_up() {
        let leaves = shell("sleep 1000 & echo $! >&2; exit 1", None);
        let error = run("poststart", Some(&vec![leaves]), &serde_json::json!({}))
            .unwrap_err()
            .to_string();
        let pid = error.rsplit(' ').next().unwrap().parse().unwrap();
        nix::sys::signal::kill(Pid::from_raw(pid), Signal::SIGKILL).unwrap();
    }

    #[test]
    fn a_hook_past_its_timeout_is_killed_with_its_children() {
        let hangs = shell("sleep 1000; true", Some(0));
        assert!(matches!(
            run("poststart", Some(&vec![hangs]), &serde_json::json!({})),
            Err(HookError::TimedOut { .. })
        ));
    }
}
