//! `netstack dump`: the packets of an interface, as lines or as a pcapng file.

mod line;

use std::fs::File;
use std::io::{self, BufWriter, IsTerminal, Write};
use std::os::fd::AsFd;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use netstack::link::Medium;
use netstack::link::capture::{Direction, Recorder};
use netstack::link::monitor::Monitor;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};

use crate::Failure;

/// What `--help` teaches after the options.
pub(crate) const EXAMPLES: &str = "\
Examples (as root):
  Watch what passes, a line a packet:
      netstack dump eth0

  Record a thousand packets for Wireshark, or look at them as they come:
      netstack dump -c 1000 -w /tmp/eth0.pcapng eth0
      netstack dump eth0 -w - | wireshark -k -i -

  A namespace's interface, without its tools:
      nsenter -t PID -n netstack dump tap0

What the kernel cuts or merges later is shown as it is at that moment: packets up to 64 KiB, with
checksums that are not complete. To record what a stack of netstack's own sends and receives, use
--pcap of the verb that runs it.";

/// Options of `dump`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The interface to watch
    iface: String,
    /// Write pcapng to FILE, or to standard output for "-"; without this lines are printed on a terminal, and
    /// pcapng is written elsewhere
    #[arg(short, long, value_name = "FILE")]
    write: Option<PathBuf>,
    /// Print lines wherever standard output leads
    #[arg(short, long, conflicts_with = "write")]
    lines: bool,
    /// End after this many packets
    #[arg(short, long)]
    count: Option<u64>,
    /// Keep only the first bytes of each packet
    #[arg(short, long, value_name = "BYTES", default_value_t = 65_600)]
    snap: usize,
}

/// Where packets go.
enum Sink {
    Lines(Box<dyn Write>, Medium),
    File(Recorder<Box<dyn Write>>),
}

/// Watches until the count is reached or a signal comes.
pub(crate) fn run(args: &Args) -> Result<ExitCode, Failure> {
    let mut monitor = Monitor::open(&args.iface).map_err(|error| explain(&args.iface, &error))?;
    let mut sink = sink(args, &monitor)?;
    let set = SigSet::from_iter([Signal::SIGINT, Signal::SIGTERM]);
    set.thread_block()?;
    let signals = SignalFd::with_flags(&set, SfdFlags::SFD_CLOEXEC)?;
    eprintln!("netstack: watching {}", args.iface);
    let mut seen = 0;
    let ended = watch(args, &mut monitor, &mut sink, &signals, &mut seen);
    let flushed = sink.flush();
    // Whoever read there may have gone.
    let _ = writeln!(
        io::stderr(),
        "netstack: {seen} packets, {} dropped by the kernel",
        monitor.drops()
    );
    match ended.and(flushed) {
        // The reader has seen enough.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(ExitCode::SUCCESS),
        Err(error) => Err(error.into()),
        Ok(()) => Ok(ExitCode::SUCCESS),
    }
}

fn watch(
    args: &Args,
    monitor: &mut Monitor,
    sink: &mut Sink,
    signals: &SignalFd,
    seen: &mut u64,
) -> io::Result<()> {
    loop {
        while let Some((direction, data)) = monitor.try_next()? {
            let at = SystemTime::now()
                .duration_since(UNIX_EPOCH)
                .unwrap_or_default();
            let kept = &data[..data.len().min(args.snap)];
            sink.packet(at, direction, kept, data.len())?;
            *seen += 1;
            if args.count.is_some_and(|count| *seen >= count) {
                return Ok(());
            }
        }
        sink.flush()?;
        let mut fds = [
            PollFd::new(monitor.fd(), PollFlags::POLLIN),
            PollFd::new(signals.as_fd(), PollFlags::POLLIN),
        ];
        match poll(&mut fds, PollTimeout::NONE) {
            Ok(_) if fds[1].any() == Some(true) => return Ok(()),
            Ok(_) | Err(nix::Error::EINTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

fn sink(args: &Args, monitor: &Monitor) -> Result<Sink, Failure> {
    let stdout = || -> Box<dyn Write> { Box::new(BufWriter::new(io::stdout())) };
    let writer: Box<dyn Write> = match &args.write {
        None if args.lines || io::stdout().is_terminal() => {
            return Ok(Sink::Lines(stdout(), monitor.medium()));
        }
        None => stdout(),
        Some(path) if path.as_os_str() == "-" => stdout(),
        Some(path) => {
            let file = File::create(path).map_err(|error| {
                Failure(format!("cannot record to {}: {error}", path.display()))
            })?;
            Box::new(BufWriter::new(file))
        }
    };
    Ok(Sink::File(Recorder::new(writer, monitor.medium())?))
}

impl Sink {
    fn packet(
        &mut self,
        at: Duration,
        direction: Direction,
        kept: &[u8],
        len: usize,
    ) -> io::Result<()> {
        match self {
            Self::File(recorder) => recorder.record(at, kept, len, direction),
            Self::Lines(out, medium) => {
                let way = match direction {
                    Direction::In => "In ",
                    Direction::Out => "Out",
                };
                writeln!(
                    out,
                    "{} {way} {}",
                    line::time(at),
                    line::of(*medium, kept, len)
                )
            }
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::File(recorder) => recorder.flush(),
            Self::Lines(out, _) => out.flush(),
        }
    }
}

fn explain(iface: &str, error: &io::Error) -> Failure {
    if error.kind() == io::ErrorKind::Unsupported {
        return Failure(format!(
            "{iface} carries neither Ethernet frames nor bare IP packets"
        ));
    }
    crate::device::packet_failure(iface, error)
}
