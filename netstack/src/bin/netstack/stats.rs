//! `netstack stats`: the counters of a running program, from its control socket.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::{self, ErrorKind, IsTerminal, Read, Write};
use std::net::Shutdown;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use netstack::host::Net;
use netstack::stack::Stack;
use serde_json::{Map, Value, json};

use crate::Failure;

/// What `--help` teaches after the options.
pub(crate) const EXAMPLES: &str = "\
Examples:
  A program that can be asked, and its counters every second, with what has changed:
      netstack slirp -c --api-socket /tmp/slirp.sock 123
      netstack stats /tmp/slirp.sock

  Once, for a script (one JSON object a line when standard output is no terminal):
      netstack stats --count 1 /tmp/slirp.sock | jq .counters.tcp_resets

`netstack serve --control PATH` can be asked too. Counters of the stack have SNMP's names; what is
zero is left out.";

/// An answer is not longer than this.
const ANSWER_MAX: u64 = 1 << 20;

/// Options of `stats`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The program's control socket: --api-socket of `slirp`, --control of `serve`
    socket: PathBuf,
    /// Seconds between two looks
    #[arg(short, long, value_name = "SECONDS", default_value_t = 1.0)]
    interval: f64,
    /// End after this many looks
    #[arg(short, long)]
    count: Option<u64>,
    /// Write JSON on a terminal too
    #[arg(long)]
    json: bool,
}

/// Shows until the count is reached or the program ends.
pub(crate) fn run(args: &Args) -> Result<ExitCode, Failure> {
    let interval = Duration::try_from_secs_f64(args.interval).map_err(|_| {
        Failure(format!(
            "--interval {}: no number of seconds",
            args.interval
        ))
    })?;
    let table = io::stdout().is_terminal() && !args.json;
    let mut before: Option<(Instant, Flat)> = None;
    let mut looks = 0;
    loop {
        let answer = ask(&args.socket).map_err(|Failure(error)| {
            Failure(format!("cannot ask {}: {error}", args.socket.display()))
        })?;
        let mut out = io::stdout().lock();
        if table {
            let (now, values) = (Instant::now(), flatten(&answer));
            let past = before.as_ref().map(|(at, values)| (now - *at, values));
            // Home, then each line to its end, then what is left of an earlier, longer table.
            write!(out, "\x1b[H{}\x1b[J", render(&values, past))?;
            before = Some((now, values));
        } else {
            writeln!(out, "{answer}")?;
        }
        out.flush()?;
        looks += 1;
        if args.count.is_some_and(|count| looks >= count) {
            return Ok(ExitCode::SUCCESS);
        }
        std::thread::sleep(interval);
    }
}

fn ask(socket: &Path) -> Result<Value, Failure> {
    let mut stream = UnixStream::connect(socket)?;
    stream.write_all(b"{\"execute\":\"stats\"}")?;
    stream.shutdown(Shutdown::Write)?;
    let mut text = String::new();
    stream.take(ANSWER_MAX).read_to_string(&mut text)?;
    let answer: Value = serde_json::from_str(&text)?;
    match answer.get("return") {
        Some(value) => Ok(value.clone()),
        None => Err(Failure(format!("it says {text}"))),
    }
}

/// Numbers by their path.
type Flat = BTreeMap<String, u64>;

fn flatten(value: &Value) -> Flat {
    let mut flat = Flat::new();
    collect(value, "", &mut flat);
    flat
}

fn collect(value: &Value, path: &str, flat: &mut Flat) {
    match value {
        Value::Object(members) => {
            for (name, member) in members {
                let path = match path {
                    "" => name.clone(),
                    path => format!("{path}.{name}"),
                };
                collect(member, &path, flat);
            }
        }
        Value::Number(number) => {
            if let Some(number) = number.as_u64().filter(|number| *number > 0) {
                flat.insert(path.to_owned(), number);
            }
        }
        _ => {}
    }
}

