//! `netstack bench`: how fast stacks are here, in memory and against this machine's kernel.

mod kernel;
mod memory;
mod threads;

use std::io::{self, IsTerminal, Write};
use std::process::ExitCode;
use std::time::Duration;

use serde_json::{Map, Value, json};

use crate::Failure;

/// What `--help` teaches after the options.
pub(crate) const EXAMPLES: &str = "\
What is measured:
  memory   two stacks stepped by one thread, packet by packet: what the code itself costs
  threads  two running stacks, a thread at each end: what an application gets within a process
  tun      a running stack and this machine's kernel over a TUN interface, both ways, in a network
           namespace of its own (in a user namespace too, unless this is root)

  netstack bench                       everything, five rounds of a second
  netstack bench --rounds 9 tun        one of them, more carefully
  netstack bench --json | jq           as data

Bulk figures are Mbit/s of payload; request and response are microseconds for a byte and back. Each is
the median of the rounds, with the least and the largest: on a busy machine look at those first.";

/// What can be measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum What {
    Memory,
    Threads,
    Tun,
}

/// Options of `bench`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// What to measure; all without any
    #[arg(value_enum)]
    what: Vec<What>,
    /// How often each figure is taken
    #[arg(short, long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=1000))]
    rounds: u32,
    /// Seconds that each takes
    #[arg(short, long, value_name = "SECONDS", default_value_t = 1.0)]
    time: f64,
    /// MTU of the links in memory and of the TUN interface
    #[arg(short, long, default_value_t = 1500, value_parser = clap::value_parser!(u32).range(576..=65_521))]
    mtu: u32,
    /// Write JSON on a terminal too
    #[arg(long)]
    json: bool,
}

/// One kind of measurement: its name, its unit, and a round of it.
struct Case {
    name: &'static str,
    unit: &'static str,
    run: Box<dyn FnMut(Duration) -> Result<f64, Failure>>,
}

impl Case {
    fn new(
        name: &'static str,
        unit: &'static str,
        run: impl FnMut(Duration) -> Result<f64, Failure> + 'static,
    ) -> Self {
        Self {
            name,
            unit,
            run: Box::new(run),
        }
    }
}

const MBITS: &str = "Mbit/s";
const MICROS: &str = "us";

/// Takes every figure in turn, round by round, so that a change of the machine's mood shows in all.
pub(crate) fn run(args: &Args) -> Result<ExitCode, Failure> {
    let time = Duration::try_from_secs_f64(args.time)
        .ok()
        .filter(|time| !time.is_zero());
    let time = time.ok_or(Failure(format!(
        "--time {}: no number of seconds",
        args.time
    )))?;
    let wants = |what| args.what.is_empty() || args.what.contains(&what);
    let mut cases = Vec::new();
    // The namespace is entered before there are threads.
    if wants(What::Tun) {
        cases.extend(kernel::cases(args.mtu)?);
    }
    if wants(What::Threads) {
        cases.splice(0..0, threads::cases(args.mtu)?);
    }
    if wants(What::Memory) {
        cases.splice(0..0, memory::cases(args.mtu));
    }
    let mut figures: Vec<Vec<f64>> = vec![Vec::new(); cases.len()];
    for _ in 0..args.rounds {
        for (case, figures) in cases.iter_mut().zip(&mut figures) {
            figures.push((case.run)(time)?);
        }
    }
    show(
        &cases,
        &mut figures,
        io::stdout().is_terminal() && !args.json,
    )?;
    Ok(ExitCode::SUCCESS)
}

fn show(cases: &[Case], figures: &mut [Vec<f64>], table: bool) -> io::Result<()> {
    let mut out = io::stdout().lock();
    let mut all = Map::new();
    if table {
        writeln!(
            out,
            "{:<28} {:>12} {:>12} {:>12}",
            "", "median", "least", "largest"
        )?;
    }
    for (case, figures) in cases.iter().zip(figures) {
        let summary = Summary::of(figures);
        if table {
            let Summary {
                median,
                least,
                largest,
            } = summary;
            writeln!(
                out,
                "{:<28} {median:>12.1} {least:>12.1} {largest:>12.1} {}",
                case.name, case.unit
            )?;
        } else {
            let value = json!({
                "unit": case.unit,
                "median": summary.median,
                "least": summary.least,
                "largest": summary.largest,
                "figures": figures,
            });
            all.insert(case.name.to_owned(), value);
        }
    }
    if !table {
        writeln!(out, "{}", Value::Object(all))?;
    }
    Ok(())
}

/// What is said of several figures.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Summary {
    median: f64,
    least: f64,
    largest: f64,
}

impl Summary {
    /// Of at least one figure, which are sorted.
    fn of(figures: &mut [f64]) -> Self {
        figures.sort_by(f64::total_cmp);
        let middle = figures.len() / 2;
        Self {
            median: match figures.len() % 2 {
                0 => (figures[middle - 1] + figures[middle]) / 2.0,
                _ => figures[middle],
            },
            least: figures[0],
            largest: figures[figures.len() - 1],
        }
    }
}

/// Bytes in a time as Mbit/s.
fn mbits(bytes: u64, time: Duration) -> f64 {
    bytes as f64 * 8.0 / time.as_secs_f64() / 1e6
}

/// The time of one of several round trips.
fn micros(time: Duration, trips: u64) -> f64 {
    time.as_secs_f64() * 1e6 / trips as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn medians() {
        let summary = Summary::of(&mut [3.0, 1.0, 2.0]);
        assert_eq!(
            (summary.median, summary.least, summary.largest),
            (2.0, 1.0, 3.0)
        );
        assert_eq!(Summary::of(&mut [4.0, 1.0]).median, 2.5);
    }
}
