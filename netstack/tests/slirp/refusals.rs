//! What does not work looks in the namespace as it does on the host.

use std::io::{Error, ErrorKind, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};

use nix::sys::socket::{setsockopt, sockopt};

use super::world::{Slirp, host, local, on_a_host};

fn reset_on_close(stream: &TcpStream) {
    let linger = libc::linger {
        l_onoff: 1,
        l_linger: 0,
    };
    setsockopt(stream, sockopt::Linger, &linger).unwrap();
}

fn connect_error(to: SocketAddr) -> ErrorKind {
    TcpStream::connect(to).unwrap_err().kind()
}

#[test]
fn refused_and_unreachable_are_told_apart_as_on_the_host() {
    on_a_host(|| {
        let slirp = Slirp::start(&[]);
        // The host has no route there.
        let far = SocketAddr::from((Ipv4Addr::new(192, 0, 2, 7), 80));
        let native = (connect_error(local(1)), connect_error(far));
        assert_eq!(
            native,
            (ErrorKind::ConnectionRefused, ErrorKind::NetworkUnreachable)
        );
        let inside = slirp.inside(move || (connect_error(host(1)), connect_error(far)));
        assert_eq!(inside, native);
        // The name server's address has only one port.
        let refused = slirp.inside(|| connect_error("10.0.2.3:80".parse().unwrap()));
        assert_eq!(refused, ErrorKind::ConnectionRefused);
    });
}

fn datagram_error(to: SocketAddr) -> Error {
    let socket = UdpSocket::bind("0.0.0.0:0").unwrap();
    socket.connect(to).unwrap();
    // Where there is no route, the host says so at once.
    match socket.send(b"x") {
        Ok(_) => socket.recv(&mut [0; 8]).unwrap_err(),
        Err(error) => error,
    }
}

#[test]
fn a_datagram_to_nobody_is_answered_as_on_the_host() {
    on_a_host(|| {
        let slirp = Slirp::start(&[]);
        let native = datagram_error(local(1)).kind();
        let inside = slirp.inside(|| datagram_error(host(1)).kind());
        assert_eq!((native, inside), (ErrorKind::ConnectionRefused, native));
        // Twice: the error of one datagram does not eat the next.
        let again = slirp.inside(|| datagram_error(host(1)).kind());
        assert_eq!(again, native);
    });
}

#[test]
fn the_hosts_loopback_interface_can_be_closed_off() {
    on_a_host(|| {
        let slirp = Slirp::start(&["--disable-host-loopback"]);
        let _listener = TcpListener::bind(local(7000)).unwrap();
        let refused = slirp.inside(|| connect_error(host(7000)));
        assert_eq!(refused, ErrorKind::NetworkUnreachable);
        // A UDP socket hears nothing of such an error (it is a soft one), but the datagram goes nowhere.
        let server = UdpSocket::bind(local(7000)).unwrap();
        server.set_nonblocking(true).unwrap();
        slirp.inside(|| {
            let socket = UdpSocket::bind("0.0.0.0:0").unwrap();
            socket.send_to(b"x", host(7000)).unwrap();
            // What comes after it has been answered.
            assert_eq!(connect_error(host(7000)), ErrorKind::NetworkUnreachable);
        });
        let error = server.recv(&mut [0; 8]).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::WouldBlock);
    });
}

/// A reset by either side arrives at the other, even where its buffers are full.
#[test]
fn resets_go_through() {
    on_a_host(|| {
        let slirp = Slirp::start(&[]);
        let listener = TcpListener::bind(local(7000)).unwrap();
        let pair = || {
            let inner = slirp.inside(|| TcpStream::connect(host(7000)).unwrap());
            (inner, listener.accept().unwrap().0)
        };
        let (inner, mut outer) = pair();
        reset_on_close(&inner);
        drop(inner);
        let error = outer.read(&mut [0; 8]).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::ConnectionReset);

        let (mut inner, outer) = pair();
        reset_on_close(&outer);
        drop(outer);
        let error = inner.read(&mut [0; 8]).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::ConnectionReset);

        // Unread data on closing resets too.
        let (mut inner, mut outer) = pair();
        outer.write_all(b"never read").unwrap();
        inner.write_all(b"x").unwrap();
        outer.read_exact(&mut [0]).unwrap();
        inner.peek(&mut [0; 16]).unwrap();
        drop(inner);
        let error = outer.read(&mut [0; 8]).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::ConnectionReset);

        // A sender that is stopped by a full window hears of it.
        let (mut inner, outer) = pair();
        let sender = std::thread::spawn(move || {
            let chunk = vec![0; 1 << 16];
            loop {
                if let Err(error) = inner.write_all(&chunk) {
                    return error.kind();
                }
            }
        });
        outer.peek(&mut [0; 1]).unwrap();
        reset_on_close(&outer);
        drop(outer);
        let kind = sender.join().unwrap();
        assert!(
            matches!(kind, ErrorKind::ConnectionReset | ErrorKind::BrokenPipe),
            "{kind}"
        );
    });
}
