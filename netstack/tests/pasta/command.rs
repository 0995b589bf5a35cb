//! A command in namespaces of its own.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::process::Output;

use super::host::{OWN, ROUTER, at, on_a_connected_host, pasta};
use super::world::{PROGRAM, output};

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[test]
fn a_command_has_the_hosts_address_and_gives_its_status() {
    on_a_connected_host(|| {
        let script = "ip -o -4 addr show out0; ip -o link show out0; ip route; echo pid $$; id -u; ls /proc | grep -c '^[0-9]'; exit 7";
        let done = pasta()
            .args(["--config-net", "-q", "sh", "-c", script])
            .output()
            .unwrap();
        let text = said(&done);
        assert_eq!(done.status.code(), Some(7), "{text}");
        for expected in [
            &format!("inet {OWN}/24"),
            "mtu 65520",
            "state U",
            &format!("default via {ROUTER} dev out0"),
            "pid 1\n0\n",
        ] {
            assert!(text.contains(expected), "{expected}: {text}");
        }
        assert_eq!(String::from_utf8_lossy(&done.stderr), "");
    });
}

#[test]
fn without_config_net_the_interface_is_only_made() {
    on_a_connected_host(|| {
        let mac = "02:00:00:00:00:09";
        let done = pasta()
            .args([
                "-q",
                "-I",
                "eth9",
                "--ns-mac-addr",
                mac,
                "--",
                "ip",
                "-o",
                "addr",
            ])
            .output()
            .unwrap();
        let text = said(&done);
        assert!(
            text.contains("127.0.0.1/8") && !text.contains(OWN),
            "{text}"
        );
        let done = pasta()
            .args([
                "-q",
                "-I",
                "eth9",
                "--ns-mac-addr",
                mac,
                "--",
                "ip",
                "-o",
                "link",
            ])
            .output()
            .unwrap();
        let text = said(&done);
        let line = text.lines().find(|line| line.contains("eth9")).unwrap();
        assert!(line.contains("state DOWN") && line.contains(mac), "{line}");
    });
}

/// Addresses, names and sizes of one's own, and a server on the host's loopback interface.
#[test]
fn a_command_reaches_the_host_where_it_is_told() {
    on_a_connected_host(|| {
        let listener = TcpListener::bind(at("127.0.0.1", 8000)).unwrap();
        let server = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            // Whole: what is not read would turn the end into a reset.
            let mut request = Vec::new();
            while !request.ends_with(b"\r\n\r\n") {
                let mut byte = [0];
                stream.read_exact(&mut byte).unwrap();
                request.push(byte[0]);
            }
            stream.write_all(b"HTTP/1.0 200 OK\r\n\r\nhello").unwrap();
            drop(stream);
            request
        });
        let options = [
            "--config-net",
            "-q",
            "-4",
            "-a",
            "192.0.2.9",
            "-n",
            "255.255.255.128",
            "-g",
            "192.0.2.1",
            "-m",
            "1400",
            "-I",
            "eth1",
            "--map-host-loopback",
            "192.0.2.7",
        ];
        let script = "ip -o addr show eth1; ip -o link show eth1; curl -sS --http0.9 -m 60 http://192.0.2.7:8000/";
        let done = pasta()
            .args(options)
            .args(["--", "sh", "-c", script])
            .output()
            .unwrap();
        let text = said(&done);
        let error = String::from_utf8_lossy(&done.stderr);
        assert!(
            text.contains("192.0.2.9/25") && text.contains("mtu 1400"),
            "{text} {error}"
        );
        assert!(text.ends_with("hello"), "{text} {error}");
        assert!(server.join().unwrap().starts_with(b"GET / "));
    });
}

#[test]
fn messages_go_where_they_are_to() {
    on_a_connected_host(|| {
        let log = std::env::temp_dir().join(format!("netstack-pasta-l-{}", std::process::id()));
        std::fs::write(&log, "").unwrap();
        output("chmod", &["666", log.to_str().unwrap()]);
        let run = |options: &[&str]| pasta().args(options).arg("true").output().unwrap();
        let error = |done: Output| String::from_utf8_lossy(&done.stderr).into_owned();
        assert!(error(run(&[])).contains(OWN));
        assert_eq!(error(run(&["-q"])), "");
        assert!(error(run(&["-d", "-t", "8080:80"])).contains("0.0.0.0:8080"));
        assert_eq!(error(run(&["-l", log.to_str().unwrap()])), "");
        assert!(std::fs::read_to_string(&log).unwrap().contains(OWN));
        std::fs::remove_file(&log).unwrap();
    });
}

/// By its name, the verb is left out.
#[test]
fn pasta_by_name() {
    let directory = std::env::temp_dir().join(format!("netstack-p-{}", std::process::id()));
    std::fs::create_dir_all(&directory).unwrap();
    let link = directory.join("pasta");
    std::os::unix::fs::symlink(PROGRAM, &link).unwrap();
    let link = link.to_str().unwrap();
    let help = String::from_utf8(output(link, &["--help"])).unwrap();
    for option in [
        "--config-net",
        "--dns-forward",
        "--map-guest-addr",
        "--no-netns-quit",
    ] {
        assert!(help.contains(option), "{option}");
    }
    assert!(
        !help.contains("--ipv6-only"),
        "not there, and so not offered"
    );
    let version = String::from_utf8(output(link, &["--version"])).unwrap();
    assert!(version.contains(env!("CARGO_PKG_VERSION")));
    std::fs::remove_dir_all(&directory).unwrap();
}

/// What is not there, or wrong, is said in one sentence, with status 1.
#[test]
fn mistakes_are_answered_in_one_sentence() {
    on_a_connected_host(|| {
        let cases: [(&[&str], &str); 14] = [
            (&["-6"], "IPv6 is not there yet"),
            (&["--outbound-if6", "out0"], "IPv6 is not there yet"),
            (&["-T", "22"], "only \"none\""),
            (&["-U", "auto"], "only \"none\""),
            (&["-t", "auto", "-t", "22"], "auto, or some?"),
            (&["-u", "all"], "all, or all but some, is not there"),
            (&["-t", "none", "-t", "22"], "some, or none?"),
            (&["--trace"], "--trace is not there"),
            (&["-m", "65536"], "68 to 65521"),
            (&["-i", "nosuch0"], "nosuch0"),
            (&["-i", "lo"], "lo has no gateway"),
            (
                &["-g", "192.0.2.1"],
                "is not in the network of 10.77.0.5/24",
            ),
            (&["-q", "-d"], "one of them"),
            (&["-P", "/not/there"], "--pid /not/there"),
        ];
        for (options, expected) in cases {
            let done = pasta().args(options).args(["--", "true"]).output().unwrap();
            let error = String::from_utf8_lossy(&done.stderr);
            assert_eq!(done.status.code(), Some(1), "{options:?}: {error}");
            let last = error.lines().last().unwrap_or_default();
            assert!(last.contains(expected), "{options:?}: {error}");
        }
        // The command is not run, and is told of.
        let done = pasta().args(["-q", "/not/there"]).output().unwrap();
        let error = String::from_utf8_lossy(&done.stderr);
        assert_eq!(done.status.code(), Some(1));
        assert!(error.contains("cannot run /not/there"), "{error}");
    });
}
