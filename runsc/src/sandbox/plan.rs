//! What a sandbox is given at its start, as data: everything that `runsc boot` acts on.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use serde::{Deserialize, Serialize};

use super::transport::FdIndex;

/// The first message to the sandbox's process.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct BootPlan {
    pub(crate) id: String,
    pub(crate) options: SandboxOptions,
    pub(crate) root: RootPlan,
    pub(crate) mounts: Vec<MountPlan>,
    pub(crate) process: ProcessPlan,
    pub(crate) hostname: String,
    pub(crate) network: NetworkPlan,
    /// Most bytes of guest memory; 0 is no limit. What ends then is the biggest process inside.
    pub(crate) memory_limit: u64,
    /// Listening control socket; without one only the exit status comes back (`runsc do`).
    pub(crate) control: Option<FdIndex>,
    /// The sandbox is in the foreground: it ends when the `runsc` that started it is gone.
    pub(crate) foreground: bool,
}

/// Global options that concern the sandbox.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct SandboxOptions {
    pub(crate) platform: PlatformName,
    pub(crate) strace: bool,
    pub(crate) debug: bool,
}

/// How guest code is run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum PlatformName {
    /// Seccomp traps and shared memory: the fast one.
    #[default]
    Systrap,
    /// ptrace(2): works anywhere, slower.
    Ptrace,
}

/// The root file system: a detached mount tree.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct RootPlan {
    pub(crate) tree: FdIndex,
    /// The guest sees EROFS; otherwise it writes to a memory overlay above the tree.
    pub(crate) readonly: bool,
    /// Writes go to the tree itself (no overlay).
    pub(crate) write_through: bool,
}

/// One mount, in order.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct MountPlan {
    pub(crate) destination: String,
    pub(crate) kind: MountKind,
    pub(crate) readonly: bool,
    pub(crate) noexec: bool,
    pub(crate) nosuid: bool,
    pub(crate) nodev: bool,
}

/// What is mounted.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum MountKind {
    /// A host directory or file, as a detached tree.
    Bind(FdIndex),
    /// Memory, with its options (size=, mode=, uid=, gid=).
    Tmpfs {
        options: Vec<String>,
    },
    Proc,
    Sysfs,
    Devpts,
    Mqueue,
    Cgroup,
}

/// A process to start in the sandbox.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct ProcessPlan {
    /// What is executed, if it is not what the first argument names.
    pub(crate) program: Option<String>,
    pub(crate) args: Vec<String>,
    pub(crate) env: Vec<String>,
    pub(crate) cwd: String,
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    pub(crate) groups: Vec<u32>,
    pub(crate) umask: u32,
    /// Capability bits (bit n is capability n).
    pub(crate) capabilities: CapabilitySets,
    pub(crate) rlimits: Vec<RlimitPlan>,
    pub(crate) no_new_privs: bool,
    pub(crate) terminal: bool,
    /// Standard input, output and error; `None` is a closed descriptor.
    pub(crate) stdio: [Option<FdIndex>; 3],
}

/// The five capability sets as bit masks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct CapabilitySets {
    pub(crate) bounding: u64,
    pub(crate) effective: u64,
    pub(crate) permitted: u64,
    pub(crate) inheritable: u64,
    pub(crate) ambient: u64,
}

/// A resource limit: RLIMIT_* number, soft, hard.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct RlimitPlan {
    pub(crate) resource: u32,
    pub(crate) soft: u64,
    pub(crate) hard: u64,
}

/// What the guest's sockets are.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum NetworkPlan {
    /// Loopback only.
    Loopback,
    /// netstack over a TUN device made for this sandbox.
    Tun(TunPlan),
    /// netstack over the devices of the sandbox's network namespace, taken over at start.
    Namespace,
    /// The host's sockets.
    Host,
}

/// A TUN device with its addresses.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct TunPlan {
    pub(crate) device: FdIndex,
    pub(crate) name: String,
    pub(crate) mtu: u32,
    pub(crate) address: Ipv4Addr,
    pub(crate) prefix_len: u8,
    /// The host's end: the default gateway.
    pub(crate) gateway: Ipv4Addr,
    /// The same of IPv6, if the host has that.
    pub(crate) ipv6: Option<Ipv6Plan>,
}

/// The IPv6 addresses of a TUN device.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Ipv6Plan {
    pub(crate) address: Ipv6Addr,
    pub(crate) prefix_len: u8,
    pub(crate) gateway: Ipv6Addr,
}

/// A route that was read from a namespace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct RoutePlan {
    pub(crate) destination: IpAddr,
    pub(crate) prefix_len: u8,
    pub(crate) gateway: Option<IpAddr>,
    pub(crate) metric: u32,
}

/// What the sandbox answers to its plan.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum BootAnswer {
    /// Ready: the init process is loaded and waits for `start` (or runs, without a control socket).
    Ready,
    /// Boot failed, and why. The process ends.
    Failed(String),
}
