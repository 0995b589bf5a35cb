//! TCP between this machine's kernel and a stack over real TUN and TAP devices, compared by checksum.
//!
//! The amounts are larger in release builds (1 GiB over the offloading device).

mod common;

use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpListener as KernelListener, TcpStream as KernelStream};
use std::time::{Duration, Instant};

use common::stream::{MIB, amount, consume, produce};
use common::{Kind, host, in_namespace, ours, start};
use netstack::host::{TcpListener, TcpStream};
use netstack::link::fault::FaultConfig;

/// The kernel connects to the stack; `len` bytes go each way at the same time.
fn kernel_connects(kind: Kind, faults: Option<FaultConfig>, len: usize) {
    let net = start(kind, faults);
    let listener = TcpListener::bind(&net, ours(5_000)).unwrap();
    let began = Instant::now();
    let server = std::thread::spawn(move || {
        let (stream, peer) = listener.accept().unwrap();
        assert_eq!(peer, stream.peer_addr().unwrap());
        let writer = stream.try_clone().unwrap();
        let producer = std::thread::spawn(move || {
            let sent = produce(&writer, len).unwrap();
            writer.shutdown(Shutdown::Write).unwrap();
            sent
        });
        let received = consume(&stream, len).unwrap();
        (producer.join().unwrap(), received)
    });
    let client = KernelStream::connect(ours(5_000)).unwrap();
    let writer = client.try_clone().unwrap();
    let producer = std::thread::spawn(move || {
        let sent = produce(&writer, len).unwrap();
        writer.shutdown(Shutdown::Write).unwrap();
        sent
    });
    let received = consume(&client, len).unwrap();
    let (ours_sent, ours_received) = server.join().unwrap();
    assert_eq!(
        (received, ours_received),
        (ours_sent, producer.join().unwrap())
    );
    let seconds = began.elapsed().as_secs_f64();
    let rate = 2.0 * len as f64 * 8.0 / seconds / 1e9;
    println!(
        "{kind:?}: {} MiB each way, {rate:.2} Gbit/s in all, {:?}",
        len / MIB,
        net.wake_stats()
    );
}

/// The stack connects to the kernel and sends; the kernel only receives, then the other way round.
fn stack_connects(kind: Kind, len: usize) {
    let net = start(kind, None);
    let listener = KernelListener::bind(host(6_000)).unwrap();
    for stack_sends in [true, false] {
        let began = Instant::now();
        let stream = TcpStream::connect(&net, host(6_000)).unwrap();
        let (peer, from) = listener.accept().unwrap();
        assert_eq!(from, stream.local_addr().unwrap());
        let (sent, received) = if stack_sends {
            let reader = std::thread::spawn(move || consume(&peer, len).unwrap());
            let sent = produce(&stream, len).unwrap();
            drop(stream);
            (sent, reader.join().unwrap())
        } else {
            let writer = std::thread::spawn(move || produce(&peer, len).unwrap());
            let received = consume(&stream, len).unwrap();
            (writer.join().unwrap(), received)
        };
        assert_eq!(sent, received);
        let rate = len as f64 * 8.0 / began.elapsed().as_secs_f64() / 1e9;
        let way = if stack_sends { "sent" } else { "received" };
        println!("{kind:?}: {} MiB {way}, {rate:.2} Gbit/s", len / MIB);
    }
}

#[test]
fn both_ways_over_tun() {
    in_namespace(|| kernel_connects(Kind::Plain, None, amount(256, 16)));
}

#[test]
fn both_ways_over_tap() {
    in_namespace(|| kernel_connects(Kind::Tap, None, amount(64, 8)));
}

#[test]
fn both_ways_over_offloading_tap() {
    in_namespace(|| kernel_connects(Kind::OffloadingTap, None, amount(256, 16)));
}

#[test]
fn a_gibibyte_each_way_over_offloading_tun() {
    in_namespace(|| stack_connects(Kind::Offloading, amount(1_024, 64)));
}

