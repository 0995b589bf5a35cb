//! IPv6 between this machine's kernel and a stack, over real TUN devices.

mod common;

use std::io::{self, Read, Write};
use std::net::{
    IpAddr, Shutdown, SocketAddr, TcpListener as KernelListener, TcpStream as KernelStream,
    UdpSocket as KernelUdp,
};
use std::process::Command;
use std::time::Duration;

use common::{HOST6, Kind, OURS, OURS6, host, host6, in_namespace, ours6, skip, start};
use netstack::host::{Pinger, TcpListener, TcpStream, UdpSocket};
use netstack::network::addr::Cidr;
use netstack::stack::AddressState;

const TIMEOUT: Option<Duration> = Some(Duration::from_secs(10));

fn kernel_pings(kind: Kind, size: &str) {
    let _net = start(kind, None);
    let target = OURS6.to_string();
    let arguments = [
        "-6", "-c", "3", "-i", "0.01", "-W", "5", "-s", size, &target,
    ];
    match Command::new("ping").args(arguments).output() {
        Ok(output) => assert!(output.status.success(), "{output:?}"),
        Err(error) => skip(&format!("no ping program ({error}); install iputils-ping")),
    }
}

#[test]
fn the_kernel_pings_us() {
    in_namespace(|| kernel_pings(Kind::Plain, "56"));
    in_namespace(|| kernel_pings(Kind::Offloading, "56"));
}

#[test]
fn the_kernel_pings_us_over_tap_after_neighbour_discovery() {
    in_namespace(|| kernel_pings(Kind::Tap, "56"));
    in_namespace(|| kernel_pings(Kind::OffloadingTap, "4000"));
}

#[test]
fn fragmented_pings_are_reassembled_and_answered_in_fragments() {
    in_namespace(|| kernel_pings(Kind::Plain, "4000"));
}

#[test]
fn we_ping_the_kernel() {
    for kind in [Kind::Offloading, Kind::OffloadingTap] {
        in_namespace(move || {
            let net = start(kind, None);
            let mut pinger = Pinger::new(&net, HOST6.into()).unwrap();
            for seq in 0..3 {
                pinger.ping(seq, 100, Duration::from_secs(5)).unwrap();
            }
        });
    }
}

/// Two stacks' addresses are asked for on a real link, and a kernel's that is taken is not used.
#[test]
fn an_address_that_the_kernel_has_is_found_out() {
    in_namespace(|| {
        let net = start(Kind::Tap, None);
        let iface = net.with(|stack| stack.interface_by_name("nst0")).unwrap();
        let taken = Cidr::new(HOST6.into(), 64).unwrap();
        let free: Cidr = "fd00:9::77/64".parse().unwrap();
        net.with(|stack| stack.add_address(iface, taken)).unwrap();
        net.with(|stack| stack.add_address(iface, free)).unwrap();
        let state = |cidr: Cidr| {
            let all = net.with(|stack| stack.interfaces().collect::<Vec<_>>());
            let mut own = all.into_iter().flat_map(|info| info.addresses);
            own.find(|own| own.cidr == cidr).map(|own| own.state)
        };
        let began = std::time::Instant::now();
        while [taken, free]
            .map(state)
            .contains(&Some(AddressState::Tentative))
        {
            assert!(began.elapsed() < Duration::from_secs(30));
            net.park(&net.waiter(), Some(net.now() + Duration::from_millis(20)));
        }
        assert_eq!(state(taken), Some(AddressState::Duplicate));
        assert_eq!(state(free), Some(AddressState::Usable));
    });
}

/// A datagram of each size there and back, with the stack as the server.
fn udp_echo(kind: Kind) {
    let net = start(kind, None);
    let server = UdpSocket::bind(&net, ours6(7)).unwrap();
    server.set_read_timeout(TIMEOUT).unwrap();
    let client = KernelUdp::bind(host6(0)).unwrap();
    client.set_read_timeout(TIMEOUT).unwrap();
    for size in [0usize, 1, 1_400, 1_452, 1_453, 9_000, 65_487] {
        let data: Vec<u8> = (0..size).map(|i| (i * 31) as u8).collect();
        client.send_to(&data, ours6(7)).unwrap();
        let mut buffer = vec![0; 65_536];
        let (len, from) = server.recv_from(&mut buffer).unwrap();
        assert_eq!((len, from), (size, client.local_addr().unwrap()));
        server.send_to(&buffer[..len], from).unwrap();
        let (len, from) = client.recv_from(&mut buffer).unwrap();
        assert_eq!((&buffer[..len], from), (&data[..], ours6(7)));
    }
}

#[test]
fn udp_of_all_sizes() {
    in_namespace(|| udp_echo(Kind::Plain));
    in_namespace(|| udp_echo(Kind::Offloading));
}

