//! The options that all verbs share: which device, which addresses, what goes wrong on purpose.

use std::fs::File;
use std::io::{self, BufWriter};
use std::net::{IpAddr, SocketAddr, SocketAddrV6, UdpSocket};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use clap::Args;
use netstack::host::{self, Clock, Net};
use netstack::link::af_packet::AfPacketDevice;
use netstack::link::capture::{Capture, epoch_at};
use netstack::link::fault::{Fault, FaultConfig};
use netstack::link::soft::SoftOffload;
use netstack::link::sys::iface;
use netstack::link::tun::TunDevice;
use netstack::link::{Device, MacAddr, Medium};
use netstack::network::addr::Cidr;
use netstack::stack::{InterfaceConfig, Stack, StackConfig};

use crate::Failure;
use crate::percent::{duration, probability};

pub(crate) type BoxedDevice = Box<dyn Device + Send>;

/// The device and its addresses.
#[derive(Debug, Args)]
#[command(next_help_heading = "Device")]
pub(crate) struct DeviceArgs {
    /// Use the TUN interface NAME; it is made, and removed at the end, if there is none
    #[arg(long, value_name = "NAME", group = "device")]
    tun: Option<String>,
    /// Use the TAP (Ethernet) interface NAME, as --tun
    #[arg(long, value_name = "NAME", group = "device")]
    tap: Option<String>,
    /// Use the frames of the existing Ethernet interface IFACE (AF_PACKET), with its hardware address
    #[arg(long, value_name = "IFACE", group = "device")]
    packet: Option<String>,
    /// An address of the stack's own, for example 10.9.0.2/24 or fd00:9::2/64; may be repeated
    #[arg(long, value_name = "ADDR/PREFIX", required = true)]
    addr: Vec<Cidr>,
    /// Give the kernel's end of the TUN or TAP interface this address and bring it up; one of each family
    #[arg(long, value_name = "ADDR/PREFIX", conflicts_with = "packet")]
    host_addr: Vec<Cidr>,
    /// Send what is not on the link to this router; one of each family
    #[arg(long, value_name = "ADDR")]
    gateway: Vec<IpAddr>,
    /// Leave no checksums and segmentation to the kernel: packets on the device are as on a wire
    #[arg(long)]
    no_offload: bool,
    #[command(flatten)]
    faults: FaultArgs,
    /// Record the device's packets in FILE (pcapng)
    #[arg(long, value_name = "FILE")]
    pcap: Option<PathBuf>,
}

/// What goes wrong on purpose, in both directions. Implies --no-offload.
#[derive(Debug, Args)]
#[command(next_help_heading = "Faults (both directions; imply --no-offload)")]
struct FaultArgs {
    /// Lose packets, for example 2%
    #[arg(long, value_name = "SHARE", value_parser = probability, default_value = "0%")]
    loss: f64,
    /// Deliver packets twice
    #[arg(long, value_name = "SHARE", value_parser = probability, default_value = "0%")]
    duplicate: f64,
    /// Hold packets back for a millisecond, so that others overtake them
    #[arg(long, value_name = "SHARE", value_parser = probability, default_value = "0%")]
    reorder: f64,
    /// Flip one bit of packets
    #[arg(long, value_name = "SHARE", value_parser = probability, default_value = "0%")]
    corrupt: f64,
    /// Delay each packet, for example 5ms
    #[arg(long, value_name = "TIME", value_parser = duration, default_value = "0ms")]
    delay: Duration,
    /// Vary the delay by up to this much
    #[arg(long, value_name = "TIME", value_parser = duration, default_value = "0ms")]
    jitter: Duration,
    /// The same number gives the same faults for the same packets
    #[arg(long, value_name = "NUMBER", default_value_t = 1)]
    fault_seed: u64,
}

impl FaultArgs {
    fn config(&self) -> Option<FaultConfig> {
        let config = FaultConfig {
            loss: self.loss,
            duplicate: self.duplicate,
            reorder: self.reorder,
            corrupt: self.corrupt,
            delay: self.delay,
            jitter: self.jitter,
            ..FaultConfig::default()
        };
        (config != FaultConfig::default()).then_some(config)
    }

