//! A proxy without configuration: whatever this machine's kernel sends into a TUN interface, to
//! whichever address, is taken. TCP connections go on to a fixed server, UDP datagrams come back in
//! upper case, and pings are answered.
//!
//! ```text
//! sudo unshare -n sh -c 'ip link set lo up; python3 -m http.server -b 127.0.0.1 8000 &
//!     target/debug/examples/any_ip_interceptor 127.0.0.1:8000 & sleep 1
//!     ip route add default dev any0
//!     curl http://192.0.2.1/; curl http://198.51.100.9:81/; ping -c 1 203.0.113.5'
//! ```

use std::error::Error;
use std::io;
use std::net::{Shutdown, SocketAddr};
use std::thread;

use netstack::host::{self, Arrival, Clock, Interceptor, Net, Offer, TcpStream, UdpSocket};
use netstack::link::tun::TunDevice;
use netstack::link::{Device, MacAddr, Medium};
use netstack::socket::intercept::InterceptConfig;
use netstack::stack::{InterfaceConfig, Stack, StackConfig};

fn main() -> Result<(), Box<dyn Error>> {
    let server: SocketAddr = match std::env::args().nth(1) {
        Some(word) => word.parse()?,
        None => return Err("name a server: any_ip_interceptor ADDR:PORT".into()),
    };
    let (_net, interceptor) = start()?;
    eprintln!("ready: route something into any0");
    loop {
        match interceptor.next()? {
            Arrival::Tcp(offer) => {
                thread::spawn(move || {
                    let (from, to) = (offer.from(), offer.to());
                    let done = proxy(offer, server);
                    eprintln!("{from} -> {to}: {done:?}");
                });
            }
            Arrival::Udp { socket, .. } => {
                thread::spawn(move || shout(&socket));
            }
            Arrival::Echo(request) => {
                interceptor.echo_reply(&request);
            }
        }
    }
}

/// A stack on the TUN interface any0, whose kernel end is 10.99.0.1.
fn start() -> Result<(Net, Interceptor), Box<dyn Error>> {
    let device = TunDevice::open("any0", Medium::Ip, true)?;
    device.configure_host(std::net::Ipv4Addr::new(10, 99, 0, 1), 24)?;
    let clock = Clock::start();
    let mut stack = Stack::new(StackConfig::default(), host::seed()?);
    let iface = stack.add_interface(InterfaceConfig {
        name: "any0".into(),
        mac: MacAddr::default(),
        caps: device.caps(),
    })?;
    stack.add_address(iface, "10.99.0.2/24".parse()?)?;
    let net = Net::start(stack, clock, vec![(iface, Box::new(device))])?;
    let interceptor = Interceptor::new(&net, iface, InterceptConfig::default())?;
    Ok((net, interceptor))
}

/// Connects onwards first: who is refused there is refused here, before any SYN-ACK.
fn proxy(offer: Offer, server: SocketAddr) -> io::Result<()> {
    let onwards = match std::net::TcpStream::connect(server) {
        Ok(onwards) => onwards,
        Err(error) => {
            offer.refuse()?;
            return Err(error);
        }
    };
    let client = offer.accept()?;
    let (mut to_server, mut from_server) = (onwards.try_clone()?, onwards);
    let mut from_client: TcpStream = client.try_clone()?;
    let up = thread::spawn(move || {
        let copied = io::copy(&mut from_client, &mut to_server);
        to_server.shutdown(Shutdown::Write).and(copied)
    });
    io::copy(&mut from_server, &mut &client)?;
    client.shutdown(Shutdown::Write)?;
    up.join().expect("the copying thread")?;
    Ok(())
}

/// Answers until the flow has been idle for too long.
fn shout(socket: &UdpSocket) {
    let mut buffer = [0; 65_536];
    while let Ok(len) = socket.recv(&mut buffer) {
        buffer[..len].make_ascii_uppercase();
        if socket.send(&buffer[..len]).is_err() {
            return;
        }
    }
}
