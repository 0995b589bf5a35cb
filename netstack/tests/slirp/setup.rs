//! How it starts and ends, and what it sets up.

use std::io::Read;
use std::process::{Command, Stdio};

use super::world::{PROGRAM, Slirp, new_namespace, on_a_host, output};

fn text(bytes: Vec<u8>) -> String {
    String::from_utf8(bytes).unwrap()
}

#[test]
fn the_interface_is_configured_as_asked() {
    on_a_host(|| {
        let options = [
            "--mtu",
            "9000",
            "--cidr",
            "192.168.7.0/24",
            "--macaddress",
            "02:00:00:00:00:07",
        ];
        let slirp = Slirp::start(&options);
        let (link, addr, route) = slirp.inside(|| {
            let ip = |arguments: &[&str]| text(output("ip", arguments));
            (
                ip(&["-o", "link", "show", "tap0"]),
                ip(&["-o", "-4", "addr", "show", "tap0"]),
                ip(&["route"]),
            )
        });
        assert!(
            link.contains("mtu 9000") && link.contains("02:00:00:00:00:07"),
            "{link}"
        );
        assert!(addr.contains("192.168.7.100/24"), "{addr}");
        assert!(
            route.contains("default via 192.168.7.2 dev tap0"),
            "{route}"
        );
        slirp.inside(|| output("ping", &["-c", "1", "-W", "20", "192.168.7.2"]));
    });
}

#[test]
fn a_tun_interface_works_too() {
    on_a_host(|| {
        let slirp = Slirp::start(&["--tun"]);
        slirp.inside(|| output("ping", &["-c", "1", "-W", "20", "10.0.2.2"]));
    });
}

/// Without `--configure` a DHCP client finds what it needs.
#[test]
fn a_dhcp_client_gets_an_address() {
    on_a_host(|| {
        let slirp = Slirp::start_plain(&[]);
        let said = slirp.inside(|| {
            output("ip", &["link", "set", "tap0", "up"]);
            let script =
                std::env::temp_dir().join(format!("netstack-udhcpc-{}", std::process::id()));
            std::fs::write(
                &script,
                "#!/bin/sh\necho \"$1 $ip $subnet $router $dns $mtu\"\n",
            )
            .unwrap();
            output("chmod", &["755", script.to_str().unwrap()]);
            let options = ["udhcpc", "-f", "-n", "-q", "-O", "mtu", "-i", "tap0", "-s"];
            let said = output(
                "busybox",
                &[&options[..], &[script.to_str().unwrap()]].concat(),
            );
            std::fs::remove_file(&script).unwrap();
            text(said)
        });
        assert!(
            said.contains("bound 10.0.2.15 255.255.255.0 10.0.2.2 10.0.2.3 1500"),
            "{said}"
        );
    });
}

#[test]
fn it_ends_when_the_exit_descriptor_says_so() {
    on_a_host(|| {
        let mut slirp = Slirp::start(&[]);
        drop(slirp.take_exit());
        assert_eq!(slirp.wait(), Some(0));
    });
}

#[test]
fn the_sandbox_leaves_little() {
    on_a_host(|| {
        let socket =
            std::env::temp_dir().join(format!("netstack-slirp-box-{}", std::process::id()));
        let slirp = Slirp::start_confined(&["--api-socket", socket.to_str().unwrap()]);
        let proc = format!("/proc/{}", slirp.program_id());
        let status = std::fs::read_to_string(format!("{proc}/status")).unwrap();
        let value = |name: &str| {
            let line = status.lines().find(|line| line.starts_with(name)).unwrap();
            line.split_whitespace().nth(1).unwrap().to_owned()
        };
        assert_eq!(u64::from_str_radix(&value("CapPrm:"), 16), Ok(0));
        assert_eq!(u64::from_str_radix(&value("CapEff:"), 16), Ok(0));
        assert_eq!(
            (value("NoNewPrivs:"), value("Seccomp:")),
            ("1".into(), "2".into())
        );
        let root = std::fs::read_dir(format!("{proc}/root")).unwrap();
        let mut names: Vec<_> = root.map(|entry| entry.unwrap().file_name()).collect();
        names.sort();
        assert_eq!(names, ["etc", "run"]);
        let write = std::fs::write(format!("{proc}/root/etc/x"), "x").unwrap_err();
        assert_eq!(write.kind(), std::io::ErrorKind::ReadOnlyFilesystem);
        drop(slirp);
        assert!(
            !socket.exists(),
            "the control socket is removed all the same"
        );
    });
}

