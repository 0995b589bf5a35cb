//! The root and the mounts of a bundle.

use std::fs;
use std::os::unix::fs::symlink;

use serde_json::json;

use crate::world::world;

#[test]
fn a_read_only_root_stays_as_it_is() {
    let world = world!();
    let bundle = world.bundle(
        "b",
        "echo x > /etc/f || echo refused; mkdir /d || echo refused; rm /bin/cat || echo refused; chmod 700 /etc || echo refused
         grep ' / ' /proc/mounts | cut -d' ' -f4 | cut -d, -f1; echo y > /dev/shm/f && cat /dev/shm/f",
    );
    // Mount points that are not there are not made on this machine.
    for dir in ["proc", "dev", "sys"] {
        fs::remove_dir(bundle.file(dir)).unwrap();
    }
    let out = world.ok(&["run", "--bundle", bundle.path(), "c"]);
    assert_eq!(out, "refused\nrefused\nrefused\nrefused\nro\ny\n");
    let mut left: Vec<_> = fs::read_dir(bundle.file(""))
        .unwrap()
        .flatten()
        .map(|e| e.file_name())
        .collect();
    left.sort();
    assert_eq!(left, ["bin", "etc", "tmp"]);
    assert_eq!(fs::read_dir(bundle.file("etc")).unwrap().count(), 0);
}

#[test]
fn a_writable_root_keeps_what_is_written() {
    let world = world!();
    let mut bundle = world.bundle(
        "b",
        "echo new > /etc/f; mkdir -p /d/e; ln -s f /etc/link; echo more >> /etc/old; rm /etc/gone",
    );
    bundle.config["root"]["readonly"] = json!(false);
    fs::write(bundle.file("etc/old"), "old\n").unwrap();
    fs::write(bundle.file("etc/gone"), "").unwrap();
    world.ok(&["run", "--bundle", bundle.save(), "c"]);
    let read = |name: &str| fs::read_to_string(bundle.file(name)).unwrap();
    assert_eq!(
        (read("etc/f"), read("etc/old")),
        ("new\n".into(), "old\nmore\n".into())
    );
    assert!(bundle.file("d/e").is_dir() && !bundle.file("etc/gone").exists());
    assert_eq!(
        fs::read_link(bundle.file("etc/link")).unwrap().to_str(),
        Some("f")
    );
}

#[test]
fn binds_of_directories_and_files() {
    let world = world!();
    let (dir, file) = (world.dir.join("data"), world.dir.join("file"));
    fs::create_dir_all(dir.join("sub")).unwrap();
    fs::write(dir.join("f"), "of the machine\n").unwrap();
    fs::write(&file, "one file\n").unwrap();
    let mut bundle = world.bundle(
        "b",
        "cat /rw/f /made/on/the/way/file; echo x > /ro/g || echo refused; rm /ro/f || echo refused
         echo from inside > /rw/sub/g; mv /rw/f /rw/h; echo changed > /made/on/the/way/file",
    );
    bundle.mount(
        json!({"destination": "/ro", "type": "bind", "source": dir, "options": ["rbind", "ro"]}),
    );
    bundle.mount(json!({"destination": "/rw", "source": dir, "options": ["bind", "rw"]}));
    bundle.mount(json!({"destination": "/made/on/the/way/file", "type": "bind", "source": file}));
    let out = world.ok(&["run", "--bundle", bundle.save(), "c"]);
    assert_eq!(out, "of the machine\none file\nrefused\nrefused\n");
    let read = |name: &str| fs::read_to_string(dir.join(name)).unwrap();
    assert_eq!(
        (read("sub/g"), read("h")),
        ("from inside\n".into(), "of the machine\n".into())
    );
    assert_eq!(fs::read_to_string(&file).unwrap(), "changed\n");
    assert!(!bundle.file("made").exists() && !bundle.file("ro").exists());
}

