//! Pseudo terminals.
//!
//! A [`pty::Pty`] is a pair of ends with a [`line::Discipline`] between them: what is written to the master
//! is edited, echoed and turned into signals; what is written to the slave is post-processed. `devpts` is
//! the file system where slaves appear and new pairs are opened.

pub mod devpts;
mod ioctl;
pub mod line;
pub mod pty;
