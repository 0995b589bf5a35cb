//! Async sockets with this machine's kernel as their peer, all on one thread of a runtime.

mod common;

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream, UdpSocket};
use std::time::Duration;

use common::{Kind, host, in_namespace, ours, start};
use netstack::host::aio;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::runtime::{Builder, Runtime};

fn runtime() -> Runtime {
    Builder::new_current_thread().enable_time().build().unwrap()
}

fn pattern(len: usize) -> Vec<u8> {
    (0..len as u32).map(|i| (i % 251) as u8).collect()
}

#[test]
fn a_hundred_connections_on_one_thread() {
    in_namespace(|| {
        let net = start(Kind::Offloading, None);
        let listener = aio::TcpListener::bind(&net, ours(7)).unwrap();
        let clients: Vec<_> = (0..100)
            .map(|n| {
                std::thread::spawn(move || {
                    let data = pattern(50_000 + n);
                    let mut stream = TcpStream::connect(ours(7)).unwrap();
                    let mut writer = stream.try_clone().unwrap();
                    let sent = data.clone();
                    let sender = std::thread::spawn(move || {
                        writer.write_all(&sent).unwrap();
                        writer.shutdown(Shutdown::Write).unwrap();
                    });
                    let mut back = Vec::new();
                    stream.read_to_end(&mut back).unwrap();
                    sender.join().unwrap();
                    assert!(back == data, "connection {n}");
                })
            })
            .collect();
        let runtime = runtime();
        runtime.block_on(async {
            let mut echoes = Vec::new();
            for _ in 0..100 {
                let (stream, _) = listener.accept().await.unwrap();
                echoes.push(runtime.spawn(async move {
                    let (mut read, mut write) = tokio::io::split(stream);
                    tokio::io::copy(&mut read, &mut write).await.unwrap();
                    write.shutdown().await.unwrap();
                }));
            }
            for echo in echoes {
                echo.await.unwrap();
            }
        });
        clients
            .into_iter()
            .for_each(|client| client.join().unwrap());
    });
}

#[test]
fn connecting_succeeds_and_fails() {
    in_namespace(|| {
        let net = start(Kind::Offloading, None);
        let listener = TcpListener::bind(host(80)).unwrap();
        let server = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut question = String::new();
            stream.read_to_string(&mut question).unwrap();
            stream
                .write_all(question.to_uppercase().as_bytes())
                .unwrap();
        });
        runtime().block_on(async {
            let mut stream = aio::TcpStream::connect(&net, host(80)).await.unwrap();
            assert_eq!(stream.peer_addr().unwrap(), host(80));
            stream.write_all(b"question").await.unwrap();
            stream.shutdown().await.unwrap();
            let mut answer = String::new();
            stream.read_to_string(&mut answer).await.unwrap();
            assert_eq!(answer, "QUESTION");
            let refused = aio::TcpStream::connect(&net, host(81)).await;
            assert_eq!(refused.err().unwrap().kind(), ErrorKind::ConnectionRefused);
        });
        server.join().unwrap();
    });
}

/// A reader is dropped while it waits; nothing is lost, and its place can be taken.
#[test]
fn a_future_can_be_dropped() {
    in_namespace(|| {
        let net = start(Kind::Offloading, None);
        let socket = aio::UdpSocket::bind(&net, ours(53)).unwrap();
        let client = UdpSocket::bind(host(0)).unwrap();
        runtime().block_on(async {
            let mut buffer = [0; 16];
            let early = socket.recv_from(&mut buffer);
            let none = tokio::time::timeout(Duration::from_millis(10), early).await;
            assert!(none.is_err(), "nothing has been sent");
            client.send_to(b"now", ours(53)).unwrap();
            let (len, from) = socket.recv_from(&mut buffer).await.unwrap();
            assert_eq!(
                (&buffer[..len], from),
                (&b"now"[..], client.local_addr().unwrap())
            );
            socket.send_to(b"back", Some(from)).await.unwrap();
        });
        let mut buffer = [0; 16];
        let (len, from) = client.recv_from(&mut buffer).unwrap();
        assert_eq!((&buffer[..len], from), (&b"back"[..], ours(53)));
    });
}
