//! The plan, turned into what the Sentry boots from.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;

use sentry::kernel::{BootConfig, MountConfig, MountKind as Mount, ProcessConfig, RootConfig};
use sentry::net::Network;
use sentry::net::inet::{LinkConfig, LinkDevice, NetworkError, RouteConfig};
use sentry::platform::PlatformKind;
use sentry::seccomp::Confinement;
use sentry::task::limits::Limit;
use sentry::vfs::{CapSets, Credentials, MountFlags};
use thiserror::Error;

use crate::sandbox::network::{self, Taken, TakeoverError};
use crate::sandbox::plan::{
    BootPlan, MountKind, MountPlan, NetworkPlan, PlatformName, ProcessPlan, RoutePlan, TunPlan,
};
use crate::sandbox::transport::Received;

/// What in a plan cannot be carried out.
#[derive(Debug, Error)]
pub(super) enum PlanError {
    #[error("the plan is damaged")]
    Descriptor(#[from] io::Error),
    #[error(transparent)]
    Takeover(#[from] TakeoverError),
    #[error(transparent)]
    Network(#[from] NetworkError),
    #[error("mount on {destination}: {problem}")]
    Mount {
        destination: String,
        problem: String,
    },
}

/// The boot configuration of a plan.
pub(super) fn from_plan(plan: BootPlan, received: &mut Received) -> Result<BootConfig, PlanError> {
    let strace = if plan.options.strace {
        Some(io::stderr().as_fd().try_clone_to_owned()?)
    } else {
        None
    };
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
        mounts: with_defaults(mounts),
        init: process(plan.process, received)?,
        hostname: plan.hostname,
        network: network(plan.network, received)?,
        strace,
        memory_limit: plan.memory_limit,
    })
}

/// What the Sentry has to be allowed for this plan, beside what it always is.
pub(super) fn needs_of(plan: &BootPlan) -> Confinement {
    let writable = |mount: &MountPlan| matches!(mount.kind, MountKind::Bind(_)) && !mount.readonly;
    Confinement {
        writable_mounts: plan.root.write_through || plan.mounts.iter().any(writable),
        host_network: matches!(plan.network, NetworkPlan::Host),
        ptrace: matches!(plan.options.platform, PlatformName::Ptrace),
    }
}

/// The guest's network: a stack of its own, on the devices of the plan.
fn network(plan: NetworkPlan, received: &mut Received) -> Result<Arc<Network>, PlanError> {
    let links = match plan {
        NetworkPlan::Loopback => Vec::new(),
        NetworkPlan::Tun(tun) => vec![tun_link(&tun, received.take(tun.device)?)],
        NetworkPlan::Namespace => network::take_over()?.into_iter().map(taken_link).collect(),
        NetworkPlan::Host => return Ok(Network::of_host()),
    };
    Ok(Network::start(links)?)
}

fn tun_link(plan: &TunPlan, device: OwnedFd) -> LinkConfig {
    let default_route = |any: IpAddr, gateway: IpAddr| RouteConfig {
        destination: any,
        prefix_len: 0,
        gateway: Some(gateway),
        metric: 0,
    };
    let mut addresses = vec![(plan.address.into(), plan.prefix_len)];
    let mut routes = vec![default_route(
        Ipv4Addr::UNSPECIFIED.into(),
        plan.gateway.into(),
    )];
    if let Some(ipv6) = plan.ipv6 {
        addresses.push((ipv6.address.into(), ipv6.prefix_len));
        routes.push(default_route(
            Ipv6Addr::UNSPECIFIED.into(),
            ipv6.gateway.into(),
        ));
    }
    LinkConfig {
        name: plan.name.clone(),
        device: LinkDevice::Tun(device),
        mtu: plan.mtu,
        addresses,
        routes,
    }
}

fn taken_link(taken: Taken) -> LinkConfig {
    let route = |route: RoutePlan| RouteConfig {
        destination: route.destination,
        prefix_len: route.prefix_len,
        gateway: route.gateway,
        metric: route.metric,
    };
    // Routes on the link come before those that need them; the connected ones follow from the addresses.
    let mut routes: Vec<RouteConfig> = taken.routes.into_iter().map(route).collect();
    routes.sort_by_key(|route| route.gateway.is_some());
    LinkConfig {
        name: taken.name,
        device: LinkDevice::Packet(taken.socket, taken.mac),
        mtu: taken.mtu,
        addresses: taken.addresses,
        routes,
    }
}

/// A process's configuration.
pub(super) fn process(
    plan: ProcessPlan,
    received: &mut Received,
) -> Result<ProcessConfig, PlanError> {
    let mut files = Vec::new();
    for (number, index) in (0..).zip(plan.stdio) {
        if let Some(index) = index {
            files.push((number, received.take(index)?));
        }
    }
    let caps = plan.capabilities;
    let mut creds = Credentials::new(
        plan.uid,
        plan.gid,
        &plan.groups,
        CapSets {
            effective: caps.effective,
            permitted: caps.permitted,
            inheritable: caps.inheritable,
            bounding: caps.bounding,
            ambient: caps.ambient,
        },
    );
    creds.no_new_privs = plan.no_new_privs;
    let bytes = |texts: Vec<String>| texts.into_iter().map(String::into_bytes).collect();
    let limit = |rlimit: crate::sandbox::plan::RlimitPlan| {
        (
            rlimit.resource,
            Limit {
                soft: rlimit.soft,
                hard: rlimit.hard,
            },
        )
    };
    Ok(ProcessConfig {
        program: plan.program.map(String::into_bytes),
        argv: bytes(plan.args),
        envp: bytes(plan.env),
        cwd: plan.cwd.into_bytes(),
        creds,
        rlimits: plan.rlimits.into_iter().map(limit).collect(),
        umask: Some(plan.umask),
        files,
        terminal: plan.terminal,
    })
}

/// A mount's configuration; `None` for one that the Sentry has anyway or that has no meaning in it.
fn mount_config(
    plan: MountPlan,
    received: &mut Received,
) -> Result<Option<MountConfig>, PlanError> {
    let kind = match plan.kind {
        MountKind::Bind(index) => Mount::Bind {
            source: received.take(index)?,
        },
        MountKind::Proc => Mount::Proc,
        MountKind::Sysfs => Mount::Sysfs,
        MountKind::Devpts => Mount::Devpts,
        // The engines mount a tmpfs on /dev and expect the runtime to fill it.
        MountKind::Tmpfs { .. } if plan.destination == "/dev" => Mount::Dev,
        MountKind::Tmpfs { options } => tmpfs(&plan.destination, &options)?,
        // Message queues and the host's cgroups are not shown to the guest.
        MountKind::Mqueue | MountKind::Cgroup => return Ok(None),
    };
    let mut flags = MountFlags::empty();
    flags.set(MountFlags::READ_ONLY, plan.readonly);
    flags.set(MountFlags::NO_EXEC, plan.noexec);
    flags.set(MountFlags::NO_SUID, plan.nosuid);
    flags.set(MountFlags::NO_DEV, plan.nodev);
    Ok(Some(MountConfig {
        target: plan.destination.into_bytes(),
        kind,
        flags,
    }))
}

/// Reads `size=` (with k, m, g or %) and `mode=` of a tmpfs.
fn tmpfs(destination: &str, options: &[String]) -> Result<Mount, PlanError> {
    let bad = |option: &str| PlanError::Mount {
        destination: destination.to_owned(),
        problem: format!("the option {option:?} is not understood"),
    };
    let (mut size, mut mode) = (0, 0o1777);
    for option in options {
        match option.split_once('=') {
            Some(("size", value)) => size = parse_size(value).ok_or_else(|| bad(option))?,
            Some(("mode", value)) => {
                mode = u32::from_str_radix(value, 8).map_err(|_| bad(option))?
            }
            _ => {}
        }
    }
    Ok(Mount::Tmpfs { size, mode })
}

/// Bytes, with a suffix as tmpfs(5) has it; a percentage is no limit of its own.
fn parse_size(text: &str) -> Option<u64> {
    if text.ends_with('%') {
        return Some(0);
    }
    let (digits, shift) = match text.as_bytes().last()?.to_ascii_lowercase() {
        b'k' => (&text[..text.len() - 1], 10),
        b'm' => (&text[..text.len() - 1], 20),
        b'g' => (&text[..text.len() - 1], 30),
        _ => (text, 0),
    };
    digits.parse::<u64>().ok()?.checked_mul(1 << shift)
}

/// The mounts that every sandbox has, unless the plan has its own there.
fn with_defaults(mut mounts: Vec<MountConfig>) -> Vec<MountConfig> {
    let defaults = [
        ("/proc", Mount::Proc),
        ("/sys", Mount::Sysfs),
        ("/dev", Mount::Dev),
        ("/dev/pts", Mount::Devpts),
        (
            "/dev/shm",
            Mount::Tmpfs {
                size: 0,
                mode: 0o1777,
            },
        ),
    ];
    let mut all: Vec<MountConfig> = Vec::new();
    for (target, kind) in defaults {
        if !mounts.iter().any(|mount| mount.target == target.as_bytes()) {
            all.push(MountConfig {
                target: target.into(),
                kind,
                flags: MountFlags::NO_SUID,
            });
        }
    }
    // A mount of the plan may lie below a default one; the other way round is for the plan to say.
    all.append(&mut mounts);
    all.sort_by_key(|mount| mount.target.iter().filter(|&&b| b == b'/').count());
    all
}

#[cfg(test)]
mod tests {
    use super::parse_size;

    #[test]
    fn sizes() {
        assert_eq!(parse_size("65536k"), Some(64 << 20));
        assert_eq!(parse_size("1g"), Some(1 << 30));
        assert_eq!(parse_size("50%"), Some(0));
        assert_eq!(parse_size("x"), None);
        assert_eq!(parse_size(""), None);
    }
}
