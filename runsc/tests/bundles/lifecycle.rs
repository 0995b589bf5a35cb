//! create, start, state, list, ps, wait, run, delete.

use std::fs::{self, File};
use std::process::Stdio;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;

use crate::world::{World, world};

/// Creates and starts a container that runs until it is told to end.
pub(crate) fn sleeper(world: &World, id: &str) {
    let bundle = world.bundle(id, "exec sleep 1000");
    world.ok(&["run", "--detach", "--bundle", bundle.path(), id]);
}

#[test]
fn spec_writes_once_what_run_takes() {
    let world = world!();
    let dir = world.dir.join("b");
    crate::world::make_rootfs(&dir.join("rootfs"));
    world.ok(&["spec", "--bundle", dir.to_str().unwrap()]);
    let input = world.dir.join("input");
    fs::write(&input, "echo from the shell; exit 4\n").unwrap();
    let mut command = world.command(&["run", "--bundle", dir.to_str().unwrap(), "c"]);
    command.stdin(File::open(&input).unwrap());
    let done = world.start(command).finish();
    assert_eq!(
        (done.code, &*done.stdout),
        (4, "from the shell\n"),
        "{done:?}"
    );
    world.refused(&["spec", "--bundle", dir.to_str().unwrap()], "config.json");
}

#[test]
fn the_way_from_create_to_delete() {
    let world = world!();
    let mut bundle = world.bundle("b", "echo ran; exec sleep 1000");
    bundle.config["annotations"] = serde_json::json!({"com.example.key": "value"});
    let pid_file = world.dir.join("pid");
    let mut create = world.start(world.command(&[
        "create",
        "--bundle",
        bundle.save(),
        "--pid-file",
        pid_file.to_str().unwrap(),
        "c",
    ]));
    let status = create.child.wait().unwrap();
    assert!(status.success());
    let state = world.state("c");
    assert_eq!(state["status"], "created");
    assert_eq!(state["id"], "c");
    assert!(state["ociVersion"].as_str().unwrap().starts_with("1."));
    assert_eq!(state["bundle"], bundle.path());
    assert_eq!(
        state["rootfs"],
        bundle.file("").to_str().unwrap().trim_end_matches('/')
    );
    assert_eq!(state["annotations"]["com.example.key"], "value");
    assert!(state["created"].as_str().unwrap().ends_with('Z'));
    let pid = state["pid"].as_i64().unwrap();
    assert_eq!(fs::read_to_string(&pid_file).unwrap(), pid.to_string());
    assert!(fs::exists(format!("/proc/{pid}")).unwrap());
    assert_eq!(create.written(), "", "nothing runs before start");

    world.ok(&["start", "c"]);
    create_written(&world, &create, "ran\n");
    assert_eq!(world.status("c"), "running");
    world.refused(&["start", "c"], "has to be created");
    world.refused(&["delete", "c"], "still running");

    world.ok(&["kill", "c", "KILL"]);
    world.until("stopped", || world.status("c") == "stopped");
    assert_eq!(world.state("c")["pid"], 0);
    world.refused(&["start", "c"], "stopped");
    world.refused(&["exec", "c", "true"], "stopped");
    world.refused(&["ps", "c"], "stopped");
    world.ok(&["delete", "c"]);
    world.refused(&["delete", "c"], "does not exist");
    world.ok(&["delete", "--force", "c"]);
    world.refused(&["state", "c"], "does not exist");
}

fn create_written(world: &World, running: &crate::world::Running, text: &str) {
    world.until("its output", || running.written() == text);
}

#[test]
fn a_created_container_needs_no_force() {
    let world = world!();
    let bundle = world.bundle("b", "echo never");
    world.ok(&["create", "--bundle", bundle.path(), "c"]);
    world.refused(
        &["create", "--bundle", bundle.path(), "c"],
        "exists already",
    );
    assert_eq!(world.status("c"), "created");
    world.ok(&["delete", "c"]);
    world.ok(&["create", "--bundle", bundle.path(), "c"]);
    world.ok(&["delete", "--force", "c"]);
}

