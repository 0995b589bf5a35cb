//! `runsc do`: its link to this machine, and its end.

use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use nix::sys::signal::Signal;

use crate::world::{Running, World, world};

fn sandbox(world: &World, options: &[&str], script: &str) -> Running {
    let args = [&["do"], options, &["--", "/bin/bash", "-c", script]].concat();
    world.start(world.command(&args))
}

fn listens(address: &str) -> bool {
    let address: SocketAddr = address.parse().unwrap();
    TcpStream::connect_timeout(&address, Duration::from_secs(1)).is_ok()
}

/// Names the sandbox's own address.
const OWN_ADDRESS: &str = "python3 -c 'import socket; s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); s.connect((\"192.168.0.1\", 9)); print(s.getsockname()[0], flush=True)'";

#[test]
fn many_at_once_have_an_address_each() {
    let world = world!();
    let serve = format!("{OWN_ADDRESS}; exec python3 -m http.server 8000 >/dev/null 2>&1");
    let mut all: Vec<_> = (0..4).map(|_| sandbox(&world, &[], &serve)).collect();
    let mut addresses: Vec<String> = all
        .iter_mut()
        .map(|one| {
            one.until_written("\n");
            one.written().trim().to_owned()
        })
        .collect();
    for address in &addresses {
        world.until("each serves", || listens(&format!("{address}:8000")));
    }
    addresses.sort_by_key(|address| address.parse::<std::net::Ipv4Addr>().unwrap());
    let expected = [2, 6, 10, 14].map(|last| format!("192.168.131.{last}"));
    assert_eq!(addresses, expected);
    for one in &all {
        one.signal(Signal::SIGTERM);
    }
    for one in all {
        assert_eq!(one.finish().code, 143);
    }
}

#[test]
fn a_chosen_address_is_taken_or_refused() {
    let world = world!();
    let script = format!("{OWN_ADDRESS}; exec sleep 1000");
    let mut first = sandbox(&world, &["--ip", "10.9.8.6"], &script);
    first.until_written("10.9.8.6\n");
    let refused = |ip: &str, words: &str| world.refused(&["do", "--ip", ip, "true"], words);
    refused("10.9.8.6", "already uses the network of 10.9.8.6");
    refused("10.9.8.5", "last two bits");
    let bad = world.run(&["do", "--ip", "ten", "true"]);
    assert_eq!(bad.code, 128, "{bad:?}");
    first.signal(Signal::SIGTERM);
    assert_eq!(first.finish().code, 143);
}

#[test]
fn a_server_ends_by_sigterm() {
    let world = world!();
    let server = world.start(world.command(&["do", "python3", "-m", "http.server", "8000"]));
    world.until("it serves", || listens("192.168.131.2:8000"));
    server.signal(Signal::SIGTERM);
    assert_eq!(server.finish().code, 143);
}

#[test]
fn a_killed_runsc_takes_its_sandbox_along() {
    let world = world!();
    let mut sandbox = sandbox(&world, &[], "echo up; sleep 1000 & sleep 1000");
    sandbox.until_written("up");
    sandbox.signal(Signal::SIGKILL);
    assert_eq!(sandbox.finish().code, -9);
}

#[test]
fn without_a_network_there_is_only_loopback() {
    let world = world!();
    let script = "python3 - <<'EOF'
import socket
s = socket.create_server(('127.0.0.1', 0)); c = socket.create_connection(s.getsockname()); a, _ = s.accept()
c.sendall(b'looped'); print(a.recv(9).decode())
try: socket.create_connection(('192.168.131.1', 1), 1)
except OSError as error: print(error.strerror)
EOF";
    let out = world.ok(&["--network=none", "do", "/bin/bash", "-c", script]);
    assert_eq!(out, "looped\nNetwork is unreachable\n");
}

/// What it does to itself, it does: it was not written to be an init.
#[test]
fn the_program_of_do_is_no_init() {
    let world = world!();
    for (signal, code) in [("TERM", 143), ("KILL", 137), ("INT", 130)] {
        let script = format!("kill -{signal} $$; echo still here");
        let done = world.run(&["--network=none", "do", "/bin/bash", "-c", &script]);
        assert_eq!((done.code, &*done.stdout), (code, ""), "{done:?}");
    }
}
