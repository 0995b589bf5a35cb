//! `netstack nc`: one TCP connection and standard input and output.

use std::io::{self, Read, Write};
use std::net::{IpAddr, Ipv6Addr, Shutdown, SocketAddr};
use std::process::ExitCode;
use std::time::Duration;

use netstack::host::{Net, TcpListener, TcpStream};

use crate::Failure;
use crate::device::{DeviceArgs, endpoint};

/// How long the last bytes may take to leave before the program ends.
const LINGER: Duration = Duration::from_secs(5);
/// How often to look whether they have.
const STEP: Duration = Duration::from_millis(5);

/// Options of `nc`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    device: DeviceArgs,
    /// Wait for one connection instead of making one; HOST is then left out
    #[arg(short, long)]
    listen: bool,
    /// Give up connecting after this many seconds
    #[arg(short = 'w', long, value_name = "SECONDS", default_value_t = 30)]
    wait: u64,
    /// The address to connect to, then the port; with --listen only the port
    #[arg(num_args = 1..=2, value_names = ["HOST", "PORT"], required = true)]
    target: Vec<String>,
}

/// Copies both ways until both ends have ended.
pub(crate) fn run(args: &Args) -> Result<ExitCode, Failure> {
    let (host, port) = parse_target(args)?;
    let net = args.device.start()?;
    let stream = match host {
        Some(host) => connect(&net, endpoint(host, port), args.wait)?,
        None => accept(&net, port)?,
    };
    let mut outgoing = stream.try_clone()?;
    std::thread::Builder::new()
        .name("stdin".into())
        .spawn(move || send_input(&mut outgoing))?;
    let mut incoming = stream.try_clone()?;
    let mut buffer = vec![0; 256 * 1024];
    let mut stdout = io::stdout().lock();
    loop {
        let got = incoming
            .read(&mut buffer)
            .map_err(|error| Failure(format!("the connection broke: {error}")))?;
        if got == 0 {
            break;
        }
        stdout.write_all(&buffer[..got])?;
        stdout.flush()?;
    }
    linger(&net, &stream);
    Ok(ExitCode::SUCCESS)
}

fn parse_target(args: &Args) -> Result<(Option<IpAddr>, u16), Failure> {
    let (host, port) = match (&args.target[..], args.listen) {
        ([port], true) => (None, port),
        ([host, port], false) => (Some(host), port),
        (_, true) => return Err(Failure("with --listen, give only a port".into())),
        (_, false) => return Err(Failure("give a host and a port".into())),
    };
    let port = port
        .parse()
        .map_err(|_| Failure(format!("{port:?} is no port (0 to 65535)")))?;
    let host = host
        .map(|host| {
            host.parse().map_err(|_| {
                Failure(format!(
                    "{host:?} is no IP address; names are not looked up"
                ))
            })
        })
        .transpose()?;
    Ok((host, port))
}

fn connect(net: &Net, addr: SocketAddr, wait: u64) -> Result<TcpStream, Failure> {
    let timeout = Duration::from_secs(wait.max(1));
    TcpStream::connect_timeout(net, addr, timeout)
        .map_err(|error| Failure(format!("cannot connect to {addr}: {error}")))
}

fn accept(net: &Net, port: u16) -> Result<TcpStream, Failure> {
    let addr = SocketAddr::from((Ipv6Addr::UNSPECIFIED, port));
    let listener = TcpListener::bind(net, addr)
        .map_err(|error| Failure(format!("cannot listen on port {port}: {error}")))?;
    let (stream, _) = listener.accept()?;
    Ok(stream)
}

/// Standard input to the connection; its end ends our direction.
fn send_input(stream: &mut TcpStream) {
    // An error shows on the reading side too, which reports it.
    let _ = io::copy(&mut io::stdin().lock(), stream);
    let _ = stream.shutdown(Shutdown::Write);
}

/// Ends our direction, and lets the last bytes reach the peer before the process ends.
fn linger(net: &Net, stream: &TcpStream) {
    let _ = stream.shutdown(Shutdown::Write);
    let id = stream.id();
    let deadline = net.now() + LINGER;
    while net.with(|stack| stack.tcp_unacknowledged_bytes(id)) > 0 && net.now() < deadline {
        net.park(&net.waiter(), Some(net.now() + STEP));
    }
}
