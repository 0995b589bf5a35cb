//! Data out of the namespace: whole, in order, at the pace of the slower end.

use std::io::{BufRead, BufReader, ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::process::{Command, Stdio};
use std::thread;
use std::time::Duration;

use super::world::{Slirp, host, local, on_a_host, output, pattern};

/// Returns everything, then ends its own stream.
fn echo(mut stream: TcpStream) {
    let mut writer = stream.try_clone().unwrap();
    std::io::copy(&mut stream, &mut writer).unwrap();
    writer.shutdown(Shutdown::Write).unwrap();
}

/// Sends `data` to an echo server and returns what comes back.
fn through(to: SocketAddr, data: Vec<u8>) -> Vec<u8> {
    let mut stream = TcpStream::connect(to).unwrap();
    let mut writer = stream.try_clone().unwrap();
    let sender = thread::spawn(move || {
        writer.write_all(&data).unwrap();
        writer.shutdown(Shutdown::Write).unwrap();
    });
    let mut back = Vec::new();
    stream.read_to_end(&mut back).unwrap();
    sender.join().unwrap();
    back
}

#[test]
fn curl_reaches_a_python_server_on_the_hosts_loopback_interface() {
    on_a_host(|| {
        let slirp = Slirp::start_confined(&[]);
        let mut server = Command::new("python3")
            .args([
                "-u",
                "-m",
                "http.server",
                "-b",
                "127.0.0.1",
                "8000",
                "-d",
                "/usr/share/doc",
            ])
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("python3");
        let mut line = String::new();
        let mut stdout = BufReader::new(server.stdout.take().unwrap());
        stdout.read_line(&mut line).unwrap();
        assert!(line.contains("Serving"), "{line}");
        let get = |base: &str| output("curl", &["-sS", "--max-time", "60", base]);
        let native = get("http://127.0.0.1:8000/");
        let inside = slirp.inside(move || get("http://10.0.2.2:8000/"));
        assert!(native == inside && inside.len() > 500);
        server.kill().unwrap();
        server.wait().unwrap();
    });
}

#[test]
fn a_hundred_connections_at_once() {
    on_a_host(|| {
        let slirp = Slirp::start_confined(&[]);
        let listener = TcpListener::bind(local(7000)).unwrap();
        let server = thread::spawn(move || {
            let all: Vec<_> = (0..100)
                .map(|_| {
                    let (stream, _) = listener.accept().unwrap();
                    thread::spawn(move || echo(stream))
                })
                .collect();
            all.into_iter().for_each(|one| one.join().unwrap());
        });
        slirp.inside(|| {
            let all: Vec<_> = (0..100)
                .map(|n| {
                    thread::spawn(move || {
                        let data = pattern(100_000 + n);
                        assert!(through(host(7000), data.clone()) == data, "connection {n}");
                    })
                })
                .collect();
            all.into_iter().for_each(|one| one.join().unwrap());
        });
        server.join().unwrap();
    });
}

/// An FNV-1a hash over words of eight bytes: fast even without optimisation.
fn checksum(mut read: impl FnMut(&mut [u8]) -> usize) -> (u64, u64) {
    let (mut hash, mut total) = (0xcbf2_9ce4_8422_2325_u64, 0);
    let mut buffer = vec![0; 1 << 16];
    loop {
        // Whole buffers, so that the words are the same whatever the reads.
        let mut len = 0;
        while len < buffer.len() {
            match read(&mut buffer[len..]) {
                0 => break,
                got => len += got,
            }
        }
        for word in buffer[..len].chunks(8) {
            let mut bytes = [0; 8];
            bytes[..word.len()].copy_from_slice(word);
            hash = (hash ^ u64::from_le_bytes(bytes)).wrapping_mul(0x0100_0000_01b3);
        }
        total += len as u64;
        if len < buffer.len() {
            return (hash, total);
        }
    }
}

/// 256 MiB, the same for the same seed.
struct Source {
    left: usize,
    state: u64,
}

impl Source {
    fn new(seed: u64) -> Self {
        Self {
            left: 256 << 20,
            state: seed,
        }
    }

    fn read(&mut self, out: &mut [u8]) -> usize {
        let len = out.len().min(self.left) & !7;
        for word in out[..len].chunks_exact_mut(8) {
            self.state = self
                .state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1);
            word.copy_from_slice(&self.state.to_le_bytes());
        }
        self.left -= len;
        len
    }
}

