//! A SYN flood from changing sources over a real TUN device, at a listener whose application accepts
//! slowly: this machine's own connections still get through, and nothing grows.

mod common;

use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpStream as KernelStream};
use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::JoinHandle;

use common::{HOST, Kind, OURS, in_namespace, ours, start};
use etherparse::{PacketBuilder, TcpOptionElement};
use netstack::host::{Net, TcpListener};
use netstack::socket::SocketId;
use netstack::stack::Usage;
use netstack::transport::tcp::stats::TcpStats;
use nix::sys::socket::{AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType, SockaddrIn};
use nix::sys::socket::{sendto, socket};

const PORT: u16 = 8080;
/// B.
const BACKLOG: usize = 15;
/// SYNs in flight at most: fewer than the interface queues, so that none is lost on the way.
const BURST: u32 = 250;
const BURSTS: u32 = 400;

/// Forged SYNs, each from a source of its own.
struct Flood {
    raw: OwnedFd,
    sent: u32,
}

impl Flood {
    fn new() -> Self {
        let raw = socket(
            AddressFamily::Inet,
            SockType::Raw,
            SockFlag::SOCK_CLOEXEC,
            SockProtocol::Raw,
        )
        .expect("a raw socket");
        Self { raw, sent: 0 }
    }

    fn syn(&self, n: u32) -> Vec<u8> {
        let source = Ipv4Addr::from(u32::from(Ipv4Addr::new(198, 18, 0, 0)) + n);
        let port = 1024 + (n % 60_000) as u16;
        let options = [TcpOptionElement::MaximumSegmentSize(1460)];
        let builder = PacketBuilder::ipv4(source.octets(), OURS.octets(), 64)
            .tcp(port, PORT, n.wrapping_mul(2_654_435_761), 64_240)
            .syn()
            .options(&options)
            .expect("options that fit");
        let mut packet = Vec::new();
        builder.write(&mut packet, &[]).expect("a whole packet");
        packet
    }

    /// Sends a burst, and returns when the stack has counted as many more.
    fn burst(&mut self, net: &Net, counter: fn(&TcpStats) -> u64) {
        let before = counter(&stats(net));
        let to = SockaddrIn::new(10, 9, 0, 2, 0);
        for _ in 0..BURST {
            let packet = self.syn(self.sent);
            sendto(self.raw.as_raw_fd(), &packet, &to, MsgFlags::empty()).expect("sent");
            self.sent += 1;
        }
        while counter(&stats(net)) < before + u64::from(BURST) {
            std::thread::yield_now();
        }
    }
}

fn stats(net: &Net) -> TcpStats {
    net.with(|stack| stack.stats().tcp)
}

fn usage(net: &Net) -> Usage {
    net.with(|stack| stack.usage())
}

/// Resident memory of this process in KiB.
fn resident() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").expect("procfs");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let words = line.expect("a line").split_whitespace().next();
    words.expect("a number").parse().expect("a number")
}

/// Accepts one connection for each permit, and echoes what it says until its end.
fn slow_server(listener: TcpListener, permits: Receiver<()>) -> JoinHandle<u32> {
    std::thread::spawn(move || {
        let mut served = 0;
        while permits.recv().is_ok() {
            let (stream, _) = listener.accept().expect("a connection");
            let mut data = Vec::new();
            (&stream).read_to_end(&mut data).expect("a request");
            (&stream).write_all(&data).expect("an answer");
            served += 1;
        }
        served
    })
}

/// A connection of this machine's kernel: it says its number and hears it again.
fn client(number: u32) {
    let mut stream = KernelStream::connect(ours(PORT)).expect("connected");
    ask(&mut stream, number);
}

fn ask(stream: &mut KernelStream, number: u32) {
    stream.write_all(&number.to_be_bytes()).expect("sent");
    stream
        .shutdown(std::net::Shutdown::Write)
        .expect("connected");
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).expect("answered");
    assert_eq!(answer, number.to_be_bytes());
}

fn check_bounds(net: &Net) {
    let usage = usage(net);
    assert!(usage.half_open <= BACKLOG + 1, "{usage:?}");
    // The listener, its accept queue, and a client that closes.
    assert!(usage.tcp_sockets <= BACKLOG + 5, "{usage:?}");
    assert!(
        usage.flows <= usage.half_open + usage.time_wait + usage.tcp_sockets,
        "{usage:?}"
    );
}

/// The accept queue has room: strangers get cookies, clients connect through them.
fn while_there_is_room(net: &Net, flood: &mut Flood, permit: &Sender<()>) {
    let mut settled = None;
    for burst in 0..BURSTS * 3 / 4 {
        flood.burst(net, |stats| stats.in_segs);
        check_bounds(net);
        if burst % 10 == 0 {
            permit.send(()).expect("the server lives");
            client(burst);
        }
        if burst == BURSTS / 10 {
            settled = Some(resident());
        }
    }
    let stats = stats(net);
    assert!(
        stats.syncookies_sent > u64::from(flood.sent) * 9 / 10,
        "{stats:?}"
    );
    assert!(stats.syncookies_recv > 0, "{stats:?}");
    // A whole connection for each of the SYNs since would be hundreds of megabytes.
    let grown = resident().saturating_sub(settled.expect("measured"));
    assert!(grown < 8 << 10, "{grown} KiB more after the flood");
}

/// The accept queue is full: every SYN is dropped without an answer, and nothing is kept.
fn while_it_is_full(net: &Net, flood: &mut Flood, listener: SocketId, permit: &Sender<()>) {
    let waiting: Vec<KernelStream> = (0..=BACKLOG)
        .map(|_| KernelStream::connect(ours(PORT)).expect("room for B + 1"))
        .collect();
    let queued = |net: &Net| {
        net.with(|stack| stack.tcp_info(listener))
            .expect("it listens")
    };
    while (queued(net).unacked as usize) < BACKLOG + 1 {
        // The final ACK of the last one is on its way.
        std::thread::yield_now();
    }
    let before = stats(net);
    // This one's SYN is dropped and sent again by its kernel until there is room.
    let late = std::thread::spawn(|| client(u32::MAX));
    for _ in 0..BURSTS / 4 {
        flood.burst(net, |stats| stats.listen_drops);
        check_bounds(net);
    }
    let after = stats(net);
    assert_eq!(after.syncookies_sent, before.syncookies_sent);
    assert_eq!(after.passive_opens, before.passive_opens);
    for (number, mut stream) in waiting.into_iter().enumerate() {
        permit.send(()).expect("the server lives");
        ask(&mut stream, number as u32);
    }
    permit.send(()).expect("the server lives");
    late.join().expect("the late client is served too");
}

#[test]
fn clients_get_through_a_syn_flood() {
    in_namespace(|| {
        let net = start(Kind::Plain, None);
        net.with(|stack| {
            let iface = stack.interface_by_name("nst0").expect("it is there");
            stack
                .add_default_route(iface, HOST.into())
                .expect("a route");
        });
        let listener =
            TcpListener::bind_with_backlog(&net, ours(PORT), BACKLOG as i32).expect("a listener");
        let id = listener.id();
        let (permit, permits) = channel();
        let server = slow_server(listener, permits);
        let mut flood = Flood::new();
        while_there_is_room(&net, &mut flood, &permit);
        while_it_is_full(&net, &mut flood, id, &permit);
        assert_eq!(flood.sent, 100_000);
        drop(permit);
        let served = server.join().expect("the server ended");
        assert_eq!(served, BURSTS * 3 / 40 + BACKLOG as u32 + 2);
    });
}
