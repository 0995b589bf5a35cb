//! A script against a [`Target`].
//!
//! The runner owns the order of things: it lets the target's time pass up to each event, keeps what
//! the target sends until a line expects it, and holds blocking calls open until they return.

mod aggregate;
mod calls;
mod config;
pub mod epoll;
mod expect;
mod flow;
mod inject;
pub mod kernel;
mod pattern;
mod python;
mod setup;
pub mod stack;
mod symbols;
mod target;
mod tcp_info;
mod times;
mod values;
mod wire;

use std::collections::{HashMap, VecDeque};

use crate::ast::{Action, Direction, Event, Micros, Pos, Script};
use crate::report::{Failure, Row};
pub use config::{Config, IpVersion};
use flow::Flows;
pub use setup::set_defaults;
pub use target::{Addresses, Control, Handle, Received, Sent, SettingError, SysResult, Target};
pub use wire::{Datagram, Segment, Transport};

/// Lines of history that a failure shows.
const HISTORY: usize = 12;

/// Packets that may wait to be expected: a target that sends without end is stopped here.
const WAITING_MAX: usize = 100_000;

/// How long `* > ...` waits: ten minutes of virtual time, or ten seconds of real time.
const PATIENCE_VIRTUAL: Micros = 600_000_000;
const PATIENCE_REAL: Micros = 10_000_000;

type Outcome<T = ()> = Result<T, Box<Failure>>;

/// Runs a script to its end. `config` already has the script's own options in it.
///
/// # Errors
/// The first thing that was not as the script says.
pub fn run(script: &Script, target: &mut dyn Target, config: Config) -> Outcome {
    let mut runner = Runner {
        flows: Flows::new(config.addresses.local.port()),
        files: calls::Files::default(),
        target,
        config,
        sent: VecDeque::new(),
        history: VecDeque::new(),
        clock: times::Clock::default(),
        vars: python::Vars::default(),
        counters: HashMap::new(),
        verify_sent_data: true,
    };
    let result = runner.run(script);
    result.map_err(|mut failure| {
        failure.history = runner.history.drain(..).collect();
        failure
    })
}

struct Runner<'a> {
    target: &'a mut dyn Target,
    config: Config,
    flows: Flows,
    files: calls::Files,
    /// Sent by the target, not yet expected by a line.
    sent: VecDeque<Sent>,
    history: VecDeque<String>,
    clock: times::Clock,
    vars: python::Vars,
    /// Counters at the last `nstat`: what it shows is what has changed since.
    counters: HashMap<String, u64>,
    /// False once the script has sent bytes of its own choice.
    verify_sent_data: bool,
}

impl Runner<'_> {
    fn run(&mut self, script: &Script) -> Outcome {
        if let Some(init) = &script.init {
            self.command(init)?;
        }
        for event in &script.events {
            self.event(event)?;
        }
        self.finish(script)?;
        if let Some(cleanup) = &script.cleanup {
            self.command(cleanup)?;
        }
        Ok(())
    }

    fn event(&mut self, event: &Event) -> Outcome {
        let due = self.clock.resolve(event.time, self.target.now());
        if let Action::Packet(packet) = &event.action
            && packet.direction == Direction::Out
        {
            return self.expect(event.pos, packet, due);
        }
        self.wait_until(due.start)?;
        self.refuse_stale(event.pos, due.start)?;
        match &event.action {
            Action::Packet(packet) => self.inject(event.pos, packet),
            Action::Call(call) => self.call(event.pos, call, due),
            Action::Command(command) => self.command(command),
            Action::Code(code) => self.code(code),
        }
    }

    /// Lets time pass up to `time`, with everything that the target does on the way.
    fn wait_until(&mut self, time: Micros) -> Outcome {
        loop {
            self.pump()?;
            if self.target.now() >= time {
                return Ok(());
            }
            self.advance(time)?;
        }
    }

    fn advance(&mut self, deadline: Micros) -> Outcome {
        // A poll with a timeout wakes up by itself.
        let deadline = self
            .next_poll_timeout()
            .map_or(deadline, |t| t.min(deadline));
        let result = self.target.advance(deadline);
        result.map_err(|message| Box::new(Failure::error(Pos::default(), message)))
    }

    /// Takes what the target has sent, and lets the open calls look again.
    fn pump(&mut self) -> Outcome {
        while let Some(sent) = self.target.take_sent() {
            if self.sent.len() >= WAITING_MAX {
                let summary = "the stack under test sends without end";
                return Err(Failure::mismatch(Pos::default(), summary, Vec::new()));
            }
            self.sent.push_back(sent);
        }
        self.retry_calls()
    }

    /// Fails if a packet was sent well before `now` that no line has expected.
    fn refuse_stale(&mut self, pos: Pos, now: Micros) -> Outcome {
        match self.sent.front() {
            Some(sent) if !self.config.lenient && sent.at < now - self.config.tolerance => {
                self.refuse_first(pos)
            }
            _ => Ok(()),
        }
    }

    /// The failure "a packet that no line expects", about the first in the queue.
    fn refuse_first(&mut self, pos: Pos) -> Outcome {
        let Some(sent) = self.sent.pop_front() else {
            return Ok(());
        };
        let seen = self.describe(&sent);
        let rows = vec![
            Row::new("packet", "none", seen),
            Row::open("time", times::text(sent.at)),
        ];
        let summary = "before this line, a packet was sent that the script does not expect";
        Err(Failure::mismatch(pos, summary, rows))
    }

    /// After the last event: open calls must return in time, and no packet may be left over.
    fn finish(&mut self, script: &Script) -> Outcome {
        let pos = script.events.last().map(|event| event.pos);
        let pos = pos.unwrap_or_default();
        self.finish_calls()?;
        self.pump()?;
        if self.config.lenient || self.sent.is_empty() {
            return Ok(());
        }
        self.refuse_first(pos).map_err(|mut failure| {
            failure.summary =
                "after the last line, a packet was sent that the script does not expect".to_owned();
            failure
        })
    }

    fn note(&mut self, line: String) {
        if self.history.len() == HISTORY {
            self.history.pop_front();
        }
        let now = times::text(self.target.now());
        self.history.push_back(format!("{now}  {line}"));
    }
}