/// A namespace that throws its interface away has no network, and the program does not go round in circles.
#[test]
fn it_ends_when_the_interface_is_gone() {
    on_a_host(|| {
        let mut slirp = Slirp::start(&[]);
        slirp.inside(|| output("ip", &["link", "del", "tap0"]));
        assert_eq!(slirp.wait(), Some(1));
    });
}

/// By a path, and under slirp4netns's name, with its options in its order.
#[test]
fn slirp4netns_by_name() {
    on_a_host(|| {
        let link = std::env::temp_dir().join(format!("netstack-link-{}", std::process::id()));
        std::fs::create_dir_all(&link).unwrap();
        let link = link.join("slirp4netns");
        std::os::unix::fs::symlink(PROGRAM, &link).unwrap();
        // What programs that use it look for.
        let help = text(output(link.to_str().unwrap(), &["--help"]));
        for option in [
            "--disable-host-loopback",
            "--mtu",
            "--cidr",
            "--enable-sandbox",
            "--enable-seccomp",
        ] {
            assert!(help.contains(option), "{option}");
        }
        assert!(
            !help.contains("--enable-ipv6"),
            "not there, and so not offered"
        );
        for option in ["--version", "-v"] {
            assert!(
                text(output(link.to_str().unwrap(), &[option])).contains(env!("CARGO_PKG_VERSION"))
            );
        }
        let mut namespace = new_namespace();
        let pid = namespace.id();
        let mut program = Command::new(&link)
            .args([
                "-c",
                "-m",
                "65520",
                "-r",
                "1",
                "-e",
                "0",
                "--disable-host-loopback",
            ])
            .args([
                "--netns-type=path",
                &format!("--userns-path=/proc/{pid}/ns/user"),
            ])
            .args([&format!("/proc/{pid}/ns/net"), "eth9"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut said = String::new();
        let mut ready = program.stdout.take().unwrap();
        ready.read_to_string(&mut said).unwrap();
        assert_eq!(said, "1");
        let show = format!("--net=/proc/{pid}/ns/net");
        let link_there = text(output("nsenter", &[&show, "ip", "link", "show", "eth9"]));
        assert!(link_there.contains("mtu 65520"), "{link_there}");
        drop(program.stdin.take());
        assert!(program.wait().unwrap().success());
        drop(namespace.stdin.take());
        namespace.wait().unwrap();
        std::fs::remove_dir_all(link.parent().unwrap()).unwrap();
    });
}

/// What is wrong is said in one line, with status 1.
#[test]
fn mistakes_are_answered_in_one_sentence() {
    on_a_host(|| {
        let mut namespace = new_namespace();
        let pid = namespace.id().to_string();
        let cases: [(&[&str], &str); 11] = [
            (&["99999999"], "cannot open /proc/99999999/ns/net"),
            (&["somewhere"], "say --netns-type=path"),
            (
                &["--netns-type=path", "/not/there"],
                "cannot open /not/there",
            ),
            (
                &["--netns-type=path", "/etc/passwd"],
                "cannot enter the network namespace",
            ),
            (&["--enable-ipv6", &pid], "IPv6 is not there yet"),
            (&["--target-type", "bess", &pid], "only \"netns\""),
            (&["--mtu", "65522", &pid], "68 to 65521"),
            (&["--cidr", "10.0.2.0/26", &pid], "1 to 25"),
            (&["--ready-fd", "77", &pid], "this descriptor is not open"),
            (
                &["--api-socket", "/not/there", &pid],
                "cannot listen on /not/there",
            ),
            (&[&pid, "a-name-far-too-long"], "at most 15 bytes"),
        ];
        for (arguments, expected) in cases {
            let said = Command::new(PROGRAM)
                .arg("slirp")
                .args(arguments)
                .output()
                .unwrap();
            let error = text(said.stderr);
            let lines = error.trim().lines().count();
            assert!(
                error.contains(expected) && lines == 1,
                "{arguments:?}: {error}"
            );
            assert_eq!(said.status.code(), Some(1));
        }
        drop(namespace.stdin.take());
        namespace.wait().unwrap();
    });
}