fn send_all(mut stream: &TcpStream, seed: u64) {
    let mut source = Source::new(seed);
    let mut buffer = vec![0; 1 << 16];
    loop {
        match source.read(&mut buffer) {
            0 => break,
            len => stream.write_all(&buffer[..len]).unwrap(),
        }
    }
    stream.shutdown(Shutdown::Write).unwrap();
}

fn receive_all(mut stream: &TcpStream, seed: u64) {
    let mut source = Source::new(seed);
    let expected = checksum(|out| source.read(out));
    assert_eq!(expected.1, 256 << 20);
    assert_eq!(checksum(|out| stream.read(out).unwrap()), expected);
}

/// Both directions at once, on one connection.
#[test]
fn a_quarter_of_a_gibibyte_each_way() {
    on_a_host(|| {
        let slirp = Slirp::start_confined(&["--mtu", "65520"]);
        let listener = TcpListener::bind(local(7000)).unwrap();
        let exchange = |stream: TcpStream, (ours, theirs): (u64, u64)| {
            thread::scope(|scope| {
                scope.spawn(|| send_all(&stream, ours));
                receive_all(&stream, theirs);
            });
        };
        let client = slirp.spawn(move || exchange(TcpStream::connect(host(7000)).unwrap(), (1, 2)));
        let (stream, _) = listener.accept().unwrap();
        exchange(stream, (2, 1));
        client.join().unwrap();
    });
}

/// How much a sender gets rid of while nobody reads; the rest follows when somebody does.
fn stalled(sender: TcpStream, mut reader: TcpStream) -> usize {
    sender
        .set_write_timeout(Some(Duration::from_millis(500)))
        .unwrap();
    let chunk = pattern(1 << 16);
    let mut sent = 0;
    loop {
        match (&sender).write(&chunk[sent % chunk.len()..]) {
            Ok(len) => sent += len,
            Err(error) if error.kind() == ErrorKind::WouldBlock => break,
            Err(error) => panic!("{error}"),
        }
        assert!(sent < 64 << 20, "nothing ever pushes back");
    }
    sender.shutdown(Shutdown::Write).unwrap();
    let mut got = Vec::new();
    reader.read_to_end(&mut got).unwrap();
    assert_eq!(got.len(), sent);
    for (n, piece) in got.chunks(chunk.len()).enumerate() {
        assert!(piece == &chunk[..piece.len()], "chunk {n}");
    }
    sent
}

#[test]
fn a_reader_that_does_not_read_stops_the_sender_on_the_other_side() {
    on_a_host(|| {
        let slirp = Slirp::start_confined(&[]);
        let listener = TcpListener::bind(local(7000)).unwrap();
        let inner = slirp.inside(|| TcpStream::connect(host(7000)).unwrap());
        let (outer, _) = listener.accept().unwrap();
        let (inner2, outer2) = (inner.try_clone().unwrap(), outer.try_clone().unwrap());
        // Four kernel buffers and two of ours, each at most 6 MiB.
        assert!(stalled(inner, outer2) < 36 << 20);
        assert!(stalled(outer, inner2) < 36 << 20);
    });
}

