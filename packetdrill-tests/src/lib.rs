//! Runs packetdrill scripts over netstack in virtual time, or over the host's kernel as an oracle.
//!
//! | module | what happens there |
//! | --- | --- |
//! | [`lex`] | text to tokens |
//! | [`ast`] | what a script says |
//! | [`parse`] | tokens to events |
//! | [`run`] | the events against a target: clock, calls, packets, settings, assertions |
//! | [`report`] | what went wrong, side by side |

pub mod ast;
pub mod lex;
pub mod parse;
pub mod report;
pub mod run;
