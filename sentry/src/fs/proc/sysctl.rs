//! /proc/sys and /proc/net.

use super::node::{SystemEntry, SystemNode};
use crate::kernel::Kernel;
use crate::syscalls::sysinfo::RELEASE;
use crate::vfs::PathContext;
use crate::vfs::fdtable::MAX_FDS;
use sentry_abi::Errno;

/// A value that never changes.
macro_rules! fixed {
    ($name:literal, $value:expr) => {
        SystemEntry::file($name, |_: &Kernel, _: &PathContext| format!("{}\n", $value))
    };
}

/// A setting of the guest's network stack, to read and write.
macro_rules! of_stack {
    ($name:literal) => {
        SystemEntry {
            name: $name,
            node: SystemNode::Setting(
                |kernel| read_stack(kernel, $name),
                |kernel, bytes| write_stack(kernel, $name, bytes),
            ),
        }
    };
}

/// Empty with the host's network, whose settings are not shown.
fn read_stack(kernel: &Kernel, name: &str) -> String {
    let inet = kernel.network().inet();
    let value = inet.and_then(|inet| inet.net().with(|stack| stack.setting(name)));
    value.map_or_else(String::new, |value| format!("{value}\n"))
}

fn write_stack(kernel: &Kernel, name: &str, bytes: &[u8]) -> Result<(), Errno> {
    let inet = kernel.network().inet().ok_or(Errno::EPERM)?;
    let value = std::str::from_utf8(bytes).map_err(|_| Errno::EINVAL)?;
    let set = inet.net().with(|stack| stack.set_setting(name, value));
    set.map_err(|_| Errno::EINVAL)
}

pub(super) static ENTRIES: &[SystemEntry] = &[
    SystemEntry::dir("kernel", KERNEL),
    SystemEntry::dir("vm", VM),
    SystemEntry::dir("fs", FS),
    SystemEntry::dir("net", NET),
];

static KERNEL: &[SystemEntry] = &[
    SystemEntry {
        name: "hostname",
        node: SystemNode::Setting(
            |kernel| format!("{}\n", String::from_utf8_lossy(&kernel.names.read().host)),
            |kernel, bytes| {
                let name = bytes.strip_suffix(b"\n").unwrap_or(bytes);
                if name.len() > 64 {
                    return Err(Errno::EINVAL);
                }
                kernel.names.write().host = name.to_vec();
                Ok(())
            },
        ),
    },
    SystemEntry::file("domainname", |kernel, _| {
        format!("{}\n", String::from_utf8_lossy(&kernel.names.read().domain))
    }),
    fixed!("ostype", "Linux"),
    fixed!("osrelease", RELEASE),
    fixed!("version", "#1 SMP"),
    fixed!("pid_max", crate::task::tree::PID_MAX),
    fixed!("threads-max", 32768),
    fixed!("cap_last_cap", crate::vfs::creds::cap::LAST),
    fixed!("ngroups_max", 65536),
    fixed!("overflowuid", 65534),
    fixed!("overflowgid", 65534),
    fixed!("randomize_va_space", 2),
    fixed!("core_pattern", "core"),
    fixed!("shmmax", u64::MAX >> 8),
    fixed!("shmall", u64::MAX >> 20),
    fixed!("shmmni", 4096),
    fixed!("sem", "32000\t1024000000\t500\t32000"),
    fixed!("msgmax", 8192),
    fixed!("msgmni", 32000),
    SystemEntry::dir("random", RANDOM),
    SystemEntry::dir("yama", &[fixed!("ptrace_scope", 1)]),
    SystemEntry::dir("seccomp", &[fixed!("actions_avail", "")]),
];

static RANDOM: &[SystemEntry] = &[
    fixed!("entropy_avail", 256),
    fixed!("poolsize", 256),
    SystemEntry::file("uuid", |_, _| uuid()),
    SystemEntry::file("boot_id", |_, _| {
        static BOOT: std::sync::LazyLock<String> = std::sync::LazyLock::new(uuid);
        BOOT.clone()
    }),
];

/// A random UUID (version 4).
fn uuid() -> String {
    let mut bytes = [0u8; 16];
    crate::mm::random(&mut bytes);
    bytes[6] = bytes[6] & 0x0f | 0x40;
    bytes[8] = bytes[8] & 0x3f | 0x80;
    let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    let (a, b, c, d, e) = (
        &hex[..8],
        &hex[8..12],
        &hex[12..16],
        &hex[16..20],
        &hex[20..],
    );
    format!("{a}-{b}-{c}-{d}-{e}\n")
}

static VM: &[SystemEntry] = &[
    fixed!("overcommit_memory", 0),
    fixed!("overcommit_ratio", 50),
    fixed!("max_map_count", 65530),
    fixed!("mmap_min_addr", 65536),
    fixed!("swappiness", 60),
    fixed!("nr_hugepages", 0),
    fixed!("min_free_kbytes", 67584),
];

static FS: &[SystemEntry] = &[
    fixed!("file-max", i64::MAX),
    fixed!("file-nr", "0\t0\t9223372036854775807"),
    fixed!("nr_open", MAX_FDS),
    fixed!("pipe-max-size", 1 << 20),
    fixed!("protected_hardlinks", 1),
    fixed!("protected_symlinks", 0),
    fixed!("protected_regular", 1),
    fixed!("protected_fifos", 1),
    SystemEntry::dir(
        "inotify",
        &[
            fixed!("max_user_instances", 128),
            fixed!("max_user_watches", 65536),
            fixed!("max_queued_events", 16384),
        ],
    ),
    SystemEntry::dir("epoll", &[fixed!("max_user_watches", 1 << 20)]),
];

static NET: &[SystemEntry] = &[
    SystemEntry::dir(
        "core",
        &[
            fixed!("somaxconn", 4096),
            fixed!("rmem_default", 212_992),
            fixed!("rmem_max", 212_992),
            fixed!("wmem_default", 212_992),
            fixed!("wmem_max", 212_992),
        ],
    ),
    SystemEntry::dir(
        "ipv4",
        &[
            fixed!("ip_local_port_range", "32768\t60999"),
            fixed!("tcp_rmem", "4096\t131072\t6291456"),
            fixed!("tcp_wmem", "4096\t16384\t4194304"),
            fixed!("tcp_syncookies", 1),
            fixed!("tcp_max_syn_backlog", 1024),
            fixed!("tcp_fin_timeout", 60),
            fixed!("tcp_keepalive_time", 7200),
            fixed!("tcp_congestion_control", "cubic"),
            fixed!("ip_forward", 0),
            of_stack!("ping_group_range"),
            of_stack!("igmp_max_memberships"),
            of_stack!("igmp_max_msf"),
            of_stack!("icmp_echo_ignore_all"),
            of_stack!("icmp_echo_ignore_broadcasts"),
            of_stack!("ip_default_ttl"),
        ],
    ),
    SystemEntry::dir("unix", &[fixed!("max_dgram_qlen", 512)]),
];
