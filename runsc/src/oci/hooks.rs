//! OCI hooks: programs that run at fixed points of a container's life with its state on their input.

use std::io::{Read, Write};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

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
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(start)?;
    if let Some(mut stdin) = child.stdin.take() {
        // A hook that does not read its input closes the pipe: that is its right.
        let _ = stdin.write_all(state.to_string().as_bytes());
    }
    let stderr = child.stderr.take();
    let reader = thread::spawn(move || read_some(stderr));
    let seconds = hook.timeout().and_then(|s| u64::try_from(s).ok());
    let status = wait(&mut child, seconds.map(Duration::from_secs)).map_err(start)?;
    let output = reader.join().unwrap_or_default();
    match status {
        Some(status) if status.success() => Ok(()),
        Some(status) => Err(HookError::Failed {
            phase,
            path,
            status: status.to_string(),
            output,
        }),
        None => Err(HookError::TimedOut {
            phase,
            path,
            seconds: seconds.unwrap_or_default(),
        }),
    }
}

fn read_some(stream: Option<impl Read>) -> String {
    let mut text = Vec::new();
    if let Some(stream) = stream {
        let _ = stream.take(4096).read_to_end(&mut text);
    }
    let text = String::from_utf8_lossy(&text);
    let text = text.trim();
    if text.is_empty() {
        String::new()
    } else {
        format!(": {text}")
    }
}

/// Waits for the end; `None` if the deadline came first, the child then being killed and reaped.
fn wait(
    child: &mut Child,
    timeout: Option<Duration>,
) -> std::io::Result<Option<std::process::ExitStatus>> {
    let Some(timeout) = timeout else {
        return child.wait().map(Some);
    };
    let deadline = Instant::now() + timeout;
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(Some(status));
        }
        if Instant::now() >= deadline {
            child.kill()?;
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
    fn a_hook_past_its_timeout_is_killed() {
        let hangs = shell("exec sleep 1000", Some(0));
        assert!(matches!(
            run("poststart", Some(&vec![hangs]), &serde_json::json!({})),
            Err(HookError::TimedOut { .. })
        ));
    }
}
