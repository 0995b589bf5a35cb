//! One sender after the other through the same real-time emulator: the kernel's TCP (CUBIC) and netstack,
//! each to the same kernel receiver behind a TUN device. Needs root.
//! `emulator [LOSS_PERCENT [REORDER_PERCENT [DELAY_US [MIB [RUNS]]]]]`

use std::io::{self, Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use netstack::buf::{RxBatch, TxBatch, TxPacket};
use netstack::host::{Clock, Net, TcpStream as OurStream, seed};
use netstack::link::channel::veth;
use netstack::link::fault::{Fault, FaultConfig};
use netstack::link::soft::SoftOffload;
use netstack::link::sys::iface;
use netstack::link::tun::TunDevice;
use netstack::link::{Device, DeviceCaps, MacAddr, Medium};
use netstack::network::addr::Cidr;
use netstack::stack::{InterfaceConfig, Stack, StackConfig};
use nix::poll::{PollFd, PollFlags, ppoll};
use nix::sched::{CloneFlags, unshare};

const SENDER: Ipv4Addr = Ipv4Addr::new(10, 8, 0, 1);
const RECEIVER: Ipv4Addr = Ipv4Addr::new(10, 8, 0, 2);
const PORT: u16 = 5_001;

fn main() -> io::Result<()> {
    let args: Vec<f64> = std::env::args()
        .skip(1)
        .map_while(|arg| arg.parse().ok())
        .collect();
    let arg = |index: usize, default: f64| args.get(index).copied().unwrap_or(default);
    let config = FaultConfig {
        loss: arg(0, 2.0) / 100.0,
        reorder: arg(1, 0.0) / 100.0,
        delay: Duration::from_micros(arg(2, 0.0) as u64),
        ..FaultConfig::default()
    };
    let len = (arg(3, 32.0) as usize) << 20;
    let runs = arg(4, 3.0) as u8;
    let (mut kernel, mut ours) = (Vec::new(), Vec::new());
    for run in 0..runs {
        kernel.push(measure(config, run, len, kernel_sender)?);
        ours.push(measure(config, run, len, our_sender)?);
    }
    println!("kernel {kernel:.1?} Mbit/s, netstack {ours:.1?} Mbit/s");
    let (kernel, ours) = (median(kernel), median(ours));
    println!(
        "medians {kernel:.1} and {ours:.1}, ratio {:.2}",
        ours / kernel
    );
    Ok(())
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// What sends `len` bytes; the device is the sender's end of the emulator.
type Sender = fn(usize) -> io::Result<(Box<dyn Device + Send>, Job)>;
type Job = Box<dyn FnOnce() -> io::Result<()> + Send>;

/// Goodput in Mbit/s of one transfer.
fn measure(config: FaultConfig, run: u8, len: usize, sender: Sender) -> io::Result<f64> {
    let (near, send) = in_namespace(move || sender(len))?;
    let (far, receive) = in_namespace(move || receiver(len))?;
    let far = Fault::new(far, config, [run + 1; 16]);
    let stop = Arc::new(AtomicBool::new(false));
    let stopped = stop.clone();
    let emulator = std::thread::spawn(move || forward(near, far, &stopped));
    let began = Instant::now();
    let receiving = std::thread::spawn(receive);
    let sending = std::thread::spawn(send);
    receiving.join().expect("the receiver")?;
    let seconds = began.elapsed().as_secs_f64();
    sending.join().expect("the sender")?;
    stop.store(true, Ordering::Relaxed);
    emulator.join().expect("the emulator")?;
    Ok(len as f64 * 8.0 / seconds / 1e6)
}

/// Runs `make` on a thread in a network namespace of its own.
fn in_namespace<T: Send + 'static>(
    make: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> io::Result<T> {
    let made = std::thread::spawn(move || {
        unshare(CloneFlags::CLONE_NEWNET)?;
        make()
    });
    made.join().expect("no panic")
}

fn tun(addr: Ipv4Addr) -> io::Result<Box<dyn Device + Send>> {
    iface::set_up("lo")?;
    let tun = TunDevice::open("emu0", Medium::Ip, false)?;
    tun.configure_host(addr, 24)?;
    Ok(Box::new(tun))
}

/// The listening socket is made in the namespace, and stays in it on whatever thread it is used.
fn receiver(len: usize) -> io::Result<(Box<dyn Device + Send>, Job)> {
    let device = tun(RECEIVER)?;
    let listener = TcpListener::bind((RECEIVER, PORT))?;
    let job = move || {
        let (mut stream, _) = listener.accept()?;
        let (mut buffer, mut total) = (vec![0; 256 << 10], 0);
        loop {
            match stream.read(&mut buffer)? {
                0 => break,
                count => total += count,
            }
        }
        assert_eq!(total, len);
        Ok(())
    };
    Ok((device, Box::new(job)))
}

fn kernel_sender(len: usize) -> io::Result<(Box<dyn Device + Send>, Job)> {
    let device = tun(SENDER)?;
    // A connection in the making: its socket belongs to this namespace.
    let socket = nix::sys::socket::socket(
        nix::sys::socket::AddressFamily::Inet,
        nix::sys::socket::SockType::Stream,
        nix::sys::socket::SockFlag::SOCK_CLOEXEC,
        None,
    )?;
    let cubic = std::ffi::OsString::from("cubic");
    nix::sys::socket::setsockopt(&socket, nix::sys::socket::sockopt::TcpCongestion, &cubic)?;
    let job = move || {
        let SocketAddr::V4(to) = SocketAddr::from((RECEIVER, PORT)) else {
            unreachable!("an IPv4 address");
        };
        let to = nix::sys::socket::SockaddrIn::from(to);
        nix::sys::socket::connect(std::os::fd::AsRawFd::as_raw_fd(&socket), &to)?;
        send_all(TcpStream::from(socket), len)
    };
    Ok((device, Box::new(job)))
}

fn our_sender(len: usize) -> io::Result<(Box<dyn Device + Send>, Job)> {
    let caps = DeviceCaps {
        medium: Medium::Ip,
        mtu: 1_500,
        tx_checksum: false,
        gso_max: 0,
    };
    let (near, far) = veth(caps, 1_000)?;
    let near = SoftOffload::new(near);
    let job = move || {
        let clock = Clock::start();
        let mut stack = Stack::new(StackConfig::default(), seed()?);
        let iface = stack
            .add_interface(InterfaceConfig {
                name: "emu0".into(),
                mac: MacAddr::default(),
                caps: near.caps(),
            })
            .expect("an interface");
        let address = Cidr::new(IpAddr::V4(SENDER), 24).expect("a valid prefix");
        stack.add_address(iface, address).expect("an address");
        let net = Net::start(stack, clock, vec![(iface, Box::new(near))])?;
        let stream = OurStream::connect(&net, SocketAddr::from((RECEIVER, PORT)))?;
        send_all(&stream, len)?;
        stream.shutdown(std::net::Shutdown::Write)?;
        io::copy(&mut &stream, &mut io::sink())?;
        let (info, stats) = net.with(|stack| (stack.tcp_info(stream.id()), stack.stats().tcp));
        if let (Ok(info), true) = (info, std::env::var_os("VERBOSE").is_some()) {
            println!("{info:?}\n{stats:?}");
        }
        Ok(())
    };
    Ok((Box::new(far), Box::new(job)))
}

fn send_all(mut out: impl Write, len: usize) -> io::Result<()> {
    let data = vec![0x5a; 256 << 10];
    let mut left = len;
    while left > 0 {
        let count = left.min(data.len());
        out.write_all(&data[..count])?;
        left -= count;
    }
    Ok(())
}

/// Carries packets both ways until told to stop.
fn forward(
    mut near: Box<dyn Device + Send>,
    mut far: Fault<Box<dyn Device + Send>>,
    stop: &AtomicBool,
) -> io::Result<()> {
    let clock = Clock::start();
    let (mut to_far, mut to_near) = (TxBatch::new(), TxBatch::new());
    while !stop.load(Ordering::Relaxed) {
        let now = clock.now();
        carry(&mut near, &mut far, &mut to_far, now)?;
        carry(&mut far, &mut near, &mut to_near, now)?;
        let limit = Duration::from_millis(20);
        let timeout = far
            .poll_timeout()
            .map_or(limit, |due| due.since(clock.now()).min(limit));
        let timeout = if to_far.is_empty() && to_near.is_empty() {
            timeout
        } else {
            timeout.min(Duration::from_micros(50))
        };
        let fds = [near.fd(), far.fd()].map(|fd| fd.expect("a device with a descriptor"));
        let mut fds = fds.map(|fd| PollFd::new(fd, PollFlags::POLLIN));
        ppoll(&mut fds, Some(timeout.into()), None)?;
    }
    Ok(())
}

fn carry(
    from: &mut impl Device,
    to: &mut impl Device,
    waiting: &mut TxBatch,
    now: netstack::time::Instant,
) -> io::Result<()> {
    loop {
        let mut received = 0;
        if waiting.is_empty() {
            let mut batch = RxBatch::new();
            received = from.receive(now, &mut batch)?;
            for packet in batch {
                let mut out = TxPacket::default();
                out.body.push(packet.data);
                waiting.push(out);
            }
        }
        // Also without anything new: what was delayed may be due.
        to.transmit(now, waiting)?;
        if !waiting.is_empty() || received == 0 {
            return Ok(());
        }
    }
}