#[test]
fn a_closed_port_is_refused() {
    in_namespace(|| {
        let net = start(Kind::Offloading, None);
        let socket = UdpSocket::bind(&net, SocketAddr::from((OURS6, 0))).unwrap();
        socket.connect(host6(9)).unwrap();
        socket.send(b"anybody there").unwrap();
        socket.set_read_timeout(TIMEOUT).unwrap();
        let error = socket.recv(&mut [0; 10]).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::ConnectionRefused);
        let refused = TcpStream::connect(&net, host6(9)).err().unwrap();
        assert_eq!(refused.kind(), io::ErrorKind::ConnectionRefused);
        // The other way round our stack says it.
        let client = KernelUdp::bind(host6(0)).unwrap();
        client.connect(ours6(9)).unwrap();
        client.send(b"anybody there").unwrap();
        client.set_read_timeout(TIMEOUT).unwrap();
        let error = client.recv(&mut [0; 10]).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::ConnectionRefused);
    });
}

fn data(len: usize) -> Vec<u8> {
    (0..len as u32)
        .map(|i| (i.wrapping_mul(i) >> 7) as u8)
        .collect()
}

/// `len` bytes to a server that returns them all.
fn round_trip(
    mut client: impl Read,
    mut writer: impl Write + Send,
    end: impl FnOnce() + Send,
    len: usize,
) {
    let sent = data(len);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            writer.write_all(&sent).unwrap();
            end();
        });
        let mut back = Vec::new();
        client.read_to_end(&mut back).unwrap();
        assert!(back == sent, "{} bytes of {len} came back", back.len());
    });
}

#[test]
fn the_kernel_connects_and_both_send() {
    for kind in [Kind::Plain, Kind::Offloading] {
        in_namespace(move || {
            let net = start(kind, None);
            let listener = TcpListener::bind(&net, ours6(5_000)).unwrap();
            let server = std::thread::spawn(move || {
                let (stream, peer) = listener.accept().unwrap();
                assert_eq!(peer.ip(), IpAddr::V6(HOST6));
                io::copy(&mut &stream, &mut &stream).unwrap();
                stream.shutdown(Shutdown::Write).unwrap();
            });
            let client = KernelStream::connect(ours6(5_000)).unwrap();
            round_trip(
                &client,
                &client,
                || client.shutdown(Shutdown::Write).unwrap(),
                5_000_000,
            );
            server.join().unwrap();
        });
    }
}

#[test]
fn we_connect_and_both_send() {
    for kind in [Kind::Plain, Kind::Offloading] {
        in_namespace(move || {
            let net = start(kind, None);
            let listener = KernelListener::bind(host6(5_000)).unwrap();
            let server = std::thread::spawn(move || {
                let (stream, peer) = listener.accept().unwrap();
                assert_eq!(peer.ip(), IpAddr::V6(OURS6));
                io::copy(&mut &stream, &mut &stream).unwrap();
                stream.shutdown(Shutdown::Write).unwrap();
            });
            let client = TcpStream::connect(&net, host6(5_000)).unwrap();
            assert_eq!(client.peer_addr().unwrap(), host6(5_000));
            round_trip(
                &client,
                &client,
                || client.shutdown(Shutdown::Write).unwrap(),
                5_000_000,
            );
            server.join().unwrap();
        });
    }
}

#[test]
fn one_listener_serves_both_families() {
    in_namespace(|| {
        let net = start(Kind::Offloading, None);
        let listener = TcpListener::bind(&net, "[::]:80".parse().unwrap()).unwrap();
        let v4 = KernelStream::connect((OURS, 80)).unwrap();
        let (stream, peer) = listener.accept().unwrap();
        let mapped = |addr: SocketAddr| match addr {
            SocketAddr::V6(v6) => v6
                .ip()
                .to_ipv4_mapped()
                .map(|v4| SocketAddr::from((v4, v6.port()))),
            SocketAddr::V4(_) => None,
        };
        assert_eq!(mapped(peer), v4.local_addr().ok());
        assert_eq!(mapped(stream.local_addr().unwrap()), v4.peer_addr().ok());
        let v6 = KernelStream::connect(ours6(80)).unwrap();
        assert_eq!(listener.accept().unwrap().1, v6.local_addr().unwrap());
        // And a client of IPv6 reaches an IPv4 server by its mapped address.
        let server = KernelListener::bind(host(81)).unwrap();
        let to = SocketAddr::from((common::HOST.to_ipv6_mapped(), 81));
        let client = TcpStream::connect(&net, to).unwrap();
        assert_eq!(client.peer_addr().unwrap(), to);
        assert_eq!(server.accept().unwrap().1.ip(), IpAddr::V4(OURS));
    });
}
