//! Bad input: one clear sentence, status 128, and nothing left behind.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::Command;

use serde_json::{Value, json};

use crate::shared::runsc;
use crate::world::{World, world};

/// A change of a good configuration, and what is said about it.
type Edit = (&'static str, fn(&mut Value), &'static str);

const EDITS: &[Edit] = &[
    (
        "no version",
        |c| drop(c.as_object_mut().unwrap().remove("ociVersion")),
        "ociVersion",
    ),
    (
        "a later version",
        |c| c["ociVersion"] = json!("2.0.0"),
        "ociVersion",
    ),
    (
        "a version that is none",
        |c| c["ociVersion"] = json!(1),
        "not a valid OCI configuration",
    ),
    (
        "no process",
        |c| drop(c.as_object_mut().unwrap().remove("process")),
        "process: is missing",
    ),
    (
        "a process that is none",
        |c| c["process"] = json!("sh"),
        "not a valid OCI configuration",
    ),
    (
        "no args",
        |c| drop(c["process"].as_object_mut().unwrap().remove("args")),
        "process.args",
    ),
    (
        "empty args",
        |c| c["process"]["args"] = json!([]),
        "process.args",
    ),
    (
        "args that are no strings",
        |c| c["process"]["args"] = json!([1]),
        "not a valid OCI configuration",
    ),
    (
        "an arg with a NUL",
        |c| c["process"]["args"] = json!(["true", "a\0b"]),
        "process.args",
    ),
    (
        "a relative cwd",
        |c| c["process"]["cwd"] = json!("tmp"),
        "process.cwd",
    ),
    (
        "an empty cwd",
        |c| c["process"]["cwd"] = json!(""),
        "process.cwd",
    ),
    (
        "no cwd",
        |c| drop(c["process"].as_object_mut().unwrap().remove("cwd")),
        "cwd",
    ),
    (
        "a variable without value",
        |c| c["process"]["env"] = json!(["A"]),
        "process.env",
    ),
    (
        "a variable with a NUL",
        |c| c["process"]["env"] = json!(["A=\0"]),
        "process.env",
    ),
    (
        "a user out of range",
        |c| c["process"]["user"]["uid"] = json!(4_294_967_296u64),
        "not a valid OCI configuration",
    ),
    (
        "a negative user",
        |c| c["process"]["user"]["uid"] = json!(-1),
        "not a valid OCI configuration",
    ),
    (
        "a number past all",
        |c| c["process"]["user"]["gid"] = json!(1e300),
        "not a valid OCI configuration",
    ),
    (
        "an umask that is none",
        |c| c["process"]["user"]["umask"] = json!(0o10000),
        "umask",
    ),
    (
        "an unknown limit",
        |c| c["process"]["rlimits"][0]["type"] = json!("RLIMIT_X"),
        "not a valid OCI configuration",
    ),
    (
        "soft above hard",
        |c| c["process"]["rlimits"][0]["soft"] = json!(5000),
        "rlimits",
    ),
    (
        "a limit named twice",
        |c| {
            let one = c["process"]["rlimits"][0].clone();
            c["process"]["rlimits"] = json!([one, one]);
        },
        "rlimits",
    ),
    (
        "an unknown capability",
        |c| c["process"]["capabilities"]["effective"] = json!(["CAP_X"]),
        "not a valid OCI configuration",
    ),
    (
        "no root",
        |c| drop(c.as_object_mut().unwrap().remove("root")),
        "root",
    ),
    (
        "a root that is not there",
        |c| c["root"]["path"] = json!("gone"),
        "root.path",
    ),
    (
        "a root that is a file",
        |c| c["root"]["path"] = json!("config.json"),
        "not a directory",
    ),
    (
        "an empty root",
        |c| c["root"]["path"] = json!(""),
        "root.path",
    ),
    (
        "a hostname that is too long",
        |c| c["hostname"] = json!("h".repeat(65)),
        "hostname",
    ),
    (
        "mounts that are none",
        |c| c["mounts"] = json!({}),
        "not a valid OCI configuration",
    ),
    (
        "a mount of nothing",
        |c| c["mounts"] = json!([{}]),
        "not a valid OCI configuration",
    ),
    (
        "an unknown namespace",
        |c| c["linux"]["namespaces"] = json!([{"type": "x"}]),
        "not a valid OCI configuration",
    ),
    (
        "a network namespace that is not there",
        |c| c["linux"]["namespaces"] = json!([{"type": "network", "path": "/nonexistent/ns"}]),
        "/nonexistent/ns",
    ),
    (
        "a network namespace that is none",
        |c| c["linux"]["namespaces"] = json!([{"type": "network", "path": "/proc/self/status"}]),
        "/proc/self/status",
    ),
    (
        "one of another kind",
        |c| c["linux"]["namespaces"] = json!([{"type": "network", "path": "/proc/self/ns/uts"}]),
        "/proc/self/ns/uts",
    ),
    (
        "a hook with a relative path",
        |c| c["hooks"] = json!({"prestart": [{"path": "true"}]}),
        "hooks",
    ),
];

