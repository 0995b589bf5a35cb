//! The `netstack` program with this machine's kernel and ordinary programs as its peers.

mod common;

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};

use common::stream::{amount, consume, produce};
use common::{HOST, OURS, host, in_namespace, kernel_listens, ours, skip};

const PROGRAM: &str = env!("CARGO_BIN_EXE_netstack");
const DEVICE: [&str; 6] = [
    "--tun",
    "nst0",
    "--addr",
    "10.9.0.2/24",
    "--host-addr",
    "10.9.0.1/24",
];

fn program(arguments: &[&str]) -> Output {
    let mut command = Command::new(PROGRAM);
    command.args(arguments).output().expect("the program runs")
}

/// A running `netstack serve`, ended when dropped.
struct Server(Child);

impl Server {
    fn start(options: &[&str]) -> Self {
        let mut child = Command::new(PROGRAM)
            .arg("serve")
            .args(DEVICE)
            .args(options)
            .stderr(Stdio::piped())
            .spawn()
            .expect("the program starts");
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
        let ready = lines.by_ref().any(|line| line.unwrap().ends_with("ready"));
        assert!(ready, "the program ended before it was ready");
        Self(child)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

/// A directory of the test's own, removed when dropped.
struct Scratch(PathBuf);

impl Scratch {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("netstack-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    fn file(&self, name: &str) -> String {
        self.0.join(name).to_str().unwrap().to_owned()
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn echo_through(data: &[u8]) -> Vec<u8> {
    let mut stream = TcpStream::connect(ours(7)).unwrap();
    let mut writer = stream.try_clone().unwrap();
    std::thread::scope(|scope| {
        scope.spawn(move || {
            writer.write_all(data).unwrap();
            writer.shutdown(Shutdown::Write).unwrap();
        });
        let mut back = Vec::new();
        stream.read_to_end(&mut back).unwrap();
        back
    })
}

#[test]
fn echo_discard_and_chargen() {
    in_namespace(|| {
        let _server = Server::start(&["--echo", "7", "--discard", "9", "--chargen", "19"]);
        let data: Vec<u8> = (0..3_000_000u32).map(|i| (i % 251) as u8).collect();
        assert!(echo_through(&data) == data);
        let mut discard = TcpStream::connect(ours(9)).unwrap();
        discard.write_all(&data).unwrap();
        discard.shutdown(Shutdown::Write).unwrap();
        assert_eq!(discard.read(&mut [0; 1]).unwrap(), 0);
        let mut line = [0; 74];
        let mut chargen = TcpStream::connect(ours(19)).unwrap();
        chargen.read_exact(&mut line).unwrap();
        assert!(line.starts_with(b" !\"#$") && line.ends_with(b"\r\n"));
    });
}

#[test]
fn curl_gets_a_large_file_and_a_listing() {
    in_namespace(|| {
        let scratch = Scratch::new("curl");
        let data: Vec<u8> = (0..20_000_000u32)
            .map(|i| (i.wrapping_mul(i) >> 7) as u8)
            .collect();
        std::fs::write(scratch.file("big.bin"), &data).unwrap();
        let root = scratch.0.to_str().unwrap().to_owned();
        let _server = Server::start(&["--http", "80", &root]);
        let curl = |path: &str| {
            let url = format!("http://{OURS}{path}");
            Command::new("curl")
                .args(["-sS", "--max-time", "60", &url])
                .output()
        };
        match curl("/big.bin") {
            Ok(output) => {
                assert!(
                    output.status.success(),
                    "{}",
                    String::from_utf8_lossy(&output.stderr)
                );
                assert!(output.stdout == data, "the file arrives as it is");
            }
            Err(error) => return skip(&format!("no curl program ({error}); install curl")),
        }
        let listing = curl("/").unwrap();
        assert!(String::from_utf8_lossy(&listing.stdout).contains("big.bin"));
    });
}

#[test]
fn a_bad_network_is_recorded_and_loses_no_data() {
    in_namespace(|| {
        let scratch = Scratch::new("pcap");
        let capture = scratch.file("bad.pcapng");
        let options = [
            "--echo",
            "7",
            "--loss",
            "2%",
            "--reorder",
            "2%",
            "--pcap",
            &capture,
        ];
        let server = Server::start(&options);
        let data: Vec<u8> = (0..400_000u32).map(|i| (i % 253) as u8).collect();
        assert!(echo_through(&data) == data);
        drop(server);
        let file = std::fs::File::open(&capture).unwrap();
        let mut reader = pcap_file::pcapng::PcapNgReader::new(file).unwrap();
        let mut packets = 0;
        while let Some(Ok(_)) = reader.next_block() {
            packets += 1;
        }
        assert!(packets > 500, "{packets} blocks for 400 kB each way");
    });
}

/// 1 GiB there and back in release builds.
#[test]
fn a_gibibyte_comes_back_whole_through_loss_and_reordering() {
    in_namespace(|| {
        let faults = ["--loss", "2%", "--reorder", "2%"];
        let _server = Server::start(&[&["--echo", "7"][..], &faults].concat());
        let len = amount(1_024, 4);
        let stream = TcpStream::connect(ours(7)).unwrap();
        let writer = stream.try_clone().unwrap();
        let producer = std::thread::spawn(move || {
            let sent = produce(&writer, len).unwrap();
            writer.shutdown(Shutdown::Write).unwrap();
            sent
        });
        let received = consume(&stream, len).unwrap();
        assert_eq!(received, producer.join().unwrap());
    });
}

#[test]
fn nc_talks_to_the_kernel() {
    in_namespace(|| {
        // The address is there only once the program has made the interface: listen on all.
        let listener = kernel_listens("0.0.0.0:8080");
        let mut child = Command::new(PROGRAM)
            .arg("nc")
            .args(DEVICE)
            .args([&HOST.to_string(), "8080"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        child.stdin.take().unwrap().write_all(b"question").unwrap();
        let (mut stream, _) = listener.accept().unwrap();
        let mut question = String::new();
        stream.read_to_string(&mut question).unwrap();
        stream.write_all(b"answer").unwrap();
        drop(stream);
        let output = child.wait_with_output().unwrap();
        assert!(output.status.success());
        assert_eq!(
            (&question[..], &output.stdout[..]),
            ("question", &b"answer"[..])
        );
    });
}

#[test]
fn ping_reaches_the_kernel() {
    in_namespace(|| {
        let host = host(0).ip().to_string();
        let mut arguments = vec!["ping"];
        arguments.extend(DEVICE);
        arguments.extend(["-c", "3", "-i", "0.01", &host]);
        let output = program(&arguments);
        let text = String::from_utf8_lossy(&output.stdout);
        assert!(text.contains("3 sent, 3 received"), "{output:?}");
        assert!(output.status.success());
    });
}

const DEVICE6: [&str; 6] = [
    "--tun",
    "nst0",
    "--addr",
    "fd00:9::2/64",
    "--host-addr",
    "fd00:9::1/64",
];

#[test]
fn ping_reaches_the_kernel_over_ipv6() {
    in_namespace(|| {
        let arguments = ["-c", "3", "-i", "0.01", "fd00:9::1"];
        let output = program(&[&["ping"], &DEVICE6[..], &arguments].concat());
        let text = String::from_utf8_lossy(&output.stdout);
        assert!(text.contains("3 sent, 3 received"), "{output:?}");
    });
}

#[test]
fn ordinary_programs_reach_us_over_both_families() {
    in_namespace(|| {
        let scratch = Scratch::new("curl6");
        std::fs::write(scratch.file("index.html"), "hello").unwrap();
        let root = scratch.0.to_str().unwrap().to_owned();
        let _server = Server::start(&[&DEVICE6[2..], &["--http", "80", &root]].concat());
        for host in ["[fd00:9::2]", "10.9.0.2"] {
            let url = format!("http://{host}/index.html");
            let arguments = ["-g", "-sS", "--max-time", "60", &url];
            let output = Command::new("curl").args(arguments).output();
            let output = output.expect("curl");
            assert_eq!(output.stdout, b"hello", "{output:?}");
        }
        let arguments = ["-6", "-c", "1", "-W", "5", "fd00:9::2"];
        let output = Command::new("ping").args(arguments).output();
        assert!(output.expect("ping").status.success());
    });
}

/// What our end of a connection over IPv6 says and hears.
#[test]
fn nc_talks_to_the_kernel_over_ipv6() {
    in_namespace(|| {
        let listener = kernel_listens("[::]:8080");
        let mut child = Command::new(PROGRAM)
            .arg("nc")
            .args(DEVICE6)
            .args(["fd00:9::1", "8080"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        child.stdin.take().unwrap().write_all(b"question").unwrap();
        let (mut stream, peer) = listener.accept().unwrap();
        assert_eq!(peer.ip().to_string(), "fd00:9::2");
        let mut question = String::new();
        stream.read_to_string(&mut question).unwrap();
        stream.write_all(b"answer").unwrap();
        drop(stream);
        let output = child.wait_with_output().unwrap();
        assert_eq!(
            (&question[..], &output.stdout[..]),
            ("question", &b"answer"[..])
        );
    });
}

/// The program ends with 1 and one line that says `expected`.
fn refused(arguments: &[&str], expected: &str) {
    let output = program(arguments);
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(
        text.contains(expected) && text.trim().lines().count() == 1,
        "{text}"
    );
    assert_eq!(output.status.code(), Some(1));
}

#[test]
fn mistakes_are_answered_in_one_sentence() {
    let cases: [(&[&str], &str); 5] = [
        (&["serve", "--addr", "10.9.0.2/24"], "no device"),
        (
            &["serve", "--packet", "nothere", "--addr", "10.9.0.2/24"],
            "no such interface",
        ),
        (
            &[
                "serve",
                "--tun",
                "a-name-far-too-long",
                "--addr",
                "10.9.0.2/24",
            ],
            "at most 15 bytes",
        ),
        (
            &[
                "nc",
                "--tun",
                "x",
                "--addr",
                "10.9.0.2/24",
                "example.org",
                "80",
            ],
            "names are not looked up",
        ),
        (
            &[
                "serve",
                "--tun",
                "x",
                "--addr",
                "10.9.0.2/24",
                "--http",
                "80",
                "/not/there",
            ],
            "cannot serve /not/there",
        ),
    ];
    cases
        .iter()
        .for_each(|(arguments, expected)| refused(arguments, expected));
}

/// Addresses that would start and then reach nobody.
#[test]
fn addresses_that_reach_nobody_are_refused() {
    let cases: [(&[&str], &str); 4] = [
        (
            &["serve", "--tun", "x", "--addr", "10.9.0.2"],
            "write 10.9.0.2/24",
        ),
        (
            &["serve", "--tun", "x", "--addr", "fd00:9::2"],
            "write fd00:9::2/64",
        ),
        (
            &[
                "serve",
                "--tun",
                "x",
                "--addr",
                "10.9.0.2/24",
                "--host-addr",
                "10.9.0.2/24",
            ],
            "the two ends need one each",
        ),
        (
            &[
                "serve",
                "--tun",
                "x",
                "--addr",
                "10.9.0.2/24",
                "--host-addr",
                "10.8.0.1/24",
            ],
            "neither end would find the other",
        ),
    ];
    cases
        .iter()
        .for_each(|(arguments, expected)| refused(arguments, expected));
}

/// What is taken already is said so: the interface, and a port.
#[test]
fn what_is_in_use_is_told() {
    in_namespace(|| {
        let _server = Server::start(&["--echo", "7"]);
        let mut arguments = vec!["serve"];
        arguments.extend(DEVICE);
        let output = program(&arguments);
        let text = String::from_utf8_lossy(&output.stderr);
        assert!(text.contains("somebody else has it open"), "{text}");
        let other = ["--tun", "nst1", "--addr", "10.10.0.2/24"];
        let ports = ["--echo", "7", "--discard", "7"];
        let output = program(&[&["serve"], &other[..], &ports[..]].concat());
        let text = String::from_utf8_lossy(&output.stderr);
        assert!(
            text.contains("cannot listen on port 7 for discard"),
            "{text}"
        );
        assert!(text.contains("Address already in use"), "{text}");
        assert_eq!(output.status.code(), Some(1));
    });
}

#[test]
fn help_teaches_by_example() {
    let output = program(&["--help"]);
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(text.contains("netstack serve --tun nst0"));
    assert!(program(&["serve", "--help"]).status.success());
}
