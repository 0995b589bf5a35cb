//! Bundles with a network: a veth pair whose end in the container's namespace netstack takes over.

use std::fs;
use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::json;

use crate::shared::capture::Capture;
use crate::shared::pattern;
use crate::world::{Bundle, LIMIT, Running, World, world};

const MIB: usize = 1 << 20;

/// The namespace's side of a link like Docker's: two addresses, a default route, an odd MTU.
const INSIDE: &str = "ip link set eth0 address 02:00:00:00:55:02 mtu 1400 up; ip link set lo up
    ip addr add 10.55.0.2/24 dev eth0; ip addr add 10.56.0.2/24 dev eth0
    ip route add default via 10.55.0.1";

/// The machine's side.
const OUTSIDE: &str = "ip addr add 10.55.0.1/24 dev host0; ip addr add 10.56.0.1/24 dev host0
    ip link set host0 mtu 1400 up; ip addr replace 10.99.0.1/32 dev lo";

/// A hook that makes the link, as Docker's does.
fn link_hook(inside: &str, outside: &str) -> serde_json::Value {
    let script = format!(
        "set -e; pid=$(grep -o '\"pid\": *[0-9]*' | grep -o '[0-9]*$')
         ip link add host0 type veth peer name eth0 netns $pid
         {outside}
         nsenter --target $pid --net sh -ec '{inside}'"
    );
    json!({"path": "/bin/sh", "args": ["sh", "-c", script], "env": ["PATH=/usr/sbin:/usr/bin:/sbin:/bin"]})
}

fn linked(world: &World, phase: &str, script: &str) -> Bundle {
    let mut bundle = world.bundle("b", script);
    bundle.config["hooks"][phase] = json!([link_hook(INSIDE, OUTSIDE)]);
    bundle
}

/// Runs a program of this machine; its output.
fn native(script: &str) -> String {
    let done = Command::new("/bin/sh")
        .args(["-ec", script])
        .output()
        .unwrap();
    let error = String::from_utf8_lossy(&done.stderr);
    assert!(done.status.success(), "{script}: {error}");
    String::from_utf8(done.stdout).unwrap()
}

/// What sha256sum says of `bytes`.
fn digest(world: &World, bytes: &[u8]) -> String {
    let path: PathBuf = world.dir.join("digested");
    fs::write(&path, bytes).unwrap();
    native(&format!("sha256sum < {}", path.display()))
}

