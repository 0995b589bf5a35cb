//! Signals: of `runsc kill`, and to a `runsc run` in the foreground.

use nix::sys::signal::Signal;

use crate::lifecycle::sleeper;
use crate::world::world;

/// Says which signals it gets.
const LISTENER: &str =
    "for s in HUP INT QUIT USR1 USR2 TERM WINCH CONT ALRM; do trap \"echo got $s\" $s; done
    echo up; while :; do sleep 0.05; done";

#[test]
fn kill_takes_names_and_numbers() {
    let world = world!();
    let bundle = world.bundle("b", LISTENER);
    let mut run = world.start(world.command(&["run", "--bundle", bundle.path(), "c"]));
    run.until_written("up");
    for (given, name) in [
        (&["HUP"][..], "HUP"),
        (&["SIGINT"], "INT"),
        (&["quit"], "QUIT"),
        (&["10"], "USR1"),
        (&["12"], "USR2"),
        (&[], "TERM"),
        (&["14"], "ALRM"),
    ] {
        world.ok(&[&["kill", "c"], given].concat());
        run.until_written(&format!("got {name}\n"));
    }
    for bad in ["NOPE", "0", "65", "-1", ""] {
        let done = world.run(&["kill", "c", "--", bad]);
        assert_eq!(done.code, 128, "{bad:?}: {done:?}");
    }
    world.refused(&["kill", "--pid", "4000", "c", "TERM"], "no such process");
    world.refused(&["kill", "none"], "does not exist");
    world.ok(&["kill", "c", "KILL"]);
    assert_eq!(run.finish().code, 137);
}

#[test]
fn kill_all_reaches_every_process() {
    let world = world!();
    let bundle = world.bundle(
        "b",
        "sh -c \"trap 'echo child got it; exit' USR1; echo child up; while :; do sleep 0.05; done\" &
         trap 'echo first got it' USR1; echo first up; wait; wait; exit 6",
    );
    let mut run = world.start(world.command(&["run", "--bundle", bundle.path(), "c"]));
    run.until_written("child up");
    run.until_written("first up");
    world.ok(&["kill", "--all", "c", "USR1"]);
    let done = run.finish();
    assert!(done.stdout.contains("child got it\n"), "{done:?}");
    assert!(done.stdout.contains("first got it\n"), "{done:?}");
    assert_eq!(done.code, 6);
}

#[test]
fn kill_of_a_container_that_does_not_run() {
    let world = world!();
    let bundle = world.bundle("b", "true");
    for signal in ["TERM", "KILL"] {
        world.ok(&["create", "--bundle", bundle.path(), "c"]);
        world.ok(&["kill", "c", "WINCH"]);
        assert_eq!(world.status("c"), "created", "that one ends nothing");
        world.ok(&["kill", "c", signal]);
        world.until("stopped", || world.status("c") == "stopped");
        world.refused(&["kill", "c", signal], "stopped");
        world.ok(&["kill", "--all", "c", signal]);
        world.ok(&["delete", "c"]);
    }
}

#[test]
fn what_a_foreground_run_gets_is_passed_on() {
    let world = world!();
    let bundle = world.bundle("b", LISTENER);
    let mut run = world.start(world.command(&["run", "--bundle", bundle.path(), "c"]));
    run.until_written("up");
    for (signal, name) in [
        (Signal::SIGHUP, "HUP"),
        (Signal::SIGINT, "INT"),
        (Signal::SIGQUIT, "QUIT"),
        (Signal::SIGTERM, "TERM"),
        (Signal::SIGUSR1, "USR1"),
        (Signal::SIGUSR2, "USR2"),
        (Signal::SIGWINCH, "WINCH"),
        (Signal::SIGCONT, "CONT"),
    ] {
        run.signal(signal);
        run.until_written(&format!("got {name}\n"));
    }
    world.ok(&["kill", "c", "KILL"]);
    assert_eq!(run.finish().code, 137);
}

/// A process that handles nothing is ended, although it is the first of the sandbox.
#[test]
fn a_foreground_run_ends_by_a_signal_that_nothing_handles() {
    let world = world!();
    for (signal, code) in [
        (Signal::SIGTERM, 143),
        (Signal::SIGINT, 130),
        (Signal::SIGHUP, 129),
        (Signal::SIGUSR1, 138),
    ] {
        // Written after the exec: the shell before it handles SIGINT, and to it that is not fatal.
        let bundle = world.bundle("b", "exec yes up");
        let mut run = world.start(world.command(&["run", "--bundle", bundle.path(), "c"]));
        run.until_written("up");
        run.signal(signal);
        assert_eq!(run.finish().code, code);
        std::fs::remove_dir_all(&bundle.dir).unwrap();
        world.assert_nothing_left();
    }
}

#[test]
fn the_first_process_is_spared_what_comes_from_inside() {
    let world = world!();
    let bundle = world.bundle("b", "kill -TERM 1; kill -KILL 1; echo still here");
    assert_eq!(
        world.ok(&["run", "--bundle", bundle.path(), "c"]),
        "still here\n"
    );
    sleeper(&world, "c");
    world.ok(&["exec", "c", "kill", "-KILL", "1"]);
    assert_eq!(world.status("c"), "running");
    world.ok(&["delete", "--force", "c"]);
}

/// SIGIO for a standard input that somebody outside writes to, by fcntl and by ioctl.
#[test]
fn donated_streams_signal_that_there_is_something_to_read() {
    let world = world!();
    let script = "import fcntl, os, signal, struct, sys
signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGIO])
fcntl.fcntl(0, fcntl.F_SETOWN, os.getpid())
if sys.argv[1] == 'ioctl': fcntl.ioctl(0, 0x5452, struct.pack('i', 1))
else: fcntl.fcntl(0, fcntl.F_SETFL, fcntl.fcntl(0, fcntl.F_GETFL) | os.O_ASYNC)
for i in range(2):
    print('ready', i, flush=True)
    print(signal.sigwait([signal.SIGIO]) == signal.SIGIO, os.read(0, 2), flush=True)";
    for way in ["fcntl", "ioctl"] {
        let mut command = world.command(&["--network=none", "do", "python3", "-c", script, way]);
        command.stdin(std::process::Stdio::piped());
        let mut running = world.start(command);
        let mut stdin = running.child.stdin.take().unwrap();
        for (turn, bytes) in [(0, b"ab"), (1, b"cd")] {
            running.until_written(&format!("ready {turn}\n"));
            std::io::Write::write_all(&mut stdin, bytes).unwrap();
        }
        let done = running.finish();
        let expected = "ready 0\nTrue b'ab'\nready 1\nTrue b'cd'\n";
        assert_eq!((done.code, &*done.stdout), (0, expected), "{done:?}");
    }
}
