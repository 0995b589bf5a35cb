//! `packetdrill`: runs scripts and says what was otherwise than they say.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Instant;

use clap::Parser;
use packetdrill_tests::collect::scripts;
use packetdrill_tests::report::{Blame, Verdict};
use packetdrill_tests::run::{Config, IpVersion};
use packetdrill_tests::{Against, run_file};

/// Runs packetdrill scripts against netstack in virtual time, or against this machine's kernel.
///
/// A script is a list of timed events: system calls with their results, packets that come in (<) and
/// packets that must go out (>). A script passes if everything happens as it says, when it says, and
/// nothing else does.
#[derive(Debug, Parser)]
#[command(name = "packetdrill", version, after_help = EXAMPLES)]
struct Args {
    /// Scripts, or directories whose *.pkt files are run (those below them too).
    #[arg(required = true, value_name = "FILE|DIR")]
    paths: Vec<PathBuf>,

    /// Run against this machine's kernel, in real time, over a TUN device in a fresh network
    /// namespace (needs root). A difference from netstack is thus a difference from Linux.
    #[arg(long)]
    kernel: bool,

    /// Only parse the scripts.
    #[arg(long, conflicts_with = "kernel")]
    dry_run: bool,

    /// How many microseconds an event may lie from its time [default: 4000; 150000 with --kernel].
    #[arg(long, value_name = "N")]
    tolerance_usecs: Option<i64>,

    /// The same as a share of the time since the event before, if that is more [default: 0; 12.5
    /// with --kernel].
    #[arg(long, value_name = "PERCENT")]
    tolerance_percent: Option<f64>,

    /// Run over ipv4, ipv6, or ipv4-mapped-ipv6: sockets of IPv6 with IPv4 on the wire.
    #[arg(
        long,
        alias = "ip_version",
        value_name = "VERSION",
        default_value = "ipv4"
    )]
    ip_version: IpVersion,

    /// Let NAME stand for TEXT in scripts, as --define=NAME=TEXT lines do in a script itself.
    #[arg(short = 'D', long = "define", value_name = "NAME=TEXT", value_parser = define)]
    defines: Vec<(String, String)>,

    /// Be as lenient as the classic tool: packets that no line looks for and outgoing TS echoes do not
    /// matter, and times may be off by 12.5%.
    #[arg(long)]
    classic: bool,

    /// Name every script, not only those that fail.
    #[arg(short, long)]
    verbose: bool,
}

const EXAMPLES: &str = "\
Examples:
  packetdrill packetdrill-tests/scripts          all of our own scripts
  packetdrill --kernel scripts/listen/row01.pkt  what does Linux do?
  packetdrill -v DIR                             name those that pass, too

A script in short:
  0   socket(..., SOCK_STREAM, IPPROTO_TCP) = 3
  +0  bind(3, ..., ...) = 0
  +0  listen(3, 1) = 0
  +0  < S 0:0(0) win 32792 <mss 1000,sackOK,nop,nop,nop,wscale 7>
  +0  > S. 0:0(0) ack 1 <...>
  +.1 < . 1:1(0) ack 1 win 257
  +0  accept(3, ..., ...) = 4

Ports before the flags (< 1001 > 8080 S 0:0(0), > 8080 > 1001 S. 0:0(0)) name a flow of its own, so
that one script can hold several peers. A line in backticks (`sysctl -q net.ipv4.tcp_syncookies=0`)
sets the setting of that name in the stack under test.

Exit status: 0 if every script passes, 1 if not, 2 for wrong usage.";

fn main() -> ExitCode {
    let args = Args::parse();
    let files = match scripts(&args.paths) {
        Ok(files) => files,
        Err(message) => {
            eprintln!("packetdrill: {message}");
            return ExitCode::from(2);
        }
    };
    let against = match (args.kernel, args.dry_run) {
        (true, _) => Against::Kernel,
        (_, true) => Against::Nothing,
        _ => Against::Netstack,
    };
    let config = config(&args);
    let start = Instant::now();
    let (mut failed, mut errors) = (0, 0);
    for file in &files {
        let (source, verdict) = run_file(file, against, &config);
        let name = file.display().to_string();
        match verdict {
            Verdict::Pass if args.verbose => println!("ok   {name}"),
            Verdict::Pass => {}
            Verdict::Bad(failure) => {
                match failure.blame {
                    Blame::Target => failed += 1,
                    Blame::Script => errors += 1,
                }
                println!("{}", failure.render(&name, &source));
            }
        }
    }
    println!(
        "{} scripts: {} passed, {failed} failed, {errors} could not be run ({:.2} s)",
        files.len(),
        files.len() - failed - errors,
        start.elapsed().as_secs_f64()
    );
    if failed + errors == 0 {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

fn define(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once('=').ok_or("NAME=TEXT is needed")?;
    Ok((name.to_owned(), value.to_owned()))
}

fn config(args: &Args) -> Config {
    let mut config = Config {
        defines: args.defines.clone(),
        ..Config::default()
    };
    config.set_ip_version(args.ip_version);
    if args.kernel {
        config.tolerance = 150_000;
        config.tolerance_percent = 12.5;
    }
    if args.classic {
        config.lenient = true;
        config.ignore_ecr = true;
        config.tolerance_percent = 12.5;
    }
    config.tolerance = args.tolerance_usecs.unwrap_or(config.tolerance);
    config.tolerance_percent = args.tolerance_percent.unwrap_or(config.tolerance_percent);
    config
}
