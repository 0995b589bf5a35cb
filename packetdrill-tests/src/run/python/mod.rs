//! `%{ }%` blocks: assertions over TCP_INFO in the small part of Python that scripts use. Anything else
//! is an error with its reason, never a pass.

mod eval;
mod lex;
mod statement;

use std::collections::HashMap;

use super::{Outcome, Runner};
use crate::ast::Command;
use crate::report::{Failure, Row};
use eval::{Evaluator, Stop};

/// Variables that a script's blocks share.
pub(super) type Vars = HashMap<String, i128>;

/// Constants that blocks may use.
const CONSTANTS: [(&str, i128); 24] = [
    ("TCP_ESTABLISHED", 1),
    ("TCP_SYN_SENT", 2),
    ("TCP_SYN_RECV", 3),
    ("TCP_FIN_WAIT1", 4),
    ("TCP_FIN_WAIT2", 5),
    ("TCP_TIME_WAIT", 6),
    ("TCP_CLOSE", 7),
    ("TCP_CLOSE_WAIT", 8),
    ("TCP_LAST_ACK", 9),
    ("TCP_LISTEN", 10),
    ("TCP_CLOSING", 11),
    ("TCP_CA_Open", 0),
    ("TCP_CA_Disorder", 1),
    ("TCP_CA_CWR", 2),
    ("TCP_CA_Recovery", 3),
    ("TCP_CA_Loss", 4),
    ("TCPI_OPT_TIMESTAMPS", 1),
    ("TCPI_OPT_SACK", 2),
    ("TCPI_OPT_WSCALE", 4),
    ("TCPI_OPT_ECN", 8),
    ("TCPI_OPT_ECN_SEEN", 16),
    ("TCPI_OPT_SYN_DATA", 32),
    ("TCPI_OPT_USEC_TS", 64),
    ("TCPI_OPT_TFO_CHILD", 128),
];

impl Runner<'_> {
    pub(super) fn code(&mut self, code: &Command) -> Outcome {
        let mut names: Vars = CONSTANTS
            .iter()
            .map(|(name, value)| ((*name).to_owned(), *value))
            .collect();
        if let Some(handle) = self.current_socket()
            && let Ok(info) = self.target.tcp_info(handle)
        {
            let fields = info.into_iter();
            names.extend(fields.map(|(name, value)| (name.to_owned(), i128::from(value))));
        }
        if let Some(handle) = self.current_socket() {
            // What SO_MEMINFO calls so is what these options give.
            for (name, option) in [
                ("SK_MEMINFO_RCVBUF", libc::SO_RCVBUF),
                ("SK_MEMINFO_SNDBUF", libc::SO_SNDBUF),
            ] {
                let value = self.target.get_option(handle, libc::SOL_SOCKET, option, 4);
                if let Some(bytes) = value.ok().and_then(|value| value.try_into().ok()) {
                    let value = i128::from(i32::from_ne_bytes(bytes));
                    names.insert(name.to_owned(), value);
                }
            }
        }
        names.extend(self.vars.drain());
        let result = Evaluator::run(&code.text, &mut names);
        self.vars = names
            .into_iter()
            .filter(|(name, _)| !name.starts_with("tcpi_") && !name.starts_with("SK_"))
            .collect();
        result.map_err(|stop| match stop {
            Stop::Assertion { text, seen } => {
                let rows = vec![Row::new("assert", text, seen)];
                Failure::mismatch(code.pos, "the assertion does not hold", rows)
            }
            Stop::Unsupported(why) => {
                let message = format!("code block: {why}");
                Box::new(Failure::error(code.pos, message))
            }
        })
    }
}