#[test]
fn list_in_all_its_shapes() {
    let world = world!();
    assert_eq!(world.ok(&["list", "--quiet"]), "");
    assert_eq!(world.ok(&["list", "--format", "json"]).trim(), "[]");
    sleeper(&world, "one");
    let bundle = world.bundle("b", "true");
    world.ok(&["create", "--bundle", bundle.path(), "two"]);
    assert_eq!(world.ok(&["list", "-q"]), "one\ntwo\n");
    let rows: Value = serde_json::from_str(&world.ok(&["list", "--format", "json"])).unwrap();
    assert_eq!(rows[0]["id"], "one");
    assert_eq!(rows[0]["status"], "running");
    assert_eq!(rows[1]["status"], "created");
    assert_eq!(rows[1]["bundle"], bundle.path());
    assert_eq!(rows[1]["owner"], "root");
    let table = world.ok(&["list"]);
    let words = |line: usize| -> Vec<String> {
        let line = table.lines().nth(line).unwrap();
        line.split_whitespace().map(str::to_owned).collect()
    };
    assert_eq!(
        words(0),
        ["ID", "PID", "STATUS", "BUNDLE", "CREATED", "OWNER"]
    );
    assert_eq!(words(1)[0], "one");
    assert_eq!(words(1)[1], world.state("one")["pid"].to_string());
    assert_eq!(words(2)[2], "created");
    world.ok(&["delete", "--force", "one", "two"]);
}

#[test]
fn ps_shows_the_processes_inside() {
    let world = world!();
    let bundle = world.bundle("b", "sleep 1000 & exec sleep 2000");
    world.ok(&["run", "-d", "--bundle", bundle.path(), "c"]);
    let rows =
        || -> Value { serde_json::from_str(&world.ok(&["ps", "--format", "json", "c"])).unwrap() };
    world.until("both", || {
        let rows = rows();
        rows.as_array().unwrap().len() == 2
            && rows
                .as_array()
                .unwrap()
                .iter()
                .all(|row| row["command"] == "sleep")
    });
    let rows = rows();
    assert_eq!((&rows[0]["pid"], &rows[0]["ppid"]), (&1.into(), &0.into()));
    assert_eq!(rows[1]["ppid"], 1);
    let table = world.ok(&["ps", "c"]);
    assert!(table.starts_with("UID"), "{table}");
    assert_eq!(table.lines().count(), 3, "{table}");
    world.ok(&["delete", "--force", "c"]);
}

#[test]
fn run_passes_the_status_through() {
    let world = world!();
    for (script, code) in [
        ("exit 0", 0),
        ("exit 42", 42),
        ("sh -c 'kill -9 $$'", 137),
        ("exec sh -c 'kill -9 $$; exit 3'", 3),
    ] {
        let mut bundle = world.bundle("b", script);
        // A shell that is not the first process, so that its end by a signal is seen.
        bundle.config["process"]["args"][2] = format!("{script}\nexit $?").into();
        let done = world.run(&["run", "--bundle", bundle.save(), "c"]);
        assert_eq!(done.code, code, "{script}: {done:?}");
        fs::remove_dir_all(&bundle.dir).unwrap();
    }
    let bundle = world.bundle("b", "echo up; exec sleep 1000");
    let mut run = world.start(world.command(&["run", "--bundle", bundle.path(), "c"]));
    run.until_written("up");
    world.ok(&["kill", "c", "9"]);
    assert_eq!(run.finish().code, 137);
}

#[test]
fn wait_tells_the_status_to_all_who_wait() {
    let world = world!();
    let bundle = world.bundle("b", "read x; exit 5");
    let (reader, writer) = nix::unistd::pipe2(nix::fcntl::OFlag::O_CLOEXEC).unwrap();
    let mut command = world.command(&["create", "--bundle", bundle.path(), "c"]);
    command.stdin(Stdio::from(reader));
    assert_eq!(world.start(command).finish().code, 0);
    let before_start = world.start(world.command(&["wait", "c"]));
    world.ok(&["start", "c"]);
    let waiters: Vec<_> = (0..4)
        .map(|_| world.start(world.command(&["wait", "c"])))
        .collect();
    let exec = world.start(world.command(&["exec", "c", "sleep", "1000"]));
    world.until("the other process", || {
        world.ok(&["ps", "c"]).lines().count() == 3
    });
    world.refused(&["wait", "--pid", "77", "c"], "no such process");
    drop(writer);
    for waiter in waiters.into_iter().chain([before_start]) {
        let done = waiter.finish();
        let told: Value = serde_json::from_str(&done.stdout).unwrap_or_default();
        assert_eq!(
            told,
            serde_json::json!({"id": "c", "exitStatus": 5}),
            "{done:?}"
        );
    }
    assert_eq!(exec.finish().code, 137, "it was killed with the container");
    world.until("stopped", || world.status("c") == "stopped");
    world.ok(&["delete", "c"]);
}