#[test]
fn each_direction_ends_by_itself() {
    on_a_host(|| {
        let slirp = Slirp::start_confined(&[]);
        let listener = TcpListener::bind(local(7000)).unwrap();
        // The namespace ends first, then the host answers at length.
        let data = pattern(3_000_000);
        let client = slirp.spawn({
            let data = data.clone();
            move || {
                let mut stream = TcpStream::connect(host(7000)).unwrap();
                stream.write_all(b"question").unwrap();
                stream.shutdown(Shutdown::Write).unwrap();
                let mut answer = Vec::new();
                stream.read_to_end(&mut answer).unwrap();
                assert!(answer == data);
            }
        });
        let (mut stream, _) = listener.accept().unwrap();
        let mut question = String::new();
        stream.read_to_string(&mut question).unwrap();
        assert_eq!(question, "question");
        stream.write_all(&data).unwrap();
        drop(stream);
        client.join().unwrap();
        // The host ends first.
        let client = slirp.spawn(move || {
            let mut stream = TcpStream::connect(host(7000)).unwrap();
            assert_eq!(stream.read(&mut [0; 8]).unwrap(), 0);
            stream.write_all(&data).unwrap();
        });
        let (mut stream, _) = listener.accept().unwrap();
        stream.shutdown(Shutdown::Write).unwrap();
        let mut got = Vec::new();
        stream.read_to_end(&mut got).unwrap();
        assert!(got == pattern(3_000_000));
        client.join().unwrap();
    });
}

#[test]
fn datagrams_come_back_from_where_they_went() {
    on_a_host(|| {
        let slirp = Slirp::start_confined(&[]);
        let server = UdpSocket::bind(local(7000)).unwrap();
        let client = slirp.spawn(|| {
            let socket = UdpSocket::bind("0.0.0.0:0").unwrap();
            let mut buffer = vec![0; 65_536];
            // The largest is fragmented on its way through an MTU of 1500.
            for len in [0, 1, 1400, 1473, 9000, 65_507] {
                socket.send_to(&pattern(len), host(7000)).unwrap();
                let (got, from) = socket.recv_from(&mut buffer).unwrap();
                assert!(
                    buffer[..got] == pattern(len)[..] && from == host(7000),
                    "{len}"
                );
            }
        });
        let mut buffer = vec![0; 65_536];
        for _ in 0..6 {
            let (len, from) = server.recv_from(&mut buffer).unwrap();
            assert_eq!(from.ip(), local(0).ip());
            server.send_to(&buffer[..len], from).unwrap();
        }
        client.join().unwrap();
    });
}

/// A name server that answers with the question, over both transports.
#[test]
fn questions_to_the_name_server_reach_the_hosts() {
    on_a_host(|| {
        let slirp = Slirp::start_confined(&["--dns-host", "127.0.0.1:5353"]);
        let dns: SocketAddr = "10.0.2.3:53".parse().unwrap();
        let server = UdpSocket::bind(local(5353)).unwrap();
        let client = slirp.spawn(move || {
            let socket = UdpSocket::bind("0.0.0.0:0").unwrap();
            socket.connect(dns).unwrap();
            socket.send(b"who?").unwrap();
            let mut buffer = [0; 64];
            let len = socket.recv(&mut buffer).unwrap();
            assert_eq!(&buffer[..len], b"you");
        });
        let mut buffer = [0; 64];
        let (len, from) = server.recv_from(&mut buffer).unwrap();
        assert_eq!(&buffer[..len], b"who?");
        server.send_to(b"you", from).unwrap();
        client.join().unwrap();

        let listener = TcpListener::bind(local(5353)).unwrap();
        let server = thread::spawn(move || echo(listener.accept().unwrap().0));
        let back = slirp.inside(move || through(dns, b"at length".to_vec()));
        assert_eq!(back, b"at length");
        server.join().unwrap();
    });
}

#[test]
fn pings_leave_by_the_hosts_ping_sockets() {
    on_a_host(|| {
        std::fs::write("/proc/sys/net/ipv4/ping_group_range", "0 2147483647").unwrap();
        output("ip", &["addr", "add", "192.0.2.1/32", "dev", "lo"]);
        let slirp = Slirp::start_confined(&[]);
        for to in ["192.0.2.1", "10.0.2.2", "10.0.2.3"] {
            let said =
                slirp.inside(move || output("ping", &["-c", "2", "-i", "0.01", "-W", "20", to]));
            let said = String::from_utf8_lossy(&said).into_owned();
            assert!(said.contains("2 received"), "{said}");
        }
    });
}
