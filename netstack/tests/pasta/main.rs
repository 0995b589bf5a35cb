//! `netstack pasta` for commands and namespaces of an ordinary user's, on a host with an interface that
//! leads outside.

mod command;
#[path = "../common/mod.rs"]
mod common;
mod data;
mod existing;
mod host;
// What is particular to slirp is not used.
#[allow(dead_code)]
#[path = "../slirp/world.rs"]
mod world;
