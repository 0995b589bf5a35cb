//! The interface in the namespace. A process of its own enters the namespace, makes the interface and
//! passes it back: only a process with a single thread can enter a user namespace, and this one has to
//! stay outside, where the host's sockets are.

use std::fs::File;
use std::io::Read;
use std::net::IpAddr;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use netstack::link::sys::{donate, iface};
use netstack::link::tun::{TunConfig, TunDevice};
use netstack::link::{MacAddr, Medium};
use netstack::network::addr::Cidr;
use nix::sched::{CloneFlags, setns};

use super::follow::{Bound, TABLES};
use crate::Failure;

/// Which namespaces to enter.
pub(crate) struct Namespaces {
    user: Option<File>,
    net: File,
}

/// What the interface is to be, and how the program that makes it is told.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct JoinArgs {
    #[arg(long)]
    name: String,
    #[arg(long)]
    mtu: u32,
    /// Pass the tables of the namespace's sockets back too
    #[arg(long)]
    tables: bool,
    /// Bring the loopback interface up
    #[arg(long)]
    lo: bool,
    /// TUN instead of TAP
    #[arg(long)]
    tun: bool,
    /// A user namespace comes before the network namespace
    #[arg(long)]
    user: bool,
    #[arg(long)]
    addr: Option<Cidr>,
    #[arg(long)]
    gateway: Option<IpAddr>,
    #[arg(long, value_parser = parse_mac)]
    mac: Option<MacAddr>,
}

/// The interface as asked for.
pub(crate) struct Wanted<'a> {
    pub(crate) name: &'a str,
    pub(crate) mtu: u32,
    pub(crate) medium: Medium,
    /// The loopback interface is brought up too.
    pub(crate) loopback: bool,
    /// The guest's address and the router's, to be set with the MTU; without it the interface stays down.
    pub(crate) configure: Option<(Cidr, IpAddr)>,
    pub(crate) mac: Option<MacAddr>,
    /// The tables of the namespace's sockets are wanted too.
    pub(crate) tables: bool,
}

/// What comes back from the namespace.
pub(crate) struct Made {
    pub(crate) device: TunDevice,
    pub(crate) bound: Option<Bound>,
}

impl Namespaces {
    /// The namespaces of a process.
    pub(crate) fn of_process(pid: u32, user: Option<&Path>) -> Result<Self, Failure> {
        let at = |kind: &str| PathBuf::from(format!("/proc/{pid}/ns/{kind}"));
        let user = user.map_or_else(|| at("user"), Path::to_owned);
        Self::open(&at("net"), Some(&user))
    }

    /// The namespaces that two paths name; without the second only the network is entered.
    pub(crate) fn open(net: &Path, user: Option<&Path>) -> Result<Self, Failure> {
        let open = |path: &Path| {
            File::open(path)
                .map_err(|error| Failure(format!("cannot open {}: {error}", path.display())))
        };
        let net = open(net)?;
        let user = user.map(open).transpose()?;
        let ours = open(Path::new("/proc/self/ns/user"))?;
        // One can't enter the user namespace that one is in.
        let user = user.filter(|user| !same_file(user, &ours));
        Ok(Self { user, net })
    }

    /// Has the interface made.
    pub(crate) fn make_interface(&self, wanted: &Wanted<'_>) -> Result<Made, Failure> {
        let (ours, theirs) = UnixStream::pair()?;
        if let Some(user) = &self.user {
            donate::send(&ours, user.as_fd())?;
        }
        donate::send(&ours, self.net.as_fd())?;
        let mut command = Command::new("/proc/self/exe");
        command.arg("slirp-join");
        command.args(["--name", wanted.name, "--mtu", &wanted.mtu.to_string()]);
        if wanted.medium == Medium::Ip {
            command.arg("--tun");
        }
        if self.user.is_some() {
            command.arg("--user");
        }
        if wanted.loopback {
            command.arg("--lo");
        }
        if let Some((addr, gateway)) = wanted.configure {
            command.args([
                "--addr",
                &addr.to_string(),
                "--gateway",
                &gateway.to_string(),
            ]);
        }
        if let Some(MacAddr(mac)) = wanted.mac {
            command.args(["--mac", &mac.map(|byte| format!("{byte:02x}")).join(":")]);
        }
        if wanted.tables {
            command.arg("--tables");
        }
        let child = command
            .stdin(Stdio::from(OwnedFd::from(theirs)))
            .stdout(Stdio::piped())
            .spawn();
        // The command has the other end of the socket open until it is gone.
        drop(command);
        let mut child = child?;
        let received = donate::receive(&ours);
        let tables = match (&received, wanted.tables) {
            (Ok(_), true) => Some(receive_tables(&ours)),
            _ => None,
        };
        let mut sentence = String::new();
        if let Some(stdout) = &mut child.stdout {
            stdout.read_to_string(&mut sentence)?;
        }
        child.wait()?;
        let fd = received.map_err(|error| match sentence.trim() {
            "" => Failure(format!("the helper process brought no interface: {error}")),
            sentence => Failure(sentence.to_owned()),
        })?;
        let config = TunConfig {
            medium: wanted.medium,
            vnet: true,
            mtu: wanted.mtu,
        };
        Ok(Made {
            device: TunDevice::from_fd(fd, config)?,
            bound: tables.transpose()?,
        })
    }
}