#[test]
fn both_ways_with_loss_and_reordering() {
    let faults = FaultConfig {
        loss: 0.02,
        reorder: 0.02,
        duplicate: 0.005,
        corrupt: 0.005,
        ..FaultConfig::default()
    };
    in_namespace(move || kernel_connects(Kind::Plain, Some(faults), amount(32, 4)));
}

#[test]
fn a_refused_connection_and_a_timeout() {
    in_namespace(|| {
        let net = start(Kind::Offloading, None);
        let refused = TcpStream::connect(&net, host(1)).err().unwrap();
        assert_eq!(refused.kind(), io::ErrorKind::ConnectionRefused);
        let refused = KernelStream::connect(ours(1)).unwrap_err();
        assert_eq!(refused.kind(), io::ErrorKind::ConnectionRefused);
        // Nobody has this address on the link, and TUN has no ARP to say so.
        let nobody = std::net::SocketAddr::from(([10, 9, 0, 77], 80));
        let error = TcpStream::connect_timeout(&net, nobody, Duration::from_millis(50));
        assert_eq!(error.err().unwrap().kind(), io::ErrorKind::TimedOut);
    });
}

#[test]
fn timeouts_and_non_blocking_mode() {
    in_namespace(|| {
        let net = start(Kind::Offloading, None);
        let listener = TcpListener::bind(&net, ours(5_001)).unwrap();
        listener.set_nonblocking(true);
        let error = listener.accept().err().unwrap();
        assert_eq!(error.kind(), io::ErrorKind::WouldBlock);
        listener.set_nonblocking(false);
        let mut client = KernelStream::connect(ours(5_001)).unwrap();
        let (mut server, _) = listener.accept().unwrap();
        server
            .set_read_timeout(Some(Duration::from_millis(5)))
            .unwrap();
        let error = server.read(&mut [0; 10]).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::WouldBlock);
        server.set_nonblocking(true);
        let block = vec![0; MIB];
        let error = loop {
            match server.write(&block) {
                Ok(taken) => assert!(taken > 0),
                Err(error) => break error,
            }
        };
        assert_eq!(
            error.kind(),
            io::ErrorKind::WouldBlock,
            "a full send queue pushes back"
        );
        server.set_nonblocking(false);
        server.set_read_timeout(None).unwrap();
        client.write_all(b"still there").unwrap();
        let mut buffer = [0; 11];
        server.read_exact(&mut buffer).unwrap();
        assert_eq!(&buffer, b"still there");
    });
}

#[test]
fn many_short_connections() {
    in_namespace(|| {
        let net = start(Kind::Offloading, None);
        let listener = TcpListener::bind(&net, ours(5_002)).unwrap();
        std::thread::spawn(move || {
            while let Ok((stream, _)) = listener.accept() {
                let mut data = Vec::new();
                (&stream).read_to_end(&mut data).unwrap();
                (&stream).write_all(&data).unwrap();
            }
        });
        for i in 0..200u32 {
            let mut client = KernelStream::connect(ours(5_002)).unwrap();
            client.write_all(&i.to_be_bytes()).unwrap();
            client.shutdown(Shutdown::Write).unwrap();
            let mut back = Vec::new();
            client.read_to_end(&mut back).unwrap();
            assert_eq!(back, i.to_be_bytes());
        }
    });
}

#[test]
fn a_blocked_accept_ends_when_the_listener_is_shut_down() {
    in_namespace(|| {
        let net = start(Kind::Offloading, None);
        let listener = TcpListener::bind(&net, ours(5_003)).unwrap();
        std::thread::scope(|scope| {
            let blocked = scope.spawn(|| listener.accept().err().unwrap());
            // Whether it blocks before or after, it must end.
            listener.shutdown().unwrap();
            let error = blocked.join().unwrap();
            assert_eq!(error.raw_os_error(), Some(libc::EINVAL));
        });
    });
}
