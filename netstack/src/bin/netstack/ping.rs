//! `netstack ping`: ICMP echo round trips through the stack.

use std::net::IpAddr;
use std::process::ExitCode;
use std::time::Duration;

use netstack::host::Pinger;

use crate::Failure;
use crate::device::{DeviceArgs, endpoint};

/// Options of `ping`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    device: DeviceArgs,
    /// How many requests to send
    #[arg(short, long, default_value_t = 4)]
    count: u16,
    /// Seconds between requests
    #[arg(short, long, value_name = "SECONDS", default_value_t = 1.0)]
    interval: f64,
    /// Seconds to wait for each reply
    #[arg(short = 'W', long, value_name = "SECONDS", default_value_t = 2.0)]
    wait: f64,
    /// Payload bytes
    #[arg(short, long, default_value_t = 56)]
    size: u16,
    /// The address to ping
    host: IpAddr,
}

/// Exits with 0 if there was any reply.
pub(crate) fn run(args: &Args) -> Result<ExitCode, Failure> {
    let seconds = |value: f64, name: &str| {
        Duration::try_from_secs_f64(value)
            .map_err(|_| Failure(format!("--{name} {value} is no number of seconds")))
    };
    let interval = seconds(args.interval, "interval")?;
    let wait = seconds(args.wait, "wait")?;
    let net = args.device.start()?;
    let mut pinger = Pinger::to(&net, endpoint(args.host, 0))?;
    let mut received = 0;
    for seq in 1..=args.count {
        let start = net.now();
        match pinger.ping(seq, usize::from(args.size), wait) {
            Ok(time) => {
                received += 1;
                println!(
                    "{} bytes from {}: seq={seq} time={:.3} ms",
                    args.size,
                    args.host,
                    time.as_secs_f64() * 1e3
                );
            }
            Err(error) => println!("no reply from {}: seq={seq}: {error}", args.host),
        }
        if seq < args.count {
            net.park(&net.waiter(), Some(start + interval));
        }
    }
    println!("{} sent, {received} received", args.count);
    Ok(ExitCode::from(u8::from(received == 0)))
}