#[test]
fn a_relative_source_is_the_bundles() {
    let world = world!();
    let mut bundle = world.bundle("b", "cat /x/f");
    fs::create_dir(bundle.dir.join("data")).unwrap();
    fs::write(bundle.dir.join("data/f"), "here\n").unwrap();
    bundle
        .mount(json!({"destination": "/x", "type": "bind", "source": "data", "options": ["bind"]}));
    assert_eq!(world.ok(&["run", "--bundle", bundle.save(), "c"]), "here\n");
}

#[test]
fn destinations_do_not_leave_the_root() {
    let world = world!();
    let outside = world.dir.join("outside");
    fs::create_dir(&outside).unwrap();
    for readonly in [true, false] {
        let mut bundle = world.bundle(
            "b",
            "echo x > /evil/sub/f; echo y > /up/g; cat /evil/sub/f /up/g",
        );
        bundle.config["root"]["readonly"] = json!(readonly);
        symlink(&outside, bundle.file("evil")).unwrap();
        symlink("../../../../..", bundle.file("up")).unwrap();
        fs::create_dir_all(bundle.file(outside.strip_prefix("/").unwrap().to_str().unwrap()))
            .unwrap();
        for destination in ["/evil/sub", "/up"] {
            if destination == "/up" && readonly {
                bundle.mount(json!({"destination": "/g", "type": "tmpfs", "source": "tmpfs"}));
                bundle.config["process"]["args"][2] =
                    json!("echo x > /evil/sub/f; cat /evil/sub/f; ls -d /up/g");
            }
            if destination != "/up" {
                bundle
                    .mount(json!({"destination": destination, "type": "tmpfs", "source": "tmpfs"}));
            }
        }
        let out = world.ok(&["run", "--bundle", bundle.save(), "c"]);
        assert_eq!(out, if readonly { "x\n/up/g\n" } else { "x\ny\n" });
        assert_eq!(
            fs::read_dir(&outside).unwrap().count(),
            0,
            "readonly {readonly}"
        );
        assert_eq!(bundle.file("g").exists(), !readonly);
        fs::remove_dir_all(&bundle.dir).unwrap();
    }
}

#[test]
fn a_tmpfs_has_its_size_and_mode() {
    let world = world!();
    let mut bundle = world.bundle(
        "b",
        "stat -c %a /t; head -c 2000000 /dev/zero > /t/f 2>/dev/null || echo full; stat -c %s /t/f
         rm /t/f; head -c 900000 /dev/zero > /t/g && echo fits; touch /n/f && chmod 755 /n/f; cp /bin/busybox /n/ls; /n/ls / 2>/dev/null || echo noexec; echo x > /r/f || echo refused",
    );
    let tmpfs = |at: &str, options: &[&str]| json!({"destination": at, "type": "tmpfs", "source": "tmpfs", "options": options});
    bundle.mount(tmpfs("/t", &["size=1m", "mode=1750", "nosuid"]));
    bundle.mount(tmpfs("/n", &["noexec"]));
    bundle.mount(tmpfs("/r", &["ro"]));
    let out = world.ok(&["run", "--bundle", bundle.save(), "c"]);
    assert_eq!(out, "1750\nfull\n1048576\nfits\nnoexec\nrefused\n");
}

#[test]
fn the_kernels_file_systems_are_there() {
    let world = world!();
    let mut bundle = world.bundle(
        "b",
        "cut -d' ' -f3 /proc/mounts | sort -u | tr '\\n' ' '; echo
         for n in null zero full random urandom tty ptmx; do [ -e /dev/$n ] || echo no $n; done
         stat -c %F /dev/null; readlink /dev/fd; ls -d /dev/pts/ptmx /dev/shm; head -c 3 /dev/zero | wc -c
         echo x > /dev/full || echo full; ls /proc/self/fd | wc -l; [ -d /sys/kernel ] || [ -d /sys/class ] && echo sys",
    );
    bundle.mount(json!({"destination": "/dev/pts", "type": "devpts", "source": "devpts", "options": ["nosuid", "noexec", "newinstance", "ptmxmode=0666"]}));
    bundle.mount(json!({"destination": "/dev/shm", "type": "tmpfs", "source": "shm", "options": ["nosuid", "size=65536k"]}));
    bundle.mount(json!({"destination": "/dev/mqueue", "type": "mqueue", "source": "mqueue"}));
    bundle.mount(json!({"destination": "/sys/fs/cgroup", "type": "cgroup", "source": "cgroup", "options": ["ro"]}));
    let out = world.ok(&["run", "--bundle", bundle.save(), "c"]);
    let mut lines = out.lines();
    let kinds = lines.next().unwrap();
    for kind in ["proc", "sysfs", "devpts", "tmpfs", "devtmpfs"] {
        assert!(
            kinds.split(' ').any(|found| found == kind),
            "no {kind} in {kinds}"
        );
    }
    let rest: Vec<_> = lines.collect();
    let expected = [
        "character special file",
        "/proc/self/fd",
        "/dev/pts/ptmx",
        "/dev/shm",
        "3",
        "full",
        "4",
        "sys",
    ];
    assert_eq!(rest, expected);
}

