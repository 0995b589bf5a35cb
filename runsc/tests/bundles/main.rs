//! `runsc` on real bundles: a root file system of busybox, a configuration written by `runsc spec` and
//! edited as JSON.
//!
//! Each test has a network namespace, a state directory and a temporary directory of its own, and they
//! take turns: when one ends, no process, mount, cgroup, network device or record of it may be left.
//! Without root each says SKIPPED.

mod cgroups;
mod exec;
mod hooks;
mod identity;
mod lifecycle;
mod links;
mod mounts;
mod network;
mod refusals;
mod rootless;
#[path = "../shared/mod.rs"]
mod shared;
mod signals;
mod terminal;
mod traces;
mod world;
