//! A running stack and this machine's kernel over a TUN interface, in a network namespace of their own.

use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};

use netstack::host::{self, Clock, Net};
use netstack::link::sys::iface;
use netstack::link::tun::TunDevice;
use netstack::link::{Device, MacAddr, Medium};
use netstack::stack::{InterfaceConfig, Stack, StackConfig};
use nix::sched::{CloneFlags, unshare};

use super::threads::{answer, send, trips};
use super::{Case, MBITS, MICROS};
use crate::Failure;

const NAME: &str = "bench0";
const OURS: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::new(10, 9, 0, 2)), 80);
const KERNEL: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::new(10, 9, 0, 1)), 80);

pub(super) fn cases(mtu: u32) -> Result<Vec<Case>, Failure> {
    enter()?;
    let net = start(mtu)?;
    let here = host::TcpListener::bind(&net, OURS)?;
    std::thread::spawn(move || {
        while let Ok((stream, _)) = here.accept() {
            // What breaks shows at the other end.
            let _ = stream.set_nodelay(true);
            let _ = answer(&stream, &stream);
        }
    });
    let there = TcpListener::bind(KERNEL)?;
    std::thread::spawn(move || {
        for stream in there.incoming().flatten() {
            // What breaks shows at the other end.
            let _ = stream.set_nodelay(true);
            let _ = answer(&stream, &stream);
        }
    });
    let again = net.clone();
    Ok(vec![
        Case::new("tun bulk to the kernel", MBITS, move |time| {
            let stream = host::TcpStream::connect(&net, KERNEL)?;
            Ok(send(
                &stream,
                |stream| stream.shutdown(Shutdown::Write),
                time,
            )?)
        }),
        Case::new("tun bulk from the kernel", MBITS, move |time| {
            let stream = TcpStream::connect(OURS)?;
            Ok(send(
                &stream,
                |stream| stream.shutdown(Shutdown::Write),
                time,
            )?)
        }),
        Case::new("tun request/response", MICROS, move |time| {
            let stream = host::TcpStream::connect(&again, KERNEL)?;
            stream.set_nodelay(true)?;
            Ok(trips(&stream, time)?)
        }),
    ])
}

/// A network namespace, in a user namespace if that is what it takes.
fn enter() -> Result<(), Failure> {
    let alone = unshare(CloneFlags::CLONE_NEWNET);
    let entered = alone.or_else(|_| unshare(CloneFlags::CLONE_NEWUSER | CloneFlags::CLONE_NEWNET));
    entered.map_err(|error| {
        Failure(format!(
            "cannot make a network namespace for tun: {error}; run as root, or measure memory and threads only"
        ))
    })
}

fn start(mtu: u32) -> Result<Net, Failure> {
    let clock = Clock::start();
    let device = TunDevice::open(NAME, Medium::Ip, true)
        .map_err(|error| crate::device::tun_failure(NAME, &error))?;
    iface::set_mtu(NAME, mtu)?;
    device.configure_host(Ipv4Addr::new(10, 9, 0, 1), 24)?;
    let mut stack = Stack::new(StackConfig::default(), host::seed()?);
    let mut caps = device.caps();
    caps.mtu = mtu;
    let iface = stack.add_interface(InterfaceConfig {
        name: NAME.into(),
        mac: MacAddr::default(),
        caps,
    })?;
    stack.add_address(iface, "10.9.0.2/24".parse()?)?;
    Ok(Net::start(stack, clock, vec![(iface, Box::new(device))])?)
}
