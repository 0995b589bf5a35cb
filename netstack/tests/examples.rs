//! The examples do what their first lines say. `cargo test` builds them, `cargo test --test examples` does not.

mod common;

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use common::in_namespace;

/// Cargo puts examples beside the programs.
fn example(name: &str) -> PathBuf {
    let programs = Path::new(env!("CARGO_BIN_EXE_netstack")).parent().unwrap();
    let path = programs.join("examples").join(name);
    assert!(
        path.exists(),
        "not built: cargo build -p netstack --examples"
    );
    path
}

fn simulated(arguments: &[&str]) -> String {
    let output = Command::new(example("simulated_loss"))
        .args(arguments)
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn a_simulated_transfer_is_whole_and_the_same_for_the_same_seed() {
    let first = simulated(&["0.05", "7"]);
    assert!(first.starts_with("seed 7: whole: true"), "{first}");
    assert_eq!(first, simulated(&["0.05", "7"]));
    assert_ne!(first, simulated(&["0.05", "8"]));
}

#[test]
fn the_echo_server_answers_the_kernel() {
    in_namespace(|| {
        let mut server = Command::new(example("tun_echo"))
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut said = BufReader::new(server.stderr.take().unwrap());
        let mut line = String::new();
        said.read_line(&mut line).unwrap();
        assert!(line.starts_with("ready"), "{line}");
        let mut stream = TcpStream::connect("10.97.0.2:7").unwrap();
        stream.write_all(b"hello").unwrap();
        stream.shutdown(Shutdown::Write).unwrap();
        let mut back = String::new();
        stream.read_to_string(&mut back).unwrap();
        assert_eq!(back, "hello");
        line.clear();
        said.read_line(&mut line).unwrap();
        assert!(line.ends_with(": 5 bytes\n"), "{line}");
        server.kill().unwrap();
        server.wait().unwrap();
    });
}
