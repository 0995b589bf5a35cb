//! `netstack router` between two of this machine's kernels in namespaces of their own, over veth pairs.

mod common;

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Output, Stdio};

use common::{in_namespace, skip};

const PROGRAM: &str = env!("CARGO_BIN_EXE_netstack");

/// A program that is ended when dropped.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

/// A network namespace with one end of a veth pair in it, held by a sleeping program.
struct Host(Running);

impl Host {
    /// The pair's other end, `link`, is in the namespace of the test.
    fn new(link: &str, addr4: &str, addr6: &str) -> Self {
        let mut child = Command::new("unshare")
            .args(["-n", "sh", "-c", "echo ready; exec sleep 600"])
            .stdout(Stdio::piped())
            .spawn()
            .expect("unshare");
        let mut line = String::new();
        let stdout = child.stdout.take().unwrap();
        BufReader::new(stdout).read_line(&mut line).unwrap();
        assert_eq!(line, "ready\n");
        let host = Self(Running(child));
        let pid = host.0.0.id().to_string();
        sh(&format!(
            "ip link add {link} type veth peer name eth0 netns {pid} && ip link set {link} up && \
             sysctl -qw net.ipv6.conf.{link}.disable_ipv6=1"
        ));
        host.sh(&format!(
            "sysctl -qw net.ipv6.conf.eth0.accept_dad=0; ip link set lo up; ip link set eth0 up; \
             ip addr add {addr4} dev eth0; ip addr add {addr6} dev eth0 nodad"
        ));
        host
    }

    fn command(&self, program: &str) -> Command {
        let mut command = Command::new("nsenter");
        let pid = self.0.0.id().to_string();
        command.args(["-t", &pid, "-n", program]);
        command
    }

    fn output(&self, script: &str) -> Output {
        let mut command = self.command("sh");
        command.args(["-c", script]).output().expect("nsenter")
    }

    /// Runs a script that has to succeed; what it printed.
    fn sh(&self, script: &str) -> String {
        succeeded(script, &self.output(script))
    }

    /// Starts a server, which says something as soon as it listens.
    fn serve(&self, script: &str) -> (Running, String) {
        let mut child = self
            .command("sh")
            .args(["-c", &format!("exec {script}")])
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut line = String::new();
        let stdout = child.stdout.as_mut().unwrap();
        BufReader::new(stdout).read_line(&mut line).unwrap();
        (Running(child), line)
    }
}

fn sh(script: &str) -> String {
    let output = Command::new("sh").args(["-c", script]).output().unwrap();
    succeeded(script, &output)
}

fn succeeded(script: &str, output: &Output) -> String {
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{script}\n{said}{error}");
    said
}

fn router(options: &[&str]) -> Running {
    let mut child = Command::new(PROGRAM)
        .arg("router")
        .args(options)
        .stderr(Stdio::piped())
        .spawn()
        .expect("the program starts");
    let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
    let ready = lines.by_ref().any(|line| line.unwrap().ends_with("ready"));
    assert!(ready, "the program ended before it was ready");
    Running(child)
}

/// Inside (10.1.0.2) and outside (10.2.0.2), which knows of no network but its own.
fn two_hosts() -> (Host, Host) {
    let inside = Host::new("lan0", "10.1.0.2/24", "fd01::2/64");
    inside.sh("ip route add default via 10.1.0.1 && ip route add default via fd01::1");
    let outside = Host::new("wan0", "10.2.0.2/24", "fd02::2/64");
    (inside, outside)
}

const LINKS: [&str; 4] = [
    "--link",
    "packet:lan0,10.1.0.1/24,fd01::1/64",
    "--link",
    "packet:wan0,10.2.0.1/24,fd02::1/64",
];

