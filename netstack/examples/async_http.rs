//! An async HTTP client over a stack of its own: fetches all addresses at once, on one thread.
//!
//! ```text
//! sudo unshare -n sh -c 'ip link set lo up; python3 -m http.server 8000 & sleep 1
//!     target/debug/examples/async_http http://10.98.0.1:8000/ http://10.98.0.1:8000/README.md'
//! ```

use std::error::Error;
use std::io;
use std::net::SocketAddr;

use netstack::host::aio::TcpStream;
use netstack::host::{self, Clock, Net};
use netstack::link::tun::TunDevice;
use netstack::link::{Device, MacAddr, Medium};
use netstack::stack::{InterfaceConfig, Stack, StackConfig};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

fn main() -> Result<(), Box<dyn Error>> {
    let net = start()?;
    let runtime = tokio::runtime::Builder::new_current_thread().build()?;
    let fetches: Vec<_> = std::env::args()
        .skip(1)
        .map(|url| {
            let net = net.clone();
            runtime.spawn(async move {
                let answer = fetch(&net, &url).await;
                (url, answer)
            })
        })
        .collect();
    runtime.block_on(async {
        for fetch in fetches {
            let (url, answer) = fetch.await?;
            match answer {
                Ok((status, body)) => println!("{url}: {status}, {} bytes", body.len()),
                Err(error) => println!("{url}: {error}"),
            }
        }
        Ok(())
    })
}

/// A stack on the TUN interface async0, whose kernel end is 10.98.0.1.
fn start() -> Result<Net, Box<dyn Error>> {
    let device = TunDevice::open("async0", Medium::Ip, true)?;
    device.configure_host(std::net::Ipv4Addr::new(10, 98, 0, 1), 24)?;
    let clock = Clock::start();
    let mut stack = Stack::new(StackConfig::default(), host::seed()?);
    let iface = stack.add_interface(InterfaceConfig {
        name: "async0".into(),
        mac: MacAddr::default(),
        caps: device.caps(),
    })?;
    stack.add_address(iface, "10.98.0.2/24".parse()?)?;
    Ok(Net::start(stack, clock, vec![(iface, Box::new(device))])?)
}

/// The status line and the body of `http://ADDR[:PORT]/PATH`.
async fn fetch(net: &Net, url: &str) -> io::Result<(String, Vec<u8>)> {
    let bad = || io::Error::other("not of the form http://ADDR[:PORT]/PATH");
    let rest = url.strip_prefix("http://").ok_or_else(bad)?;
    let (host, path) = rest.split_once('/').ok_or_else(bad)?;
    let addr: SocketAddr = match host.contains(':') {
        true => host.parse(),
        false => format!("{host}:80").parse(),
    }
    .map_err(|_| bad())?;
    let mut stream = TcpStream::connect(net, addr).await?;
    let request = format!("GET /{path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await?;
    let end = answer.windows(4).position(|bytes| bytes == b"\r\n\r\n");
    let end = end.ok_or(io::ErrorKind::InvalidData)?;
    let head = String::from_utf8_lossy(&answer[..end]);
    let status = head.lines().next().unwrap_or_default().to_owned();
    Ok((status, answer.split_off(end + 4)))
}
