//! `runsc list`

use std::io::{self, Write};

use clap::{Args, ValueEnum};

use super::{Global, VerbResult};
use crate::container::state::State;
use crate::container::store::StoreError;
use crate::log;

/// List containers
#[derive(Args)]
pub(super) struct List {
    /// Shape of the output
    #[arg(long, short, value_enum, default_value_t)]
    format: ListFormat,
    /// Print only the ids
    #[arg(long, short)]
    quiet: bool,
}

#[derive(Clone, Copy, Default, ValueEnum)]
enum ListFormat {
    #[default]
    Table,
    Json,
}

impl List {
    pub(super) fn run(self, global: &Global) -> VerbResult {
        let store = global.store()?;
        let mut states = Vec::new();
        for id in store.ids()? {
            match store.find(&id).and_then(|record| record.load()) {
                Ok(state) => states.push(state),
                // It went away, or is not finished, between the two reads.
                Err(StoreError::Unknown(_)) => {}
                Err(error) => log::warning(&error.to_string()),
            }
        }
        let mut out = io::stdout().lock();
        match self.format {
            _ if self.quiet => {
                for state in &states {
                    writeln!(out, "{}", state.id)?;
                }
            }
            ListFormat::Json => {
                let rows: Vec<_> = states.iter().map(State::to_oci).collect();
                writeln!(out, "{}", serde_json::Value::from(rows))?;
            }
            ListFormat::Table => print_table(&mut out, &states)?,
        }
        Ok(0)
    }
}

fn print_table(out: &mut impl Write, states: &[State]) -> io::Result<()> {
    let width =
        |of: fn(&State) -> usize, least| states.iter().map(of).max().unwrap_or(0).max(least);
    let id = width(|s| s.id.len(), 2);
    let bundle = width(|s| s.bundle.display().to_string().len(), 6);
    writeln!(
        out,
        "{:id$}  {:>8}  {:8}  {:bundle$}  {:30}  OWNER",
        "ID", "PID", "STATUS", "BUNDLE", "CREATED"
    )?;
    for s in states {
        writeln!(
            out,
            "{:id$}  {:>8}  {:8}  {:bundle$}  {:30}  {}",
            s.id,
            s.pid,
            s.status.word(),
            s.bundle.display().to_string(),
            s.created,
            s.owner
        )?;
    }
    Ok(())
}