#[test]
fn configurations() {
    let world = world!();
    let mut bundle = world.bundle("b", "true");
    let good = bundle.config.clone();
    world.ok(&["run", "--bundle", bundle.save(), "c"]);
    for (what, edit, words) in EDITS {
        bundle.config = good.clone();
        edit(&mut bundle.config);
        let done = world.run(&["create", "--bundle", bundle.save(), "c"]);
        eprintln!("{what}: {}", done.stderr.trim_end());
        done.assert_refused(words);
        world.assert_nothing_left();
    }
}

#[test]
fn texts_that_are_no_configuration() {
    let world = world!();
    let bundle = world.bundle("b", "true");
    let deep = |n: usize| format!("{}{}", "[".repeat(n), "]".repeat(n));
    let nested = format!(
        r#"{{"ociVersion":"1.0.0","annotations":{}}}"#,
        deep(100_000)
    );
    for text in [
        "",
        " ",
        "{",
        "[]",
        "null",
        "1",
        "\"x\"",
        "{}",
        "not json",
        "{\"ociVersion\":",
        "\u{feff}{}",
        &deep(100_000),
        &nested,
    ] {
        fs::write(bundle.dir.join("config.json"), text).unwrap();
        world.refused(&["run", "--bundle", bundle.path(), "c"], "config.json");
        world.assert_nothing_left();
    }
    fs::write(bundle.dir.join("config.json"), b"\xff\xfe{}").unwrap();
    world.refused(&["run", "--bundle", bundle.path(), "c"], "config.json");
    fs::remove_file(bundle.dir.join("config.json")).unwrap();
    world.refused(&["run", "--bundle", bundle.path(), "c"], "runsc spec");
    fs::create_dir(bundle.dir.join("config.json")).unwrap();
    world.refused(&["run", "--bundle", bundle.path(), "c"], "config.json");
    world.refused(
        &["run", "--bundle", "/nonexistent", "c"],
        "no bundle at /nonexistent",
    );
}

#[test]
fn ids() {
    let world = world!();
    let bundle = world.bundle("b", "true");
    let long = "x".repeat(1025);
    for id in ["", ".", "..", "../x", "a/b", "/", "a b", "ä", "a\nb", &long] {
        for verb in [
            &["create", "--bundle", bundle.path()][..],
            &["run", "--bundle", bundle.path()],
            &["state"],
            &["start"],
            &["kill"],
            &["delete"],
            &["delete", "--force"],
            &["ps"],
            &["wait"],
        ] {
            world.refused(&[verb, &[id]].concat(), "is no container id");
        }
    }
    world.assert_nothing_left();
    // As long as a file name can be.
    let longest = "x".repeat(255);
    world.ok(&["run", "--bundle", bundle.path(), &longest]);
    world.refused(
        &["run", "--bundle", bundle.path(), &"x".repeat(256)],
        "cannot make",
    );
}

#[test]
fn containers_that_are_not_there() {
    let world = world!();
    for verb in ["start", "state", "kill", "delete", "ps", "wait"] {
        world.refused(&[verb, "none"], "container \"none\" does not exist");
    }
    world.refused(&["exec", "none", "true"], "does not exist");
}