#[test]
fn mounts_that_cannot_be_are_refused() {
    let world = world!();
    for (mount, words) in [
        (
            json!({"destination": "/x", "type": "bind", "source": "/nonexistent"}),
            "cannot open /nonexistent",
        ),
        (
            json!({"destination": "/x", "type": "nfs", "source": "host:/"}),
            "\"nfs\" is not supported",
        ),
        (
            json!({"destination": "x", "type": "tmpfs", "source": "tmpfs"}),
            "not an absolute",
        ),
        (
            json!({"destination": "/x", "type": "tmpfs", "source": "t", "options": ["size=many"]}),
            "size=many",
        ),
        (
            json!({"destination": "/bin/busybox", "type": "tmpfs", "source": "t"}),
            "/bin/busybox",
        ),
        (
            json!({"destination": "/bin/busybox/x", "type": "tmpfs", "source": "t"}),
            "/bin/busybox/x",
        ),
    ] {
        let mut bundle = world.bundle("b", "true");
        bundle.mount(mount);
        world.refused(&["run", "--bundle", bundle.save(), "c"], words);
        world.assert_nothing_left();
        fs::remove_dir_all(&bundle.dir).unwrap();
    }
}

/// What `--host-uds=none` and `--host-fifo=none` mean: the reference sandbox's errnos, and pipes and
/// sockets of the guest's own beside them.
#[test]
fn sockets_and_fifos_of_the_host_stay_outside() {
    let world = world!();
    let lent = world.dir.join("lent");
    std::fs::create_dir(&lent).unwrap();
    let _listener = std::os::unix::net::UnixListener::bind(lent.join("socket")).unwrap();
    nix::unistd::mkfifo(
        &lent.join("fifo"),
        nix::sys::stat::Mode::from_bits_truncate(0o666),
    )
    .unwrap();
    let script = "cd /lent; echo x > fifo; cat fifo
        mkfifo own; (echo through > own &); cat own; rm own; ls";
    let mut bundle = world.bundle("b", script);
    bundle
        .mount(json!({"destination": "/lent", "type": "bind", "source": lent, "options": ["rw"]}));
    let done = world.run(&["run", "--bundle", bundle.save(), "c"]);
    assert_eq!(
        (done.code, &*done.stdout),
        (0, "through\nfifo\nsocket\n"),
        "{done:?}"
    );
    let refused = done.stderr.matches("Operation not permitted").count();
    assert_eq!(refused, 2, "{done:?}");
    let connect = "import socket; s = socket.socket(socket.AF_UNIX)
try: s.connect('/lent/socket')
except OSError as error: print(error.strerror)";
    let out = world.ok(&[
        "--network=none",
        "do",
        "python3",
        "-c",
        &connect.replace("/lent", lent.to_str().unwrap()),
    ]);
    assert_eq!(out, "Connection refused\n");
    for flag in ["--host-uds=open", "--host-uds=all", "--host-fifo=open"] {
        world.refused(&[flag, "do", "true"], "none is supported");
    }
    world.ok(&[
        "--host-uds=none",
        "--host-fifo=none",
        "--network=none",
        "do",
        "true",
    ]);
}
