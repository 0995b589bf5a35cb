//! What goes through.

use std::io::{ErrorKind, Read, Write};
use std::net::{IpAddr, Shutdown, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::time::Duration;

use super::host::{FAR, NEAR, OWN, ROUTER, Served, at, on_a_connected_host, pasta};
use super::world::{local, output, pattern};

/// Sends 200 kB to a listener at `outer`, which is `seen` in the namespace, and gets them back.
fn reaches(served: &Served, outer: SocketAddr, seen: SocketAddr) {
    let listener = TcpListener::bind(outer).unwrap();
    let server = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut got = Vec::new();
        stream.read_to_end(&mut got).unwrap();
        stream.write_all(&got).unwrap();
    });
    let back = served.inside(move || {
        let mut stream = TcpStream::connect(seen).unwrap();
        stream.write_all(&pattern(200_000)).unwrap();
        stream.shutdown(Shutdown::Write).unwrap();
        let mut back = Vec::new();
        stream.read_to_end(&mut back).unwrap();
        back
    });
    assert!(back == pattern(200_000), "{seen}");
    server.join().unwrap();
}

#[test]
fn the_hosts_world_is_reached_at_its_own_addresses() {
    on_a_connected_host(|| {
        let served = Served::start("world", &["--map-guest-addr", "169.254.1.2"]);
        reaches(&served, local(7000), at(ROUTER, 7000));
        // On the same network: found by ARP, without the router.
        reaches(&served, at(NEAR, 7001), at(NEAR, 7001));
        reaches(&served, at(FAR, 7002), at(FAR, 7002));
        // The host's own address is the namespace's too; it has another for the host.
        reaches(&served, at(OWN, 7003), at("169.254.1.2", 7003));
        let refused = served.inside(|| TcpStream::connect(at(OWN, 7003)).unwrap_err().kind());
        assert_eq!(refused, ErrorKind::ConnectionRefused);
    });
}

#[test]
fn the_routers_address_may_lead_to_the_router() {
    on_a_connected_host(|| {
        let served = Served::start("gateway", &["--no-map-gw"]);
        let server = UdpSocket::bind(local(7000)).unwrap();
        server.set_nonblocking(true).unwrap();
        served.inside(|| {
            let socket = UdpSocket::bind("0.0.0.0:0").unwrap();
            socket.send_to(b"x", at(ROUTER, 7000)).unwrap();
        });
        // What comes after it has been answered.
        reaches(&served, at(FAR, 7002), at(FAR, 7002));
        let error = server.recv(&mut [0; 8]).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::WouldBlock);
    });
}

#[test]
fn names_are_asked_for_where_they_are_forwarded() {
    on_a_connected_host(|| {
        let options = [
            "-D",
            "127.0.0.1",
            "--dns-forward",
            "169.254.1.1",
            "--no-map-gw",
        ];
        let served = Served::start("dns", &options);
        let server = UdpSocket::bind(local(53)).unwrap();
        let answers = std::thread::spawn(move || {
            let mut question = [0; 64];
            let (len, from) = server.recv_from(&mut question).unwrap();
            server.send_to(&question[..len], from).unwrap();
        });
        let answer = served.inside(|| {
            let socket = UdpSocket::bind("0.0.0.0:0").unwrap();
            socket
                .set_read_timeout(Some(Duration::from_secs(60)))
                .unwrap();
            socket.send_to(b"name?", at("169.254.1.1", 53)).unwrap();
            let mut answer = [0; 64];
            let (len, from) = socket.recv_from(&mut answer).unwrap();
            (answer[..len].to_vec(), from)
        });
        assert_eq!(answer, (b"name?".to_vec(), at("169.254.1.1", 53)));
        answers.join().unwrap();
        reaches(&served, local(53), at("169.254.1.1", 53));
    });
}

/// Who comes to a forwarded port over TCP, and over UDP, as the namespace sees it.
fn clients(servers: &(TcpListener, UdpSocket), from: &str, to: SocketAddr) -> (IpAddr, IpAddr) {
    let (listener, socket) = servers;
    let asker = UdpSocket::bind(at(from, 0)).unwrap();
    asker
        .set_read_timeout(Some(Duration::from_secs(60)))
        .unwrap();
    asker.send_to(b"?", to).unwrap();
    socket
        .set_read_timeout(Some(Duration::from_secs(60)))
        .unwrap();
    let (_, udp) = socket.recv_from(&mut [0; 8]).unwrap();
    socket.send_to(b"!", udp).unwrap();
    asker.recv_from(&mut [0; 8]).unwrap();

    let from = from.to_owned();
    let client = std::thread::spawn(move || {
        let kind = nix::sys::socket::SockType::Stream;
        let flags = nix::sys::socket::SockFlag::SOCK_CLOEXEC;
        let family = nix::sys::socket::AddressFamily::Inet;
        let fd = nix::sys::socket::socket(family, kind, flags, None).unwrap();
        let number = std::os::fd::AsRawFd::as_raw_fd(&fd);
        let addr = |addr| nix::sys::socket::SockaddrStorage::from(addr);
        nix::sys::socket::bind(number, &addr(at(&from, 0))).unwrap();
        nix::sys::socket::connect(number, &addr(to)).unwrap();
        let mut got = Vec::new();
        TcpStream::from(fd).read_to_end(&mut got).unwrap();
        assert_eq!(got, b"hello");
    });
    let (mut stream, tcp) = listener.accept().unwrap();
    stream.write_all(b"hello").unwrap();
    drop(stream);
    client.join().unwrap();
    (tcp.ip(), udp.ip())
}

