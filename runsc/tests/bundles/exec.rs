//! `runsc exec`.

use std::fs;

use nix::sys::signal::Signal;
use serde_json::json;

use crate::lifecycle::sleeper;
use crate::world::world;

#[test]
fn it_runs_a_process_beside_the_first() {
    let world = world!();
    let mut bundle = world.bundle("b", "exec sleep 1000");
    bundle.config["process"]["env"] = json!(["PATH=/bin", "A=of the container"]);
    bundle.config["process"]["cwd"] = json!("/etc");
    world.ok(&["run", "-d", "--bundle", bundle.save(), "c"]);
    let out = |args: &[&str]| world.ok(&[&["exec"], args].concat());
    assert_eq!(
        out(&["c", "sh", "-c", "echo $A; pwd"]),
        "of the container\n/etc\n"
    );
    assert_eq!(
        out(&["-e", "A=mine", "--env", "B=2", "c", "env"]),
        "PATH=/bin\nA=mine\nB=2\n"
    );
    assert_eq!(out(&["--cwd", "/tmp", "c", "pwd"]), "/tmp\n");
    assert_eq!(out(&["--user", "1000:1001", "c", "id", "-u"]), "1000\n");
    let ids = out(&[
        "-u",
        "7:8",
        "-g",
        "9",
        "-g",
        "10",
        "c",
        "grep",
        "-E",
        "^[UG]id|^Groups",
        "/proc/self/status",
    ]);
    assert_eq!(ids, "Uid:\t7\t7\t7\t7\nGid:\t8\t8\t8\t8\nGroups:\t9 10 \n");
    assert_eq!(out(&["c", "cat", "/proc/1/comm"]), "sleep\n");
    assert_eq!(world.run(&["exec", "c", "sh", "-c", "exit 9"]).code, 9);
    assert_eq!(
        world.run(&["exec", "c", "sh", "-c", "kill -TERM $$"]).code,
        143
    );
    world.ok(&["delete", "--force", "c"]);
}

#[test]
fn capabilities_are_added_by_name() {
    let world = world!();
    sleeper(&world, "c");
    let sets = |args: &[&str]| {
        let all = [
            &["exec"],
            args,
            &["c", "grep", "^CapEff", "/proc/self/status"],
        ]
        .concat();
        u64::from_str_radix(world.ok(&all).trim().rsplit('\t').next().unwrap(), 16).unwrap()
    };
    let before = sets(&[]);
    assert_eq!(
        before,
        1 << 29 | 1 << 5 | 1 << 10,
        "those of the configuration"
    );
    assert_eq!(sets(&["--cap", "CAP_NET_RAW"]), before | 1 << 13);
    world.refused(&["exec", "--cap", "CAP_NO", "c", "true"], "CAP_NO");
    world.ok(&["delete", "--force", "c"]);
}

#[test]
fn detached_it_leaves_the_process_running() {
    let world = world!();
    sleeper(&world, "c");
    let pid_file = world.dir.join("pid");
    let exec = [
        "exec",
        "--detach",
        "--pid-file",
        pid_file.to_str().unwrap(),
        "c",
        "sleep",
        "77",
    ];
    world.ok(&exec);
    let pid = fs::read_to_string(&pid_file).unwrap();
    let rows: serde_json::Value =
        serde_json::from_str(&world.ok(&["ps", "-f", "json", "c"])).unwrap();
    assert_eq!(rows[1]["pid"].to_string(), pid);
    world.ok(&["kill", "--pid", &pid, "c", "TERM"]);
    world.until("its end", || world.ok(&["ps", "c"]).lines().count() == 2);
    world.ok(&["delete", "--force", "c"]);
}

#[test]
fn the_process_comes_from_a_file() {
    let world = world!();
    sleeper(&world, "c");
    let file = world.dir.join("process.json");
    let path = file.to_str().unwrap();
    let process = json!({
        "args": ["sh", "-c", "echo $X; id -u; pwd"], "env": ["PATH=/bin", "X=y"], "cwd": "/tmp",
        "user": {"uid": 5, "gid": 6}
    });
    fs::write(&file, process.to_string()).unwrap();
    assert_eq!(world.ok(&["exec", "--process", path, "c"]), "y\n5\n/tmp\n");
    for (text, words) in [
        ("{", "not an OCI process"),
        (r#"{"cwd":"/","user":{"uid":0,"gid":0}}"#, "process.args"),
        (
            r#"{"args":["true"],"cwd":"x","user":{"uid":0,"gid":0}}"#,
            "process.cwd",
        ),
    ] {
        fs::write(&file, text).unwrap();
        world.refused(&["exec", "--process", path, "c"], words);
    }
    world.refused(&["exec", "--process", "/nonexistent", "c"], "cannot read");
    world.ok(&["delete", "--force", "c"]);
}

#[test]
fn what_cannot_be_run_is_refused() {
    let world = world!();
    sleeper(&world, "c");
    world.refused(&["exec", "c", "nope"], "executable file not found in $PATH");
    world.refused(&["exec", "c", "/bin/nope"], "no such file or directory");
    world.refused(&["exec", "c", "/etc"], "permission denied");
    world.refused(
        &["exec", "--cwd", "/nope", "c", "true"],
        "working directory /nope",
    );
    world.refused(&["exec", "none", "true"], "does not exist");
    world.refused(&["exec", "--tty", "c", "true"], "standard input is none");
    world.refused(
        &["exec", "--tty", "--detach", "c", "true"],
        "--console-socket",
    );
    world.refused(
        &["exec", "--console-socket", "/x", "c", "true"],
        "no terminal",
    );
    world.ok(&["delete", "--force", "c"]);
}

#[test]
fn signals_to_it_reach_the_process() {
    let world = world!();
    sleeper(&world, "c");
    let script = "trap 'echo got TERM; exit 7' TERM; echo up; while :; do sleep 0.05; done";
    let mut exec = world.start(world.command(&["exec", "c", "sh", "-c", script]));
    exec.until_written("up");
    exec.signal(Signal::SIGTERM);
    let done = exec.finish();
    assert_eq!(
        (done.code, &*done.stdout),
        (7, "up\ngot TERM\n"),
        "{done:?}"
    );
    assert_eq!(world.status("c"), "running");
    world.ok(&["delete", "--force", "c"]);
}