fn connect(address: &str) -> TcpStream {
    let deadline = Instant::now() + LIMIT;
    loop {
        match TcpStream::connect_timeout(&address.parse().unwrap(), Duration::from_secs(2)) {
            Ok(stream) => {
                stream.set_read_timeout(Some(LIMIT)).unwrap();
                return stream;
            }
            Err(error) => assert!(Instant::now() < deadline, "{address}: {error}"),
        }
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// Sends `bytes` to a server inside that answers with their digest.
fn digest_inside(address: &str, bytes: &[u8]) -> String {
    let mut stream = connect(address);
    stream.write_all(bytes).unwrap();
    stream.shutdown(Shutdown::Write).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

/// Serves digests of what comes, one connection after the other.
const DIGESTER: &str = "echo up; while :; do nc -l -p 7000 -e sha256sum; done";

fn start(world: &World, bundle: &Bundle) -> Running {
    let run = ["run", "--bundle", bundle.save(), "c"];
    let mut running = world.start(world.command(&run));
    running.until_written("up");
    running
}

fn end(world: &World, running: Running) {
    world.ok(&["kill", "c", "KILL"]);
    assert_eq!(running.finish().code, 137);
}

#[test]
fn a_veth_from_a_hook_becomes_the_sandboxes() {
    let world = world!();
    for phase in ["prestart", "createRuntime"] {
        let bundle = linked(&world, phase, DIGESTER);
        let running = start(&world, &bundle);
        let pid = world.state("c")["pid"].to_string();
        let kernel = |what: &str| native(&format!("nsenter --target {pid} --net ip -4 -o {what}"));
        assert_eq!(
            kernel("addr show dev eth0"),
            "",
            "the kernel has no address any more"
        );
        assert_eq!(kernel("route"), "");
        let ping = native("ping -c 3 -i 0.2 -W 10 10.55.0.2");
        assert!(ping.contains(" 0% packet loss"), "{ping}");
        // The second address, and from an address that only the default route leads to.
        native("ping -c 1 -W 10 10.56.0.2");
        native("ping -c 1 -W 10 -I 10.99.0.1 10.55.0.2");
        let bytes = pattern(4 * MIB);
        assert_eq!(
            digest_inside("10.55.0.2:7000", &bytes),
            digest(&world, &bytes)
        );
        end(&world, running);
        fs::remove_dir_all(&bundle.dir).unwrap();
        world.assert_nothing_left();
    }
}

/// The same link with IPv6 beside it, as Docker's with `ipv6: true`.
#[test]
fn a_veth_with_ipv6_becomes_the_sandboxes() {
    let world = world!();
    let inside = format!(
        "{INSIDE}; ip -6 addr add fd55::2/64 dev eth0 nodad; ip -6 route add default via fd55::1"
    );
    let outside = format!(
        "{OUTSIDE}; ip -6 addr add fd55::1/64 dev host0 nodad; ip link set host0 up
         ip -6 addr replace fd99::1/128 dev lo"
    );
    let mut bundle = world.bundle("b", "echo up; cat /proc/net/if_inet6; exec sleep 1000");
    bundle.config["hooks"]["createRuntime"] = json!([link_hook(&inside, &outside)]);
    let running = start(&world, &bundle);
    let pid = world.state("c")["pid"].to_string();
    let kernel = |what: &str| native(&format!("nsenter --target {pid} --net ip -6 -o {what}"));
    assert_eq!(kernel("addr show dev eth0"), "");
    assert_eq!(kernel("route show default"), "");
    let ping = native("ping -6 -c 3 -i 0.2 -W 10 fd55::2");
    assert!(ping.contains(" 0% packet loss"), "{ping}");
    // From an address that only the default route leads to, and to the address of the link alone.
    native("ping -6 -c 1 -W 10 -I fd99::1 fd55::2");
    native("ping -6 -c 1 -W 10 fe80::ff:fe00:5502%host0");
    native("ping -c 1 -W 10 10.55.0.2");
    end(&world, running);
    world.assert_nothing_left();
}

#[test]
fn both_directions_with_the_client_inside() {
    let world = world!();
    let mut bundle = linked(
        &world,
        "createRuntime",
        "echo up; nc 10.55.0.1 9000 < /data; nc 10.99.0.1 9001 | sha256sum",
    );
    let bytes = pattern(5 * MIB);
    fs::write(world.dir.join("data"), &bytes).unwrap();
    bundle.mount(json!({"destination": "/data", "type": "bind", "source": world.dir.join("data"), "options": ["ro"]}));
    let listeners = [9000, 9001].map(|port| TcpListener::bind(("0.0.0.0", port)).unwrap());
    let running = start(&world, &bundle);
    let [upload, download] = listeners;
    let (mut stream, peer) = upload.accept().unwrap();
    assert_eq!(peer.ip().to_string(), "10.55.0.2");
    let mut got = Vec::new();
    stream.read_to_end(&mut got).unwrap();
    assert!(got == bytes, "{} bytes came", got.len());
    drop(stream);
    let (mut stream, _) = download.accept().unwrap();
    stream.write_all(&bytes).unwrap();
    drop(stream);
    let done = running.finish();
    assert_eq!(
        done.stdout,
        format!("up\n{}", digest(&world, &bytes)),
        "{done:?}"
    );
}

#[test]
fn its_own_packets_are_on_the_wire() {
    let world = world!();
    let bundle = linked(&world, "createRuntime", DIGESTER);
    let running = start(&world, &bundle);
    let capture = Capture::start();
    native("ping -c 1 -W 10 10.55.0.2");
    assert_eq!(
        digest_inside("10.55.0.2:7000", b"hello"),
        digest(&world, b"hello")
    );
    let frames = capture.frames();
    let from_sandbox: Vec<_> = frames
        .iter()
        .filter(|frame| !frame.from_kernel && frame.network == 14)
        .map(|frame| &frame.bytes)
        .filter(|frame| frame.len() >= 34 && frame[6..12] == [2, 0, 0, 0, 0x55, 2])
        .collect();
    let ipv4 = |protocol: u8| {
        from_sandbox.iter().filter(move |frame| {
            frame[12..14] == [8, 0] && frame[23] == protocol && frame[26..30] == [10, 55, 0, 2]
        })
    };
    assert!(
        from_sandbox.iter().any(|frame| frame[12..14] == [8, 6]),
        "no ARP"
    );
    let echo_reply = |frame: &&&Vec<u8>| frame[34] == 0;
    assert_eq!(ipv4(1).filter(echo_reply).count(), 1);
    let syn_ack = ipv4(6)
        .find(|frame| frame[47] & 0x12 == 0x12)
        .expect("a SYN-ACK");
    // RFC 9293, 3.7.1: the MSS option is the MTU less 40.
    assert_eq!(syn_ack[54..58], [2, 4, (1360u16 >> 8) as u8, 1360u16 as u8]);
    assert!(ipv4(6).any(|frame| frame[47] & 1 == 1), "no FIN");
    end(&world, running);
}

#[test]
fn a_namespace_by_path_and_a_gateway_off_the_link() {
    let world = world!();
    // As Calico does it: an address of its own, and a gateway that is on no network of the link.
    let holder = Command::new("unshare")
        .args(["--net", "sh", "-c", "echo; exec sleep 1000"])
        .stdout(Stdio::piped())
        .spawn();
    let mut holder = holder.unwrap();
    holder.stdout.take().unwrap().read_exact(&mut [0]).unwrap();
    let pid = holder.id();
    native(&format!(
        "ip link add host0 type veth peer name eth0 netns {pid}
         ip addr add 169.254.1.1/32 dev host0; ip link set host0 up
         ip route add 10.9.9.9/32 dev host0; ip addr add 10.99.0.1/32 dev lo
         nsenter --target {pid} --net sh -ec 'ip addr add 10.9.9.9/32 dev eth0; ip link set eth0 up
            ip route add 169.254.1.1 dev eth0 scope link; ip route add default via 169.254.1.1 dev eth0'"
    ));
    let mut bundle = world.bundle("b", DIGESTER);
    bundle.config["linux"]["namespaces"] = json!([
        {"type": "pid"}, {"type": "mount"},
        {"type": "network", "path": format!("/proc/{pid}/ns/net")}
    ]);
    let running = start(&world, &bundle);
    native("ping -c 1 -W 10 -I 10.99.0.1 10.9.9.9");
    let bytes = pattern(2 * MIB);
    assert_eq!(
        digest_inside("10.9.9.9:7000", &bytes),
        digest(&world, &bytes)
    );
    end(&world, running);
    holder.kill().unwrap();
    holder.wait().unwrap();
}

#[test]
fn without_a_network_there_is_only_loopback() {
    let world = world!();
    let script = "nc -w 2 10.55.0.1 9000 || echo unreachable
        nc -l -p 5 -e echo looped & while ! nc 127.0.0.1 5; do sleep 0.05; done";
    let bundle = linked(&world, "createRuntime", script);
    let out = world.ok(&["--network=none", "run", "--bundle", bundle.save(), "c"]);
    assert_eq!(out, "unreachable\nlooped\n");
    let bundle = world.bundle("plain", script);
    let out = world.ok(&["run", "--bundle", bundle.path(), "c"]);
    assert_eq!(out, "unreachable\nlooped\n");
}
