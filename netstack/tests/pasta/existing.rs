//! Namespaces that are there already: found by process, by path, and left when they are gone.

use std::process::{Command, Stdio};

use nix::mount::{MntFlags, MsFlags, mount, umount2};

use super::host::{OWN, ROUTER, Served, on_a_connected_host, pasta};
use super::world::{for_everybody, new_namespace, output};

#[test]
fn it_goes_on_in_the_background_with_few_rights() {
    on_a_connected_host(|| {
        let served = Served::start("rights", &[]);
        let route = served.inside(|| String::from_utf8(output("ip", &["route"])).unwrap());
        assert!(
            route.contains(&format!("default via {ROUTER} dev out0")),
            "{route}"
        );
        let status = std::fs::read_to_string(format!("/proc/{}/status", served.program())).unwrap();
        for expected in ["CapEff:\t0000000000000000", "NoNewPrivs:\t1", "Seccomp:\t2"] {
            assert!(status.contains(expected), "{expected}: {status}");
        }
        served.inside(|| output("ping", &["-c", "1", "-W", "20", ROUTER]));
    });
}

#[test]
fn it_ends_with_the_process_that_it_is_for() {
    on_a_connected_host(|| {
        let mut namespace = new_namespace();
        let pid_file =
            std::env::temp_dir().join(format!("netstack-pasta-e-{}", std::process::id()));
        let mut program = pasta()
            .args(["--config-net", "-q", "-f", "-P"])
            .arg(&pid_file)
            .arg(namespace.id().to_string())
            .spawn()
            .unwrap();
        // It is written when the namespace has been entered.
        let written = |path| std::fs::read_to_string(path).is_ok_and(|text| text.ends_with('\n'));
        while !written(&pid_file) && program.try_wait().unwrap().is_none() {
            std::thread::sleep(std::time::Duration::from_millis(5));
        }
        drop(namespace.stdin.take());
        namespace.wait().unwrap();
        assert_eq!(program.wait().unwrap().code(), Some(0));
        let _ = std::fs::remove_file(&pid_file);
    });
}

/// As Podman calls it, for a path that is removed in the end; by root, who becomes another user.
#[test]
fn podmans_call_works_for_a_path() {
    on_a_connected_host(|| {
        let mut namespace = new_namespace();
        let pid = namespace.id();
        // Root's own: whom it becomes may not write there.
        let directory = std::env::temp_dir().join(format!("netstack-netns-{}", std::process::id()));
        std::fs::create_dir_all(&directory).unwrap();
        let path = directory.join("netns-xyz");
        std::fs::write(&path, "").unwrap();
        let source = format!("/proc/{pid}/ns/net");
        let none: Option<&str> = None;
        mount(Some(&source[..]), &path, none, MsFlags::MS_BIND, none).unwrap();
        drop(namespace.stdin.take());
        namespace.wait().unwrap();
        let mut program = Command::new(for_everybody());
        program.arg("pasta").args([
            "--config-net",
            "--dns-forward",
            "169.254.1.1",
            "-t",
            "none",
            "-u",
            "none",
            "-T",
            "none",
            "-U",
            "none",
            "--no-map-gw",
            "--quiet",
            "--map-guest-addr",
            "169.254.1.2",
            "--netns",
        ]);
        let background = program
            .arg(&path)
            .arg("--pid")
            .arg(path.with_extension("pid"));
        let said = background.stdin(Stdio::null()).output().unwrap();
        let error = String::from_utf8_lossy(&said.stderr);
        assert!(said.status.success() && error.is_empty(), "{error}");
        let net = format!("--net={}", path.to_str().unwrap());
        let addr =
            String::from_utf8(output("nsenter", &[&net, "ip", "addr", "show", "out0"])).unwrap();
        assert!(addr.contains(&format!("{OWN}/24")), "{addr}");
        let pid = std::fs::read_to_string(path.with_extension("pid")).unwrap();
        let status = std::fs::read_to_string(format!("/proc/{}/status", pid.trim())).unwrap();
        assert!(status.contains("Uid:\t65534\t65534"), "{status}");
        umount2(&path, MntFlags::MNT_DETACH).unwrap();
        std::fs::remove_file(&path).unwrap();
        std::fs::remove_dir_all(&directory).unwrap();
        // It looks once a second.
        while std::path::Path::new("/proc").join(pid.trim()).exists() {
            std::thread::sleep(std::time::Duration::from_millis(20));
        }
    });
}

#[test]
fn mistakes_are_answered_before_it_goes_to_the_background() {
    on_a_connected_host(|| {
        let cases: [(&[&str], &str); 4] = [
            (&["99999999"], "cannot open /proc/99999999/ns/net"),
            (
                &["--netns", "no-such-name"],
                "cannot open /run/netns/no-such-name",
            ),
            (
                &["--netns", "/etc/passwd"],
                "cannot enter the network namespace",
            ),
            (&["--netns", "/etc/passwd", "true"], "one of them"),
        ];
        for (arguments, expected) in cases {
            let done = pasta().arg("-q").args(arguments).output().unwrap();
            let error = String::from_utf8_lossy(&done.stderr);
            assert_eq!(done.status.code(), Some(1), "{error}");
            assert!(error.contains(expected), "{arguments:?}: {error}");
        }
    });
}
