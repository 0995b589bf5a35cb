//! The `netstack` program: a TCP/IP stack of its own on a TUN, TAP or packet device, with this
//! machine's kernel (or whatever is on the wire) as its peer.

mod bench;
mod device;
mod dump;
mod nc;
mod pasta;
mod percent;
mod ping;
mod router;
mod serve;
mod services;
mod slirp;
mod stats;

use std::ffi::OsString;
use std::path::Path;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// What `--help` teaches after the options.
const EXAMPLES: &str = "\
Examples (as root):
  Serve echo on port 7 and files on port 80 to this machine's kernel, over a TUN interface that
  netstack makes and removes itself; then try  ping 10.9.0.2  and  curl http://10.9.0.2/ :
      netstack serve --tun nst0 --addr 10.9.0.2/24 --host-addr 10.9.0.1/24 \\
          --echo 7 --http 80 /usr/share/doc

  The same over a bad network, recorded for Wireshark:
      netstack serve --tun nst0 --addr 10.9.0.2/24 --host-addr 10.9.0.1/24 --echo 7 \\
          --loss 2% --reorder 1% --delay 5ms --pcap /tmp/bad.pcapng

  With IPv6 too (curl -g 'http://[fd00:9::2]/'):
      netstack serve --tun nst0 --addr 10.9.0.2/24 --host-addr 10.9.0.1/24 \
          --addr fd00:9::2/64 --host-addr fd00:9::1/64 --http 80 /usr/share/doc

  As a client, through the stack, of a server that listens on this machine:
      netstack nc --tun nst0 --addr 10.9.0.2/24 --host-addr 10.9.0.1/24 10.9.0.1 8080

  Measure round trips:
      netstack ping --tun nst0 --addr 10.9.0.2/24 --host-addr 10.9.0.1/24 -c 3 10.9.0.1";

/// A user-space TCP/IP stack on a device of this machine.
#[derive(Debug, Parser)]
#[command(name = "netstack", version, after_long_help = EXAMPLES)]
struct Cli {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Serve echo, discard, chargen and files, and answer pings, until interrupted.
    Serve(serve::Args),
    /// Connect to a host, or listen, and copy between the connection and standard input and output.
    Nc(nc::Args),
    /// Send ICMP echo requests and print the round trips.
    Ping(ping::Args),
    /// Forward between interfaces, with translation of addresses, until interrupted.
    #[command(after_long_help = router::EXAMPLES)]
    Router(router::Args),
    /// Give a network namespace network access without privileges, as slirp4netns does.
    #[command(version, disable_version_flag = true, after_long_help = slirp::EXAMPLES)]
    Slirp(slirp::Args),
    /// Give a network namespace or a command this machine's network without privileges, as pasta does.
    #[command(version, disable_version_flag = true, after_long_help = pasta::EXAMPLES)]
    Pasta(Box<pasta::Args>),
    /// Show or record the packets of an interface.
    #[command(after_long_help = dump::EXAMPLES)]
    Dump(dump::Args),
    /// Show the counters of a running `netstack slirp` or `netstack serve`, live.
    #[command(after_long_help = stats::EXAMPLES)]
    Stats(stats::Args),
    /// Measure stacks in memory, and against this machine's kernel.
    #[command(after_long_help = bench::EXAMPLES)]
    Bench(bench::Args),
    /// Enter a namespace and pass an interface back (`slirp` runs it).
    #[command(hide = true)]
    SlirpJoin(slirp::JoinArgs),
    /// Make namespaces and wait for their network (`pasta` runs it).
    #[command(hide = true)]
    PastaSpawn(pasta::SpawnArgs),
    /// Become a command in namespaces (`pasta` runs it).
    #[command(hide = true)]
    PastaExec(pasta::ExecArgs),
}

/// A sentence for the user: what went wrong and what to do about it.
#[derive(Debug)]
struct Failure(String);

impl<E: std::fmt::Display> From<E> for Failure {
    fn from(error: E) -> Self {
        Self(error.to_string())
    }
}

/// The command line; under slirp4netns's or pasta's name its verb is left out.
fn arguments() -> Vec<OsString> {
    let mut all: Vec<OsString> = std::env::args_os().collect();
    let called = all.first().and_then(|path| Path::new(path).file_name());
    let verbs = [("slirp4netns", "slirp"), ("pasta", "pasta")];
    let verb = verbs
        .iter()
        .find(|(name, _)| called.is_some_and(|called| called == *name));
    if let Some((_, verb)) = verb {
        all.insert(1, verb.into());
    }
    all
}

fn main() -> ExitCode {
    let done = match Cli::parse_from(arguments()).verb {
        Verb::Serve(args) => serve::run(&args),
        Verb::Nc(args) => nc::run(&args),
        Verb::Ping(args) => ping::run(&args),
        Verb::Router(args) => router::run(args),
        Verb::Slirp(args) => slirp::run(&args),
        Verb::Dump(args) => dump::run(&args),
        Verb::Stats(args) => stats::run(&args),
        Verb::Bench(args) => bench::run(&args),
        Verb::Pasta(args) => pasta::run(&args),
        Verb::SlirpJoin(args) => slirp::join(&args),
        Verb::PastaSpawn(args) => pasta::spawn(&args),
        Verb::PastaExec(args) => pasta::exec(&args),
    };
    match done {
        Ok(code) => code,
        Err(Failure(sentence)) => {
            eprintln!("netstack: {sentence}");
            ExitCode::from(1)
        }
    }
}
