//! A network namespace of the calling thread's own, with one TUN device in it.

use std::fs;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::process::Command;

use super::super::target::Addresses;
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::sched::{CloneFlags, unshare};
use tun_tap::{Iface, Mode};

/// The kernel's own defaults, which the machine's administrator may have changed.
const BASELINE: [(&str, &str); 12] = [
    ("ipv4/tcp_rmem", "4096 131072 6291456"),
    ("ipv4/tcp_wmem", "4096 16384 4194304"),
    ("ipv4/tcp_syncookies", "1"),
    ("ipv4/tcp_synack_retries", "5"),
    ("ipv4/tcp_syn_retries", "6"),
    ("ipv4/tcp_max_syn_backlog", "4096"),
    ("ipv4/tcp_abort_on_overflow", "0"),
    ("ipv4/tcp_timestamps", "1"),
    ("ipv4/tcp_sack", "1"),
    ("ipv4/tcp_ecn", "2"),
    ("ipv4/tcp_fastopen", "1"),
    ("core/somaxconn", "4096"),
];

/// Enters a fresh network namespace and opens its device.
///
/// # Errors
/// What failed, and what it needs.
pub(super) fn enter(addresses: &Addresses) -> Result<Iface, String> {
    unshare(CloneFlags::CLONE_NEWNET)
        .map_err(|errno| format!("no network namespace of our own: {errno} (this needs root)"))?;
    let v6 = addresses.local.is_ipv6();
    if !v6 {
        // No router solicitations among the script's packets.
        let _ = fs::write("/proc/sys/net/ipv6/conf/all/disable_ipv6", "1");
        let _ = fs::write("/proc/sys/net/ipv6/conf/default/disable_ipv6", "1");
    }
    let tun = Iface::without_packet_info("tun0", Mode::Tun)
        .map_err(|error| format!("no TUN device: {error} (/dev/net/tun must exist)"))?;
    fcntl(fd(&tun), FcntlArg::F_SETFL(OFlag::O_NONBLOCK))
        .map_err(|errno| format!("the TUN device: {errno}"))?;
    let local = addresses.local.ip();
    let mtu = addresses.mtu;
    for line in [
        "link set lo up".to_owned(),
        match v6 {
            true => format!("addr add {local}/64 dev tun0 nodad"),
            false => format!("addr add {local}/16 dev tun0"),
        },
        format!("link set tun0 up mtu {mtu}"),
        match v6 {
            true => "-6 route add default dev tun0".to_owned(),
            false => "route add default dev tun0".to_owned(),
        },
    ] {
        ip(&line)?;
    }
    for (name, value) in BASELINE {
        // One that an older kernel lacks does not matter to most scripts.
        let _ = fs::write(format!("/proc/sys/net/{name}"), value);
    }
    Ok(tun)
}

/// Runs iproute2 in this thread's namespace.
pub(super) fn ip(line: &str) -> Result<(), String> {
    let output = Command::new("ip")
        .args(line.split(' '))
        .output()
        .map_err(|error| format!("ip {line}: {error} (iproute2 is needed)"))?;
    if output.status.success() {
        return Ok(());
    }
    let why = String::from_utf8_lossy(&output.stderr);
    Err(format!("ip {line}: {}", why.trim()))
}

/// The device's descriptor.
pub(super) fn fd(tun: &Iface) -> BorrowedFd<'_> {
    super::sys::borrow(tun.as_raw_fd(), tun)
}
