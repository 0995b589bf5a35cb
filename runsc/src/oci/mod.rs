//! Bundles: reading and checking `config.json`, and its hooks.

pub(crate) mod bundle;
pub(crate) mod hooks;
pub(crate) mod mounts;
pub(crate) mod process;
pub(crate) mod template;
pub(crate) mod unapplied;
