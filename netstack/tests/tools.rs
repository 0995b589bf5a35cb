//! `netstack dump`, `netstack stats` and `netstack bench`.

mod common;

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpStream, UdpSocket};
use std::process::{Child, Command, Stdio};

use common::{HOST, in_namespace, ours};
use pcap_file::DataLink;
use pcap_file::pcapng::blocks::enhanced_packet::EnhancedPacketOption;
use pcap_file::pcapng::{Block, PcapNgReader};
use serde_json::Value;

const PROGRAM: &str = env!("CARGO_BIN_EXE_netstack");

/// Starts the program and waits until it says `ready`.
fn start(arguments: &[&str], ready: &str) -> Child {
    let mut child = Command::new(PROGRAM)
        .args(arguments)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the program starts");
    let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
    assert!(
        lines.any(|line| line.unwrap().contains(ready)),
        "it is ready"
    );
    child
}

/// Sends datagrams from 127.0.0.1:5 to 127.0.0.1:6, which somebody has.
fn send(texts: &[&str]) -> UdpSocket {
    let receiver = UdpSocket::bind("127.0.0.1:6").unwrap();
    let sender = UdpSocket::bind("127.0.0.1:5").unwrap();
    for text in texts {
        sender.send_to(text.as_bytes(), "127.0.0.1:6").unwrap();
    }
    receiver
}

#[test]
fn packets_are_recorded_with_their_direction() {
    in_namespace(|| {
        // On the loopback interface each packet is seen twice.
        let options = ["dump", "lo", "-w", "-", "-c", "4", "-s", "45"];
        let mut dump = start(&options, "watching lo");
        let _receiver = send(&["hello", "world"]);
        let mut file = Vec::new();
        dump.stdout.take().unwrap().read_to_end(&mut file).unwrap();
        assert!(dump.wait().unwrap().success());
        let mut reader = PcapNgReader::new(&file[..]).unwrap();
        let mut seen = Vec::new();
        while let Some(block) = reader.next_block() {
            match block.unwrap() {
                Block::InterfaceDescription(interface) => {
                    assert_eq!(interface.linktype, DataLink::ETHERNET);
                }
                Block::EnhancedPacket(packet) => {
                    // 14 + 20 + 8 bytes of headers: "hel" is kept of "hello".
                    assert_eq!((packet.data.len(), packet.original_len), (45, 47));
                    let way = packet.options.iter().find_map(|option| match option {
                        EnhancedPacketOption::Flags(flags) => Some(*flags),
                        _ => None,
                    });
                    seen.push((packet.data[42..].to_vec(), way.unwrap()));
                }
                _ => {}
            }
        }
        seen.sort();
        let expected = [(&b"hel"[..], 1), (b"hel", 2), (b"wor", 1), (b"wor", 2)];
        assert_eq!(seen, expected.map(|(text, way)| (text.to_vec(), way)));
    });
}

#[test]
fn packets_are_shown_in_lines() {
    in_namespace(|| {
        let mut dump = start(&["dump", "lo", "--lines", "-c", "2"], "watching lo");
        let _receiver = send(&["hello"]);
        let mut text = String::new();
        dump.stdout
            .take()
            .unwrap()
            .read_to_string(&mut text)
            .unwrap();
        assert!(dump.wait().unwrap().success());
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines.len(), 2, "{text}");
        for line in lines {
            assert!(
                line.ends_with("127.0.0.1.5 > 127.0.0.1.6: UDP, 5 bytes"),
                "{line}"
            );
        }
    });
}

fn json_of(arguments: &[&str]) -> Vec<Value> {
    let output = Command::new(PROGRAM).args(arguments).output().unwrap();
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{error}");
    let text = String::from_utf8(output.stdout).unwrap();
    let lines = text.lines();
    lines
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

#[test]
fn a_running_server_tells_its_counters() {
    in_namespace(|| {
        let socket = std::env::temp_dir().join(format!("netstack-control-{}", std::process::id()));
        let socket = socket.to_str().unwrap();
        let host = format!("{HOST}/24");
        let mut server = start(
            &[
                "serve",
                "--tun",
                "nst0",
                "--addr",
                "10.9.0.2/24",
                "--host-addr",
                &host,
                "--echo",
                "7",
                "--control",
                socket,
            ],
            "ready",
        );
        let mut stream = TcpStream::connect(ours(7)).unwrap();
        stream.write_all(b"x").unwrap();
        stream.read_exact(&mut [0]).unwrap();
        let looks = json_of(&["stats", "--count", "2", "--interval", "0.01", socket]);
        assert_eq!(looks.len(), 2);
        let stack = &looks[1]["stack"];
        assert_eq!(stack["counters"]["TcpPassiveOpens"], 1);
        // The listener and the connection.
        assert_eq!(stack["usage"]["tcp_sockets"], 2);
        assert!(stack["interfaces"]["nst0"]["rx_packets"].as_u64().unwrap() > 2);
        server.kill().unwrap();
        server.wait().unwrap();
        // Nobody listens there any more.
        let output = Command::new(PROGRAM)
            .args(["stats", socket])
            .output()
            .unwrap();
        assert_eq!(output.status.code(), Some(1));
        assert!(String::from_utf8_lossy(&output.stderr).contains("cannot ask"));
        std::fs::remove_file(socket).unwrap();
    });
}

#[test]
fn every_measurement_gives_figures() {
    in_namespace(|| {
        let figures = json_of(&["bench", "--rounds", "2", "--time", "0.02"]).remove(0);
        let cases = figures.as_object().unwrap();
        assert_eq!(cases.len(), 7);
        for (name, case) in cases {
            let at = |what: &str| case[what].as_f64().unwrap();
            assert!(0.0 < at("least") && at("least") <= at("median"), "{name}");
            assert!(at("median") <= at("largest"), "{name}");
        }
    });
}
