//! Sandboxes of ordinary users.

use std::fs;
use std::os::unix::fs::{PermissionsExt, chown};
use std::process::Command;

use crate::refusals::as_nobody;
use crate::world::{Done, World, make_rootfs, world};

/// Whether this machine lets an ordinary user make a user namespace: Linux itself says.
fn allowed(world: &World) -> bool {
    let mut command = Command::new("setpriv");
    command.args(["--reuid", "65534", "--regid", "65534", "--clear-groups"]);
    command.args(["unshare", "--user", "--mount", "--map-root-user", "true"]);
    world.start(command).finish().code == 0
}

fn run(world: &World, args: &[&str]) -> Done {
    world.start(as_nobody(world, args)).finish()
}

/// Says what is lacking where it cannot work.
fn refused_if_not_allowed(world: &World) -> bool {
    if allowed(world) {
        return false;
    }
    run(world, &["--network=none", "do", "/bin/true"]).assert_refused("user namespace");
    true
}

#[test]
fn do_works_in_a_user_namespace() {
    let world = world!();
    if refused_if_not_allowed(&world) {
        return;
    }
    for platform in ["systrap", "ptrace"] {
        let script = "id -u; echo x > /tmp/f && cat /tmp/f; cat /etc/shadow || echo not mine; ls /root >/dev/null || echo not mine; exit 5";
        let platform = format!("--platform={platform}");
        let done = run(
            &world,
            &[&platform, "--network=none", "do", "/bin/bash", "-c", script],
        );
        assert_eq!(
            (done.code, &*done.stdout),
            (5, "0\nx\nnot mine\nnot mine\n"),
            "{done:?}"
        );
    }
    assert!(!fs::exists("/tmp/f").unwrap(), "it was written to memory");
}

#[test]
fn do_without_root_has_no_network_and_says_so() {
    let world = world!();
    if refused_if_not_allowed(&world) {
        return;
    }
    let script = "import socket
s = socket.create_server(('127.0.0.1', 0)); c = socket.create_connection(s.getsockname()); print('looped')
try: socket.create_connection(('192.168.131.1', 1), 1)
except OSError as error: print(error.strerror)";
    let done = run(&world, &["do", "python3", "-c", script]);
    let expected = "looped\nNetwork is unreachable\n";
    assert_eq!((done.code, &*done.stdout), (0, expected), "{done:?}");
    assert!(done.stderr.contains("warning: only root"), "{done:?}");
}

#[test]
fn bundles_of_an_ordinary_user() {
    let world = world!();
    if refused_if_not_allowed(&world) {
        return;
    }
    fs::set_permissions(&world.dir, fs::Permissions::from_mode(0o755)).unwrap();
    let home = world.dir.join("home");
    let (bundle, state) = (home.join("b"), home.join("state"));
    make_rootfs(&bundle.join("rootfs"));
    for dir in [&home, &bundle] {
        chown(dir, Some(65534), Some(65534)).unwrap();
    }
    let (bundle, state) = (bundle.to_str().unwrap(), state.to_str().unwrap());
    let verb = |args: &[&str]| {
        run(
            &world,
            &[&["--root", state, "--network=none"], args].concat(),
        )
    };
    let args = [
        "spec",
        "--bundle",
        bundle,
        "sh",
        "-c",
        "echo $(id -u) $(hostname); exec sleep 1000",
    ];
    assert_eq!(verb(&args).code, 0);
    let made = verb(&["run", "-d", "--bundle", bundle, "c"]);
    assert_eq!(made.code, 0, "{made:?}");
    let exec = verb(&["exec", "c", "sh", "-c", "echo inside; exit 4"]);
    assert_eq!((exec.code, &*exec.stdout), (4, "inside\n"), "{exec:?}");
    world.until("the shell has become sleep", || {
        verb(&["ps", "c"]).stdout.contains("sleep")
    });
    assert!(verb(&["list"]).stdout.contains("nobody"));
    assert_eq!(verb(&["kill", "c", "KILL"]).code, 0);
    world.until("stopped", || {
        verb(&["state", "c"]).stdout.contains("stopped")
    });
    let gone = verb(&["delete", "c"]);
    assert_eq!(gone.code, 0, "{gone:?}");
    assert_eq!(fs::read_dir(state).unwrap().count(), 0);
}
