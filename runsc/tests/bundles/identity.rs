//! What the process sees of itself: user, limits, capabilities, environment, names.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use serde_json::json;

use crate::world::{Bundle, World, world};

fn output(world: &World, bundle: &Bundle) -> String {
    world.ok(&["run", "--bundle", bundle.save(), "c"])
}

#[test]
fn user_groups_umask_and_limits() {
    let world = world!();
    let mut bundle = world.bundle(
        "b",
        "grep -E '^(Uid|Gid|Groups|NoNewPrivs):' /proc/self/status; umask; ulimit -S -n; ulimit -H -n; ulimit -S -u",
    );
    let process = &mut bundle.config["process"];
    process["user"] = json!({"uid": 1000, "gid": 1001, "additionalGids": [5, 20], "umask": 0o27});
    process["rlimits"] = json!([
        {"type": "RLIMIT_NOFILE", "soft": 100, "hard": 200},
        {"type": "RLIMIT_NPROC", "soft": 50, "hard": 60}
    ]);
    process["noNewPrivileges"] = json!(true);
    let expected = "Uid:\t1000\t1000\t1000\t1000\nGid:\t1001\t1001\t1001\t1001\nGroups:\t5 20 \nNoNewPrivs:\t1\n0027\n100\n200\n50\n";
    assert_eq!(output(&world, &bundle), expected);
    bundle.config["process"]["noNewPrivileges"] = json!(false);
    bundle.config["process"]["args"] = json!(["grep", "^NoNewPrivs", "/proc/self/status"]);
    assert_eq!(output(&world, &bundle), "NoNewPrivs:\t0\n");
}

#[test]
fn capabilities_of_root_and_of_others() {
    let world = world!();
    let mut bundle = world.bundle("b", "grep ^Cap /proc/self/status");
    let (chown, net_raw) = (1u64, 1u64 << 13);
    let sets = json!(["CAP_CHOWN", "CAP_NET_RAW"]);
    bundle.config["process"]["capabilities"] = json!({
        "bounding": sets, "permitted": sets, "effective": sets, "inheritable": [], "ambient": []
    });
    let shown = |text: &str, name: &str| {
        let line = text.lines().find(|line| line.starts_with(name)).unwrap();
        u64::from_str_radix(line.split_ascii_whitespace().nth(1).unwrap(), 16).unwrap()
    };
    let all = ["CapPrm", "CapEff", "CapBnd"];
    let text = output(&world, &bundle);
    for name in all {
        assert_eq!(shown(&text, name), chown | net_raw, "{name}");
    }
    assert_eq!((shown(&text, "CapInh"), shown(&text, "CapAmb")), (0, 0));
    // execve takes them from who is not root, unless they are ambient (capabilities(7)).
    bundle.config["process"]["user"] = json!({"uid": 1000, "gid": 1000});
    let text = output(&world, &bundle);
    assert_eq!(all.map(|name| shown(&text, name)), [0, 0, chown | net_raw]);
    let sets = json!(["CAP_NET_RAW"]);
    bundle.config["process"]["capabilities"]["inheritable"] = sets.clone();
    bundle.config["process"]["capabilities"]["ambient"] = sets;
    let text = output(&world, &bundle);
    for name in ["CapInh", "CapPrm", "CapEff", "CapAmb"] {
        assert_eq!(shown(&text, name), net_raw, "{name}");
    }
    // Without any set there is none.
    bundle.config["process"]["capabilities"] = json!({});
    let text = output(&world, &bundle);
    assert_eq!(all.map(|name| shown(&text, name)), [0, 0, 0]);
}

#[test]
fn names_environment_and_directory() {
    let world = world!();
    let mut bundle = world.bundle(
        "b",
        "hostname; cat /proc/sys/kernel/hostname; pwd; echo $0 $1",
    );
    bundle.config["hostname"] = json!("box");
    bundle.config["process"]["cwd"] = json!("/etc");
    let args = bundle.config["process"]["args"].as_array_mut().unwrap();
    args.extend([json!("zero"), json!("one")]);
    assert_eq!(output(&world, &bundle), "box\nbox\n/etc\nzero one\n");
    bundle.config["process"]["args"] = json!(["env"]);
    bundle.config["process"]["env"] = json!(["PATH=/bin", "A=1", "EMPTY=", "A=2", "WITH=a=b"]);
    assert_eq!(
        output(&world, &bundle),
        "PATH=/bin\nA=2\nEMPTY=\nWITH=a=b\n"
    );
}

#[test]
fn what_cannot_be_run_is_told_in_a_sentence() {
    let world = world!();
    let mut bundle = world.bundle("b", "true");
    fs::write(bundle.file("plain"), "echo hello\n").unwrap();
    fs::write(bundle.file("junk"), [0u8; 100]).unwrap();
    fs::set_permissions(bundle.file("junk"), fs::Permissions::from_mode(0o755)).unwrap();
    for (program, words) in [
        ("nope", "exec: \"nope\": executable file not found in $PATH"),
        (
            "/bin/nope",
            "exec: \"/bin/nope\": no such file or directory",
        ),
        ("/plain", "exec: \"/plain\": permission denied"),
        ("/junk", "exec format error"),
        ("", "executable file not found"),
    ] {
        bundle.config["process"]["args"] = json!([program]);
        for verb in ["create", "run"] {
            world.refused(&[verb, "--bundle", bundle.save(), "c"], words);
            world.assert_nothing_left();
        }
    }
    bundle.config["process"]["args"] = json!(["true"]);
    bundle.config["process"]["cwd"] = json!("/not/there");
    world.refused(
        &["run", "--bundle", bundle.save(), "c"],
        "working directory /not/there",
    );
    bundle.config["process"]["cwd"] = json!("/bin/busybox");
    world.refused(
        &["run", "--bundle", bundle.save(), "c"],
        "working directory /bin/busybox",
    );
}
