//! `netstack slirp` for namespaces of an ordinary user's, compared with what the host's own sockets do.

#[path = "../common/mod.rs"]
mod common;
mod data;
mod forwarding;
mod refusals;
mod setup;
mod world;