    fn seed(&self) -> [u8; 16] {
        let mut seed = [0; 16];
        seed[..8].copy_from_slice(&self.fault_seed.to_le_bytes());
        seed
    }
}

impl DeviceArgs {
    /// Opens the device, sets both ends up and starts the stack.
    pub(crate) fn start(&self) -> Result<Net, Failure> {
        self.check_addresses()?;
        let clock = Clock::start();
        let opened = self.open()?;
        let device = self.decorate(opened.device, clock)?;
        let mut stack = Stack::new(StackConfig::default(), host::seed()?);
        let iface = stack.add_interface(InterfaceConfig {
            name: opened.name,
            mac: opened.mac,
            caps: device.caps(),
        })?;
        for addr in &self.addr {
            stack
                .add_address(iface, *addr)
                .map_err(|error| Failure(format!("--addr {addr}: {error}")))?;
        }
        for gateway in &self.gateway {
            stack
                .add_default_route(iface, *gateway)
                .map_err(|error| Failure(format!("--gateway {gateway}: {error}")))?;
        }
        Net::start(stack, clock, vec![(iface, device)])
            .map_err(|error| Failure(format!("cannot start the stack: {error}")))
    }

    /// Refuses what would start and then reach nobody.
    fn check_addresses(&self) -> Result<(), Failure> {
        for ours in &self.addr {
            let addr = ours.addr();
            if addr.is_loopback() {
                return refuse(format!(
                    "--addr {ours}: loopback addresses stay within a host"
                ));
            }
            let (whole, usual) = if addr.is_ipv4() { (32, 24) } else { (128, 64) };
            if ours.prefix_len() == whole && !self.has_gateway_of(addr) {
                return refuse(format!(
                    "--addr {addr} has no network: write {addr}/{usual}, or name a --gateway"
                ));
            }
        }
        self.host_addr
            .iter()
            .try_for_each(|host| self.check_host(*host))
    }

    fn check_host(&self, host: Cidr) -> Result<(), Failure> {
        if self.addr.iter().any(|ours| ours.addr() == host.addr()) {
            return refuse(format!(
                "--host-addr {host} is the stack's own address: the two ends need one each"
            ));
        }
        let near = self.addr.iter().any(|ours| ours.contains(host.addr()));
        if !near && !self.has_gateway_of(host.addr()) {
            let ours: Vec<String> = self.addr.iter().map(Cidr::to_string).collect();
            return refuse(format!(
                "--host-addr {host} is not in the network of --addr {}: neither end would find the other",
                ours.join(" or ")
            ));
        }
        Ok(())
    }

    fn has_gateway_of(&self, addr: IpAddr) -> bool {
        let same = |gateway: &IpAddr| gateway.is_ipv4() == addr.is_ipv4();
        self.gateway.iter().any(same)
    }

    fn open(&self) -> Result<Opened, Failure> {
        let vnet = !self.no_offload && self.faults.config().is_none();
        if let Some(name) = &self.packet {
            let explain = |error| packet_failure(name, &error);
            return Ok(Opened {
                device: Box::new(AfPacketDevice::open(name).map_err(explain)?),
                name: name.clone(),
                mac: AfPacketDevice::mac_of(name).map_err(explain)?,
            });
        }
        let (name, medium) = match (&self.tun, &self.tap) {
            (Some(name), _) => (name, Medium::Ip),
            (None, Some(name)) => (name, Medium::Ethernet),
            (None, None) => {
                return Err(Failure(
                    "no device: name one with --tun NAME, --tap NAME or --packet IFACE".into(),
                ));
            }
        };
        let device =
            TunDevice::open(name, medium, vnet).map_err(|error| tun_failure(name, &error))?;
        for host in &self.host_addr {
            configure_host(&device, *host)?;
        }
        Ok(Opened {
            name: device.name().to_owned(),
            mac: mac_beside(device.name(), medium)?,
            device: Box::new(device),
        })
    }

