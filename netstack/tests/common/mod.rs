//! A network namespace of the test's own, with a TUN interface between this machine's kernel and a stack.

// Each test binary uses its own part of this.
#![allow(dead_code)]

pub(crate) mod stream;

use std::io::Write;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener};
use std::time::Duration;

use netstack::host::{Clock, Net, seed};
use netstack::link::fault::{Fault, FaultConfig};
use netstack::link::soft::SoftOffload;
use netstack::link::sys::iface;
use netstack::link::tun::TunDevice;
use netstack::link::{Device, MacAddr, Medium};
use netstack::network::addr::Cidr;
use netstack::stack::{InterfaceConfig, Stack, StackConfig};
use nix::sched::{CloneFlags, unshare};
use nix::sys::socket::setsockopt;
use nix::sys::socket::sockopt::ReceiveTimeout;
use nix::sys::time::TimeVal;

/// The kernel's end.
pub(crate) const HOST: Ipv4Addr = Ipv4Addr::new(10, 9, 0, 1);
/// The stack's end.
pub(crate) const OURS: Ipv4Addr = Ipv4Addr::new(10, 9, 0, 2);

/// The kernel's end in IPv6.
pub(crate) const HOST6: Ipv6Addr = Ipv6Addr::new(0xfd00, 9, 0, 0, 0, 0, 0, 1);
/// The stack's end in IPv6.
pub(crate) const OURS6: Ipv6Addr = Ipv6Addr::new(0xfd00, 9, 0, 0, 0, 0, 0, 2);

/// Says that a test is not run, where the harness does not keep it to itself. As root the test
/// command has installed what every test needs: a gap is a failure there.
pub(crate) fn skip(why: &str) {
    assert!(!nix::unistd::geteuid().is_root(), "not run: {why}");
    let _ = writeln!(std::io::stderr(), "test of netstack SKIPPED: {why}");
}

/// A listener of the kernel's whose `accept` fails when nobody comes, rather than wait for ever.
pub(crate) fn kernel_listens(addr: &str) -> TcpListener {
    let listener = TcpListener::bind(addr).expect("a listener");
    setsockopt(&listener, ReceiveTimeout, &TimeVal::new(60, 0)).expect("a timeout");
    listener
}

/// Runs `test` on a thread in a network namespace of its own; says loudly that it skips if there
/// is no permission for that. Threads and programs that the test starts are in the namespace too.
pub(crate) fn in_namespace(test: impl FnOnce() + Send + 'static) {
    let run = move || {
        if let Err(error) = unshare(CloneFlags::CLONE_NEWNET) {
            return skip(&format!(
                "cannot make a network namespace ({error}); run as root"
            ));
        }
        iface::set_up("lo").expect("the namespace's loopback interface");
        test();
    };
    std::thread::spawn(run).join().expect("the test's thread");
}

/// Which device a test runs over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// TUN through tun-tap, segmentation and GRO in software.
    Plain,
    /// TUN with virtio headers.
    Offloading,
    /// TAP through tun-tap: Ethernet and ARP.
    Tap,
    /// TAP with virtio headers.
    OffloadingTap,
}

/// Starts a stack behind a new interface "nst0" whose kernel end is up.
pub(crate) fn start(kind: Kind, faults: Option<FaultConfig>) -> Net {
    let medium = match kind {
        Kind::Plain | Kind::Offloading => Medium::Ip,
        Kind::Tap | Kind::OffloadingTap => Medium::Ethernet,
    };
    let vnet = matches!(kind, Kind::Offloading | Kind::OffloadingTap);
    let tun = TunDevice::open("nst0", medium, vnet).expect("a TUN interface");
    tun.configure_host(HOST, 24).expect("the host's address");
    // Both ends of the link are ours: nobody has to be asked for the address.
    std::fs::write("/proc/sys/net/ipv6/conf/nst0/accept_dad", "0").expect("a setting");
    tun.configure_host(HOST6, 64).expect("the host's address");
    wait_for_address(HOST6);
    let mut mac = MacAddr::default();
    if medium == Medium::Ethernet {
        mac = iface::mac("nst0").expect("the interface's address");
        mac.0[5] ^= 1;
    }
    let mut device: Box<dyn Device + Send> = Box::new(tun);
    if let Some(config) = faults {
        device = Box::new(Fault::new(device, config, [1; 16]));
    }
    if device.caps().gso_max == 0 {
        device = Box::new(SoftOffload::new(device));
    }
    start_on(device, mac)
}

/// Waits until the kernel lets its new address be used, which a worker of its own says.
pub(crate) fn wait_for_address(addr: Ipv6Addr) {
    while std::net::UdpSocket::bind((addr, 0)).is_err() {
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// Starts a stack with the addresses [`OURS`] and [`OURS6`] on a device.
pub(crate) fn start_on(device: Box<dyn Device + Send>, mac: MacAddr) -> Net {
    let clock = Clock::start();
    let mut stack = Stack::new(StackConfig::default(), seed().expect("randomness"));
    let iface = stack
        .add_interface(InterfaceConfig {
            name: "nst0".into(),
            mac,
            caps: device.caps(),
        })
        .expect("an interface");
    let address = Cidr::new(IpAddr::V4(OURS), 24).expect("a valid prefix");
    stack.add_address(iface, address).expect("an address");
    let address = Cidr::new(IpAddr::V6(OURS6), 64).expect("a valid prefix");
    stack
        .add_unique_address(iface, address)
        .expect("an address");
    Net::start(stack, clock, vec![(iface, device)]).expect("a running stack")
}

/// The stack's address with a port.
pub(crate) fn ours(port: u16) -> SocketAddr {
    SocketAddr::from((OURS, port))
}

/// The kernel's address with a port.
pub(crate) fn host(port: u16) -> SocketAddr {
    SocketAddr::from((HOST, port))
}

/// The stack's address of IPv6 with a port.
pub(crate) fn ours6(port: u16) -> SocketAddr {
    SocketAddr::from((OURS6, port))
}

/// The kernel's address of IPv6 with a port.
pub(crate) fn host6(port: u16) -> SocketAddr {
    SocketAddr::from((HOST6, port))
}
