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
    // For those that run inside.
    fs::write(&file, "").unwrap();
    bundle.mount(json!({"destination": file, "type": "bind", "source": file, "options": ["rw"]}));
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
        let seen = match name.as_str() {
            "createContainer" => json!(1),
            _ => pid.clone(),
        };
        assert_eq!(state["pid"], seen, "{name}");
        assert_eq!(state["bundle"], bundle.path(), "{name}");
        assert_eq!(state["status"], "creating", "{name}");
        assert_eq!(state["annotations"]["a"], "b", "{name}");
        assert!(state["ociVersion"].is_string(), "{name}");
    }
    world.ok(&["start", "c"]);
    let all = record(&file);
    assert_eq!(all[4].0, "startContainer");
    assert_eq!(all[4].1["status"], "created");
    assert_eq!(all[4].1["pid"], 1);
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

/// A hook of /bin/sh.
fn shell(script: &str) -> Value {
    json!({"path": "/bin/sh", "args": ["sh", "-ec", script], "env": ["PATH=/usr/sbin:/usr/bin:/sbin:/bin"]})
}

/// The names of the namespaces that a hook of this machine sees itself in.
const NAMESPACES: &str = "for n in net ipc uts mnt; do readlink /proc/self/ns/$n; done";

#[test]
fn create_container_hooks_are_in_the_containers_namespaces() {
    let world = world!();
    let mut bundle = world.bundle("b", "cat /lent/file; hostname");
    let (lent, seen) = (world.dir.join("lent"), world.dir.join("seen"));
    fs::create_dir(&lent).unwrap();
    fs::write(lent.join("file"), "lent by a hook\n").unwrap();
    fs::create_dir(bundle.file("lent")).unwrap();
    let (seen, into) = (seen.display(), bundle.file("lent"));
    let at_runtime = format!("({NAMESPACES}; cat /proc/sys/kernel/hostname) > {seen}.runtime");
    let at_container = format!(
        "({NAMESPACES}; echo $$) > {seen}.container
         mount --bind {} {}; ip link add name made type veth peer name madepeer; hostname renamed",
        lent.display(),
        into.display()
    );
    bundle.config["hooks"] = json!({
        "createRuntime": [shell(&at_runtime)],
        "createContainer": [shell(&at_container)],
    });
    bundle.config["hostname"] = json!("own");
    world.ok(&["create", "--bundle", bundle.save(), "c"]);
    let pid = world.state("c")["pid"].to_string();
    let lines = |of: &str| -> Vec<String> {
        let text = fs::read_to_string(format!("{seen}.{of}")).unwrap();
        text.lines().map(str::to_owned).collect()
    };
    let (runtime, container) = (lines("runtime"), lines("container"));
    for (index, name) in ["net", "ipc", "uts", "mnt"].iter().enumerate() {
        let sandbox = fs::read_link(format!("/proc/{pid}/ns/{name}")).unwrap();
        assert_eq!(container[index], sandbox.display().to_string());
        assert_ne!(container[index], runtime[index]);
    }
    assert_ne!(container[4], "1", "the sandbox is the first process there");
    assert!(container[4].parse::<u32>().unwrap() < 100, "{container:?}");
    // Neither the mount nor the name nor the link is the caller's.
    assert_eq!(fs::read_dir(&into).unwrap().count(), 0);
    let devices = fs::read_to_string("/proc/thread-self/net/dev").unwrap();
    assert!(!devices.contains("made"), "{devices}");
    assert_eq!(
        fs::read_to_string("/proc/sys/kernel/hostname")
            .unwrap()
            .trim(),
        runtime[4]
    );
    world.ok(&["delete", "--force", "c"]);
    let out = world.ok(&["run", "--bundle", bundle.path(), "c"]);
    assert_eq!(out, "lent by a hook\nown\n");
}

#[test]
fn start_container_hooks_are_processes_of_the_container() {
    let world = world!();
    let mut bundle = world.bundle("b", "cat /tmp/left; echo ran; ps -o pid,args");
    bundle.config["process"]["user"] = json!({"uid": 12, "gid": 34});
    bundle.config["process"]["cwd"] = json!("/tmp");
    bundle.config["hostname"] = json!("inside");
    bundle.config["root"]["readonly"] = json!(false);
    fs::create_dir_all(bundle.file("hooks")).unwrap();
    fs::write(
        bundle.file("hooks/own"),
        "#!/bin/sh\necho \"$0 $* $MARK $(id -u):$(id -g) $(hostname) $PWD $HOME\" >> left",
    )
    .unwrap();
    fs::set_permissions(
        bundle.file("hooks/own"),
        std::os::unix::fs::PermissionsExt::from_mode(0o755),
    )
    .unwrap();
    std::os::unix::fs::chown(bundle.file("tmp"), Some(12), Some(34)).unwrap();
    bundle.config["hooks"] = json!({"startContainer": [
        {"path": "/hooks/own", "args": ["other", "a", "b"], "env": ["MARK=m", "PATH=/bin"]},
        {"path": "/hooks/own"},
    ]});
    let out = world.ok(&["run", "--bundle", bundle.save(), "c"]);
    let left: Vec<&str> = out.lines().take(3).collect();
    assert_eq!(left[0], "/hooks/own a b m 12:34 inside /tmp ");
    assert_eq!(left[1], "/hooks/own   12:34 inside /tmp ");
    assert_eq!(left[2], "ran");
    assert!(!out.contains("hooks/own a\n"), "{out}");
}

#[test]
fn a_start_container_hook_that_fails_or_hangs_stops_the_container() {
    let world = world!();
    let mut bundle = world.bundle("b", "echo ran");
    let mut fails_with = |hook: Value, words: &str| {
        bundle.config["hooks"] = json!({"startContainer": [hook]});
        world.ok(&["create", "--bundle", bundle.save(), "c"]);
        let done = world.refused(&["start", "c"], words);
        assert!(done.stderr.contains("startContainer"), "{done:?}");
        assert_eq!(world.status("c"), "stopped");
        world.ok(&["delete", "c"]);
        world.assert_nothing_left();
    };
    fails_with(shell("echo no luck >&2; exit 3"), "status 3): no luck");
    let loud = shell("head -c 100000 /dev/zero | tr '\\0' y >&2; exit 4");
    fails_with(loud, "): yyy");
    fails_with(json!({"path": "/nonexistent"}), "/nonexistent");
    let mut hangs = shell("sleep 1000; true");
    hangs["timeout"] = json!(1);
    fails_with(hangs, "timeout of 1 s");
}