fn receive_tables(from: &UnixStream) -> std::io::Result<Bound> {
    let tables = TABLES
        .iter()
        .map(|_| Ok(File::from(donate::receive(from)?)));
    Ok(Bound::new(tables.collect::<std::io::Result<_>>()?))
}

/// Those that the kernel does not have are empty.
fn send_tables(to: &UnixStream) -> std::io::Result<()> {
    for table in TABLES {
        let path = Path::new("/proc/self").join(table);
        let file = File::open(path).or_else(|_| File::open("/dev/null"))?;
        donate::send(to, file.as_fd())?;
    }
    Ok(())
}

fn same_file(one: &File, two: &File) -> bool {
    let identity = |file: &File| file.metadata().map(|meta| (meta.dev(), meta.ino())).ok();
    identity(one) == identity(two)
}

/// What the other process does: standard input is the socket. It says what went wrong on standard output.
pub(crate) fn join(args: &JoinArgs) -> Result<std::process::ExitCode, Failure> {
    match enter_and_make(args) {
        Ok(()) => Ok(std::process::ExitCode::SUCCESS),
        Err(Failure(sentence)) => {
            println!("{sentence}");
            Ok(std::process::ExitCode::FAILURE)
        }
    }
}

fn enter_and_make(args: &JoinArgs) -> Result<(), Failure> {
    let parent = UnixStream::from(std::io::stdin().as_fd().try_clone_to_owned()?);
    if args.user {
        let user = donate::receive(&parent)?;
        setns(user, CloneFlags::CLONE_NEWUSER).map_err(|error| {
            Failure(format!(
                "cannot enter the user namespace: {error}; it has to be one of this user's"
            ))
        })?;
    }
    let net = donate::receive(&parent)?;
    setns(net, CloneFlags::CLONE_NEWNET).map_err(|error| {
        Failure(format!(
            "cannot enter the network namespace: {error}; name its user namespace with --userns-path, or run this as root"
        ))
    })?;
    let medium = match args.tun {
        true => Medium::Ip,
        false => Medium::Ethernet,
    };
    let (fd, name) = TunDevice::open_fd(&args.name, medium, true)
        .map_err(|error| crate::device::tun_failure(&args.name, &error))?;
    let failed = |error| Failure(format!("cannot configure {name}: {error}"));
    configure(args, &name).map_err(failed)?;
    donate::send(&parent, fd.as_fd())?;
    if args.tables {
        send_tables(&parent)?;
    }
    Ok(())
}

fn configure(args: &JoinArgs, name: &str) -> std::io::Result<()> {
    if args.lo {
        iface::set_up("lo")?;
    }
    if let Some(mac) = args.mac {
        iface::set_mac(name, mac)?;
    }
    let (Some(cidr), Some(IpAddr::V4(gateway))) = (args.addr, args.gateway) else {
        return Ok(());
    };
    let IpAddr::V4(addr) = cidr.addr() else {
        return Ok(());
    };
    iface::set_mtu(name, args.mtu)?;
    iface::set_ipv4(name, addr, cidr.prefix_len())?;
    iface::set_up(name)?;
    iface::add_default_route(name, Some(gateway))
}

/// Six hexadecimal bytes with colons.
pub(crate) fn parse_mac(text: &str) -> Result<MacAddr, String> {
    let bytes: Option<Vec<u8>> = text
        .split(':')
        .map(|byte| {
            u8::from_str_radix(byte, 16)
                .ok()
                .filter(|_| byte.len() == 2)
        })
        .collect();
    let mac = bytes.and_then(|bytes| <[u8; 6]>::try_from(bytes).ok());
    let mac = mac.filter(|mac| mac[0] & 1 == 0 && *mac != [0; 6]);
    mac.map(MacAddr).ok_or_else(|| {
        format!("{text:?} is no Ethernet address of a host, such as 02:00:00:00:00:01")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ethernet_addresses() {
        let mac = parse_mac("02:0a:Ff:00:00:01");
        assert_eq!(mac, Ok(MacAddr([2, 10, 255, 0, 0, 1])));
        for bad in [
            "",
            "02:00:00:00:00",
            "01:00:00:00:00:00",
            "0:0:0:0:0:2",
            "00:00:00:00:00:00",
        ] {
            assert!(parse_mac(bad).is_err(), "{bad}");
        }
    }
}
