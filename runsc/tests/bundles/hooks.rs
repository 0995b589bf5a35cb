//! Hooks: their order, their input, and what their failure does.

use std::fs;
use std::path::Path;

use serde_json::{Value, json};

use crate::world::{Bundle, World, world};

const PHASES: [&str; 6] = [
    "prestart",
    "createRuntime",
    "createContainer",
    "startContainer",
    "poststart",
    "poststop",
];

/// A hook that appends its name and its input to `file`, a line each.
fn recorder(name: &str, file: &Path) -> Value {
    let script = format!("echo \"$0 $MARK $(cat)\" >> {}", file.display());
    json!({"path": "/bin/sh", "args": ["sh", "-c", script, name], "env": ["MARK=m", "PATH=/usr/bin:/bin"]})
}

/// A bundle with a recorder in each phase.
fn recorded(world: &World, script: &str) -> (Bundle, std::path::PathBuf) {
    let file = world.dir.join("record");
    let mut bundle = world.bundle("b", script);
    for phase in PHASES {
        bundle.config["hooks"][phase] = json!([recorder(phase, &file)]);
    }
    (bundle, file)
}

/// What the recorders wrote: names, and inputs.
fn record(file: &Path) -> Vec<(String, Value)> {
    let text = fs::read_to_string(file).unwrap_or_default();
    let line = |line: &str| {
        let (name, state) = line.split_once(" m ").unwrap();
        (name.to_owned(), serde_json::from_str(state).unwrap())
    };
    text.lines().map(line).collect()
}

fn names(file: &Path) -> Vec<String> {
    record(file).into_iter().map(|(name, _)| name).collect()
}

#[test]
fn each_runs_in_its_turn_with_the_state() {
    let world = world!();
    let (mut bundle, file) = recorded(&world, "exec sleep 1000");
    let twice = [recorder("prestart", &file), recorder("prestart-2", &file)];
    bundle.config["hooks"]["prestart"] = json!(twice);
    bundle.config["annotations"] = json!({"a": "b"});
    world.ok(&["create", "--bundle", bundle.save(), "c"]);
    let created = ["prestart", "prestart-2", "createRuntime", "createContainer"];
    assert_eq!(names(&file), created);
    let pid = world.state("c")["pid"].clone();
    for (name, state) in record(&file) {
        assert_eq!(state["id"], "c", "{name}");
        assert_eq!(state["pid"], pid, "{name}");
        assert_eq!(state["bundle"], bundle.path(), "{name}");
        assert_eq!(state["status"], "creating", "{name}");
        assert_eq!(state["annotations"]["a"], "b", "{name}");
        assert!(state["ociVersion"].is_string(), "{name}");
    }
    world.ok(&["start", "c"]);
    let all = record(&file);
    assert_eq!(all[4].0, "startContainer");
    assert_eq!(all[4].1["status"], "created");
    assert_eq!(all[5].0, "poststart");
    assert_eq!(all[5].1["status"], "running");
    world.ok(&["delete", "--force", "c"]);
    let all = record(&file);
    assert_eq!(all.len(), 7);
    assert_eq!(all[6].0, "poststop");
    assert_eq!(all[6].1["status"], "stopped");
}

#[test]
fn run_has_them_all() {
    let world = world!();
    let (bundle, file) = recorded(&world, "true");
    world.ok(&["run", "--bundle", bundle.save(), "c"]);
    assert_eq!(names(&file), PHASES);
}

#[test]
fn a_failing_one_aborts_create_and_leaves_nothing() {
    let world = world!();
    for phase in ["prestart", "createRuntime", "createContainer"] {
        let (mut bundle, file) = recorded(&world, "true");
        let fails = json!({"path": "/bin/sh", "args": ["sh", "-c", "echo no luck >&2; exit 3"]});
        bundle.config["hooks"][phase] = json!([fails]);
        for verb in ["create", "run"] {
            let done = world.refused(&[verb, "--bundle", bundle.save(), "c"], phase);
            assert!(
                done.stderr.contains("no luck") && done.stderr.contains('3'),
                "{done:?}"
            );
            world.assert_nothing_left();
            assert_eq!(
                names(&file).last().unwrap(),
                "poststop",
                "what was begun is ended"
            );
            assert!(!names(&file).contains(&"startContainer".to_owned()));
        }
        fs::remove_dir_all(&bundle.dir).unwrap();
    }
}

#[test]
fn one_that_is_not_there_or_takes_too_long_aborts_too() {
    let world = world!();
    let mut bundle = world.bundle("b", "true");
    bundle.config["hooks"]["prestart"] = json!([{"path": "/nonexistent/hook"}]);
    world.refused(
        &["create", "--bundle", bundle.save(), "c"],
        "/nonexistent/hook",
    );
    let hangs = json!({"path": "/bin/sh", "args": ["sh", "-c", "sleep 1000; true"], "env": ["PATH=/bin"], "timeout": 1});
    bundle.config["hooks"]["prestart"] = json!([hangs]);
    world.refused(
        &["create", "--bundle", bundle.save(), "c"],
        "timeout of 1 s",
    );
}

#[test]
fn a_failing_start_hook_ends_run_and_a_failing_late_hook_is_only_told() {
    let world = world!();
    let mut bundle = world.bundle("b", "echo ran");
    let fails = json!([{"path": "/bin/false"}]);
    bundle.config["hooks"] = json!({"startContainer": fails});
    let done = world.refused(&["run", "--bundle", bundle.save(), "c"], "startContainer");
    assert_eq!(done.stdout, "");
    world.assert_nothing_left();
    bundle.config["hooks"] = json!({"poststart": fails, "poststop": fails});
    let done = world.run(&["run", "--bundle", bundle.save(), "c"]);
    assert_eq!((done.code, &*done.stdout), (0, "ran\n"), "{done:?}");
    assert!(done.stderr.contains("warning: poststart hook"), "{done:?}");
    assert!(done.stderr.contains("warning: poststop hook"), "{done:?}");
}
