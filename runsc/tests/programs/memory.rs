//! The memory limit: what passes it is killed, and the status says so.

use std::process::Command;

use crate::network::NetworkCase;
use crate::run::{self, Outcome};

/// All of them; no traffic, but a check of their own.
pub(crate) const ALL: &[NetworkCase] = &[NetworkCase {
    name: "out_of_memory",
    needs: &["python3"],
    check: out_of_memory,
}];

const HOG: &str = "l = []\nwhile True: l.append(b'x' * (1 << 20))";

fn limited(argv: &[&str]) -> Command {
    let mut command = Command::new(crate::shared::runsc());
    command
        .args(["--network=none", "do", "--memory", "200M", "--"])
        .args(argv);
    run::clean(&mut command);
    command
}

/// A child is killed and the shell goes on; the first process is killed and the status is SIGKILL's.
fn out_of_memory() -> Outcome {
    let script = format!("python3 -c \"{HOG}\"; echo $?; echo on it goes | cat");
    let shell = run::finish(limited(&["/bin/bash", "-c", &script]))?;
    if shell.status.code() != Some(0) || shell.stdout != "137\non it goes\n" {
        return Err(format!("a child out of memory:\n{}", shell.describe()));
    }
    let alone = run::finish(limited(&["/usr/bin/python3", "-c", HOG]))?;
    if alone.status.code() != Some(137) {
        return Err(format!("the first process:\n{}", alone.describe()));
    }
    Ok(())
}
