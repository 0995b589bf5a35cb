//! Interception over a TUN interface: this machine's kernel connects to addresses that nobody has.

mod common;

use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpStream, UdpSocket};

use common::{Kind, in_namespace, start};
use netstack::host::{Arrival, Interceptor, Net, Offer};
use netstack::link::sys::iface;
use netstack::socket::intercept::{InterceptConfig, Unreachable};

fn far(port: u16) -> SocketAddr {
    SocketAddr::from((Ipv4Addr::new(192, 0, 2, 7), port))
}

fn intercept(kind: Kind) -> (Net, Interceptor) {
    let net = start(kind, None);
    let id = net.with(|stack| stack.interface_by_name("nst0")).unwrap();
    let interceptor = Interceptor::new(&net, id, InterceptConfig::default()).unwrap();
    iface::add_default_route("nst0", Some(common::OURS)).unwrap();
    (net, interceptor)
}

fn offer(interceptor: &Interceptor) -> Offer {
    match interceptor.next().unwrap() {
        Arrival::Tcp(offer) => offer,
        _ => panic!("no connection"),
    }
}

#[test]
fn connections_to_anywhere_are_accepted_with_that_address() {
    for kind in [
        Kind::Plain,
        Kind::Offloading,
        Kind::Tap,
        Kind::OffloadingTap,
    ] {
        in_namespace(move || {
            let (_net, interceptor) = intercept(kind);
            let data: Vec<u8> = (0..2_000_000u32).map(|i| (i % 251) as u8).collect();
            let sent = data.clone();
            let client = std::thread::spawn(move || {
                let mut stream = TcpStream::connect(far(4242)).unwrap();
                assert_eq!(stream.peer_addr().unwrap(), far(4242));
                stream.write_all(&sent).unwrap();
                stream.shutdown(Shutdown::Write).unwrap();
                let mut answer = String::new();
                stream.read_to_string(&mut answer).unwrap();
                answer
            });
            let mut stream = offer(&interceptor).accept().unwrap();
            assert_eq!(stream.local_addr().unwrap(), far(4242));
            let mut got = Vec::new();
            stream.read_to_end(&mut got).unwrap();
            assert!(got == data, "{kind:?}");
            stream.write_all(b"all of it").unwrap();
            drop(stream);
            assert_eq!(client.join().unwrap(), "all of it");
        });
    }
}

#[test]
fn the_kernel_understands_each_refusal() {
    in_namespace(|| {
        let (_net, interceptor) = intercept(Kind::Offloading);
        let connect = |port| std::thread::spawn(move || TcpStream::connect(far(port)));
        let client = connect(1);
        offer(&interceptor).refuse().unwrap();
        let error = client.join().unwrap().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::ConnectionRefused);
        let client = connect(2);
        offer(&interceptor).unreachable(Unreachable::Host).unwrap();
        let error = client.join().unwrap().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::HostUnreachable);
        let client = connect(3);
        offer(&interceptor)
            .unreachable(Unreachable::Network)
            .unwrap();
        let error = client.join().unwrap().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::NetworkUnreachable);
        // Silence: the kernel tries again.
        let client = connect(4);
        let first = offer(&interceptor);
        let from = first.from();
        drop(first);
        let second = offer(&interceptor);
        assert_eq!((second.from(), second.to()), (from, far(4)));
        let stream = second.accept().unwrap();
        assert_eq!(client.join().unwrap().unwrap().local_addr().unwrap(), from);
        drop(stream);
    });
}

#[test]
fn datagrams_to_anywhere_are_answered_from_there() {
    in_namespace(|| {
        let (_net, interceptor) = intercept(Kind::Offloading);
        let client = UdpSocket::bind("0.0.0.0:0").unwrap();
        client.send_to(b"question", far(53)).unwrap();
        let Arrival::Udp { socket, from, to } = interceptor.next().unwrap() else {
            panic!("no datagram");
        };
        assert_eq!(
            (to, from.port()),
            (far(53), client.local_addr().unwrap().port())
        );
        let mut buffer = [0; 64];
        assert_eq!(socket.recv(&mut buffer).unwrap(), 8);
        socket.send(b"answer").unwrap();
        let (len, from) = client.recv_from(&mut buffer).unwrap();
        assert_eq!((&buffer[..len], from), (&b"answer"[..], far(53)));
    });
}
