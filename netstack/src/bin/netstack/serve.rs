//! `netstack serve`: small servers on an address of the stack's own.

use std::net::{Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use netstack::host::{Net, TcpListener};

use crate::Failure;
use crate::device::DeviceArgs;
use crate::services::{self, Handler};

/// Options of `serve`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    device: DeviceArgs,
    /// Return everything (RFC 862) on this TCP port
    #[arg(long, value_name = "PORT", help_heading = "Services")]
    echo: Option<u16>,
    /// Throw everything away (RFC 863) on this TCP port
    #[arg(long, value_name = "PORT", help_heading = "Services")]
    discard: Option<u16>,
    /// Send characters without end (RFC 864) on this TCP port
    #[arg(long, value_name = "PORT", help_heading = "Services")]
    chargen: Option<u16>,
    /// Serve the files in DIR over HTTP on this TCP port
    #[arg(long, num_args = 2, value_names = ["PORT", "DIR"], help_heading = "Services")]
    http: Option<Vec<String>>,
    /// Answer `netstack stats` on a Unix socket at PATH
    #[arg(long, value_name = "PATH")]
    control: Option<PathBuf>,
}

/// Serves until the process is ended.
pub(crate) fn run(args: &Args) -> Result<ExitCode, Failure> {
    let http = args.http.as_deref().map(http_service).transpose()?;
    let net = args.device.start()?;
    let simple: [(&str, Option<u16>, Handler); 3] = [
        ("echo", args.echo, Arc::new(services::echo)),
        ("discard", args.discard, Arc::new(services::discard)),
        ("chargen", args.chargen, Arc::new(services::chargen)),
    ];
    for (name, port, handler) in simple {
        if let Some(port) = port {
            listen(&net, name, port, handler)?;
        }
    }
    if let Some((port, handler)) = http {
        listen(&net, "http", port, handler)?;
    }
    if let Some(path) = &args.control {
        crate::stats::serve(&net, path)?;
    }
    eprintln!("netstack: ready");
    // The services' threads do the work. Nothing notifies this waiter: it sleeps for good.
    let waiter = net.waiter();
    loop {
        net.park(&waiter, None);
    }
}

fn http_service(words: &[String]) -> Result<(u16, Handler), Failure> {
    let [port, directory] = words else {
        return Err(Failure("--http takes a port and a directory".into()));
    };
    let port = port
        .parse()
        .map_err(|_| Failure(format!("--http: {port:?} is no port (0 to 65535)")))?;
    let root = Path::new(directory)
        .canonicalize()
        .map_err(|error| Failure(format!("--http: cannot serve {directory}: {error}")))?;
    Ok((
        port,
        Arc::new(move |stream| services::http::serve(stream, &root)),
    ))
}

fn listen(net: &Net, name: &str, port: u16, handler: Handler) -> Result<(), Failure> {
    // Both families.
    let addr = SocketAddr::from((Ipv6Addr::UNSPECIFIED, port));
    let listener = TcpListener::bind(net, addr)
        .map_err(|error| Failure(format!("cannot listen on port {port} for {name}: {error}")))?;
    let addr = listener.local_addr()?;
    services::spawn(listener, name, handler)?;
    eprintln!("netstack: {name} on TCP port {}", addr.port());
    Ok(())
}
