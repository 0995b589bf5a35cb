//! ICMP and UDP between this machine's kernel and a stack, over real TUN and TAP devices.

mod common;

use std::io;
use std::net::{SocketAddr, UdpSocket as KernelUdp};
use std::process::Command;
use std::time::Duration;

use common::{HOST, Kind, OURS, host, in_namespace, ours, skip, start};
use netstack::host::{Pinger, UdpSocket};

const TIMEOUT: Option<Duration> = Some(Duration::from_secs(10));

fn kernel_pings(kind: Kind, size: &str) {
    let _net = start(kind, None);
    let target = OURS.to_string();
    let arguments = ["-c", "3", "-i", "0.01", "-W", "5", "-s", size, &target];
    match Command::new("ping").args(arguments).output() {
        Ok(output) => assert!(output.status.success(), "{output:?}"),
        Err(error) => skip(&format!("no ping program ({error}); install iputils-ping")),
    }
}

#[test]
fn the_kernel_pings_us_over_tun() {
    in_namespace(|| kernel_pings(Kind::Plain, "56"));
}

#[test]
fn the_kernel_pings_us_over_offloading_tun() {
    in_namespace(|| kernel_pings(Kind::Offloading, "56"));
}

#[test]
fn the_kernel_pings_us_over_tap_after_arp() {
    in_namespace(|| kernel_pings(Kind::Tap, "56"));
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
            let mut pinger = Pinger::new(&net, HOST.into()).unwrap();
            for seq in 0..3 {
                pinger.ping(seq, 100, Duration::from_secs(5)).unwrap();
            }
        });
    }
}

/// A datagram of each size there and back, with the stack as the server.
fn udp_echo(kind: Kind) {
    let net = start(kind, None);
    let server = UdpSocket::bind(&net, ours(7)).unwrap();
    server.set_read_timeout(TIMEOUT).unwrap();
    let client = KernelUdp::bind(host(0)).unwrap();
    client.set_read_timeout(TIMEOUT).unwrap();
    for size in [0usize, 1, 1_400, 1_472, 9_000, 65_507] {
        let data: Vec<u8> = (0..size).map(|i| (i * 31) as u8).collect();
        client.send_to(&data, ours(7)).unwrap();
        let mut buffer = vec![0; 65_536];
        let (len, from) = server.recv_from(&mut buffer).unwrap();
        assert_eq!((len, from), (size, client.local_addr().unwrap()));
        server.send_to(&buffer[..len], from).unwrap();
        let (len, from) = client.recv_from(&mut buffer).unwrap();
        assert_eq!((&buffer[..len], from), (&data[..], ours(7)));
    }
}

#[test]
fn udp_of_all_sizes_over_tun() {
    in_namespace(|| udp_echo(Kind::Plain));
}

#[test]
fn udp_of_all_sizes_over_offloading_tun() {
    in_namespace(|| udp_echo(Kind::Offloading));
}

#[test]
fn udp_of_all_sizes_over_tap() {
    in_namespace(|| udp_echo(Kind::Tap));
}

#[test]
fn a_closed_port_is_refused_and_a_timeout_ends_a_receive() {
    in_namespace(|| {
        let net = start(Kind::Offloading, None);
        let socket = UdpSocket::bind(&net, SocketAddr::from((OURS, 0))).unwrap();
        socket.connect(host(9)).unwrap();
        socket.send(b"anybody there").unwrap();
        socket.set_read_timeout(TIMEOUT).unwrap();
        let error = socket.recv(&mut [0; 10]).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::ConnectionRefused);
        socket
            .set_read_timeout(Some(Duration::from_millis(1)))
            .unwrap();
        let error = socket.recv(&mut [0; 10]).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::WouldBlock);
        socket.set_nonblocking(true);
        let error = socket.recv(&mut [0; 10]).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::WouldBlock);
    });
}

#[test]
fn many_threads_block_on_one_stack() {
    in_namespace(|| {
        let net = start(Kind::Offloading, None);
        std::thread::scope(|scope| {
            for port in 1_000..1_008 {
                let server = UdpSocket::bind(&net, ours(port)).unwrap();
                server.set_read_timeout(TIMEOUT).unwrap();
                scope.spawn(move || {
                    let mut buffer = [0; 100];
                    for _ in 0..200 {
                        let (len, from) = server.recv_from(&mut buffer).unwrap();
                        server.send_to(&buffer[..len], from).unwrap();
                    }
                });
            }
            for port in 1_000..1_008 {
                scope.spawn(move || {
                    let client = KernelUdp::bind(host(0)).unwrap();
                    client.set_read_timeout(TIMEOUT).unwrap();
                    for i in 0..200u32 {
                        client.send_to(&i.to_be_bytes(), ours(port)).unwrap();
                        let mut buffer = [0; 100];
                        let (len, _) = client.recv_from(&mut buffer).unwrap();
                        assert_eq!(buffer[..len], i.to_be_bytes());
                    }
                });
            }
        });
    });
}

#[test]
fn an_idle_stack_wakes_nobody() {
    in_namespace(|| {
        let net = start(Kind::Offloading, None);
        let mut pinger = Pinger::new(&net, HOST.into()).unwrap();
        pinger.ping(1, 10, Duration::from_secs(5)).unwrap();
        let waiter = net.waiter();
        // The kernel says a few things of itself (router solicitations) while the interface is new.
        net.park(&waiter, Some(net.now() + Duration::from_millis(300)));
        let before = net.wake_stats();
        net.park(&waiter, Some(net.now() + Duration::from_millis(200)));
        let after = net.wake_stats();
        let wakes = (after.leader - before.leader) + (after.dedicated - before.dedicated);
        assert!(wakes <= 10, "{before:?} {after:?}");
    });
}

#[test]
fn a_blocked_thread_takes_its_packets_from_the_device_itself() {
    in_namespace(|| {
        let net = start(Kind::Offloading, None);
        let server = UdpSocket::bind(&net, ours(7)).unwrap();
        server.set_read_timeout(TIMEOUT).unwrap();
        let echo = std::thread::spawn(move || {
            let mut buffer = [0; 100];
            for _ in 0..500 {
                let (len, from) = server.recv_from(&mut buffer).unwrap();
                server.send_to(&buffer[..len], from).unwrap();
            }
        });
        let client = KernelUdp::bind(host(0)).unwrap();
        client.set_read_timeout(TIMEOUT).unwrap();
        let before = net.wake_stats();
        for i in 0..500u32 {
            client.send_to(&i.to_be_bytes(), ours(7)).unwrap();
            client.recv_from(&mut [0; 100]).unwrap();
        }
        echo.join().unwrap();
        let after = net.wake_stats();
        println!("{before:?} {after:?}");
        // On a busy machine some packets come before the server is back in its wait.
        assert!(after.leader - before.leader > 50, "{before:?} {after:?}");
    });
}