    /// From the device outwards: capture, faults, and offload in software if the kernel does none.
    fn decorate(&self, device: BoxedDevice, clock: Clock) -> Result<BoxedDevice, Failure> {
        let mut device = device;
        if let Some(path) = &self.pcap {
            device = capture(device, path, clock).map_err(|error| {
                Failure(format!("cannot record to {}: {error}", path.display()))
            })?;
        }
        if let Some(config) = self.faults.config() {
            device = Box::new(Fault::new(device, config, self.faults.seed()));
        }
        if device.caps().gso_max == 0 {
            device = Box::new(SoftOffload::new(device));
        }
        Ok(device)
    }
}

fn refuse(sentence: String) -> Result<(), Failure> {
    Err(Failure(sentence))
}

/// A device as it was opened.
struct Opened {
    device: BoxedDevice,
    name: String,
    mac: MacAddr,
}

pub(crate) fn capture(device: BoxedDevice, path: &Path, clock: Clock) -> io::Result<BoxedDevice> {
    let file = BufWriter::new(File::create(path)?);
    let capture = Capture::new(device, file, epoch_at(clock.now()))?;
    Ok(Box::new(capture))
}

fn configure_host(device: &TunDevice, host: Cidr) -> Result<(), Failure> {
    let configured = device.configure_host(host.addr(), host.prefix_len());
    configured.map_err(|error| {
        Failure(format!(
            "cannot give {} the address {host}: {error}",
            device.name()
        ))
    })?;
    // The kernel first asks the link whether an IPv6 address is free, and answers nobody before.
    let deadline = Instant::now() + ADDRESS_WAIT;
    while UdpSocket::bind((host.addr(), 0)).is_err() && Instant::now() < deadline {
        std::thread::sleep(Duration::from_millis(2));
    }
    Ok(())
}

/// How long the kernel may take to let its own new address be used.
const ADDRESS_WAIT: Duration = Duration::from_secs(3);

/// The end of a connection to `host`: an address of the link alone is meant on our only device.
pub(crate) fn endpoint(host: IpAddr, port: u16) -> SocketAddr {
    /// The loopback interface is 1.
    const DEVICE_INDEX: u32 = 2;
    match host {
        IpAddr::V6(v6) if v6.is_unicast_link_local() => {
            SocketAddrV6::new(v6, port, 0, DEVICE_INDEX).into()
        }
        _ => SocketAddr::new(host, port),
    }
}

/// Our hardware address on a TAP link: the kernel's end's, with the last bit flipped.
pub(crate) fn mac_beside(name: &str, medium: Medium) -> Result<MacAddr, Failure> {
    if medium == Medium::Ip {
        return Ok(MacAddr::default());
    }
    let mut mac = iface::mac(name)?;
    mac.0[5] ^= 1;
    Ok(mac)
}

pub(crate) fn tun_failure(name: &str, error: &io::Error) -> Failure {
    let why = match error.raw_os_error() {
        Some(libc::ENOENT | libc::ENODEV | libc::ENXIO) => {
            "this machine has no /dev/net/tun; load the tun module (modprobe tun), or pass the device into the container (--device /dev/net/tun)".to_owned()
        }
        Some(libc::EACCES) => "this user may not open /dev/net/tun; on most systems everybody may (chmod 666 /dev/net/tun)".to_owned(),
        Some(libc::EPERM) => {
            "that needs CAP_NET_ADMIN; run it as root, or in a user and network namespace of your own (unshare -rn)".to_owned()
        }
        Some(libc::EBUSY) => "somebody else has it open; choose another name".to_owned(),
        Some(libc::EINVAL) => {
            "there is an interface of that name which is of another kind; choose another name".to_owned()
        }
        _ => error.to_string(),
    };
    Failure(format!("cannot open the interface {name}: {why}"))
}

pub(crate) fn packet_failure(name: &str, error: &io::Error) -> Failure {
    let why = match error.raw_os_error() {
        Some(libc::ENODEV) => "there is no such interface; ip link lists them".to_owned(),
        Some(libc::EPERM | libc::EACCES) => "that needs CAP_NET_RAW; run it as root".to_owned(),
        _ => error.to_string(),
    };
    Failure(format!("cannot take the frames of {name}: {why}"))
}