/// A line for each number, with how much it has changed in a second.
fn render(values: &Flat, past: Option<(Duration, &Flat)>) -> String {
    let mut text = String::new();
    for (path, value) in values {
        let rate = past.map_or(0.0, |(time, past)| {
            let before = past.get(path).copied().unwrap_or(0);
            (*value as f64 - before as f64) / time.as_secs_f64().max(1e-3)
        });
        let rate = match rate {
            0.0 => String::new(),
            rate => format!("{rate:+.0}/s"),
        };
        // Writing to a string does not fail.
        let _ = writeln!(text, "{path:<48} {value:>16} {rate:>16}\x1b[K");
    }
    text
}

/// Answers on a socket at `path`, on a thread of its own, for as long as the program runs.
pub(crate) fn serve(net: &Net, path: &Path) -> Result<(), Failure> {
    let failed = |error| Failure(format!("cannot listen on {}: {error}", path.display()));
    let listener = bind(path).map_err(failed)?;
    let net = net.clone();
    std::thread::Builder::new()
        .name("control".into())
        .spawn(move || {
            for stream in listener.incoming() {
                // A client that breaks off is its own affair.
                let _ = stream.and_then(|stream| answer(&net, stream));
            }
        })?;
    Ok(())
}

/// Listens on `path`, in the place of a socket that nobody listens on any more.
pub(crate) fn bind(path: &Path) -> io::Result<UnixListener> {
    let gone = |error: io::Error| error.kind() == ErrorKind::ConnectionRefused;
    if UnixStream::connect(path).is_err_and(gone) {
        std::fs::remove_file(path)?;
    }
    UnixListener::bind(path)
}

fn answer(net: &Net, mut stream: UnixStream) -> io::Result<()> {
    let patience = Some(Duration::from_secs(5));
    stream.set_read_timeout(patience)?;
    stream.set_write_timeout(patience)?;
    let mut request = Vec::new();
    (&stream).take(4096).read_to_end(&mut request)?;
    let request: Value = serde_json::from_slice(&request).unwrap_or_default();
    let answer = match request.get("execute").and_then(Value::as_str) {
        Some("stats") => {
            let stack = net.with(|stack| of_stack(stack));
            json!({ "return": { "program": "serve", "stack": stack } })
        }
        _ => json!({ "error": { "desc": "bad request: only \"stats\" is there" } }),
    };
    stream.write_all(answer.to_string().as_bytes())
}

/// All that a stack can tell of itself: what it holds, and every counter that is not zero.
pub(crate) fn of_stack(stack: &Stack) -> Value {
    let usage = stack.usage();
    let stats = stack.stats();
    let all = stats
        .net
        .iter()
        .chain(stats.tcp.iter())
        .chain(stats.udp.iter());
    let counters: Map<String, Value> = all
        .filter(|(_, value)| *value > 0)
        .map(|(name, value)| (name.to_owned(), value.into()))
        .collect();
    let interfaces: Map<String, Value> = stack
        .interfaces()
        .map(|info| {
            let counters = json!({
                "rx_packets": info.counters.rx_packets,
                "rx_bytes": info.counters.rx_bytes,
                "tx_packets": info.counters.tx_packets,
                "tx_bytes": info.counters.tx_bytes,
            });
            (info.name, counters)
        })
        .collect();
    json!({
        "usage": {
            "tcp_sockets": usage.tcp_sockets,
            "half_open": usage.half_open,
            "offers": usage.offers,
            "time_wait": usage.time_wait,
            "flows": usage.flows,
            "fragment_bytes": usage.fragment_bytes,
            "neighbors": usage.neighbors,
        },
        "interfaces": interfaces,
        "counters": counters,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_has_what_is_there_and_how_it_changes() {
        let before = flatten(&json!({"a": {"b": 5, "c": 0}, "name": "x"}));
        let after = flatten(&json!({"a": {"b": 25, "c": 0, "d": 1}, "name": "x"}));
        assert_eq!(after.len(), 2);
        let text = render(&after, Some((Duration::from_secs(2), &before)));
        let words: Vec<&str> = text.split_whitespace().collect();
        assert_eq!(
            words,
            ["a.b", "25", "+10/s\x1b[K", "a.d", "1", "+0/s\x1b[K"]
        );
    }
}
