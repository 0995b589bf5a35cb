//! Ports of the host that lead into the namespace.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream, UdpSocket};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;

use serde_json::{Value, json};

use super::world::{Slirp, local, on_a_host, pattern};

#[test]
fn connections_come_in() {
    on_a_host(|| {
        let slirp = Slirp::start(&["-t", "8080:80", "-t", "127.0.0.1/9000-9001"]);
        for (outer, inner) in [(8080, 80), (9001, 9001)] {
            let listener = slirp.inside(move || TcpListener::bind(("0.0.0.0", inner)).unwrap());
            let data = pattern(2_000_000);
            let mut client = TcpStream::connect(local(outer)).unwrap();
            let (mut stream, from) = listener.accept().unwrap();
            assert_eq!(from.ip().to_string(), "10.0.2.2");
            let sender = std::thread::spawn(move || {
                client.write_all(&pattern(2_000_000)).unwrap();
                client.shutdown(Shutdown::Write).unwrap();
                let mut answer = String::new();
                client.read_to_string(&mut answer).unwrap();
                answer
            });
            let mut got = Vec::new();
            stream.read_to_end(&mut got).unwrap();
            assert!(got == data);
            stream.write_all(b"thanks").unwrap();
            drop(stream);
            assert_eq!(sender.join().unwrap(), "thanks");
        }
        // Nobody listens in the namespace.
        let mut client = TcpStream::connect(local(9000)).unwrap();
        let error = client.read(&mut [0; 8]).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::ConnectionReset);
    });
}

#[test]
fn datagrams_come_in_and_answers_go_to_whom_they_are_for() {
    on_a_host(|| {
        let slirp = Slirp::start(&["-u", "5000:53"]);
        let server = slirp.inside(|| UdpSocket::bind("0.0.0.0:53").unwrap());
        let clients = [local(0); 3].map(|addr| UdpSocket::bind(addr).unwrap());
        let mut buffer = [0; 64];
        for (n, client) in clients.iter().enumerate() {
            client.send_to(&[n as u8], local(5000)).unwrap();
            let (len, from) = server.recv_from(&mut buffer).unwrap();
            assert_eq!(
                (&buffer[..len], from.ip().to_string()),
                (&[n as u8][..], "10.0.2.2".into())
            );
            server.send_to(&[n as u8, 99], from).unwrap();
        }
        for (n, client) in clients.iter().enumerate() {
            let (len, from) = client.recv_from(&mut buffer).unwrap();
            assert_eq!((&buffer[..len], from), (&[n as u8, 99][..], local(5000)));
        }
    });
}

struct Socket(PathBuf);

impl Socket {
    fn new(name: &str) -> Self {
        Self(std::env::temp_dir().join(format!("netstack-slirp-{name}-{}", std::process::id())))
    }

    fn path(&self) -> &str {
        self.0.to_str().unwrap()
    }

    fn ask(&self, request: &str) -> Value {
        let mut stream = UnixStream::connect(&self.0).unwrap();
        stream.write_all(request.as_bytes()).unwrap();
        stream.shutdown(Shutdown::Write).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        serde_json::from_str(&answer).unwrap()
    }
}

#[test]
fn rules_are_added_listed_and_removed_over_the_control_socket() {
    on_a_host(|| {
        let socket = Socket::new("api");
        let slirp = Slirp::start(&["--api-socket", socket.path()]);
        let add = |port: u16| {
            let arguments = json!({"proto": "tcp", "host_addr": "127.0.0.1", "host_port": port, "guest_port": 80});
            socket.ask(&json!({"execute": "add_hostfwd", "arguments": arguments}).to_string())
        };
        let id = add(8080)["return"]["id"].as_u64().unwrap();
        // The port is taken.
        let error = add(8080)["error"]["desc"].as_str().unwrap().to_owned();
        assert!(error.contains("in use"), "{error}");
        let list = socket.ask(r#"{"execute":"list_hostfwd"}"#);
        let entry = json!({"id": id, "proto": "tcp", "host_addr": "127.0.0.1", "host_port": 8080,
            "guest_addr": "10.0.2.100", "guest_port": 80});
        assert_eq!(list, json!({"return": {"entries": [entry]}}));

        let listener = slirp.inside(|| TcpListener::bind("0.0.0.0:80").unwrap());
        let mut client = TcpStream::connect(local(8080)).unwrap();
        let (mut stream, _) = listener.accept().unwrap();
        let remove = json!({"execute": "remove_hostfwd", "arguments": {"id": id}}).to_string();
        assert_eq!(socket.ask(&remove), json!({"return": {}}));
        let error = TcpStream::connect(local(8080)).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::ConnectionRefused);
        // Its connections stay.
        stream.write_all(b"x").unwrap();
        client.read_exact(&mut [0]).unwrap();
        assert!(socket.ask(&remove)["error"]["desc"].is_string());
        assert!(socket.ask("nonsense")["error"]["desc"].is_string());
        assert!(socket.ask(&"x".repeat(5000))["error"]["desc"].is_string());
        // A list that does not fit into a socket's buffer arrives whole (where descriptors allow so many).
        let added = (20_000..22_000).take_while(|port| add(*port)["return"]["id"].is_u64());
        let added = added.count();
        let list = socket.ask(r#"{"execute":"list_hostfwd"}"#);
        assert_eq!(list["return"]["entries"].as_array().unwrap().len(), added);
        assert!(added >= 100);
        let stats = socket.ask(r#"{"execute":"stats"}"#);
        assert_eq!(stats["return"]["counters"]["tcp_in"], 1);
        assert_eq!(stats["return"]["tables"]["connections"], 1);
        drop(slirp);
        assert!(!socket.0.exists(), "the socket is removed");
    });
}