#[test]
fn command_lines() {
    let world = world!();
    for args in [
        &[][..],
        &["nonsense"],
        &["--nonsense", "list"],
        &["run"],
        &["create"],
        &["state"],
        &["delete"],
        &["kill", "c", "SIGNOPE"],
        &["list", "--format", "xml"],
        &["exec", "c"],
        &["exec", "--user", "me", "c", "true"],
        &["do"],
        &["--network=wifi", "do", "true"],
        &["--platform=abacus", "do", "true"],
        &["--log-format=xml", "list"],
    ] {
        let done = world.run(args);
        assert_eq!(done.code, 128, "{args:?}: {done:?}");
        assert!(
            !done.stderr.is_empty() && done.stdout.is_empty(),
            "{args:?}: {done:?}"
        );
        assert!(!done.stderr.contains("panic"), "{args:?}: {done:?}");
    }
    for args in [
        &["--help"][..],
        &["--version"],
        &["help", "run"],
        &["do", "--help"],
    ] {
        let done = world.run(args);
        assert_eq!((done.code, &*done.stderr), (0, ""), "{args:?}");
    }
}

#[test]
fn state_directories_that_cannot_be() {
    let world = world!();
    let bundle = world.bundle("b", "true");
    let run = |root: &str| {
        let mut command = Command::new(runsc());
        command.args(["--root", root, "run", "--bundle", bundle.path(), "c"]);
        world.start(command).finish()
    };
    run("/proc/nowhere").assert_refused("state directory /proc/nowhere");
    fs::write(world.dir.join("file"), "").unwrap();
    run(world.dir.join("file").to_str().unwrap()).assert_refused("state directory");
}

/// `runsc` as somebody who is nobody: a copy that he can reach.
pub(crate) fn as_nobody(world: &World, args: &[&str]) -> Command {
    fs::set_permissions(&world.dir, fs::Permissions::from_mode(0o755)).unwrap();
    let copy = world.dir.join("runsc");
    if !copy.exists() {
        fs::copy(runsc(), &copy).unwrap();
    }
    let mut command = Command::new("setpriv");
    command.args(["--reuid", "65534", "--regid", "65534", "--clear-groups"]);
    command.arg(copy).args(args).env_clear().current_dir("/");
    command
}

#[test]
fn a_state_directory_without_permission() {
    let world = world!();
    let bundle = world.bundle("b", "true");
    let root = world.dir.join("state");
    let args = [
        "--root",
        root.to_str().unwrap(),
        "create",
        "--bundle",
        bundle.path(),
        "c",
    ];
    world
        .start(as_nobody(&world, &args))
        .finish()
        .assert_refused("Permission denied");
    let args = ["run", "--bundle", bundle.path(), "c"];
    let done = world.start(as_nobody(&world, &args)).finish();
    done.assert_refused("XDG_RUNTIME_DIR");
}

/// Runs `script` in a mount namespace of its own, `$0` being runsc.
fn in_mount_namespace(world: &World, script: &str) -> crate::world::Done {
    let mut command = Command::new("unshare");
    command.args([
        "--mount",
        "--propagation",
        "private",
        "/bin/sh",
        "-c",
        script,
    ]);
    command.arg(runsc());
    world.start(command).finish()
}

#[test]
fn a_machine_without_tun_devices() {
    let world = world!();
    let done = in_mount_namespace(
        &world,
        "mount -t tmpfs none /dev/net && exec $0 do /bin/true",
    );
    done.assert_refused("/dev/net/tun");
    let done = in_mount_namespace(
        &world,
        "mount -t tmpfs none /dev/net && exec $0 --network=none do /bin/true",
    );
    assert_eq!(done.code, 0, "{done:?}");
    // Somebody else's idea of the device.
    let fake = "mount -t tmpfs none /dev/net && : > /dev/net/tun && exec $0 do /bin/true";
    in_mount_namespace(&world, fake).assert_refused("/dev/net/tun");
}

#[test]
fn what_do_cannot_run() {
    let world = world!();
    for (args, words) in [
        (&["nope-nope"][..], "executable file not found in $PATH"),
        (&["/bin/nope"], "no such file or directory"),
        (&["/etc/passwd"], "permission denied"),
        (&["--cwd", "/nope", "true"], "working directory /nope"),
        (&["--root-dir", "/nope", "true"], "/nope"),
    ] {
        world.refused(&[&["--network=none", "do"], args].concat(), words);
    }
    world.refused(
        &["do", "--tun", "a-name-of-16-byt", "true"],
        "a-name-of-16-byt",
    );
}