#[test]
fn standard_streams_are_passed_through() {
    let world = world!();
    let bundle = world.bundle("b", "cat; echo to stderr >&2");
    let pattern: Vec<u8> = (0..1_000_000u32).map(|n| b'a' + (n % 23) as u8).collect();
    let input = world.dir.join("input");
    fs::write(&input, &pattern).unwrap();
    let mut command = world.command(&["run", "--bundle", bundle.path(), "c"]);
    command.stdin(File::open(&input).unwrap());
    let done = world.start(command).finish();
    assert_eq!((done.code, &*done.stderr), (0, "to stderr\n"));
    assert!(
        done.stdout.as_bytes() == pattern,
        "{} bytes",
        done.stdout.len()
    );
}

#[test]
fn a_killed_runsc_takes_its_foreground_container_along() {
    let world = world!();
    let bundle = world.bundle("b", "echo up; exec sleep 1000");
    let mut run = world.start(world.command(&["run", "--bundle", bundle.path(), "c"]));
    run.until_written("up");
    assert_eq!(world.status("c"), "running");
    run.signal(Signal::SIGKILL);
    assert_eq!(run.finish().code, -9);
    world.until("stopped", || world.status("c") == "stopped");
    world.ok(&["delete", "--force", "c"]);
}

#[test]
fn a_killed_sandbox_can_be_deleted() {
    let world = world!();
    sleeper(&world, "c");
    let pid = world.state("c")["pid"].as_i64().unwrap();
    kill(Pid::from_raw(i32::try_from(pid).unwrap()), Signal::SIGKILL).unwrap();
    world.until("stopped", || world.status("c") == "stopped");
    world.ok(&["delete", "c"]);
}

#[test]
fn a_damaged_record_can_be_deleted_by_force() {
    let world = world!();
    let record = world.dir.join("state/c");
    fs::create_dir(&record).unwrap();
    world.refused(&["state", "c"], "does not exist");
    world.ok(&["delete", "--force", "c"]);
    for text in ["", "{", "[]", r#"{"id":"c","pid":"x"}"#] {
        fs::create_dir(&record).unwrap();
        fs::write(record.join("state.json"), text).unwrap();
        for verb in ["state", "start", "ps", "kill", "delete"] {
            world.refused(&[verb, "c"], "damaged");
        }
        assert!(world.run(&["list"]).stderr.contains("damaged"));
        world.ok(&["delete", "--force", "c"]);
    }
}

#[test]
fn one_of_many_who_want_the_same_name_gets_it() {
    let world = world!();
    let bundle = world.bundle("b", "true");
    let all: Vec<_> = (0..6)
        .map(|_| world.start(world.command(&["create", "--bundle", bundle.path(), "c"])))
        .collect();
    let codes: Vec<i32> = all.into_iter().map(|one| one.finish().code).collect();
    assert_eq!(
        codes.iter().filter(|code| **code == 0).count(),
        1,
        "{codes:?}"
    );
    assert_eq!(
        codes.iter().filter(|code| **code == 128).count(),
        5,
        "{codes:?}"
    );
    assert_eq!(world.status("c"), "created");
    world.ok(&["delete", "--force", "c"]);
}

#[test]
fn the_log_is_what_engines_read() {
    let world = world!();
    let log = world.dir.join("log.json");
    let path = log.to_str().unwrap();
    let done = world.run(&["--log", path, "--log-format", "json", "state", "none"]);
    done.assert_refused("does not exist");
    let line: Value = serde_json::from_str(fs::read_to_string(&log).unwrap().trim()).unwrap();
    assert_eq!(line["level"], "error");
    assert!(line["msg"].as_str().unwrap().contains("does not exist"));
    assert!(line["time"].as_str().unwrap().ends_with('Z'));
    let text = world.dir.join("log.txt");
    world.run(&["--log", text.to_str().unwrap(), "state", "none"]);
    let line = fs::read_to_string(&text).unwrap();
    assert!(line.contains(" error container \"none\""), "{line}");
    world.refused(&["--log", "/nonexistent/log", "list"], "log file");
}
