//! Files about the system as a whole.

use std::fmt::Write;
use std::sync::LazyLock;
use std::sync::atomic::Ordering;

use super::node::{SystemEntry, SystemNode};
use super::stat::TICK_NS;
use super::{net, sysctl};
use crate::kernel::Kernel;
use crate::platform::cpus;
use crate::syscalls::sysinfo::RELEASE;
use crate::vfs::PathContext;

pub(super) static ENTRIES: &[SystemEntry] = &[
    SystemEntry::file("cmdline", |_, _| "console=hvc0\n".into()),
    SystemEntry::file("cpuinfo", |_, _| CPUINFO.clone()),
    SystemEntry::file("devices", |_, _| DEVICES.into()),
    SystemEntry::file("filesystems", |_, _| FILESYSTEMS.into()),
    SystemEntry::file("loadavg", loadavg),
    SystemEntry::file("meminfo", meminfo),
    SystemEntry::file("stat", stat),
    SystemEntry::file("swaps", |_, _| {
        "Filename\t\t\t\tType\t\tSize\t\tUsed\t\tPriority\n".into()
    }),
    SystemEntry::file("uptime", uptime),
    SystemEntry::file("version", version),
    SystemEntry::dir("sys", sysctl::ENTRIES),
    SystemEntry::dir("driver", &[]),
    SystemEntry {
        name: "mounts",
        node: SystemNode::Link("self/mounts"),
    },
    SystemEntry {
        name: "net",
        node: SystemNode::Link("self/net"),
    },
];

/// The same directory below each task.
pub(super) static NET: SystemEntry = SystemEntry::dir("net", net::ENTRIES);

const DEVICES: &str = "Character devices:\n  1 mem\n  5 /dev/tty\n136 pts\n\nBlock devices:\n";
const FILESYSTEMS: &str = "nodev\tproc\nnodev\tsysfs\nnodev\ttmpfs\nnodev\tdevtmpfs\nnodev\tdevpts\n\
                           nodev\toverlay\n";

/// The host's description of its processors, read once: what a program finds out by CPUID anyhow.
static CPUINFO: LazyLock<String> = LazyLock::new(|| {
    std::fs::read_to_string("/proc/cpuinfo").unwrap_or_else(|_| {
        let line =
            |cpu| format!("processor\t: {cpu}\nvendor_id\t: unknown\ncpu MHz\t\t: 1000.000\n\n");
        (0..cpus()).map(line).collect()
    })
});

/// Reads what has to be read of the host while its files can still be reached.
pub(super) fn prepare() {
    LazyLock::force(&CPUINFO);
}

fn loadavg(kernel: &Kernel, _: &PathContext) -> String {
    let tree = kernel.tree.lock();
    let tasks: usize = tree.nodes().map(|node| node.threads.len()).sum();
    let last = tree.nodes().map(|node| node.process.pid).max();
    format!("0.00 0.00 0.00 1/{tasks} {}\n", last.unwrap_or(0))
}

fn meminfo(kernel: &Kernel, _: &PathContext) -> String {
    let total = nix::sys::sysinfo::sysinfo().map_or(1 << 30, |info| info.ram_total());
    let used = kernel.memory().resident().min(total);
    let free = total - used;
    let mut text = String::new();
    let lines = [
        ("MemTotal", total),
        ("MemFree", free),
        ("MemAvailable", free),
        ("Buffers", 0),
        ("Cached", 0),
        ("SwapCached", 0),
        ("Active", used),
        ("Inactive", 0),
        ("Active(anon)", used),
        ("Inactive(anon)", 0),
        ("Active(file)", 0),
        ("Inactive(file)", 0),
        ("Unevictable", 0),
        ("Mlocked", 0),
        ("SwapTotal", 0),
        ("SwapFree", 0),
        ("Dirty", 0),
        ("Writeback", 0),
        ("AnonPages", used),
        ("Mapped", 0),
        ("Shmem", 0),
    ];
    for (name, bytes) in lines {
        let _ = writeln!(text, "{:<15} {:8} kB", format!("{name}:"), bytes >> 10);
    }
    text
}

/// CPU time of all processes, user and system, in ticks.
fn ticks(kernel: &Kernel) -> (u64, u64) {
    let tree = kernel.tree.lock();
    let threads = tree.nodes().flat_map(|node| &node.threads);
    let (user, system) = threads.fold((0, 0), |(user, system), thread| {
        (
            user + thread.user_ns.load(Ordering::Relaxed),
            system + thread.system_ns.load(Ordering::Relaxed),
        )
    });
    (user / TICK_NS, system / TICK_NS)
}

fn since_boot(kernel: &Kernel) -> u64 {
    crate::time::monotonic_ns().saturating_sub(kernel.boot_ns)
}

fn stat(kernel: &Kernel, _: &PathContext) -> String {
    let (user, system) = ticks(kernel);
    let cpus = cpus() as u64;
    let all = since_boot(kernel) / TICK_NS * cpus;
    let idle = all.saturating_sub(user + system);
    let mut text = format!("cpu  {user} 0 {system} {idle} 0 0 0 0 0 0\n");
    for cpu in 0..cpus {
        let (user, system, idle) = (user / cpus, system / cpus, idle / cpus);
        let _ = writeln!(text, "cpu{cpu} {user} 0 {system} {idle} 0 0 0 0 0 0");
    }
    let boot = (crate::time::realtime_ns() - since_boot(kernel)) / crate::time::SECOND;
    let tree = kernel.tree.lock();
    let processes = tree.nodes().count();
    let _ = write!(
        text,
        "intr 0\nctxt 0\nbtime {boot}\nprocesses {processes}\nprocs_running 1\nprocs_blocked 0\n"
    );
    text
}

fn uptime(kernel: &Kernel, _: &PathContext) -> String {
    let hundredths = since_boot(kernel) / TICK_NS;
    let (user, system) = ticks(kernel);
    let idle = (hundredths * cpus() as u64).saturating_sub(user + system);
    let shown = |ticks: u64| format!("{}.{:02}", ticks / 100, ticks % 100);
    format!("{} {}\n", shown(hundredths), shown(idle))
}

fn version(_: &Kernel, _: &PathContext) -> String {
    format!("Linux version {RELEASE} (sentry) #1 SMP\n")
}
