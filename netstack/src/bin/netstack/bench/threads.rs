//! Two running stacks over a pair of devices in memory, with a thread at each end.

use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr};
use std::time::{Duration, Instant};

use netstack::host::{self, Clock, Net, TcpListener, TcpStream};
use netstack::link::channel::{ChannelDevice, veth};
use netstack::link::{Device, DeviceCaps, MacAddr, Medium};
use netstack::stack::{InterfaceConfig, Stack, StackConfig};

use super::{Case, MBITS, MICROS, mbits, micros};
use crate::Failure;

const CHUNK: usize = 64 * 1024;
/// Packets that the pair of devices holds in each direction.
const CAPACITY: usize = 256;
const PORT: u16 = 80;

pub(super) fn cases(mtu: u32) -> Result<Vec<Case>, Failure> {
    let caps = DeviceCaps {
        medium: Medium::Ip,
        mtu,
        tx_checksum: true,
        gso_max: 65_535,
    };
    let (one, two) = veth(caps, CAPACITY)?;
    let (client, server) = (start(1, one)?, start(2, two)?);
    let to = SocketAddr::from(([10, 0, 0, 2], PORT));
    let listener = TcpListener::bind(&server, to)?;
    std::thread::spawn(move || serve(&listener));
    let again = client.clone();
    Ok(vec![
        Case::new("threads bulk", MBITS, move |time| {
            let stream = TcpStream::connect(&client, to)?;
            Ok(send(
                &stream,
                |stream| stream.shutdown(Shutdown::Write),
                time,
            )?)
        }),
        Case::new("threads request/response", MICROS, move |time| {
            let stream = TcpStream::connect(&again, to)?;
            stream.set_nodelay(true)?;
            Ok(trips(&stream, time)?)
        }),
    ])
}

fn start(number: u8, device: ChannelDevice) -> Result<Net, Failure> {
    let clock = Clock::start();
    let mut stack = Stack::new(StackConfig::default(), host::seed()?);
    let iface = stack.add_interface(InterfaceConfig {
        name: "mem0".into(),
        mac: MacAddr::default(),
        caps: device.caps(),
    })?;
    stack.add_address(iface, format!("10.0.0.{number}/24").parse()?)?;
    Ok(Net::start(stack, clock, vec![(iface, Box::new(device))])?)
}

fn serve(listener: &TcpListener) {
    while let Ok((stream, _)) = listener.accept() {
        // What breaks shows at the other end.
        let _ = stream.set_nodelay(true);
        let _ = answer(&stream, &stream);
    }
}

/// The other end of both: single bytes come back, bulk is thrown away and counted, and its sender is told
/// when all of it has come.
pub(super) fn answer(mut from: impl Read, mut to: impl Write) -> io::Result<()> {
    let mut buffer = vec![0; CHUNK];
    loop {
        match from.read(&mut buffer)? {
            0 => return to.write_all(b"!"),
            1 => to.write_all(&buffer[..1])?,
            _ => {}
        }
    }
}

/// Sends for a time; returns the rate at which all of it has arrived.
pub(super) fn send<S>(
    stream: &S,
    end: impl FnOnce(&S) -> io::Result<()>,
    time: Duration,
) -> io::Result<f64>
where
    for<'a> &'a S: Read + Write,
{
    let data = vec![7; CHUNK];
    let (start, mut sent) = (Instant::now(), 0);
    let mut out = stream;
    while start.elapsed() < time {
        out.write_all(&data)?;
        sent += data.len() as u64;
    }
    end(stream)?;
    let mut last = Vec::new();
    out.read_to_end(&mut last)?;
    if last.last() != Some(&b'!') {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    Ok(mbits(sent, start.elapsed()))
}

/// One byte there and back, again and again.
pub(super) fn trips<S>(stream: &S, time: Duration) -> io::Result<f64>
where
    for<'a> &'a S: Read + Write,
{
    let mut both = stream;
    let (start, mut trips) = (Instant::now(), 0);
    while start.elapsed() < time {
        both.write_all(b"x")?;
        both.read_exact(&mut [0])?;
        trips += 1;
    }
    Ok(micros(start.elapsed(), trips))
}