#[test]
fn ports_lead_into_the_namespace_with_the_clients_addresses() {
    on_a_connected_host(|| {
        let options = ["-t", "8080:80", "-u", "8080:80", "-t", "%out1/9000:80"];
        let served = Served::start("ports", &options);
        let servers = served.inside(|| {
            let listener = TcpListener::bind("0.0.0.0:80").unwrap();
            (listener, UdpSocket::bind("0.0.0.0:80").unwrap())
        });
        let ip = |text: &str| text.parse::<IpAddr>().unwrap();
        let seen = clients(&servers, NEAR, at(NEAR, 8080));
        assert_eq!(seen, (ip(NEAR), ip(NEAR)));
        // An address that means another host, or none, in the namespace.
        let router = (ip(ROUTER), ip(ROUTER));
        assert_eq!(clients(&servers, "127.0.0.1", local(8080)), router);
        assert_eq!(clients(&servers, OWN, at(OWN, 8080)), router);
        // Of an interface that nobody of this host comes by.
        let error = TcpStream::connect(local(9000)).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::ConnectionRefused);
    });
}

#[test]
fn what_is_off_is_dropped() {
    on_a_connected_host(|| {
        let served = Served::start("off", &["--no-udp", "-u", "8080:80"]);
        // No port of the host's is listened on.
        UdpSocket::bind("0.0.0.0:8080").unwrap();
        let server = UdpSocket::bind(at(FAR, 7000)).unwrap();
        server.set_nonblocking(true).unwrap();
        served.inside(|| {
            let socket = UdpSocket::bind("0.0.0.0:0").unwrap();
            socket.send_to(b"x", at(FAR, 7000)).unwrap();
        });
        reaches(&served, at(FAR, 7002), at(FAR, 7002));
        let error = server.recv(&mut [0; 8]).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::WouldBlock);
    });
}

/// Without `--config-net` a DHCP client finds what it needs.
#[test]
fn a_dhcp_client_gets_the_hosts_address() {
    on_a_connected_host(|| {
        let script = std::env::temp_dir().join(format!("netstack-pdhcp-{}", std::process::id()));
        let text = "#!/bin/sh\necho \"$1 $ip $subnet $router $dns $search $mtu\"\n";
        std::fs::write(&script, text).unwrap();
        let path = script.to_str().unwrap();
        output("chmod", &["755", path]);
        let client = format!(
            "ip link set out0 up; exec busybox udhcpc -f -n -q -O mtu -O search -i out0 -s {path}"
        );
        let names = [
            "--dhcp-dns",
            "-D",
            "9.9.9.9",
            "-D",
            "192.0.2.53",
            "--dhcp-search",
            "-S",
            "a.org b.net",
        ];
        let done = pasta()
            .args(["-q", "-m", "9000"])
            .args(names)
            .args(["--", "sh", "-c", &client])
            .output()
            .unwrap();
        std::fs::remove_file(&script).unwrap();
        let text = String::from_utf8_lossy(&done.stdout).into_owned();
        let expected =
            format!("bound {OWN} 255.255.255.0 {ROUTER} 9.9.9.9 192.0.2.53 a.org b.net 9000");
        assert!(
            text.contains(&expected),
            "{text} {}",
            String::from_utf8_lossy(&done.stderr)
        );
    });
}

/// By default the host's ports follow what is bound in the namespace, where it can be reached.
#[test]
fn ports_follow_what_is_bound_in_the_namespace() {
    on_a_connected_host(|| {
        let served = Served::start("auto", &[]);
        let bound = served.inside(|| {
            let inner = TcpListener::bind(local(8081)).unwrap();
            let socket = UdpSocket::bind("0.0.0.0:5353").unwrap();
            (inner, socket, TcpListener::bind("0.0.0.0:8080").unwrap())
        });
        let (inner, socket, listener) = bound;
        // It looks once a second.
        let mut client = loop {
            match TcpStream::connect(local(8080)) {
                Ok(client) => break client,
                Err(error) => assert_eq!(error.kind(), ErrorKind::ConnectionRefused),
            }
            std::thread::sleep(Duration::from_millis(20));
        };
        let (mut stream, _) = listener.accept().unwrap();
        client.write_all(b"x").unwrap();
        stream.read_exact(&mut [0]).unwrap();
        // The same look has found UDP's, and UDP's of TCP's number.
        let asker = UdpSocket::bind(local(0)).unwrap();
        asker.send_to(b"?", local(5353)).unwrap();
        socket
            .set_read_timeout(Some(Duration::from_secs(60)))
            .unwrap();
        socket.recv_from(&mut [0; 8]).unwrap();
        assert!(UdpSocket::bind(local(8080)).is_err());
        // What only the namespace itself can reach is not let out.
        let error = TcpStream::connect(local(8081)).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::ConnectionRefused);
        drop((stream, listener, inner));
        // Gone there, gone here.
        while UdpSocket::bind(local(8080)).is_err() {
            std::thread::sleep(Duration::from_millis(20));
        }
        let error = TcpStream::connect(local(8080)).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::ConnectionRefused);
    });
}
