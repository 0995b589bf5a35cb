//! The plan, turned into what the Sentry boots from.

use std::io;

use sentry::kernel::{BootConfig, MountConfig, MountKind as Mount, PlatformKind, ProcessConfig, RootConfig};
use sentry::task::limits::Limit;
use sentry::vfs::{CapSets, Credentials, MountFlags};
use thiserror::Error;

use crate::sandbox::network::{self, TakeoverError};
use crate::sandbox::plan::{BootPlan, MountKind, MountPlan, NetworkPlan, PlatformName, ProcessPlan};
use crate::sandbox::transport::Received;

/// What in a plan cannot be carried out.
#[derive(Debug, Error)]
pub(super) enum PlanError {
    #[error("the plan is damaged")]
    Descriptor(#[from] io::Error),
    #[error(transparent)]
    Takeover(#[from] TakeoverError),
    #[error("mount on {destination}: {problem}")]
    Mount { destination: String, problem: String },
    #[error("--network=host is not supported yet; use sandbox or none")]
    HostNetwork,
}

/// The boot configuration of a plan.
pub(super) fn from_plan(plan: BootPlan, received: &mut Received) -> Result<BootConfig, PlanError> {
    let strace = if plan.options.strace { Some(io::stderr().as_fd_owned()?) } else { None };
    let root = RootConfig {
        directory: received.take(plan.root.tree)?,
        overlay: !plan.root.readonly && !plan.root.write_through,
        readonly: plan.root.readonly,
    };
    let mut mounts = Vec::new();
    for mount in plan.mounts {
        mounts.extend(mount_config(mount, received)?);
    }
    Ok(BootConfig {
        platform: match plan.options.platform {
            PlatformName::Systrap => PlatformKind::Systrap,
            PlatformName::Ptrace => PlatformKind::Ptrace,
        },
        root,
        mounts,
        init: process(plan.process, received)?,
        hostname: plan.hostname,
        strace,
        memory_limit: 0,
    })
}
