//! This machine's kernel and a stack at the two ends of a veth pair (AF_PACKET).

mod common;

use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream as KernelStream, UdpSocket as KernelUdp};
use std::process::Command;
use std::time::Duration;

use common::{HOST, host, in_namespace, ours, skip, start_on};
use netstack::host::{Net, Pinger, TcpListener, UdpSocket};
use netstack::link::MacAddr;
use netstack::link::af_packet::AfPacketDevice;
use netstack::link::sys::iface;

/// A veth pair: the kernel has "vb" with an address, the stack takes the frames of "va".
fn start_on_veth() -> Option<Net> {
    let arguments = "link add va type veth peer name vb";
    match Command::new("ip").args(arguments.split(' ')).status() {
        Ok(status) => assert!(status.success(), "ip {arguments}"),
        Err(error) => {
            skip(&format!("no ip program ({error}); install iproute2"));
            return None;
        }
    }
    iface::set_ipv4("vb", HOST, 24).unwrap();
    iface::set_up("vb").unwrap();
    iface::set_up("va").unwrap();
    let mac: MacAddr = AfPacketDevice::mac_of("va").unwrap();
    let device = AfPacketDevice::open("va").unwrap();
    Some(start_on(Box::new(device), mac))
}

fn exchange() {
    let Some(net) = start_on_veth() else {
        return;
    };
    let mut pinger = Pinger::new(&net, HOST.into()).unwrap();
    for seq in 0..3 {
        pinger.ping(seq, 1_000, Duration::from_secs(5)).unwrap();
    }
    let server = UdpSocket::bind(&net, ours(7)).unwrap();
    server
        .set_read_timeout(Some(Duration::from_secs(10)))
        .unwrap();
    let client = KernelUdp::bind(host(0)).unwrap();
    client
        .set_read_timeout(Some(Duration::from_secs(10)))
        .unwrap();
    for size in [1usize, 1_472, 5_000, 65_507] {
        let data: Vec<u8> = (0..size).map(|i| (i * 13) as u8).collect();
        client.send_to(&data, ours(7)).unwrap();
        let mut buffer = vec![0; 65_536];
        let (len, from) = server.recv_from(&mut buffer).unwrap();
        server.send_to(&buffer[..len], from).unwrap();
        let (len, _) = client.recv_from(&mut buffer).unwrap();
        assert!(buffer[..len] == data, "{size} bytes came back different");
    }
}

#[test]
fn icmp_and_udp() {
    in_namespace(exchange);
}

/// Super-packets in both directions: neither end computes a checksum or cuts a segment.
#[test]
fn tcp_there_and_back() {
    in_namespace(|| {
        let Some(net) = start_on_veth() else {
            return;
        };
        let listener = TcpListener::bind(&net, ours(5_000)).unwrap();
        let server = std::thread::spawn(move || {
            let (stream, _) = listener.accept().unwrap();
            let mut buffer = vec![0; 256 * 1024];
            loop {
                match (&stream).read(&mut buffer).unwrap() {
                    0 => return,
                    got => (&stream).write_all(&buffer[..got]).unwrap(),
                }
            }
        });
        let data: Vec<u8> = (0..8u32 << 20)
            .map(|i| (i.wrapping_mul(i) >> 9) as u8)
            .collect();
        let client = KernelStream::connect(ours(5_000)).unwrap();
        std::thread::scope(|scope| {
            scope.spawn(|| {
                (&client).write_all(&data).unwrap();
                client.shutdown(Shutdown::Write).unwrap();
            });
            let mut back = Vec::with_capacity(data.len());
            (&client).read_to_end(&mut back).unwrap();
            assert!(back == data, "what comes back is what was sent");
        });
        server.join().unwrap();
    });
}

#[test]
fn an_interface_that_is_not_there_is_an_error() {
    in_namespace(|| {
        let error = AfPacketDevice::open("nothere").unwrap_err();
        assert_eq!(error.raw_os_error(), Some(libc::ENODEV));
    });
}
