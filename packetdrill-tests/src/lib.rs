//! Runs packetdrill scripts over netstack in virtual time, or over the host's kernel as an oracle.
//!
//! | module | what happens there |
//! | --- | --- |
//! | [`lex`] | text to tokens |
//! | [`ast`] | what a script says |
//! | [`parse`] | tokens to events |
//! | [`run`] | the events against a target: clock, calls, packets, settings, assertions |
//! | [`collect`] | which files a command line means |
//! | [`suite`] | many scripts in parallel, results in order |
//! | [`diff`] | netstack and the host's kernel side by side |
//! | [`report`] | what went wrong, side by side; totals, TAP and JUnit |

pub mod ast;
pub mod collect;
pub mod diff;
pub mod lex;
pub mod parse;
pub mod report;
pub mod run;
pub mod suite;

use std::fs;
use std::path::Path;
use std::thread;

use ast::{Pos, Script};
use report::{Failure, Verdict};
use run::Config;
use run::kernel::Kernel;
use run::stack::Netstack;

/// What scripts are run against.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Against {
    /// netstack, in virtual time.
    Netstack,
    /// The host's kernel, in real time.
    Kernel,
    /// Nothing: they are only parsed.
    Nothing,
}

/// Runs one script file; returns its text and how it ended. `config` is what holds where the script
/// itself says nothing else.
pub fn run_file(path: &Path, against: Against, config: &Config) -> (String, Verdict) {
    let source = match fs::read(path) {
        Ok(bytes) => String::from_utf8_lossy(&bytes).into_owned(),
        Err(error) => {
            let failure = Failure::error(Pos::default(), format!("not readable: {error}"));
            return (String::new(), Verdict::Bad(Box::new(failure)));
        }
    };
    let verdict = match run_text(&source, against, config) {
        Ok(()) => Verdict::Pass,
        Err(failure) => Verdict::Bad(failure),
    };
    (source, verdict)
}

/// Runs a script given as text.
///
/// # Errors
/// Why it did not pass.
pub fn run_text(source: &str, against: Against, config: &Config) -> Result<(), Box<Failure>> {
    let script = parse::parse_with(source, &config.names())
        .map_err(|error| Failure::error(error.pos, error.message))?;
    let mut config = config.clone();
    config.apply(&script.options)?;
    match against {
        Against::Nothing => Ok(()),
        Against::Netstack => run_on_netstack(&script, config),
        // A namespace belongs to a thread, and goes with it.
        Against::Kernel => thread::scope(|scope| {
            let thread = scope.spawn(|| run_on_kernel(&script, config));
            let broken = Failure::error(Pos::default(), "the script's thread has failed");
            thread.join().unwrap_or(Err(Box::new(broken)))
        }),
    }
}

fn run_on_netstack(script: &Script, config: Config) -> Result<(), Box<Failure>> {
    let mut stack = Netstack::new(&config.addresses)
        .map_err(|message| Failure::error(Pos::default(), message))?;
    run::run(script, &mut stack, config)
}

fn run_on_kernel(script: &Script, config: Config) -> Result<(), Box<Failure>> {
    let mut kernel = Kernel::new(&config.addresses)
        .map_err(|message| Failure::error(Pos::default(), message))?;
    run::run(script, &mut kernel, config)
}
