//! Guests: programs that run in the Sentry and on this machine's own kernel, with the same outcome.

mod bad_input;
mod common;
mod file_programs;
mod hostile_files;
mod real_programs;
mod static_programs;
