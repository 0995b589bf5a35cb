//! The sandbox's process: how it is started, what it is given, what is asked of it.
//!
//! `runsc` starts itself again as `runsc boot` in new namespaces; over one socket it donates a plan
//! and the descriptors that the plan names (root and mounts as detached trees, standard streams,
//! network devices). The sandbox opens nothing by itself.

pub(crate) mod attach;
pub(crate) mod boot;
pub(crate) mod control;
pub(crate) mod entrance;
pub(crate) mod network;
pub(crate) mod plan;
pub(crate) mod rootless;
pub(crate) mod spawn;
pub(crate) mod stdio;
pub(crate) mod sys;
pub(crate) mod transport;
