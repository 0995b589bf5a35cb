//! OCI hooks: programs that run at fixed points of a container's life with its state on their input.

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

use crate::sandbox::entrance::Entrance;

/// What is shown of a failed hook's standard error.
const OUTPUT_SHOWN: u64 = 4096;

/// Which hook failed, and why.
#[derive(Debug, Error)]
#[error("{phase} hook {path}")]
pub(crate) struct HookError {
    pub(crate) phase: &'static str,
    pub(crate) path: String,
    #[source]
    pub(crate) problem: HookProblem,
}

/// Why a hook failed.
#[derive(Debug, Error)]
pub(crate) enum HookProblem {
    #[error("cannot start it")]
    Start(#[source] io::Error),
    #[error("it failed ({status}){output}")]
    Failed { status: String, output: String },
    #[error("it did not end within its timeout of {0} s and was killed")]
    TimedOut(u64),
}

/// Runs the hooks of one phase in order, each with `state` on its standard input; the first failure
/// ends the phase. With an entrance they run in the sandbox's namespaces, else in ours.
pub(crate) fn run(
    phase: &'static str,
    hooks: Option<&Vec<Hook>>,
    state: &serde_json::Value,
    entrance: Option<&Entrance>,
) -> Result<(), HookError> {
    hooks.into_iter().flatten().try_for_each(|hook| {
        run_one(hook, state, entrance).map_err(|problem| HookError {
            phase,
            path: hook.path().display().to_string(),
            problem,
        })
    })
}

fn run_one(
    hook: &Hook,
    state: &serde_json::Value,
    entrance: Option<&Entrance>,
) -> Result<(), HookProblem> {
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
    let start = HookProblem::Start;
    let mut stderr = memory_file("hook-stderr").map_err(start)?;
    command
        .stdin(input(state).map_err(start)?)
        .stdout(Stdio::null())
        .stderr(stderr.try_clone().map_err(start)?)
        .process_group(0);
    let child = match entrance {
        Some(entrance) => entrance.spawn(&mut command),
        None => command.spawn(),
    };
    let timeout = timeout_of(hook);
    match wait(&mut child.map_err(start)?, timeout).map_err(start)? {
        Some(status) if status.success() => Ok(()),
        Some(status) => Err(HookProblem::Failed {
            status: status.to_string(),
            output: read_some(&mut stderr),
        }),
        None => Err(HookProblem::TimedOut(timeout.unwrap_or_default().as_secs())),
    }
}

/// How long a hook may take.
pub(crate) fn timeout_of(hook: &Hook) -> Option<Duration> {
    let seconds = hook.timeout().and_then(|s| u64::try_from(s).ok());
    seconds.map(Duration::from_secs)
}

fn memory_file(name: &str) -> io::Result<File> {
    Ok(memfd_create(name, MFdFlags::MFD_CLOEXEC)?.into())
}

/// A hook's standard input.
pub(crate) fn input(state: &serde_json::Value) -> io::Result<File> {
    let mut file = memory_file("hook-stdin")?;
    file.write_all(state.to_string().as_bytes())?;
    file.rewind()?;
    Ok(file)
}

fn read_some(file: &mut File) -> String {
    let mut text = Vec::new();
    // Without it the sentence is shorter, and still true.
    let _ = file
        .rewind()
        .and_then(|()| file.take(OUTPUT_SHOWN).read_to_end(&mut text));
    as_output(&text)
}

/// The beginning of what a hook has written, as the end of a sentence.
pub(crate) fn as_output(text: &[u8]) -> String {
    let text = &text[..text.len().min(OUTPUT_SHOWN as usize)];
    let text = String::from_utf8_lossy(text);
    match text.trim() {
        "" => String::new(),
        text => format!(": {text}"),
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
        assert!(run("prestart", Some(&vec![reads]), &state, None).is_ok());
        let fails = shell("echo no luck >&2; exit 3", None);
        let error = run("prestart", Some(&vec![fails]), &state, None).unwrap_err();
        let error = error.problem.to_string();
        assert!(error.contains("no luck") && error.contains('3'), "{error}");
    }

    #[test]
    fn a_process_that_a_hook_leaves_behind_holds_nobody_up() {
        let leaves = shell("sleep 1000 & echo $! >&2; exit 1", None);
        let error = run(
            "poststart",
            Some(&vec![leaves]),
            &serde_json::json!({}),
            None,
        )
        .unwrap_err()
        .problem
        .to_string();
        let pid = error.rsplit(' ').next().unwrap().parse().unwrap();
        nix::sys::signal::kill(Pid::from_raw(pid), Signal::SIGKILL).unwrap();
    }

    #[test]
    fn a_hook_past_its_timeout_is_killed_with_its_children() {
        let hangs = shell("sleep 1000; true", Some(0));
        assert!(matches!(
            run(
                "poststart",
                Some(&vec![hangs]),
                &serde_json::json!({}),
                None
            ),
            Err(HookError {
                problem: HookProblem::TimedOut(0),
                ..
            })
        ));
    }
}
