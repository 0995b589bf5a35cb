//! An echo server with blocking sockets on a stack of its own: a thread a connection, as with `std::net`.
//! This machine's kernel is the peer, over the TUN interface echo0.
//!
//! ```text
//! cargo build --example tun_echo
//! sudo unshare -n sh -c 'ip link set lo up; target/debug/examples/tun_echo & sleep 1
//!     ping -c 1 10.97.0.2; echo hello | nc -N 10.97.0.2 7'
//! ```

use std::error::Error;
use std::io::{self, Write};
use std::net::{Ipv4Addr, Shutdown};
use std::thread;

use netstack::host::{self, Clock, Net, TcpListener, TcpStream};
use netstack::link::tun::TunDevice;
use netstack::link::{Device, MacAddr, Medium};
use netstack::stack::{InterfaceConfig, Stack, StackConfig};

fn main() -> Result<(), Box<dyn Error>> {
    let net = start()?;
    let listener = TcpListener::bind(&net, "0.0.0.0:7".parse()?)?;
    eprintln!("ready: 10.97.0.2 port 7");
    loop {
        let (stream, peer) = listener.accept()?;
        thread::spawn(move || match echo(&stream) {
            Ok(bytes) => eprintln!("{peer}: {bytes} bytes"),
            Err(error) => eprintln!("{peer}: {error}"),
        });
    }
}

/// A stack at 10.97.0.2 on the TUN interface echo0, whose kernel end is 10.97.0.1.
fn start() -> Result<Net, Box<dyn Error>> {
    // With virtio headers: the kernel hands over up to 64 KiB at once and leaves checksums to us.
    let device = TunDevice::open("echo0", Medium::Ip, true)?;
    device.configure_host(Ipv4Addr::new(10, 97, 0, 1), 24)?;
    let clock = Clock::start();
    let mut stack = Stack::new(StackConfig::default(), host::seed()?);
    let iface = stack.add_interface(InterfaceConfig {
        name: "echo0".into(),
        mac: MacAddr::default(),
        caps: device.caps(),
    })?;
    stack.add_address(iface, "10.97.0.2/24".parse()?)?;
    Ok(Net::start(stack, clock, vec![(iface, Box::new(device))])?)
}

/// Sends back what comes until the peer's end, and then ends too.
fn echo(stream: &TcpStream) -> io::Result<u64> {
    let (mut from, mut to) = (stream, stream);
    let bytes = io::copy(&mut from, &mut to)?;
    to.flush()?;
    stream.shutdown(Shutdown::Write)?;
    Ok(bytes)
}
