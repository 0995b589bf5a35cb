//! `packetdrill`: runs scripts and says what was otherwise than they say.

mod args;

use std::fs;
use std::io::{self, Write};
use std::process::ExitCode;
use std::time::Instant;

use args::Args;
use clap::Parser;
use packetdrill_tests::collect::scripts;
use packetdrill_tests::diff::diff_file;
use packetdrill_tests::report::{Totals, junit::Junit, tap};
use packetdrill_tests::run::{Config, IpVersion};
use packetdrill_tests::run_file;
use packetdrill_tests::suite::{self, Case, Class, Ended};

/// Wrong usage, as opposed to scripts that do not pass.
const USAGE: u8 = 2;

fn main() -> ExitCode {
    let args = Args::parse();
    match run(&args) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(message) => {
            eprintln!("packetdrill: {message}");
            ExitCode::from(USAGE)
        }
    }
}

/// Runs everything; true if all passed.
fn run(args: &Args) -> Result<bool, String> {
    let files = scripts(&args.paths)?;
    let versions = &args.ip_version.0;
    let cases = suite::cases(&files, &args.paths, versions);
    if cases.is_empty() {
        return Err("no script here is of this IP version".to_owned());
    }
    let ours = Configs::new(args, versions, args.kernel)?;
    let linux = Configs::new(args, versions, true)?;
    let one = |case: &Case| match args.diff {
        true => diff_file(&case.path, ours.of(case.version), linux.of(case.version)),
        false => run_file(&case.path, args.against(), ours.of(case.version)),
    };
    let mut printer = Printer::new(args, cases.len());
    suite::run(&cases, args.jobs(), one, |case, ended| {
        printer.result(case, &ended);
    });
    printer.finish()
}

/// How scripts are run, by version.
struct Configs {
    known: Vec<(IpVersion, Config)>,
    other: Config,
}

impl Configs {
    fn new(args: &Args, versions: &[IpVersion], kernel: bool) -> Result<Self, String> {
        let known = versions
            .iter()
            .map(|version| Ok((*version, args.config(*version, kernel)?)))
            .collect::<Result<_, String>>()?;
        Ok(Self {
            known,
            other: Config::default(),
        })
    }

    fn of(&self, version: IpVersion) -> &Config {
        let found = self.known.iter().find(|(known, _)| *known == version);
        found.map_or(&self.other, |(_, config)| config)
    }
}

/// Tells results as they come, and their sum.
struct Printer<'a> {
    args: &'a Args,
    start: Instant,
    count: usize,
    totals: Totals,
    junit: Junit,
}

impl<'a> Printer<'a> {
    fn new(args: &'a Args, count: usize) -> Self {
        if args.tap {
            print(&tap::head(count));
        }
        Self {
            args,
            start: Instant::now(),
            count: 0,
            totals: Totals::default(),
            junit: Junit::default(),
        }
    }

    fn result(&mut self, case: &Case, ended: &Ended) {
        self.count += 1;
        self.totals.add(case, ended);
        self.junit.add(case, ended);
        if self.args.tap {
            print(&tap::result(self.count, case, ended));
        } else if let Some(message) = &ended.message {
            print(&format!("{message}\n"));
        } else if self.args.verbose && ended.class() == Class::Passed {
            print(&format!("ok   {}\n", case.name));
        }
    }

    fn finish(self) -> Result<bool, String> {
        let sum = self.totals.sum();
        if self.args.tap {
            print(&tap::tail(&self.totals));
        } else {
            if self.totals.has_topics() {
                print(&format!("{}\n", self.totals));
            }
            print(&format!(
                "{} scripts: {} passed, {} failed, {} cannot be run ({:.2} s)\n",
                sum.all(),
                sum.passed,
                sum.failed,
                sum.cannot_run,
                self.start.elapsed().as_secs_f64()
            ));
        }
        if let Some(path) = &self.args.junit {
            fs::write(path, self.junit.document())
                .map_err(|error| format!("{}: {error}", path.display()))?;
        }
        Ok(sum.passed == sum.all())
    }
}

/// Prints; whoever has stopped reading need not be told more.
fn print(text: &str) {
    let _ = io::stdout().write_all(text.as_bytes());
}