/// A server that sends who called, and then 20 MB.
const SERVER: &str = "python3 -u -c 'import socket,sys
s = socket.create_server((\"\", int(sys.argv[1])), family=socket.AF_INET6, dualstack_ipv6=True)
print(\"listening\")
while True:
    c, a = s.accept()
    c.sendall((a[0] + \"\\n\").encode() + bytes(range(250)) * 80000)
    c.close()' ";

/// A client of that: what it was called, the length and a checksum of what came.
const CLIENT: &str = "python3 -c 'import socket,sys,zlib
c = socket.create_connection((sys.argv[1], int(sys.argv[2])), timeout=30)
b = b\"\"
while d := c.recv(1 << 20): b += d
n, b = b.split(b\"\\n\", 1)
print(n.decode().replace(\"::ffff:\", \"\"), len(b), b == bytes(range(250)) * 80000)' ";

#[test]
fn masquerade_and_a_port_that_leads_inside() {
    in_namespace(|| {
        let (inside, outside) = two_hosts();
        let mut options = LINKS.to_vec();
        options.extend(["--masquerade", "wan0"]);
        options.extend(["--forward", "tcp/8080=10.1.0.2:80"]);
        options.extend(["--forward", "tcp/8080=[fd01::2]:80"]);
        let _router = router(&options);
        inside.sh("ping -c 3 -i 0.2 -W 5 10.2.0.2");
        inside.sh("ping -c 3 -i 0.2 -W 5 fd02::2");
        let (_server, _) = outside.serve(&format!("{SERVER} 80"));
        for (to, own) in [("10.2.0.2", "10.2.0.1"), ("fd02::2", "fd02::1")] {
            let said = inside.sh(&format!("{CLIENT} {to} 80"));
            assert_eq!(said, format!("{own} 20000000 True\n"));
        }
        let (_server, _) = inside.serve(&format!("{SERVER} 80"));
        for (to, from) in [("10.2.0.1", "10.2.0.2"), ("fd02::1", "fd02::2")] {
            let said = outside.sh(&format!("{CLIENT} {to} 8080"));
            assert_eq!(said, format!("{from} 20000000 True\n"));
        }
    });
}

#[test]
fn errors_and_paths_as_a_router_has_them() {
    in_namespace(|| {
        let (inside, outside) = two_hosts();
        outside.sh("ip route add 10.1.0.0/24 via 10.2.0.1; ip route add fd01::/64 via fd02::1");
        let mut options = LINKS.to_vec();
        options.extend(["--route", "prohibit 10.9.0.0/16"]);
        options.extend(["--route", "10.8.0.0/16 via 10.2.0.2 mtu 1300"]);
        let _router = router(&options);
        inside.sh("ping -c 1 -W 5 10.2.0.2");
        let ping = |arguments: &str| {
            let output = inside.output(&format!("ping -c 1 -W 5 {arguments}"));
            assert!(!output.status.success(), "{arguments}");
            String::from_utf8_lossy(&output.stdout).into_owned()
        };
        assert!(ping("-t 1 10.2.0.2").contains("From 10.1.0.1 icmp_seq=1 Time to live exceeded"));
        assert!(ping("-t 1 fd02::2").contains("Time exceeded: Hop limit"));
        assert!(ping("10.9.0.1").contains("Packet filtered"));
        assert!(ping("10.77.0.1").contains("Destination Net Unreachable"));
        assert!(ping("fd77::1").contains("No route"));
        assert!(ping("10.2.0.77").contains("Destination Host Unreachable"));
        let said = ping("-M do -s 1400 10.8.0.1");
        assert!(said.contains("mtu = 1300"), "{said}");
        // The kernel's own connection goes on with what it was told.
        outside.sh("ip addr add 10.8.0.1/32 dev lo");
        let (_server, _) = outside.serve(&format!("{SERVER} 80"));
        let said = inside.sh(&format!("{CLIENT} 10.8.0.1 80"));
        assert_eq!(said, "10.1.0.2 20000000 True\n");
    });
}

#[test]
fn a_guard_lets_answers_in_and_nothing_else() {
    in_namespace(|| {
        let (inside, outside) = two_hosts();
        outside.sh("ip route add 10.1.0.0/24 via 10.2.0.1");
        let config = std::env::temp_dir().join(format!("router-{}.conf", std::process::id()));
        let text = "# from a file\nlink packet:lan0,10.1.0.1/24\nlink packet:wan0,10.2.0.1/24\nguard wan0\n\
                    sysctl net.ipv4.conf.all.rp_filter=1\n";
        std::fs::write(&config, text).unwrap();
        let _router = router(&["--config", config.to_str().unwrap()]);
        std::fs::remove_file(&config).unwrap();
        inside.sh("ping -c 1 -W 5 10.2.0.2");
        let refused = outside.output("ping -c 1 -W 1 10.1.0.2");
        assert!(!refused.status.success());
        let (_server, _) = outside.serve(&format!("{SERVER} 80"));
        let said = inside.sh(&format!("{CLIENT} 10.2.0.2 80"));
        assert_eq!(said, "10.1.0.2 20000000 True\n");
    });
}

#[test]
fn curl_and_iperf3_both_ways() {
    in_namespace(|| {
        let missing = |program: &str| {
            let found = Command::new(program).arg("--version").output();
            found.err().map(|error| format!("no {program} ({error})"))
        };
        if let Some(why) = missing("iperf3").or_else(|| missing("curl")) {
            return skip(&why);
        }
        let (inside, outside) = two_hosts();
        let mut options = LINKS.to_vec();
        options.extend(["--masquerade", "wan0"]);
        let _router = router(&options);
        let (_server, said) = outside.serve("iperf3 --forceflush -s");
        assert!(said.starts_with('-'), "{said}");
        for reverse in ["", "-R", "-u -b 50M"] {
            inside.sh(&format!("iperf3 -c 10.2.0.2 -n 50M {reverse}"));
        }
        inside.sh("iperf3 -6 -c fd02::2 -n 50M -P 4");
        let (_web, _) = outside.serve("python3 -u -m http.server 80");
        let got = inside
            .sh("curl -sS --retry 5 --retry-connrefused --max-time 30 http://10.2.0.2/Cargo.toml");
        assert_eq!(got, std::fs::read_to_string("Cargo.toml").unwrap());
    });
}

#[test]
fn mistakes_are_said() {
    for (options, sentence) in [
        (vec![], "no link"),
        (vec!["--link", "packet:nowhere0,10.0.0.1/24"], "nowhere0"),
        (
            vec!["--link", "tun:x,10.0.0.1/24", "--masquerade", "y"],
            "y is not",
        ),
        (vec!["--config", "/nowhere/at/all"], "cannot read"),
    ] {
        let output = Command::new(PROGRAM).arg("router").args(&options).output();
        let output = output.unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{said}");
        assert!(said.contains(sentence), "{said}");
    }
}
